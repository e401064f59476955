//! From everything that is known of a Pod to why it is as it is: findings, each with its evidence and what to do next.
//!
//! It reads nothing: facts in, text out, so that every cause has its test.

use serde::Serialize;
use serde_json::Value;

use super::super::plan::differences::Change;
use super::super::view::{View, age, label, problems, unix_ms};
use super::addresses::is_in_use;
use super::listeners::Listener;
use crate::helper::text::{escape, first_line};
use crate::report::{ContainerStatus, ManifestState, PodStatusFile, Terminated, Waiting};

/// So many characters of what others have said are shown.
const MOST_OF_MESSAGE: usize = 500;

/// What is known.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub entry: &'a PodStatusFile,
    /// A daemon lives, and what is published is of it.
    pub running: bool,
    /// `runc` or `docker`.
    pub runtime: String,
    pub now_ms: i64,
    /// The last lines of each container's newest log.
    pub logs: Vec<(String, Vec<String>)>,
    /// In how many milliseconds each container that backs off is started again; negative: it is overdue.
    pub next_start_ms: Vec<(String, i64)>,
    /// Who listens at the addresses that are in question.
    pub listeners: Vec<Listener>,
    /// There are such addresses.
    pub is_address_known: bool,
    /// What the Pod's file says differently from what runs.
    pub changes: Vec<Change>,
    /// Since when an earlier version of it worked (RFC 3339), and what this one says differently.
    pub since_worked: Option<(String, Vec<Change>)>,
    /// Where archives of images are looked for.
    pub image_dir: String,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The cause, one sentence.
    pub what: String,
    /// What shows it.
    pub evidence: Vec<String>,
    /// What to do.
    pub next: String,
}

impl Finding {
    fn new(what: impl Into<String>, evidence: Vec<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), evidence, next: next.into() }
    }
}

/// All causes; at least one finding, which may be that all is well.
pub fn explain(facts: &Facts<'_>) -> Vec<Finding> {
    let entry = facts.entry;
    let mut findings = Vec::new();
    if !facts.running {
        findings.push(Finding::new(
            "The daemon is not running: containers go on, but nothing is probed, restarted or replaced, and what follows \
             is what it last published",
            Vec::new(),
            "start the daemon (`systemctl start podstrap`)",
        ));
    }
    let before = findings.len();
    findings.extend(of_manifest(facts));
    if entry.generation.is_some()
        && entry.manifest != ManifestState::Held
        && entry.deletion_timestamp.is_none()
    {
        let view = View::of(entry);
        let is_well = view.ready || view.phase == "Succeeded";
        let causes = of_containers(facts, &view);
        let none = causes.is_empty();
        findings.extend(causes);
        findings.extend(
            stuck(entry).filter(|_| is_well).map(|what| Finding::new(what, vec![], END_WHAT_KEEPS_IT)),
        );
        if is_well && findings.len() == before {
            findings.push(well(facts, &view));
        } else if none && !is_well && findings.len() == before {
            let message = entry.message.as_deref().map(|m| format!(": {}", said(m))).unwrap_or_default();
            let what = format!("Its state is {}{message}", escape(&entry.summary));
            findings.push(Finding::new(
                what,
                Vec::new(),
                format!("wait, or look again: `podstrap status {}`", label(entry)),
            ));
        }
        findings.extend(restarts(facts, &view));
        if let (Some(last), false) = (findings.last_mut(), is_well) {
            last.evidence.extend(standing(facts));
            last.evidence.extend(since_worked(facts));
        }
    }
    findings
}

/// The paragraph, the evidence, and the next step.
pub fn text(facts: &Facts<'_>, findings: &[Finding]) -> String {
    let entry = facts.entry;
    let view = View::of(entry);
    let is_well = entry.generation.is_some() && (view.ready || view.phase == "Succeeded");
    let mut out = format!("{} {}.", label(entry), if is_well { "is well" } else { "is not ready" });
    let mut next: Vec<&str> = Vec::new();
    for finding in findings {
        out.push_str(&format!(" {}.", finding.what));
        if !next.contains(&finding.next.as_str()) {
            next.push(&finding.next);
        }
    }
    out.push('\n');
    for line in findings.iter().flat_map(|f| &f.evidence) {
        out.push_str(&format!("    {line}\n"));
    }
    out.push_str(&format!("Next: {}.\n", next.join("; ")));
    out
}

