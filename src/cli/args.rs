//! The command line exactly as it was typed. What follows from it is worked out elsewhere: [`super::settings`] for `run`, the
//! verbs' own files for the rest.
//!
//! argh knows neither `--name=value` nor `-it`: [`split`] turns both into what it knows, before it sees them.

use std::net::IpAddr;
use std::path::PathBuf;

use argh::FromArgs;

use super::values::{Endpoint, Format, Goal, Millis, PodArg, Since, Size, TextOrJson};
use super::values_node::{LabelArg, TaintArg};
use super::values_url::{HeaderArg, UrlArg};
use crate::config::{BackOff, MissingDir, OnExit, RuntimeChoice};

/// The default of `--run-dir`.
pub const RUN_DIR: &str = "/run/podstrap";
/// The default of `--state-dir`.
pub const STATE_DIR: &str = "/var/lib/podstrap";
/// The default of `--log-dir`.
pub const LOG_DIR: &str = "/var/log/pods";
/// The default of `--manifest-dir`.
pub const MANIFEST_DIR: &str = "/etc/kubernetes/manifests";

/// The default of `--cluster-domain`.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// Runs the Pods of a directory of manifests, as the kubelet runs static Pods, without the kubelet.
#[derive(FromArgs, Debug)]
#[argh(
    note = "POD is [NAMESPACE/]NAME, the name with or without the node's name at its end.",
    error_code(1, "It failed; the reason stands on standard error."),
    error_code(2, "The command line is wrong."),
    error_code(3, "A manifest is invalid."),
    error_code(4, "The time is up."),
    error_code(5, "A Pod has failed, or crashes again and again."),
    error_code(6, "The daemon is not running.")
)]
pub struct Top {
    /// the verb
    #[argh(subcommand)]
    pub verb: Verb,
}

/// What is to be done.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant)] // there is one of it in a process
pub enum Verb {
    /// The daemon.
    Run(RunArgs),
    /// Table of Pods.
    Status(StatusArgs),
    /// Until Pods are ready.
    Wait(WaitArgs),
    /// A container's output.
    Logs(LogsArgs),
    /// A command in a container.
    Exec(ExecArgs),
    /// Checks manifests.
    Validate(ValidateArgs),
    /// What run would do.
    Plan(PlanArgs),
    /// Why a Pod is not ready.
    Why(WhyArgs),
    /// Starts Pods anew.
    Restart(RestartArgs),
    /// Stops Pods.
    Down(DownArgs),
    /// Gives all to a kubelet.
    Handover(HandoverArgs),
    /// Data of StatefulSets.
    Claim(ClaimArgs),
    /// The image store.
    Image(ImageArgs),
    /// Versions.
    Version(VersionArgs),
}

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

/// Show the Pods, and what is wrong with those that are not well.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct StatusArgs {
    /// show these Pods only
    #[argh(positional, arg_name = "POD")]
    pub pods: Vec<PodArg>,
    /// table, wide, json or yaml (default table)
    #[argh(option, short = 'o', default = "Format::Table", arg_name = "FORMAT")]
    pub output: Format,
    /// go on, and show every change
    #[argh(switch, short = 'w')]
    pub watch: bool,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Wait until Pods are ready; without POD, all of the sources, and at least one.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "wait",
    note = "The daemon, its directories and the manifests need not exist yet. A Pod that has succeeded counts as ready. A refused manifest ends it with 3 at once, a Pod that has failed with 5."
)]
pub struct WaitArgs {
    /// wait for these Pods
    #[argh(positional, arg_name = "POD")]
    pub pods: Vec<PodArg>,
    /// ready, running or gone (default ready)
    #[argh(option, long = "for", default = "Goal::Ready", arg_name = "WHAT")]
    pub goal: Goal,
    /// how long to wait (default 5m)
    #[argh(option, default = "Millis(300_000)", arg_name = "DURATION")]
    pub timeout: Millis,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Print what a container has written.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "logs")]
