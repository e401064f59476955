//! The options of `run`.

use std::net::IpAddr;
use std::path::PathBuf;

use argh::FromArgs;

use super::{CLUSTER_DOMAIN, LOG_DIR, RUN_DIR, STATE_DIR};
use crate::cli::values::{Endpoint, Millis, Size};
use crate::cli::values_node::{LabelArg, TaintArg};
use crate::cli::values_url::{HeaderArg, UrlArg};
use crate::config::{BackOff, MissingDir, OnExit, RuntimeChoice};

/// Run the daemon: read the manifests, start their Pods, keep them running.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "run",
    note = "SIGTERM and SIGINT end the daemon; the Pods run on unless --on-exit stop is given."
)]
pub struct RunArgs {
    /// file of options, or a KubeletConfiguration; the command line counts more
    #[argh(option, arg_name = "FILE")]
    pub config: Option<PathBuf>,
    /// directory of Pod manifests, or one file; may be given several times (default /etc/kubernetes/manifests, where no other source is given)
    #[argh(option, arg_name = "DIR")]
    pub manifest_dir: Vec<PathBuf>,
    /// URL of Pod manifests, with #sha256=DIGEST of that content only; may be given several times
    #[argh(option, arg_name = "URL")]
    pub manifest_url: Vec<UrlArg>,
    /// header that manifest URLs are sent, as NAME: VALUE or NAME: @FILE; may be given several times
    #[argh(option, arg_name = "HEADER")]
    pub manifest_url_header: Vec<HeaderArg>,
    /// certificates (PEM) that manifest URLs are trusted by (default the host's)
    #[argh(option, arg_name = "FILE")]
    pub manifest_url_ca: Option<PathBuf>,
    /// time from one answer of a manifest URL to the next question (default 20s)
    #[argh(option, default = "Millis(20_000)", arg_name = "SECONDS")]
    pub manifest_url_period: Millis,
    /// state that a reboot clears (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// state that a reboot keeps (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// logs of containers (default /var/log/pods)
    #[argh(option, default = "LOG_DIR.into()", arg_name = "DIR")]
    pub log_dir: PathBuf,
    /// image archives that are loaded at start and when they appear (default images.d in the state directory)
    #[argh(option, arg_name = "DIR")]
    pub image_dir: Option<PathBuf>,
    /// what runs the containers: auto, runc or docker (default auto)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
    /// name of this node, the suffix of every Pod's name (default the host's name in lower case)
    #[argh(option, arg_name = "NAME")]
    pub node_name: Option<String>,
    /// label of this node, as KEY=VALUE, by which DaemonSets choose nodes; may be given several times
    #[argh(option, arg_name = "LABEL")]
    pub node_label: Vec<LabelArg>,
    /// taint of this node, as KEY[=VALUE]:EFFECT, which DaemonSets must tolerate; may be given several times
    #[argh(option, arg_name = "TAINT")]
    pub node_taint: Vec<TaintArg>,
    /// what becomes of the Pods when the daemon ends: keep or stop (default keep)
    #[argh(option, default = "OnExit::Keep", arg_name = "WHAT")]
    pub on_exit: OnExit,
    /// time from one full reading of the sources to the next (default 20s)
    #[argh(option, default = "Millis(20_000)", arg_name = "SECONDS")]
    pub rescan: Millis,
    /// waits between restarts of a container: none at first, then INITIAL, doubled up to MAX (default 1s,60s)
    #[argh(option, default = "BackOff { initial_ms: 1000, max_ms: 60_000 }", arg_name = "INITIAL,MAX")]
    pub restart_backoff: BackOff,
    /// parent of all Pod cgroups (default podstrap)
    #[argh(option, default = "\"podstrap\".into()", arg_name = "NAME")]
    pub cgroup_root: String,
    /// largest manifest file that is read (default 512Ki)
    #[argh(option, default = "Size(512 * 1024)", arg_name = "SIZE")]
    pub max_manifest_bytes: Size,
    /// what a manifest directory's absence means for its Pods: remove or keep (default remove)
    #[argh(option, default = "MissingDir::Remove", arg_name = "WHAT")]
    pub on_missing_dir: MissingDir,
    /// take manifests, too, that do not belong to root or that everybody may write to
    #[argh(switch)]
    pub allow_foreign_manifests: bool,
    /// registry auth file for pulling images
    #[argh(option, arg_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// size at which a container's log is rotated (default 10Mi)
    #[argh(option, default = "Size(10 << 20)", arg_name = "SIZE")]
    pub log_max_size: Size,
    /// log files kept of one run of a container, the live one included (default 5)
    #[argh(option, default = "5", arg_name = "NUMBER")]
    pub log_max_files: u32,
    /// CNI network configurations; the first one is the Pods' network (default /etc/cni/net.d)
    #[argh(option, arg_name = "DIR")]
    pub cni_conf_dir: Option<PathBuf>,
    /// CNI plugins; may be given several times (default /opt/cni/bin and /usr/lib/cni)
    #[argh(option, arg_name = "DIR")]
    pub cni_bin_dir: Vec<PathBuf>,
    /// name server of the cluster, for dnsPolicy ClusterFirst; may be given several times (default none)
    #[argh(option, arg_name = "IP")]
    pub cluster_dns: Vec<IpAddr>,
    /// domain of the cluster (default cluster.local)
    #[argh(option, default = "CLUSTER_DOMAIN.into()", arg_name = "NAME")]
    pub cluster_domain: String,
    /// address of /healthz and /metrics, such as 127.0.0.1:10248, or off (default off)
    #[argh(option, default = "Endpoint(None)", arg_name = "ADDRESS")]
    pub healthz_address: Endpoint,
    /// kubeconfig of an API server, in which the Pods are shown as mirror Pods (default none)
    #[argh(option, arg_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// make the Node object in that API server, and keep it Ready
    #[argh(switch)]
    pub register_node: bool,
}
