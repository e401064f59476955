//! `podstrap down`: asks the daemon to stop Pods, and waits until they are gone.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::{CLUSTER_DOMAIN, DownArgs};
use super::error::Error;
use super::published::Published;
use super::values::{Millis, PodArg};
use super::view::label;
use super::wait::{is_gone, until_gone};
use crate::config::{Asking, BackOff, MissingDir, OnExit, RunConfig, RuntimeChoice};
use crate::daemon::Task;
use crate::monitor::record;
use crate::paths::CniPaths;
use crate::pod::depends::{DEPENDS_ON, listed};
use crate::pod::node::NodeFacts;
use crate::pod::{Dependency, Generation, NodeName, PodKey, stop};
use crate::report::PodStatusFile;
use crate::sys::atomic::{self, Durability};
use crate::sys::{clock, fifo};

/// A request as it lies in RUN/requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `down`.
    pub verb: String,
    /// `namespace/name` of each Pod, with the node's suffix. Empty: all of them, and then the daemon.
    pub pods: Vec<String>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are gone.
    Done,
    /// They are not, and the time is up.
    TimedOut,
    /// There is no daemon to ask: the caller must stop the Pods itself.
    NoDaemon,
}

/// What is waited for beyond the grace periods, in milliseconds.
const SLACK_MS: u64 = 60_000;

/// What a step of a full stop may take beyond its longest grace period, in milliseconds: a preStop hook that has taken all of
/// it leaves 2 s to the stop signal, and what is left must be cleared away.
const STEP_SLACK_MS: u64 = 3_000;

/// When the daemon ends before its work is done, another one is waited for so many milliseconds.
const SUCCESSOR_MS: u64 = 3_000;

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const GRACE_SECONDS: u64 = 30;

/// Writes the request, nudges the daemon, and waits, printing a line per change.
pub fn run(args: &DownArgs) -> Result<Outcome, Error> {
    let published = Published::read(&args.run_dir)?;
    let mut named: Vec<PodStatusFile> = Vec::new();
    for pod in &args.pods {
        match pod.kind {
            Some(_) => {
                let found = published.find(pod)?;
                if found.is_empty() {
                    return Err(published.no_such_pod(pod));
                }
                named.extend(found.into_iter().cloned());
            }
            None => named.push(published.pod(pod)?.clone()),
        }
    }
    if published.alive.is_none() {
        return Ok(Outcome::NoDaemon);
    }
    let labels: Vec<String> = named.iter().map(label).collect();
    let roots = published.roots();
    let directory = roots.requests();
    fs::create_dir_all(&directory).map_err(Error::file("make", &directory))?;
    let (seconds, nanoseconds) = clock::unix();
    let name = format!("{seconds}{nanoseconds:09}-{}.json", std::process::id());
    let path = directory.join(name);
    let request = Request { verb: "down".into(), pods: labels.clone() };
    let bytes = serde_json::to_vec(&request).map_err(|e| Error::Encode(e.to_string()))?;
    atomic::write(&path, &bytes, 0o600, Durability::Process).map_err(Error::file("write", &path))?;
    let heard = fifo::nudge(&roots.notify(), "request").map_err(Error::file("write", roots.notify()))?;
    if !heard {
        // It ended just now: a later one must not find the request and stop what it has just started.
        let _ = fs::remove_file(&path);
        return Ok(Outcome::NoDaemon);
    }
    let timeout = args.timeout.unwrap_or_else(|| default_timeout(&published, &named));
    let meant = |p: &Published| -> Vec<PodStatusFile> {
        let all = p.entries.iter().filter(|e| e.generation.is_some());
        all.filter(|e| labels.is_empty() || labels.contains(&label(e))).cloned().collect()
    };
    let mut ended_at = None;
    let gone = |p: &Published| -> Result<bool, Error> {
        let left = meant(p).iter().any(|e| !is_gone(e));
        match (left, p.alive, labels.is_empty()) {
            // The next one, which the service manager may be about to start, finds the request and goes on with it.
            (true, None, _) => {
                let since = *ended_at.get_or_insert_with(clock::boot_ms);
                let is_alone = clock::boot_ms() >= since.saturating_add(SUCCESSOR_MS);
                if is_alone { Err(Error::DaemonEnded) } else { Ok(false) }
            }
            (true, Some(_), _) | (false, Some(_), true) => {
                ended_at = None;
                Ok(false)
            }
            (false, _, false) | (false, None, true) => Ok(true),
        }
    };
    let done = until_gone(&args.run_dir, timeout, gone, meant);
    if !matches!(done, Ok(true)) {
        // A request that nobody has taken must not be carried out after we have said that it failed.
        let _ = fs::remove_file(&path);
    }
    Ok(if done? { Outcome::Done } else { Outcome::TimedOut })
}

