//! `podstrap exec`: becomes `runc exec` or `docker exec` for the container that is meant, so that terminal, signals and exit
//! code are its own.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::args::ExecArgs;
use super::error::Error;
use super::logs::{container_names, pick};
use super::published::Published;
use super::view::{View, label, state_of};
use crate::command::CommandLine;
use crate::runtime::docker::Docker;
use crate::runtime::docker::exec::ExecOptions;
use crate::sys::spawn::PATH;

/// Replaces this process; returns only when that fails.
pub fn run(args: &ExecArgs, command: &[OsString]) -> Error {
    match prepare(args, command) {
        Ok(mut prepared) => {
            let path = prepared.get_program().into();
            Error::Program { path, error: prepared.exec() }
        }
        Err(error) => error,
    }
}

fn prepare(args: &ExecArgs, command: &[OsString]) -> Result<Command, Error> {
    let published = Published::read(&args.run_dir)?;
    let entry = published.pod(&args.pod)?;
    let pod = label(entry);
    let container = pick(&pod, &container_names(entry), args.container.as_deref())?;
    let Some(daemon) = &published.daemon else {
        return Err(Error::NoDaemon { run: published.run.clone() });
    };
    let view = View::of(entry);
    let status = view.all().find(|c| c.name == container);
    let id = status
        .filter(|c| c.state.running.is_some())
        .and_then(|c| c.container_id.as_deref()?.split_once("://"));
    let Some((runtime, id)) = id else {
        let state = status.map_or_else(|| "not started".to_owned(), state_of);
        return Err(Error::NotRunning { pod, container, state });
    };
    // The binary that is known is that of the runtime in use now.
    let other_runtime = || Error::Runtime { name: runtime.to_owned() };
    if runtime != daemon.runtime {
        return Err(other_runtime());
    }
    let mut tty = args.tty;
    if tty && !io::stdin().is_terminal() {
        let _ =
            writeln!(io::stderr(), "podstrap: standard input is not a terminal, so the command gets none");
        tty = false;
    }
    let term = std::env::var_os("TERM").filter(|_| tty).map(|term| {
        let mut setting = OsString::from("TERM=");
        setting.push(term);
        setting
    });
    // A terminal is of no use without what is typed on it.
    let stdin = args.stdin || args.tty;
    let binary = daemon.runtime_binary.clone();
    let line = match runtime {
        "runc" => {
            let mut line = CommandLine::new(binary).arg("--root").arg(published.roots().runc()).arg("exec");
            if tty {
                line = line.arg("--tty");
            }
            if let Some(setting) = term {
                line = line.arg("--env").arg(setting);
            }
            line.arg(id).args(command)
        }
        "docker" => {
            // Whose CLI it is makes no difference to `exec`.
            let docker = Docker::new(binary);
            docker.exec(id, command, &ExecOptions { stdin, tty, env: term.into_iter().collect() })
        }
        _ => return Err(other_runtime()),
    };
    let mut prepared = Command::new(&line.program);
    prepared.args(&line.args).env_clear().env("PATH", PATH).envs(line.env.iter().map(|(k, v)| (k, v)));
    prepared.current_dir("/");
    if !stdin {
        prepared.stdin(Stdio::null());
    }
    Ok(prepared)
}
