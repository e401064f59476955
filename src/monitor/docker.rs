//! A run of a container that docker holds. Nobody has to stay with it: this process starts it and ends; when it is over,
//! another one records how it ended, takes its log over and clears away. `record.json` says which of the two is due.
//!
//! Any of them may be killed at any moment, and docker's daemon may be gone: what is left is found by the container's
//! labels, and by the file in which docker wrote its id before it was started.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use super::MonitorError;
use super::child::{self, ChildError};
use super::record::{End, MonitorSpec, ProcessId, Record, RecordPhase};
use super::recorder::Recorder;
use super::start::{self, NotStarted};
use crate::paths::{AttemptDir, fnv1a};
use crate::pod::{Container, Security};
use crate::runtime::docker::events::Verdict;
use crate::runtime::docker::run::{self, RunError, RunParts};
use crate::runtime::docker::{self, Docker, Flavour, Inspected};
use crate::runtime::{Host, runc};
use crate::sys::atomic::{self, Durability};
use crate::sys::cgroup::Cgroups;
use crate::sys::{clock, process};

use call::inspect;
use end::{clear, finish};

pub mod call;
mod end;

pub use end::sweep;

/// What is to be done about a run that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask docker how, and clear away.
    Ask,
    /// Another run of the container may follow at once: ask docker how, but clear away only when that runs. docker takes half
    /// as long again to start one container while it removes another.
    AskAndLinger,
    /// The same, and docker has told how.
    Record(Verdict),
}

impl Order {
    /// As arguments.
    pub fn words(self) -> Vec<String> {
        match self {
            Self::Ask => Vec::new(),
            Self::AskAndLinger => vec![SUCCESSOR.to_owned()],
            Self::Record(Verdict { code, unix_ms }) => {
                vec![SUCCESSOR.to_owned(), code.to_string(), unix_ms.to_string()]
            }
        }
    }

    /// What such arguments say.
    pub fn of(words: &[OsString]) -> Self {
        let number = |at: usize| words.get(at).and_then(|word| word.to_str());
        let code = number(1).and_then(|text| text.parse().ok());
        let unix_ms = number(2).and_then(|text| text.parse().ok());
        match (words.first().is_some_and(|word| word == SUCCESSOR), code.zip(unix_ms)) {
            (false, _) => Self::Ask,
            (true, None) => Self::AskAndLinger,
            (true, Some((code, unix_ms))) => Self::Record(Verdict { code, unix_ms }),
        }
    }
}

const SUCCESSOR: &str = "successor";

/// Does what is due: starts the run, or makes an end of it.
pub(super) fn turn(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    docker: &Docker,
    boot: String,
    order: Order,
) -> Result<(), MonitorError> {
    match Record::read(dir, &boot) {
        None if dir.record().exists() => Err(MonitorError::Used),
        None => begin(dir, spec, docker, boot),
        Some(record) if record.phase == RecordPhase::Running => {
            let mut recorder = Recorder::of(dir, spec, record);
            finish(dir, spec, docker, &mut recorder, order)
        }
        Some(_) => Err(MonitorError::Used),
    }
}

fn begin(dir: &AttemptDir, spec: &MonitorSpec, docker: &Docker, boot: String) -> Result<(), MonitorError> {
    let mut recorder = Recorder::begin(dir, spec, boot);
    recorder.save();
    match start(dir, spec, docker, &mut recorder) {
        Ok(found) => {
            note_start(&mut recorder, &found);
            // Without it nobody would know that it runs, and it would be swept away.
            recorder.save_for_sure();
            // Its end may have come before anybody could look.
            if found.state.is_alive() { Ok(()) } else { finish(dir, spec, docker, &mut recorder, Order::Ask) }
        }
        Err(NotStarted { reason, message }) => {
            recorder.ended(End::NotStarted { reason: reason.to_owned(), message });
            let left = clear(dir, spec, docker, &recorder);
            recorder.save_for_sure();
            if left.is_empty() { Ok(()) } else { Err(MonitorError::Remains(left)) }
        }
    }
}

fn note_start(recorder: &mut Recorder, found: &Inspected) {
    let pid = found.state.pid;
    let start_ticks = process::start_ticks(pid).ok().flatten().unwrap_or(0);
    recorder.record.container = Some(found.id.clone());
    recorder.record.image_id = Some(found.image_id());
    recorder.record.stop_signal = recorder.record.stop_signal.or_else(|| found.stop_signal());
    let since = unix_ms(&found.state.started_at).unwrap_or_else(clock::unix_ms);
    recorder.running_since(ProcessId { pid, start_ticks }, since);
}