/// By the order that the daemon goes by: all Pods in its steps, and named ones together but for those that others of them
/// depend on.
fn default_timeout(published: &Published, named: &[PodStatusFile]) -> Millis {
    let pods: Vec<&PodStatusFile> = match named {
        [] => published.entries.iter().filter(|e| !is_gone(e)).collect(),
        named => named.iter().collect(),
    };
    let known: Vec<(&PodStatusFile, PodKey, Vec<Dependency>)> = pods
        .into_iter()
        .filter_map(|e| {
            let key = PodKey { namespace: e.namespace.clone()?, name: e.name.clone()? };
            let depends_on = depends_on(e, &key);
            Some((e, key, depends_on))
        })
        .collect();
    let members: Vec<stop::Member<'_>> = known
        .iter()
        .map(|(e, key, depends_on)| stop::Member {
            key,
            priority: priority(e),
            origin: &e.origin,
            depends_on,
        })
        .collect();
    let (mut before, mut longest, mut step) = (0_u64, 0, 0);
    let mut until: Vec<u64> = Vec::new();
    for turn in stop::order(&members) {
        if turn.step != step && named.is_empty() {
            (before, step) = (longest, turn.step);
        }
        let begin = turn.after.iter().filter_map(|place| until.get(*place)).fold(before, |a, b| a.max(*b));
        let takes = known.get(turn.member).map_or(0, |(e, ..)| grace_ms(e)).saturating_add(STEP_SLACK_MS);
        let end = begin.saturating_add(takes);
        longest = longest.max(end);
        until.push(end);
    }
    Millis(SLACK_MS.saturating_add(longest))
}

fn depends_on(entry: &PodStatusFile, key: &PodKey) -> Vec<Dependency> {
    let annotations = entry.pod.pointer("/metadata/annotations");
    let text = annotations.and_then(|a| a.get(DEPENDS_ON)).and_then(Value::as_str).unwrap_or_default();
    let node = entry.pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    listed(text, key, &NodeName::new(node))
}

fn priority(entry: &PodStatusFile) -> i32 {
    let class = entry.pod.pointer("/spec/priorityClassName").and_then(Value::as_str);
    let number = entry.pod.pointer("/spec/priority").and_then(Value::as_i64);
    stop::priority(class, number.and_then(|n| i32::try_from(n).ok()))
}

fn grace_ms(entry: &PodStatusFile) -> u64 {
    let seconds = entry.pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
    seconds.unwrap_or(GRACE_SECONDS).saturating_mul(1000)
}

/// What could not be stopped in time, for the message.
pub fn left(args: &DownArgs) -> Vec<String> {
    let Ok(published) = Published::read(&args.run_dir) else { return Vec::new() };
    let asked = |e: &PodStatusFile| {
        let same =
            |pod: &PodArg| published.find(pod).is_ok_and(|found| found.iter().any(|f| label(f) == label(e)));
        args.pods.is_empty() || args.pods.iter().any(same)
    };
    published.entries.iter().filter(|e| !is_gone(e) && asked(e)).map(label).collect()
}

