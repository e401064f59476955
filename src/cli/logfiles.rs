//! The log files of one container: which there are, in which order they were written, and where the last lines begin.
//!
//! A run's files are `N.log` and, rotated away from it, `N.log.YYYYMMDD-HHMMSS`; N is the restart count. While a run in docker
//! lasts, `N.log` is a link to docker's `ID-json.log`, and what was rotated away from that lies beside it: `ID-json.log.1` is
//! the newest.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cri::{self, LogLine, Piece, Stream};
use crate::monitor::json_log;
use crate::paths::fnv1a;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The restart count of the run.
    pub attempt: u32,
    /// Where it is now; a rotation renames it.
    pub path: PathBuf,
    /// What it is, whatever its name.
    pub id: FileId,
    /// docker writes it. When the run is over one file of ours, or several, take its place.
    pub docker: bool,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(u64, u64);

impl FileId {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

/// All log files in a container's directory, the oldest first, as they were at one moment. A directory that is missing has
/// none.
pub fn list(directory: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = list_once(directory)?;
    // A rotation in the middle would hide a file, or show it at another's place. No file comes back to a name that it had,
    // so two lists that are the same are true for the moment between them.
    for _ in 0..LIST_TRIES {
        let again = list_once(directory)?;
        if again == files {
            break;
        }
        files = again;
    }
    Ok(files)
}

/// A directory that changes all the time is not looked at for ever.
const LIST_TRIES: u32 = 100;

fn list_once(directory: &Path) -> io::Result<Vec<LogFile>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let (mut files, mut docker) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry?;
        let Some((attempt, rotated)) = entry.file_name().to_str().and_then(parse_name) else { continue };
        let path = entry.path();
        match fs::read_link(&path) {
            Ok(link) => docker.push((attempt, directory.join(link))),
            Err(_) => {
                let file = LogFile::of(attempt, path, false);
                files.extend(file.map(|file| (attempt, rotated.is_none(), rotated, file)));
            }
        }
    }
    // The live file has no date and is the newest of its run.
    files.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    let mut files: Vec<LogFile> = files.into_iter().map(|(_, _, _, file)| file).collect();
    for (attempt, target) in docker {
        // A directory that is missing has none, and one that may not be read none for us.
        let theirs = json_log::files(&target).unwrap_or_default();
        let theirs: Vec<_> = theirs.into_iter().filter_map(|p| LogFile::of(attempt, p, true)).collect();
        if !theirs.is_empty() {
            // As long as the link is good, files of ours are what a killed monitor has left.
            files.retain(|f| f.attempt != attempt);
        }
        let at = files.partition_point(|f| f.attempt <= attempt);
        files.splice(at..at, theirs);
    }
    Ok(files)
}

impl LogFile {
    /// `None` if it has been rotated away, or removed, since it was listed.
    fn of(attempt: u32, path: PathBuf, docker: bool) -> Option<Self> {
        let metadata = fs::metadata(&path).ok()?;
        Some(Self { attempt, path, id: FileId(metadata.dev(), metadata.ino()), docker })
    }
}

/// `3.log` → (3, None); `3.log.20260102-030405` → (3, Some("20260102-030405")).
fn parse_name(name: &str) -> Option<(u32, Option<String>)> {
    let (attempt, rest) = name.split_once(".log")?;
    let attempt = attempt.parse().ok()?;
    if rest.is_empty() {
        return Some((attempt, None));
    }
    let date = rest.strip_prefix('.')?;
    // Compressed siblings and temporary files of other tools are not for us.
    let fits = date.bytes().all(|b| b.is_ascii_digit() || b == b'-') && !date.is_empty();
    fits.then(|| (attempt, Some(date.to_owned())))
}

/// Where the last lines of a file begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The byte at which reading begins.
    pub offset: u64,
    /// How many lines that end after it are not among the last ones: they are read only because one that is had begun before
    /// them, on the other stream.
    pub skip: usize,
}

