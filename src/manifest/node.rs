//! The tree between text and Pod: every key and value of a document, within a budget, in order, numbered.
//!
//! Serde hides positions of what parses well. So each key and value gets its number in the order of visiting, and a
//! second run over the same text that is made to fail at that number tells the place (`place.rs`). The same visitor
//! does both runs, so the numbers agree. Seeing *all* keys, also unknown ones, it also finds duplicates, merges
//! `<<`, refuses tags and stops alias bombs wherever they hide.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use super::Limits;

/// A value, and its number in its document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub id: u32,
    pub value: Value,
}

/// What a value is, before any field says what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map, its number, and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub id: u32,
    pub key: String,
    pub value: Node,
}

/// What the visitor refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Asked for by `Builder::stop`.
    Stopped,
    TooManyNodes,
    TooMuchText,
    Tag(String),
    NullKey,
    CollectionKey,
    Nul,
    /// `<<` with something that is not a map.
    BadMerge,
}

/// What the visitor saw and the kubelet's parser passes over in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The key of that number was there before; the last one counts.
    Duplicate(u32, String),
    /// `<<` of that number was merged.
    Merged(u32),
}

/// Counts, charges and collects while one document is read.
#[derive(Debug)]
pub(super) struct Builder {
    next: u32,
    nodes: usize,
    text: usize,
    /// Fail at the node of this number, so that the error carries its place.
    pub stop: Option<u32>,
    pub fault: Option<Fault>,
    pub notes: Vec<Note>,
}

/// Notes beyond this many tell nothing new.
const MAX_NOTES: usize = 64;

impl Builder {
    pub fn new(limits: &Limits) -> Self {
        Self {
            next: 0,
            nodes: limits.max_nodes,
            text: limits.max_text,
            stop: None,
            fault: None,
            notes: Vec::new(),
        }
    }

    /// What is left of the budget, for the next document of the same file.
    pub fn left(&self, limits: &Limits) -> Limits {
        Limits { max_nodes: self.nodes, max_text: self.text, ..*limits }
    }

    /// Reads one document.
    pub fn read<'de, D: Deserializer<'de>>(&mut self, document: D) -> Result<Node, D::Error> {
        NodeSeed(self).deserialize(document)
    }

    fn fail<T, E: de::Error>(&mut self, fault: Fault) -> Result<T, E> {
        self.fault.get_or_insert(fault);
        Err(E::custom("refused"))
    }

    fn enter<E: de::Error>(&mut self) -> Result<u32, E> {
        let id = self.next;
        self.next += 1;
        if self.stop == Some(id) {
            return self.fail(Fault::Stopped);
        }
        match self.nodes.checked_sub(1) {
            Some(left) => self.nodes = left,
            None => return self.fail(Fault::TooManyNodes),
        }
        Ok(id)
    }

    fn charge<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        match self.text.checked_sub(text.len()) {
            Some(left) => self.text = left,
            None => return self.fail(Fault::TooMuchText),
        }
        if text.contains('\0') { self.fail(Fault::Nul) } else { Ok(()) }
    }

    fn note(&mut self, note: Note) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    /// Resolves `<<`, then keeps the last of equal keys.
    fn settle<E: de::Error>(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, E> {
        let (merges, mut entries): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|e| e.key == "<<");
        let mut merged = Vec::new();
        for entry in merges {
            self.note(Note::Merged(entry.id));
            match entry.value.value {
                Value::Map(map) => merged.extend(map),
                Value::List(list) => {
                    for item in list {
                        match item.value {
                            Value::Map(map) => merged.extend(map),
                            _ => return self.fail(Fault::BadMerge),
                        }
                    }
                }
                _ => return self.fail(Fault::BadMerge),
            }
        }
        let mut last = BTreeMap::new();
        for entry in &entries {
            if last.insert(entry.key.clone(), entry.id).is_some() {
                self.note(Note::Duplicate(entry.id, entry.key.clone()));
            }
        }
        if last.len() < entries.len() {
            entries.retain(|e| last.get(&e.key) == Some(&e.id));
        }
        if !merged.is_empty() {
            // A key written out wins over a merged one, an earlier merge over a later one.
            let fresh = merged.into_iter().filter(|e| last.insert(e.key.clone(), e.id).is_none());
            entries.extend(fresh);
        }
        Ok(entries)
    }
}

