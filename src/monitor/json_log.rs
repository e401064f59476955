//! At the end of a run in docker: its `json-file` log becomes a log like any other, so that docker can forget the container.
//!
//! Until then the log's name is a link to docker's own file. The new files are made in a hidden directory beside it and
//! take their names when they are complete, the one that replaces the link last: as long as the link stands, nothing has
//! happened, and what an earlier try has left is cleared away.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::log::PIECE;
use super::log_file::{LogFile, Place};
use crate::runtime::docker::json_log::{Entry, parse};

/// The longest line that is read, in bytes; docker's have 16 KiB of text, of which each byte may be escaped.
const LONGEST: u64 = 1 << 20;
/// So much is written at a time, in bytes, or one line if that is more.
const OUT: usize = 4 * PIECE;

/// Writes what is in `json_log` and in the files rotated away from it (`json_log.1` is the newest of them) as CRI lines to
/// `target`, a link to it, with the rotation of all our logs: at most `max_bytes` in a file and `max_files` files. Called
/// again after it was killed it does the same; where `target` is a file already there is nothing to do. A log that is
/// missing becomes an empty file. An error leaves the link as it is.
pub fn convert(json_log: &Path, target: &Path, max_bytes: u64, max_files: u32) -> io::Result<()> {
    if fs::symlink_metadata(target).is_ok_and(|m| m.is_file()) {
        return Ok(());
    }
    let names = Names::of(target)?;
    let sources = files(json_log)?;
    if !sources.is_empty() {
        names.clear()?;
    }
    let result = write(&sources, names.place(max_bytes, max_files)).and_then(|()| names.publish());
    if result.is_err() {
        // Else a full disk would stay full.
        let _ = remove(&names.temporary);
    }
    result
}

/// Where things are called what.
struct Names<'a> {
    /// The container's directory, and the parent and the name of that.
    directory: &'a Path,
    parent: &'a Path,
    container: &'a str,
    /// The log's own name.
    log: &'a str,
    /// Where the new files are made.
    temporary: PathBuf,
}

impl<'a> Names<'a> {
    fn of(target: &'a Path) -> io::Result<Self> {
        let parts = || {
            let directory = target.parent()?;
            let (parent, container) = (directory.parent()?, directory.file_name()?.to_str()?);
            let log = target.file_name()?.to_str()?;
            Some(Self { directory, parent, container, log, temporary: directory.join(format!(".{log}.new")) })
        };
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, "not the path of a container's log");
        parts().ok_or_else(bad)
    }

    fn place(&self, max_bytes: u64, max_files: u32) -> Place {
        Place {
            root: self.parent.to_owned(),
            directories: [self.container.to_owned(), format!(".{}.new", self.log)],
            name: self.log.to_owned(),
            max_bytes,
            max_files,
        }
    }

    /// Removes what an earlier try has left.
    fn clear(&self) -> io::Result<()> {
        remove(&self.temporary)?;
        let dated = format!("{}.", self.log);
        for name in names(self.directory)? {
            if name.starts_with(&dated) {
                fs::remove_file(self.directory.join(name))?;
            }
        }
        Ok(())
    }

    /// Gives the new files their names. docker's file is removed after this, so they must be on the disk.
    fn publish(&self) -> io::Result<()> {
        let mut made = names(&self.temporary)?;
        for name in &made {
            File::open(self.temporary.join(name))?.sync_data()?;
        }
        made.sort_by_key(|name| name == self.log);
        for name in made {
            fs::rename(self.temporary.join(&name), self.directory.join(&name))?;
        }
        File::open(self.directory)?.sync_all()?;
        remove(&self.temporary)
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names in a directory; none where it is missing.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// docker's files of one log that are there, the oldest first.
pub fn files(json_log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(live)) = (json_log.parent(), json_log.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Vec::new());
    };
    let number = |name: &str| match name.strip_prefix(live)? {
        "" => Some(0),
        // Compressed ones are not for us.
        rest => rest.strip_prefix('.')?.parse::<u32>().ok(),
    };
    let mut found: Vec<(u32, String)> =
        names(directory)?.into_iter().filter_map(|n| Some((number(&n)?, n))).collect();
    found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(found.into_iter().map(|(_, name)| directory.join(name)).collect())
}

fn write(sources: &[PathBuf], place: Place) -> io::Result<()> {
    let ends = Ends::of(sources)?;
    // What is not written yet must fit into one file.
    let room = usize::try_from(place.max_bytes).unwrap_or(OUT).min(OUT);
    let mut writer = Writer { file: LogFile::open(place)?, out: Vec::new(), room, seconds: 0 };
    for (number, source) in sources.iter().enumerate() {
        let mut entry = 0;
        each_entry(source, |e| {
            let last = [ends.stdout, ends.stderr].contains(&Some((number, entry)));
            entry += 1;
            writer.add(&e, last)
        })?;
    }
    writer.flush()
}

