//! runc's command lines, and what its output means. All forms are those of runc(8).

use std::path::Path;

use serde::Deserialize;

use crate::command::CommandLine;
use crate::pod::ContainerId;

/// Starting: a slow disk, or two hundred starts at once on one cpu, must still come through.
const START_MS: u64 = 120_000;
/// Everything else is a matter of milliseconds; a runc that takes this long hangs.
const OTHER_MS: u64 = 30_000;
/// Deleting kills first and then waits for the processes to go.
const DELETE_MS: u64 = 60_000;

/// runc as one instance uses it: its binary and its `--root`.
#[derive(Clone, Copy, Debug)]
pub struct Runc<'a> {
    /// Absolute path of the binary.
    pub binary: &'a Path,
    /// `--root`: see `paths::Roots::runc`.
    pub root: &'a Path,
}

impl Runc<'_> {
    fn command(&self) -> CommandLine {
        CommandLine::new(self.binary).arg("--root").arg(self.root)
    }

    /// Creates and starts a container in one call and leaves it running. The container gets the call's own standard
    /// output and error, or a terminal, whose master is sent to the Unix socket `console`. `log` receives runc's errors, one
    /// JSON object a line.
    pub fn run(
        &self,
        id: &ContainerId,
        bundle: &Path,
        pid_file: &Path,
        log: &Path,
        console: Option<&Path>,
    ) -> CommandLine {
        let line = self
            .command()
            .arg("--log")
            .arg(log)
            .args(["--log-format", "json", "run", "--detach", "--bundle"])
            .arg(bundle)
            .arg("--pid-file")
            .arg(pid_file);
        let line = match console {
            Some(socket) => line.arg("--console-socket").arg(socket),
            None => line,
        };
        line.arg("--").arg(id.as_str()).deadline(START_MS)
    }

    /// Sends a signal to a container's init.
    pub fn kill(&self, id: &ContainerId, signal: i32) -> CommandLine {
        self.command().args(["kill", "--", id.as_str()]).arg(signal.to_string()).deadline(OTHER_MS)
    }

    /// Kills what lives of a container and removes runc's state and control groups of it. Success when there is none.
    pub fn delete(&self, id: &ContainerId) -> CommandLine {
        self.command().args(["delete", "--force", "--", id.as_str()]).deadline(DELETE_MS)
    }

    /// Runs a program in a running container, in the foreground: its exit code is the call's. With `pid_file` the
    /// program's pid on the host is written there; with `tty` the program gets a terminal, and so must the call. No
    /// deadline: the caller knows it.
    pub fn exec(&self, id: &ContainerId, argv: &[String], pid_file: Option<&Path>, tty: bool) -> CommandLine {
        let mut line = self.command().arg("exec");
        if let Some(path) = pid_file {
            line = line.arg("--pid-file").arg(path);
        }
        if tty {
            line = line.arg("--tty");
        }
        line.arg("--").arg(id.as_str()).args(argv)
    }

    /// Asks for a container's state; see [`parse_state`].
    pub fn state(&self, id: &ContainerId) -> CommandLine {
        self.command().args(["state", "--", id.as_str()]).deadline(OTHER_MS)
    }

    /// Asks for the version; see [`parse_version`].
    pub fn version(&self) -> CommandLine {
        CommandLine::new(self.binary).arg("--version").deadline(OTHER_MS)
    }
}

/// The part of `runc state` that is of interest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// `creating`, `created`, `running`, `paused` or `stopped` (OCI runtime specification).
    pub status: String,
    /// The init's pid; 0 when stopped.
    #[serde(default)]
    pub pid: i32,
}

/// Parses the output of `runc state`.
pub fn parse_state(output: &str) -> Option<State> {
    serde_json::from_str(output).ok()
}

/// What `runc --version` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The numbers.
    pub number: (u32, u32, u32),
    /// A release candidate comes before its number.
    pub candidate: bool,
    /// The line's own text: `1.1.5+ds1`.
    pub text: String,
    /// The `commit:` line, where Debian puts the package's version.
    pub commit: String,
}

/// Parses the output of `runc --version`.
pub fn parse_version(output: &str) -> Option<Version> {
    let text = output.lines().find_map(|l| l.strip_prefix("runc version "))?.trim().to_owned();
    let commit = output.lines().find_map(|l| l.strip_prefix("commit:")).unwrap_or("").trim().to_owned();
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let mut parts = text.splitn(3, '.');
    let (major, minor, patch) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    let candidate = text.contains("-rc") || text.contains("~rc");
    Some(Version { number: (major, minor, patch), candidate, text, commit })
}

