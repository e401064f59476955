//! Looking at what docker has of this instance, whenever its daemon answers (again): `podstrap look`.
//!
//! Containers of runs that nobody knows any more (the host was booted anew, the run directory was removed by hand) are stopped
//! and removed before anything is started beside them. With those docker may have its troubles: they are told, and tried again
//! at the next look. Whether it answers is told by its answers to `info` and `ps` alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::monitor::child::{self, ChildError};
use crate::monitor::docker::call::{self, failure};
use crate::monitor::{json_log, record};
use crate::paths::{Roots, container_id};
use crate::runtime::docker::{self, CgroupDriver, Docker, Inspected};
use crate::sys::clock::boot_ms;

/// How long a container that nobody knows has to end well, in seconds: Kubernetes' default grace period.
const GRACE_SECONDS: u32 = 30;

/// How long docker has for each thing that it is to do with such a container, beside that one's time to end, in milliseconds.
const EACH_MS: u64 = 10_000;
/// So long after the list no other of them is begun with, in milliseconds: others wait for what is told here.
const CLEARING_MS: u64 = 60_000;

/// What is to be looked at; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookSpec {
    /// docker.
    pub docker: Docker,
    /// All roots.
    pub roots: Roots,
    /// A log file is rotated when it would grow beyond this many bytes.
    pub log_max_bytes: u64,
    /// How many log files of one run are kept.
    pub log_max_files: u32,
}

/// Carries out a [`LookSpec`]. The exit code is 0 when docker has answered; the first line on standard output then says who
/// makes control groups for it, and each further one is for an operator. Otherwise a line says what is wrong.
pub fn run() -> ExitCode {
    let mut text = String::new();
    let spec = io::stdin()
        .read_to_string(&mut text)
        .and_then(|_| serde_json::from_str::<LookSpec>(&text).map_err(io::Error::from));
    let result = match &spec {
        Ok(spec) => look(spec),
        Err(e) => Err(format!("look: standard input: {e}")),
    };
    match result {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// So many lines are told at a time.
const MOST_LINES: usize = 20;

fn look(spec: &LookSpec) -> Result<Vec<String>, String> {
    let docker = &spec.docker;
    let driver = child::run(&docker.info()).map_err(|e| failure("info", &e))?;
    let listed = docker.list(&spec.roots.run, None);
    let listed = child::run_list(&listed, docker::LIST_BYTES).map_err(|e| failure("ps", &e))?;
    // After the list: whoever starts a container makes its directory first.
    let known = known(&spec.roots).map_err(|e| format!("{}: {e}", spec.roots.pods().display()))?;
    let mut lines = Vec::new();
    let mut strays = Vec::new();
    let until = boot_ms().saturating_add(CLEARING_MS);
    for found in docker::parse_list(&listed).iter().filter(|found| !known.contains(&found.id)) {
        if boot_ms() >= until {
            break;
        }
        match call::inspect_within(docker, &found.container, EACH_MS) {
            Ok(stray) => strays.extend(stray),
            Err(e) => lines.extend(hindrance("inspect", &found.id, &e)),
        }
    }
    end(spec, &strays, until, &mut lines);
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        lines.push("… and more of that".to_owned());
    }
    let driver = match docker::parse_info(&driver) {
        CgroupDriver::Systemd => "systemd",
        CgroupDriver::Cgroupfs => "cgroupfs",
    };
    lines.insert(0, driver.to_owned());
    Ok(lines)
}

/// Stops what lives of these, all at once, and removes them. Pause containers last: the others live in their namespaces. One
/// that docker cannot remove holds up nothing but itself.
fn end(spec: &LookSpec, strays: &[Inspected], until: u64, lines: &mut Vec<String>) {
    let docker = &spec.docker;
    let is_pause = |s: &&Inspected| s.labels.id.ends_with("-POD");
    let alive: Vec<&str> =
        strays.iter().filter(|s| s.state.is_alive() && !is_pause(s)).map(|s| s.id.as_str()).collect();
    if !alive.is_empty() {
        // What has not ended by itself is killed below.
        let grace = u64::from(GRACE_SECONDS) * 1000;
        let _ = child::run(&docker.stop(&alive, GRACE_SECONDS).deadline(grace + EACH_MS));
    }
    let (pauses, others): (Vec<&Inspected>, Vec<&Inspected>) = strays.iter().partition(is_pause);
    for stray in others.into_iter().chain(pauses).take_while(|_| boot_ms() < until) {
        if let Err(e) = keep_log(spec, stray) {
            lines.push(format!("the log of the container {} cannot be taken over: {e}", stray.labels.id));
        }
        match call::remove_within(docker, &stray.id, EACH_MS) {
            Ok(()) => lines.push(format!("removed the container {}, which nobody knew", stray.labels.id)),
            Err(e) => lines.extend(hindrance("rm", &stray.labels.id, &e)),
        }
    }
}

/// docker's log goes with the container; what it said last, before the host went down, is what people will want to read.
fn keep_log(spec: &LookSpec, stray: &Inspected) -> io::Result<()> {
    let (Some(own), log) = (stray.log_path.as_deref(), Path::new(&stray.labels.log)) else { return Ok(()) };
    // Only where our link still leads to it.
    let is_linked =
        log.starts_with(&spec.roots.log) && fs::read_link(log).is_ok_and(|to| to == Path::new(own));
    if own.is_empty() || !is_linked {
        return Ok(());
    }
    json_log::convert(Path::new(own), log, spec.log_max_bytes, spec.log_max_files)
}

/// What is to be said of a container with which docker could not do something.
fn hindrance(what: &str, id: &str, error: &ChildError) -> Option<String> {
    let why = match error {
        ChildError::Ended(_, text) if docker::is_missing(text) => return None,
        ChildError::Ended(_, text) => docker::complaint(text),
        ChildError::Spawn(_) | ChildError::Deadline(_) | ChildError::TooLong => error.to_string(),
    };
    Some(format!("docker {what}: the container {id}, which nobody knows: {why}"))
}

/// Every run, and every pause container, that has a directory. What cannot be read is no reason to end containers.
fn known(roots: &Roots) -> io::Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for generation in record::read_generations(roots)? {
        known.insert(docker::pause_id(&generation));
        let runs = record::read_attempts(roots, &generation)?;
        known.extend(runs.iter().map(|a| container_id(&generation, &a.container, a.attempt).to_string()));
    }
    Ok(known)
}