/// The last entry of each stream, by the file's number and its own: it ends its line also where it has no newline.
#[derive(Default)]
struct Ends {
    stdout: Option<(usize, usize)>,
    stderr: Option<(usize, usize)>,
}

impl Ends {
    fn of(sources: &[PathBuf]) -> io::Result<Self> {
        let mut ends = Self::default();
        for (number, source) in sources.iter().enumerate().rev() {
            let (mut here, mut entry) = (Self::default(), 0);
            each_entry(source, |e| {
                *(if e.stderr { &mut here.stderr } else { &mut here.stdout }) = Some((number, entry));
                entry += 1;
                Ok(())
            })?;
            ends.stdout = ends.stdout.or(here.stdout);
            ends.stderr = ends.stderr.or(here.stderr);
            if ends.stdout.is_some() && ends.stderr.is_some() {
                break;
            }
        }
        Ok(ends)
    }
}

/// Reads a file line by line; what is no entry is passed over.
fn each_entry(path: &Path, mut take: impl FnMut(Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        // Of what is longer the end is read like a line: a whole one may stand there.
        if reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Some(entry) = parse(&line) {
            take(entry)?;
        }
    }
}

struct Writer {
    file: LogFile,
    out: Vec<u8>,
    /// How much `out` may hold beside one line, in bytes.
    room: usize,
    /// The Unix time of the last entry; names of rotated files are made of it, so that they are the same at each try.
    seconds: i64,
}

