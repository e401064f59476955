//! `podstrap claim list|rm`: the directories of StatefulSets' claims, which outlive their Pods.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{ClaimArgs, ClaimListArgs, ClaimRmArgs, ClaimVerb};
use super::error::{Error, Exit};
use super::published::Published;
use super::say;
use super::table::{Cell, Colour, render};
use super::values::TextOrJson;
use crate::helper::remove;
use crate::helper::text::escape;
use crate::paths::{ClaimFile, Roots};

/// One claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    namespace: String,
    name: String,
    stateful_set: Option<String>,
    ordinal: Option<u32>,
    /// In bytes.
    request: Option<u64>,
    /// What is in it, in bytes on the disk.
    size: u64,
    /// The Pods that use it.
    used_by: Vec<String>,
    path: PathBuf,
}

/// Carries out the verb.
pub fn run(args: &ClaimArgs) -> Result<Exit, Error> {
    match &args.verb {
        ClaimVerb::List(args) => list(args),
        ClaimVerb::Rm(args) => remove(args),
    }
}

fn roots_of(published: &Published, state: Option<&PathBuf>) -> Roots {
    let mut roots = published.roots();
    if let Some(state) = state {
        roots.state = std::path::absolute(state).unwrap_or_else(|_| state.clone());
    }
    roots
}

/// All claims by namespace and name; `measured`: with their sizes.
fn claims(published: &Published, roots: &Roots, measured: bool) -> Result<Vec<Claim>, Error> {
    let mut found = Vec::new();
    let root = roots.claims();
    let namespaces = match fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(Error::file("read", root)(e)),
    };
    for namespace in namespaces.flatten().map(|e| e.path()) {
        for path in fs::read_dir(&namespace).into_iter().flatten().flatten().map(|e| e.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') || !path.is_dir() {
                continue;
            }
            let about = fs::read(path.with_file_name(format!("{name}.json")));
            let about = about.ok().and_then(|bytes| ClaimFile::parse(&bytes));
            found.push(Claim {
                namespace: namespace.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                stateful_set: about.as_ref().map(|a| a.set.name.clone()),
                ordinal: about.as_ref().map(|a| a.ordinal),
                request: about.as_ref().and_then(|a| a.request),
                size: if measured { size(&path) } else { 0 },
                used_by: users(published, &path),
                name,
                path,
            });
        }
    }
    found.sort_by(|a, b| {
        (&a.namespace, &a.stateful_set, a.ordinal, &a.name).cmp(&(
            &b.namespace,
            &b.stateful_set,
            b.ordinal,
            &b.name,
        ))
    });
    Ok(found)
}

/// What a tree takes on the disk, links not followed.
fn size(path: &Path) -> u64 {
    let mut sum = 0_u64;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        sum = sum.saturating_add(metadata.blocks().saturating_mul(512));
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        }
    }
    sum
}

/// The Pods that have it among their volumes.
fn users(published: &Published, path: &Path) -> Vec<String> {
    let uses = |entry: &&crate::report::PodStatusFile| {
        let volumes = entry.pod.pointer("/spec/volumes").and_then(|v| v.as_array());
        let mut volumes = volumes.into_iter().flatten();
        entry.generation.is_some()
            && volumes.any(|v| v["hostPath"]["path"].as_str().is_some_and(|p| Path::new(p) == path))
    };
    published.entries.iter().filter(uses).map(super::view::label).collect()
}

fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "Ki", "Mi", "Gi", "Ti"];
    let mut unit = 0;
    let mut value = bytes;
    let mut rest = 0;
    while value >= 1024 && unit + 1 < UNITS.len() {
        (value, rest, unit) = (value / 1024, value % 1024, unit + 1);
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match (unit, rest * 10 / 1024) {
        (0, _) | (_, 0) => format!("{value}{name}"),
        (_, tenth) => format!("{value}.{tenth}{name}"),
    }
}

fn list(args: &ClaimListArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    let claims = claims(&published, &roots_of(&published, args.state_dir.as_ref()), true)?;
    let text = match args.output {
        TextOrJson::Json => {
            serde_json::to_string_pretty(&claims).map_err(|e| Error::Encode(e.to_string()))? + "\n"
        }
        TextOrJson::Text => {
            let header = ["NAMESPACE", "NAME", "STATEFULSET", "SIZE", "REQUEST", "USED BY"];
            let mut rows: Vec<Vec<Cell>> = vec![header.into_iter().map(Cell::from).collect()];
            rows.extend(claims.iter().map(|c| {
                let request = c.request.map_or_else(|| "-".to_owned(), amount);
                let users = if c.used_by.is_empty() { "-".to_owned() } else { c.used_by.join(", ") };
                vec![
                    escape(&c.namespace).into(),
                    escape(&c.name).into(),
                    c.stateful_set.as_deref().map_or_else(|| "-".to_owned(), escape).into(),
                    amount(c.size).into(),
                    request.into(),
                    users.into(),
                ]
            }));
            render(&rows, Colour::of_stdout()).iter().map(|line| format!("{line}\n")).collect()
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(Error::Output)?;
    Ok(Exit::Done)
}

fn remove(args: &ClaimRmArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    let roots = roots_of(&published, args.state_dir.as_ref());
    let claims = claims(&published, &roots, false)?;
    let mut exit = Exit::Done;
    for asked in &args.claims {
        let (namespace, name) = asked.split_once('/').unwrap_or(("default", asked));
        let Some(claim) = claims.iter().find(|c| c.namespace == namespace && c.name == name) else {
            say(&format_args!("claim rm: there is no claim {}/{}", escape(namespace), escape(name)));
            exit = Exit::Failed;
            continue;
        };
        // A Pod that waits for its turn is in no published file yet, and would find its claim gone.
        let wanted =
            published.daemon.iter().filter(|_| published.alive.is_some()).flat_map(|d| &d.sets).find(|s| {
                s.kind == "StatefulSet"
                    && s.namespace.as_str() == namespace
                    && Some(&s.name) == claim.stateful_set.as_ref()
            });
        let is_wanted =
            wanted.is_some_and(|s| claim.ordinal.is_some_and(|n| n >= s.start && n - s.start < s.desired));
        if !claim.used_by.is_empty() || is_wanted {
            let who = match claim.used_by.as_slice() {
                [] => format!("statefulset/{}", claim.stateful_set.as_deref().unwrap_or_default()),
                users => users.join(", "),
            };
            say(&format_args!(
                "claim rm: {namespace}/{name} is used by {who}; stop that first, and take its number from the set"
            ));
            exit = Exit::Failed;
            continue;
        }
        remove::tree(&claim.path).map_err(Error::file("remove", &claim.path))?;
        let about = claim.path.with_file_name(format!("{name}.json"));
        match fs::remove_file(&about) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::file("remove", about)(e)),
            Ok(()) | Err(_) => {}
        }
        writeln!(io::stdout(), "{namespace}/{name}: removed").map_err(Error::Output)?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn amounts_are_short() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1536, "1.5Ki"),
            (10 << 30, "10Gi"),
            (5 << 50, "5120Ti"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