fn said(message: &str) -> String {
    first_line(message, MOST_OF_MESSAGE).trim_end_matches('.').to_owned()
}

fn ago(facts: &Facts<'_>, time: Option<&str>) -> Option<String> {
    time.and_then(unix_ms).map(|at| format!("{} ago", age(facts.now_ms.saturating_sub(at))))
}

fn of_manifest(facts: &Facts<'_>) -> Vec<Finding> {
    let entry = facts.entry;
    let file = escape(&entry.origin.path);
    let changes = || facts.changes.iter().map(|c| format!("changed: {c}")).collect::<Vec<_>>();
    let lines = |all: &[String]| -> Vec<String> {
        all.iter().take(5).flat_map(|p| p.lines().take(4)).map(escape).collect()
    };
    let validate = format!("mend {file}; `podstrap validate {file}` shows every problem");
    vec![match &entry.manifest {
        ManifestState::Refused { .. } => {
            let problems = problems(&entry.manifest);
            Finding::new(
                format!("Its manifest {file} is refused, and no earlier version of it runs"),
                lines(problems),
                validate,
            )
        }
        ManifestState::Kept { problems } => Finding::new(
            format!("Its manifest {file} cannot be used as it is now, and the version before goes on"),
            lines(problems),
            validate,
        ),
        ManifestState::Replacing { waits_for } => {
            let waits = waits_for.as_deref().map_or_else(
                || "the running version is being stopped".to_owned(),
                |w| format!("what it waits for is: {}", said(w)),
            );
            Finding::new(
                format!("Its manifest {file} has changed and the new version has not begun; {waits}"),
                changes(),
                next_of_wait(waits_for.as_deref().unwrap_or_default(), "", facts),
            )
        }
        ManifestState::Removed => {
            let since = ago(facts, entry.deletion_timestamp.as_deref()).unwrap_or_default();
            Finding::new(
                format!("Its manifest is gone, and it is being stopped ({since})"),
                stuck(entry).into_iter().collect(),
                match stuck(entry) {
                    Some(_) => END_WHAT_KEEPS_IT,
                    None => "wait for its grace period, or put the manifest back",
                },
            )
        }
        ManifestState::Held => Finding::new(
            "It was stopped by `podstrap down`, and stays so until its manifest changes or the daemon is started anew",
            Vec::new(),
            "restart the daemon (`systemctl restart podstrap`) to have it started",
        ),
        ManifestState::Current { .. } if entry.deletion_timestamp.is_some() => Finding::new(
            "It is being stopped",
            entry.message.iter().map(|m| said(m)).collect(),
            if stuck(entry).is_some() { END_WHAT_KEEPS_IT } else { "wait for its grace period" },
        ),
        ManifestState::Current { .. } => return Vec::new(),
    }]
}

/// What to do about a run or a Pod that cannot be got rid of.
const END_WHAT_KEEPS_IT: &str = "end what keeps it: a process that waits for a dead disk (state D in `ps`), a mount, a file \
                                 system that is full or read-only; it is tried again by itself";

/// What is told of a Pod that is to go and cannot be got rid of.
fn stuck(entry: &PodStatusFile) -> Option<String> {
    let message = entry.message.as_deref()?;
    ["cannot be removed", "cannot be cleared away"].iter().any(|t| message.contains(t)).then(|| said(message))
}

