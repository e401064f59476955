//! `podstrap hook`: one call of one lifecycle hook (`postStart`, `preStop`), in a process of its own, because it may take as
//! long as it likes until its deadline.
//!
//! It asks as a probe does, and is judged more strictly: a call that could not be made has failed. The daemon hands over a
//! [`HookSpec`] as JSON on standard input, and reads the exit code and, of a failure, one line from standard output.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::probe::exec::{self, Leftovers};
use super::probe::http::{self, Client};
use super::probe::{ExecTarget, LINE, Outcome, SPEC, Verdict, with_alarm};
use super::text;
use super::url::Url;
use crate::pod::ProbeAction;

/// What the daemon asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSpec {
    /// What is done: `Exec` or `HttpGet`.
    pub action: ProbeAction,
    /// Where to connect when the hook names no host: the Pod's address, `127.0.0.1` under hostNetwork.
    pub default_host: String,
    /// A hook that takes longer has failed, in milliseconds; what it has started in the container is killed.
    pub deadline_ms: u64,
    /// The container, for exec hooks.
    pub exec: Option<ExecTarget>,
}

/// No clock of ours is asked to reckon with more: a year, in milliseconds.
const LONGEST: u64 = 365 * 24 * 60 * 60 * 1000;

/// The helper: exit code 0 when the hook did its work; 1, and the reason, when it did not.
pub fn main() -> ExitCode {
    let mut bytes = Vec::new();
    let outcome = match io::stdin().take(SPEC).read_to_end(&mut bytes) {
        Err(e) => Outcome::error(format!("hook: read the request from standard input: {e}")),
        Ok(_) => match serde_json::from_slice(&bytes) {
            Err(e) => Outcome::error(format!("hook: the request on standard input is not understood: {e}")),
            Ok(spec) => run(&spec),
        },
    };
    match outcome.verdict {
        Verdict::Success => ExitCode::SUCCESS,
        Verdict::Failure | Verdict::Error => {
            // Nobody may be listening any more; the exit code still speaks.
            let _ = writeln!(io::stdout(), "{}", text::first_line(&outcome.line, LINE));
            ExitCode::FAILURE
        }
    }
}

/// Makes the call. To be called once in a process: it sets the process's alarm and takes every child's exit.
pub fn run(spec: &HookSpec) -> Outcome {
    let timeout_ms = spec.deadline_ms.min(LONGEST);
    match &spec.action {
        ProbeAction::Exec { command } => match &spec.exec {
            Some(target) => exec::run(target, command, timeout_ms, Leftovers::Keep),
            None => Outcome::error("hook: an exec hook needs the container's name, and the request has none"),
        },
        ProbeAction::HttpGet { host, port, path, https, headers } => with_alarm(timeout_ms, || {
            http::get(&http::Request {
                url: Url::new(*https, host.as_deref().unwrap_or(&spec.default_host), *port, path),
                headers,
                timeout_ms,
                client: Client::Hook,
            })
        }),
        // The kubelet takes a tcpSocket hook and fails it when it is to run.
        ProbeAction::TcpSocket { .. } => Outcome::error("hook: tcpSocket is no hook; use httpGet or exec"),
        ProbeAction::Grpc { .. } => Outcome::error("hook: grpc is no hook; use httpGet or exec"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hook_fails() {
        for action in [
            ProbeAction::TcpSocket { host: None, port: 1 },
            ProbeAction::Grpc { port: 1, service: String::new() },
            ProbeAction::Exec { command: vec!["true".into()] },
        ] {
            let spec =
                HookSpec { action, default_host: "127.0.0.1".into(), deadline_ms: u64::MAX, exec: None };
            assert_eq!(run(&spec).verdict, Verdict::Error, "{spec:?}");
        }
    }
}
