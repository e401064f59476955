//! ConfigMaps and Secrets: documents beside the Pods' own that give them data. A kubelet's static Pods cannot refer to such
//! objects; here they are looked for among the documents of the same sources.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{EnvValue, Namespace, ObjectRef, Pod, ProjectedSource, Volume};

/// One ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its kind and name.
    pub reference: ObjectRef,
    /// `data`, `binaryData` and `stringData`, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// The objects that a Pod refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Those without which its containers cannot be made.
    pub required: BTreeSet<ObjectRef>,
    /// Those that it can do without.
    pub optional: BTreeSet<ObjectRef>,
    /// Those of the required ones that its environment refers to, and not only its volumes.
    pub of_environment: BTreeSet<ObjectRef>,
}

impl References {
    /// What a Pod's environment and volumes refer to.
    pub fn of(pod: &Pod) -> Self {
        let mut found = Self::default();
        for container in pod.all_containers() {
            for from in &container.env_from {
                found.add(&from.object, from.optional);
            }
            for variable in &container.env {
                match &variable.value {
                    EnvValue::Key { object, optional, .. } => found.add(object, *optional),
                    EnvValue::Text(_) | EnvValue::Field(_) => {}
                }
            }
        }
        found.of_environment = found.required.clone();
        for volume in pod.volumes.values() {
            let Volume::Projected { sources, .. } = volume else { continue };
            for source in sources {
                match source {
                    ProjectedSource::Object { object, optional, .. } => found.add(object, *optional),
                    ProjectedSource::DownwardApi(_) => {}
                }
            }
        }
        let Self { required, optional, .. } = &mut found;
        optional.retain(|o| !required.contains(o));
        found
    }

    fn add(&mut self, object: &ObjectRef, optional: bool) {
        if optional { &mut self.optional } else { &mut self.required }.insert(object.clone());
    }

    /// Whether it refers to none.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }
}
