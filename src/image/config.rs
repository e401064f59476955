//! The part of an image's configuration that decides how a container starts (OCI image spec, `config`).

use serde::{Deserialize, Serialize};

/// `config` of an image configuration; everything may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `USER[:GROUP]`, each a name or a number.
    pub user: String,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// WORKDIR.
    pub working_dir: String,
    /// STOPSIGNAL: a name with or without `SIG`, or a number.
    pub stop_signal: String,
}
