//! DaemonSets and StatefulSets in the core: a script for each rule; `histories` plays at random.

mod histories;

use std::collections::BTreeMap;

use super::*;
use crate::core::sets::{Answer, Choice, Member, Members, Question, answer_for_gone};
use crate::pod::node::Placement;
use crate::pod::set::{Retention, Revision, Set, SetKey, SetKind, Template, Update};

fn set(kind: SetKind, replicas: u32, update: Update) -> Set {
    let revision = Revision::new("new");
    Set {
        key: SetKey { kind, namespace: Namespace::new("default"), name: "web".into() },
        origin: Origin { path: "/m/web.yaml".into(), document: 1 },
        replicas,
        start: 0,
        parallel: false,
        update,
        min_ready_seconds: 0,
        placement: Placement::default(),
        claims: vec![],
        retention: Retention::default(),
        template: Template { revision, document: serde_json::Value::Null, service: None, claims: vec![] },
    }
}

/// `"old"`: ready since 0; `"old?"`: not ready; `"old-"`: leaving.
fn members(list: &[(u32, &str)]) -> Members {
    let member = |text: &str| Member {
        key: PodKey { namespace: Namespace::new("default"), name: PodName::new("x") },
        revision: Revision::new(text.trim_end_matches(['?', '-'])),
        leaving: text.ends_with('-'),
        ready_since: (!text.ends_with(['?', '-'])).then_some(Time(0)),
    };
    list.iter().map(|(n, text)| (*n, member(text))).collect()
}