struct NodeSeed<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl NodeSeed<'_> {
    fn scalar<E: de::Error>(self, value: Value) -> Result<Node, E> {
        Ok(Node { id: self.0.enter()?, value })
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Node, E> {
        self.scalar(Value::Bool(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Node, E> {
        self.scalar(Value::Int(v.into()))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Node, E> {
        self.scalar(Value::Int(v.into()))
    }

    fn visit_i128<E: de::Error>(self, v: i128) -> Result<Node, E> {
        self.scalar(Value::Int(v))
    }

    fn visit_u128<E: de::Error>(self, v: u128) -> Result<Node, E> {
        self.scalar(i128::try_from(v).map_or(Value::Float(f64::INFINITY), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Node, E> {
        self.scalar(Value::Float(v))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Value::Null)
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Node, E> {
        let id = self.0.enter()?;
        self.0.charge(v)?;
        Ok(Node { id, value: Value::Text(v.to_owned()) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let id = self.0.enter()?;
        let mut list = Vec::new();
        while let Some(node) = seq.next_element_seed(NodeSeed(self.0))? {
            list.push(node);
        }
        Ok(Node { id, value: Value::List(list) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let id = self.0.enter()?;
        let mut entries = Vec::new();
        while let Some((key_id, key)) = map.next_key_seed(KeySeed(self.0))? {
            let value = map.next_value_seed(NodeSeed(self.0))?;
            entries.push(Entry { id: key_id, key, value });
        }
        Ok(Node { id, value: Value::Map(self.0.settle(entries)?) })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        refuse_tag(self.0, data)
    }
}

fn refuse_tag<'de, T, A: EnumAccess<'de>>(builder: &mut Builder, data: A) -> Result<T, A::Error> {
    let (tag, _) = data.variant::<String>()?;
    builder.fail(Fault::Tag(tag))
}

/// Reads a key as the text that the kubelet's parser would make of it.
struct KeySeed<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = (u32, String);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl KeySeed<'_> {
    fn key<E: de::Error>(self, text: String) -> Result<(u32, String), E> {
        let id = self.0.enter()?;
        self.0.charge(&text)?;
        Ok((id, text))
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = (u32, String);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Self::Value, E> {
        self.key(v.to_string())
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
        self.key(v.to_string())
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
        self.key(v.to_string())
    }

    fn visit_i128<E: de::Error>(self, v: i128) -> Result<Self::Value, E> {
        self.key(v.to_string())
    }

    fn visit_u128<E: de::Error>(self, v: u128) -> Result<Self::Value, E> {
        self.key(v.to_string())
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
        self.key(v.to_string())
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
        self.key(v.to_owned())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        self.0.enter::<E>()?;
        self.0.fail(Fault::NullKey)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.0.enter::<A::Error>()?;
        self.0.fail(Fault::CollectionKey)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.0.enter::<A::Error>()?;
        self.0.fail(Fault::CollectionKey)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self::Value, A::Error> {
        refuse_tag(self.0, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Node, Vec<Note>), Option<Fault>> {
        let mut builder = Builder::new(&Limits::default());
        match builder.read(serde_yaml::Deserializer::from_str(text)) {
            Ok(node) => Ok((node, builder.notes)),
            Err(_) => Err(builder.fault),
        }
    }

    fn keys(node: &Node) -> Vec<&str> {
        match &node.value {
            Value::Map(entries) => entries.iter().map(|e| e.key.as_str()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_become_text_and_the_last_duplicate_wins() {
        let (node, notes) = read("a: 1\n1: x\ntrue: y\na: 2\n").unwrap();
        assert_eq!(keys(&node), ["1", "true", "a"]);
        assert!(matches!(notes.as_slice(), [Note::Duplicate(_, a)] if a == "a"));
    }

    #[test]
    fn merges_do_not_override() {
        let (node, notes) = read("b: &b {x: 1, y: 2}\nc:\n  y: 3\n  <<: *b\n").unwrap();
        assert_eq!(notes.len(), 1);
        let Value::Map(entries) = &node.value else { panic!() };
        let c = &entries[1].value;
        assert_eq!(keys(c), ["y", "x"]);
        let Value::Map(c) = &c.value else { panic!() };
        assert_eq!(c[0].value.value, Value::Int(3));
        assert_eq!(read("<<: 1\n"), Err(Some(Fault::BadMerge)));
    }

    #[test]
    fn what_cannot_be_json_is_refused() {
        assert_eq!(read("? [a]\n: 1\n"), Err(Some(Fault::CollectionKey)));
        assert_eq!(read("~: 1\n"), Err(Some(Fault::NullKey)));
        assert_eq!(read("a: !foo x\n"), Err(Some(Fault::Tag("foo".into()))));
        assert_eq!(read("a: \"x\\0\"\n"), Err(Some(Fault::Nul)));
    }

    #[test]
    fn bombs_end_in_the_budget() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let ref_ = format!("*a{}", i - 1);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", [ref_.as_str(); 9].join(",")));
        }
        // The parser's own bound on aliases, or ours, whichever comes first.
        assert!(matches!(read(&bomb), Err(None | Some(Fault::TooManyNodes))));
        let list = format!("a: &a [{}]\nb:\n{}", "x,".repeat(5_000), "- *a\n".repeat(50));
        assert_eq!(read(&list), Err(Some(Fault::TooManyNodes)));
        let big = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), ["*a"; 500].join(","));
        assert_eq!(read(&big), Err(Some(Fault::TooMuchText)));
    }
}
