//! The end of a run in docker: how it ended, its log, and what is left of it. Also of one whose helper was killed at any
//! moment, which left nobody knows what.

use std::fs;
use std::time::Duration;

use super::call::{self, inspect};
use super::{Order, id_file, note_start, read_id, unix_ms};
use crate::monitor::child::{self, ChildError};
use crate::monitor::clear::{Remains, remove};
use crate::monitor::json_log;
use crate::monitor::record::{End, MonitorSpec, ProcessId, Record, RecordPhase};
use crate::monitor::recorder::Recorder;
use crate::monitor::sweep::{kill, processes};
use crate::monitor::{MonitorError, last_words};
use crate::paths::AttemptDir;
use crate::runtime::docker::events::Verdict;
use crate::runtime::docker::{self, Docker, Flavour, Inspected};
use crate::sys::cgroup::Cgroups;
use crate::sys::{clock, process};

/// How long docker may take to notice that a container's process has ended, in milliseconds.
const NOTICE_MS: u64 = 30_000;
/// How long the next run has, in milliseconds, to start before what is left of this one is cleared away.
const SUCCESSOR_MS: u64 = 1_000;
/// How long it is waited for at a time, in milliseconds.
const WAIT_MS: u64 = 1_000;
/// How long a container has to end when it was killed, in milliseconds.
const KILLED_MS: u64 = 10_000;

/// Records how the run ended, takes its log over, and clears away.
pub fn finish(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    docker: &Docker,
    recorder: &mut Recorder,
    order: Order,
) -> Result<(), MonitorError> {
    if recorder.record.end.is_none() {
        let told = match order {
            Order::Record(Verdict { code, unix_ms }) => Some((End::Exited { code }, unix_ms)),
            Order::Ask | Order::AskAndLinger => ending(docker, recorder)?,
        };
        let Some((end, at)) = told else { return Ok(()) };
        close(dir, spec, docker, recorder, end, at);
        match order {
            Order::Record(_) | Order::AskAndLinger => let_successor_start(spec),
            Order::Ask => {}
        }
    }
    let left = clear(dir, spec, docker, recorder);
    recorder.save_for_sure();
    if left.is_empty() { Ok(()) } else { Err(MonitorError::Remains(left)) }
}

