//! Lines on standard error, for people and for the journal. Never blocks, never fails.
//!
//! Under systemd (JOURNAL_STREAM is set) each line starts with its priority as `<N>`, which the journal takes off; elsewhere
//! with the word. The journal adds the time itself; so do people's terminals not, and a log without times is of little
//! use at 3 a.m.: outside systemd each line begins with the time in UTC.

use std::io::IsTerminal;

use crate::sys::{clock, stderr};

/// How grave a line is (syslog's numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed that the operator must mend.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// What a healthy day looks like.
    Info = 6,
}

/// Writes one line, or several where the text has breaks (a problem with its source line); control characters in it are
/// escaped.
pub fn write(level: Level, text: &str) {
    let text = &escaped(text);
    let mut line = String::with_capacity(text.len() + 40);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        for part in text.lines() {
            line.push_str(&format!("<{}>{part}\n", level as u8));
        }
    } else {
        line.push_str(&time_of_day());
        let (on, off) = match level {
            Level::Error if std::io::stderr().is_terminal() => ("\x1b[31m", "\x1b[0m"),
            Level::Warning if std::io::stderr().is_terminal() => ("\x1b[33m", "\x1b[0m"),
            Level::Error | Level::Warning | Level::Info => ("", ""),
        };
        let word = match level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info => "",
        };
        line.push_str(&format!(" {on}{word}{text}{off}\n"));
    }
    stderr::write(line.as_bytes());
}

/// What a container, a file name or a server says may hold anything; a terminal must not obey it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn time_of_day() -> String {
    rfc3339_ms(clock::unix_ms())
}

/// A Unix time in milliseconds as RFC 3339 in UTC with milliseconds.
pub fn rfc3339_ms(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(t) => t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => String::from("-"),
    }
}

/// A Unix time in milliseconds as RFC 3339 in UTC with whole seconds, as the Kubernetes API writes times.
pub fn rfc3339(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(t) => t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => String::from("-"),
    }
}

/// Logs what a healthy day looks like.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, &format!($($arg)*)) };
}

/// Logs what is not as it should be.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, &format!($($arg)*)) };
}

/// Logs what the operator must mend.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, &format!($($arg)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(escaped("a\n\tb é"), "a\n\tb é");
        assert_eq!(escaped("\x1b[2J\r\u{9b}1m\0"), "\\u{1b}[2J\\r\\u{9b}1m\\u{0}");
    }
}
