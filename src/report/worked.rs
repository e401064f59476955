//! What a Pod was when it last worked, for `why`: most of what is wrong with a Pod is what was changed last.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::paths::Roots;
use crate::pod::Generation;

/// STATE/worked/*.json: the last generation of a Pod that was ready for a while. It outlives the generation, the manifest and
/// the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worked {
    /// `NAMESPACE/NAME`.
    pub key: String,
    /// The generation.
    pub generation: Generation,
    /// When it was seen to work first; RFC 3339.
    pub since: String,
    /// The input document.
    pub document: serde_json::Value,
}

impl Worked {
    /// What is known of the Pod of this key.
    pub fn read(roots: &Roots, key: &str) -> Option<Self> {
        let bytes = fs::read(roots.worked(key)).ok()?;
        serde_json::from_slice::<Self>(&bytes).ok().filter(|worked| worked.key == key)
    }
}
