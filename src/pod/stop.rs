//! The order in which Pods end when all of them are stopped, so that the one that stops them and the one that waits for it
//! go by the same steps.
//!
//! It is the order of Kubernetes' graceful node shutdown: Pods of a lower priority end before those of a higher one begin
//! to. Those of one priority are stopped together, so that many Pods that do not listen take no longer than one of them. Only
//! the critical ones, which a host runs for one another's sake (etcd, and what writes to it), end one after the other.
//!
//! Where one Pod depends on another by [`super::depends`], that comes before priorities: it ends first.

use std::collections::{BTreeMap, BTreeSet};

use super::depends::Dependency;
use super::{Origin, PodKey};

/// The priority classes that need no API server, and what they stand for.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", SYSTEM_CRITICAL)];

/// From this priority on a Pod is critical (Kubernetes' `SystemCriticalPriority`).
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// The priority of a Pod by its `priorityClassName` and its `priority`: that of a class of the system, or else the number,
/// or else 0.
pub fn priority(class: Option<&str>, number: Option<i32>) -> i32 {
    let of_system = SYSTEM_CLASSES.iter().find(|(name, _)| class == Some(*name));
    of_system.map(|(_, priority)| *priority).or(number).unwrap_or(0)
}

/// A Pod, as far as its place in a full stop goes.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub key: &'a PodKey,
    /// Its priority.
    pub priority: i32,
    /// The place of its manifest.
    pub origin: &'a Origin,
    /// What it depends on.
    pub depends_on: &'a [Dependency],
}

/// When a Pod's turn in a full stop has come: when nothing runs of all steps before its own, nor of those that it comes
/// after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which of the members.
    pub member: usize,
    /// Its step, from 0.
    pub step: usize,
    /// The turns, as places in the order, of all that depend on it, directly or not: all of them before its own.
    pub after: Vec<usize>,
}

