//! The log files of one container: which there are, in which order they were written, and where the last lines begin.
//!
//! A run's files are `N.log` and, rotated away from it, `N.log.YYYYMMDD-HHMMSS`; N is the restart count.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cri;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The restart count of the run.
    pub attempt: u32,
    /// Where it is now; a rotation renames it.
    pub path: PathBuf,
    /// What it is, whatever its name.
    pub id: FileId,
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

/// All log files in a container's directory, the oldest first. A directory that is missing has none.
pub fn list(directory: &Path) -> io::Result<Vec<LogFile>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some((attempt, rotated)) = entry.file_name().to_str().and_then(parse_name) else { continue };
        // It may be rotated away, or removed, between listing and looking.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        let id = FileId(metadata.dev(), metadata.ino());
        files.push((attempt, rotated, LogFile { attempt, path: entry.path(), id }));
    }
    // The live file has no date and is the newest of its run.
    files.sort_by(|a, b| (a.0, a.1.is_none(), &a.1).cmp(&(b.0, b.1.is_none(), &b.1)));
    Ok(files.into_iter().map(|(_, _, file)| file).collect())
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

/// Where the last `lines` lines of a run begin: the index of the file in `files`, and the byte in it. Read backwards, so
/// that it costs no more than what is shown. A line's pieces that stand before another stream's line are not looked for.
pub fn tail(files: &[LogFile], lines: usize) -> io::Result<(usize, u64)> {
    let mut wanted = lines;
    for (index, file) in files.iter().enumerate().rev() {
        let mut open = match File::open(&file.path) {
            Ok(open) => open,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Some(offset) = tail_of(&mut open, &mut wanted)? {
            return Ok((index, offset));
        }
    }
    Ok((0, 0))
}

const BLOCK: u64 = 64 * 1024;

/// Looks for the start of the `wanted`-th last line; `None` when the file has fewer, and `wanted` is less by as many.
fn tail_of(file: &mut (impl Read + Seek), wanted: &mut usize) -> io::Result<Option<u64>> {
    let mut start = file.seek(SeekFrom::End(0))?;
    // What is read and not yet understood: the beginning of the file's rest. `offset` is its place in the file.
    let mut pending: Vec<u8> = Vec::new();
    let mut end = start;
    while start > 0 {
        let length = start.min(BLOCK);
        start -= length;
        let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.extend_from_slice(&pending);
        pending = block;
        // The bytes from the first line's end on are whole lines; what is before it may go on in the block before.
        while let Some(line) = last_line(&pending, start == 0) {
            let line_start = pending.len() - line.len();
            if ends_a_line(line) {
                if *wanted == 0 {
                    return Ok(Some(end));
                }
                *wanted -= 1;
            }
            end = start + line_start as u64;
            pending.truncate(line_start);
        }
    }
    Ok((*wanted == 0 && end > 0).then_some(end))
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

/// A full line, or one that is not in the format and is shown as it is.
fn ends_a_line(line: &[u8]) -> bool {
    !cri::parse(line.strip_suffix(b"\n").unwrap_or(line)).is_some_and(|piece| piece.partial)
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

    /// What the last `n` lines begin with, found by reading forwards.
    fn expected(text: &str, n: usize) -> usize {
        let mut starts = vec![0];
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len();
            if ends_a_line(line.as_bytes()) {
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
            let mut wanted = n;
            let found = tail_of(&mut Cursor::new(text.as_bytes()), &mut wanted).unwrap();
            assert_eq!(found.unwrap_or(0), expected(&text, n) as u64, "{n}");
            assert_eq!(wanted, n.saturating_sub(3000), "{n}");
        }
    }

    #[test]
    fn a_line_that_is_still_being_written_belongs_to_the_tail() {
        let text = b"t stdout F one\nt stdout F two\nt stdout P thr";
        let mut wanted = 1;
        assert_eq!(tail_of(&mut Cursor::new(&text[..]), &mut wanted).unwrap(), Some(15));
    }
}
