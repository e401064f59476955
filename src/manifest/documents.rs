//! The text of a file → its documents as trees, and the place of any number in them.
//!
//! YAML is read by the YAML parser, a file whose first character is `{` by the JSON parser, as the kubelet does
//! (<https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/config/common.go>). Places always come from the
//! YAML parser, which knows the mark of every event: a JSON text is also YAML, once surrogate escapes are rewritten.

use std::borrow::Cow;

use serde_yaml::Deserializer;

use super::Limits;
use super::node::{Builder, Fault, Node, Note};

/// More documents than this in one file are refused.
const MAX_DOCUMENTS: usize = 1000;

/// How many bytes may be parsed again in search of places, for one file: bounds the time that a hostile file takes.
const PLACE_BUDGET: usize = 8 << 20;

/// One document of the file.
#[derive(Debug)]
pub(super) struct Parsed {
    /// From 1.
    pub number: u32,
    pub result: Result<(Node, Vec<Note>), Broken>,
}

/// Why a document is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub offset: usize,
    pub message: String,
    pub help: Option<&'static str>,
}

/// Which parser read the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Yaml,
    Json,
}

/// The text of one file.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub text: &'a str,
    form: Form,
    /// The text for the YAML parser, where it differs.
    places: Cow<'a, str>,
    /// Offsets in `places` after which two bytes are missing.
    shifts: Vec<usize>,
    budget: usize,
    limits: Limits,
    /// The text begins like JSON but is not.
    pub flow: bool,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str, limits: Limits) -> Self {
        let braced = text.trim_start().starts_with('{');
        let json = braced && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let (places, shifts) =
            if json { rewrite_surrogates(text) } else { (Cow::Borrowed(text), Vec::new()) };
        Self {
            text,
            form: if json { Form::Json } else { Form::Yaml },
            places,
            shifts,
            budget: PLACE_BUDGET,
            limits,
            flow: braced && !json,
        }
    }

    /// Hands over each document in order, up to the first that is broken.
    pub fn each(&self, mut use_document: impl FnMut(Parsed)) {
        if self.form == Form::Json {
            let mut builder = Builder::new(&self.limits);
            let mut deserializer = serde_json::Deserializer::from_str(self.text);
            let result = builder.read(&mut deserializer);
            let result = result.map_err(|e| self.json_broken(&e, builder.fault.take()));
            use_document(Parsed { number: 1, result: result.map(|node| (node, builder.notes)) });
            return;
        }
        let binary = self.binary_tag();
        let mut limits = self.limits;
        let mut pending: Option<Parsed> = None;
        for (i, document) in Deserializer::from_str(self.text).enumerate() {
            let number = u32::try_from(i + 1).unwrap_or(u32::MAX);
            let mut builder = Builder::new(&limits);
            let result = if i >= MAX_DOCUMENTS {
                let message = format!("more than {MAX_DOCUMENTS} documents in one file");
                Err(Broken { offset: self.text.len(), message, help: None })
            } else {
                builder.read(document).map_err(|e| self.broken(&e, builder.fault.clone()))
            };
            limits = builder.left(&limits);
            let result = match &binary {
                Some((at, broken)) if *at == i => Err(broken.clone()),
                _ => result,
            };
            // The parser must not be asked again after an error: it panics on what it then makes of the rest.
            let last = result.is_err();
            if let (None, Err(broken), Some(before)) = (&builder.fault, &result, &mut pending)
                && !self.is_marked_off(before.number, broken.offset)
            {
                // What follows is no document of its own: the one before it ended in rubbish.
                before.result = Err(broken.clone());
                break;
            }
            let parsed = Parsed { number, result: result.map(|node| (node, builder.notes)) };
            if let Some(before) = pending.replace(parsed) {
                use_document(before);
            }
            if last {
                break;
            }
        }
        if let Some(last) = pending {
            use_document(last);
        }
    }

    /// Whether a `---` stands between the beginning of that document and that place.
    fn is_marked_off(&self, document: u32, offset: usize) -> bool {
        let Some(start) = self.locate(document, 0) else { return true };
        let between = self.text.get(start..offset).unwrap_or("");
        between.contains("\n---") || self.text.get(offset..).is_some_and(|t| t.starts_with("---"))
    }

    /// The byte where the node of that number stands in that document; `None` when it cannot be told (any more).
    pub fn place(&mut self, document: u32, id: u32) -> Option<usize> {
        self.budget = self.budget.checked_sub(self.places.len())?;
        self.locate(document, id).or_else(|| self.locate_json(id))
    }

    /// Roughly: the end of the value. For a JSON text that is not YAML, such as one with a key of 2000 characters.
    fn locate_json(&self, id: u32) -> Option<usize> {
        if self.form != Form::Json {
            return None;
        }
        let mut builder = Builder::new(&self.limits);
        builder.stop = Some(id);
        let error = builder.read(&mut serde_json::Deserializer::from_str(self.text)).err()?;
        (builder.fault == Some(Fault::Stopped) && error.line() > 0)
            .then(|| self.json_broken(&error, None).offset)
    }

    fn locate(&self, document: u32, id: u32) -> Option<usize> {
        let index = usize::try_from(document.checked_sub(1)?).ok()?;
        let mut builder = Builder::new(&self.limits);
        builder.stop = Some(id);
        let document = Deserializer::from_str(&self.places).nth(index)?;
        let error = builder.read(document).err()?;
        if builder.fault != Some(Fault::Stopped) {
            return None;
        }
        let offset = byte_of(&self.places, &error.location()?);
        Some(offset + 2 * self.shifts.partition_point(|s| *s < offset))
    }

    /// Whether the scalar there is written in quotes (or as a block); `None` for an alias or a tag.
    pub fn is_quoted(&self, offset: usize) -> Option<bool> {
        match self.text.get(offset..)?.chars().next()? {
            '"' | '\'' | '|' | '>' => Some(true),
            '*' | '&' | '!' => None,
            _ => Some(false),
        }
    }

    fn broken(&self, error: &serde_yaml::Error, fault: Option<Fault>) -> Broken {
        let offset = error.location().map_or(self.text.len(), |l| byte_of(self.text, &l));
        match fault {
            Some(fault) => Broken { offset, ..fault.explain() },
            None => {
                if self.flow
                    && let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(self.text)
                    && self.text.trim_start().get(1..).is_some_and(|t| t.trim_start().starts_with('"'))
                {
                    return self.json_broken(&e, None);
                }
                let (message, help) = explain_yaml(&error.to_string(), self.text, offset);
                Broken { offset, message, help }
            }
        }
    }

    fn json_broken(&self, error: &serde_json::Error, fault: Option<Fault>) -> Broken {
        let line = error.line().saturating_sub(1);
        let start: usize = self.text.split_inclusive('\n').take(line).map(str::len).sum();
        let mut offset = (start + error.column().saturating_sub(1)).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        match fault {
            Some(fault) => Broken { offset, ..fault.explain() },
            None => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message);
                Broken { offset, message: format!("not JSON: {message}"), help: None }
            }
        }
    }

    /// `!!binary` is a core tag, which the parser passes over. Read again with a tag of our own of the same length in its
    /// place, it is refused where it is one, and only there (not in strings and comments).
    fn binary_tag(&self) -> Option<(usize, Broken)> {
        if !self.text.contains("!!binary") {
            return None;
        }
        let marked = self.text.replace("!!binary", "!binary!");
        let marked = marked.replace("!binary!", "!binary_");
        for (i, document) in Deserializer::from_str(&marked).enumerate().take(MAX_DOCUMENTS) {
            let mut builder = Builder::new(&self.limits);
            if let Err(e) = builder.read(document) {
                return match builder.fault {
                    Some(Fault::Tag(tag)) if tag == "binary_" => {
                        let offset = e.location().map_or(0, |l| byte_of(&marked, &l));
                        Some((i, Broken { offset, ..Fault::Tag("!binary".to_owned()).explain() }))
                    }
                    _ => None,
                };
            }
        }
        None
    }
}

