//! What a `run` would do with what is asked for, against what lives. It reads nothing: facts in, steps out.
//!
//! The rules are those of `core`: a refused document stops nothing, a Pod whose new version cannot begin yet goes on as it
//! is, and what no source names any more is stopped.

use serde::Serialize;
use serde_json::Value;

use super::differences::{self, Change};
use crate::core::Refusal;
use crate::pod::depends::{circle, cycles};
use crate::pod::host_ports::HostPort;
use crate::pod::{Dependency, Generation, Origin, PodKey};

/// One Pod that is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub key: PodKey,
    pub generation: Generation,
    /// The canonical document.
    pub document: Value,
    pub origin: Origin,
    /// Its file is refused now; this is what it said before.
    pub kept_for: Option<String>,
    /// What it cannot start without: images, ConfigMaps.
    pub waits: Vec<String>,
    pub depends_on: Vec<Dependency>,
    pub host_ports: Vec<HostPort>,
}

/// One document that is refused.
#[derive(Clone, Debug)]
pub struct RefusedDocument {
    pub key: Option<PodKey>,
    pub origin: Origin,
    /// The first line of the first problem.
    pub problem: String,
}

/// One Pod that lives.
#[derive(Clone, Debug)]
pub struct Living {
    pub key: PodKey,
    pub generation: Generation,
    /// The document it was made of, where that is known.
    pub document: Option<Value>,
    pub origin: Origin,
    /// Others may depend on it now.
    pub ready: bool,
    /// It is being stopped.
    pub leaving: bool,
    pub host_ports: Vec<HostPort>,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub wanted: Vec<Wanted>,
    pub refused: Vec<RefusedDocument>,
    pub living: Vec<Living>,
    /// What is wanted is all that is: other Pods are stopped.
    pub whole: bool,
    /// A source that cannot be read, and why: then nothing is stopped.
    pub unread: Option<String>,
    /// Pods that are there or wanted besides.
    pub others: Vec<PodKey>,
    /// Stopped by `podstrap down`, with the generation, while the daemon lives.
    pub held: Vec<(PodKey, Generation)>,
}

/// What becomes of one Pod or document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It begins.
    Start,
    /// It is stopped, and begins as the new version.
    Replace,
    /// It ends.
    Stop,
    /// It would begin, or be replaced, and something is missing.
    Wait,
    /// The document is not used, and there is no Pod of it.
    Refuse,
    /// The document is not used; the Pod goes on as it is.
    Keep,
    /// Nothing.
    Unchanged,
}

impl Action {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Replace => "replace",
            Self::Stop => "stop",
            Self::Wait => "wait",
            Self::Refuse => "refuse",
            Self::Keep => "keep",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub action: Action,
    pub reason: Option<String>,
    /// File and document, where it is of one.
    pub origin: Option<Origin>,
    pub changes: Vec<Change>,
}

impl Step {
    fn of(key: &PodKey, action: Action, reason: Option<String>, origin: Option<&Origin>) -> Self {
        Self {
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            action,
            reason,
            origin: origin.cloned(),
            changes: Vec::new(),
        }
    }
}

