//! Which Pods a Pod wants to be ready before it starts: the annotation `podstrap.io/depends-on`.
//!
//! A name in it may stand with or without the node's at its end. Which of the two is meant shows only when it is known
//! which Pods there are, and the file of one may come later: so both are kept, and looked for in this order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Namespace, NodeName, PodKey, PodName};

/// The annotation: Pods, separated by commas, each `[NAMESPACE/]NAME`.
pub const DEPENDS_ON: &str = "podstrap.io/depends-on";

/// So many names of a circle are shown.
const MOST_NAMES: usize = 10;

/// One Pod that another one depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    key: PodKey,
    or: Option<PodKey>,
}

impl Dependency {
    /// What `[NAMESPACE/]NAME` means to the Pod `own`: without a namespace, a Pod of its own one. `None` if it means
    /// that Pod itself.
    pub fn of(entry: &str, own: &PodKey, node: &NodeName) -> Option<Self> {
        let (namespace, name) = match entry.split_once('/') {
            Some((namespace, name)) => (Namespace::new(namespace), name),
            None => (own.namespace.clone(), entry),
        };
        let key = |name: String| PodKey { namespace: namespace.clone(), name: PodName::new(name) };
        let (whole, with_node) = (key(name.to_owned()), key(format!("{name}-{node}")));
        let is_whole = name.strip_suffix(node.as_str()).is_some_and(|stem| stem.ends_with('-'));
        match is_whole {
            true if whole == *own => None,
            true => Some(Self { or: Some(with_node).filter(|k| k != own), key: whole }),
            false if with_node == *own => None,
            false => Some(Self { key: with_node, or: None }),
        }
    }

    /// A Pod by its whole name.
    #[cfg(test)]
    pub fn on(key: PodKey) -> Self {
        Self { key, or: None }
    }

    /// The Pod that is most likely meant: for messages while there is none.
    pub fn key(&self) -> &PodKey {
        &self.key
    }

    /// The Pod that is meant, of those that there are.
    pub fn find<T>(&self, get: impl Fn(&PodKey) -> Option<T>) -> Option<(&PodKey, T)> {
        [Some(&self.key), self.or.as_ref()].into_iter().flatten().find_map(|key| Some((key, get(key)?)))
    }
}

/// The entries of the annotation, as they were accepted with the manifest.
pub fn listed(text: &str, own: &PodKey, node: &NodeName) -> Vec<Dependency> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.filter_map(|entry| Dependency::of(entry, own, node)).collect()
}

/// For every Pod that depends on itself by way of others: the shortest way, beginning with the Pod and ending before it.
pub fn cycles(pods: &BTreeMap<&PodKey, &[Dependency]>) -> BTreeMap<PodKey, Vec<PodKey>> {
    let mut edges: BTreeMap<&PodKey, BTreeSet<&PodKey>> = pods
        .iter()
        .map(|(key, list)| (*key, list.iter().filter_map(|d| Some(d.find(|k| pods.get(k))?.0)).collect()))
        .collect();
    // What leads nowhere is in no cycle; in most directories this leaves nothing.
    let mut behind: BTreeMap<&PodKey, Vec<&PodKey>> = BTreeMap::new();
    for (key, to) in &edges {
        for dependency in to {
            behind.entry(dependency).or_default().push(key);
        }
    }
    let mut ends: Vec<&PodKey> = edges.iter().filter(|(_, to)| to.is_empty()).map(|(key, _)| *key).collect();
    while let Some(end) = ends.pop() {
        edges.remove(end);
        for key in behind.remove(end).unwrap_or_default() {
            if let Some(to) = edges.get_mut(key)
                && to.remove(end)
                && to.is_empty()
            {
                ends.push(key);
            }
        }
    }
    edges.keys().filter_map(|key| Some(((*key).clone(), way_back(key, &edges)?))).collect()
}

