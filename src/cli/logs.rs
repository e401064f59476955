//! `podstrap logs`: what a container has written, from the files alone, over rotations and restarts; and over the end of a
//! run in docker, when files of ours take the place of docker's.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::args::LogsArgs;
use super::changes::Changes;
use super::cri::Joiner;
use super::error::{Error, Exit};
use super::logfiles::{LogFile, Mark, Start, list, tail};
use super::logread::{Printer, Reader, copy_all};
use super::published::Published;
use super::values::{PodArg, Since};
use super::view::{View, label};
use crate::report::{ContainerStatus, PodStatusFile};
use crate::sys::clock;

/// How often files are looked for again that were rotated between listing and opening.
const TRIES: u32 = 10;

/// How often a follower looks whether the Pod is still there.
const RECHECK_MS: u64 = 1000;

/// Prints the log, and goes on if asked to.
pub fn run(args: &LogsArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    let log_root = args.log_dir.clone().unwrap_or_else(|| published.roots().log);
    let place = find(&published, &log_root, args)?;
    let since = match args.since {
        None => None,
        Some(Since::At(at)) => Some(at),
        Some(Since::Ago(ms)) => {
            let ago = i64::try_from(ms.0).unwrap_or(i64::MAX);
            jiff::Timestamp::from_millisecond(clock::unix_ms().saturating_sub(ago)).ok()
        }
    };
    let mut printer = Printer {
        out: io::BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
        joiner: Joiner::default(),
        timestamps: args.timestamps,
        since,
        skip: 0,
    };
    let mut reader = Reader::default();
    let mut tries = 0;
    let attempt = loop {
        let files = place.list()?;
        let attempt = chosen_attempt(&place, &files, args.previous);
        let chosen: Vec<LogFile> = files.into_iter().filter(|f| Some(f.attempt) == attempt).collect();
        if chosen.is_empty() && (!args.follow || place.is_gone(args)) {
            return Err(Error::NoLogs { path: place.directory.clone(), previous: args.previous });
        }
        let read = || Error::file("read", &place.directory);
        let from = match args.tail {
            Some(lines) => tail(&chosen, lines).map_err(read())?,
            None => (0, Start::default()),
        };
        reader.mark =
            if chosen.iter().any(|f| f.docker) { Mark::at(&chosen, from).map_err(read())? } else { None };
        let copied = copy_all(&chosen, from, &mut reader, &mut printer)?;
        tries += 1;
        // Nothing is printed yet: the first of them was rotated or replaced, and is looked for anew.
        if copied || reader.current.is_some() || tries == TRIES {
            break attempt;
        }
    };
    if !args.follow || args.previous {
        // What was rotated or replaced while it was read is caught up with.
        for _ in 0..TRIES {
            let files: Vec<_> = place.list()?.into_iter().filter(|f| Some(f.attempt) == attempt).collect();
            if reader.catch_up(&files, &mut printer)? {
                break;
            }
        }
    }
    if args.follow && !args.previous {
        follow(args, &place, &mut reader, &mut printer)?;
    }
    printer.finish().map_err(Error::Output)?;
    Ok(Exit::Done)
}

/// The container whose log is wanted.
struct Place {
    directory: PathBuf,
    /// `None` for a Pod of which only the log is left.
    pod: Option<PodArg>,
    former: Former,
}

/// Which run is the former one.
enum Former {
    /// This one.
    Attempt(u32),
    /// The newest that has a log: the next one waits for its turn.
    Newest,
    /// The one before that.
    BeforeNewest,
}

impl Place {
    fn list(&self) -> Result<Vec<LogFile>, Error> {
        list(&self.directory).map_err(Error::file("read", &self.directory))
    }

    fn is_gone(&self, args: &LogsArgs) -> bool {
        let Some(pod) = &self.pod else { return true };
        Published::read(&args.run_dir).is_ok_and(|p| p.find(pod).is_ok_and(|found| found.is_empty()))
    }
}

fn find(published: &Published, log_root: &Path, args: &LogsArgs) -> Result<Place, Error> {
    let entry = match published.pod(&args.pod) {
        Ok(entry) => entry,
        Err(error @ Error::NoSuchPod { .. }) => {
            let Some(directory) = left_behind(log_root, &args.pod).map_err(Error::file("read", log_root))?
            else {
                return Err(error);
            };
            let names = directories(&directory).map_err(Error::file("read", &directory))?;
            let container = pick(&args.pod.to_string(), &names, args.container.as_deref())?;
            return Ok(Place {
                directory: directory.join(container),
                pod: None,
                former: Former::BeforeNewest,
            });
        }
        Err(error) => return Err(error),
    };
    let container = pick(&label(entry), &container_names(entry), args.container.as_deref())?;
    let view = View::of(entry);
    let status = view.all().find(|c| c.name == container);
    let former = status.map_or(Former::BeforeNewest, former);
    let pod = entry.namespace.as_ref().zip(entry.name.as_ref()).map(|(namespace, name)| PodArg {
        namespace: Some(namespace.as_str().to_owned()),
        kind: None,
        name: name.as_str().to_owned(),
    });
    Ok(Place { directory: pod_directory(log_root, entry).join(container), pod, former })
}

fn former(status: &ContainerStatus) -> Former {
    let Some(id) = status.last_state.terminated.as_ref().and_then(|t| t.container_id.as_deref()) else {
        return Former::BeforeNewest;
    };
    // A name that we have given ends with the attempt; docker's does not tell.
    let attempt = id.strip_prefix("runc://").and_then(|name| name.rsplit('-').next()?.parse().ok());
    match attempt {
        Some(attempt) => Former::Attempt(attempt),
        None if status.state.waiting.is_some() && status.container_id.as_deref() == Some(id) => {
            Former::Newest
        }
        None => Former::BeforeNewest,
    }
}