/// A time as docker writes it, in milliseconds since 1970; `None` for one that never was.
fn unix_ms(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond()).filter(|ms| *ms > 0)
}

/// Everything up to the running container.
fn start(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    docker: &Docker,
    recorder: &mut Recorder,
) -> Result<Inspected, NotStarted> {
    let container = start::container(spec)?;
    recorder.record.stop_signal = container.lifecycle.stop_signal;
    let cgroups = Cgroups::detect().map_err(|e| NotStarted::create(format!("mountinfo: {e}")))?;
    let mut ground = start::lay(dir, spec, container, &cgroups)?;
    let log = spec.roots.log_file(&spec.pod, &spec.container, spec.attempt);
    ground.warnings.extend(start::make_log_place(spec)?);
    let image = spec.image.as_deref().unwrap_or(&container.image.full);
    let (user, is_root) = user(docker, image, &ground.security)?;
    let profile = start::profile(container, &ground.security, &spec.roots)?;
    let profile_file = run::profile_file(&dir.bundle());
    if let Some(text) = &profile {
        write(&profile_file, text)?;
    }
    let (id_file, env_file) = (id_file(dir), dir.bundle().join("env"));
    let mut name = run::name(&spec.pod, spec.container.as_str(), spec.attempt);
    let host: &Host = &ground.host;
    for _ in 0..3 {
        let parts = RunParts {
            pod: &spec.pod,
            container,
            attempt: spec.attempt,
            id: &spec.id,
            name: &name,
            run_dir: &spec.roots.run,
            pause: ground.sandbox.as_ref().and_then(|s| s.container.as_deref()),
            user: user.as_deref(),
            is_root,
            variables: &ground.variables,
            host_name: &ground.host_name,
            profile: profile.as_ref().map(|_| profile_file.as_path()),
            sources: &ground.sources,
            host,
            processes: processes(),
            cgroup_root: &spec.cgroup_root,
            log: &log,
            log_max_bytes: spec.log_max_bytes,
            log_max_files: spec.log_max_files,
            id_file: &id_file,
            env_file: &env_file,
        };
        let made = docker.run(&parts, image).map_err(|e| match e {
            RunError::Bundle(e) => start::not_bundled(e),
            RunError::NoProgram(_) | RunError::Variable(_) => NotStarted::config(e),
        })?;
        write(&env_file, &made.env_file)?;
        let _ = fs::remove_file(&id_file);
        let result = child::run(&made.line);
        // Secrets may be in it, and docker has read it.
        let _ = fs::remove_file(&env_file);
        match result {
            Ok(_) => {
                let found = just_made(dir, docker, recorder)?;
                let warnings = ground.warnings.into_iter().chain(made.warnings).collect();
                return Ok(started(spec, recorder, warnings, found));
            }
            Err(ChildError::Ended(status, text)) => match docker::name_holder(&text) {
                Some(holder) => match in_the_way(spec, docker, holder)? {
                    Holder::Itself(found) => {
                        let warnings = ground.warnings.into_iter().chain(made.warnings).collect();
                        return Ok(started(spec, recorder, warnings, *found));
                    }
                    Holder::Gone => {}
                    Holder::Stranger => {
                        name = run::other_name(&name, fnv1a(spec.roots.run.as_os_str().as_encoded_bytes()));
                    }
                },
                None => return Err(refused(container, &id_file, status, &text)),
            },
            Err(e) => return Err(NotStarted::create(format!("docker run {e}"))),
        }
    }
    Err(NotStarted::create(format!("docker: the name {name} is taken again and again")))
}

fn write(path: &Path, text: &str) -> Result<(), NotStarted> {
    atomic::write(path, text.as_bytes(), 0o600, Durability::Process)
        .map_err(|e| NotStarted::at("write", path, e))
}

/// Where docker writes the container's id before it starts it.
fn id_file(dir: &AttemptDir) -> PathBuf {
    dir.0.join("id")
}

fn processes() -> u64 {
    getrlimit(Resource::RLIMIT_NPROC).map_or(4096, |(_, hard)| hard)
}

