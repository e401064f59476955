//! A container's output as CRI log lines: `2026-01-02T03:04:05.123456789Z stdout F text`.
//!
//! `F` ends a line, `P` is a piece of one longer than 16 KiB (kubernetes: design-proposals, kubelet-cri-logging). Everything
//! is done in three fixed buffers: one for each pipe and one for what is to be written, so a flood costs no memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::log_file::LogFile;
use crate::sys::clock;

/// A line longer than this many bytes is logged in pieces.
pub const PIECE: usize = 16 * 1024;
/// Enough for two pieces with all that stands before them.
const OUT: usize = 2 * PIECE + 256;
/// `2026-01-02T03:04:05.123456789Z stdout F ` and the newline.
const AROUND: usize = 41;

/// One of the container's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Lines on their way to the file.
#[derive(Debug)]
pub struct Log {
    file: LogFile,
    out: Vec<u8>,
    stamp: Stamp,
}

impl Log {
    /// A log that writes into `file`.
    pub fn new(file: LogFile) -> Self {
        Self { file, out: Vec::with_capacity(OUT), stamp: Stamp::default() }
    }

    /// Adds one line, or a piece of one. `whole` says that the line ends here.
    fn add(&mut self, source: Source, whole: bool, text: &[u8]) {
        let length = text.len() + AROUND;
        if self.out.len() + length > OUT {
            self.flush();
        }
        if self.file.is_full(self.out.len(), length) {
            self.flush();
            // What the disk did not take fills no file.
            if self.file.is_full(0, length) {
                self.file.rotate(self.stamp.seconds);
            }
        }
        self.out.extend_from_slice(&self.stamp.text);
        self.out.extend_from_slice(match (source, whole) {
            (Source::Stdout, true) => b" stdout F ",
            (Source::Stdout, false) => b" stdout P ",
            (Source::Stderr, true) => b" stderr F ",
            (Source::Stderr, false) => b" stderr P ",
        });
        self.out.extend_from_slice(text);
        self.out.push(b'\n');
    }

    /// Writes what has been added. Nothing is left to write afterwards: what the disk does not take is counted, and told in
    /// the log when it takes something again.
    pub fn flush(&mut self) {
        if !self.out.is_empty() {
            self.file.write(&self.out, self.stamp.seconds);
            self.out.clear();
        }
    }

    /// Whether lost bytes wait to be told: the caller is to call [`Log::tell_losses`] now and then.
    pub fn has_losses(&self) -> bool {
        self.file.has_losses()
    }

    /// Tries to write down how much was lost.
    pub fn tell_losses(&mut self) {
        self.stamp.now();
        self.file.write(&[], self.stamp.seconds);
    }
}

/// The reading end of one of the container's streams.
#[derive(Debug)]
pub struct Stream {
    source: Source,
    pipe: Option<File>,
    buffer: Vec<u8>,
    filled: usize,
}

