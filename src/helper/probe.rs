//! `podstrap probe`: one try of one probe, in a process of its own, because a server may answer slowly, wrongly or never.
//!
//! The daemon hands over a [`ProbeSpec`] as JSON on standard input and reads the [`Verdict`] from the exit code and one line
//! from standard output. The rules are the kubelet's (`pkg/probe` and `pkg/kubelet/prober` of Kubernetes 1.32): what
//! counts as a success, which headers are sent, which redirects are followed.

pub(super) mod exec;
pub mod grpc;
pub(super) mod http;
mod tcp;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use self::exec::Leftovers;
use self::http::Client;
use super::{text, url};
use crate::pod::{ContainerId, ProbeAction};
use crate::runtime::engine::Engine;
use crate::sys;

/// What the daemon asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// What is asked.
    pub action: ProbeAction,
    /// A try that takes longer has failed, in milliseconds. Everything counts: look-up, connecting, redirects, the body.
    pub timeout_ms: u64,
    /// Where to connect when the probe names no host: the Pod's address, `127.0.0.1` under hostNetwork.
    pub default_host: String,
    /// The container, for exec probes.
    pub exec: Option<ExecTarget>,
}

/// The container in which an exec probe runs its command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecTarget {
    /// What runs it.
    pub engine: Engine,
    /// runc's `--root`; docker has none. Pid files of runc are kept in `probes` beside it while a try runs.
    pub runc_root: PathBuf,
    /// The container's name for it.
    pub id: ContainerId,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good: exit code 0.
    Success,
    /// Bad: exit code 1.
    Failure,
    /// The try could not be made, which says nothing about the container: exit code 3. It counts neither way.
    Error,
}

impl Verdict {
    /// The exit code of `podstrap probe`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Error => 3,
        }
    }

    /// The verdict that an exit code of `podstrap probe` stands for. Any other end of the helper is an error.
    pub fn from_exit_code(code: i32) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::Failure,
            _ => Self::Error,
        }
    }
}

/// A verdict and the line that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the try ended.
    pub verdict: Verdict,
    /// The reply's first line, or the error. Not escaped yet.
    pub line: String,
}

impl Outcome {
    fn success(line: impl Into<String>) -> Self {
        Self { verdict: Verdict::Success, line: line.into() }
    }

    fn failure(line: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failure, line: line.into() }
    }

    pub(super) fn error(line: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, line: line.into() }
    }

    fn timed_out(timeout_ms: u64) -> Self {
        Self::failure(format!("timed out after {}", Millis(timeout_ms)))
    }
}

/// Milliseconds for people: `1s`, `1.5s`.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0 as f64 / 1000.0)
    }
}

/// The longest line that is printed, in characters.
pub(super) const LINE: usize = 200;

/// The largest spec that is read, in bytes; a Pod cannot be larger.
pub(super) const SPEC: u64 = 16 * 1024 * 1024;

/// The helper: reads the spec from standard input, makes the try, prints the line.
pub fn main() -> ExitCode {
    let mut bytes = Vec::new();
    let outcome = match io::stdin().take(SPEC).read_to_end(&mut bytes) {
        Err(e) => Outcome::error(format!("probe: read the request from standard input: {e}")),
        Ok(_) => match serde_json::from_slice(&bytes) {
            Err(e) => Outcome::error(format!("probe: the request on standard input is not understood: {e}")),
            Ok(spec) => run(&spec),
        },
    };
    // Nobody may be listening any more; the exit code still speaks.
    let _ = writeln!(io::stdout(), "{}", text::first_line(&outcome.line, LINE));
    ExitCode::from(outcome.verdict.exit_code())
}

/// Makes one try. To be called once in a process: it sets the process's alarm and takes every child's exit.
pub fn run(spec: &ProbeSpec) -> Outcome {
    match &spec.action {
        ProbeAction::Exec { command } => match &spec.exec {
            Some(target) => exec::run(target, command, spec.timeout_ms, Leftovers::Kill),
            None => {
                Outcome::error("probe: an exec probe needs the container's name, and the request has none")
            }
        },
        ProbeAction::Grpc { port, service } => {
            with_alarm(spec.timeout_ms, || grpc::check(&spec.default_host, *port, service, spec.timeout_ms))
        }
        ProbeAction::TcpSocket { host, port } => with_alarm(spec.timeout_ms, || {
            tcp::connect(host.as_deref().unwrap_or(&spec.default_host), *port, spec.timeout_ms)
        }),
        ProbeAction::HttpGet { host, port, path, https, headers } => with_alarm(spec.timeout_ms, || {
            let request = http::Request {
                url: url::Url::new(*https, host.as_deref().unwrap_or(&spec.default_host), *port, path),
                headers,
                timeout_ms: spec.timeout_ms,
                client: Client::Probe,
            };
            http::get(&request)
        }),
    }
}

/// The network calls watch the time themselves, but a name look-up cannot be told a limit: the alarm ends that one.
pub(super) fn with_alarm(timeout_ms: u64, try_once: impl FnOnce() -> Outcome) -> Outcome {
    let late = Outcome::timed_out(timeout_ms);
    let slack = 20;
    match sys::alarm::exit_after(
        timeout_ms.saturating_add(slack),
        late.verdict.exit_code().into(),
        &late.line,
    ) {
        Ok(()) => {
            let outcome = try_once();
            // Two lines would be said otherwise, when the alarm comes between the first and the end of the process.
            match sys::alarm::cancel() {
                Ok(()) => outcome,
                Err(e) => Outcome::error(format!("probe: stop the timer: {e}")),
            }
        }
        Err(e) => Outcome::error(format!("probe: set the timer: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_survives_its_exit_code() {
        for verdict in [Verdict::Success, Verdict::Failure, Verdict::Error] {
            assert_eq!(Verdict::from_exit_code(verdict.exit_code().into()), verdict);
        }
        assert_eq!(Verdict::from_exit_code(101), Verdict::Error);
    }

    #[test]
    fn an_exec_probe_without_a_container_is_an_error_not_a_failure() {
        let spec = ProbeSpec {
            action: ProbeAction::Exec { command: vec!["true".into()] },
            timeout_ms: 1000,
            default_host: "127.0.0.1".into(),
            exec: None,
        };
        assert_eq!(run(&spec).verdict, Verdict::Error);
    }
}
