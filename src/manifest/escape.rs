//! Foreign text made fit for a terminal and a log line.
//!
//! A manifest, its file name and its field names come from whoever can write a file. Printed raw they could move the
//! cursor, reverse the reading order or forge a second log line, so everything foreign passes through here first.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character must not reach a terminal: controls, and the invisible ones that reorder or hide text.
fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends one character, escaped where it is harmful. Returns how many characters were appended.
pub(super) fn push(out: &mut String, c: char) -> usize {
    let before = out.len();
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if harmful(c) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => {
            out.push(c);
            return 1;
        }
    }
    out.len() - before
}

/// The text with every harmful character written as an escape; borrowed when there is none.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut out, c);
    }
    Cow::Owned(out)
}

/// The text escaped, in double quotes, cut after 80 characters: how messages show a value.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for (i, c) in text.chars().enumerate() {
        if i == 80 {
            out.push('…');
            break;
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => {
                push(&mut out, c);
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_and_bidi_do_not_pass() {
        assert_eq!(escape("a\u{1b}[31m\nb\u{202e}c"), "a\\u{1b}[31m\\nb\\u{202e}c");
        assert!(matches!(escape("plain ünïcode"), Cow::Borrowed(_)));
        assert_eq!(quoted("a\"\u{7}\\"), r#""a\"\u{7}\\""#);
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 83);
    }
}