fn of_containers(facts: &Facts<'_>, view: &View) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut told: Vec<&Waiting> = Vec::new();
    let unready = view.all().filter(|c| !c.ready);
    // One that has done its work is no cause.
    for container in unready.filter(|c| c.state.terminated.as_ref().is_none_or(|t| t.exit_code != 0)) {
        let ended = container.state.terminated.as_ref();
        let last = container.last_state.terminated.as_ref();
        match (&container.state.waiting, ended, last) {
            (Some(waiting), _, Some(last)) if waiting.reason == "CrashLoopBackOff" => {
                findings.push(crashed(facts, container, last));
            }
            (Some(waiting), _, last) => {
                // What holds up the whole Pod stands with each of its containers.
                if !told.contains(&waiting) {
                    findings.extend(waits(facts, container, waiting, last));
                    told.push(waiting);
                }
            }
            (None, Some(ended), _) => findings.push(crashed(facts, container, ended)),
            (None, None, _) => findings.push(unready_one(facts, container)),
        }
    }
    findings
}

fn waits(
    facts: &Facts<'_>,
    container: &ContainerStatus,
    waiting: &Waiting,
    last: Option<&Terminated>,
) -> Option<Finding> {
    let name = escape(&container.name);
    let message = waiting.message.as_deref();
    let what = match (waiting.reason.as_str(), message) {
        // The init container that it waits for is told of by itself.
        ("PodInitializing", None) => return None,
        (_, None) if last.is_some() => {
            let last = last.map(ended_in_words).unwrap_or_default();
            format!("Container {name} is being started again, after it {last}")
        }
        ("ContainerCreating", None) => format!("Container {name} is about to be started"),
        (reason, None) => format!("Container {name} waits: {}", escape(reason)),
        (reason, Some(message)) if reason.starts_with("Dependency") || reason == "NodePorts" => {
            format!("It {}", said(message))
        }
        ("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull", Some(_)) => {
            format!("The image {} of container {name} is not here", escape(&container.image))
        }
        (reason, Some(message)) => format!("Container {name} waits ({}): {}", escape(reason), said(message)),
    };
    let mut evidence = Vec::new();
    if waiting.reason.contains("Image") {
        evidence.extend(message.iter().flat_map(|m| m.lines()).take(5).map(|l| escape(l.trim())));
        let with = if facts.runtime == "docker" { "docker" } else { "skopeo, where it is installed" };
        evidence.push(format!(
            "looked for: in the archives of {}, and pulled with {with}",
            escape(&facts.image_dir)
        ));
    } else if let Some(message) = message {
        // The runtime's own words may have several lines.
        evidence.extend(message.lines().map(str::trim).filter(|l| !l.is_empty()).skip(1).take(5).map(escape));
    }
    evidence.extend(log_lines(facts, container));
    Some(Finding::new(what, evidence, next_of_wait(&waiting.reason, message.unwrap_or_default(), facts)))
}

fn next_of_wait(reason: &str, message: &str, facts: &Facts<'_>) -> String {
    let has = |text: &str| reason.contains(text) || message.contains(text);
    let text = if has("DependencyCycle") {
        "take one of the Pods out of the annotation podstrap.io/depends-on"
    } else if has("DependencyNotFound") {
        "write the missing manifest, or mend the name in podstrap.io/depends-on"
    } else if has("NodePorts") {
        "give one of the two Pods another hostPort (under hostNetwork: another containerPort), or remove the other's manifest"
    } else if has("Dependency") {
        "`podstrap why` the Pod that it waits for"
    } else if has("Image") || has("pulling image") {
        let dir = escape(&facts.image_dir);
        return format!(
            "put an archive of the image into {dir}, or `podstrap image load FILE` or `podstrap image pull IMAGE`"
        );
    } else if has("CNI") {
        "write a CNI network and install its plugins, or set hostNetwork: true"
    } else if has("CreateContainerConfigError") || has("configmap") || has("secret") {
        "write the missing ConfigMap or Secret beside the manifests, or mend its name"
    } else if has("KillContainerError") {
        END_WHAT_KEEPS_IT
    } else if has("its start hung") {
        "mend the file system that does not answer, or unmount it; it is tried again by itself"
    } else if has("FailedMount") || has("mount") {
        "mend the volume or make its path; it is tried again by itself"
    } else if has("RunContainerError") || has("CreateContainerError") || has("StartError") {
        "mend what the runtime complains of in the manifest or on the host; it is tried again by itself"
    } else if has("PostStartHookError") {
        "mend the postStart hook; it is tried again by itself"
    } else {
        "wait a moment, and ask again"
    };
    text.to_owned()
}