/// Waits until the container's next run has come as far as it will, for a moment at most.
fn let_successor_start(spec: &MonitorSpec) {
    let next = spec.roots.attempt(&spec.pod.generation, &spec.container, spec.attempt.saturating_add(1));
    let until = clock::boot_ms().saturating_add(SUCCESSOR_MS);
    let is_there = || Record::read(&next, &spec.boot_id).is_some_and(|r| r.phase != RecordPhase::Preparing);
    while clock::boot_ms() < until && !is_there() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How and when (Unix time, milliseconds) the run ended. `None`: somebody has started it anew (`docker restart`); its init and
/// its start are noted.
fn ending(docker: &Docker, recorder: &mut Recorder) -> Result<Option<(End, i64)>, MonitorError> {
    let lost = || Ok(Some((End::Lost, clock::unix_ms())));
    let Some(id) = recorder.record.container.clone() else { return lost() };
    let until = clock::boot_ms().saturating_add(NOTICE_MS);
    loop {
        // docker hears of an end a moment after the kernel has told it to us; of a container that was started anew it waits
        // for the next end.
        let late = match child::run(&docker.wait(&id).deadline(WAIT_MS)) {
            Ok(_) => None,
            Err(ChildError::Ended(_, text)) if docker::is_missing(&text) => return lost(),
            Err(e @ ChildError::Deadline(_)) => Some(e),
            Err(e) => return Err(MonitorError::Docker(e)),
        };
        let found = match inspect(docker, &id).map_err(MonitorError::Docker)? {
            None => return lost(),
            Some(found) if !found.state.is_alive() => return Ok(Some(end_of(&found))),
            Some(found) => found,
        };
        // docker is late to notice an end, and another process may have the pid by then: started anew is what has another start
        // time than the one that was noted. And it is docker's word only where the process is there.
        let pid = found.state.pid;
        let since =
            unix_ms(&found.state.started_at).filter(|at| recorder.record.started_unix_ms != Some(*at));
        if let Some(since) = since
            && let Some(start_ticks) =
                process::start_ticks(pid).ok().flatten().filter(|_| process::is_running(pid))
        {
            recorder.running_since(ProcessId { pid, start_ticks }, since);
            recorder.save_for_sure();
            return Ok(None);
        }
        // podman says so for a moment after the end.
        if late.is_none() && found.state.status == "stopping" {
            return Ok(Some(end_of(&found)));
        }
        if clock::boot_ms() >= until {
            let denied = || std::io::Error::other("takes a container for running whose process has ended");
            return Err(MonitorError::Docker(late.unwrap_or_else(|| ChildError::Spawn(denied()))));
        }
    }
}

/// The end of a container that has ended. docker tells a signal as the exit code 128 + signal, as a shell does: which of the
/// two it was is not known. And docker tells that the kernel killed *something* in the container for want of memory: only where
/// its init ended by KILL was it that, as in `monitor::life`.
fn end_of(found: &Inspected) -> (End, i64) {
    let at = unix_ms(&found.state.finished_at).unwrap_or_else(clock::unix_ms);
    let end = match found.state.exit_code {
        137 if found.state.oom_killed => End::Signaled { signal: nix::libc::SIGKILL, oom: true },
        code => End::Exited { code },
    };
    (end, at)
}

/// Takes the log over and records the end.
fn close(dir: &AttemptDir, spec: &MonitorSpec, docker: &Docker, recorder: &mut Recorder, end: End, at: i64) {
    let log = spec.roots.log_file(&spec.pod, &spec.container, spec.attempt);
    if docker.flavour != Flavour::Podman {
        // Before the container is removed, and its log with it.
        let target = fs::read_link(&log);
        if let Ok(target) = target
            && let Err(e) = json_log::convert(&target, &log, spec.log_max_bytes, spec.log_max_files)
        {
            recorder.warn(&format!("its log {} cannot be taken over: {e}", target.display()));
        }
    }
    recorder.record.termination_message = last_words(dir, spec, &end);
    recorder.ended_at(end, at);
}

/// Removes the container and all that was made for it but its record. Gives a line for each thing that remains.
pub fn clear(dir: &AttemptDir, spec: &MonitorSpec, docker: &Docker, recorder: &Recorder) -> Vec<String> {
    let mut left = Vec::new();
    let id = recorder.record.container.clone().or_else(|| read_id(dir));
    if let Some(id) = id
        && let Err(e) = call::remove(docker, &id)
    {
        left.push(format!("docker rm: {e}"));
        // Its parts of volumes stay mounted for as long as it may use them.
        return left;
    }
    clear_host(dir, spec, &mut left);
    left
}

fn clear_host(dir: &AttemptDir, spec: &MonitorSpec, left: &mut Vec<String>) {
    match Cgroups::detect() {
        Ok(cgroups) => {
            let remains = Remains { dir, spec, cgroups: &cgroups };
            remains.clear_bundle(left);
            remains.clear_files(left);
        }
        Err(e) => left.push(format!("mountinfo: {e}")),
    }
    if let Err(e) = remove(&id_file(dir)) {
        left.push(format!("remove {}: {e}", id_file(dir).display()));
    }
}

/// Makes an end of a run whose helper was killed, whatever it left: what lives of it is killed. Its log is kept, and an exit
/// code that docker knows.
pub fn sweep(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    docker: &Docker,
    record: Option<Record>,
    boot: &str,
) -> Vec<String> {
    let mut left = Vec::new();
    for starter in processes(|arguments| is_starter(arguments, dir)) {
        if let Err(e) = kill(starter) {
            left.push(format!("kill docker run, process {}: {e}", starter.pid));
        }
    }
    let listed = child::run(&docker.list(&spec.roots.run, Some(spec.id.as_str())));
    let mut containers: Vec<String> = match listed {
        Ok(text) => docker::parse_list(&text).into_iter().map(|found| found.container).collect(),
        Err(e) => {
            left.push(format!("docker ps: {e}"));
            return left;
        }
    };
    let known = record.as_ref().and_then(|r| r.container.clone()).or_else(|| read_id(dir));
    let known = known.or_else(|| containers.first().cloned());
    containers.retain(|id| Some(id) != known.as_ref());
    let unended = record.as_ref().is_none_or(|r| r.end.is_none());
    let record = record.filter(|r| r.boot_id == boot).unwrap_or_else(|| {
        let nobody = ProcessId { pid: 0, start_ticks: 0 };
        Record::new(spec.boot_id.clone(), nobody, RecordPhase::Ended)
    });
    let mut recorder = Recorder::of(dir, spec, record);
    if let (Some(id), true) = (&known, unended) {
        match stopped(docker, id) {
            Ok(Some(found)) if found.state.has_ended() => {
                if recorder.record.init.is_none() {
                    note_start(&mut recorder, &found);
                }
                let (end, at) = end_of(&found);
                close(dir, spec, docker, &mut recorder, end, at);
            }
            Ok(_) => {}
            Err(e) => left.push(format!("docker inspect: {e}")),
        }
    }
    if recorder.record.end.is_some() && unended && !recorder.is_saved() {
        // It stands nowhere but with docker.
        left.push(format!("write {}", dir.record().display()));
        return left;
    }
    for id in containers.iter().chain(&known) {
        if let Err(e) = call::remove(docker, id) {
            left.push(format!("docker rm: {e}"));
        }
    }
    if !left.is_empty() {
        return left;
    }
    if recorder.record.end.is_none() {
        close(dir, spec, docker, &mut recorder, End::Lost, clock::unix_ms());
    }
    if !recorder.is_saved() {
        recorder.save();
    }
    if !recorder.is_saved() {
        left.push(format!("write {}", dir.record().display()));
        return left;
    }
    clear_host(dir, spec, &mut left);
    left
}

/// What is known of a container that must not go on. It is killed before it is removed, so that there is an exit code and a
/// whole log; what cannot be killed so is removed all the same, alive.
fn stopped(docker: &Docker, id: &str) -> Result<Option<Inspected>, ChildError> {
    let found = inspect(docker, id)?;
    if !found.as_ref().is_some_and(|found| found.state.is_alive()) {
        return Ok(found);
    }
    let _ = child::run(&docker.kill(id));
    let _ = child::run(&docker.wait(id).deadline(KILLED_MS));
    inspect(docker, id)
}

/// Whether these arguments (as /proc has them) are those of a `docker run` of this run.
fn is_starter(arguments: &[u8], dir: &AttemptDir) -> bool {
    let id_file = id_file(dir);
    let wanted = id_file.as_os_str().as_encoded_bytes();
    // Whatever the program is called: a script in docker's place hands its arguments on.
    arguments.split(|b| *b == 0).any(|word| word == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(state: &str) -> End {
        let text = format!(
            r#"{{"Id":"1","Image":"i","State":{state},"Labels":{{"id":"","run_dir":"","generation":""}}}}"#
        );
        end_of(&docker::parse_inspect(&text).unwrap()).0
    }

    /// docker says OOMKilled of a container in which a child was killed, whatever became of its init.
    #[test]
    fn want_of_memory_is_the_end_of_a_container_only_where_it_killed_its_init() {
        let oom = End::Signaled { signal: 9, oom: true };
        assert_eq!(ended(r#"{"Status":"exited","ExitCode":137,"OOMKilled":true}"#), oom);
        for code in [0, 1] {
            let state = format!(r#"{{"Status":"exited","ExitCode":{code},"OOMKilled":true}}"#);
            assert_eq!(ended(&state), End::Exited { code });
        }
        assert_eq!(ended(r#"{"Status":"exited","ExitCode":137}"#), End::Exited { code: 137 });
    }
}
