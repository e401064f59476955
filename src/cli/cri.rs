//! The log format of the CRI: `TIME stdout|stderr P|F TEXT`, where `P` marks a piece whose line goes on; and docker's, in
//! which a run's log stands until the run is over. Every line tells by its beginning which one it is in.

use std::borrow::Cow;

use crate::runtime::docker::json_log;

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: Cow<'a, str>,
    /// The stream.
    pub stream: Stream,
    /// The line goes on in the next piece of this stream.
    pub partial: bool,
    /// What was written, without the line's end.
    pub text: Cow<'a, [u8]>,
}

/// A line of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLine<'a> {
    /// In one of the formats.
    Piece(Piece<'a>),
    /// What is left of a line of docker's, after a power cut.
    Torn,
    /// In no format: it is shown as it is.
    Other,
}

/// Takes a line of a log file (without its end) apart.
pub fn take_apart(line: &[u8]) -> LogLine<'_> {
    let piece = if line.starts_with(json_log::BEGIN) { None } else { parse(line) };
    match (piece.or_else(|| of_docker(line)), line.starts_with(json_log::BEGIN)) {
        (Some(piece), _) => LogLine::Piece(piece),
        (None, true) => LogLine::Torn,
        (None, false) => LogLine::Other,
    }
}

fn of_docker(line: &[u8]) -> Option<Piece<'_>> {
    let entry = json_log::parse(line)?;
    let mut text = match entry.text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let partial = text.last() != Some(&b'\n');
    if !partial {
        match &mut text {
            Cow::Borrowed(text) => *text = text.get(..text.len() - 1).unwrap_or_default(),
            Cow::Owned(text) => text.truncate(text.len() - 1),
        }
    }
    let stream = if entry.stderr { Stream::Stderr } else { Stream::Stdout };
    Some(Piece { time: entry.time.into(), stream, partial, text })
}

/// Where it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes a line in the CRI's format (without its end) apart; `None` if it is not one.
fn parse(line: &[u8]) -> Option<Piece<'_>> {
    let (time, rest) = split_at_space(line)?;
    let (stream, rest) = split_at_space(rest)?;
    // The tag may carry more after a colon; and the text may be empty, with or without the space before it.
    let (tags, text) = split_at_space(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = match tags.split(|b| *b == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Piece { time: std::str::from_utf8(time).ok()?.into(), stream, partial, text: text.into() })
}

fn split_at_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == b' ')?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Puts pieces together again, each stream by itself.
#[derive(Debug, Default)]
pub struct Joiner {
    stdout: Line,
    stderr: Line,
}

#[derive(Debug, Default)]
struct Line {
    time: String,
    text: Vec<u8>,
}

/// A line longer than this is given out in parts, so that a program that never ends one cannot fill our memory.
const LINE: usize = 1 << 20;

impl Joiner {
    /// Takes a piece; gives the time of a line's first piece, and the line with its end, once it is complete.
    pub fn take(&mut self, piece: Piece<'_>) -> Option<(String, Vec<u8>)> {
        let line = match piece.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if line.text.is_empty() {
            piece.time.as_ref().clone_into(&mut line.time);
        }
        line.text.extend_from_slice(&piece.text);
        if piece.partial && line.text.len() < LINE {
            return None;
        }
        if !piece.partial {
            line.text.push(b'\n');
        }
        Some((std::mem::take(&mut line.time), std::mem::take(&mut line.text)))
    }

    /// Ends what has begun on this stream, if anything has: its end was no newline.
    pub fn end(&mut self, stream: Stream) -> Option<(String, Vec<u8>)> {
        self.take(Piece { time: "".into(), stream, partial: false, text: [].as_slice().into() })
            .filter(|(_, text)| text.len() > 1)
    }

    /// What has begun and not ended, without a line's end.
    pub fn rest(&mut self) -> Vec<(String, Vec<u8>)> {
        [&mut self.stdout, &mut self.stderr]
            .into_iter()
            .filter(|line| !line.text.is_empty())
            .map(|line| (std::mem::take(&mut line.time), std::mem::take(&mut line.text)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let piece = parse(b"2026-01-02T03:04:05.000000006Z stderr F a  b ").unwrap();
        assert_eq!((&*piece.time, piece.stream), ("2026-01-02T03:04:05.000000006Z", Stream::Stderr));
        assert_eq!((piece.partial, &*piece.text), (false, &b"a  b "[..]));
        assert_eq!(&*parse(b"t stdout F ").unwrap().text, b"");
        assert_eq!(&*parse(b"t stdout F").unwrap().text, b"");
        assert!(parse(b"t stdout P:x y").unwrap().partial);
        for bad in [&b""[..], b"hello world", b"t stdin F x", b"t stdout X y", b"\xff stdout F x"] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn each_line_tells_its_format() {
        let docker = |text: &str| {
            format!(r#"{{"log":"{text}","stream":"stderr","time":"2026-01-02T03:04:05.06Z"}}"#).into_bytes()
        };
        let piece = |partial, text: &'static [u8]| {
            let time = "2026-01-02T03:04:05.060000000Z".into();
            LogLine::Piece(Piece { time, stream: Stream::Stderr, partial, text: text.into() })
        };
        assert_eq!(take_apart(&docker("a b\\n")), piece(false, b"a b"));
        assert_eq!(take_apart(&docker("a b")), piece(true, b"a b"));
        assert_eq!(take_apart(&docker("\\n")), piece(false, b""));
        assert_eq!(take_apart(&[b"\0\0\0".to_vec(), docker("a\\n")].concat()), piece(false, b"a"));
        assert_eq!(take_apart(&docker("a")[..20]), LogLine::Torn);
        // A program that prints what docker would write.
        let line = [b"2026-01-02T03:04:05.060000000Z stderr F ".to_vec(), docker("a")].concat();
        assert!(matches!(take_apart(&line), LogLine::Piece(p) if p.text.starts_with(b"{")));
        assert_eq!(take_apart(b"hello"), LogLine::Other);
    }

    #[test]
    fn pieces_join_within_their_stream() {
        let mut joiner = Joiner::default();
        let mut take = |line: &[u8]| joiner.take(parse(line).unwrap());
        assert_eq!(take(b"1 stdout P ab"), None);
        assert_eq!(take(b"2 stderr F err"), Some(("2".into(), b"err\n".to_vec())));
        assert_eq!(take(b"3 stdout F cd"), Some(("1".into(), b"abcd\n".to_vec())));
        assert_eq!(take(b"4 stderr P open"), None);
        assert_eq!(joiner.rest(), [("4".into(), b"open".to_vec())]);
        assert_eq!(joiner.end(Stream::Stderr), None);
        joiner.take(parse(b"5 stderr P x").unwrap());
        assert_eq!(joiner.end(Stream::Stderr), Some(("5".into(), b"x\n".to_vec())));
        assert!(joiner.rest().is_empty());
    }
}