/// Where the last `lines` lines of a run begin: the index of the file in `files`, and the place in it. Read backwards, so
/// that it costs no more than what is shown.
pub fn tail(files: &[LogFile], lines: usize) -> io::Result<(usize, Start)> {
    let mut wanted = lines;
    for (index, file) in files.iter().enumerate().rev() {
        let open = match File::open(&file.path) {
            Ok(open) => open,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Some(start) = tail_of(open, &mut wanted)? {
            return Ok((index, start));
        }
    }
    Ok((0, Start::default()))
}

/// Looks for the start of the `wanted`-th last line; `None` when the file has fewer, and `wanted` is less by as many.
fn tail_of(file: impl Read + Seek, wanted: &mut usize) -> io::Result<Option<Start>> {
    let mut lines = Backwards::new(file)?;
    let mut end = lines.end();
    while let Some(line) = lines.previous()? {
        if line.full {
            if *wanted == 0 {
                return begun_before(&mut lines, &line, end).map(Some);
            }
            *wanted -= 1;
        }
        end = line.offset;
    }
    Ok(None)
}

/// How far back the beginning of a line is looked for: the pieces of one line are written close to each other.
const REACH: u64 = 1 << 20;

/// The lines from `end` on are wanted, `last` is the one before them. A wanted line may have begun even before that: its
/// stream has an open piece there. Not looked for in the file before this one.
fn begun_before(lines: &mut Backwards<impl Read + Seek>, last: &Line, end: u64) -> io::Result<Start> {
    let mut start = Start { offset: end, skip: 0 };
    lines.floor = end.saturating_sub(REACH);
    let mut closed = vec![last.stream];
    let mut skip = 1;
    while !(closed.contains(&Some(Stream::Stdout)) && closed.contains(&Some(Stream::Stderr))) {
        let Some(line) = lines.previous()? else { break };
        if line.full {
            skip += 1;
            closed.push(line.stream);
        } else if !closed.contains(&line.stream) {
            start = Start { offset: line.offset, skip };
        }
    }
    Ok(start)
}

/// A place in the log of one run that docker writes: so many pieces like this were read. It is found again in the files that
/// take the place of docker's, which have the same pieces in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    time: String,
    stream: Stream,
    hash: u64,
    count: u32,
}

impl Mark {
    /// The place after `piece`, when `before` is the place before it.
    pub fn after(before: Option<Self>, piece: &Piece<'_>) -> Self {
        let mut mark = Self {
            time: piece.time.as_ref().to_owned(),
            stream: piece.stream,
            hash: fnv1a(&piece.text),
            count: 1,
        };
        if let Some(before) = before
            && before.is_at(piece)
        {
            mark.count = before.count.saturating_add(1);
        }
        mark
    }

    /// The place at which reading begins, by the piece before it; `None` at the beginning of the log.
    pub fn at(files: &[LogFile], (first, start): (usize, Start)) -> io::Result<Option<Self>> {
        for (index, file) in files.iter().enumerate().take(first + 1).rev() {
            let mut open = match File::open(&file.path) {
                Ok(open) => open,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let end = if index == first { start.offset } else { open.seek(SeekFrom::End(0))? };
            let begin = end.saturating_sub(4 * BLOCK);
            let mut bytes = Vec::new();
            open.seek(SeekFrom::Start(begin))?;
            open.take(end - begin).read_to_end(&mut bytes)?;
            for line in bytes.split(|b| *b == b'\n').rev() {
                if let LogLine::Piece(piece) = cri::take_apart(line) {
                    return Ok(Some(Self::after(None, &piece)));
                }
            }
        }
        Ok(None)
    }

    fn is_at(&self, piece: &Piece<'_>) -> bool {
        (&*self.time, self.stream) == (&*piece.time, piece.stream) && self.hash == fnv1a(&piece.text)
    }

    /// How many pieces of `files` stand before this place. Where it is not found (what stands there was rotated away, and
    /// so was everything before it) those do that are not younger, up to the first that is.
    pub fn find(&self, files: &[LogFile]) -> io::Result<u64> {
        let (mut read, mut older, mut is_older, mut seen) = (0, 0, true, 0);
        for file in files {
            let mut lines = BufReader::with_capacity(64 * 1024, File::open(&file.path)?);
            let mut line = Vec::new();
            while lines.by_ref().take(LONGEST as u64).read_until(b'\n', &mut line)? > 0 {
                if let LogLine::Piece(piece) = cri::take_apart(line.strip_suffix(b"\n").unwrap_or(&line)) {
                    read += 1;
                    seen += u32::from(self.is_at(&piece));
                    if seen == self.count {
                        return Ok(read);
                    }
                    is_older = is_older && *piece.time <= *self.time;
                    if is_older {
                        older = read;
                    }
                }
                line.clear();
            }
        }
        Ok(older)
    }
}

/// What there is to know of a line without keeping it.
struct Line {
    offset: u64,
    /// The line ends here; or it is not in the format, and is shown as it is.
    full: bool,
    stream: Option<Stream>,
}

/// A file's lines, the last one first.
struct Backwards<F> {
    file: F,
    /// The place in the file of the first byte of `pending`.
    start: u64,
    /// What is read and not given out yet.
    pending: Vec<u8>,
    /// Nothing before this place is read.
    floor: u64,
}

const BLOCK: u64 = 64 * 1024;

/// The longest stretch without a line's end that is kept in memory, in bytes.
const LONGEST: usize = 1 << 20;

impl<F: Read + Seek> Backwards<F> {
    fn new(mut file: F) -> io::Result<Self> {
        let start = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, start, pending: Vec::new(), floor: 0 })
    }

    /// Where the lines that were not given out yet end.
    fn end(&self) -> u64 {
        self.start + self.pending.len() as u64
    }

    fn previous(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = last_line(&self.pending, self.start == 0) {
                let at = self.pending.len() - line.len();
                let (full, stream) = match cri::take_apart(line.strip_suffix(b"\n").unwrap_or(line)) {
                    LogLine::Piece(piece) => (!piece.partial, Some(piece.stream)),
                    LogLine::Torn => (false, None),
                    LogLine::Other => (true, None),
                };
                let line = Line { offset: self.start + at as u64, full, stream };
                self.pending.truncate(at);
                return Ok(Some(line));
            }
            if self.start <= self.floor {
                return Ok(None);
            }
            if self.pending.len() >= LONGEST {
                // No log line is as long as that: a hole in the file, or a file that is no log. It counts as a line of its own.
                self.pending.clear();
                return Ok(Some(Line { offset: self.start, full: true, stream: None }));
            }
            let length = self.start.min(BLOCK);
            self.start -= length;
            let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
            self.file.seek(SeekFrom::Start(self.start))?;
            self.file.read_exact(&mut block)?;
            block.append(&mut self.pending);
            self.pending = block;
        }
    }
}

