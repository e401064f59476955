//! `docker exec`: its command line, and whether an exit code is the command's own or docker's.
//!
//! docker has no pid file and no exit code that is its own alone, so its words have to tell. They are those of docker 20.10
//! to 28, podman 4 and nerdctl 1; what could as well be the words of a command (a probe may call docker itself) is in
//! doubt, and the state of the container decides.

use std::ffi::OsString;

use super::{Docker, Flavour};
use crate::command::CommandLine;

/// What a command in a container is given beside its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Our standard input is the command's.
    pub stdin: bool,
    /// The command gets a terminal; our standard input has to be one.
    pub tty: bool,
    /// `NAME=VALUE`, beside the container's own environment. Everybody can read them: no secrets.
    pub env: Vec<OsString>,
}

/// Whose exit code it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// The command's.
    Command,
    /// docker's: the command was not started. The reason, in one line.
    NotStarted(String),
    /// docker's, if the container does not run; else the command's. The reason, in one line.
    Doubtful(String),
}

impl Docker {
    /// Runs a command in a container, as its user, in its directory and with its environment.
    pub fn exec<A: Into<OsString>>(
        &self,
        container: &str,
        command: impl IntoIterator<Item = A>,
        options: &ExecOptions,
    ) -> CommandLine {
        let mut line = self.command().arg("exec");
        for (flag, set) in [("--interactive", options.stdin), ("--tty", options.tty)] {
            if set {
                line = line.arg(flag);
            }
        }
        for setting in &options.env {
            line = line.arg("--env").arg(setting);
        }
        line.arg(container).args(command)
    }

    /// Asks for the state of a container; see [`is_running`].
    pub fn exec_state(&self, container: &str) -> CommandLine {
        self.command()
            .args(["inspect", "--type", "container", "--format", "{{.State.Status}}"])
            .arg(container)
            .deadline(super::OTHER_MS)
    }

    /// Whose exit code `code` of [`Docker::exec`] is, by what was printed (both streams).
    pub fn exec_end(&self, code: i32, output: &str) -> ExecEnd {
        // docker says last why it failed; warnings come before it.
        let last = output.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or("");
        let own = || last.to_owned();
        let begins = |words: &[&str]| words.iter().any(|w| last.starts_with(w));
        match (self.flavour, code) {
            (_, 0) => ExecEnd::Command,
            (Flavour::Docker, 126 | 127) if begins(&["OCI runtime exec failed: "]) => {
                ExecEnd::NotStarted(own())
            }
            (Flavour::Docker, 1 | 125) if begins(&DOCKER) => ExecEnd::Doubtful(own()),
            // So the CLI ends, without a word, when the connection breaks while the command runs.
            (Flavour::Docker, 255) if last.is_empty() => {
                ExecEnd::Doubtful("the connection to the docker daemon broke".to_owned())
            }
            (Flavour::Podman, 126 | 127) if begins(&["Error: "]) && last.contains(": OCI ") => {
                ExecEnd::NotStarted(own())
            }
            (Flavour::Podman, 1 | 125 | 126 | 127 | 255) if begins(&["Error: "]) => ExecEnd::Doubtful(own()),
            (Flavour::Nerdctl, 1) if begins(&["time=", "FATA["]) => {
                // Its containerd does not say in the exit code that the runtime could not start the command.
                if last.contains("OCI runtime exec failed: ") {
                    ExecEnd::NotStarted(own())
                } else {
                    ExecEnd::Doubtful(own())
                }
            }
            (Flavour::Docker | Flavour::Podman | Flavour::Nerdctl, _) => ExecEnd::Command,
        }
    }
}

/// With these docker begins a line that says why it has done nothing.
const DOCKER: [&str; 8] = [
    "Error response from daemon: ",
    "Error: No such container: ",
    "Error: No such exec instance: ",
    "Cannot connect to the Docker daemon ",
    "failed to connect to the docker API ",
    "error during connect: ",
    "permission denied while trying to connect to ",
    "Got permission denied while trying to connect to ",
];

/// Whether the answer to [`Docker::exec_state`] says that commands can be run in the container.
pub fn is_running(answer: &str) -> bool {
    answer.trim() == "running"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker(flavour: Flavour) -> Docker {
        Docker { flavour, ..Docker::new("/usr/bin/docker".into()) }
    }

    #[test]
    fn options_stand_before_the_container_and_the_command_after_it() {
        let line = |options: &ExecOptions| {
            docker(Flavour::Docker).exec("abc", ["sh", "-c", "--env"], options).args.join(" ".as_ref())
        };
        assert_eq!(line(&ExecOptions::default()), "exec abc sh -c --env");
        let options = ExecOptions { stdin: true, tty: true, env: vec!["TERM=xterm".into(), "A=b c".into()] };
        assert_eq!(line(&options), "exec --interactive --tty --env TERM=xterm --env A=b c abc sh -c --env");
        let asked = docker(Flavour::Podman).exec_state("abc").args.join(" ".as_ref());
        assert_eq!(asked, "inspect --type container --format {{.State.Status}} abc");
        assert!(is_running("running\n") && !is_running("paused\n") && !is_running(""));
    }

    /// What these programs print when they fail, word for word.
    #[test]
    fn whose_exit_code_it_is() {
        let not_started = |flavour, code, output: &str| {
            assert_eq!(
                docker(flavour).exec_end(code, output),
                ExecEnd::NotStarted(output.lines().last().unwrap().to_owned())
            );
        };
        let doubtful = |flavour, code, output: &str| {
            assert!(
                matches!(docker(flavour).exec_end(code, output), ExecEnd::Doubtful(w) if !w.is_empty()),
                "{output}"
            );
        };
        let commands = |flavour, code, output: &str| {
            assert_eq!(docker(flavour).exec_end(code, output), ExecEnd::Command, "{code} {output}");
        };
        use Flavour::{Docker, Nerdctl, Podman};
        let absent = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"absent\": executable file not found in $PATH: unknown";
        not_started(Docker, 126, absent);
        not_started(Docker, 127, &format!("WARNING: Error loading config file\n{absent}"));
        doubtful(Docker, 1, "Error: No such container: nosuch");
        doubtful(Docker, 1, "Error response from daemon: Container 619ff8 is not running");
        doubtful(
            Docker,
            1,
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        );
        doubtful(Docker, 255, "");
        commands(Docker, 0, absent);
        commands(Docker, 126, "");
        commands(Docker, 127, "sh: x: not found");
        commands(Docker, 1, "exec /bin/nonsense: exec format error");
        commands(Docker, 255, "not yet");
        commands(Docker, 137, "");
        not_started(
            Podman,
            127,
            "Error: runc: exec failed: unable to start container process: exec: \"absent\": executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found",
        );
        doubtful(Podman, 125, "Error: no container with name or ID \"nosuch\" found: no such container");
        doubtful(
            Podman,
            255,
            "Error: can only create exec sessions on running containers: container state improper",
        );
        commands(Podman, 126, "");
        commands(Podman, 2, "Error: no");
        doubtful(Nerdctl, 1, "time=\"2026-01-02T03:04:05Z\" level=fatal msg=\"no such container: x\"");
        commands(Nerdctl, 1, "no");
    }
}