impl Fault {
    fn explain(&self) -> Broken {
        let (message, help): (String, _) = match self {
            Self::Stopped => ("reading was stopped".to_owned(), None),
            Self::TooManyNodes => (
                "too many values".to_owned(),
                Some("aliases (*name) multiply what they stand for; write it out"),
            ),
            Self::TooMuchText => (
                "too much text".to_owned(),
                Some("aliases (*name) multiply what they stand for; write it out"),
            ),
            Self::Tag(tag) => (
                format!("the tag !{} is not supported", super::escape::escape(tag)),
                Some("remove the tag; to make a value text, put it in quotes"),
            ),
            Self::NullKey => ("a key is empty or null".to_owned(), None),
            Self::CollectionKey => (
                "a key must be text, not a list or a map".to_owned(),
                Some("is a quote missing around {{…}}?"),
            ),
            Self::Nul => ("a value contains a NUL character".to_owned(), None),
            Self::BadMerge => ("<<: needs a map or a list of maps".to_owned(), None),
        };
        Broken { offset: 0, message, help }
    }
}

/// The byte that a place of the parser means, which counts bytes; never inside a character.
fn byte_of(text: &str, location: &serde_yaml::Location) -> usize {
    let mut offset = location.index().min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// `\ud83d\ude00` → `\U0001f600`, two bytes shorter, since YAML knows no surrogates.
fn rewrite_surrogates(text: &str) -> (Cow<'_, str>, Vec<usize>) {
    let mut out = String::new();
    let mut shifts = Vec::new();
    let mut rest = text;
    let mut backslashes = 0_usize;
    let mut copied = 0;
    for (i, b) in text.bytes().enumerate() {
        if i < copied {
            continue;
        }
        let escape = backslashes % 2 == 1 && b == b'u';
        backslashes = if b == b'\\' { backslashes + 1 } else { 0 };
        if !escape {
            continue;
        }
        let unit = |from: usize| text.get(from..from + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
        let (Some(high), Some("\\u"), Some(low)) = (unit(i + 1), text.get(i + 5..i + 7), unit(i + 7)) else {
            continue;
        };
        let mut pair = char::decode_utf16([high, low]);
        if let (Some(Ok(c)), None) = (pair.next(), pair.next()) {
            let taken = text.len() - rest.len();
            out.push_str(text.get(taken..i - 1).unwrap_or(""));
            out.push_str(&format!("\\U{:08x}", u32::from(c)));
            shifts.push(out.len());
            copied = i + 11;
            rest = text.get(copied..).unwrap_or("");
        }
    }
    if shifts.is_empty() {
        return (Cow::Borrowed(text), shifts);
    }
    out.push_str(rest);
    (Cow::Owned(out), shifts)
}

/// The parser's message without its place (which stands in front already), and a hint where experience has one.
fn explain_yaml(message: &str, text: &str, offset: usize) -> (String, Option<&'static str>) {
    let mut out = message.to_owned();
    if let Some(at) = out.find(" at line ") {
        let tail = out.get(at + " at line ".len()..).unwrap_or("");
        let skip = tail
            .find(" column ")
            .map(|i| i + " column ".len())
            .map(|i| i + tail.get(i..).unwrap_or("").bytes().take_while(u8::is_ascii_digit).count());
        if let Some(skip) = skip {
            let tail = tail.get(skip..).unwrap_or("").to_owned();
            out.truncate(at);
            out.push_str(&tail);
        }
    }
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let line_start = before.rsplit('\n').next().unwrap_or("");
    let help = if after.starts_with('\t') || line_start.trim_start_matches(' ').starts_with('\t') {
        Some("YAML is indented with spaces, not with tabs")
    } else if out.contains("mapping values are not allowed") {
        Some("a value with \": \" in it needs quotes; or the indentation of this line does not fit")
    } else if out.contains("recursion limit") {
        Some("at most 128 levels are read")
    } else if out.contains("unexpected end of stream") || out.contains("EOF") {
        Some("a quote or bracket is not closed")
    } else {
        None
    };
    (super::escape::escape(&out).into_owned(), help)
}

#[cfg(test)]
mod tests {
    use super::super::node::Value;
    use super::*;

    fn all(text: &str) -> Vec<Parsed> {
        let mut out = Vec::new();
        Source::new(text, Limits::default()).each(|p| out.push(p));
        out
    }

    fn value_named<'n>(node: &'n Node, key: &str) -> &'n Node {
        let Value::Map(entries) = &node.value else { panic!() };
        &entries.iter().find(|e| e.key == key).unwrap().value
    }

    fn place_of(text: &str, document: usize, key: &str) -> &'static str {
        let mut source = Source::new(text, Limits::default());
        let docs = all(text);
        let (node, _) = docs[document - 1].result.as_ref().unwrap();
        let at = source.place(document as u32, value_named(node, key).id).unwrap();
        text[at..].to_owned().leak()
    }

    #[test]
    fn places_are_exact_in_every_style() {
        assert!(place_of("ü: é\nb:\n  - x\n", 1, "b").starts_with("- x"));
        assert!(place_of("ü: é\nb: \"y\"\n", 1, "b").starts_with("\"y\""));
        assert!(place_of("{a: {b: 1}, b: [1]}", 1, "b").starts_with("[1]"));
        assert!(place_of("---\na: 1\n---\n\nb: &x 7\n", 2, "b").starts_with("&x 7"));
        assert!(place_of("a: |\n  t\nb: 2\r\n", 1, "b").starts_with("2\r"));
        let json = "{\"a\": \"\\ud83d\\ude00\\\\ud83d\",\t\"b\": 5}";
        assert!(place_of(json, 1, "b").starts_with("5}"));
    }

    #[test]
    fn documents_are_told_apart() {
        let docs = all("a: 1\n---\n# nothing\n---\nb: 2\n---\n");
        assert_eq!(docs.len(), 4);
        assert!(matches!(docs[1].result.as_ref().unwrap().0.value, Value::Null));
        let docs = all("a: 1\n---\nb: !x 2\n");
        assert!(docs[0].result.is_ok() && docs[1].result.is_err());
        // Going on after the tag would make the parser panic.
        assert_eq!(all("a: !x {\n]: 1\n---\n}\n").len(), 1);
        let docs = all("a: [1\n---\nb: 2\n");
        assert_eq!(docs.len(), 1);
        let docs = all("a: 1\n]\n");
        assert!(docs.len() == 1 && docs[0].result.is_err(), "{docs:?}");
        let docs = all("a: 1\n---\n]\n");
        assert!(docs.len() == 2 && docs[0].result.is_ok() && docs[1].result.is_err(), "{docs:?}");
        assert_eq!(all(&"--- 1\n".repeat(2000)).len(), MAX_DOCUMENTS + 1);
    }

    #[test]
    fn json_is_json() {
        let docs = all("{\"a\": \"\\ud83d\\ude00\"}");
        let (node, _) = docs[0].result.as_ref().unwrap();
        assert_eq!(value_named(node, "a").value, Value::Text("😀".into()));
        assert!(Source::new("{a: 1}", Limits::default()).flow);
        let docs = all("{\"a\": 1, \"b\"; 2}");
        assert!(docs[0].result.as_ref().unwrap_err().message.starts_with("not JSON: "), "{docs:?}");
    }

    #[test]
    fn a_json_text_that_is_no_yaml_has_lines_too() {
        let text = format!("{{\"{}\": 1,\n \"b\": \"x\"}}", "k".repeat(2000));
        assert!(Builder::new(&Limits::default()).read(Deserializer::from_str(&text)).is_err());
        assert!(place_of(&text, 1, "b").starts_with("\"}"));
    }

    #[test]
    fn binary_is_refused_only_as_a_tag() {
        let docs = all("a: 1\nb: !!binary aGk=\n");
        let broken = docs[0].result.as_ref().unwrap_err();
        assert_eq!((broken.message.as_str(), broken.offset), ("the tag !!binary is not supported", 8));
        assert!(all("a: \"use !!binary here\" # !!binary\n")[0].result.is_ok());
    }

    #[test]
    fn syntax_errors_have_places_and_hints() {
        let docs = all("a:\n\tb: 1\n");
        let broken = docs[0].result.as_ref().unwrap_err();
        assert_eq!(broken.help, Some("YAML is indented with spaces, not with tabs"), "{broken:?}");
        assert!(!broken.message.contains(" at line 2 "), "{}", broken.message);
        let docs = all("a: \"x\nb: 1\n");
        assert!(docs[0].result.as_ref().unwrap_err().message.contains("quoted scalar"));
        assert!(all("a: *x\n")[0].result.is_err());
    }
}