/// The steps, by namespace and name; documents without a name last.
pub fn decide(facts: &Facts) -> Vec<Step> {
    let lists = facts.wanted.iter().map(|w| (&w.key, w.depends_on.as_slice())).collect();
    let cycles = cycles(&lists);
    // Of Pods that run, and of those that begin by this plan.
    let of =
        |l: &'_ Living| l.host_ports.iter().map(|port| (l.key.clone(), port.clone())).collect::<Vec<_>>();
    let mut taken: Vec<(PodKey, HostPort)> = facts.living.iter().flat_map(of).collect();
    let mut steps: Vec<Step> = facts
        .wanted
        .iter()
        .map(|wanted| {
            let mut waits = wanted.waits.clone();
            match cycles.get(&wanted.key) {
                Some(way) => waits.push(format!("it depends on itself: {}", circle(way))),
                None => waits.extend(wanted.depends_on.iter().filter_map(|d| waits_for(d, facts))),
            }
            let others = || taken.iter().filter(|(key, _)| *key != wanted.key);
            let holder = |port: &HostPort| {
                let (key, _) = others().find(|(_, other)| other.conflicts(port))?;
                Some(format!("port {port} of the host is taken by {key}"))
            };
            waits.extend(wanted.host_ports.iter().find_map(holder));
            if waits.is_empty() {
                taken.extend(wanted.host_ports.iter().map(|port| (wanted.key.clone(), port.clone())));
            }
            of_wanted(wanted, living(facts, &wanted.key), facts, &waits)
        })
        .collect();
    let is_wanted = |key: &PodKey| facts.wanted.iter().any(|w| w.key == *key);
    for refused in &facts.refused {
        let reason = Some(refused.problem.clone());
        let lives = refused.key.as_ref().filter(|k| living(facts, k).is_some() && !is_wanted(k));
        steps.push(match (lives, &refused.key) {
            (Some(key), _) => Step::of(key, Action::Keep, reason, Some(&refused.origin)),
            (None, Some(key)) => Step::of(key, Action::Refuse, reason, Some(&refused.origin)),
            (None, None) => Step {
                namespace: None,
                name: None,
                action: Action::Refuse,
                reason,
                origin: Some(refused.origin.clone()),
                changes: Vec::new(),
            },
        });
    }
    if facts.whole {
        steps.extend(facts.living.iter().filter(|l| !is_wanted(&l.key)).filter_map(|l| unnamed(l, facts)));
    }
    // So few of them need no sort of their own in the program.
    let mut sorted: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        let key = |s: &Step| (s.name.is_none(), s.namespace.clone(), s.name.clone());
        let place = sorted.partition_point(|s| key(s) <= key(&step));
        sorted.insert(place, step);
    }
    sorted
}

fn living<'f>(facts: &'f Facts, key: &PodKey) -> Option<&'f Living> {
    facts.living.iter().find(|l| l.key == *key)
}

fn of_wanted(wanted: &Wanted, living: Option<&Living>, facts: &Facts, waits: &[String]) -> Step {
    let step = |action, reason| Step::of(&wanted.key, action, reason, Some(&wanted.origin));
    let because = wanted.kept_for.as_ref().map(|problem| format!("its file is refused: {problem}"));
    let waiting = |then: &str| Some(format!("{}{then}", waits.join("; ")));
    let held = facts.held.iter().find(|(key, _)| *key == wanted.key);
    let is_held = held.is_some_and(|(_, generation)| *generation == wanted.generation);
    let Some(living) = living else {
        if is_held {
            return step(Action::Unchanged, Some("stopped by `podstrap down`".to_owned()));
        }
        return match (waits, because) {
            ([], Some(because)) => step(Action::Start, Some(format!("as it was before {because}"))),
            ([], None) => step(Action::Start, None),
            ([_, ..], _) => step(Action::Wait, waiting("")),
        };
    };
    if living.leaving && held.is_none() {
        return step(Action::Wait, Some("the running version is being stopped".to_owned()));
    }
    if living.generation == wanted.generation {
        return match because {
            Some(because) => step(Action::Keep, Some(because)),
            None if is_held => step(Action::Unchanged, Some("stopped by `podstrap down`".to_owned())),
            None => step(Action::Unchanged, None),
        };
    }
    let changes = match &living.document {
        Some(old) => differences::between(old, &wanted.document),
        None => Vec::new(),
    };
    let moved = file_name(&living.origin) != file_name(&wanted.origin) && wanted.kept_for.is_none();
    let reason = match (&living.document, because, moved) {
        (_, Some(because), _) => Some(format!("with the last good version, as {because}")),
        (None, ..) => Some("what runs is not known field by field".to_owned()),
        (Some(_), None, true) => Some(format!("what runs is of {}", living.origin)),
        (Some(_), None, false) => None,
    };
    let step = match waits {
        [] => step(Action::Replace, reason),
        [_, ..] => step(Action::Wait, waiting("; the running version goes on until then")),
    };
    Step { changes, ..step }
}

fn file_name(origin: &Origin) -> &str {
    origin.path.rsplit('/').next().unwrap_or_default()
}

