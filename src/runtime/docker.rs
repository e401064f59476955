//! docker's command lines, and what its output means. All forms are those of docker-run(1) and its neighbours, as docker
//! 20.10 knows them; podman and nerdctl understand the same words where [`Flavour`] does not say otherwise.

pub mod images;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::command::CommandLine;

/// A daemon that takes this long for a small thing hangs.
const OTHER_MS: u64 = 30_000;

/// The docker CLI as one instance uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// Absolute path of the binary.
    pub binary: PathBuf,
    /// Whose it is.
    pub flavour: Flavour,
    /// The directory with the `config.json` of registry credentials; `None`: the one in root's home.
    #[serde(default)]
    pub config: Option<PathBuf>,
}

/// Whose command line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// docker's own.
    Docker,
    /// podman's, which has no daemon.
    Podman,
    /// containerd's nerdctl.
    Nerdctl,
}

impl Flavour {
    /// Told from the first line of `--version`.
    pub fn of_version(text: &str) -> Self {
        let first = text.lines().next().unwrap_or_default().to_ascii_lowercase();
        match first {
            t if t.contains("podman") => Self::Podman,
            t if t.contains("nerdctl") => Self::Nerdctl,
            _ => Self::Docker,
        }
    }
}

impl Docker {
    /// Asks for the CLI's own version; see [`Flavour::of_version`]. Its daemon need not live.
    pub fn version(&self) -> CommandLine {
        self.command().arg("--version").deadline(OTHER_MS)
    }

    /// The CLI with nothing but what every call needs. It looks for credentials below root's home.
    pub fn command(&self) -> CommandLine {
        let line = CommandLine::new(&self.binary).env("HOME", "/root");
        match (&self.config, self.flavour) {
            (Some(directory), Flavour::Docker | Flavour::Nerdctl) => line.env("DOCKER_CONFIG", directory),
            (Some(directory), Flavour::Podman) => {
                line.env("REGISTRY_AUTH_FILE", directory.join("config.json"))
            }
            (None, _) => line,
        }
    }
}