/// What a daemon would have to know to stop these Pods: the settings of the last one, as far as it published them; and that
/// this is its task.
pub fn config_of(args: &DownArgs) -> Result<(RunConfig, Task), Error> {
    let published = Published::read(&args.run_dir)?;
    let last = published.daemon.as_ref();
    let mut roots = published.roots();
    if let Some(state) = &args.state_dir {
        roots.state.clone_from(state);
    }
    let mut pods = Vec::new();
    let mut named = Vec::new();
    for pod in &args.pods {
        let found = if pod.kind.is_some() { published.find(pod)? } else { vec![published.pod(pod)?] };
        for entry in found {
            if let (Some(namespace), Some(name)) = (&entry.namespace, &entry.name) {
                pods.push(PodKey { namespace: namespace.clone(), name: name.clone() });
            }
            named.push(entry.clone());
        }
    }
    let node = NodeName::new(last.map_or("localhost", |d| d.node_name.as_str()));
    // How long a Pod may take that nothing was published of is not known here.
    let is_told = |g: &Generation| published.entries.iter().any(|e| e.generation.as_ref() == Some(g));
    let computed = || default_timeout(&published, &named);
    let timeout = args.timeout.or_else(|| record::generations(&roots).iter().all(is_told).then(computed));
    let task = Task::Down { pods, within_ms: timeout.map(|t| t.0) };
    let config = RunConfig {
        facts: NodeFacts::new(node.clone(), BTreeMap::new(), Vec::new()),
        manifest_dirs: Vec::new(),
        manifest_urls: Vec::new(),
        asking: Asking::default(),
        image_dir: roots.state.join("images.d"),
        roots,
        runtime: match last.map(|d| d.runtime.as_str()) {
            Some("docker") => RuntimeChoice::Docker,
            Some("runc") => RuntimeChoice::Runc,
            Some(_) | None => RuntimeChoice::Auto,
        },
        docker_binary: last.filter(|d| d.runtime == "docker").map(|d| d.runtime_binary.clone()),
        node,
        on_exit: OnExit::Keep,
        rescan_ms: 20_000,
        backoff: BackOff { initial_ms: 1_000, max_ms: 60_000 },
        cgroup_root: last.map_or_else(|| "podstrap".to_owned(), |d| d.cgroup_root.clone()),
        max_manifest_bytes: 512 * 1024,
        missing_dir: MissingDir::Keep,
        allow_foreign: false,
        authfile: None,
        log_max_bytes: 10 << 20,
        log_max_files: 5,
        // A network is left by the plugins that were found when it was joined, wherever they were.
        cni: CniPaths::default(),
        cluster_dns: Vec::new(),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        healthz: None,
        mirror: None,
    };
    Ok((config, task))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::pod::{Namespace, Origin, PodName};
    use crate::report::ManifestState;

    fn entry(name: &str, spec: Value) -> PodStatusFile {
        PodStatusFile {
            namespace: Some(Namespace::new("default")),
            name: Some(PodName::new(name)),
            generation: Some(Generation::new(name)),
            uid: None,
            origin: Origin { path: format!("/m/{name}.yaml"), document: 1 },
            manifest: ManifestState::Current { warnings: Vec::new() },
            summary: "Running".into(),
            message: None,
            created_at: None,
            deletion_timestamp: None,
            pod: json!({ "spec": spec }),
        }
    }

    #[test]
    fn the_default_timeout_counts_each_step_of_the_stop() {
        let critical =
            json!({"priorityClassName": "system-node-critical", "terminationGracePeriodSeconds": 10});
        let refused = entry("refused", json!({"terminationGracePeriodSeconds": 9999}));
        let entries = vec![
            entry("api", critical.clone()),
            entry("etcd", critical),
            entry("a", json!({})),
            entry("b", json!({"terminationGracePeriodSeconds": 50})),
            entry("c", json!({"terminationGracePeriodSeconds": 5, "priority": 7})),
            PodStatusFile { generation: None, ..refused },
        ];
        let published = Published {
            run: PathBuf::new(),
            daemon: None,
            mirror: None,
            alive: None,
            entries,
            unreadable: Vec::new(),
        };
        assert_eq!(default_timeout(&published, &[]), Millis(53_000 + 8_000 + 2 * 13_000 + 60_000));
        // In a row: each begins when what depends on it is gone.
        let mut row = published.clone();
        for (n, list) in [(2, "b"), (3, "c")] {
            row.entries[n].pod["metadata"] = json!({"annotations": {"podstrap.io/depends-on": list}});
            row.entries[n].name = Some(PodName::new(["a-n", "b-n"][n - 2]));
        }
        row.entries[4].name = Some(PodName::new("c-n"));
        for entry in &mut row.entries {
            entry.pod["spec"]["nodeName"] = json!("n");
        }
        assert_eq!(default_timeout(&row, &[]), Millis(33_000 + 53_000 + 8_000 + 2 * 13_000 + 60_000));
        assert_eq!(default_timeout(&row, &row.entries[2..4]), Millis(33_000 + 53_000 + 60_000));
        let named = &published.entries[..3];
        assert_eq!(default_timeout(&published, named), Millis(33_000 + 60_000));
        let nothing = Published { entries: Vec::new(), ..published };
        assert_eq!(default_timeout(&nothing, &[]), Millis(60_000));
    }
}