/// A Pod that lives and that no document names.
fn unnamed(living: &Living, facts: &Facts) -> Option<Step> {
    let step = |action, reason| Step::of(&living.key, action, Some(reason), None);
    let may_be = |r: &&RefusedDocument| {
        Refusal { key: r.key.clone(), path: r.origin.path.clone() }.may_be(&living.key, &living.origin)
    };
    // Told already, with the document that bears its name.
    if facts.refused.iter().any(|r| r.key.as_ref() == Some(&living.key)) {
        return None;
    }
    Some(if living.leaving {
        step(Action::Stop, "its manifest is gone, and it is being stopped".to_owned())
    } else if let Some(refused) = facts.refused.iter().find(may_be) {
        step(Action::Keep, format!("its file is refused: {}", refused.problem))
    } else if let Some(why) = &facts.unread {
        step(Action::Keep, why.clone())
    } else {
        step(Action::Stop, format!("no source names it any more (it ran from {})", living.origin))
    })
}

/// Why a Pod that depends on this one would not begin now.
fn waits_for(dependency: &Dependency, facts: &Facts) -> Option<String> {
    let is_there = |key: &PodKey| {
        let known = facts.others.contains(key) || facts.wanted.iter().any(|w| w.key == *key);
        (known || living(facts, key).is_some()).then_some(())
    };
    match dependency.find(is_there) {
        None => Some(format!("it depends on {}, of which there is no manifest", dependency.key())),
        Some((key, ())) => match living(facts, key) {
            Some(living) if living.ready && !living.leaving => None,
            Some(_) => Some(format!("it depends on {key}, which is not ready")),
            None => Some(format!("it depends on {key}, which does not run yet")),
        },
    }
}