pub struct LogsArgs {
    /// the Pod
    #[argh(positional, arg_name = "POD")]
    pub pod: PodArg,
    /// the container (default the first)
    #[argh(option, short = 'c', arg_name = "NAME")]
    pub container: Option<String>,
    /// go on, over rotations and restarts, as long as the Pod is there
    #[argh(switch, short = 'f')]
    pub follow: bool,
    /// the former run of the container
    #[argh(switch, short = 'p')]
    pub previous: bool,
    /// only the last lines, this many
    #[argh(option, arg_name = "NUMBER")]
    pub tail: Option<usize>,
    /// only what was written since then: a duration such as 10m, or a time as in RFC 3339
    #[argh(option, arg_name = "WHEN")]
    pub since: Option<Since>,
    /// put the time before each line
    #[argh(switch)]
    pub timestamps: bool,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// logs of containers (default what the daemon uses, else /var/log/pods)
    #[argh(option, arg_name = "DIR")]
    pub log_dir: Option<PathBuf>,
}

/// Run a command in a container: podstrap exec POD -- COMMAND [ARGUMENT...].
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "exec", note = "The command follows after --; its exit code is passed on.")]
pub struct ExecArgs {
    /// the Pod
    #[argh(positional, arg_name = "POD")]
    pub pod: PodArg,
    /// the container (default the first)
    #[argh(option, short = 'c', arg_name = "NAME")]
    pub container: Option<String>,
    /// pass standard input on
    #[argh(switch, short = 'i')]
    pub stdin: bool,
    /// give the command a terminal; passes standard input on too
    #[argh(switch, short = 't')]
    pub tty: bool,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Check manifests without running anything; every problem is shown with its place.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "validate")]
pub struct ValidateArgs {
    /// manifest files, or directories of them
    #[argh(positional, arg_name = "FILE")]
    pub paths: Vec<PathBuf>,
    /// name of the node to check for (default the host's name in lower case)
    #[argh(option, arg_name = "NAME")]
    pub node_name: Option<String>,
    /// largest manifest file that is read (default 512Ki)
    #[argh(option, default = "Size(512 * 1024)", arg_name = "SIZE")]
    pub max_manifest_bytes: Size,
    /// what is to run the containers: docker refuses more than runc does (default auto: as runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// text or json (default text)
    #[argh(option, short = 'o', default = "TextOrJson::Text", arg_name = "FORMAT")]
    pub output: TextOrJson,
    /// not used; every verb takes it
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Show what run would do with these manifests now; without FILE, with all of the daemon's sources.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "plan",
    note = "Exit codes are as diff's: 0 nothing to do, 1 changes, 2 it cannot be told; and 3 something is refused or cannot be read. Pods that no FILE names are left out."
)]
pub struct PlanArgs {
    /// manifest files, directories of them, or - for standard input
    #[argh(positional, arg_name = "FILE")]
    pub paths: Vec<PathBuf>,
    /// name of the node (default the daemon's, else the host's name in lower case)
    #[argh(option, arg_name = "NAME")]
    pub node_name: Option<String>,
    /// largest manifest file that is read (default the daemon's, else 512Ki)
    #[argh(option, arg_name = "SIZE")]
    pub max_manifest_bytes: Option<Size>,
    /// table, wide (also what is unchanged), json or yaml (default table)
    #[argh(option, short = 'o', default = "Format::Table", arg_name = "FORMAT")]
    pub output: Format,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Tell why a Pod is not ready or was started again, with the evidence and what to do next.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "why")]
pub struct WhyArgs {
    /// the Pod
    #[argh(positional, arg_name = "POD")]
    pub pod: PodArg,
    /// text or json (default text)
    #[argh(option, short = 'o', default = "TextOrJson::Text", arg_name = "FORMAT")]
    pub output: TextOrJson,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// logs of containers (default what the daemon uses, else /var/log/pods)
    #[argh(option, arg_name = "DIR")]
    pub log_dir: Option<PathBuf>,
}

