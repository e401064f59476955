//! podstrap-manifest(5) and podstrap-sets(5) list every field of the tables with the tables' verdict.
//!
//! The list is made from the table: `PODSTRAP_WRITE_MAN=1 cargo test --test manual` writes it anew, and without that
//! variable the test fails where page and table differ.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail as tests do.

use std::fs;
use std::path::Path;

use podstrap::manifest::docker::{GAPS, Gap};
use podstrap::manifest::fields::{Field, Verdict, all, all_of_objects, all_of_sets};

const BEGIN: &str = ".\\\" BEGIN FIELDS";
const END: &str = ".\\\" END FIELDS";

/// Text that mdoc prints as it is.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn list() -> String {
    format!(".Ss Pod\n{}.Ss ConfigMap and Secret\n{}", table(all(), GAPS), table(all_of_objects(), &[]))
}

fn table(fields: Vec<(String, &Field)>, gaps: &[Gap]) -> String {
    let mut out = String::from(".Bl -tag -width Ds\n");
    for (path, field) in fields {
        let verdict = match field.verdict {
            Verdict::Honoured => "honoured",
            Verdict::Warned => "ignored with a warning",
            Verdict::Refused => "refused",
        };
        out.push_str(&format!(".It Va {}\n", plain(&path)));
        match field.note {
            "" => out.push_str(&format!(".Em {verdict}\n")),
            note => out.push_str(&format!(".Em {verdict} :\n{}.\n", plain(note))),
        }
        if let Some(gap) = gaps.iter().find(|gap| gap.path == path) {
            out.push_str(&format!(".Em With docker refused :\n{}.\n", plain(gap.note)));
        }
    }
    out.push_str(".El\n");
    out
}

#[test]
fn the_page_lists_the_table() {
    holds("podstrap-manifest.5", &list());
}

#[test]
fn the_page_of_sets_lists_their_tables() {
    let (daemon, stateful) = (table(all_of_sets(false), &[]), table(all_of_sets(true), &[]));
    holds("podstrap-sets.5", &format!(".Ss DaemonSet\n{daemon}.Ss StatefulSet\n{stateful}"));
}

/// Holds the list of a page against what it should be, or writes it.
fn holds(page: &str, list: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(page);
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (line, rest) = rest.split_once('\n').unwrap();
    let (listed, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("PODSTRAP_WRITE_MAN").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{line}\n{list}{END}{tail}")).unwrap();
        return;
    }
    for (expected, present) in list.lines().zip(listed.lines()) {
        assert_eq!(expected, present, "run PODSTRAP_WRITE_MAN=1 cargo test --test manual");
    }
    assert_eq!(list, listed, "run PODSTRAP_WRITE_MAN=1 cargo test --test manual");
}
