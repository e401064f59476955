//! DaemonSets and StatefulSets in the table: a row for each, its Pods under it, and what there is to say about it.

use super::indented;
use crate::cli::published::{Published, owner_of, set_label};
use crate::cli::table::{Cell, Colour, Mood};
use crate::cli::values::PodArg;
use crate::cli::view::namespace;
use crate::helper::text::escape;
use crate::report::{PodStatusFile, SetStatus};

/// Pods that stand together: those of one set under it, or one that is of none.
pub(super) struct Group<'a> {
    pub set: Option<&'a SetStatus>,
    pub pods: Vec<&'a PodStatusFile>,
}

/// The entries under their sets, by namespace and name. A set is shown with any of its Pods, and without one where it was
/// asked for or nothing was.
pub(super) fn groups<'a>(
    published: &'a Published,
    chosen: &[&'a PodStatusFile],
    asked: &[PodArg],
) -> Vec<Group<'a>> {
    let sets: Vec<&SetStatus> = published.daemon.iter().flat_map(|d| &d.sets).collect();
    let set_of = |e: &PodStatusFile| {
        let owner = owner_of(e)?;
        let namespace = e.namespace.as_ref()?;
        let is_it = |s: &&&SetStatus| {
            s.kind == owner.kind.as_str() && s.name == owner.name && s.namespace == *namespace
        };
        sets.iter().find(is_it).copied()
    };
    let is_asked = |s: &SetStatus| {
        asked.is_empty() || asked.iter().any(|a| published.set(a).ok().flatten().is_some_and(|one| one == s))
    };
    let mut groups: Vec<(String, Group<'a>)> = Vec::new();
    for set in sets.iter().copied() {
        let is_its = |e: &&PodStatusFile| set_of(e).is_some_and(|s| std::ptr::eq(s, set));
        let mut pods: Vec<&'a PodStatusFile> = chosen.iter().copied().filter(is_its).collect();
        pods.sort_by_key(|e| owner_of(e).map(|o| o.ordinal));
        if is_asked(set) || !pods.is_empty() {
            groups.push((format!("{} {}", set.namespace, set.name), Group { set: Some(set), pods }));
        }
    }
    for entry in chosen.iter().copied().filter(|e| set_of(e).is_none()) {
        let name = entry.name.as_ref().map(ToString::to_string).unwrap_or_default();
        groups.push((format!("{} {name}", namespace(entry)), Group { set: None, pods: vec![entry] }));
    }
    // The order of the entries stays where names are alike.
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    groups.into_iter().map(|(_, group)| group).collect()
}

/// One word for a set.
fn set_word(set: &SetStatus) -> (&'static str, Mood) {
    if set.not_here.is_some() {
        ("NotHere", Mood::Fair)
    } else if set.is_kept {
        ("Kept", Mood::Bad)
    } else if !set.problems.is_empty() {
        ("Error", Mood::Bad)
    } else if !set.is_complete() && set.updated < set.desired && set.current >= set.desired {
        ("Updating", Mood::Fair)
    } else if !set.is_complete() {
        ("NotReady", Mood::Fair)
    } else if !set.outdated.is_empty() {
        ("Outdated", Mood::Fair)
    } else {
        ("Ready", Mood::Good)
    }
}

pub(super) fn set_row(set: &SetStatus, wide: bool) -> Vec<Cell> {
    let (word, mood) = set_word(set);
    let mut row: Vec<Cell> = vec![
        escape(set.namespace.as_str()).into(),
        format!("{}/{}", set.kind.to_lowercase(), escape(&set.name)).into(),
        format!("{}/{}", set.available, set.desired).into(),
        Cell { text: word.to_owned(), mood },
        "-".into(),
        "-".into(),
    ];
    if wide {
        row.extend(["-".into(), set.update_revision.as_str().into(), escape(&set.origin.to_string()).into()]);
        row.push(set_said(set).first().map_or_else(|| "-".to_owned(), |said| escape(said)).into());
    }
    row
}

/// What there is to say about a set.
fn set_said(set: &SetStatus) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(why) = &set.not_here {
        said.push(format!("does not run here: {why}"));
    }
    if !set.outdated.is_empty() {
        let how = match set.update_strategy.as_str() {
            "OnDelete" => "until it is started anew with `podstrap restart POD`".to_owned(),
            _ if set.partition > 0 => format!("partition is {}", set.partition),
            _ => "its turn comes".to_owned(),
        };
        said.push(format!(
            "revision {} is to follow {}; outdated ({how}): {}",
            set.update_revision,
            set.current_revision,
            set.outdated.join(", ")
        ));
    }
    said.extend(set.problems.iter().cloned());
    said
}

pub(super) fn set_explanation(set: &SetStatus, colour: Colour) -> Vec<String> {
    let mut said: Vec<String> = set_said(set).iter().flat_map(|line| indented("", line)).collect();
    for warning in &set.warnings {
        said.extend(indented("warning: ", warning));
    }
    if !said.is_empty() {
        let (word, mood) = set_word(set);
        let status = Cell { text: word.to_owned(), mood };
        said.insert(0, format!("{}: {}", set_label(set), status.painted(colour)));
    }
    said
}
