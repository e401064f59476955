//! How the Pods fare, in one line: what `systemctl status` shows, and the one thing to read where there is room for no more.

use std::collections::BTreeMap;

use super::{ManifestState, PodStatusFile, SourceStatus};
use crate::pod::PodKey;

/// So many Pods are named.
const MOST_NAMED: usize = 3;
/// What is said of one of them has at most so many characters.
const MOST_OF_ONE: usize = 160;
/// The line has at most so many characters.
const MOST_OF_ALL: usize = 600;

/// What the line needs to know of one Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Its name without the node's suffix.
    name: String,
    standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Ready, or it has done its work.
    Ready,
    /// Neither; and what can be said of it.
    Unready(String),
    /// Stopped by hand, and to stay so.
    Held,
}

impl Brief {
    /// Of what is published of a Pod.
    pub fn of(file: &PodStatusFile, node: &str) -> Self {
        let name = bare(file.name.as_ref().map(|n| n.as_str()).unwrap_or_default(), node).to_owned();
        let standing = match &file.manifest {
            _ if file.deletion_timestamp.is_some() => Standing::Unready(said(&name, &file.summary, None)),
            ManifestState::Held => Standing::Held,
            ManifestState::Replacing { waits_for } => {
                Standing::Unready(said(&name, "is to be replaced", waits_for.as_deref()))
            }
            _ if is_well(file) => Standing::Ready,
            _ => match file.message.as_deref().and_then(|m| waited_for(m, node)) {
                Some(others) => {
                    Standing::Unready(one_line(&format!("{name} waits for {others}"), MOST_OF_ONE))
                }
                None => Standing::Unready(said(&name, &file.summary, file.message.as_deref())),
            },
        };
        Self { name, standing }
    }
}

/// A Pod's name without the node's suffix.
fn bare<'a>(full: &'a str, node: &str) -> &'a str {
    full.strip_suffix(node).and_then(|n| n.strip_suffix('-')).unwrap_or(full)
}

/// Of a message such as `waits for kube-system/etcd-node1, which is not ready; waits for ...`, only for whom: what is the
/// matter with those is their own part of the line.
fn waited_for(message: &str, node: &str) -> Option<String> {
    message.strip_prefix("waits for ")?;
    let waits = message.split("; ").filter_map(|part| part.strip_prefix("waits for "));
    let names: Vec<&str> = waits
        .map(|part| part.split(", ").next().unwrap_or(part))
        .map(|key| bare(key.rsplit('/').next().unwrap_or(key), node))
        .collect();
    Some(names.join(", "))
}

/// It is ready, or has come to a good end.
pub fn is_well(file: &PodStatusFile) -> bool {
    let conditions = file.pod.pointer("/status/conditions").and_then(|c| c.as_array());
    let ready =
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    ready || file.pod.pointer("/status/phase").is_some_and(|phase| phase == "Succeeded")
}

/// `NAME: what fails` of one that runs, and `NAME: WORD (what fails)` of others.
fn said(name: &str, word: &str, message: Option<&str>) -> String {
    let text = match message.map(str::trim).filter(|m| !m.is_empty()) {
        Some(message) if word == "Running" => format!("{name}: {message}"),
        Some(message) => format!("{name}: {word} ({message})"),
        None if word == "Running" => format!("{name}: not ready"),
        None => format!("{name}: {word}"),
    };
    one_line(&text, MOST_OF_ONE)
}

/// Containers and probes have their say in messages: breaks would be lines of their own to whoever reads this.
fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for (n, c) in text.chars().enumerate() {
        if n >= most {
            line.push('…');
            break;
        }
        line.push(if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c });
    }
    line
}

/// Everything else that the line tells of.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// All Pods are being stopped.
    pub draining: bool,
    /// Why the runtime cannot be used, if that is so.
    pub trouble: Option<&'a str>,
    /// So many documents are refused.
    pub refused: usize,
    /// The sources.
    pub sources: &'a [SourceStatus],
}