/// `LOG/NAMESPACE_NAME_UID`, as [`crate::paths::Roots::pod_logs`] has it.
fn pod_directory(log_root: &Path, entry: &PodStatusFile) -> PathBuf {
    let namespace = entry.namespace.as_ref().map_or("default", |n| n.as_str());
    let name = entry.name.as_ref().map_or("", |n| n.as_str());
    let uid = entry.uid.as_ref().map_or("", |u| u.as_str());
    log_root.join(format!("{namespace}_{name}_{uid}"))
}

/// The newest log directory of a Pod that is gone; it must be named in full.
fn left_behind(log_root: &Path, pod: &PodArg) -> io::Result<Option<PathBuf>> {
    let Some(namespace) = &pod.namespace else { return Ok(None) };
    let prefix = format!("{namespace}_{}_", pod.name);
    let mut newest = None;
    for name in directories(log_root)? {
        if name.starts_with(&prefix) {
            let path = log_root.join(name);
            let Ok(modified) = fs::metadata(&path).and_then(|m| m.modified()) else { continue };
            newest = newest.max(Some((modified, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn directories(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The names of a Pod's containers in the manifest's order.
pub fn container_names(entry: &PodStatusFile) -> Vec<String> {
    let of = |path: &str| entry.pod.pointer(path).and_then(|c| c.as_array()).into_iter().flatten();
    let all = of("/spec/containers").chain(of("/spec/initContainers"));
    all.filter_map(|c| c.get("name")?.as_str()).map(str::to_owned).collect()
}

/// The container that is meant: the one named, else the first; that there are others is said on standard error.
pub fn pick(pod: &str, known: &[String], asked: Option<&str>) -> Result<String, Error> {
    match (asked, known) {
        (Some(asked), _) if known.iter().any(|k| k == asked) => Ok(asked.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, [first, ..]) => {
            let _ = writeln!(
                io::stderr(),
                "podstrap: container {first} of {}; -c names another",
                known.join(", ")
            );
            Ok(first.clone())
        }
        (_, _) => Err(Error::NoSuchContainer {
            pod: pod.to_owned(),
            asked: asked.unwrap_or_default().to_owned(),
            known: known.to_vec(),
        }),
    }
}

/// The newest run that has a file, or the one before. While the next run waits for its turn, the newest file is the former.
fn chosen_attempt(place: &Place, files: &[LogFile], previous: bool) -> Option<u32> {
    let newest = files.last().map(|f| f.attempt)?;
    if !previous {
        return Some(newest);
    }
    match place.former {
        Former::Attempt(attempt) => Some(attempt),
        Former::Newest => Some(newest),
        Former::BeforeNewest => files.iter().rev().map(|f| f.attempt).find(|attempt| *attempt < newest),
    }
}

/// Reads on as files grow, are rotated, and follow each other; ends when the Pod is gone.
fn follow(
    args: &LogsArgs,
    place: &Place,
    reader: &mut Reader,
    printer: &mut Printer<impl Write>,
) -> Result<(), Error> {
    let mut changes = Changes::new()?;
    let mut watched = Vec::new();
    loop {
        changes.watch(&watched.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        // Whether it is gone is asked before the last look, so that its last words are not lost.
        let gone = place.is_gone(args);
        let files = place.list()?;
        // docker's files lie elsewhere, for each run in another directory.
        let live = files.last().and_then(|f| f.path.parent()).filter(|d| *d != place.directory);
        let wanted: Vec<PathBuf> =
            [Some(place.directory.as_path()), live].into_iter().flatten().map(Path::to_owned).collect();
        if wanted != watched {
            watched = wanted;
            continue;
        }
        let complete = reader.catch_up(&files, printer)?;
        printer.out.flush().map_err(Error::Output)?;
        match (complete, gone) {
            (true, true) => return Ok(()),
            (true, false) => changes.wait(RECHECK_MS)?,
            (false, _) => changes.wait(SOON_MS)?,
        }
    }
}

/// After how long files are looked for again that were rotated between listing and opening.
const SOON_MS: u64 = 10;

/// The last lines of a container's newest run that has written any; for `wait`, which says why it gave up. Nothing when
/// they cannot be read: the reason of the failure stands above them anyway.
pub fn last_lines(log_root: &Path, entry: &PodStatusFile, container: &str, lines: usize) -> Vec<String> {
    let directory = pod_directory(log_root, entry).join(container);
    let files = list(&directory).unwrap_or_default();
    let written = files.iter().rev().find(|f| fs::metadata(&f.path).is_ok_and(|m| m.len() > 0));
    let Some(attempt) = written.map(|f| f.attempt) else { return Vec::new() };
    let chosen: Vec<LogFile> = files.iter().filter(|f| f.attempt == attempt).cloned().collect();
    let mut printer =
        Printer { out: Vec::new(), joiner: Joiner::default(), timestamps: false, since: None, skip: 0 };
    let mut read = || -> Result<(), Error> {
        let from = tail(&chosen, lines).map_err(Error::file("read", &directory))?;
        copy_all(&chosen, from, &mut Reader::default(), &mut printer)?;
        printer.finish().map_err(Error::Output)
    };
    if read().is_err() {
        return Vec::new();
    }
    String::from_utf8_lossy(&printer.out).lines().map(crate::helper::text::escape).collect()
}