fn way_back(from: &PodKey, edges: &BTreeMap<&PodKey, BTreeSet<&PodKey>>) -> Option<Vec<PodKey>> {
    let mut came_from: BTreeMap<&PodKey, &PodKey> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(key) = queue.pop_front() {
        for next in edges.get(key).into_iter().flatten().copied() {
            if next == from {
                let mut way = vec![key.clone()];
                let mut at = key;
                while let Some(before) = came_from.get(at) {
                    way.push((*before).clone());
                    at = before;
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, key);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The names of a circle, the first one again at its end.
pub fn circle(way: &[PodKey]) -> String {
    let mut names: Vec<String> = way.iter().take(MOST_NAMES).map(PodKey::to_string).collect();
    if way.len() > MOST_NAMES {
        names.push("…".to_owned());
    }
    names.extend(way.first().map(PodKey::to_string));
    names.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> PodKey {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        PodKey { namespace: Namespace::new(namespace), name: PodName::new(name) }
    }

    fn of(entry: &str, own: &str) -> Option<(String, Option<String>)> {
        let found = Dependency::of(entry, &key(own), &NodeName::new("n-1"))?;
        Some((found.key.to_string(), found.or.map(|k| k.to_string())))
    }

    #[test]
    fn names_are_of_the_own_namespace_and_with_or_without_the_node() {
        let one = |name: &str| Some((name.to_owned(), None));
        assert_eq!(of("etcd", "kube-system/api-n-1"), one("kube-system/etcd-n-1"));
        assert_eq!(of("other/etcd", "kube-system/api-n-1"), one("other/etcd-n-1"));
        assert_eq!(of("etcd-1", "api-n-1"), one("default/etcd-1-n-1"));
        assert_eq!(of("n-1", "api-n-1"), one("default/n-1-n-1"), "the node's name alone is no suffix");
        let both = Some(("default/etcd-n-1".to_owned(), Some("default/etcd-n-1-n-1".to_owned())));
        assert_eq!(of("etcd-n-1", "api-n-1"), both);
    }

    #[test]
    fn a_pod_is_not_its_own_dependency() {
        assert_eq!(of("etcd", "etcd-n-1"), None);
        assert_eq!(of("default/etcd-n-1", "etcd-n-1"), None);
        assert!(of("other/etcd", "etcd-n-1").is_some());
        // Its manifest's name ends with the node's: the other one is meant.
        assert_eq!(of("etcd-n-1", "etcd-n-1-n-1"), Some(("default/etcd-n-1".to_owned(), None)));
    }

    #[test]
    fn what_exists_decides_which_of_two_is_meant() {
        let both = Dependency::of("etcd-n-1", &key("api-n-1"), &NodeName::new("n-1")).unwrap();
        let among = |there: &[&str]| {
            let found = both.find(|k| there.contains(&k.name.as_str()).then_some(()));
            found.map(|(k, ())| k.name.to_string())
        };
        assert_eq!(among(&[]), None);
        assert_eq!(among(&["etcd-n-1", "etcd-n-1-n-1"]).as_deref(), Some("etcd-n-1"));
        assert_eq!(among(&["etcd-n-1-n-1"]).as_deref(), Some("etcd-n-1-n-1"));
    }

    #[test]
    fn the_shortest_way_of_each_cycle_is_found_and_nothing_else() {
        let node = NodeName::new("n");
        let lists = [
            ("a", "b"),
            ("b", "c, d"),
            ("c", "a,b"),
            ("d", "e"),
            ("e", "gone"),
            ("f", "a"),
            ("x", "y"),
            ("y", "x"),
        ];
        let pods: Vec<(PodKey, Vec<Dependency>)> = lists
            .iter()
            .map(|(name, list)| (key(&format!("{name}-n")), *list))
            .map(|(key, list)| (key.clone(), listed(list, &key, &node)))
            .collect();
        let found = cycles(&pods.iter().map(|(key, list)| (key, list.as_slice())).collect());
        let names = |way: &Vec<PodKey>| {
            way.iter().map(|k| k.name.as_str().strip_suffix("-n").unwrap()).collect::<Vec<_>>().concat()
        };
        let found: Vec<String> = found.values().map(names).collect();
        assert_eq!(found, ["abc", "bc", "cb", "xy", "yx"]);
    }
}
