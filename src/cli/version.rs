//! `podstrap version`: ours, and that of the runtime if one is found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::VersionArgs;
use super::error::{Error, Exit};
use super::published::Published;
use super::values::TextOrJson;
use crate::command::CommandLine;
use crate::helper::text::first_line;
use crate::sys::clock::boot_ms;
use crate::sys::finish::finish;
use crate::sys::spawn::{Output, PATH, kill_group, spawn};

/// How long a runtime may take to tell its version, in milliseconds.
const DEADLINE_MS: u64 = 5000;

/// Prints the versions.
pub fn run(args: &VersionArgs) -> Result<Exit, Error> {
    let ours = env!("CARGO_PKG_VERSION");
    let runtime = runtime_binary(&args.run_dir).map(|path| (ask(&path), path));
    let text = match args.output {
        TextOrJson::Text => {
            let mut text = format!("podstrap {ours}\n");
            match &runtime {
                Some((Some(version), path)) => text.push_str(&format!("{version} ({})\n", path.display())),
                Some((None, path)) => {
                    text.push_str(&format!("{}: does not tell its version\n", path.display()))
                }
                None => text.push_str("no runtime found\n"),
            }
            text
        }
        TextOrJson::Json => {
            let runtime = runtime.map(|(version, path)| json!({ "path": path, "version": version }));
            format!("{:#}\n", json!({ "version": ours, "runtime": runtime }))
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(Error::Output)?;
    Ok(Exit::Done)
}

/// The one that the daemon uses or has used, else the first that is found where the daemon would look.
fn runtime_binary(run_dir: &Path) -> Option<PathBuf> {
    // Whoever may not read the run directory still gets the version of what is installed.
    let told = Published::read(run_dir).ok().and_then(|p| p.daemon).map(|d| d.runtime_binary);
    let places =
        ["runc", "docker"].into_iter().flat_map(|name| PATH.split(':').map(move |d| Path::new(d).join(name)));
    told.into_iter().chain(places).find(|path| path.is_file())
}

fn ask(path: &Path) -> Option<String> {
    // docker looks for its settings below HOME, and some builds complain where there is none.
    let line = CommandLine::new(path).arg("--version").env("HOME", "/root");
    let mut child = spawn(&line, Output::Capture).ok()?;
    let ended = finish(&mut child, boot_ms().saturating_add(DEADLINE_MS));
    if !matches!(ended, Ok(Some(_))) {
        kill_group(child.pid);
        return None;
    }
    let text = child.output.take()?.finish();
    Some(first_line(&text, 200)).filter(|line| !line.is_empty())
}
