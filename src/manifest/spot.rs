//! A value together with the name of its field: how the readers of single fields walk the tree.
//!
//! Every question is answered with `None` when the field is absent, null or wrong; a wrong one is reported here, once,
//! so that the readers can go on and report all other problems too.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::{Node, Value};
use super::scalar::{IntText, int_text, integral, yaml11_bool};

/// A present, non-null value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spot<'n> {
    pub node: &'n Node,
    /// The number to point at for a collection: its key, or itself in a list.
    key: u32,
    /// `spec.containers[0].image`.
    pub path: String,
}

impl<'n> Spot<'n> {
    /// The document itself.
    pub fn root(node: &'n Node) -> Self {
        Self { node, key: node.id, path: String::new() }
    }

    /// A tree that stands below `path` in its document.
    pub fn below(node: &'n Node, path: &str) -> Self {
        Self { node, key: node.id, path: path.to_owned() }
    }

    /// The number to point at.
    pub fn id(&self) -> u32 {
        match self.node.value {
            Value::Null | Value::List(_) | Value::Map(_) => self.key,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => self.node.id,
        }
    }

    /// The path of a field in this object.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The field of that name; `None` when absent or null, or when this is no object (which the schema reports).
    pub fn get(&self, name: &str) -> Option<Spot<'n>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|e| e.key == name && e.value.value != Value::Null)?;
        Some(Spot { node: &entry.value, key: entry.id, path: self.path_of(name) })
    }

    /// Whether there is a field of that name, be it null.
    pub fn has(&self, name: &str) -> bool {
        matches!(&self.node.value, Value::Map(entries) if entries.iter().any(|e| e.key == name))
    }

    /// The items of a list; none when this is no list (which the schema reports).
    pub fn items(&self) -> impl Iterator<Item = Spot<'n>> + use<'n> {
        let list: &'n [Node] = match &self.node.value {
            Value::List(list) => list,
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Map(_) => &[],
        };
        let path = self.path.clone();
        list.iter().enumerate().map(move |(i, node)| Spot {
            node,
            key: node.id,
            path: format!("{path}[{i}]"),
        })
    }

    /// The items of the list in that field.
    pub fn list(&self, name: &str) -> impl Iterator<Item = Spot<'n>> + use<'n> {
        self.get(name).into_iter().flat_map(|spot| spot.items())
    }

    /// The keys and values of a free map: key, its number, the value (which may be null).
    pub fn pairs(&self) -> impl Iterator<Item = (&'n str, u32, Spot<'n>)> + use<'n> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => &[],
        };
        let path = self.path.clone();
        entries.iter().map(move |e| {
            let path = format!("{path}[{}]", e.key);
            (e.key.as_str(), e.id, Spot { node: &e.value, key: e.id, path })
        })
    }

    /// Reports this value.
    pub fn error<'f>(
        &self,
        findings: &'f mut Findings,
        message: impl Into<String>,
    ) -> &'f mut super::findings::Finding {
        findings.error(self.id(), &self.path, message)
    }

    /// Warns about this value.
    pub fn warning<'f>(
        &self,
        findings: &'f mut Findings,
        message: impl Into<String>,
    ) -> &'f mut super::findings::Finding {
        findings.warning(self.id(), &self.path, message)
    }

    /// What this is, for messages.
    pub fn is(&self) -> &'static str {
        match self.node.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    /// Text, whatever it says.
    pub fn text(&self, findings: &mut Findings) -> Option<&'n str> {
        let shown = match &self.node.value {
            Value::Text(text) => return Some(text),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Float(_) => "…".to_owned(),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.error(findings, format!("must be text, and is {}", self.is()));
                return None;
            }
        };
        self.error(findings, format!("must be text, and is {}", self.is()))
            .help(format!("quote it: \"{shown}\""));
        None
    }

    /// Text that is not empty: `""` counts as absent, as in Go.
    pub fn filled(&self, findings: &mut Findings) -> Option<&'n str> {
        self.text(findings).filter(|t| !t.is_empty())
    }

    /// A boolean.
    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        match &self.node.value {
            Value::Bool(b) => Some(*b),
            Value::Text(text) => match yaml11_bool(text) {
                Some(b) => {
                    self.warning(findings, format!("{} is text, taken for {b}", quoted(text)))
                        .help("remove the quotes")
                        .if_quoted();
                    Some(b)
                }
                None => {
                    let finding = self
                        .error(findings, format!("must be true or false, and is the text {}", quoted(text)));
                    match text.to_ascii_lowercase().as_str() {
                        "true" | "false" => {
                            finding.help(format!("without quotes: {}", text.to_ascii_lowercase()))
                        }
                        _ => finding,
                    };
                    None
                }
            },
            Value::Null | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                self.error(findings, format!("must be true or false, and is {}", self.is()));
                None
            }
        }
    }

    /// An integer within bounds.
    pub fn int(&self, findings: &mut Findings, low: i64, high: i64) -> Option<i64> {
        let value = match &self.node.value {
            Value::Int(i) => i64::try_from(*i).ok(),
            Value::Float(f) => match integral(*f) {
                Some(i) => Some(i),
                None => {
                    self.error(findings, "must be a whole number");
                    return None;
                }
            },
            Value::Text(text) => match int_text(text) {
                IntText::Number(i) => {
                    self.warning(findings, format!("{} is text, taken for {i}", quoted(text)))
                        .help("remove the quotes")
                        .if_quoted();
                    Some(i)
                }
                IntText::Quoted => {
                    self.error(findings, format!("must be a number, and is the text {}", quoted(text)))
                        .help(format!("remove the quotes: {text}"));
                    return None;
                }
                IntText::Not => {
                    self.error(findings, format!("must be a number, and is the text {}", quoted(text)));
                    return None;
                }
            },
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                self.error(findings, format!("must be a number, and is {}", self.is()));
                return None;
            }
        };
        match value {
            Some(v) if (low..=high).contains(&v) => Some(v),
            Some(_) | None => {
                self.error(findings, format!("must be a number from {low} to {high}"));
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, findings: &mut Findings, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(findings)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<String> = choices
            .iter()
            .map(|(n, _)| if n.is_empty() { "\"\"".to_owned() } else { (*n).to_owned() })
            .collect();
        let finding = self.error(findings, format!("{} is not one of {}", quoted(text), names.join(", ")));
        if let Some(near) = nearest(text, choices.iter().map(|(n, _)| *n).filter(|n| !n.is_empty())) {
            finding.help(format!("did you mean {near}?"));
        }
        None
    }

    /// A list of texts; a null item is "" with a warning, as in Go.
    pub fn texts(&self, findings: &mut Findings) -> Vec<String> {
        let mut out = Vec::new();
        for item in self.items() {
            if item.node.value == Value::Null {
                item.warning(findings, "is empty: taken for \"\"").help("write \"\" if that is meant");
                out.push(String::new());
            } else if let Some(text) = item.text(findings) {
                out.push(text.to_owned());
            }
        }
        out
    }
}