/// Stop all Pods in order and the daemon, and leave the manifests to a kubelet.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "handover",
    note = "It is refused, with 3, where a kubelet would not run the manifests as they run now; --force does it all the same."
)]
pub struct HandoverArgs {
    /// a kubelet is to follow, which is also what is assumed
    #[argh(switch)]
    pub to_kubelet: bool,
    /// in spite of manifests that a kubelet cannot run
    #[argh(switch)]
    pub force: bool,
    /// only tell what would be done
    #[argh(switch)]
    pub dry_run: bool,
    /// how long to wait for the end, as for down
    #[argh(option, arg_name = "DURATION")]
    pub timeout: Option<Millis>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory, for when it is not running (default what it used, else /var/lib/podstrap)
    #[argh(option, arg_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Stop Pods gracefully; without POD, all of them, and then the daemon.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "down",
    note = "A stopped Pod stays so until its manifest changes or is put back, or the host boots."
)]
pub struct DownArgs {
    /// stop these Pods only, and leave the daemon running
    #[argh(positional, arg_name = "POD")]
    pub pods: Vec<PodArg>,
    /// how long to wait for the end (default as long as the grace periods can take, plus 60s)
    #[argh(option, arg_name = "DURATION")]
    pub timeout: Option<Millis>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory, for when it is not running (default what it used, else /var/lib/podstrap)
    #[argh(option, arg_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Stop Pods gracefully and start them anew; a set replaces all of its Pods as if its template had changed.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "restart",
    note = "POD may be daemonset/NAME or statefulset/NAME, too. It ends when the daemon has begun with it; `podstrap wait` waits for the rest."
)]
pub struct RestartArgs {
    /// the Pods and sets
    #[argh(positional, arg_name = "POD")]
    pub pods: Vec<PodArg>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Look after the directories of StatefulSets' claims.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "claim")]
pub struct ClaimArgs {
    /// what to do
    #[argh(subcommand)]
    pub verb: ClaimVerb,
}

/// What is to be done with claims.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum ClaimVerb {
    /// Table of claims.
    List(ClaimListArgs),
    /// Removes claims.
    Rm(ClaimRmArgs),
}

/// List the claims with their size, what was asked for, and who uses them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub struct ClaimListArgs {
    /// text or json (default text)
    #[argh(option, short = 'o', default = "TextOrJson::Text", arg_name = "FORMAT")]
    pub output: TextOrJson,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory (default what it uses, else /var/lib/podstrap)
    #[argh(option, arg_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Remove claims with all that is in them; one that is used is refused.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rm", note = "CLAIM is [NAMESPACE/]NAME, as podstrap claim list shows it.")]
pub struct ClaimRmArgs {
    /// the claims
    #[argh(positional, arg_name = "CLAIM")]
    pub claims: Vec<String>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory (default what it uses, else /var/lib/podstrap)
    #[argh(option, arg_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Look after the images.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "image")]
pub struct ImageArgs {
    /// what to do
    #[argh(subcommand)]
    pub verb: ImageVerb,
}

/// What is to be done with images.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum ImageVerb {
    /// From an archive.
    Load(ImageLoadArgs),
    /// From a registry.
    Pull(ImagePullArgs),
    /// Table of images.
    List(ImageListArgs),
    /// Removes what nobody uses.
    Prune(ImagePruneArgs),
}

