//! Looking at what docker has of this instance, whenever its daemon answers (again): `podstrap look`.
//!
//! Containers of runs that nobody knows any more (the host was booted anew, the run directory was removed by hand) are stopped
//! and removed before anything is started beside them.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::monitor::child::{self, ChildError};
use crate::monitor::record;
use crate::paths::{Roots, container_id};
use crate::runtime::docker::{self, Docker, Inspected};

/// How long a container that nobody knows has to end well, in seconds: Kubernetes' default grace period.
const GRACE_SECONDS: u32 = 30;

/// What is to be looked at; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookSpec {
    /// docker.
    pub docker: Docker,
    /// All roots.
    pub roots: Roots,
}

/// Carries out a [`LookSpec`]. The exit code is 0 when docker has answered; the last line on standard output then says who makes
/// control groups for it. Otherwise a line says what is wrong.
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

fn look(spec: &LookSpec) -> Result<Vec<String>, String> {
    let docker = &spec.docker;
    let driver = child::run(&docker.info()).map_err(|e| told("info", &e))?;
    let listed = child::run(&docker.list(&spec.roots.run, None)).map_err(|e| told("ps", &e))?;
    let containers = docker::parse_list(&listed);
    let mut lines = Vec::new();
    if !containers.is_empty() {
        let known = known(&spec.roots);
        let mut strays = Vec::new();
        for id in &containers {
            match child::run(&docker.inspect(id)) {
                Ok(text) => {
                    strays.extend(
                        docker::parse_inspect(&text).filter(|found| !known.contains(&found.labels.id)),
                    );
                }
                Err(ChildError::Ended(_, text)) if docker::is_missing(&text) => {}
                Err(e) => return Err(told("inspect", &e)),
            }
        }
        end(docker, &strays)?;
        lines.extend(
            strays.iter().map(|s| format!("removed the container {}, which nobody knew", s.labels.id)),
        );
    }
    lines.push(driver.lines().last().unwrap_or_default().trim().to_owned());
    Ok(lines)
}

/// Stops what lives of these, all at once, and removes them. Pause containers last: the others live in their namespaces.
fn end(docker: &Docker, strays: &[Inspected]) -> Result<(), String> {
    let is_pause = |s: &&Inspected| s.labels.id.ends_with("-POD");
    let alive: Vec<&str> =
        strays.iter().filter(|s| s.state.is_alive() && !is_pause(s)).map(|s| s.id.as_str()).collect();
    if !alive.is_empty() {
        child::run(&docker.stop(&alive, GRACE_SECONDS)).map_err(|e| told("stop", &e))?;
    }
    let (pauses, others): (Vec<&Inspected>, Vec<&Inspected>) = strays.iter().partition(is_pause);
    for group in [others, pauses] {
        for stray in group {
            match child::run(&docker.remove([stray.id.as_str()])) {
                Ok(_) => {}
                Err(ChildError::Ended(_, text)) if docker::is_missing(&text) => {}
                Err(e) => return Err(told("rm", &e)),
            }
        }
    }
    Ok(())
}

/// Every run, and every pause container, that has a directory.
fn known(roots: &Roots) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for generation in record::generations(roots) {
        known.insert(docker::pause_id(&generation));
        let runs = record::attempts(roots, &generation);
        known.extend(runs.iter().map(|a| container_id(&generation, &a.container, a.attempt).to_string()));
    }
    known
}

fn told(what: &str, error: &ChildError) -> String {
    match error {
        ChildError::Ended(_, text) => docker::complaint(text),
        ChildError::Spawn(_) | ChildError::Deadline(_) | ChildError::TooLong => {
            format!("docker {what} {error}")
        }
    }
}
