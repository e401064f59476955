//! What a scheduler knows of a node, and whether a Pod that asks for a node of a certain kind fits on this one.
//!
//! The rules are those of Kubernetes (`pkg/apis/core/v1/helper`, `k8s.io/component-helpers/scheduling/corev1`). There is one
//! node here and nobody to choose another: what does not fit does not run, and the first term that did not fit is told.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NodeName;

/// What is known of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Its labels, the well-known ones among them.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
}

impl NodeFacts {
    /// A node with these labels beside the well-known ones, which may be set otherwise.
    pub fn new(name: NodeName, labels: BTreeMap<String, String>, taints: Vec<Taint>) -> Self {
        let mut all = BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), name.to_string()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
            ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
        ]);
        all.extend(labels);
        Self { name, labels: all, taints }
    }
}

/// The machine's architecture as Go names it.
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else if cfg!(target_arch = "x86") {
        "386"
    } else if cfg!(target_arch = "arm") {
        "arm"
    } else if cfg!(target_arch = "riscv64") {
        "riscv64"
    } else if cfg!(target_arch = "s390x") {
        "s390x"
    } else if cfg!(target_arch = "powerpc64") {
        "ppc64le"
    } else {
        "unknown"
    }
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Nothing new is put there.
    NoSchedule,
    /// Nothing new is put there if there is another place.
    PreferNoSchedule,
    /// What is there must go.
    NoExecute,
}

impl Effect {
    /// All of them, by their names.
    pub const ALL: [(&str, Self); 3] = [
        ("NoSchedule", Self::NoSchedule),
        ("PreferNoSchedule", Self::PreferNoSchedule),
        ("NoExecute", Self::NoExecute),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// One taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    #[serde(default)]
    pub value: String,
    /// What it does.
    pub effect: Effect,
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}:{}", self.key, self.effect.as_str()),
            value => write!(f, "{}={value}:{}", self.key, self.effect.as_str()),
        }
    }
}

/// `KEY[=VALUE]:EFFECT`, as `kubectl taint` takes it.
impl FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "must be KEY[=VALUE]:EFFECT with NoSchedule, PreferNoSchedule or NoExecute".to_owned();
        let (rest, effect) = text.rsplit_once(':').ok_or_else(form)?;
        let effect = Effect::ALL.iter().find(|(name, _)| *name == effect).ok_or_else(form)?.1;
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect })
    }
}

/// How a requirement holds a label against its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is one of them.
    In,
    /// It is none of them; what is absent is none.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// As a whole number it is greater than the one value.
    Gt,
    /// As a whole number it is less than the one value.
    Lt,
}

impl Operator {
    /// All of them, by their names.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("In", Self::In),
        ("NotIn", Self::NotIn),
        ("Exists", Self::Exists),
        ("DoesNotExist", Self::DoesNotExist),
        ("Gt", Self::Gt),
        ("Lt", Self::Lt),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, o)| *o == self).map_or("", |(name, _)| name)
    }
}

/// One requirement on a label (or field).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is held against the values.
    pub operator: Operator,
    /// The values.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether a label of that value, or none, meets it.
    pub fn is_met(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|one| one == v);
        let number = |text: &str| text.parse::<i64>().ok();
        let compare = |is: fn(i64, i64) -> bool| {
            let bound = self.values.first().and_then(|v| number(v));
            value.and_then(number).zip(bound).is_some_and(|(have, bound)| is(have, bound))
        };
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(|have, bound| have > bound),
            Operator::Lt => compare(|have, bound| have < bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator.as_str())?;
        if self.values.is_empty() { Ok(()) } else { write!(f, " ({})", self.values.join(", ")) }
    }
}

/// One of `nodeSelectorTerms`: everything in it must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// `matchExpressions`: of labels.
    pub expressions: Vec<Requirement>,
    /// `matchFields`: of `metadata.name`.
    pub fields: Vec<Requirement>,
}

impl Term {
    /// The first requirement that is not met; a term without any is met by no node.
    fn unmet(&self, node: &NodeFacts) -> Option<String> {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return Some("an empty term".to_owned());
        }
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let of_labels = self.expressions.iter().find(|r| !r.is_met(label(&r.key)));
        let of_fields = || self.fields.iter().find(|r| !r.is_met(Some(node.name.as_str())));
        of_labels.or_else(of_fields).map(ToString::to_string)
    }
}

