//! `podstrap handover`: stops all Pods in their order and the daemon, and leaves the manifests to a kubelet that is about to
//! start; or tells why a kubelet would not run them as they run now, and does nothing.
//!
//! A kubelet reads one directory, of each file the first document, every file whatever its name's end, and no ConfigMap or
//! Secret beside a Pod. A Pod that it would not run, or a backup file that it would, is worth more than a warning: with an
//! etcd that does not come back there is no cluster to ask.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::args::{DownArgs, HandoverArgs, MANIFEST_DIR};
use super::error::Error;
use super::plan;
use super::published::Published;
use super::view::label;
use crate::helper::text::escape;
use crate::monitor::record;
use crate::pod::depends::DEPENDS_ON;
use crate::pod::objects::References;
use crate::pod::{Origin, Pod, Volume};
use crate::report::ManifestState;
use crate::source::{Merged, Source};
use crate::sys::process;

/// What is there to be handed over.
#[derive(Debug, Default)]
pub struct Facts {
    sources: Vec<String>,
    merged: Merged,
    /// Why it is not known what is to run.
    unread: Option<String>,
    /// Pods that were stopped by `podstrap down`.
    held: Vec<String>,
    /// Files that a kubelet would read and that are passed over here.
    passed_over: Vec<String>,
    /// Files whose document is a list.
    lists: Vec<String>,
    /// URLs that give a `v1.PodList`, the one list that a kubelet takes, and from URLs only.
    pod_lists: Vec<String>,
    /// The kubelet that runs already.
    kubelet: Option<i32>,
}

/// What can be said of that.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Why it is refused.
    pub refusals: Vec<String>,
    /// What will be different.
    pub warnings: Vec<String>,
}

/// Looks at the sources. An error where there is neither a daemon nor anything that one has left.
pub fn look(args: &HandoverArgs) -> Result<Facts, Error> {
    let published = Published::read(&args.run_dir)?;
    let roots = published.roots();
    if published.alive.is_none() && record::generations(&roots).is_empty() {
        return Err(Error::NoDaemon { run: args.run_dir.clone() });
    }
    let sources = plan::read_sources(&published)?;
    let merged = crate::source::merge(&sources);
    let unread = plan::unread(&sources);
    let held = published.entries.iter().filter(|e| e.manifest == ManifestState::Held).map(label).collect();
    let mut facts = Facts { kubelet: process::named("kubelet"), unread, held, ..Facts::default() };
    for source in &sources {
        let shown = source.standing().shown();
        facts.sources.push(shown.to_owned());
        match source {
            Source::Dir(_) => facts.passed_over.extend(passed_over(Path::new(shown))),
            Source::Url(url) => match url.content().and_then(kind_of).as_deref() {
                Some("PodList") => facts.pod_lists.push(shown.to_owned()),
                Some("List") => facts.lists.push(shown.to_owned()),
                Some(_) | None => {}
            },
        }
    }
    let files: BTreeSet<&str> = merged.good.values().map(|g| g.pod.origin.path.as_str()).collect();
    let is_list =
        |file: &&str| fs::read(file).is_ok_and(|text| kind_of(&text).is_some_and(|k| k.ends_with("List")));
    facts.lists.extend(files.into_iter().filter(is_list).map(str::to_owned));
    facts.merged = merged;
    Ok(facts)
}

/// Regular files without a dot in front that have another ending than a manifest's.
fn passed_over(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path());
    let is_other = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_manifest = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end.as_bytes()));
        !name.starts_with(b".") && !is_manifest && fs::metadata(path).is_ok_and(|m| m.is_file())
    };
    let mut found: Vec<String> = entries.filter(is_other).map(|p| escape(&p.to_string_lossy())).collect();
    found.sort();
    found
}

/// The kind that a content, which has been accepted, names first at its outermost level.
fn kind_of(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    let kind = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => json["kind"].as_str()?.to_owned(),
        Err(_) => text.lines().find_map(|line| line.strip_prefix("kind:"))?.to_owned(),
    };
    let word = kind.split('#').next().unwrap_or(&kind);
    Some(word.trim().trim_matches(['"', '\'']).to_owned())
}