impl Stream {
    /// Makes a pipe: our end, which never blocks, and the container's.
    pub fn new(source: Source) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        Ok((Self::reading(source, read)?, write))
    }

    /// A stream of what is read from this descriptor, which is made never to block.
    pub fn reading(source: Source, descriptor: OwnedFd) -> io::Result<Self> {
        fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { source, pipe: Some(descriptor.into()), buffer: Vec::new(), filled: 0 })
    }

    /// The descriptor to poll, while it is open.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Moves what is there into the log, about `most` bytes, so that neither stream starves the other. Returns how many
    /// bytes were read.
    pub fn pump(&mut self, log: &mut Log, most: usize) -> usize {
        let mut total = 0;
        if self.buffer.is_empty() {
            // Not before there is something to read: many a container is silent on one of its streams for life. One byte
            // more than a piece, so that a line of exactly that length is still seen to end.
            self.buffer = vec![0; PIECE + 1];
        }
        while total < most {
            let Some(pipe) = &mut self.pipe else { break };
            match pipe.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => self.finish(log),
                Ok(n) => {
                    total += n;
                    self.filled += n;
                    log.stamp.now();
                    self.split(log);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.finish(log),
            }
        }
        log.flush();
        total
    }

    /// After the container's end: reads what the pipe held at most. A process outside the container may hold the other
    /// end for ever, and may go on writing; neither is waited for.
    pub fn drain(&mut self, log: &mut Log) {
        // A terminal is no pipe and holds less than this.
        let held =
            self.pipe.as_ref().and_then(|p| fcntl(p, FcntlArg::F_GETPIPE_SZ).ok()).unwrap_or(64 * 1024);
        self.pump(log, usize::try_from(held).unwrap_or(0));
        self.finish(log);
        log.flush();
    }

    /// Takes the text that is in the pipe, at most `most` bytes, past the log: what runc said when there is no container.
    pub fn take_text(&mut self, most: usize) -> String {
        let mut text = Vec::new();
        if let Some(pipe) = &mut self.pipe {
            // An error (nothing there) ends the reading like the end does.
            let _ = pipe.take(most as u64).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// The stream has ended: its last line may lack its newline and is whole all the same (as the kubelet's readers expect).
    fn finish(&mut self, log: &mut Log) {
        self.pipe = None;
        if self.filled > 0 {
            log.stamp.now();
            log.add(self.source, true, self.buffer.get(..self.filled).unwrap_or_default());
            self.filled = 0;
        }
    }

    fn split(&mut self, log: &mut Log) {
        let held = self.buffer.get(..self.filled).unwrap_or_default();
        let mut rest = held;
        while let Some(end) = find_newline(rest) {
            let (line, after) = rest.split_at(end);
            log.add(self.source, true, line);
            rest = after.get(1..).unwrap_or_default();
        }
        if rest.len() > PIECE {
            let (piece, after) = rest.split_at(PIECE);
            log.add(self.source, false, piece);
            rest = after;
        }
        let (left, used) = (rest.len(), self.filled - rest.len());
        self.buffer.copy_within(used..self.filled, 0);
        self.filled = left;
    }
}

/// The first newline, looked for eight bytes at a time.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let x = u64::from_le_bytes(*word) ^ (LOW * b'\n' as u64);
        // Nonzero where, and lowest at the first place where, a byte of x is zero.
        let hit = x.wrapping_sub(LOW) & !x & HIGH;
        if hit != 0 {
            return Some(at + (hit.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes.get(at..)?.iter().position(|b| *b == b'\n').map(|i| at + i)
}

/// The time of a line; all but the fraction is written anew only when the second changes.
#[derive(Debug)]
struct Stamp {
    seconds: i64,
    text: [u8; 30],
}

impl Default for Stamp {
    fn default() -> Self {
        Self { seconds: i64::MIN, text: *b"1970-01-01T00:00:00.000000000Z" }
    }
}

impl Stamp {
    fn now(&mut self) {
        let (seconds, nanoseconds) = clock::unix();
        self.set(seconds, nanoseconds);
    }

    fn set(&mut self, seconds: i64, nanoseconds: i64) {
        if seconds != self.seconds {
            self.seconds = seconds;
            let t = Civil::of(seconds);
            for (from, to, value) in [
                (0, 4, t.year),
                (5, 7, t.month),
                (8, 10, t.day),
                (11, 13, t.hour),
                (14, 16, t.minute),
                (17, 19, t.second),
            ] {
                digits(self.text.get_mut(from..to).unwrap_or_default(), value);
            }
        }
        digits(self.text.get_mut(20..29).unwrap_or_default(), nanoseconds);
    }
}

fn digits(place: &mut [u8], mut value: i64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (value % 10).unsigned_abs() as u8;
        value /= 10;
    }
}

/// A time of day of the Gregorian calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1970 …
    pub year: i64,
    /// 1 … 12.
    pub month: i64,
    /// 1 … 31.
    pub day: i64,
    /// 0 … 23.
    pub hour: i64,
    /// 0 … 59.
    pub minute: i64,
    /// 0 … 59.
    pub second: i64,
}

impl Civil {
    /// The time of day of a Unix time in seconds. Counts in eras of 400 years that begin on the first of March, so that the
    /// leap day comes last.
    pub fn of(unix: i64) -> Self {
        let (days, rest) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn times_of_day() {
        let mut stamp = Stamp::default();
        for (unix, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (1_767_323_045, 123_456_789, "2026-01-02T03:04:05.123456789Z"),
            (4_107_542_399, 999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        ] {
            stamp.set(unix, nanoseconds);
            assert_eq!(std::str::from_utf8(&stamp.text).unwrap(), text);
        }
    }

    #[test]
    fn newlines_are_found_wherever_they_are() {
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![0x0b; length];
                bytes[at] = b'\n';
                assert_eq!(find_newline(&bytes), Some(at));
                bytes.push(b'\n');
                assert_eq!(find_newline(&bytes), Some(at));
            }
            assert_eq!(find_newline(&vec![0x8a; length]), None);
        }
    }

    /// What `chunks`, written one after the other, come out as: (stream, tag, text).
    fn logged(chunks: &[&[u8]]) -> Vec<(String, String, String)> {
        let dir = super::super::log_file::tests::Scratch::new("log");
        let mut log = Log::new(dir.open(1 << 30, 5));
        let (mut stream, write) = Stream::new(Source::Stdout).unwrap();
        let mut write = File::from(write);
        for chunk in chunks {
            write.write_all(chunk).unwrap();
            stream.pump(&mut log, 1 << 20);
        }
        drop(write);
        stream.drain(&mut log);
        let text = std::fs::read_to_string(dir.live()).unwrap();
        text.lines()
            .map(|l| {
                let mut parts = l.splitn(4, ' ');
                assert_eq!(parts.next().unwrap().len(), 30);
                let mut next = || parts.next().unwrap().to_owned();
                (next(), next(), next())
            })
            .collect()
    }

    #[test]
    fn lines_pieces_and_ends() {
        let line = |tag: &str, text: &str| ("stdout".to_owned(), tag.to_owned(), text.to_owned());
        assert_eq!(
            logged(&[b"one\n\ntw", b"o\nlast"]),
            [line("F", "one"), line("F", ""), line("F", "two"), line("F", "last")]
        );
        let exact = "x".repeat(PIECE);
        assert_eq!(logged(&[exact.as_bytes(), b"\n"]), [line("F", &exact)]);
        let long = "y".repeat(2 * PIECE + 1);
        assert_eq!(
            logged(&[long.as_bytes(), b"\nz\n"]),
            [
                line("P", &exact.replace('x', "y")),
                line("P", &exact.replace('x', "y")),
                line("F", "y"),
                line("F", "z")
            ]
        );
        assert_eq!(logged(&[]), []);
    }

    #[test]
    fn a_small_bound_holds_for_what_comes_at_once() {
        let dir = super::super::log_file::tests::Scratch::new("bound");
        let mut log = Log::new(dir.open(512, 4));
        let (mut stream, write) = Stream::new(Source::Stdout).unwrap();
        let mut write = File::from(write);
        let long = "x".repeat(1000);
        write.write_all(format!("{long}\n{}", "0123456789\n".repeat(1000)).as_bytes()).unwrap();
        drop(write);
        stream.drain(&mut log);
        let sizes: Vec<u64> = std::fs::read_dir(dir.live().parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 4);
        assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    }

    #[test]
    fn a_holder_of_the_pipe_is_not_waited_for() {
        let dir = super::super::log_file::tests::Scratch::new("held");
        let mut log = Log::new(dir.open(1 << 30, 5));
        let (mut stream, write) = Stream::new(Source::Stderr).unwrap();
        let mut write = File::from(write);
        write.write_all(b"half").unwrap();
        stream.drain(&mut log);
        assert!(stream.descriptor().is_none());
        assert!(std::fs::read_to_string(dir.live()).unwrap().ends_with(" stderr F half\n"));
    }
}