/// Whether something is refused, whether anything is to be done.
pub fn verdict(steps: &[Step]) -> (bool, bool) {
    let any = |actions: &[Action]| steps.iter().any(|s| actions.contains(&s.action));
    let refused = any(&[Action::Refuse, Action::Keep])
        || steps.iter().any(|s| s.reason.as_deref().is_some_and(|r| r.contains("its file is refused")));
    (refused, any(&[Action::Start, Action::Replace, Action::Stop, Action::Wait]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::{Namespace, NodeName, PodName};

    fn key(name: &str) -> PodKey {
        PodKey { namespace: Namespace::new("default"), name: PodName::new(format!("{name}-n")) }
    }

    fn origin(name: &str) -> Origin {
        Origin { path: format!("/m/{name}.yaml"), document: 1 }
    }

    fn wanted(name: &str, image: &str) -> Wanted {
        Wanted {
            key: key(name),
            generation: Generation::new(format!("{name}{image}")),
            document: json!({"spec": {"image": image}}),
            origin: origin(name),
            kept_for: None,
            waits: Vec::new(),
            depends_on: Vec::new(),
            host_ports: Vec::new(),
        }
    }

    fn living(name: &str, image: &str) -> Living {
        let w = wanted(name, image);
        Living {
            key: w.key,
            generation: w.generation,
            document: Some(w.document),
            origin: w.origin,
            ready: true,
            leaving: false,
            host_ports: Vec::new(),
        }
    }

    fn refused(name: Option<&str>, file: &str) -> RefusedDocument {
        RefusedDocument { key: name.map(key), origin: origin(file), problem: "bad".into() }
    }

    fn said(facts: &Facts) -> Vec<String> {
        decide(facts)
            .iter()
            .map(|s| {
                let name = s.name.as_deref().unwrap_or("?");
                let reason = s.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
                let changes = s.changes.iter().map(|c| format!(" [{}]", c.path)).collect::<String>();
                format!("{} {name}{reason}{changes}", s.action.as_str())
            })
            .collect()
    }

    #[test]
    fn each_pod_has_one_step() {
        let facts = Facts {
            wanted: vec![wanted("new", "1"), wanted("same", "1"), wanted("edited", "2")],
            living: vec![living("same", "1"), living("edited", "1"), living("old", "1")],
            whole: true,
            ..Facts::default()
        };
        let expected = [
            "replace edited-n [spec.image]",
            "start new-n",
            "stop old-n: no source names it any more (it ran from /m/old.yaml)",
            "unchanged same-n",
        ];
        assert_eq!(said(&facts), expected);
        assert_eq!(verdict(&decide(&facts)), (false, true));
        // Files that are named are not all that there is.
        let some = Facts { whole: false, ..facts.clone() };
        assert!(!said(&some).join(" ").contains("old-n"));
        let idle = Facts { wanted: vec![wanted("same", "1")], ..some };
        assert_eq!(
            (said(&idle), verdict(&decide(&idle))),
            (vec!["unchanged same-n".to_owned()], (false, false))
        );
        let unread = Facts { unread: Some("/m cannot be read: EIO".into()), ..facts };
        assert!(
            said(&unread).contains(&"keep old-n: /m cannot be read: EIO".to_owned()),
            "{:?}",
            said(&unread)
        );
    }

    #[test]
    fn a_refused_document_stops_nothing() {
        let mut kept = wanted("kept", "1");
        kept.kept_for = Some("bad".into());
        let facts = Facts {
            wanted: vec![kept.clone()],
            refused: vec![
                refused(Some("broken"), "broken"),
                refused(None, "file"),
                refused(Some("never"), "x"),
            ],
            living: vec![living("kept", "1"), living("broken", "1"), living("file", "1")],
            whole: true,
            ..Facts::default()
        };
        let expected = [
            "keep broken-n: bad",
            "keep file-n: its file is refused: bad",
            "keep kept-n: its file is refused: bad",
            "refuse never-n: bad",
            "refuse ?: bad",
        ];
        assert_eq!(said(&facts), expected);
        assert_eq!(verdict(&decide(&facts)), (true, false));
        let boot = Facts { wanted: vec![kept], whole: true, ..Facts::default() };
        assert_eq!(said(&boot), ["start kept-n: as it was before its file is refused: bad"]);
        assert_eq!(verdict(&decide(&boot)), (true, true));
    }

    #[test]
    fn what_is_missing_is_waited_for_and_the_running_version_goes_on() {
        let mut new = wanted("new", "1");
        new.waits = vec!["image i is not here".into()];
        let mut edited = wanted("edited", "2");
        edited.depends_on =
            crate::pod::depends::listed("new, gone, ready", &key("edited"), &NodeName::new("n"));
        let facts = Facts {
            wanted: vec![new, edited],
            living: vec![living("edited", "1"), living("ready", "1")],
            ..Facts::default()
        };
        let expected = [
            "wait edited-n: it depends on default/new-n, which does not run yet; it depends on default/gone-n, of which \
             there is no manifest; the running version goes on until then [spec.image]",
            "wait new-n: image i is not here",
        ];
        assert_eq!(said(&facts), expected);
        let mut a = wanted("a", "1");
        a.depends_on = crate::pod::depends::listed("b", &key("a"), &NodeName::new("n"));
        let mut b = wanted("b", "1");
        b.depends_on = crate::pod::depends::listed("a", &key("b"), &NodeName::new("n"));
        let circle = Facts { wanted: vec![a, b], ..Facts::default() };
        assert!(said(&circle)[0].starts_with("wait a-n: it depends on itself: "), "{:?}", said(&circle));
    }

    #[test]
    fn a_port_of_the_host_is_had_by_who_runs_or_else_by_the_first_name() {
        let port = HostPort { port: 80, protocol: "TCP".into(), address: None };
        let with = |name: &str, image: &str| Wanted { host_ports: vec![port.clone()], ..wanted(name, image) };
        let runs = Living { host_ports: vec![port.clone()], ..living("m", "1") };
        let facts =
            Facts { wanted: vec![with("a", "1"), with("m", "2")], living: vec![runs], ..Facts::default() };
        let expected =
            ["wait a-n: port 80/TCP of the host is taken by default/m-n", "replace m-n [spec.image]"];
        assert_eq!(said(&facts), expected);
        let fresh = Facts { living: vec![], ..facts };
        assert_eq!(said(&fresh), ["start a-n", "wait m-n: port 80/TCP of the host is taken by default/a-n"]);
    }

    #[test]
    fn a_pod_that_was_stopped_by_hand_stays_so_until_its_manifest_changes() {
        let held = vec![(key("a"), wanted("a", "1").generation)];
        let facts =
            Facts { wanted: vec![wanted("a", "1")], held: held.clone(), whole: true, ..Facts::default() };
        assert_eq!(said(&facts), ["unchanged a-n: stopped by `podstrap down`"]);
        let edited = Facts { wanted: vec![wanted("a", "2")], held, ..facts.clone() };
        assert_eq!(said(&edited), ["start a-n"]);
        let mut leaving = living("a", "1");
        leaving.leaving = true;
        let again = Facts { held: Vec::new(), living: vec![leaving], ..facts };
        assert_eq!(said(&again), ["wait a-n: the running version is being stopped"]);
    }
}