/// Whether a kubelet would run the same Pods.
pub fn judge(facts: &Facts) -> Judgement {
    let mut judgement = Judgement::default();
    let Judgement { refusals, warnings } = &mut judgement;
    if let Some(why) = &facts.unread {
        refusals.push(format!("{why}: what is to run after this is not known"));
    }
    let (urls, paths): (Vec<&String>, Vec<&String>) = facts.sources.iter().partition(|s| plan::is_url(s));
    for (kind, list) in [("staticPodPath", &paths), ("staticPodURL", &urls)] {
        if let [_, _, ..] = list.as_slice() {
            let all: Vec<&str> = list.iter().map(|s| s.as_str()).collect();
            refusals.push(format!(
                "a kubelet reads one {kind}, and there are {}: {}",
                all.len(),
                all.join(", ")
            ));
        }
    }
    for url in urls {
        warnings.push(format!(
            "{url}: the kubelet needs it as its staticPodURL, headers as its staticPodURLHeader; it trusts the host's \
             certificates only, and knows of no digest"
        ));
    }
    for pod in &facts.held {
        warnings.push(format!("{pod}: was stopped by `podstrap down`, and a kubelet starts it"));
    }
    for file in &facts.lists {
        let takes =
            if plan::is_url(file) { "one Pod or a PodList from a URL" } else { "one Pod from a file" };
        refusals.push(format!("{file}: is a list, and a kubelet reads {takes}"));
    }
    let pods = facts.merged.good.values().map(|g| &g.pod.origin);
    let origins: Vec<&Origin> = pods.chain(facts.merged.objects.values().map(|o| &o.origin)).collect();
    for (place, origin) in origins.iter().enumerate() {
        let n = origins.iter().filter(|o| o.path == origin.path).count();
        let is_told = origins.iter().take(place).any(|o| o.path == origin.path);
        if n > 1 && !is_told && ![&facts.lists, &facts.pod_lists].iter().any(|l| l.contains(&origin.path)) {
            let file = &origin.path;
            refusals.push(format!("{file}: holds {n} documents, and a kubelet reads the first one only"));
        }
    }
    for file in &facts.passed_over {
        refusals.push(format!("{file}: is passed over here, but a kubelet reads every file whose name has no dot in front, and would run it"));
    }
    for good in facts.merged.good.values() {
        if good.kept_for.is_some() {
            refusals.push(format!(
                "{}: is refused as it is now; an earlier version of {} runs, which a kubelet does not know",
                good.pod.origin, good.pod.key
            ));
        }
        of_pod(&good.pod, refusals, warnings);
    }
    for held in facts.merged.sets.values() {
        let origin = &held.set.origin;
        refusals.push(format!(
            "{origin}: is a {}, and a kubelet reads Pods only; apply it to the cluster once that runs",
            held.set.key.kind.as_str()
        ));
    }
    for refused in &facts.merged.refused {
        warnings.push(format!("{}: is refused here; a kubelet may take it", refused.origin));
    }
    if let Some(pid) = facts.kubelet {
        warnings.push(format!("a kubelet runs already (pid {pid}): it must not while the Pods run here"));
    }
    judgement
}

fn of_pod(pod: &Pod, refusals: &mut Vec<String>, warnings: &mut Vec<String>) {
    let place = format!("{} ({})", pod.key, pod.origin);
    let references = References::of(pod);
    let objects: Vec<String> = references
        .required
        .iter()
        .chain(&references.optional)
        .map(|r| format!("{} {}", r.kind.as_str(), r.name))
        .collect();
    if !objects.is_empty() {
        refusals.push(format!(
            "{place}: refers to {}, and a kubelet refuses a static Pod that does",
            objects.join(", ")
        ));
    }
    if !pod.depends_on.is_empty() {
        warnings.push(format!("{place}: a kubelet passes {DEPENDS_ON} over, and starts all Pods at once"));
    }
    if pod.volumes.values().any(|v| matches!(v, Volume::EmptyDir { .. })) {
        warnings
            .push(format!("{place}: what is in its emptyDir volumes is lost; the kubelet makes new ones"));
    }
}

/// What is to be done when all is stopped, one a line.
pub fn next(facts: &Facts, args: &HandoverArgs) -> String {
    let path = facts.sources.iter().find(|s| !plan::is_url(s)).map_or(MANIFEST_DIR, String::as_str);
    let images = Published::read(&args.run_dir).map(|p| p.roots().state.join("images.d")).unwrap_or_default();
    format!(
        "Next:\n  \
         1. systemctl disable podstrap   (else it starts the Pods again when the host boots)\n  \
         2. give containerd the images that it cannot pull: ctr -n k8s.io images import FILE   (archives: {})\n  \
         3. start the kubelet with staticPodPath: {path}   (kubeadm: kubeadm init phase kubelet-start, see podstrap(8), \
         KUBEADM)\n  \
         4. to go back: stop the kubelet and its containers, then systemctl enable --now podstrap\n",
        escape(&images.display().to_string())
    )
}

/// The stop is that of `down`.
pub fn down_args(args: &HandoverArgs) -> DownArgs {
    DownArgs {
        pods: Vec::new(),
        timeout: args.timeout,
        run_dir: args.run_dir.clone(),
        state_dir: args.state_dir.clone(),
    }
}

/// The manifests, for the message.
pub fn names(facts: &Facts) -> String {
    facts.sources.join(", ")
}

/// How many Pods the sources give.
pub fn count(facts: &Facts) -> usize {
    facts.merged.good.len()
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