/// As whom the container runs, in docker's words, and whether that is root. Only where the image's own word counts is it
/// asked for.
fn user(docker: &Docker, image: &str, security: &Security) -> Result<(Option<String>, bool), NotStarted> {
    let non_root = security.run_as_non_root == Some(true);
    let group = security.run_as_group;
    if let Some(user) = security.run_as_user {
        crate::runtime::user::check(non_root, &user.to_string()).map_err(NotStarted::config)?;
        let words = group.map_or_else(|| user.to_string(), |group| format!("{user}:{group}"));
        return Ok((Some(words), user == 0));
    }
    if group.is_none() && !non_root && docker.flavour != Flavour::Podman {
        // Nobody needs to know.
        return Ok((None, false));
    }
    let text = child::run(&docker.image_user(image))
        .map_err(|e| NotStarted::create(format!("docker image inspect {image}: {e}")))?;
    let whole = text.lines().last().unwrap_or_default().trim();
    let name = whole.split(':').next().unwrap_or_default();
    crate::runtime::user::check(non_root, name).map_err(NotStarted::config)?;
    let is_root = matches!(name, "" | "0" | "root");
    let name = if name.is_empty() { "0" } else { name };
    Ok((group.map(|group| format!("{name}:{group}")), is_root))
}

/// What holds the name that the container was to have.
enum Holder {
    /// The very run that is to be started: whoever started it was killed before he could say so.
    Itself(Box<Inspected>),
    /// Something that is no more.
    Gone,
    /// Another's container, which is left alone.
    Stranger,
}

fn in_the_way(spec: &MonitorSpec, docker: &Docker, holder: &str) -> Result<Holder, NotStarted> {
    let failed = |e: ChildError| NotStarted::create(format!("docker: container {holder} has its name: {e}"));
    let found = match inspect(docker, holder) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Holder::Gone),
        Err(e) => return Err(failed(e)),
    };
    if Path::new(&found.labels.run_dir) != spec.roots.run {
        return Ok(Holder::Stranger);
    }
    if found.state.is_alive() && found.labels.id == spec.id.as_str() {
        return Ok(Holder::Itself(Box::new(found)));
    }
    call::remove(docker, holder).map_err(failed)?;
    Ok(Holder::Gone)
}

/// What docker has just made by our word.
fn just_made(dir: &AttemptDir, docker: &Docker, recorder: &mut Recorder) -> Result<Inspected, NotStarted> {
    let id = read_id(dir).ok_or_else(|| {
        NotStarted::create("docker started the container but did not write its id".to_owned())
    })?;
    recorder.record.container = Some(id.clone());
    inspect(docker, &id).map_err(|e| NotStarted::create(format!("docker inspect: {e}")))?.ok_or_else(|| {
        NotStarted::create("the container was removed as soon as it had been started".to_owned())
    })
}

/// Notes what is to be told of a start, and where its log is.
fn started(
    spec: &MonitorSpec,
    recorder: &mut Recorder,
    warnings: Vec<String>,
    found: Inspected,
) -> Inspected {
    if spec.attempt == 0 {
        warnings.iter().for_each(|warning| recorder.warn(warning));
    }
    recorder.record.warnings = warnings;
    if let Some(target) = found.log_path.as_deref().filter(|path| !path.is_empty())
        && let Err(e) = start::log_place(spec).point(Path::new(target))
    {
        let log = spec.roots.log_file(&spec.pod, &spec.container, spec.attempt);
        recorder.warn(&format!("cannot link {} to docker's log: {e}", log.display()));
    }
    found
}

fn read_id(dir: &AttemptDir) -> Option<String> {
    let text = fs::read_to_string(id_file(dir)).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Why docker did not start the container, in Kubernetes' words. A container that was made has an id.
fn refused(
    container: &Container,
    id_file: &Path,
    status: crate::sys::spawn::ExitStatus,
    text: &str,
) -> NotStarted {
    let message = docker::complaint(text);
    if docker::is_no_image(text) {
        return NotStarted {
            reason: "ImageNotPresent",
            message: format!(
                "the image {} is not here; load its archive with `podstrap image load FILE`",
                container.image
            ),
        };
    }
    if docker::is_unreachable(text) || !id_file.exists() {
        return NotStarted::create(format!("docker: {message} ({status})"));
    }
    if container.privileged && message.contains("unable to apply caps") {
        return NotStarted::config(
            "docker gives a privileged container every capability that the kernel knows, and this host may not give some of \
             them; run podstrap with --runtime runc, or name the capabilities that are needed",
        );
    }
    NotStarted { reason: runc::start_failure_reason(&message), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_what_its_words_say() {
        let verdict = Verdict { code: -1, unix_ms: 1_795_307_978_123 };
        for order in [Order::Ask, Order::AskAndLinger, Order::Record(verdict)] {
            let words: Vec<OsString> = order.words().into_iter().map(OsString::from).collect();
            assert_eq!(Order::of(&words), order, "{words:?}");
        }
        let half = ["successor", "7"].map(OsString::from);
        assert_eq!(Order::of(&half), Order::AskAndLinger, "what is not whole is asked");
    }
}
