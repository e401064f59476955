//! The command line exactly as it was typed. What follows from it is worked out elsewhere: [`super::settings`] for `run`, the
//! verbs' own files for the rest.
//!
//! argh knows neither `--name=value` nor `-it`: [`split()`] turns both into what it knows, before it sees them.

mod image;
mod run;
mod split;

use std::path::PathBuf;

use argh::FromArgs;

pub use self::image::{ImageArgs, ImageListArgs, ImageLoadArgs, ImagePruneArgs, ImagePullArgs, ImageVerb};
pub use self::run::RunArgs;
pub use self::split::{Known, options_of, split};
use super::values::{Format, Goal, Millis, PodArg, Since, Size, TextOrJson};
use crate::config::RuntimeChoice;

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
