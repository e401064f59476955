//! `podstrap wait`: the contract for boot scripts. Works before there is a daemon or a manifest, tells every change, and ends
//! with a reason.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::args::WaitArgs;
use super::changes::Changes;
use super::error::{Error, Exit};
use super::logs;
use super::published::{Published, roots_of, set_label};
use super::values::{Goal, Millis, PodArg};
use super::view::{View, label, problems, state_of, unix_ms};
use crate::helper::text::{escape, escape_lines};
use crate::report::{ContainerStatus, ManifestState, PodStatusFile, SetStatus};
use crate::sys::clock;

/// A daemon that is killed changes no file.
const RECHECK_MS: u64 = 1000;

/// How many of a failing container's last lines are shown.
const LAST_LINES: usize = 10;

/// What an unprobed container must have run for, in milliseconds; its start is known to the second only.
const SETTLED_MS: i64 = 2_000;

/// Waits, and ends with 0, 3 (refused), 4 (time is up) or 5 (failed, or crash-looping when the time is up).
pub fn run(args: &WaitArgs) -> Result<Exit, Error> {
    let begin = clock::boot_ms();
    let until = begin.saturating_add(args.timeout.0);
    let roots = roots_of(&args.run_dir);
    let mut changes = Changes::new()?;
    let mut progress = Progress::new(begin);
    let mut restarts = Restarts::default();
    loop {
        changes.watch(&[&roots.status(), &roots.run]);
        let published = Published::read(&args.run_dir)?;
        let chosen = choose(&published, &args.pods)?;
        progress.daemon(&published)?;
        progress.tell(&chosen)?;
        restarts.note(&chosen);
        let now = clock::boot_ms();
        match judge(&published, &args.pods, &chosen, args.goal) {
            Judgement::Done => {
                progress.say(&format!("{}: done", args.goal))?;
                return Ok(Exit::Done);
            }
            Judgement::Refused(entries) => {
                tell_refused(&entries);
                return Ok(Exit::Invalid);
            }
            Judgement::Failed(entries) => {
                let mut err = io::stderr();
                for entry in entries {
                    let _ = writeln!(err, "podstrap: wait: {} has failed", label(entry));
                    explain(&published, entry);
                }
                return Ok(Exit::PodFailed);
            }
            Judgement::Pending(reasons) if now >= until => {
                return Ok(give_up(args, &published, &reasons, &restarts));
            }
            Judgement::Pending(_) => changes.wait(RECHECK_MS.min(until - now))?,
        }
    }
}

/// The entries that are meant. Without names: all but those that are on their way out because their manifest is gone.
fn choose<'a>(published: &'a Published, pods: &[PodArg]) -> Result<Vec<&'a PodStatusFile>, Error> {
    if pods.is_empty() {
        return Ok(published.entries.iter().collect());
    }
    let mut chosen: Vec<&PodStatusFile> = Vec::new();
    for pod in pods {
        let found = published.find(pod)?;
        // A second file that claims the name of a Pod is refused without harm to the Pod.
        let real: Vec<_> = found.iter().copied().filter(|e| e.generation.is_some()).collect();
        for entry in if real.is_empty() { found } else { real } {
            if !chosen.iter().any(|e| std::ptr::eq(*e, entry)) {
                chosen.push(entry);
            }
        }
    }
    Ok(chosen)
}

