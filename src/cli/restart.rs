//! `podstrap restart`: asks the daemon to stop Pods in good order and begin them anew, or to have a set replace all of its
//! Pods as if its template had changed.

use std::fs;
use std::io::{self, Write};

use serde::Serialize;

use super::args::RestartArgs;
use super::changes::Changes;
use super::error::{Error, Exit};
use super::published::{Published, roots_of};
use super::view::label;
use crate::pod::Namespace;
use crate::pod::set::SetKey;
use crate::sys::atomic::{self, Durability};
use crate::sys::{clock, fifo};

/// The daemon takes a request at its next turn; a loaded host may take its time.
const TAKEN_MS: u64 = 30_000;

/// A request as it lies in RUN/requests.
#[derive(Debug, Serialize)]
struct Request {
    verb: &'static str,
    pods: Vec<String>,
    sets: Vec<SetKey>,
}

/// Writes the request, nudges the daemon, and waits until it has been taken: from then on `status` and `wait` tell of it.
pub fn run(args: &RestartArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    let mut request = Request { verb: "restart", pods: Vec::new(), sets: Vec::new() };
    let mut shown = Vec::new();
    for asked in &args.pods {
        match asked.kind {
            Some(_) => {
                let set = published.set(asked)?.ok_or_else(|| published.no_such_pod(asked))?;
                let key = SetKey {
                    kind: asked.kind.unwrap_or(crate::pod::set::SetKind::DaemonSet),
                    namespace: Namespace::new(set.namespace.as_str()),
                    name: set.name.clone(),
                };
                shown.push(key.to_string());
                request.sets.push(key);
            }
            None => {
                let name = label(published.pod(asked)?);
                shown.push(name.clone());
                request.pods.push(name);
            }
        }
    }
    if published.alive.is_none() {
        return Err(Error::NoDaemon { run: args.run_dir.clone() });
    }
    let roots = published.roots();
    let directory = roots.requests();
    fs::create_dir_all(&directory).map_err(Error::file("make", &directory))?;
    let (seconds, nanoseconds) = clock::unix();
    let path = directory.join(format!("{seconds}{nanoseconds:09}-{}.json", std::process::id()));
    let bytes = serde_json::to_vec(&request).map_err(|e| Error::Encode(e.to_string()))?;
    let mut changes = Changes::new()?;
    atomic::write(&path, &bytes, 0o600, Durability::Process).map_err(Error::file("write", &path))?;
    let heard = fifo::nudge(&roots.notify(), "request").map_err(Error::file("write", roots.notify()))?;
    let until = clock::boot_ms().saturating_add(TAKEN_MS);
    while heard && path.exists() && clock::boot_ms() < until {
        changes.watch(&[&directory, &roots_of(&args.run_dir).run]);
        if path.exists() {
            changes.wait(500)?;
        }
    }
    if path.exists() {
        // Nobody is to do later what has been told to have failed.
        let _ = fs::remove_file(&path);
        return Err(if heard { Error::DaemonEnded } else { Error::NoDaemon { run: args.run_dir.clone() } });
    }
    for name in shown {
        writeln!(io::stdout(), "{name}: is started anew").map_err(Error::Output)?;
    }
    Ok(Exit::Done)
}