/// One of `tolerations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; `None`: any.
    pub key: Option<String>,
    /// The taint's value; `None`: any (`operator: Exists`).
    pub value: Option<String>,
    /// The taint's effect; `None`: any.
    pub effect: Option<Effect>,
}

impl Toleration {
    fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && self.key.as_ref().is_none_or(|k| *k == taint.key)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
    }
}

/// What a Pod asks of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `nodeName`.
    pub node_name: Option<String>,
    /// `nodeSelector`.
    pub selector: BTreeMap<String, String>,
    /// `affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`: one of these must be met.
    pub required: Option<Vec<Term>>,
    /// `tolerations`.
    pub tolerations: Vec<Toleration>,
}

/// The taints that Kubernetes makes every Pod of a DaemonSet tolerate (`pkg/controller/daemon/util/daemonset_util.go`); the
/// last one only under hostNetwork.
const OF_DAEMONS: [(&str, Effect); 7] = [
    ("node.kubernetes.io/not-ready", Effect::NoExecute),
    ("node.kubernetes.io/unreachable", Effect::NoExecute),
    ("node.kubernetes.io/disk-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/memory-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/pid-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/unschedulable", Effect::NoSchedule),
    ("node.kubernetes.io/network-unavailable", Effect::NoSchedule),
];

/// What a DaemonSet's Pods tolerate without saying so: key and effect.
pub fn daemon_tolerations(host_network: bool) -> impl Iterator<Item = (&'static str, Effect)> {
    OF_DAEMONS.into_iter().take(if host_network { 7 } else { 6 })
}