/// The worst published weakness of this version, with where it is mended. Debian mends some in older versions.
pub fn vulnerable(version: &Version) -> Option<&'static str> {
    let (major, minor, patch) = version.number;
    // A candidate of the mending version may lack the mend.
    let before = |fixed: u32| patch < fixed || (patch == fixed && version.candidate);
    let older_than = |fixes: &[(u32, u32)], newest: u32| {
        major < 1
            || (major == 1
                && match fixes.iter().find(|(m, _)| *m == minor) {
                    Some((_, fixed)) => before(*fixed),
                    None => minor < newest,
                })
    };
    let debian_12 = version.number == (1, 1, 5) && version.commit.contains("+deb12u");
    if older_than(&[(1, 12)], 1) && !debian_12 {
        return Some("CVE-2024-21626: a container can reach the host's files; mended in runc 1.1.12");
    }
    if older_than(&[(2, 8), (3, 3), (4, 0)], 4) {
        return Some(
            "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: a hostile image can write to the host's /proc; \
             mended in runc 1.2.8, 1.3.3 and 1.4.0",
        );
    }
    if older_than(&[(3, 6), (4, 3), (5, 0)], 5) {
        return Some("CVE-2026-41579; mended in runc 1.3.6, 1.4.3 and 1.5.0");
    }
    None
}

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The last error in the text of runc's JSON log, without the words that every one begins with; at most 2 KiB.
pub fn error_of_log(log: &str) -> Option<String> {
    let lines = || log.lines().rev().filter_map(|l| serde_json::from_str::<LogLine>(l).ok());
    let serious = lines().find(|l| matches!(l.level.as_str(), "error" | "fatal" | "panic"));
    let message = serious.or_else(|| lines().next())?.msg;
    let plain = message
        .strip_prefix("runc run failed: ")
        .map(|m| m.strip_prefix("unable to start container process: ").unwrap_or(m))
        .unwrap_or(&message);
    Some(cut(plain, 2048).to_owned()).filter(|m| !m.is_empty())
}

/// The first `max` bytes of a text, less what would be half a character.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// How Kubernetes (the kubelet over containerd) names a failed start, told from runc's own message: a program that cannot
/// be executed is a `StartError`, anything else a `RunContainerError`.
pub fn start_failure_reason(message: &str) -> &'static str {
    if message.starts_with("exec: ") || message.contains(": exec: ") || message.starts_with("exec ") {
        "StartError"
    } else {
        "RunContainerError"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str, commit: &str) -> Version {
        parse_version(&format!("runc version {text}\ncommit: {commit}\nspec: 1.0.2-dev\n")).unwrap()
    }

    #[test]
    fn command_lines() {
        let runc = Runc { binary: Path::new("/usr/sbin/runc"), root: Path::new("/r") };
        let id = ContainerId::new("g-c-0");
        let run = runc.run(&id, Path::new("/b"), Path::new("/p"), Path::new("/l"), None);
        let args: Vec<_> = run.args.iter().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(
            args.join(" "),
            "--root /r --log /l --log-format json run --detach --bundle /b --pid-file /p -- g-c-0"
        );
        assert_eq!(run.deadline_ms, Some(120_000));
        let args = runc.exec(&id, &["--help".into()], Some(Path::new("/p")), true).args;
        assert_eq!(args, ["--root", "/r", "exec", "--pid-file", "/p", "--tty", "--", "g-c-0", "--help"]);
        assert_eq!(runc.kill(&id, 15).args, ["--root", "/r", "kill", "--", "g-c-0", "15"]);
        assert_eq!(runc.delete(&id).args, ["--root", "/r", "delete", "--force", "--", "g-c-0"]);
    }

    #[test]
    fn known_weaknesses() {
        let cve = |text, commit| vulnerable(&version(text, commit)).map(|t| &t[..14]);
        assert_eq!(cve("1.1.5+ds1", "1.1.5+ds1-1"), Some("CVE-2024-21626"));
        assert_eq!(cve("1.1.5+ds1", "1.1.5+ds1-1+deb12u1"), Some("CVE-2025-31133"));
        assert_eq!(cve("1.1.12", ""), Some("CVE-2025-31133"));
        assert_eq!(cve("1.2.7", ""), Some("CVE-2025-31133"));
        assert_eq!(cve("1.4.0-rc.1", ""), Some("CVE-2025-31133"));
        assert_eq!(cve("1.3.5", ""), Some("CVE-2026-41579"));
        assert_eq!(cve("1.2.8", ""), Some("CVE-2026-41579"));
        assert_eq!(cve("1.3.6", ""), None);
        assert_eq!(cve("1.5.0", ""), None);
        assert_eq!(cve("2.0.0", ""), None);
        assert_eq!(parse_version("crun version 1.8"), None);
    }

    #[test]
    fn errors_of_the_log() {
        let log = "{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"error\",\"msg\":\"runc run failed: unable to start \
            container process: exec: \\\"x\\\": executable file not found in $PATH\",\"time\":\"t\"}\nhalf {";
        let message = error_of_log(log).unwrap();
        assert_eq!(message, "exec: \"x\": executable file not found in $PATH");
        assert_eq!(start_failure_reason(&message), "StartError");
        assert_eq!(start_failure_reason("error during container init: mount"), "RunContainerError");
        assert_eq!(error_of_log(""), None);
        let long = format!("{{\"level\":\"error\",\"msg\":\"{}\"}}", "ä".repeat(3000));
        assert_eq!(error_of_log(&long).unwrap().len(), 2048);
        assert_eq!(cut("aä", 2), "a");
        let state = parse_state("{\"id\":\"x\",\"pid\":7,\"status\":\"running\"}").unwrap();
        assert_eq!((state.pid, state.status.as_str()), (7, "running"));
    }
}
