//! docker's `json-file` logs, which become CRI logs when their container is over: whole, torn by a power cut, or forged by
//! what the container printed.
//!
//! The first byte tells whether the log is rotated, and where docker's own rotation has cut it.

use std::fs;
use std::os::unix::fs::symlink;

use podstrap::cli::cri::{self, Joiner, LogLine, Stream};
use podstrap::monitor::json_log;
use podstrap::runtime::docker::json_log::parse;

use super::scratch;

pub fn run(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let directory = scratch("docker-log");
    let docker = directory.join("docker");
    let container = directory.join("pod/container");
    fs::create_dir_all(&docker).expect("a directory");
    fs::create_dir_all(&container).expect("a directory");
    let json = docker.join("x-json.log");
    // docker cuts between lines.
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let at = usize::from(first >> 1) % (lines.len() + 1);
    let (older, newer) = lines.split_at(at);
    if !older.is_empty() {
        fs::write(docker.join("x-json.log.1"), older.concat()).expect("room");
    }
    fs::write(&json, newer.concat()).expect("room");
    let target = container.join("0.log");
    symlink(&json, &target).expect("a link");

    let rotated = first % 2 == 1;
    let (max_bytes, max_files) = if rotated { (512, 3) } else { (1 << 30, 1) };
    json_log::convert(&json, &target, max_bytes, max_files).expect("room for the log");
    assert!(fs::symlink_metadata(&target).expect("the log").is_file());
    let mut files: Vec<_> =
        fs::read_dir(&container).expect("a directory").flatten().map(|e| e.path()).collect();
    files.sort_by_key(|f| (f.ends_with("0.log"), f.clone()));
    assert!(files.len() <= max_files as usize, "{files:?}");

    let mut joiner = Joiner::default();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for file in &files {
        let bytes = fs::read(file).expect("a log file");
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let LogLine::Piece(piece) = cri::take_apart(line.strip_suffix(b"\n").expect("a whole line"))
            else {
                panic!("not a line of a log: {:?}", String::from_utf8_lossy(line));
            };
            let text = if piece.stream == Stream::Stdout { &mut out } else { &mut err };
            text.extend(joiner.take(piece).map(|(_, line)| line).unwrap_or_default());
        }
    }
    if !rotated {
        let mut wanted = [Vec::new(), Vec::new()];
        for entry in lines.iter().filter_map(|line| parse(line)) {
            wanted[usize::from(entry.stderr)].extend_from_slice(entry.text.as_bytes());
        }
        // An entry without any text may be the one that ends the stream; then its last line is not said to end.
        out.extend(joiner.end(Stream::Stdout).map(|(_, line)| line).unwrap_or_default());
        err.extend(joiner.end(Stream::Stderr).map(|(_, line)| line).unwrap_or_default());
        for (wanted, found) in wanted.iter().zip([&out, &err]) {
            let (wanted, found) = (without_end(wanted), without_end(found));
            assert!(wanted == found, "{:?} became {:?}", lossy(wanted), lossy(found));
        }
    }
}

fn without_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
