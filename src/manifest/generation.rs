//! Which version of a Pod a document is.
//!
//! Two documents are one generation when they say the same: comments, order of keys, style, file name and our own
//! defaults do not count. The canonical form is also what the daemon keeps on disk, so that the next daemon, perhaps of
//! a newer build, makes the same Pod of it.

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::node::{Entry, Node, Value};
use super::scalar::integral;
use crate::pod::{Generation, NodeName};

/// The document as JSON: aliases and merges written out, nulls and `status` left out, keys sorted. An item of a list of that
/// kind is the same as a document that tells its kind.
pub(super) fn canonical(document: &Node, implied: Option<&str>) -> Json {
    let mut out = json(document);
    if let Json::Object(map) = &mut out {
        map.remove("status");
        if let Some(kind) = implied {
            map.entry("apiVersion").or_insert_with(|| "v1".into());
            map.entry("kind").or_insert_with(|| kind.into());
        }
    }
    // There a null is an empty text, as in Go, not an absent entry.
    for field in ["labels", "annotations"] {
        let present = child(document, "metadata").and_then(|m| child(m, field));
        if let (Some(Node { value: Value::Map(entries), .. }), Some(Json::Object(map))) =
            (present, out.pointer_mut(&format!("/metadata/{field}")))
        {
            for entry in entries.iter().filter(|e| e.value.value == Value::Null) {
                map.insert(entry.key.clone(), Json::String(String::new()));
            }
        }
    }
    out
}

fn child<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
            None
        }
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(i) => match (u64::try_from(*i), i64::try_from(*i)) {
            (Ok(u), _) => Json::Number(u.into()),
            (Err(_), Ok(i)) => Json::Number(i.into()),
            // No field takes such a number; it only has to stay the same one.
            (Err(_), Err(_)) => Json::String(i.to_string()),
        },
        // Writing and reading a float could change its last digit and so the generation. An integral one is as good as an
        // integer everywhere; another one is only accepted as an amount, where its text is as good.
        Value::Float(f) => match integral(*f) {
            Some(i) => Json::Number(i.into()),
            None => Json::String(f.to_string()),
        },
        Value::Text(text) => Json::String(text.clone()),
        Value::List(list) => Json::Array(list.iter().map(json).collect()),
        Value::Map(entries) => {
            let present = entries.iter().filter(|e| e.value.value != Value::Null);
            Json::Object(present.map(|e| (e.key.clone(), json(&e.value))).collect::<Map<_, _>>())
        }
    }
}

/// The canonical form as a tree again.
pub(super) fn tree(document: &Json) -> Node {
    let value = match document {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => Value::Int(i.into()),
            (None, Some(u), _) => Value::Int(u.into()),
            (None, None, f) => Value::Float(f.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => Value::List(list.iter().map(tree).collect()),
        Json::Object(map) => Value::Map(
            map.iter().map(|(key, value)| Entry { id: 0, key: key.clone(), value: tree(value) }).collect(),
        ),
    };
    Node { id: 0, value }
}

/// The first 32 hex digits of the SHA-256 over the canonical document and the node's name.
pub(super) fn of(canonical: &Json, node: &NodeName) -> Generation {
    let mut hash = Sha256::new();
    // serde_json keeps the keys of a map sorted.
    hash.update(canonical.to_string().as_bytes());
    hash.update(b"\0");
    hash.update(node.as_str().as_bytes());
    let digest = hash.finalize();
    Generation::new(digest.iter().take(16).map(|b| format!("{b:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: u32) -> Node {
        Node { id: n, value: Value::Text("x".into()) }
    }

    fn entry(key: &str, value: Node) -> Entry {
        Entry { id: 7, key: key.into(), value }
    }

    #[test]
    fn the_canonical_form_is_sorted_and_pruned_and_has_no_floats() {
        let float = |f| Node { id: 0, value: Value::Float(f) };
        let null = Node { id: 0, value: Value::Null };
        let status = Node { id: 0, value: Value::Map(vec![entry("phase", text(1))]) };
        let list = Node { id: 0, value: Value::List(vec![null.clone(), float(30.0)]) };
        let entries = vec![
            entry("z", list),
            entry("status", status),
            entry("n", null),
            entry("b", float(0.1)),
            entry("a", text(3)),
            entry("u", Node { id: 0, value: Value::Int(u64::MAX.into()) }),
        ];
        let json = canonical(&Node { id: 0, value: Value::Map(entries) }, None);
        assert_eq!(json.to_string(), r#"{"a":"x","b":"0.1","u":18446744073709551615,"z":[null,30]}"#);
        assert_eq!(canonical(&tree(&json), None), json);
    }

    #[test]
    fn the_generation_is_of_content_and_node() {
        let json = serde_json::json!({"b": 1, "a": 2});
        let generation = of(&json, &NodeName::new("n1"));
        // printf '{"a":2,"b":1}\\0n1' | sha256sum | cut -c1-32
        assert_eq!(generation.as_str(), "ad764e104cc80020b05c4610e1b7c73f");
        assert_ne!(generation, of(&json, &NodeName::new("n2")));
    }
}
