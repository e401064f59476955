//! Writing the projected volumes of running Pods anew when their ConfigMaps and Secrets have changed. A child process, because
//! it waits for the lock that a starting container's monitor may hold.

use std::io::{self, Read};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::monitor::project;
use crate::paths::Roots;
use crate::pod::Pod;

/// Whose volumes are to be looked at; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    /// All roots.
    pub roots: Roots,
    /// The Pods.
    pub pods: Vec<Pod>,
}

/// Reads a [`Projection`] and carries it out. Each volume that changed has a line on standard output, each that could not be
/// written (and keeps its old files) one on standard error; the exit code is 0 when there is none of these.
pub fn run() -> ExitCode {
    let mut text = String::new();
    let projection = io::stdin()
        .read_to_string(&mut text)
        .and_then(|_| serde_json::from_str::<Projection>(&text).map_err(io::Error::from));
    let mut code = ExitCode::SUCCESS;
    let mut failed = |line: String| {
        eprintln!("podstrap project: {line}");
        code = ExitCode::FAILURE;
    };
    match projection {
        Ok(Projection { roots, pods }) => {
            for pod in pods {
                match project::project(&pod, &roots) {
                    Ok(changed) => changed.iter().for_each(|volume| println!("{}: {volume}", pod.key)),
                    Err(errors) => errors.iter().for_each(|e| failed(format!("{}: {e}", pod.key))),
                }
            }
        }
        Err(e) => failed(format!("standard input: {e}")),
    }
    code
}
