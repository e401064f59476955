//! The lines of docker's `json-file` log driver: `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}`.
//!
//! A text without a newline at its end is a piece of a line that goes on (docker cuts at 16 KiB), or the last of its stream.

use std::borrow::Cow;

use serde::Deserialize;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// RFC 3339 in UTC, always with nanoseconds as in CRI logs; docker leaves out zeros at the end.
    pub time: String,
    /// Standard error; else standard output.
    pub stderr: bool,
    /// What was written, with the newline if there was one.
    pub text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// So every line begins. It cannot stand within a line, where quotes are escaped.
pub const BEGIN: &[u8] = b"{\"log\":\"";

/// Takes a line (with or without its end) apart; `None` if it is not one. What a power cut has left before it, half a line or
/// a hole, is passed over.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let begin = line.windows(BEGIN.len()).rposition(|w| w == BEGIN)?;
    let raw: Raw<'_> = serde_json::from_slice(line.get(begin..)?).ok()?;
    let stderr = match &*raw.stream {
        "stdout" => false,
        "stderr" => true,
        _ => return None,
    };
    Some(Entry { time: with_nanoseconds(&raw.time)?, stderr, text: raw.log })
}

/// `2026-01-02T03:04:05Z` and `2026-01-02T03:04:05.6Z` with nine digits behind the point.
fn with_nanoseconds(time: &str) -> Option<String> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let (seconds, rest) = time.strip_suffix('Z')?.split_at_checked(SHAPE.len())?;
    let fits = |(c, shape): (u8, &u8)| if *shape == b'0' { c.is_ascii_digit() } else { c == *shape };
    let fraction = match rest {
        "" => "",
        _ => rest.strip_prefix('.')?,
    };
    let is_time = seconds.bytes().zip(SHAPE).all(fits)
        && fraction.len() <= 9
        && fraction.bytes().all(|b| b.is_ascii_digit());
    is_time.then(|| format!("{seconds}.{fraction:0<9}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(time: &str, stderr: bool, text: &'a str) -> Option<Entry<'a>> {
        Some(Entry { time: time.to_owned(), stderr, text: text.into() })
    }

    #[test]
    fn lines_as_docker_writes_them() {
        let line = br#"{"log":"hello\n","stream":"stdout","time":"2026-11-22T00:23:32.1234567Z"}"#;
        assert_eq!(parse(line), entry("2026-11-22T00:23:32.123456700Z", false, "hello\n"));
        let line = b"{\"log\":\"\\u003ca\\u003e \\\"b\\\" \\u0000\\t\xc3\xa9\\u2028\xef\xbf\xbd\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-11-22T00:23:32Z\"}\n";
        let text = "<a> \"b\" \0\t\u{e9}\u{2028}\u{fffd}";
        assert_eq!(parse(line), entry("2026-11-22T00:23:32.000000000Z", true, text));
        // A program that prints such a line itself.
        let line = br#"{"log":"{\"log\":\"x\"}\n","stream":"stdout","time":"2026-11-22T00:23:32Z"}"#;
        assert_eq!(parse(line), entry("2026-11-22T00:23:32.000000000Z", false, "{\"log\":\"x\"}\n"));
    }

    #[test]
    fn what_is_torn_is_told_apart() {
        let whole = r#"{"log":"b\n","stream":"stdout","time":"2026-11-22T00:23:32Z"}"#;
        let b = entry("2026-11-22T00:23:32.000000000Z", false, "b\n");
        for before in
            ["\0\0\0\0", "{\"log\":\"a", "{\"log\":\"a\\n\",\"stream\":\"std", "ut\",\"time\":\"2026-1"]
        {
            assert_eq!(parse(format!("{before}{whole}").as_bytes()), b, "{before}");
        }
        for end in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..end]), None, "{end}");
        }
        for bad in
            ["", "2026-11-22T00:23:32.000000000Z stdout F x", "{\"log\":\"\\ud800\",\"stream\":\"stdout\"}"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn times_get_nine_digits_or_are_none() {
        for bad in [
            "",
            "Z",
            "2026-11-22T00:23:32",
            "2026-11-22T00:23:32.Z9",
            "2026-11-22 00:23:32Z",
            "2026-11-22T00:23:32+01:00",
            "2026-11-22T00:23:3\u{e9}Z",
            "2026-11-22T00:23:32.1234567890Z",
        ] {
            assert_eq!(with_nanoseconds(bad), None, "{bad}");
        }
    }
}
