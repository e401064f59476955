//! Which program runs the containers of an instance: runc, or docker and what speaks its language.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::docker::Docker;

/// The program that runs containers, as monitors and helpers are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// runc, one monitor process for each container.
    Runc {
        /// Absolute path of the binary.
        binary: PathBuf,
    },
    /// The docker CLI, whose daemon holds the containers.
    Docker(Docker),
}

impl Engine {
    /// `runc` or `docker`, as `--runtime` takes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Runc { .. } => "runc",
            Self::Docker(_) => "docker",
        }
    }

    /// Absolute path of the binary.
    pub fn binary(&self) -> &PathBuf {
        match self {
            Self::Runc { binary } | Self::Docker(Docker { binary, .. }) => binary,
        }
    }

    /// The docker CLI, if that is what runs the containers.
    pub fn docker(&self) -> Option<&Docker> {
        match self {
            Self::Runc { .. } => None,
            Self::Docker(docker) => Some(docker),
        }
    }
}
