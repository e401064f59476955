//! A container's output as CRI lines: split by the monitor, and put together again by `podstrap logs`, it must be what the
//! container wrote.
//!
//! The first byte tells in what pieces the output comes, the second whether the log is rotated.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use podstrap::cli::cri::{self, Joiner, LogLine};
use podstrap::monitor::log::{Log, Source, Stream};
use podstrap::monitor::log_file::{LogFile, Place};

use super::scratch;

/// A line has this much before its text, and its end.
const AROUND: usize = 64;

pub fn run(data: &[u8]) {
    // Whatever stands in a log file is taken apart or shown as it is.
    let mut joiner = Joiner::default();
    for line in data.split(|b| *b == b'\n') {
        if let LogLine::Piece(piece) = cri::take_apart(line) {
            let _ = joiner.take(piece);
        }
    }
    let _ = joiner.rest();

    let [pieces, rotated, output @ ..] = data else { return };
    let directory = scratch("log");
    let rotated = rotated % 2 == 1;
    let max_bytes = if rotated { 512 } else { 1 << 30 };
    let place = Place {
        root: directory.to_path_buf(),
        directories: ["pod".to_owned(), "container".to_owned()],
        name: "0.log".to_owned(),
        max_bytes,
        max_files: 3,
    };
    let mut log = Log::new(LogFile::open(place).expect("a log file"));
    let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    write_all(read, write, output, usize::from(*pieces), &mut log);
    drop(log);

    let container = directory.join("pod/container");
    let (lines, files) = read_back(&container);
    assert!(files.len() <= 3, "{files:?}");
    if rotated {
        let longest = output.split(|b| *b == b'\n').map(<[u8]>::len).max().unwrap_or(0);
        for file in &files {
            let size = fs::metadata(file).expect("a log file").len();
            assert!(size <= max_bytes.max((longest + AROUND) as u64), "{} has {size}", file.display());
        }
    } else {
        let mut wanted = output.to_vec();
        if wanted.last().is_some_and(|b| *b != b'\n') {
            wanted.push(b'\n');
        }
        assert!(lines == wanted, "{:?} became {:?}", lossy(&wanted), lossy(&lines));
    }
}

fn write_all(read: OwnedFd, write: OwnedFd, output: &[u8], pieces: usize, log: &mut Log) {
    let mut stream = Stream::reading(Source::Stdout, read).expect("a stream");
    let mut pipe = File::from(write);
    // 1 … 64 KiB, which is what a pipe holds.
    let size = (pieces * pieces).clamp(1, 64 * 1024);
    for piece in output.chunks(size) {
        pipe.write_all(piece).expect("room in the pipe");
        let mut left = piece.len();
        while left > 0 {
            let n = stream.pump(log, 64 * 1024);
            assert!(n > 0 && n <= left, "{n} of {left}");
            left -= n;
        }
    }
    drop(pipe);
    stream.drain(log);
}

/// What the lines of all files say, in order, and the files.
fn read_back(container: &Path) -> (Vec<u8>, Vec<PathBuf>) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(container).expect("the log's directory").flatten().map(|e| e.path()).collect();
    // The live one is the last.
    files.sort_by_key(|f| (f.ends_with("0.log"), f.clone()));
    let mut joiner = Joiner::default();
    let mut text = Vec::new();
    for file in &files {
        let bytes = fs::read(file).expect("a log file");
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            match cri::take_apart(&line[..line.len() - 1]) {
                LogLine::Piece(piece) => {
                    assert_eq!(piece.stream, cri::Stream::Stdout);
                    text.extend(joiner.take(piece).map(|(_, line)| line).unwrap_or_default());
                }
                other => panic!("{other:?}: {:?}", lossy(line)),
            }
        }
    }
    (text, files)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