fn unready_one(facts: &Facts<'_>, container: &ContainerStatus) -> Finding {
    let name = &container.name;
    let shown = escape(name);
    let prefix = format!("{name}: ");
    let probe = facts.entry.message.as_deref().and_then(|m| m.strip_prefix(&prefix));
    let since = container.state.running.as_ref().and_then(|r| ago(facts, Some(&r.started_at)));
    let since = since.map(|s| format!(" (started {s})")).unwrap_or_default();
    let what = match probe {
        Some(probe) => format!("Container {shown} runs{since} and is not ready: {}", said(probe)),
        None => format!("Container {shown} runs{since} and is not ready yet"),
    };
    let mut evidence = Vec::new();
    let spec = spec_of(facts.entry, name);
    for kind in ["startupProbe", "readinessProbe"] {
        if let Some(probe) = spec.and_then(|s| s.get(kind)) {
            evidence.push(format!("{kind}: {}", first_line(&probe.to_string(), 200)));
        }
    }
    evidence.extend(log_lines(facts, container));
    let pod = label(facts.entry);
    Finding::new(
        what,
        evidence,
        format!("look what the program does: `podstrap logs {pod} -c {shown}`; or mend the probe"),
    )
}

/// A container that has ended and should not have.
fn crashed(facts: &Facts<'_>, container: &ContainerStatus, ended: &Terminated) -> Finding {
    let name = escape(&container.name);
    let when = ago(facts, ended.finished_at.as_deref()).map(|w| format!(", {w}")).unwrap_or_default();
    let mut what = format!("Container {name} {}{when}", ended_in_words(ended));
    if container.restart_count > 0 {
        let times = container.restart_count;
        what.push_str(&format!(
            ", and was started again {times} time{} before",
            if times == 1 { "" } else { "s" }
        ));
    }
    match facts.next_start_ms.iter().find(|n| n.0 == container.name).map(|n| n.1) {
        Some(ms @ 1..) => what.push_str(&format!("; it is started again in {}", short(ms))),
        Some(_) => what.push_str("; it is due to be started again now"),
        None if container.state.terminated.is_some() => what.push_str("; it is not started again"),
        None => {}
    }
    let pod = label(facts.entry);
    let mut next = format!("read all of its log: `podstrap logs {pod} -c {name}`");
    let mut evidence = Vec::new();
    if ended.reason == "OOMKilled" {
        let (line, step) = memory(facts, &container.name);
        evidence.push(line);
        next = step;
    } else if ended.reason == "StartError" || matches!(ended.exit_code, 126 | 127) {
        next = format!("mend the command of container {name}, or use an image that has it");
    } else if ended.message.as_deref().is_some_and(|m| m.to_lowercase().contains("probe")) {
        next = format!("find out why the probe fails: `podstrap logs -p {pod} -c {name}`; or mend the probe");
    }
    let message = ended.message.as_deref().unwrap_or_default();
    let by_kill = ended.signal == Some(9) || ended.exit_code == 137;
    if by_kill
        && ended.reason != "OOMKilled"
        && message.is_empty()
        && let Some(limit) = memory_limit(facts, &container.name)
    {
        evidence.push(format!(
            "its memory limit is {limit}: it may have gone beyond that, which not every runtime tells"
        ));
    }
    evidence.extend(
        message
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .take(5)
            .map(|l| format!("said: {}", escape(l))),
    );
    let lines = log_of(facts, container);
    if lines.iter().chain([&message.to_owned()]).any(|l| is_in_use(l)) {
        match facts.listeners.as_slice() {
            [] if !facts.is_address_known => evidence.push(
                "an address that it wants was in use; neither its words nor its manifest tell which".to_owned(),
            ),
            [] => evidence.push(
                "an address that it wants was in use; nobody listens there now (the file of a Unix socket stays when its \
                 program is killed, and has to be removed)"
                    .to_owned(),
            ),
            listeners => {
                let holders: Vec<String> = listeners.iter().map(held_by).collect();
                what.push_str(&format!("; {}", holders.join(", ")));
                next = "stop the process that holds it, or give one of the two another port or path".to_owned();
            }
        }
    }
    evidence.extend(log_lines(facts, container));
    Finding::new(what, evidence, next)
}