/// The order of a full stop. Within a priority the last manifest comes first, but nothing before what depends on it: for
/// that, a Pod is as important as the most important one that depends on it. Pods that depend on each other in a circle
/// are taken as if they did not.
pub fn order(members: &[Member<'_>]) -> Vec<Turn> {
    let dependants = dependants(members);
    let own = |n: usize| members.get(n).map_or(0, |m| m.priority);
    let mut left: Vec<(i32, usize)> = (0..members.len())
        .map(|n| (dependants.get(n).into_iter().flatten().map(|d| own(*d)).fold(own(n), i32::max), n))
        .collect();
    left.sort_by(|(a_priority, a), (b_priority, b)| {
        let place = |n: &usize| members.get(*n).map(|m| (m.origin, m.key));
        a_priority.cmp(b_priority).then_with(|| place(b).cmp(&place(a)))
    });
    let mut turns: Vec<Turn> = Vec::new();
    let mut places: BTreeMap<usize, usize> = BTreeMap::new();
    let mut last: Option<i32> = None;
    let of = |n: usize| dependants.get(n).into_iter().flatten();
    while !left.is_empty() {
        let is_free = |(_, n): &(i32, usize)| of(*n).all(|d| places.contains_key(d));
        // There always is one: who depends on another is of no higher priority.
        let (priority, member) = left.remove(left.iter().position(is_free).unwrap_or(0));
        let step = turns.last().map_or(0, |t| t.step);
        let is_same = last.is_none_or(|of_step| of_step == priority && priority < SYSTEM_CRITICAL);
        last = Some(priority);
        let mut after: Vec<usize> = of(member).filter_map(|d| places.get(d).copied()).collect();
        after.sort_unstable();
        places.insert(member, turns.len());
        turns.push(Turn { member, step: if is_same { step } else { step + 1 }, after });
    }
    turns
}

/// For each member those that depend on it, directly or not, and on which it does not depend itself.
fn dependants(members: &[Member<'_>]) -> Vec<BTreeSet<usize>> {
    let by_key: BTreeMap<&PodKey, usize> = members.iter().enumerate().map(|(n, m)| (m.key, n)).collect();
    let direct = |n: usize| {
        let list = members.get(n).map_or(&[][..], |m| m.depends_on);
        list.iter().filter_map(|d| Some(d.find(|key| by_key.get(key).copied())?.1))
    };
    let reached: Vec<BTreeSet<usize>> = (0..members.len())
        .map(|n| {
            let mut reached = BTreeSet::new();
            let mut open: Vec<usize> = direct(n).collect();
            while let Some(next) = open.pop() {
                if reached.insert(next) {
                    open.extend(direct(next));
                }
            }
            reached
        })
        .collect();
    let mut out = vec![BTreeSet::new(); members.len()];
    for (n, all) in reached.iter().enumerate() {
        for dependency in all {
            if reached.get(*dependency).is_some_and(|back| !back.contains(&n))
                && let Some(of) = out.get_mut(*dependency)
            {
                of.insert(n);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::depends::listed;
    use crate::pod::{Namespace, NodeName, PodName};

    #[test]
    fn a_class_of_the_system_has_the_last_word_on_priority() {
        assert_eq!(priority(None, None), 0);
        assert_eq!(priority(None, Some(-7)), -7);
        assert_eq!(priority(Some("gold"), None), 0);
        assert_eq!(priority(Some("gold"), Some(1000)), 1000);
        assert_eq!(priority(Some("system-cluster-critical"), None), 2_000_000_000);
        assert_eq!(priority(Some("system-node-critical"), Some(5)), 2_000_001_000);
    }

    #[test]
    fn lower_priorities_end_together_and_critical_pods_one_by_one() {
        let node = 2_000_001_000;
        let pods = [
            ("etcd", node),
            ("kube-apiserver", node),
            ("a", 0),
            ("dns", 2_000_000_000),
            ("proxy", 2_000_000_000),
            ("b", 0),
            ("batch", -1),
            ("c", 1_999_999_999),
            ("d", 1_999_999_999),
        ];
        let pods: Vec<Case> = pods.iter().map(|(name, priority)| case(name, *priority, "")).collect();
        assert_eq!(steps(&pods), ["batch", "b a", "d c", "proxy", "dns", "kube-apiserver", "etcd"]);
        assert!(turns(&pods).iter().all(|t| t.after.is_empty()));
    }

    struct Case {
        key: PodKey,
        priority: i32,
        origin: Origin,
        depends_on: Vec<Dependency>,
    }

    fn case(name: &str, priority: i32, depends_on: &str) -> Case {
        let key = PodKey { namespace: Namespace::new("default"), name: PodName::new(format!("{name}-n")) };
        let depends_on = listed(depends_on, &key, &NodeName::new("n"));
        Case { key, priority, origin: Origin { path: name.to_owned(), document: 1 }, depends_on }
    }

    fn turns(pods: &[Case]) -> Vec<Turn> {
        let members: Vec<Member<'_>> = pods
            .iter()
            .map(|Case { key, priority, origin, depends_on }| Member {
                key,
                priority: *priority,
                origin,
                depends_on,
            })
            .collect();
        order(&members)
    }

    fn steps(pods: &[Case]) -> Vec<String> {
        let mut steps: Vec<Vec<&str>> = Vec::new();
        for turn in turns(pods) {
            steps.resize(steps.len().max(turn.step + 1), Vec::new());
            steps[turn.step].push(&pods[turn.member].origin.path);
        }
        steps.iter().map(|step| step.join(" ")).collect()
    }

    fn after(pods: &[Case], name: &str) -> Vec<String> {
        let turns = turns(pods);
        let name_of = |t: &Turn| pods[t.member].origin.path.clone();
        let turn = turns.iter().find(|t| name_of(t) == name).unwrap();
        turn.after.iter().map(|place| name_of(&turns[*place])).collect()
    }

    #[test]
    fn who_depends_on_another_ends_before_it() {
        let pods = [case("a", 0, "b"), case("b", 0, "z"), case("c", 0, ""), case("z", 0, "")];
        assert_eq!(steps(&pods), ["c a b z"], "together, but for those that wait for others");
        assert_eq!(after(&pods, "z"), ["a", "b"], "not only for the nearest");
        assert_eq!(after(&pods, "b"), ["a"]);
        assert_eq!(after(&pods, "c"), [""; 0]);
        let critical = 2_000_001_000;
        let pods = [case("a", critical, ""), case("b", critical, "c"), case("c", critical, "")];
        assert_eq!(steps(&pods), ["b", "c", "a"], "in spite of their manifests' order");
    }

    #[test]
    fn what_a_critical_pod_depends_on_is_as_critical() {
        let critical = 2_000_001_000;
        let pods = [
            case("disk", -5, ""),
            case("etcd", critical, "net"),
            case("web", 0, ""),
            case("net", 0, "disk"),
            case("other", critical, ""),
        ];
        assert_eq!(steps(&pods), ["web", "other", "etcd", "net", "disk"]);
        assert_eq!(after(&pods, "disk"), ["etcd", "net"]);
    }

    #[test]
    fn a_circle_is_taken_for_nothing_and_what_hangs_on_it_keeps_its_order() {
        let pods = [
            case("a", 7, "b"),
            case("b", 0, "a, base"),
            case("base", 0, ""),
            case("user", 9, "a"),
            case("c", 0, ""),
        ];
        assert_eq!(steps(&pods), ["c", "user b a base"]);
        assert_eq!(after(&pods, "a"), ["user"]);
        assert_eq!(after(&pods, "base"), ["user", "b", "a"]);
    }
}
