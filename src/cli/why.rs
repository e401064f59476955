//! `podstrap why POD`: why it is not ready, or why it was started again, in one paragraph with its evidence.
//!
//! This file gathers: what was published, the ends of logs, when the next try is, who holds a port. `explain` makes text
//! of it. All of it is on disk, so it works while the daemon is down, and says so.

mod addresses;
mod explain;
mod listeners;

use std::fs;
use std::io::{self, Write};

use serde_json::json;

use self::addresses::in_question;
use self::explain::{Facts, explain, text};
use super::args::WhyArgs;
use super::error::{Error, Exit};
use super::logs::{container_names, last_lines};
use super::plan;
use super::published::Published;
use super::values::TextOrJson;
use super::view::View;
use crate::core::Saved;
use crate::report::{ManifestState, PodStatusFile};
use crate::sys::clock;

/// How many of a failing container's last lines are shown.
const LAST_LINES: usize = 10;

/// Prints why.
pub fn run(args: &WhyArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    if published.alive.is_none() && published.daemon.is_none() && published.entries.is_empty() {
        return Err(Error::NoDaemon { run: args.run_dir.clone() });
    }
    let found = published.find(&args.pod)?;
    // A Pod before a refused document of its name.
    let entry = found.iter().find(|e| e.generation.is_some()).or(found.first());
    let entry = *entry.ok_or_else(|| published.no_such_pod(&args.pod))?;
    let facts = gather(args, &published, entry);
    let findings = explain(&facts);
    let out = match args.output {
        TextOrJson::Text => text(&facts, &findings),
        TextOrJson::Json => {
            let all = json!({
                "namespace": entry.namespace, "name": entry.name, "running": facts.running,
                "ready": View::of(entry).ready, "findings": findings,
            });
            serde_json::to_string_pretty(&all).map_err(|e| Error::Encode(e.to_string()))? + "\n"
        }
    };
    io::stdout().write_all(out.as_bytes()).map_err(Error::Output)?;
    Ok(Exit::Done)
}

fn gather<'a>(args: &WhyArgs, published: &Published, entry: &'a PodStatusFile) -> Facts<'a> {
    let roots = published.roots();
    let log_root = args.log_dir.as_ref().unwrap_or(&roots.log);
    let view = View::of(entry);
    let is_well = |name: &str| view.all().any(|c| c.name == name && c.ready);
    let unwell = container_names(entry).into_iter().filter(|name| !is_well(name));
    let logs: Vec<(String, Vec<String>)> = unwell
        .map(|name| {
            let lines = last_lines(log_root, entry, &name, LAST_LINES);
            (name, lines)
        })
        .collect();
    let mut addresses = Vec::new();
    for container in view.all() {
        let mut lines = logs.iter().find(|l| l.0 == container.name).map(|l| l.1.clone()).unwrap_or_default();
        let ended = [&container.state.terminated, &container.last_state.terminated];
        lines.extend(ended.into_iter().flatten().filter_map(|t| t.message.clone()));
        addresses.extend(in_question(entry, &container.name, &lines));
    }
    let pending = matches!(entry.manifest, ManifestState::Replacing { .. } | ManifestState::Kept { .. });
    Facts {
        entry,
        running: published.is_current(),
        runtime: published.daemon.as_ref().map_or_else(|| "runc".to_owned(), |d| d.runtime.clone()),
        now_ms: clock::unix_ms(),
        logs,
        next_start_ms: if published.is_current() { next_starts(&roots, entry) } else { Vec::new() },
        listeners: listeners::at(&addresses),
        is_address_known: !addresses.is_empty(),
        changes: if pending { plan::pending_changes(published, entry) } else { Vec::new() },
        since_worked: plan::since_worked(&roots, entry),
        image_dir: roots.state.join("images.d").display().to_string(),
    }
}

/// In how many milliseconds each container that backs off is started again, by what a later daemon would read.
fn next_starts(roots: &crate::paths::Roots, entry: &PodStatusFile) -> Vec<(String, i64)> {
    let saved = entry.generation.as_ref().and_then(|g| {
        let bytes = fs::read(roots.pod(g).join("state.json")).ok()?;
        serde_json::from_slice::<Saved>(&bytes).ok()
    });
    let now = i64::try_from(clock::boot_ms()).unwrap_or(i64::MAX);
    let of = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_sub(now);
    let containers = saved.into_iter().flat_map(|s| s.containers);
    containers.filter_map(|(name, c)| Some((name.to_string(), of(c.backoff_until?.0)))).collect()
}