/// What ran out, and what can be done about it.
fn memory(facts: &Facts<'_>, name: &str) -> (String, String) {
    match memory_limit(facts, name) {
        Some(limit) => (
            format!("its memory limit is {limit}"),
            format!(
                "raise resources.limits.memory of container {}, or let the program take less",
                escape(name)
            ),
        ),
        None => (
            "it has no memory limit of its own: the Pod's limit or the host's memory was used up".to_owned(),
            "give the host more memory, or its Pods limits".to_owned(),
        ),
    }
}

fn memory_limit(facts: &Facts<'_>, name: &str) -> Option<String> {
    let limit = spec_of(facts.entry, name)?.pointer("/resources/limits/memory")?;
    Some(limit.as_str().map_or_else(|| limit.to_string(), escape))
}

fn held_by(listener: &Listener) -> String {
    match &listener.process {
        Some((pid, name)) => format!("{} is held by process {pid} ({name})", listener.address),
        None => format!("{} is held by a process that cannot be seen from here", listener.address),
    }
}

fn log_of<'f>(facts: &'f Facts<'_>, container: &ContainerStatus) -> &'f [String] {
    let found = facts.logs.iter().find(|l| l.0 == container.name);
    found.map_or(&[][..], |l| l.1.as_slice())
}

fn log_lines(facts: &Facts<'_>, container: &ContainerStatus) -> Vec<String> {
    let name = escape(&container.name);
    let lines = log_of(facts, container).iter();
    lines.filter(|l| !l.trim().is_empty()).map(|line| format!("log of {name}: {line}")).collect()
}

/// Containers that are well now and were started again before.
fn restarts(facts: &Facts<'_>, view: &View) -> Vec<Finding> {
    let pod = label(facts.entry);
    let again = view.containers.iter().filter(|c| c.ready && c.restart_count > 0);
    again
        .filter_map(|c| {
            let last = c.last_state.terminated.as_ref()?;
            let name = escape(&c.name);
            let when = ago(facts, last.finished_at.as_deref()).unwrap_or_default();
            let times = c.restart_count;
            let what = format!(
                "Container {name} was started again {times} time{}, last {when}, after it {}",
                if times == 1 { "" } else { "s" },
                ended_in_words(last)
            );
            let said =
                last.message.iter().flat_map(|m| m.lines()).take(5).map(|l| format!("said: {}", escape(l)));
            Some(Finding::new(
                what,
                said.collect(),
                format!("for its last words: `podstrap logs -p {pod} -c {name}`"),
            ))
        })
        .collect()
}

fn well(facts: &Facts<'_>, view: &View) -> Finding {
    if view.phase == "Succeeded" {
        return Finding::new("All its containers have done their work", Vec::new(), "nothing is to be done");
    }
    let since = ready_condition(facts.entry).and_then(|(_, at)| Some((ago(facts, Some(&at))?, at)));
    let since = since.map(|(age, at)| format!(" since {at} ({age})")).unwrap_or_default();
    let what = match view.total {
        1 => format!("Its container has been ready{since}"),
        n => format!("All {n} of its containers have been ready{since}"),
    };
    let version = facts
        .entry
        .created_at
        .as_deref()
        .map(|at| format!("this version of {} has run since {at}", escape(&facts.entry.origin.path)));
    Finding::new(what, version.into_iter().collect(), "nothing is to be done")
}

