//! The namespaces that belong to a Pod and not to one of its containers, and the Pod's network.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// RUN/pods/GENERATION/sandbox.json: what monitors and the status need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Format version: 1.
    pub version: u32,
    /// The boot in which it was made.
    pub boot_id: String,
    /// The network namespace's file; `None` under hostNetwork.
    pub net: Option<PathBuf>,
    /// The IPC namespace's file; `None` under hostIPC.
    pub ipc: Option<PathBuf>,
    /// The UTS namespace's file; `None` under hostNetwork.
    pub uts: Option<PathBuf>,
    /// The pid namespace's file, where the containers share one.
    pub pid: Option<PathBuf>,
    /// The Pod's addresses, the first being `status.podIP`; empty under hostNetwork.
    pub addresses: Vec<IpAddr>,
}
