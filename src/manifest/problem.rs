//! One thing that is wrong with a manifest, with its place, as an operator and a script want to read it.

use std::fmt;

use serde::Serialize;

use super::escape;

/// Whether the document is refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is used; this part of it has no effect, or another one than it seems.
    Warning,
}

/// One problem. All text in it is escaped: safe for a terminal and for one log line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Refusal or warning.
    pub severity: Severity,
    /// The file.
    pub path: String,
    /// Line from 1; 0 where there is no text to point into.
    pub line: u32,
    /// Column in characters from 1; 0 where there is no text to point into.
    pub column: u32,
    /// The field, `spec.containers[0].image`; empty for the document as a whole.
    pub field: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The source line (a window of it, if long).
    pub excerpt: Option<String>,
    /// Where in the excerpt the caret goes, in characters from 0.
    pub caret: u32,
}

impl Problem {
    /// The first line only, `FILE:LINE:COLUMN: error: FIELD: MESSAGE`, for logs.
    pub fn headline(&self) -> String {
        let mut out = self.path.clone();
        if self.line > 0 {
            out.push_str(&format!(":{}:{}", self.line, self.column));
        }
        out.push_str(match self.severity {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        });
        if !self.field.is_empty() {
            out.push_str(&self.field);
            out.push_str(": ");
        }
        out.push_str(&self.message);
        out
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        if let Some(excerpt) = &self.excerpt {
            let caret = usize::try_from(self.caret).unwrap_or(0);
            write!(f, "\n  {excerpt}\n  {:caret$}^", "")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

/// Line and column (both from 1, the column in characters) of a byte of the text. Lines end at LF, as editors count.
pub(super) fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count();
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let column = before.get(start..).unwrap_or("").chars().count();
    (u32::try_from(line + 1).unwrap_or(u32::MAX), u32::try_from(column + 1).unwrap_or(u32::MAX))
}

/// The source line around a byte, escaped and cut to a readable window, and the caret's place in it.
pub(super) fn excerpt(text: &str, offset: usize) -> (String, u32) {
    /// A window this wide fits most terminals with room to spare.
    const WIDTH: usize = 120;
    /// How much is kept before the caret when the line is cut.
    const LEAD: usize = 60;
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let head = before.get(start..).unwrap_or("");
    let tail = after.split('\n').next().unwrap_or("").trim_end_matches('\r');
    let skipped = head.chars().count().saturating_sub(LEAD);
    let mut out = String::new();
    if skipped > 0 {
        out.push('…');
    }
    let show = |out: &mut String, c: char| match c {
        '\t' => out.push(' '),
        c => {
            escape::push(out, c);
        }
    };
    head.chars().skip(skipped).for_each(|c| show(&mut out, c));
    let caret = out.chars().count();
    tail.chars().take(WIDTH - LEAD).for_each(|c| show(&mut out, c));
    if tail.chars().count() > WIDTH - LEAD {
        out.push('…');
    }
    (out, u32::try_from(caret).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_lf() {
        let text = "a: 1\r\nü: x\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        let x = text.find('x').unwrap();
        assert_eq!(line_and_column(text, x), (2, 4));
        assert_eq!(excerpt(text, x), ("ü: x".to_owned(), 3));
        assert_eq!(line_and_column(text, 9999), (3, 1));
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let (excerpt, caret) = excerpt("  restartPolicy: always\n", 17);
        let p = Problem {
            severity: Severity::Error,
            path: "etcd.yaml".into(),
            line: 1,
            column: 18,
            field: "spec.restartPolicy".into(),
            message: "unknown value".into(),
            help: Some("did you mean Always?".into()),
            excerpt: Some(excerpt),
            caret,
        };
        assert_eq!(
            p.to_string(),
            "etcd.yaml:1:18: error: spec.restartPolicy: unknown value\n    restartPolicy: always\n                   \
             ^\nhelp: did you mean Always?"
        );
    }

    #[test]
    fn long_and_hostile_lines_are_cut_and_escaped() {
        let line = format!("{}\u{1b}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, caret) = excerpt(&line, line.find('X').unwrap());
        assert!(shown.chars().count() < 140, "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert_eq!(shown.chars().nth(caret as usize), Some('X'));
    }
}
