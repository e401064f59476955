//! The log format of the CRI: `TIME stdout|stderr P|F TEXT`, where `P` marks a piece whose line goes on.

/// One piece of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// RFC 3339 with nanoseconds, as written.
    pub time: &'a str,
    /// The stream.
    pub stream: Stream,
    /// The line goes on in the next piece of this stream.
    pub partial: bool,
    /// What was written, without the line's end.
    pub text: &'a [u8],
}

/// Where it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes a line of a log file (without its end) apart; `None` if it is not one.
pub fn parse(line: &[u8]) -> Option<Piece<'_>> {
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
    Some(Piece { time: std::str::from_utf8(time).ok()?, stream, partial, text })
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
            piece.time.clone_into(&mut line.time);
        }
        line.text.extend_from_slice(piece.text);
        if piece.partial && line.text.len() < LINE {
            return None;
        }
        if !piece.partial {
            line.text.push(b'\n');
        }
        Some((std::mem::take(&mut line.time), std::mem::take(&mut line.text)))
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
        assert_eq!((piece.time, piece.stream), ("2026-01-02T03:04:05.000000006Z", Stream::Stderr));
        assert_eq!((piece.partial, piece.text), (false, &b"a  b "[..]));
        assert_eq!(parse(b"t stdout F ").unwrap().text, b"");
        assert_eq!(parse(b"t stdout F").unwrap().text, b"");
        assert!(parse(b"t stdout P:x y").unwrap().partial);
        for bad in [&b""[..], b"hello world", b"t stdin F x", b"t stdout X y", b"\xff stdout F x"] {
            assert_eq!(parse(bad), None);
        }
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
        assert!(joiner.rest().is_empty());
    }
}
