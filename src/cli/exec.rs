//! `podstrap exec`: becomes `runc exec` for the container that is meant, so that terminal, signals and exit code are its own.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::args::ExecArgs;
use super::error::Error;
use super::logs::{container_names, pick};
use super::published::Published;
use super::view::{View, label, state_of};
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
    if daemon.runtime != "runc" {
        return Err(Error::Runtime { name: daemon.runtime.clone() });
    }
    let view = View::of(entry);
    let status = view.all().find(|c| c.name == container);
    let id = status
        .filter(|c| c.state.running.is_some())
        .and_then(|c| c.container_id.as_deref()?.strip_prefix("runc://"));
    let Some(id) = id else {
        let state = status.map_or_else(|| "not started".to_owned(), state_of);
        return Err(Error::NotRunning { pod, container, state });
    };
    let mut tty = args.tty;
    if tty && !io::stdin().is_terminal() {
        let _ =
            writeln!(io::stderr(), "podstrap: standard input is not a terminal, so the command gets none");
        tty = false;
    }
    let mut runc = Command::new(&daemon.runtime_binary);
    runc.arg("--root").arg(published.roots().runc()).arg("exec");
    if tty {
        runc.arg("--tty");
        if let Some(term) = std::env::var_os("TERM") {
            let mut setting = OsString::from("TERM=");
            setting.push(term);
            runc.arg("--env").arg(setting);
        }
    }
    runc.arg(id).args(command).env_clear().env("PATH", PATH).current_dir("/");
    if !args.stdin && !args.tty {
        runc.stdin(Stdio::null());
    }
    Ok(runc)
}
