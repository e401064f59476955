//! Why a Pod's namespaces or its network cannot be made or ended. Each text ends with what to do, where that is known.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::etc::LongName;

/// What went wrong.
#[derive(Debug)]
pub enum SandboxError {
    /// The request on standard input.
    Request(io::Error),
    /// A file of ours.
    File {
        /// What was tried: `make`, `read` …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A namespace could not be made.
    Namespace {
        /// `net`, `ipc` …
        kind: &'static str,
        /// The cause.
        error: io::Error,
    },
    /// A process that is in the way could not be ended.
    Process {
        /// What it is.
        what: &'static str,
        /// The cause.
        error: io::Error,
    },
    /// The full host name is longer than Linux allows.
    LongName(LongName),
    /// The Pod wants a network and none is configured.
    NoNetwork(PathBuf),
    /// A network configuration that cannot be used.
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The Pod has host ports, and no plugin of the network serves them.
    NoPortMapper {
        /// The network.
        network: String,
        /// The first of the ports.
        port: u16,
    },
    /// A plugin is not there.
    MissingPlugin {
        /// Its name.
        plugin: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// A plugin has failed.
    Plugin {
        /// Its name.
        plugin: String,
        /// `ADD`, `DEL` or `CHECK`.
        command: &'static str,
        /// Its own words.
        problem: String,
    },
    /// A plugin took too long and was killed.
    SlowPlugin {
        /// Its name.
        plugin: String,
        /// `ADD`, `DEL` or `CHECK`.
        command: &'static str,
    },
    /// docker could not make or end the container that holds the namespaces.
    Docker(String),
    /// The network gave no address.
    NoAddress(String),
    /// The network could not be left; one line for each plugin.
    Leave(Vec<SandboxError>),
}

impl SandboxError {
    pub(super) fn file(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), error }
    }
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(e) => write!(f, "sandbox: the request on standard input is not understood: {e}"),
            Self::File { action, path, error } => write!(f, "{action} {}: {error}", path.display()),
            Self::Namespace { kind, error } => write!(f, "make the Pod's {kind} namespace: {error}"),
            Self::Process { what, error } => write!(f, "end {what}: {error}"),
            Self::LongName(e) => e.fmt(f),
            Self::NoNetwork(dir) => write!(
                f,
                "no CNI network is configured in {0} and the Pod wants a network of its own: install a CNI network \
                 (Debian: apt-get install containernetworking-plugins and write {0}/10-NAME.conflist) or set \
                 hostNetwork: true",
                dir.display()
            ),
            Self::Config { path, problem } => write!(f, "CNI network {}: {problem}", path.display()),
            Self::NoPortMapper { network, port } => write!(
                f,
                "the Pod wants port {port} of the host and no plugin of the CNI network {network} maps ports: add \
                 {{\"type\": \"portmap\", \"capabilities\": {{\"portMappings\": true}}}} to its plugins or remove hostPort"
            ),
            Self::MissingPlugin { plugin, dirs } => {
                let dirs: Vec<String> = dirs.iter().map(|d| d.display().to_string()).collect();
                write!(
                    f,
                    "the CNI plugin {plugin} is not in {}: install it there (Debian: apt-get install \
                     containernetworking-plugins) or name its directory with --cni-bin-dir",
                    dirs.join(", ")
                )
            }
            Self::Plugin { plugin, command, problem } => {
                write!(f, "CNI plugin {plugin}, {command}: {problem}")
            }
            Self::SlowPlugin { plugin, command } => {
                write!(f, "CNI plugin {plugin}, {command}: killed because it took longer than 60 s")
            }
            Self::Docker(why) => write!(f, "the Pod's namespaces: {why}"),
            Self::NoAddress(network) => write!(
                f,
                "the CNI network {network} gave the Pod no address: configure ipam in one of its plugins"
            ),
            Self::Leave(errors) => {
                f.write_str("leave the Pod's network: ")?;
                for (n, error) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if n == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for SandboxError {}
