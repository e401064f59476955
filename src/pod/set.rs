//! DaemonSets and StatefulSets once they are validated: a template, and the rules by which Pods are made of it.
//!
//! A set is no Pod. `manifest` makes of its template, for each Pod, a document like any other; `core::sets` says which of them
//! are wanted now. Below that nothing knows of sets but by [`Owner`], by which a Pod that lives tells whose it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::node::Placement;
use super::quantity::Bytes;
use super::{Namespace, Origin};

/// The annotation that every Pod of a set has: [`Owner`] as text. A manifest may not set it.
pub const OWNER: &str = "podstrap.io/owner";

/// The annotation of a template that was restarted by hand, as `kubectl rollout restart` sets it.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Which kind of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// One Pod here, if the node fits.
    DaemonSet,
    /// Numbered Pods, each with a name and data of its own.
    StatefulSet,
}

impl SetKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::DaemonSet, Self::StatefulSet];

    /// `kind` in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The same on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::DaemonSet => "daemonset",
            Self::StatefulSet => "statefulset",
        }
    }

    /// The kind that a command line means: its name, the plural or kubectl's short form.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "daemonset" | "daemonsets" | "ds" => Some(Self::DaemonSet),
            "statefulset" | "statefulsets" | "sts" => Some(Self::StatefulSet),
            _ => None,
        }
    }
}

/// The identity of a set; in files as text, `NAMESPACE/statefulset/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SetKey {
    /// Its kind.
    pub kind: SetKind,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name: a DNS-1123 subdomain, of a StatefulSet a label.
    pub name: String,
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind.word(), self.name)
    }
}

impl TryFrom<String> for SetKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "no NAMESPACE/KIND/NAME of a set";
        let (namespace, rest) = text.split_once('/').ok_or(WRONG)?;
        let (word, name) = rest.split_once('/').ok_or(WRONG)?;
        let kind = SetKind::ALL.into_iter().find(|k| k.word() == word).ok_or(WRONG)?;
        Ok(Self { kind, namespace: Namespace::new(namespace), name: name.to_owned() })
    }
}

impl From<SetKey> for String {
    fn from(key: SetKey) -> Self {
        key.to_string()
    }
}

/// One version of a template: ten hexadecimal digits of the SHA-256 over it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// Wraps a text that was made so.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whose a Pod is: `KIND/NAME/REVISION/ORDINAL` as text. The namespace is the Pod's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// The set's kind.
    pub kind: SetKind,
    /// The set's name.
    pub name: String,
    /// The version of the template that the Pod was made of.
    pub revision: Revision,
    /// Of a StatefulSet's Pod its number. A DaemonSet has two places, so that a new Pod can be ready before the old one ends.
    pub ordinal: u32,
}

impl Owner {
    /// Reads the annotation's text; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (kind, name, revision, ordinal) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            kind: SetKind::ALL.into_iter().find(|k| k.as_str() == kind)?,
            name: name.to_owned(),
            revision: Revision::new(revision),
            ordinal: ordinal.parse().ok().filter(|_| parts.next().is_none())?,
        })
    }

    /// The set.
    pub fn set(&self, namespace: &Namespace) -> SetKey {
        SetKey { kind: self.kind, namespace: namespace.clone(), name: self.name.clone() }
    }
}

impl TryFrom<String> for Owner {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("no KIND/NAME/REVISION/ORDINAL of a set's Pod")
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.kind.as_str(), self.name, self.revision, self.ordinal)
    }
}

/// What Pods are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Which version this is.
    pub revision: Revision,
    /// A v1 Pod as JSON, without a name.
    pub document: Value,
    /// `serviceName`.
    pub service: Option<String>,
    /// The names of the volumes that are claims.
    pub claims: Vec<String>,
}

/// How Pods are replaced when the template has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Not at all, until they are stopped by hand.
    OnDelete,
    /// The old one ends, then the new one starts.
    Replace,
    /// The new one is ready before the old one ends.
    Surge,
    /// Those of this number and above, the last one first, each ready before the next. Counted from the first ordinal.
    Partition(u32),
}

/// A claim of a StatefulSet: a directory for each of its Pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name of the volume.
    pub name: String,
    /// `resources.requests.storage`.
    pub request: Option<Bytes>,
}

/// `persistentVolumeClaimRetentionPolicy`: when a claim's directory is removed. Neither is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// When the set is gone.
    pub delete_with_set: bool,
    /// When `replicas` were reduced.
    pub delete_when_scaled: bool,
}

/// A validated DaemonSet or StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its identity.
    pub key: SetKey,
    /// File and document.
    pub origin: Origin,
    /// How many Pods; of a DaemonSet 1.
    pub replicas: u32,
    /// The first ordinal.
    pub start: u32,
    /// `podManagementPolicy: Parallel`.
    pub parallel: bool,
    /// How Pods are replaced.
    pub update: Update,
    /// For how many seconds a Pod must have been ready before it counts.
    pub min_ready_seconds: u32,
    /// What a DaemonSet asks of its node.
    pub placement: Placement,
    /// A StatefulSet's claims.
    pub claims: Vec<Claim>,
    /// When their directories are removed.
    pub retention: Retention,
    /// What its Pods are made of.
    pub template: Template,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_is_written() {
        let owner = Owner {
            kind: SetKind::StatefulSet,
            name: "web".into(),
            revision: Revision::new("0123456789"),
            ordinal: 7,
        };
        assert_eq!(owner.to_string(), "StatefulSet/web/0123456789/7");
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
        let key = SetKey { kind: SetKind::DaemonSet, namespace: Namespace::new("ns"), name: "a.b".into() };
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"ns/daemonset/a.b\"");
        assert_eq!(SetKey::try_from(key.to_string()), Ok(key));
        assert!(SetKey::try_from("ns/pod/a".to_owned()).is_err());
        for text in ["", "StatefulSet/web/1", "Pod/web/1/2", "StatefulSet/web/1/x", "StatefulSet/web/1/2/3"] {
            assert_eq!(Owner::parse(text), None, "{text}");
        }
    }
}
