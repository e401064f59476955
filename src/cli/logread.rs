//! A container's log files read one after another while they grow, are rotated and take each other's place; and their lines
//! printed, each once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::cri::{Joiner, LogLine, Piece, Stream, take_apart};
use super::error::Error;
use super::logfiles::{FileId, LogFile, Mark, Start};

/// The file that is being read.
pub(super) struct Current {
    path: PathBuf,
    attempt: u32,
    id: FileId,
    docker: bool,
    file: BufReader<File>,
}

#[derive(Default)]
pub(super) struct Reader {
    pub(super) current: Option<Current>,
    /// Bytes of a line whose end is not written yet.
    begun: Vec<u8>,
    /// How far docker's files are read.
    pub(super) mark: Option<Mark>,
    /// So many pieces are passed over: they were read in docker's files.
    passed: u64,
    /// Whether the last of those on each stream ends its line.
    stdout_ended: bool,
    stderr_ended: bool,
}

impl Reader {
    /// `false`: it is not what was listed, because it has been rotated, replaced or removed since.
    fn open(&mut self, file: &LogFile, offset: u64) -> Result<bool, Error> {
        let mut open = match File::open(&file.path) {
            Ok(open) => open,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::file("read", &file.path)(e)),
        };
        let id = FileId::of(&open).map_err(Error::file("read", &file.path))?;
        if id != file.id {
            return Ok(false);
        }
        open.seek(SeekFrom::Start(offset)).map_err(Error::file("read", &file.path))?;
        self.begun.clear();
        let (path, attempt, docker) = (file.path.clone(), file.attempt, file.docker);
        let file = BufReader::with_capacity(64 * 1024, open);
        self.current = Some(Current { path, attempt, id, docker, file });
        Ok(true)
    }

    /// The files that were written after the one that is being read.
    fn after<'a>(&self, files: &'a [LogFile]) -> &'a [LogFile] {
        let Some(Current { attempt, id, .. }) = &self.current else { return files };
        let next = match files.iter().position(|f| f.id == *id) {
            Some(at) => at + 1,
            // It was removed: of its own run everything that is left is newer, or (docker's) has its place been taken.
            None => files.iter().position(|f| f.attempt >= *attempt).unwrap_or(files.len()),
        };
        files.get(next..).unwrap_or_default()
    }

    /// Prints everything that was written since, up to the end of the last of `files`. `false`: one of them is not what was
    /// listed, and is to be listed again.
    pub(super) fn catch_up(
        &mut self,
        files: &[LogFile],
        printer: &mut Printer<impl Write>,
    ) -> Result<bool, Error> {
        let after = self.after(files);
        for file in after {
            // The one before has its successor: nobody writes to it any more, so this reads it to its end.
            self.copy(printer)?;
            let before = self.current.as_ref().map(|c| (c.attempt, c.docker));
            let passed = match (before, &self.mark) {
                (Some((attempt, true)), Some(mark)) if attempt == file.attempt && !file.docker => {
                    let taken: Vec<_> = after.iter().filter(|f| f.attempt == attempt).cloned().collect();
                    match mark.find(&taken) {
                        Ok(passed) => Some(passed),
                        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                        Err(e) => return Err(Error::file("read", &file.path)(e)),
                    }
                }
                _ => None,
            };
            if !self.open(file, 0)? {
                return Ok(false);
            }
            if let Some(passed) = passed {
                self.passed = passed;
            }
            if before.is_some_and(|(attempt, _)| attempt != file.attempt) {
                (self.passed, self.mark) = (0, None);
                // The former run's last line may have had no newline.
                for stream in [Stream::Stdout, Stream::Stderr] {
                    printer.end_line(stream).map_err(Error::Output)?;
                }
            }
        }
        self.copy(printer)?;
        Ok(true)
    }

    /// Prints everything up to the end of the file.
    fn copy(&mut self, printer: &mut Printer<impl Write>) -> Result<(), Error> {
        let Some(Current { path, docker, file, .. }) = &mut self.current else { return Ok(()) };
        loop {
            let room = (1u64 << 20).saturating_sub(self.begun.len() as u64);
            let read = file.by_ref().take(room).read_until(b'\n', &mut self.begun);
            if read.map_err(Error::file("read", &*path))? == 0 && room > 0 {
                // With one file only docker begins it anew instead of rotating it.
                let shrunk = *docker && is_shorter(file).map_err(Error::file("read", &*path))?;
                if !shrunk {
                    return Ok(());
                }
                self.begun.clear();
                file.seek(SeekFrom::Start(0)).map_err(Error::file("read", &*path))?;
                continue;
            }
            if self.begun.last() != Some(&b'\n') && room > 0 {
                continue;
            }
            let line = self.begun.strip_suffix(b"\n").unwrap_or(&self.begun);
            let format = take_apart(line);
            match format {
                LogLine::Piece(piece) if self.passed > 0 => {
                    self.passed -= 1;
                    match piece.stream {
                        Stream::Stdout => self.stdout_ended = !piece.partial,
                        Stream::Stderr => self.stderr_ended = !piece.partial,
                    }
                    if self.passed == 0 {
                        let ended =
                            [(Stream::Stdout, self.stdout_ended), (Stream::Stderr, self.stderr_ended)];
                        for (stream, _) in ended.into_iter().filter(|(_, ended)| *ended) {
                            printer.end_line(stream).map_err(Error::Output)?;
                        }
                    }
                }
                LogLine::Piece(piece) => {
                    if *docker {
                        self.mark = Some(Mark::after(self.mark.take(), &piece));
                    }
                    printer.piece(piece).map_err(Error::Output)?;
                }
                LogLine::Torn => {}
                LogLine::Other => printer.raw(line).map_err(Error::Output)?,
            }
            self.begun.clear();
        }
    }
}

fn is_shorter(file: &mut BufReader<File>) -> io::Result<bool> {
    let at = file.stream_position()?;
    Ok(file.get_ref().metadata()?.len() < at)
}

/// Prints what is in the files, from that place on. `false`: one of them is not what was listed, and was not read.
pub(super) fn copy_all(
    files: &[LogFile],
    (first, start): (usize, Start),
    reader: &mut Reader,
    printer: &mut Printer<impl Write>,
) -> Result<bool, Error> {
    printer.skip = start.skip;
    for (i, file) in files.iter().enumerate().skip(first) {
        if !reader.open(file, if i == first { start.offset } else { 0 })? {
            return Ok(false);
        }
        reader.copy(printer)?;
    }
    Ok(true)
}

/// Where lines go.
pub(super) struct Printer<W: Write> {
    pub(super) out: W,
    pub(super) joiner: Joiner,
    pub(super) timestamps: bool,
    pub(super) since: Option<jiff::Timestamp>,
    /// So many lines are not printed.
    pub(super) skip: usize,
}

impl<W: Write> Printer<W> {
    fn raw(&mut self, line: &[u8]) -> io::Result<()> {
        if self.skipped() {
            return Ok(());
        }
        self.out.write_all(line)?;
        self.out.write_all(b"\n")
    }

    fn piece(&mut self, piece: Piece<'_>) -> io::Result<()> {
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

    /// Ends what has begun on this stream: nothing more of it will come.
    fn end_line(&mut self, stream: Stream) -> io::Result<()> {
        match self.joiner.end(stream) {
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

    pub(super) fn finish(&mut self) -> io::Result<()> {
        for (time, text) in self.joiner.rest() {
            self.put(&time, &text)?;
        }
        self.out.flush()
    }
}