/// The last line of `bytes`, with its end if it has one. The first line counts only if nothing can stand before it.
fn last_line(bytes: &[u8], whole: bool) -> Option<&[u8]> {
    if bytes.is_empty() {
        return None;
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match body.iter().rposition(|b| *b == b'\n') {
        Some(at) => bytes.get(at + 1..),
        None if whole => Some(bytes),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn files_are_in_the_order_of_writing() {
        let dir = std::env::temp_dir().join(format!("podstrap-logfiles-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in [
            "10.log",
            "2.log",
            "2.log.20260102-000000",
            "2.log.20251231-235959",
            "2.log.gz",
            "x.log",
            "2.logs",
        ] {
            fs::write(dir.join(name), "").unwrap();
        }
        let names: Vec<_> =
            list(&dir).unwrap().iter().map(|f| f.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["2.log.20251231-235959", "2.log.20260102-000000", "2.log", "10.log"]);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(list(&dir).unwrap(), []);
    }

    fn tail_of_text(text: &str, n: usize) -> (Option<Start>, usize) {
        let mut wanted = n;
        let found = tail_of(Cursor::new(text.as_bytes()), &mut wanted).unwrap();
        (found, wanted)
    }

    /// Where the last `n` lines begin, found by reading forwards.
    fn expected(text: &str, n: usize) -> u64 {
        let mut starts = vec![0];
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len() as u64;
            if !line.contains(" P ") {
                starts.push(at);
            }
        }
        let full = starts.len() - 1;
        starts[full - n.min(full)]
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let mut text = String::new();
        for i in 0..3000 {
            text.push_str(&format!("t stdout F line {i}\n"));
            if i % 7 == 0 {
                text.push_str(&format!(
                    "t stdout P {}\n",
                    "x".repeat(16 * 1024 * usize::from(i % 1400 == 0))
                ));
            }
        }
        for n in [0, 1, 2, 7, 100, 2999, 3000, 4000] {
            let (found, left) = tail_of_text(&text, n);
            let found = found.unwrap_or_default();
            assert_eq!((found.offset, found.skip), (expected(&text, n), 0), "{n}");
            assert_eq!(left, n.saturating_sub(3000), "{n}");
        }
    }

    #[test]
    fn a_line_that_is_still_being_written_belongs_to_the_tail() {
        let text = "t stdout F one\nt stdout F two\nt stdout P thr";
        assert_eq!(tail_of_text(text, 1).0, Some(Start { offset: 15, skip: 0 }));
    }

    #[test]
    fn a_line_that_began_before_the_others_ended_is_whole() {
        let text =
            "t stderr F zero\nt stdout P ab\nt stdout P cd\nt stderr F one\nt stderr F two\nt stdout F ef\n";
        assert_eq!(tail_of_text(text, 1).0, Some(Start { offset: 16, skip: 2 }));
        assert_eq!(tail_of_text(text, 2).0, Some(Start { offset: 16, skip: 1 }));
        assert_eq!(tail_of_text(text, 3).0, Some(Start { offset: 16, skip: 0 }));
        assert_eq!(tail_of_text(text, 4).0, None);
    }
}