/// The line: `4/4 ready`, or `3/4 ready: kube-apiserver waits for etcd`. It never has a break in it.
pub fn line(pods: &BTreeMap<PodKey, Brief>, around: Around<'_>) -> String {
    let text = if around.draining { stopping(pods) } else { standing(pods, around) };
    one_line(&text, MOST_OF_ALL)
}

fn stopping(pods: &BTreeMap<PodKey, Brief>) -> String {
    let left: Vec<&str> =
        pods.values().filter(|b| b.standing != Standing::Held).map(|b| b.name.as_str()).collect();
    if left.is_empty() {
        return "every Pod is stopped".to_owned();
    }
    let names = left.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match left.len().saturating_sub(MOST_NAMED) {
        0 => format!("stopping, {} left: {names}", left.len()),
        more => format!("stopping, {} left: {names} and {more} more", left.len()),
    }
}

fn standing(pods: &BTreeMap<PodKey, Brief>, around: Around<'_>) -> String {
    let mut unready = Vec::new();
    let mut held: usize = 0;
    for brief in pods.values() {
        match &brief.standing {
            Standing::Ready => {}
            Standing::Unready(said) => unready.push(said.as_str()),
            Standing::Held => held = held.saturating_add(1),
        }
    }
    let all = pods.len().saturating_sub(held);
    let count = match all {
        0 => "no Pods".to_owned(),
        _ => format!("{}/{all} ready", all.saturating_sub(unready.len())),
    };
    // What may be the cause of the rest comes first.
    let mut parts: Vec<String> = around.trouble.map(|t| one_line(t, MOST_OF_ONE)).into_iter().collect();
    parts.extend(unready.iter().take(MOST_NAMED).map(|s| (*s).to_owned()));
    match unready.len().saturating_sub(MOST_NAMED) {
        0 => {}
        more => parts.push(format!("{more} more are not ready")),
    }
    for source in around.sources {
        match &source.error {
            Some(error) => {
                parts.push(one_line(&format!("{} cannot be read: {error}", source.path), MOST_OF_ONE));
            }
            None if !source.synced => parts.push(format!("{} has not been read yet", source.path)),
            None => {}
        }
    }
    match around.refused {
        0 => {}
        1 => parts.push("1 manifest is refused".to_owned()),
        n => parts.push(format!("{n} manifests are refused")),
    }
    if held > 0 {
        parts.push(format!("{held} stopped by hand"));
    }
    if parts.is_empty() { count } else { format!("{count}: {}", parts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::{Generation, Namespace, Origin, PodName};

    fn file(name: &str, ready: bool, summary: &str, message: Option<&str>) -> PodStatusFile {
        let status = if ready { "True" } else { "False" };
        PodStatusFile {
            namespace: Some(Namespace::new("kube-system")),
            name: Some(PodName::new(format!("{name}-node1").as_str())),
            generation: Some(Generation::new("g")),
            uid: None,
            origin: Origin { path: "/m".into(), document: 1 },
            manifest: ManifestState::Current { warnings: Vec::new() },
            summary: summary.into(),
            message: message.map(str::to_owned),
            created_at: None,
            deletion_timestamp: None,
            pod: json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}),
        }
    }

    fn of(files: &[PodStatusFile], around: Around<'_>) -> String {
        let key = |f: &PodStatusFile| PodKey {
            namespace: f.namespace.clone().unwrap(),
            name: f.name.clone().unwrap(),
        };
        line(&files.iter().map(|f| (key(f), Brief::of(f, "node1"))).collect(), around)
    }

    const WELL: Around<'_> = Around { draining: false, trouble: None, refused: 0, sources: &[] };

    #[test]
    fn all_ready_is_a_count_and_the_unready_ones_say_why() {
        let well =
            ["etcd", "kube-controller-manager", "kube-scheduler"].map(|n| file(n, true, "Running", None));
        let mut files = well.to_vec();
        assert_eq!(of(&files, WELL), "3/3 ready");
        files.push(file("kube-apiserver", false, "Pending", Some("waits for etcd")));
        assert_eq!(of(&files, WELL), "3/4 ready: kube-apiserver waits for etcd");
        let waits = "waits for kube-system/etcd-node1, which is not ready: Running: c: probe: a; b, c; \
                     waits for x/web-node1, of which there is no manifest; waits for 2 more";
        files[3] = file("kube-apiserver", false, "DependencyNotReady", Some(waits));
        assert_eq!(of(&files, WELL), "3/4 ready: kube-apiserver waits for etcd, web, 2 more");
        files[3] =
            file("kube-apiserver", false, "Running", Some("main: readiness probe: connection refused"));
        assert_eq!(of(&files, WELL), "3/4 ready: kube-apiserver: main: readiness probe: connection refused");
        files[0] = file("etcd", false, "CrashLoopBackOff", Some("etcd: exit code 1"));
        assert_eq!(of(&files[..1], WELL), "0/1 ready: etcd: CrashLoopBackOff (etcd: exit code 1)");
        assert_eq!(of(&[file("a", false, "Pending", None)], WELL), "0/1 ready: a: Pending");
        assert_eq!(of(&[], WELL), "no Pods");
    }

    #[test]
    fn what_has_done_its_work_is_well_and_what_is_replaced_or_stopped_is_not() {
        let mut done = file("job", false, "Completed", None);
        done.pod["status"]["phase"] = json!("Succeeded");
        let mut new = file("web", true, "Running", None);
        new.manifest = ManifestState::Replacing { waits_for: Some("ErrImagePull: no such image".into()) };
        let mut held = file("held", false, "Stopped", Some("stopped by `podstrap down`"));
        held.manifest = ManifestState::Held;
        let mut leaving = file("gone", true, "Terminating", Some("its manifest is gone"));
        leaving.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        leaving.manifest = ManifestState::Removed;
        assert_eq!(of(&[done.clone(), held.clone()], WELL), "1/1 ready: 1 stopped by hand");
        assert_eq!(
            of(&[done, new, held, leaving], WELL),
            "1/3 ready: gone: Terminating; web: is to be replaced (ErrImagePull: no such image); 1 stopped by hand"
        );
    }

    #[test]
    fn a_full_stop_names_what_is_left() {
        let draining = Around { draining: true, ..WELL };
        let files: Vec<_> = ["a", "b", "c", "d", "e"].map(|n| file(n, true, "Running", None)).to_vec();
        assert_eq!(of(&files, draining), "stopping, 5 left: a, b, c and 2 more");
        assert_eq!(of(&files[..2], draining), "stopping, 2 left: a, b");
        assert_eq!(of(&[], draining), "every Pod is stopped");
    }

    #[test]
    fn what_is_wrong_around_the_pods_is_told() {
        let source = |synced, error: Option<&str>| SourceStatus {
            path: "/m".into(),
            synced,
            error: error.map(str::to_owned),
            ignored: Vec::new(),
        };
        let sources = [source(false, None), source(true, Some("Input/output error")), source(true, None)];
        let around =
            Around { trouble: Some("docker does not answer"), refused: 2, sources: &sources, ..WELL };
        assert_eq!(
            of(&[file("a", false, "Pending", None)], around),
            "0/1 ready: docker does not answer; a: Pending; /m has not been read yet; \
             /m cannot be read: Input/output error; 2 manifests are refused"
        );
        let around = Around { refused: 1, ..WELL };
        assert_eq!(of(&[], around), "no Pods: 1 manifest is refused");
    }

    /// A container's last words must not become orders to systemd.
    #[test]
    fn it_is_one_line_of_bounded_length_whatever_containers_say() {
        let evil = file("a", false, "Running", Some("x\nSTOPPING=1\r\nMAINPID=1\u{2028}\u{85}\0"));
        let text = of(std::slice::from_ref(&evil), WELL);
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{2028}'), "{text:?}");
        assert!(text.starts_with("0/1 ready: a: x STOPPING=1"), "{text}");
        let many: Vec<_> =
            (0..50).map(|n| file(&format!("p{n:02}"), false, "Running", Some(&"ö".repeat(5000)))).collect();
        let text = of(&many, WELL);
        assert!(text.chars().count() <= MOST_OF_ALL + 1, "{}", text.chars().count());
        assert!(text.ends_with("47 more are not ready"), "{text}");
    }
}