/// `0 1=new`: number 0 as it is, number 1 of the version `new`.
fn shown(wanted: &BTreeMap<u32, Choice>) -> String {
    let one = |(n, choice): (&u32, &Choice)| match choice {
        Choice::AsIs => n.to_string(),
        Choice::Of(revision) => format!("{n}={revision}"),
    };
    wanted.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn ask(set: &Set, list: &[(u32, &str)], now: u64) -> Answer {
    let (update, current) = (Revision::new("new"), Revision::new("old"));
    let members = members(list);
    let question = Question { set, current: Some(&current), update: &update, members: &members, fits: true };
    question.answer(Time(now))
}

fn wants(set: &Set, list: &[(u32, &str)]) -> String {
    shown(&ask(set, list, 0).wanted)
}

#[test]
fn ordered_pods_begin_one_after_the_other() {
    let three = set(SetKind::StatefulSet, 3, Update::Partition(0));
    assert_eq!(wants(&three, &[]), "0=new");
    assert_eq!(wants(&three, &[(0, "new?")]), "0");
    assert_eq!(wants(&three, &[(0, "new")]), "0 1=new");
    assert_eq!(wants(&three, &[(0, "new"), (1, "new")]), "0 1 2=new");
    // One that has become unready holds up those that are not there, and stops nobody.
    assert_eq!(wants(&three, &[(0, "new?"), (2, "new")]), "0 2");
    let parallel = Set { parallel: true, start: 5, ..three };
    assert_eq!(wants(&parallel, &[]), "5=new 6=new 7=new");
}

#[test]
fn a_pod_counts_when_it_was_ready_for_long_enough() {
    let mut two = set(SetKind::StatefulSet, 2, Update::Partition(0));
    two.min_ready_seconds = 10;
    let early = ask(&two, &[(0, "new")], 9_999);
    assert_eq!((shown(&early.wanted).as_str(), early.deadline), ("0", Some(Time(10_000))));
    let late = ask(&two, &[(0, "new")], 10_000);
    assert_eq!((shown(&late.wanted).as_str(), late.deadline), ("0 1=new", None));
}

#[test]
fn removal_goes_from_the_end_one_at_a_time() {
    let one = set(SetKind::StatefulSet, 1, Update::Partition(0));
    assert_eq!(wants(&one, &[(0, "new"), (1, "new"), (2, "new")]), "0 1");
    assert_eq!(wants(&one, &[(0, "new"), (1, "new"), (2, "new-")]), "0 1");
    assert_eq!(wants(&one, &[(0, "new"), (1, "new")]), "0");
    assert_eq!(wants(&one, &[(0, "new?"), (1, "new")]), "0 1", "not while another is not well");
    let parallel = Set { parallel: true, ..one };
    assert_eq!(wants(&parallel, &[(0, "new"), (1, "new"), (2, "new")]), "0");
    let gone = |list| shown(&answer_for_gone(SetKind::StatefulSet, &members(list)));
    assert_eq!(gone(&[(0, "old"), (1, "old?"), (2, "old")]), "0 1");
    assert_eq!(gone(&[(0, "old"), (1, "old"), (2, "old-")]), "0 1");
    assert_eq!(gone(&[(0, "old")]), "");
}

#[test]
fn a_roll_out_takes_the_last_one_first_and_waits_for_each() {
    let three = set(SetKind::StatefulSet, 3, Update::Partition(0));
    assert_eq!(wants(&three, &[(0, "old"), (1, "old"), (2, "old")]), "0 1 2=new");
    assert_eq!(wants(&three, &[(0, "old"), (1, "old"), (2, "old-")]), "0 1 2=new");
    assert_eq!(
        wants(&three, &[(0, "old"), (1, "old"), (2, "new?")]),
        "0 1 2",
        "a broken template stops here"
    );
    assert_eq!(wants(&three, &[(0, "old"), (1, "old"), (2, "new")]), "0 1=new 2");
    assert!(ask(&three, &[(0, "new"), (1, "new"), (2, "new")], 0).is_settled);
    // What was tried between and is broken is replaced first, though the others are well.
    assert_eq!(wants(&three, &[(0, "old"), (1, "old"), (2, "bad?")]), "0 1 2=new");
    assert_eq!(wants(&three, &[(0, "bad?")]), "0=new");
    assert_eq!(wants(&three, &[(0, "old?"), (1, "old"), (2, "new?")]), "0 1 2");
}

#[test]
fn a_partition_is_kept() {
    let three = set(SetKind::StatefulSet, 3, Update::Partition(2));
    assert_eq!(wants(&three, &[(0, "old"), (1, "old"), (2, "old")]), "0 1 2=new");
    assert_eq!(wants(&three, &[(0, "old"), (1, "old"), (2, "new")]), "0 1 2");
    assert_eq!(wants(&three, &[(0, "old")]), "0 1=old", "what is made anew below it is of the old version");
    assert_eq!(wants(&three, &[(0, "old"), (1, "old")]), "0 1 2=new");
    let beyond = Set { update: Update::Partition(9), ..three };
    assert_eq!(wants(&beyond, &[(0, "old"), (1, "old"), (2, "old")]), "0 1 2");
}

#[test]
fn on_delete_waits_for_a_stop_by_hand() {
    let two = set(SetKind::StatefulSet, 2, Update::OnDelete);
    assert_eq!(wants(&two, &[(0, "old"), (1, "old")]), "0 1");
    assert_eq!(wants(&two, &[(0, "old"), (1, "old-")]), "0 1=new");
    let daemon = set(SetKind::DaemonSet, 1, Update::OnDelete);
    assert_eq!(wants(&daemon, &[(0, "old")]), "0");
    assert_eq!(wants(&daemon, &[(0, "old-")]), "0=new");
}

#[test]
fn a_daemon_set_has_one_pod_and_with_surge_two_for_a_while() {
    let daemon = set(SetKind::DaemonSet, 1, Update::Replace);
    assert_eq!(wants(&daemon, &[]), "0=new");
    assert_eq!(wants(&daemon, &[(0, "old")]), "0=new", "in its place, so that its images come first");
    assert_eq!(wants(&daemon, &[(1, "old-")]), "1=new");
    let surge = set(SetKind::DaemonSet, 1, Update::Surge);
    assert_eq!(wants(&surge, &[(0, "old")]), "0 1=new");
    assert_eq!(wants(&surge, &[(0, "old"), (1, "new?")]), "0 1");
    assert_eq!(wants(&surge, &[(0, "old"), (1, "new")]), "1");
    assert_eq!(wants(&surge, &[(0, "old-"), (1, "new")]), "1");
    assert_eq!(wants(&surge, &[(1, "old")]), "0=new 1");
    assert_eq!(
        wants(&surge, &[(0, "old"), (1, "bad?")]),
        "0 1=new",
        "what was tried between is not waited for"
    );
    assert_eq!(wants(&surge, &[(0, "new"), (1, "bad?")]), "0", "the template is what it was");
    let question = Question {
        set: &daemon,
        current: None,
        update: &Revision::new("new"),
        members: &members(&[(0, "new")]),
        fits: false,
    };
    assert_eq!(shown(&question.answer(Time(0)).wanted), "");
}
