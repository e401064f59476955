//! Text of unknown origin on its way to a terminal or a log line.

/// `text` with everything escaped that could move a cursor, end a line or turn the direction of writing; tabs become
/// spaces. The rest of Unicode stays as it is.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if is_hostile(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Like [`escape`], with line ends kept and tabs too: for excerpts that were laid out over several lines.
pub fn escape_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_hostile(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The first line of `text` that is not blank, escaped and cut to `limit` characters (the last of them `…` when cut).
pub fn first_line(text: &str, limit: usize) -> String {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("");
    let escaped = escape(line);
    if escaped.chars().count() <= limit {
        return escaped;
    }
    let mut cut: String = escaped.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Control characters, and the invisible ones that reorder text or separate lines.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_passes() {
        assert_eq!(escape("a\x1b[2Jb\r\nc\u{202e}d\té"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}d é");
        assert_eq!(escape_lines("a\n\tb\x07"), "a\n\tb\\u{7}");
    }

    #[test]
    fn a_first_line_is_short_and_not_blank() {
        assert_eq!(first_line("\n  \n etcd is not ready \nmore", 200), "etcd is not ready");
        assert_eq!(first_line("äöüß", 3), "äö…");
        assert_eq!(first_line("", 3), "");
    }
}