/// Since when it is not ready, and what that has to do with its manifest.
fn standing(facts: &Facts<'_>) -> Option<String> {
    let created = facts.entry.created_at.as_deref()?;
    let file = escape(&facts.entry.origin.path);
    let (ready, changed) = ready_condition(facts.entry)?;
    let begun = unix_ms(created)?;
    let never = !ready && unix_ms(&changed)?.saturating_sub(begun) < 1_000;
    Some(match never {
        true => format!(
            "this version of {file} was begun {} ({created}), and has not been ready since",
            ago(facts, Some(created))?
        ),
        false => format!(
            "not ready since {changed} ({}); {file} has not changed since {created}",
            ago(facts, Some(&changed))?
        ),
    })
}

/// What this version has that the last one that worked had not.
fn since_worked(facts: &Facts<'_>) -> Vec<String> {
    let Some((since, changes)) = &facts.since_worked else { return Vec::new() };
    let head = match changes.as_slice() {
        [] => "it says the same as the version that worked last, of another node or name",
        [_, ..] => "changed since it last worked",
    };
    let age = ago(facts, Some(since)).map(|ago| format!(", seen to work {ago}")).unwrap_or_default();
    let first = format!("{head} (a version of {}{age}):", escape(&facts.entry.origin.path));
    [first].into_iter().chain(changes.iter().map(|change| format!("    {change}"))).collect()
}

fn ready_condition(entry: &PodStatusFile) -> Option<(bool, String)> {
    let all = entry.pod.pointer("/status/conditions")?.as_array()?;
    let ready = all.iter().find(|c| c["type"] == "Ready")?;
    Some((ready["status"] == "True", ready["lastTransitionTime"].as_str()?.to_owned()))
}

/// What the manifest says of a container.
pub fn spec_of<'a>(entry: &'a PodStatusFile, name: &str) -> Option<&'a Value> {
    let of = |path: &str| entry.pod.pointer(path).and_then(Value::as_array).into_iter().flatten();
    of("/spec/containers").chain(of("/spec/initContainers")).find(|c| c["name"] == name)
}

fn ended_in_words(ended: &Terminated) -> String {
    if ended.reason == "OOMKilled" {
        return "was killed for want of memory (OOMKilled)".to_owned();
    }
    let code = ended.exit_code;
    // docker tells a signal as 128 and its number.
    let signal = ended.signal.or_else(|| Some(code - 128).filter(|s| (1..=64).contains(s)));
    match (signal, code) {
        (Some(signal), _) if ended.signal.is_some() => {
            format!("was killed by signal {signal}{}", signal_in_words(signal))
        }
        (Some(signal), _) => format!(
            "ended with exit code {code}, which is that of signal {signal}{}",
            signal_in_words(signal)
        ),
        (None, _) if ended.reason == "ContainerStatusUnknown" => {
            "was lost, with the host's boot or its monitor".to_owned()
        }
        (None, 0) => "ended by itself with exit code 0".to_owned(),
        (None, 126) => "ended with exit code 126 (a command that cannot be executed)".to_owned(),
        (None, 127) => "ended with exit code 127 (a command that is not found)".to_owned(),
        (None, 128) => "could not be started (exit code 128)".to_owned(),
        (None, code) => format!("ended with exit code {code}"),
    }
}

fn signal_in_words(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL: an instruction that this processor does not have)",
        6 => " (SIGABRT: it gave up by itself)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE: a division by zero)",
        9 => " (SIGKILL: by somebody else, or because it did not end in time)",
        11 => " (SIGSEGV: it touched memory that is not its own)",
        13 => " (SIGPIPE: nobody read what it wrote)",
        15 => " (SIGTERM: it was told to end)",
        24 => " (SIGXCPU)",
        25 => " (SIGXFSZ)",
        31 => " (SIGSYS: a system call that seccomp forbids)",
        _ => "",
    }
}

fn short(ms: i64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
