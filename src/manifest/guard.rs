//! Cheap refusals before any parser sees the bytes.
//!
//! The YAML parser takes quadratic time on deep flow nesting and much memory on deep block nesting; one file must
//! not stall or swell a single-threaded daemon. Each rule costs one pass over the bytes.

use super::Limits;

/// Why bytes are not handed to the parser, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Byte offset after a byte order mark.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<&'static str>,
}

impl Refusal {
    fn new(offset: usize, message: impl Into<String>, help: Option<&'static str>) -> Self {
        Self { offset, message: message.into(), help }
    }
}

/// Flow brackets times bytes must stay below this, and with it the parser below half a second: a file of 10 KB may be all
/// brackets, one of 512 KiB may hold 190.
const BRACKET_PRODUCT: usize = 100_000_000;

/// Deeper nesting than this is refused by the parser anyway; here before it costs anything.
const MAX_DEPTH: usize = 128;

/// The text of the file without its byte order mark, or why it is refused.
pub(super) fn check<'a>(bytes: &'a [u8], limits: &Limits) -> Result<&'a str, Refusal> {
    if bytes.len() > limits.max_bytes {
        let message = format!("the file is larger than {} bytes", limits.max_bytes);
        return Err(Refusal::new(
            0,
            message,
            Some("a manifest holds a few kilobytes; is this the right file?"),
        ));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Refusal::new(0, "the file is UTF-16", Some("save it as UTF-8")));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        Refusal::new(e.valid_up_to(), "the file is not UTF-8 from this place on", Some("save it as UTF-8"))
    })?;
    if let Some(offset) = bytes.iter().position(|b| *b == 0) {
        return Err(Refusal::new(
            offset,
            "the file contains a NUL byte",
            Some("a half-written or binary file?"),
        ));
    }
    brackets(bytes)?;
    indicators(text)?;
    Ok(text)
}

fn brackets(bytes: &[u8]) -> Result<(), Refusal> {
    let count = bytes.iter().filter(|b| matches!(b, b'{' | b'[')).count();
    if count.saturating_mul(bytes.len()) > BRACKET_PRODUCT {
        let message = format!("{count} opening brackets in {} bytes are too many", bytes.len());
        return Err(Refusal::new(0, message, Some("split the file, or write it in block style")));
    }
    Ok(())
}

/// `- - - -` and `? ? ? ?` open one level each on a single line.
fn indicators(text: &str) -> Result<(), Refusal> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let run = line
            .bytes()
            .take_while(|b| matches!(b, b' ' | b'\t' | b'-' | b'?' | b':'))
            .filter(|b| matches!(b, b'?' | b':' | b'-'));
        // A rule of dashes (`-----`) is no nesting: an indicator is followed by a blank.
        let nested = line.as_bytes().windows(2).take(4 * MAX_DEPTH + 4);
        if run.take(MAX_DEPTH + 1).count() > MAX_DEPTH
            && nested.filter(|w| matches!(w, [b'-' | b'?' | b':', b' ' | b'\t'])).count() > MAX_DEPTH
        {
            return Err(Refusal::new(offset, "too deeply nested", Some("at most 128 levels are read")));
        }
        offset += line.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        check(bytes, &Limits::default()).unwrap_err().message
    }

    #[test]
    fn each_guard_refuses_its_kind() {
        assert!(refusal(&vec![b'#'; 512 * 1024 + 1]).contains("larger than 524288"));
        assert!(refusal(b"\xff\xfea\0").contains("UTF-16"));
        assert_eq!(check(b"a: \xff", &Limits::default()).unwrap_err().offset, 3);
        assert!(refusal(b"a: \0").contains("NUL"));
        assert!(refusal("{a: ".repeat(80_000).as_bytes()).contains("brackets"));
        assert!(refusal("? ".repeat(200).as_bytes()).contains("nested"));
        assert!(refusal("- ".repeat(200_000).as_bytes()).contains("nested"));
    }

    #[test]
    fn ordinary_text_passes() {
        assert_eq!(check(b"\xef\xbb\xbfa: 1\n", &Limits::default()).unwrap(), "a: 1\n");
        let rule = format!("# {}\n{}\n- - x\n", "-".repeat(300), "-".repeat(300));
        assert!(check(rule.as_bytes(), &Limits::default()).is_ok());
        assert!(check("[".repeat(10_000).as_bytes(), &Limits::default()).is_ok());
    }
}