impl Writer {
    fn add(&mut self, entry: &Entry<'_>, last: bool) -> io::Result<()> {
        if let Ok(time) = entry.time.parse::<jiff::Timestamp>() {
            self.seconds = time.as_second();
        }
        let stream = if entry.stderr { "stderr" } else { "stdout" };
        // docker puts one line into an entry; should there be more, each is one.
        for text in entry.text.split_inclusive('\n') {
            let (text, whole) = match text.strip_suffix('\n') {
                Some(text) => (text, true),
                None => (text, last),
            };
            let tag = if whole { 'F' } else { 'P' };
            let line = format!("{} {stream} {tag} {text}\n", entry.time);
            if self.out.len() + line.len() > self.room {
                self.flush()?;
            }
            if self.file.is_full(self.out.len(), line.len()) {
                self.flush()?;
                self.file.rotate(self.seconds);
            }
            self.out.extend_from_slice(line.as_bytes());
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.file.write(&self.out, self.seconds);
            self.out.clear();
        }
        self.file.loss().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_file::tests::Scratch;
    use super::super::message;
    use super::*;
    use std::os::unix::fs::symlink;

    fn json(second: u32, stream: &str, text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        format!("{{\"log\":{text},\"stream\":\"{stream}\",\"time\":\"2026-01-02T03:04:{second:02}.5Z\"}}\n")
    }

    fn cri(second: u32, rest: &str) -> String {
        format!("2026-01-02T03:04:{second:02}.500000000Z {rest}\n")
    }

    /// A container's log directory with the link in it, and docker's directory.
    struct Run {
        scratch: Scratch,
        json_log: PathBuf,
    }

    impl Run {
        fn new(name: &str) -> Self {
            let scratch = Scratch::new(name);
            let root = scratch.live().ancestors().nth(4).unwrap().to_owned();
            fs::create_dir_all(root.join("docker")).unwrap();
            fs::create_dir_all(scratch.live().parent().unwrap()).unwrap();
            let json_log = root.join("docker/ab-json.log");
            symlink(&json_log, scratch.live()).unwrap();
            Self { scratch, json_log }
        }

        fn put(&self, suffix: &str, text: &str) {
            let mut path = self.json_log.clone().into_os_string();
            path.push(suffix);
            fs::write(path, text).unwrap();
        }

        fn convert(&self, max_bytes: u64, max_files: u32) -> io::Result<()> {
            convert(&self.json_log, &self.scratch.live(), max_bytes, max_files)
        }

        /// Name and content of all there is.
        fn result(&self) -> Vec<(String, String)> {
            let directory = self.scratch.live().parent().unwrap().to_owned();
            let mut names = names(&directory).unwrap();
            names.sort();
            names.into_iter().map(|n| (n.clone(), fs::read_to_string(directory.join(n)).unwrap())).collect()
        }

        fn log(&self) -> String {
            assert!(fs::symlink_metadata(self.scratch.live()).unwrap().is_file());
            fs::read_to_string(self.scratch.live()).unwrap()
        }
    }

    #[test]
    fn all_files_become_one_log() {
        let run = Run::new("json-all");
        run.put(".10", &json(1, "stdout", "<one>\n"));
        run.put(".2", &json(2, "stderr", "two\n"));
        run.put(".2.gz", "no");
        run.put(
            ".1",
            &(json(3, "stdout", "three ") + &json(4, "stderr", "\n") + &json(5, "stdout", "three\n")),
        );
        run.put("", &(json(6, "stderr", "no end") + &json(7, "stdout", "four\n")));
        run.convert(1 << 20, 5).unwrap();
        let expected = cri(1, "stdout F <one>")
            + &cri(2, "stderr F two")
            + &cri(3, "stdout P three ")
            + &cri(4, "stderr F ")
            + &cri(5, "stdout F three")
            + &cri(6, "stderr F no end")
            + &cri(7, "stdout F four");
        assert_eq!(run.log(), expected);
        assert_eq!(run.result().len(), 1);
        // docker has removed its own: what is there stays.
        fs::remove_dir_all(run.json_log.parent().unwrap()).unwrap();
        run.convert(1 << 20, 5).unwrap();
        assert_eq!(run.log(), expected);
        let said = message::read(Path::new("/nonexistent"), Some(&run.scratch.live())).unwrap();
        assert_eq!(said, "<one>\ntwo\nthree \nthree\nno end\nfour\n");
    }

    #[test]
    fn what_is_torn_is_passed_over() {
        let run = Run::new("json-torn");
        let hole = "\0".repeat(3 << 20);
        run.put(
            "",
            &(json(1, "stdout", "one\n")
                + "{\"log\":\"tw"
                + &hole
                + &json(2, "stdout", "two\n")
                + "{\"log\":\"thr"),
        );
        run.convert(1 << 20, 5).unwrap();
        assert_eq!(run.log(), cri(1, "stdout F one") + &cri(2, "stdout F two"));
    }

    #[test]
    fn a_log_that_is_missing_is_empty() {
        let run = Run::new("json-missing");
        run.convert(1 << 20, 5).unwrap();
        assert_eq!(run.log(), "");
        fs::remove_file(run.scratch.live()).unwrap();
        fs::remove_dir_all(run.json_log.parent().unwrap()).unwrap();
        run.convert(1 << 20, 5).unwrap();
        assert_eq!(run.log(), "");
    }

    #[test]
    fn a_large_log_is_rotated_and_a_kill_in_the_middle_changes_nothing() {
        let run = Run::new("json-large");
        let lines: String = (0..50).map(|n| json(n, "stdout", &format!("line {n:02}\n"))).collect();
        run.put("", &lines);
        // Ten lines of 48 bytes in a file.
        run.convert(489, 3).unwrap();
        let result = run.result();
        let names: Vec<&str> = result.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["3.log", "3.log.20260102-030430", "3.log.20260102-030440"]);
        let tens = |from: u32| {
            (from..from + 10).map(|n| cri(n, &format!("stdout F line {n:02}"))).collect::<String>()
        };
        assert_eq!(result.iter().map(|(_, t)| t.clone()).collect::<Vec<_>>(), [tens(40), tens(20), tens(30)]);
        let directory = run.scratch.live().parent().unwrap().to_owned();
        let again = || {
            fs::remove_file(run.scratch.live()).unwrap();
            symlink(&run.json_log, run.scratch.live()).unwrap();
        };
        // Killed while it wrote, and while it gave names.
        again();
        fs::create_dir(directory.join(".3.log.new")).unwrap();
        fs::write(directory.join(".3.log.new/3.log"), "half").unwrap();
        fs::write(directory.join("3.log.20260102-030420"), "of another try").unwrap();
        run.convert(489, 3).unwrap();
        assert_eq!(run.result(), result);
        again();
        fs::create_dir(directory.join(".3.log.new")).unwrap();
        fs::rename(
            directory.join("3.log.20260102-030440"),
            directory.join(".3.log.new/3.log.20260102-030440"),
        )
        .unwrap();
        run.convert(489, 3).unwrap();
        assert_eq!(run.result(), result);
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_the_link() {
        use nix::mount::{MsFlags, mount};
        let run = Run::new("json-full");
        let directory = run.scratch.live().parent().unwrap().to_owned();
        mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        symlink(&run.json_log, run.scratch.live()).unwrap();
        run.put("", &json(1, "stdout", &format!("{}\n", "x".repeat(1000))).repeat(100));
        let error = run.convert(1 << 20, 5).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC), "{error}");
        assert!(fs::symlink_metadata(run.scratch.live()).unwrap().is_symlink());
        assert_eq!(names(&directory).unwrap(), ["3.log"]);
        run.put("", &json(1, "stdout", "small\n"));
        run.convert(1 << 20, 5).unwrap();
        assert_eq!(run.log(), cri(1, "stdout F small"));
    }
}
