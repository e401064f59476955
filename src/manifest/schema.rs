//! The walk over the whole document by the table of fields: unknown names, unsupported fields, wrong shapes.

use super::escape::quoted;
use super::fields::{self, Field, Kind, Verdict};
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;

/// Reports every field of the document that is unknown, not honoured, or of the wrong shape.
pub(super) fn check(document: &Spot<'_>, findings: &mut Findings) {
    object(document, fields::POD, findings);
}

/// The same for a ConfigMap or Secret.
pub(super) fn check_object(document: &Spot<'_>, findings: &mut Findings) {
    object(document, fields::OBJECT, findings);
}

/// The same for any object with these fields.
pub(super) fn check_part(document: &Spot<'_>, known: &'static [Field], findings: &mut Findings) {
    object(document, known, findings);
}

fn object(spot: &Spot<'_>, known: &'static [Field], findings: &mut Findings) {
    let Value::Map(entries) = &spot.node.value else {
        spot.error(findings, format!("must be an object, and is {}", spot.is()));
        return;
    };
    for entry in entries {
        match known.iter().find(|f| f.name == entry.key) {
            Some(field) => {
                if let Some(value) = spot.get(field.name) {
                    one(&value, field, findings);
                }
            }
            None => unknown(spot, &entry.key, entry.id, known, findings),
        }
    }
}

fn one(value: &Spot<'_>, field: &'static Field, findings: &mut Findings) {
    match field.verdict {
        Verdict::Honoured => shape(value, field.kind, findings),
        Verdict::Warned => {
            if !says_nothing(value, field) {
                value.warning(findings, format!("has no effect: {}", field.note));
            }
        }
        Verdict::Refused => {
            if !says_nothing(value, field) {
                value.error(findings, format!("cannot be honoured: {}", field.note));
            }
        }
    }
}

fn shape(value: &Spot<'_>, kind: Kind, findings: &mut Findings) {
    match kind {
        Kind::Scalar | Kind::Opaque | Kind::Source => {}
        Kind::Object(fields) | Kind::ObjectLike(fields) => object(value, fields, findings),
        Kind::Map => {
            if !matches!(value.node.value, Value::Map(_)) {
                value.error(findings, format!("must be an object, and is {}", value.is()));
            }
        }
        Kind::Scalars => {
            is_list(value, findings);
        }
        Kind::List(fields) | Kind::ListLike(fields) => {
            if is_list(value, findings) {
                for item in value.items() {
                    object(&item, fields, findings);
                }
            }
        }
    }
}

fn is_list(value: &Spot<'_>, findings: &mut Findings) -> bool {
    let list = matches!(value.node.value, Value::List(_));
    if !list {
        let finding = value.error(findings, format!("must be a list, and is {}", value.is()));
        if !matches!(value.node.value, Value::Map(_)) {
            finding.help("write it as a list: [\"…\"], or one item per line, each after \"- \"");
        }
    }
    list
}

/// Whether the value says no more than the absent field would.
fn says_nothing(value: &Spot<'_>, field: &Field) -> bool {
    match &value.node.value {
        Value::Null => true,
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty() && !matches!(field.kind, Kind::Source),
        Value::Bool(b) => field.silent.contains(if *b { &"true" } else { &"false" }),
        Value::Int(i) => field.silent.iter().any(|s| s.parse() == Ok(*i)),
        Value::Text(text) => field.silent.contains(&text.as_str()),
        Value::Float(_) => false,
    }
}

fn unknown(spot: &Spot<'_>, key: &str, id: u32, known: &'static [Field], findings: &mut Findings) {
    let full = findings.full();
    let home = if full { None } else { home_of(key) };
    let near = if full { None } else { nearest(key, known.iter().map(|f| f.name)) };
    let finding = findings.warning(id, &spot.path_of(key), format!("unknown field {}, ignored", quoted(key)));
    match (near, home) {
        (Some(near), _) if near.eq_ignore_ascii_case(key) => {
            finding.help(format!("did you mean {near}? Field names are case-sensitive"));
        }
        (_, Some(home)) => {
            finding.help(format!("there is a field {home}: is the indentation right?"));
        }
        (Some(near), None) => {
            finding.help(format!("did you mean {near}?"));
        }
        (None, None) => {}
    }
}

/// Where in a Pod a field of that name stands, if anywhere.
fn home_of(key: &str) -> Option<String> {
    let mut found = fields::all().into_iter().filter(|(_, f)| f.name == key).map(|(path, _)| path);
    let first = found.next()?;
    // Names such as `name` stand everywhere and tell nothing.
    (found.count() < 3).then_some(first)
}
