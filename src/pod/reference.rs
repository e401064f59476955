//! Image references: the grammar that registries and docker share, and its one normal form.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An image reference in its full form, `docker.io/library/etcd:latest` for `etcd`; the original is kept for display.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// As the manifest wrote it.
    pub given: String,
    /// `DOMAIN/PATH:TAG`, `DOMAIN/PATH@DIGEST` or `DOMAIN/PATH:TAG@DIGEST`.
    pub full: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}
