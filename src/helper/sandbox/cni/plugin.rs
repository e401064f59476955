//! One call of one plugin: a program that reads its configuration on standard input, is told the rest by its environment,
//! and answers on standard output.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;
use serde_json::Value;

use super::INTERFACE;
use crate::command::CommandLine;
use crate::helper::sandbox::SandboxError;
use crate::helper::text;
use crate::pod::Pod;
use crate::sys;
use crate::sys::clock::boot_ms;
use crate::sys::finish::finish;
use crate::sys::spawn::{ExitStatus, Output, spawn};

/// How long one plugin may take, in milliseconds.
const DEADLINE_MS: u64 = 60_000;

/// How much of an answer is read, in bytes.
const ANSWER: u64 = 1 << 20;

/// What all plugins of a chain are told.
pub struct Call<'a> {
    /// `ADD`, `DEL` or `CHECK`.
    pub command: &'static str,
    /// The Pod.
    pub pod: &'a Pod,
    /// Its network namespace; `None` when it is gone.
    pub net: Option<&'a Path>,
    /// Where plugins are looked for: first where they should be now, then where they were.
    pub dirs: [&'a [PathBuf]; 2],
}

/// The error that a plugin answers with.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

/// The program of a plugin in the first directory that has it.
pub fn find(plugin: &str, dirs: &[PathBuf]) -> Result<PathBuf, SandboxError> {
    let is_program =
        |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    dirs.iter()
        .map(|d| d.join(plugin))
        .find(is_program)
        .ok_or_else(|| SandboxError::MissingPlugin { plugin: plugin.to_owned(), dirs: dirs.to_vec() })
}

impl Call<'_> {
    /// Runs the plugin and gives its answer.
    pub fn run(&self, plugin: &str, config: &Value) -> Result<Vec<u8>, SandboxError> {
        let failed = |problem: String| SandboxError::Plugin {
            plugin: plugin.to_owned(),
            command: self.command,
            problem,
        };
        let [dirs, former] = self.dirs;
        let program = find(plugin, dirs).or_else(|e| find(plugin, former).map_err(|_| e))?;
        let ended = execute(&self.command_line(&program, config), DEADLINE_MS)
            .map_err(|e| failed(format!("run {}: {e}", program.display())))?;
        match ended {
            Ended { status: Some(ExitStatus::Code(0)), answer, .. } => Ok(answer),
            Ended { status: Some(status), answer, errors } => Err(failed(reason(status, &answer, &errors))),
            Ended { status: None, .. } => {
                Err(SandboxError::SlowPlugin { plugin: plugin.to_owned(), command: self.command })
            }
        }
    }

    fn command_line(&self, program: &Path, config: &Value) -> CommandLine {
        let Pod { key, generation, uid, .. } = self.pod;
        let [dirs, former] = self.dirs;
        let mut path = OsString::new();
        let further = former.iter().filter(|d| !dirs.contains(d));
        for directory in dirs.iter().chain(further) {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(directory);
        }
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={generation};K8S_POD_UID={uid}",
            key.namespace, key.name
        );
        let mut line = CommandLine::new(program).stdin(config.to_string()).deadline(DEADLINE_MS);
        line.env = vec![
            ("CNI_COMMAND".into(), self.command.into()),
            ("CNI_CONTAINERID".into(), generation.as_str().into()),
            ("CNI_NETNS".into(), self.net.unwrap_or(Path::new("")).into()),
            ("CNI_IFNAME".into(), INTERFACE.into()),
            ("CNI_ARGS".into(), arguments.into()),
            ("CNI_PATH".into(), path),
        ];
        line
    }
}

/// How a plugin ended, and what it wrote.
struct Ended {
    /// `None`: it took too long and was killed.
    status: Option<ExitStatus>,
    answer: Vec<u8>,
    errors: Vec<u8>,
}

fn execute(line: &CommandLine, deadline_ms: u64) -> io::Result<Ended> {
    // What a plugin starts must become ours when the plugin dies, or it could not be killed with certainty.
    sys::process::become_subreaper()?;
    let (mut answer, mut errors) = (memory()?, memory()?);
    let output = Output::To(OwnedFd::from(answer.try_clone()?), OwnedFd::from(errors.try_clone()?));
    let mut child = spawn(line, output)?;
    let status = finish(&mut child, boot_ms().saturating_add(deadline_ms))?;
    if status.is_none() {
        sys::tree::kill_descendants(200)?;
    }
    Ok(Ended { status, answer: contents(&mut answer)?, errors: contents(&mut errors)? })
}

/// A file in memory: a plugin that writes much cannot block on it, as it could on a pipe that is read too late.
fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("cni", MFdFlags::MFD_CLOEXEC)?))
}

fn contents(file: &mut File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(ANSWER).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The plugin's own error where it gave one, else what it wrote last, else how it ended.
fn reason(status: ExitStatus, answer: &[u8], errors: &[u8]) -> String {
    if let Ok(Refusal { code, msg, details }) = serde_json::from_slice(answer)
        && !msg.is_empty()
    {
        let details = if details.is_empty() { details } else { format!(": {details}") };
        return format!("{msg}{details} (code {code})");
    }
    let written = [errors, answer].concat();
    let written = String::from_utf8_lossy(&written);
    let last = written.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or_default();
    if last.is_empty() { status.to_string() } else { format!("{status}: {}", text::first_line(last, 300)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_own_words_come_first() {
        let code = ExitStatus::Code(1);
        let json = br#"{ "cniVersion": "1.0.0", "code": 11, "msg": "no address", "details": "full" }"#;
        assert_eq!(reason(code, json, b"noise"), "no address: full (code 11)");
        assert_eq!(reason(code, b"", b"panic: x\ngoroutine 1\n"), "exit code 1: goroutine 1");
        assert_eq!(reason(ExitStatus::Signal(9), b"{}", b""), "killed by SIGKILL: {}");
        assert_eq!(reason(code, b"", b""), "exit code 1");
    }

    #[test]
    fn a_plugin_that_takes_too_long_is_killed() {
        let line = CommandLine::new("/bin/sh").args(["-c", "sleep 777 & echo said; exec sleep 777"]);
        let begin = boot_ms();
        // In a process of its own: every child of the process is killed.
        if std::env::var_os("PLUGIN_TEST").is_some() {
            let ended = execute(&line, 200).unwrap();
            assert!(ended.status.is_none());
            assert_eq!(ended.answer, b"said\n");
            return;
        }
        let test = "helper::sandbox::cni::plugin::tests::a_plugin_that_takes_too_long_is_killed";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env("PLUGIN_TEST", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(boot_ms() - begin < 30_000);
    }
}