/// Load images from archives: docker-archive or OCI, plain, gzip or zstd.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "load")]
pub struct ImageLoadArgs {
    /// the archives
    #[argh(positional, arg_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// Pull images from their registries: with skopeo, or docker where docker keeps the images.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "pull")]
pub struct ImagePullArgs {
    /// the images
    #[argh(positional, arg_name = "IMAGE")]
    pub images: Vec<String>,
    /// registry auth file
    #[argh(option, arg_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// List the images that are kept.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub struct ImageListArgs {
    /// text or json (default text)
    #[argh(option, short = 'o', default = "TextOrJson::Text", arg_name = "FORMAT")]
    pub output: TextOrJson,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// Remove the images that no Pod uses.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "prune")]
pub struct ImagePruneArgs {
    /// every image that no Pod uses, not only those without a name
    #[argh(switch, short = 'a')]
    pub all: bool,
    /// only tell what would be removed
    #[argh(switch)]
    pub dry_run: bool,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// Print the versions of podstrap and of the runtime.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "version")]
pub struct VersionArgs {
    /// text or json (default text)
    #[argh(option, short = 'o', default = "TextOrJson::Text", arg_name = "FORMAT")]
    pub output: TextOrJson,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Options that take no value: `--watch=yes` must not become `--watch yes`.
const SWITCHES: [&str; 12] = [
    "--watch",
    "--follow",
    "--previous",
    "--timestamps",
    "--stdin",
    "--tty",
    "--all",
    "--dry-run",
    "--to-kubelet",
    "--force",
    "--help",
    "--version",
];
/// Short options without a value.
const SHORT_SWITCHES: &[char] = &['a', 'f', 'i', 'p', 't', 'w'];
/// Short options with one.
const SHORT_VALUES: &[char] = &['c', 'o'];

/// `--name=value` → `--name value`, `-it` → `-i -t`, `-ojson` → `-o json`, `-h` → `--help`; nothing else is touched.
///
/// A lone `-`, which argh takes for an option, goes behind a `--` at the end.
pub fn split(args: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let mut standard_input = Vec::new();
    let has_end = args.iter().any(|arg| arg == "--");
    for arg in args {
        if arg == "-" && !has_end {
            standard_input
                .extend(["--".to_owned(), arg.clone()].into_iter().skip(standard_input.len().min(1)));
        } else if let Some((name, value)) = arg.split_once('=')
            && name.starts_with("--")
            && name.len() > 2
            && !SWITCHES.contains(&name)
        {
            out.extend([name.to_owned(), value.to_owned()]);
        } else if let Some(letters) = arg.strip_prefix('-').filter(|l| !l.starts_with('-') && l.len() > 1) {
            out.extend(short_options(letters).unwrap_or_else(|| vec![arg.clone()]));
        } else if arg == "-h" {
            out.push("--help".to_owned());
        } else {
            out.push(arg.clone());
        }
    }
    out.append(&mut standard_input);
    out
}

fn short_options(letters: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        if SHORT_SWITCHES.contains(&letter) {
            out.push(format!("-{letter}"));
        } else if SHORT_VALUES.contains(&letter) {
            out.push(format!("-{letter}"));
            let value = rest.as_str();
            if !value.is_empty() {
                out.push(value.trim_start_matches('=').to_owned());
            }
            return Some(out);
        } else {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_words(line: &str) -> String {
        split(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn what_argh_does_not_know_is_split() {
        assert_eq!(split_words("exec p -it"), "exec p -i -t");
        assert_eq!(split_words("logs -fpc etcd"), "logs -f -p -c etcd");
        assert_eq!(split_words("status -ojson"), "status -o json");
        assert_eq!(split_words("wait --timeout=5m --for=gone"), "wait --timeout 5m --for gone");
        assert_eq!(split_words("validate a - -ojson"), "validate a -o json -- -");
        assert_eq!(
            split_words("status --watch=yes -x -xy - -- --a=b"),
            "status --watch=yes -x -xy - -- --a b"
        );
    }

    #[test]
    fn every_switch_is_known_to_the_splitter() {
        // A switch that is missing there would swallow "=yes" and the word after it.
        for (verb, switches) in
            [("status", "--watch"), ("logs", "--follow --previous --timestamps"), ("exec", "--stdin --tty")]
        {
            for switch in switches.split(' ') {
                assert!(SWITCHES.contains(&switch), "{verb} {switch}");
                assert!(Top::from_args(&["podstrap"], &[verb, "p", switch]).is_ok(), "{verb} {switch}");
            }
        }
    }

    #[test]
    fn wrong_values_are_told_apart_from_wrong_names() {
        let output = |args: &[&str]| Top::from_args(&["podstrap"], args).unwrap_err().output;
        assert!(output(&["run", "--restart-backoff", "5s,1s"]).contains("must not be shorter"));
        assert!(output(&["run", "--runtime", "lxc"]).contains("auto, runc or docker"));
        assert!(output(&["wait", "--timeout", "soon"]).contains("90s"));
        assert!(output(&["logs", "A/B"]).contains("lower-case"));
    }
}
