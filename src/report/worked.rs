//! What a Pod was when it last worked, for `why`: most of what is wrong with a Pod is what was changed last.

use serde::{Deserialize, Serialize};

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
