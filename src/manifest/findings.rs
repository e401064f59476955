//! Problems while they are collected: against numbered nodes, before their places are known.

use super::documents::Source;
use super::escape::escape;
use super::problem::{Problem, Severity, excerpt, line_and_column};

/// Problems of one document beyond this many are counted, not shown.
const MAX_FINDINGS: usize = 100;

/// On what the finding depends that only the text can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    /// The scalar is written in quotes.
    Quoted,
    /// The scalar is written without quotes.
    Plain,
}

/// One problem, placed by number.
#[derive(Debug)]
pub(super) struct Finding {
    severity: Severity,
    id: u32,
    condition: Condition,
    field: String,
    message: String,
    help: Option<String>,
}

impl Finding {
    /// Adds what to do about it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Only if the scalar is written in quotes.
    pub fn if_quoted(&mut self) {
        self.condition = Condition::Quoted;
    }

    /// Only if the scalar is written without quotes.
    pub fn if_plain(&mut self) {
        self.condition = Condition::Plain;
    }
}

/// All problems of one document so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    unshown: usize,
    refused: bool,
    /// Takes what is beyond the bound.
    overflow: Option<Box<Finding>>,
}

impl Findings {
    fn push(&mut self, severity: Severity, id: u32, field: &str, message: String) -> &mut Finding {
        let finding = Finding {
            severity,
            id,
            condition: Condition::Always,
            field: field.to_owned(),
            message,
            help: None,
        };
        // An error is never pushed out by warnings.
        if self.list.len() >= MAX_FINDINGS && (severity == Severity::Warning || self.refused) {
            self.unshown += 1;
            return self.overflow.insert(Box::new(finding));
        }
        self.refused |= severity == Severity::Error;
        self.list.push(finding);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// The document is refused.
    pub fn error(&mut self, id: u32, field: &str, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, id, field, message.into())
    }

    /// The document is used all the same.
    pub fn warning(&mut self, id: u32, field: &str, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Warning, id, field, message.into())
    }

    /// Whether no more will be shown: time to stop looking for hints.
    pub fn full(&self) -> bool {
        self.list.len() >= MAX_FINDINGS
    }

    /// Whether the document is refused.
    pub fn refused(&self) -> bool {
        self.refused
    }

    /// Gives every finding its place and sorts by it: errors, warnings.
    pub fn place(
        self,
        path: &str,
        document: u32,
        mut source: Option<&mut Source<'_>>,
    ) -> (Vec<Problem>, Vec<Problem>) {
        let mut placed: Vec<(usize, Problem)> = Vec::with_capacity(self.list.len());
        let mut known = std::collections::BTreeMap::new();
        let root =
            if self.list.is_empty() { None } else { source.as_mut().and_then(|s| s.place(document, 0)) };
        for finding in self.list {
            let offset = source
                .as_mut()
                .and_then(|s| *known.entry(finding.id).or_insert_with(|| s.place(document, finding.id)))
                .or(root);
            let quoted = match (&source, offset) {
                (Some(source), Some(offset)) => source.is_quoted(offset),
                _ => None,
            };
            let holds = match finding.condition {
                Condition::Always => true,
                Condition::Quoted => quoted == Some(true),
                Condition::Plain => quoted == Some(false),
            };
            if holds {
                let text = source.as_ref().map(|s| s.text);
                placed.push((offset.unwrap_or(0), problem(finding, path, text, offset)));
            }
        }
        placed.sort_by_key(|(offset, _)| *offset);
        let unshown = self.unshown;
        let (mut errors, mut warnings): (Vec<Problem>, Vec<Problem>) =
            placed.into_iter().map(|(_, p)| p).partition(|p| p.severity == Severity::Error);
        if unshown > 0 {
            let list = if errors.is_empty() { &mut warnings } else { &mut errors };
            if let Some(mut more) = list.last().cloned() {
                more.message = format!("{unshown} more problems are not shown");
                (more.field, more.help, more.excerpt) = (String::new(), None, None);
                list.push(more);
            }
        }
        (errors, warnings)
    }
}

fn problem(finding: Finding, path: &str, text: Option<&str>, offset: Option<usize>) -> Problem {
    let mut out = at_offset(path, text, offset, finding.severity);
    out.field = escape(&finding.field).into_owned();
    out.message = escape(&finding.message).into_owned();
    out.help = finding.help.map(|h| escape(&h).into_owned());
    out
}

/// A problem without words at a byte of the text.
pub(super) fn at_offset(
    path: &str,
    text: Option<&str>,
    offset: Option<usize>,
    severity: Severity,
) -> Problem {
    let mut out = Problem {
        severity,
        path: path.to_owned(),
        line: 0,
        column: 0,
        field: String::new(),
        message: String::new(),
        help: None,
        excerpt: None,
        caret: 0,
    };
    if let (Some(text), Some(offset)) = (text, offset) {
        (out.line, out.column) = line_and_column(text, offset);
        let (line, caret) = excerpt(text, offset);
        (out.excerpt, out.caret) = (Some(line), caret);
    }
    out
}

/// The one of `names` that was most likely meant, if any is near.
pub fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if given.len() > 64 {
        return None;
    }
    let lower = given.to_ascii_lowercase();
    let bound = (given.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .filter(|name| *name != given)
        .map(|name| (distance(&lower, &name.to_ascii_lowercase()), name))
        .filter(|(d, _)| *d <= bound)
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Optimal string alignment distance: insert, delete, replace, swap neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |v: &[usize], k: usize| v.get(k).copied().unwrap_or(usize::MAX - 1);
            let mut best = at(&above, j) + usize::from(ca != cb);
            best = best.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let names = ["hostNetwork", "hostPID", "hostIPC", "hostname"];
        assert_eq!(nearest("HostNetwork", names), Some("hostNetwork"));
        assert_eq!(nearest("hostNetwrok", names), Some("hostNetwork"));
        assert_eq!(nearest("hostPid", names), Some("hostPID"));
        assert_eq!(nearest("restart", names), None);
        assert_eq!(nearest("always", ["Always", "Never"]), Some("Always"));
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn findings_are_bounded_and_an_error_is_never_lost() {
        let mut findings = Findings::default();
        for i in 0..150 {
            findings.warning(0, "a", format!("w{i}"));
        }
        findings.error(0, "b", "e");
        assert!(findings.refused());
        let (errors, warnings) = findings.place("f", 1, None);
        assert_eq!(errors.len(), 2);
        assert_eq!(warnings.len(), 100);
        assert_eq!(errors[1].message, "50 more problems are not shown");
        assert_eq!(errors[0].headline(), "f: error: b: e");
    }
}
