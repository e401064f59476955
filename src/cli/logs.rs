//! `podstrap logs`: what a container has written, from the files alone, over rotations and restarts.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::args::LogsArgs;
use super::changes::Changes;
use super::cri::{Joiner, parse};
use super::error::{Error, Exit};
use super::logfiles::{FileId, LogFile, Start, list, tail};
use super::published::Published;
use super::values::{PodArg, Since};
use super::view::{View, label};
use crate::report::PodStatusFile;
use crate::sys::clock;

/// How often a follower looks whether the Pod is still there.
const RECHECK_MS: u64 = 1000;

/// Prints the log, and goes on if asked to.
pub fn run(args: &LogsArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    let log_root = args.log_dir.clone().unwrap_or_else(|| published.roots().log);
    let place = find(&published, &log_root, args)?;
    let files = list(&place.directory).map_err(Error::file("read", &place.directory))?;
    let attempt = chosen_attempt(&place, &files, args.previous);
    let none = || Error::NoLogs { path: place.directory.clone(), previous: args.previous };
    let chosen: Vec<LogFile> = files.iter().filter(|f| Some(f.attempt) == attempt).cloned().collect();
    if chosen.is_empty() && (!args.follow || place.is_gone(args)) {
        return Err(none());
    }
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
    let from = match args.tail {
        Some(lines) => tail(&chosen, lines).map_err(Error::file("read", &place.directory))?,
        None => (0, Start::default()),
    };
    let mut reader = Reader::default();
    copy_all(&chosen, from, &mut reader, &mut printer)?;
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
    /// The run before the one that is published, if the daemon tells.
    former: Option<u32>,
}

impl Place {
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
            return Ok(Place { directory: directory.join(container), pod: None, former: None });
        }
        Err(error) => return Err(error),
    };
    let container = pick(&label(entry), &container_names(entry), args.container.as_deref())?;
    let view = View::of(entry);
    let status = view.all().find(|c| c.name == container);
    let former = status
        .and_then(|c| c.last_state.terminated.as_ref()?.container_id.as_deref()?.rsplit('-').next())
        .and_then(|attempt| attempt.parse().ok());
    let pod = entry.namespace.as_ref().zip(entry.name.as_ref()).map(|(namespace, name)| PodArg {
        namespace: Some(namespace.as_str().to_owned()),
        name: name.as_str().to_owned(),
    });
    Ok(Place { directory: pod_directory(log_root, entry).join(container), pod, former })
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
    place.former.or_else(|| files.iter().rev().map(|f| f.attempt).find(|attempt| *attempt < newest))
}

/// Prints what is in the files, from that place on.
fn copy_all(
    files: &[LogFile],
    (first, start): (usize, Start),
    reader: &mut Reader,
    printer: &mut Printer<impl Write>,
) -> Result<(), Error> {
    printer.skip = start.skip;
    for (i, file) in files.iter().enumerate().skip(first) {
        reader.open(file, if i == first { start.offset } else { 0 })?;
        reader.copy(printer)?;
    }
    Ok(())
}

/// Reads on as files grow, are rotated, and follow each other; ends when the Pod is gone.
fn follow(
    args: &LogsArgs,
    place: &Place,
    reader: &mut Reader,
    printer: &mut Printer<impl Write>,
) -> Result<(), Error> {
    let mut changes = Changes::new()?;
    loop {
        changes.watch(&[&place.directory]);
        // Whether it is gone is asked before the last look, so that its last words are not lost.
        let gone = place.is_gone(args);
        let files = list(&place.directory).map_err(Error::file("read", &place.directory))?;
        for file in reader.after(&files) {
            // The one before has its successor: nobody writes to it any more, so this reads it to its end.
            reader.copy(printer)?;
            reader.open(file, 0)?;
        }
        reader.copy(printer)?;
        printer.out.flush().map_err(Error::Output)?;
        if gone {
            return Ok(());
        }
        changes.wait(RECHECK_MS)?;
    }
}

/// The file that is being read.
#[derive(Default)]
struct Reader {
    current: Option<(PathBuf, u32, FileId, BufReader<File>)>,
    /// Bytes of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Reader {
    fn open(&mut self, file: &LogFile, offset: u64) -> Result<(), Error> {
        let mut open = match File::open(&file.path) {
            Ok(open) => open,
            // Removed by rotation since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::file("read", &file.path)(e)),
        };
        let id = FileId::of(&open).map_err(Error::file("read", &file.path))?;
        open.seek(SeekFrom::Start(offset)).map_err(Error::file("read", &file.path))?;
        self.begun.clear();
        self.current = Some((file.path.clone(), file.attempt, id, BufReader::with_capacity(64 * 1024, open)));
        Ok(())
    }

    /// The files that were written after the one that is being read.
    fn after<'a>(&self, files: &'a [LogFile]) -> &'a [LogFile] {
        let Some((_, attempt, id, _)) = &self.current else { return files };
        let next = match files.iter().position(|f| f.id == *id) {
            Some(at) => at + 1,
            // It was removed: of its own run everything that is left is newer.
            None => files.iter().position(|f| f.attempt >= *attempt).unwrap_or(files.len()),
        };
        files.get(next..).unwrap_or_default()
    }

    /// Prints everything up to the end of the file.
    fn copy(&mut self, printer: &mut Printer<impl Write>) -> Result<(), Error> {
        let Some((path, _, _, file)) = &mut self.current else { return Ok(()) };
        loop {
            let room = (1u64 << 20).saturating_sub(self.begun.len() as u64);
            let read = file.by_ref().take(room).read_until(b'\n', &mut self.begun);
            if read.map_err(Error::file("read", &*path))? == 0 && room > 0 {
                return Ok(());
            }
            if self.begun.last() == Some(&b'\n') || room == 0 {
                printer.line(self.begun.strip_suffix(b"\n").unwrap_or(&self.begun)).map_err(Error::Output)?;
                self.begun.clear();
            }
        }
    }
}

/// Where lines go.
struct Printer<W: Write> {
    out: W,
    joiner: Joiner,
    timestamps: bool,
    since: Option<jiff::Timestamp>,
    /// So many lines are not printed.
    skip: usize,
}

impl<W: Write> Printer<W> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(piece) = parse(line) else {
            if self.skipped() {
                return Ok(());
            }
            self.out.write_all(line)?;
            return self.out.write_all(b"\n");
        };
        if let Some(since) = self.since
            && piece.time.parse::<jiff::Timestamp>().is_ok_and(|at| at < since)
        {
            if !piece.partial {
                self.skipped();
            }
            return Ok(());
        }
        match self.joiner.take(piece) {
            Some((time, text)) if !self.skipped() => self.put(&time, &text),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the line that has just ended is one of those to be skipped.
    fn skipped(&mut self) -> bool {
        let skipped = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        skipped
    }

    fn put(&mut self, time: &str, text: &[u8]) -> io::Result<()> {
        if self.timestamps {
            write!(self.out, "{time} ")?;
        }
        self.out.write_all(text)
    }

    fn finish(&mut self) -> io::Result<()> {
        for (time, text) in self.joiner.rest() {
            self.put(&time, &text)?;
        }
        self.out.flush()
    }
}

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