/// What is to be said of the whole.
enum Judgement<'a> {
    /// The goal is reached.
    Done,
    /// Not yet: why, and the entry if there is one.
    Pending(Vec<(String, Option<&'a PodStatusFile>)>),
    /// It never will be: these manifests were refused.
    Refused(Vec<&'a PodStatusFile>),
    /// It never will be: these Pods have ended and are not started again.
    Failed(Vec<&'a PodStatusFile>),
}

fn judge<'a>(
    published: &Published,
    pods: &[PodArg],
    chosen: &[&'a PodStatusFile],
    goal: Goal,
) -> Judgement<'a> {
    if goal == Goal::Gone {
        let left: Vec<_> = chosen.iter().filter(|e| !is_gone(e)).collect();
        let is_there = |pod: &&PodArg| published.is_current() && published.set(pod).ok().flatten().is_some();
        let sets: Vec<_> = pods.iter().filter(is_there).map(|p| (format!("{p} is there"), None)).collect();
        if left.is_empty() && sets.is_empty() {
            return Judgement::Done;
        }
        if left.is_empty() {
            return Judgement::Pending(sets);
        }
        return Judgement::Pending(left.iter().map(|e| (reason(e), Some(**e))).collect());
    }
    if !published.is_current() {
        return Judgement::Pending(vec![("the daemon is not running".into(), None)]);
    }
    let chosen: Vec<&PodStatusFile> = match pods {
        [] => chosen.iter().copied().filter(|e| e.manifest != ManifestState::Removed).collect(),
        _ => chosen.to_vec(),
    };
    let refused: Vec<_> = chosen.iter().copied().filter(|e| !problems(&e.manifest).is_empty()).collect();
    if !refused.is_empty() {
        return Judgement::Refused(refused);
    }
    let failed: Vec<_> = chosen.iter().copied().filter(|e| is_failed(e)).collect();
    if !failed.is_empty() {
        return Judgement::Failed(failed);
    }
    let mut pending: Vec<_> =
        chosen.iter().filter(|e| !is_reached(e, goal)).map(|e| (reason(e), Some(*e))).collect();
    for pod in pods {
        if pod.kind.is_some() && published.set(pod).ok().flatten().is_some() {
            continue;
        }
        if published.find(pod).is_ok_and(|found| found.is_empty()) {
            pending.push((format!("{pod}: no manifest has been read for it"), None));
        }
    }
    let is_meant = |set: &&SetStatus| {
        pods.is_empty() || pods.iter().any(|p| published.set(p).ok().flatten().is_some_and(|s| s == *set))
    };
    let sets: Vec<&SetStatus> = published.daemon.iter().flat_map(|d| &d.sets).filter(is_meant).collect();
    let is_short = |s: &&&SetStatus| match goal {
        Goal::Running => s.current < s.desired,
        Goal::Ready | Goal::Gone => !s.is_complete(),
    };
    pending.extend(sets.iter().filter(is_short).map(|s| (of_set(s), None)));
    if pods.is_empty() {
        let sources = published.daemon.iter().flat_map(|d| &d.sources);
        for source in sources.filter(|s| !s.synced) {
            let cause = source.error.as_deref().unwrap_or("not read yet");
            pending.push((format!("source {}: {}", escape(&source.path), escape(cause)), None));
        }
        if chosen.is_empty() && pending.is_empty() && sets.is_empty() {
            pending.push(("there are no Pods: no manifest has been found".into(), None));
        }
    }
    if pending.is_empty() { Judgement::Done } else { Judgement::Pending(pending) }
}

/// Why a set is not there yet, in one line.
fn of_set(set: &SetStatus) -> String {
    let mut text = format!(
        "{}: {} of {} Pods are available, {} are of the present template",
        set_label(set),
        set.available,
        set.desired,
        set.updated
    );
    if let Some(problem) = set.problems.first().and_then(|p| p.lines().next()) {
        text.push_str(&format!(": {}", escape(problem)));
    }
    text
}

/// Nothing of it runs, and nothing will be started: a refused document never had a Pod, a held Pod is stopped.
pub fn is_gone(entry: &PodStatusFile) -> bool {
    let runs = || View::of(entry).containers.iter().any(|c| c.state.running.is_some());
    entry.generation.is_none()
        || (entry.manifest == ManifestState::Held && entry.deletion_timestamp.is_none() && !runs())
}

fn is_failed(entry: &PodStatusFile) -> bool {
    matches!(entry.manifest, ManifestState::Current { .. }) && View::of(entry).phase == "Failed"
}

/// The file's content must be what runs: a Pod that is still to be replaced is not there yet.
fn is_reached(entry: &PodStatusFile, goal: Goal) -> bool {
    let view = View::of(entry);
    if !matches!(entry.manifest, ManifestState::Current { .. }) || entry.deletion_timestamp.is_some() {
        return false;
    }
    if view.phase == "Succeeded" {
        return true;
    }
    match goal {
        Goal::Ready => view.ready && view.containers.iter().all(|c| has_settled(entry, c)),
        Goal::Running => {
            view.total > 0
                && view.containers.len() == view.total
                && view.containers.iter().all(|c| c.state.running.is_some())
        }
        Goal::Gone => false,
    }
}

/// A container that nothing probes counts as ready the moment it runs, one that crashes at once too. For those who wait it
/// must have run for a moment.
fn has_settled(entry: &PodStatusFile, container: &ContainerStatus) -> bool {
    let specs = entry.pod.pointer("/spec/containers").and_then(serde_json::Value::as_array);
    let spec = specs.and_then(|all| all.iter().find(|c| c["name"] == container.name.as_str()));
    let probed = |s: &serde_json::Value| s["readinessProbe"].is_object() || s["startupProbe"].is_object();
    let started = container.state.running.as_ref().and_then(|r| unix_ms(&r.started_at));
    spec.is_some_and(probed) || started.is_none_or(|at| is_past(at, clock::unix_ms()))
}

/// Whether it began long enough ago. What seems to begin only later did so before the clock was set back.
fn is_past(started: i64, now: i64) -> bool {
    now.saturating_sub(started).saturating_abs() >= SETTLED_MS
}

/// Why an entry is not there yet, in one line.
fn reason(entry: &PodStatusFile) -> String {
    let view = View::of(entry);
    let mut text = format!("{}: {}", label(entry), escape(&entry.summary));
    if let Some(message) = entry.message.as_deref().and_then(|m| m.lines().next()) {
        text.push_str(&format!(": {}", escape(message)));
    } else if let Some(container) = view.culprit() {
        text.push_str(&format!(": container {}: {}", escape(&container.name), escape(&state_of(container))));
    }
    text
}

fn tell_refused(entries: &[&PodStatusFile]) {
    let mut err = io::stderr();
    for entry in entries {
        let _ = writeln!(err, "podstrap: wait: the manifest of {} was refused", label(entry));
        for problem in problems(&entry.manifest) {
            let _ = writeln!(err, "{}", escape_lines(problem));
        }
    }
}

/// The failing container's state and last lines.
fn explain(published: &Published, entry: &PodStatusFile) {
    let mut err = io::stderr();
    let _ = writeln!(err, "  {}", reason(entry));
    let view = View::of(entry);
    let Some(container) = view.culprit() else { return };
    let lines = logs::last_lines(&published.roots().log, entry, &container.name, LAST_LINES);
    if !lines.is_empty() {
        let _ = writeln!(err, "  last lines of container {}:", escape(&container.name));
        for line in lines {
            let _ = writeln!(err, "    {line}");
        }
    }
}

fn give_up(
    args: &WaitArgs,
    published: &Published,
    pending: &[(String, Option<&PodStatusFile>)],
    restarts: &Restarts,
) -> Exit {
    let mut err = io::stderr();
    let _ = writeln!(err, "podstrap: wait: not {} after {}:", args.goal, args.timeout);
    for (reason, entry) in pending {
        match entry {
            Some(entry) if args.goal != Goal::Gone => explain(published, entry),
            Some(_) | None => {
                let _ = writeln!(err, "  {reason}");
            }
        }
    }
    let loops = |e: &&PodStatusFile| restarts.crash_loops(e);
    let crash_loops = args.goal != Goal::Gone && pending.iter().filter_map(|(_, e)| *e).any(|e| loops(&e));
    if crash_loops { Exit::PodFailed } else { Exit::TimedOut }
}

/// What has been told already, so that only changes are.
struct Progress {
    begin: u64,
    daemon: Option<bool>,
    told: BTreeMap<String, (String, String)>,
}

impl Progress {
    fn new(begin: u64) -> Self {
        Self { begin, daemon: None, told: BTreeMap::new() }
    }

    fn say(&self, text: &str) -> Result<(), Error> {
        let elapsed = clock::boot_ms().saturating_sub(self.begin);
        let mut out = io::stdout().lock();
        writeln!(out, "{}.{}s {text}", elapsed / 1000, elapsed % 1000 / 100)
            .and_then(|()| out.flush())
            .map_err(Error::Output)
    }

    fn daemon(&mut self, published: &Published) -> Result<(), Error> {
        let runs = published.is_current();
        if self.daemon != Some(runs) {
            match (runs, published.alive) {
                (true, Some(pid)) => self.say(&format!("the daemon is running (pid {pid})"))?,
                (_, Some(pid)) => self.say(&format!("the daemon is starting (pid {pid})"))?,
                (_, None) => self.say("waiting for the daemon")?,
            }
            self.daemon = Some(runs);
        }
        Ok(())
    }

    fn tell(&mut self, chosen: &[&PodStatusFile]) -> Result<(), Error> {
        let mut now = BTreeMap::new();
        for entry in chosen {
            let view = View::of(entry);
            let count =
                if view.total > 0 { format!(" ({} ready)", view.ready_column()) } else { String::new() };
            // A refused document may bear the name of a Pod.
            let name = match entry.generation {
                Some(_) => label(entry),
                None => format!("{} [{}]", label(entry), escape(&entry.origin.to_string())),
            };
            now.insert(name, (escape(&entry.summary), count));
        }
        for (name, (word, count)) in &now {
            match self.told.get(name) {
                Some((old_word, old_count)) if old_word == word && old_count == count => {}
                Some((old_word, _)) if old_word == word => self.say(&format!("{name}: {word}{count}"))?,
                Some((old_word, _)) => self.say(&format!("{name}: {old_word} → {word}{count}"))?,
                None => self.say(&format!("{name}: {word}{count}"))?,
            }
        }
        for (name, (word, _)) in &self.told {
            if !now.contains_key(name) {
                self.say(&format!("{name}: {word} → gone"))?;
            }
        }
        self.told = now;
        Ok(())
    }
}

/// Restart counts as they were when first seen, to tell a loop from a restart of long ago.
#[derive(Default)]
struct Restarts(BTreeMap<(String, String), u32>);

impl Restarts {
    fn note(&mut self, chosen: &[&PodStatusFile]) {
        for entry in chosen {
            for c in View::of(entry).containers {
                self.0.entry((label(entry), c.name)).or_insert(c.restart_count);
            }
        }
    }

    /// Waiting for its next start after a crash, or started again at least twice while we looked on.
    fn crash_loops(&self, entry: &PodStatusFile) -> bool {
        View::of(entry).containers.iter().any(|c| {
            let backs_off = c.state.waiting.as_ref().is_some_and(|w| w.reason == "CrashLoopBackOff");
            let first = self.0.get(&(label(entry), c.name.clone())).copied().unwrap_or(c.restart_count);
            !c.ready && (backs_off || c.restart_count.saturating_sub(first) >= 2)
        })
    }
}

/// Waits until `gone` says so or the time is up, telling every change; for `down`. Returns whether it came to that.
pub fn until_gone(
    run_dir: &std::path::Path,
    timeout: Millis,
    mut gone: impl FnMut(&Published) -> Result<bool, Error>,
    chosen: impl Fn(&Published) -> Vec<PodStatusFile>,
) -> Result<bool, Error> {
    let begin = clock::boot_ms();
    let until = begin.saturating_add(timeout.0);
    let roots = roots_of(run_dir);
    let mut changes = Changes::new()?;
    let mut progress = Progress::new(begin);
    loop {
        changes.watch(&[&roots.status(), &roots.run]);
        let published = Published::read(run_dir)?;
        let entries = chosen(&published);
        progress.tell(&entries.iter().collect::<Vec<_>>())?;
        if gone(&published)? {
            return Ok(true);
        }
        let now = clock::boot_ms();
        if now >= until {
            return Ok(false);
        }
        changes.wait(RECHECK_MS.min(until - now))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait() {
        for (started, now, past) in
            [(0, 0, false), (0, 1_999, false), (0, 2_000, true), (3_600_000, 0, true), (1_000, 0, false)]
        {
            assert_eq!(is_past(started, now), past, "{started} at {now}");
        }
    }
}