impl Placement {
    /// The first thing by which this node does not fit, for people; `None`: it fits.
    pub fn misfit(&self, node: &NodeFacts) -> Option<String> {
        if let Some(name) = self.node_name.as_ref().filter(|name| **name != node.name.as_str()) {
            return Some(format!("nodeName is {name}, and this is {}", node.name));
        }
        for (key, value) in &self.selector {
            match node.labels.get(key) {
                Some(has) if has == value => {}
                Some(has) => {
                    return Some(format!("nodeSelector wants {key}={value}, and this node has {has}"));
                }
                None => return Some(format!("nodeSelector wants {key}={value}, which this node has not")),
            }
        }
        if let Some(terms) = &self.required {
            let unmet: Option<Vec<String>> = terms.iter().map(|term| term.unmet(node)).collect();
            if let Some(unmet) = unmet {
                return Some(format!("required nodeAffinity is not met: {}", unmet.join("; or ")));
            }
        }
        let counts = |t: &&Taint| t.effect != Effect::PreferNoSchedule;
        let is_tolerated = |t: &&Taint| self.tolerations.iter().any(|one| one.tolerates(t));
        let taint = node.taints.iter().filter(counts).find(|t| !is_tolerated(t))?;
        Some(format!("the taint {taint} of this node is not tolerated"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeFacts {
        let labels =
            BTreeMap::from([("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "8".to_owned())]);
        NodeFacts::new(NodeName::new("n1"), labels, vec!["gpu=yes:NoSchedule".parse().unwrap()])
    }

    fn everything() -> Vec<Toleration> {
        vec![Toleration { key: None, value: None, effect: None }]
    }

    fn requirement(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: key.into(), operator, values: values.iter().map(|v| (*v).to_owned()).collect() }
    }

    fn of_terms(terms: Vec<Term>) -> Option<String> {
        Placement { required: Some(terms), tolerations: everything(), ..Placement::default() }.misfit(&node())
    }

    #[test]
    fn well_known_labels_are_there_and_may_be_set_otherwise() {
        assert_eq!(node().labels["kubernetes.io/hostname"], "n1");
        assert_eq!(node().labels["kubernetes.io/os"], "linux");
        let labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), "other".to_owned())]);
        let node = NodeFacts::new(NodeName::new("n1"), labels, vec![]);
        assert_eq!(node.labels["kubernetes.io/hostname"], "other");
    }

    #[test]
    fn name_and_selector_must_fit() {
        let fits = |p: Placement| Placement { tolerations: everything(), ..p }.misfit(&node());
        assert_eq!(fits(Placement::default()), None);
        assert_eq!(fits(Placement { node_name: Some("n1".into()), ..Placement::default() }), None);
        let other = fits(Placement { node_name: Some("n2".into()), ..Placement::default() });
        assert_eq!(other.unwrap(), "nodeName is n2, and this is n1");
        let selector = |v: &str| BTreeMap::from([("disk".to_owned(), v.to_owned())]);
        assert_eq!(fits(Placement { selector: selector("ssd"), ..Placement::default() }), None);
        let other = fits(Placement { selector: selector("hdd"), ..Placement::default() });
        assert_eq!(other.unwrap(), "nodeSelector wants disk=hdd, and this node has ssd");
    }

    #[test]
    fn every_operator_decides_as_in_kubernetes() {
        use Operator::{DoesNotExist, Exists, Gt, In, Lt, NotIn};
        for (key, operator, values, fits) in [
            ("disk", In, &["hdd", "ssd"][..], true),
            ("disk", In, &["hdd"], false),
            ("none", In, &["ssd"], false),
            ("disk", NotIn, &["hdd"], true),
            ("disk", NotIn, &["ssd"], false),
            ("none", NotIn, &["ssd"], true),
            ("disk", Exists, &[], true),
            ("none", Exists, &[], false),
            ("none", DoesNotExist, &[], true),
            ("disk", DoesNotExist, &[], false),
            ("cores", Gt, &["7"], true),
            ("cores", Gt, &["8"], false),
            ("cores", Lt, &["9"], true),
            ("cores", Lt, &["8"], false),
            ("disk", Gt, &["1"], false),
            ("none", Lt, &["1"], false),
        ] {
            let term = Term { expressions: vec![requirement(key, operator, values)], fields: vec![] };
            let misfit = of_terms(vec![term]);
            assert_eq!(misfit.is_none(), fits, "{key} {operator:?} {values:?}: {misfit:?}");
        }
    }

    #[test]
    fn one_term_is_enough_and_an_empty_one_fits_nothing() {
        let term = |operator| Term { expressions: vec![requirement("disk", operator, &[])], fields: vec![] };
        assert_eq!(of_terms(vec![term(Operator::DoesNotExist), term(Operator::Exists)]), None);
        let both = Term {
            expressions: vec![requirement("disk", Operator::Exists, &[])],
            fields: vec![requirement("metadata.name", Operator::In, &["n2"])],
        };
        let misfit = of_terms(vec![Term::default(), both]).unwrap();
        assert_eq!(misfit, "required nodeAffinity is not met: an empty term; or metadata.name In (n2)");
        assert!(of_terms(vec![]).is_some());
    }

    #[test]
    fn taints_want_tolerations() {
        let of = |key: Option<&str>, value: Option<&str>, effect| Placement {
            tolerations: vec![Toleration { key: key.map(Into::into), value: value.map(Into::into), effect }],
            ..Placement::default()
        };
        let misfit = Placement::default().misfit(&node()).unwrap();
        assert_eq!(misfit, "the taint gpu=yes:NoSchedule of this node is not tolerated");
        assert_eq!(of(Some("gpu"), Some("yes"), Some(Effect::NoSchedule)).misfit(&node()), None);
        assert_eq!(of(Some("gpu"), None, None).misfit(&node()), None);
        assert!(of(Some("gpu"), Some("no"), None).misfit(&node()).is_some());
        assert!(of(Some("gpu"), None, Some(Effect::NoExecute)).misfit(&node()).is_some());
        let mut soft = node();
        soft.taints = vec!["gpu:PreferNoSchedule".parse().unwrap()];
        assert_eq!(Placement::default().misfit(&soft), None);
    }

    #[test]
    fn taints_are_written_as_for_kubectl() {
        for text in ["a=b:NoSchedule", "a:NoExecute", "x.io/a=:PreferNoSchedule"] {
            let taint: Taint = text.parse().unwrap();
            assert_eq!(taint.to_string(), text.replace("=:", ":"));
        }
        for text in ["a", "a:", "a=b:Never", ""] {
            assert!(text.parse::<Taint>().is_err(), "{text}");
        }
    }
}
