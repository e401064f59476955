//! `docker run`: from a Pod's container to the words of one command line. The pause container's is `pause`, and what a container
//! may do is `security`.
//!
//! Everything stands in words of its own, never in a shell's; mounts are CSV as docker-run(1) has it, because paths may
//! hold commas and colons. No value of an environment variable is among the words: they are for everybody to see.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::super::bundle::BundleError;
use super::super::capabilities::SYS_RESOURCE;
use super::super::pod_group::PodGroup;
use super::super::process::expand;
use super::super::{Host, Source, resources};
use super::{Docker, Flavour};
use crate::command::CommandLine;
use crate::pod::variables;
use crate::pod::{Container, ContainerId, Pod, Propagation};

/// Starting: dockerd may have two hundred of them to start at once.
pub(super) const START_MS: u64 = 180_000;
/// The kernel's default of fs.nr_open.
const NR_OPEN: u64 = 1 << 20;
/// As many processes as podman leaves to itself, and so to those it starts, where it may not have more.
pub(super) const PODMAN_PROCESSES: u64 = 32_768;
/// The size of /dev/shm that a Pod's containers share: docker's own default, and the CRI runtimes'.
pub(super) const SHM: &str = "67108864";

/// What one container's command line is made of.
#[derive(Clone, Copy, Debug)]
pub struct RunParts<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Which run of it.
    pub attempt: u32,
    /// This run's name for us.
    pub id: &'a ContainerId,
    /// Its name for docker.
    pub name: &'a str,
    /// Which instance's it is.
    pub run_dir: &'a Path,
    /// docker's id of the Pod's pause container, where it has one.
    pub pause: Option<&'a str>,
    /// As whom it runs: docker's `USER[:GROUP]`; `None`: as the image says.
    pub user: Option<&'a str>,
    /// That is user 0.
    pub is_root: bool,
    /// The manifest's environment variables, resolved.
    pub variables: &'a [(String, String)],
    /// The host's name as the container is told it in HOSTNAME.
    pub host_name: &'a str,
    /// The file with the seccomp profile of `localhostProfile`.
    pub profile: Option<&'a Path>,
    /// Where each of the container's volume mounts comes from, in their order.
    pub sources: &'a [Source],
    /// The host.
    pub host: &'a Host,
    /// Our own hard limit of processes.
    pub processes: u64,
    /// The parent of all Pod cgroups, without slashes at its ends.
    pub cgroup_root: &'a str,
    /// The log's file as Kubernetes names it.
    pub log: &'a Path,
    /// A log file is rotated when it would grow beyond this many bytes.
    pub log_max_bytes: u64,
    /// How many log files of one run are kept, the live one included.
    pub log_max_files: u32,
    /// Where docker is to write the container's id.
    pub id_file: &'a Path,
    /// Where the environment is to be written.
    pub env_file: &'a Path,
}

/// A command line, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLine {
    /// The command line.
    pub line: CommandLine,
    /// The text of [`RunParts::env_file`].
    pub env_file: String,
    /// Lines for an operator: what the host did not allow but the container can do without.
    pub warnings: Vec<String>,
}

/// Why there can be no command line.
#[derive(Debug)]
pub enum RunError {
    /// The same as for a bundle.
    Bundle(BundleError),
    /// The program has no name when the variables in it are replaced: docker would run the arguments.
    NoProgram(String),
    /// A variable that docker's CLI itself would take for a setting of its own, with a value that its files cannot hold.
    Variable(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(e) => e.fmt(f),
            Self::NoProgram(word) => write!(
                f,
                "command: the program is {word:?}, and nothing is left of that when its variables are replaced: give them a \
                 value, or name the program"
            ),
            Self::Variable(name) => write!(
                f,
                "env: {name:?} is a setting of the docker CLI itself, and its value has a line break or is longer than \
                 60 KiB: docker cannot be given it; change the value, or use --runtime runc"
            ),
        }
    }
}

impl std::error::Error for RunError {}

impl Docker {
    /// Creates and starts a container in one call, in the background.
    pub fn run(&self, parts: &RunParts<'_>, image: &str) -> Result<RunLine, RunError> {
        let RunParts { pod, container, host, .. } = *parts;
        let mut warnings = Vec::new();
        let mut words = Words::default();
        words.add(["run", "--detach", "--pull", "never", "--restart", "no", "--no-healthcheck"]);
        words.pair("--name", parts.name);
        words.pair("--cidfile", parts.id_file);
        of_instance(&mut words, parts.run_dir, pod, parts.id.as_str());
        of_container(&mut words, parts);
        self.log(&mut words, parts);
        self.namespaces(&mut words, parts);
        self.security(&mut words, parts, &mut warnings).map_err(RunError::Bundle)?;
        limits(&mut words, container);
        self.cgroup_parent(&mut words, parts.cgroup_root, pod);
        let privileged_host = host.capabilities & (1 << SYS_RESOURCE) != 0;
        let files = if privileged_host { NR_OPEN } else { host.open_files.min(NR_OPEN) };
        words.pair("--ulimit", format!("nofile={files}:{files}"));
        if self.flavour == Flavour::Podman && !privileged_host {
            // podman asks for more than there is where it is not told.
            words.pair("--ulimit", format!("nproc={0}:{0}", parts.processes.min(PODMAN_PROCESSES)));
        }
        let wanted = resources::oom_score_adj(pod, container, host.memory);
        let score = if privileged_host { wanted } else { wanted.max(host.oom_score_adj) };
        if score != wanted {
            warnings.push(format!(
                "oom_score_adj {wanted} is not allowed here (no CAP_SYS_RESOURCE): running with {score}"
            ));
        }
        words.pair("--oom-score-adj", score.to_string());
        mounts(&mut words, parts);
        let (env_file, by_name) = environment(parts)?;
        words.pair("--env-file", parts.env_file);
        let mut line = self.command().deadline(START_MS);
        for (name, value) in by_name {
            words.pair("--env", name);
            line = line.env(name, value);
        }
        if let Some(directory) = container.working_dir.as_deref().filter(|d| !d.is_empty()) {
            words.pair("--workdir", directory);
        }
        if container.stdin {
            words.add(["--interactive"]);
        }
        if container.tty {
            words.add(["--tty"]);
        }
        let known = parts.variables.iter().cloned().collect();
        let expanded = |list: &[String]| list.iter().map(|w| expand(w, &known)).collect::<Vec<_>>();
        let (command, args) = (expanded(&container.command), expanded(&container.args));
        let mut rest = command.as_slice();
        if let Some((program, others)) = command.split_first() {
            if program.is_empty() {
                return Err(RunError::NoProgram(container.command.first().cloned().unwrap_or_default()));
            }
            words.pair("--entrypoint", program.as_str());
            rest = others;
        }
        words.add(["--", image]);
        words.add(rest);
        words.add(&args);
        Ok(RunLine { line: line.args(words.0), env_file, warnings })
    }

    fn log(&self, words: &mut Words, parts: &RunParts<'_>) {
        match self.flavour {
            Flavour::Docker | Flavour::Nerdctl => {
                words.add(["--log-driver", "json-file"]);
                words.pair("--log-opt", format!("max-size={}", parts.log_max_bytes));
                words.pair("--log-opt", format!("max-file={}", parts.log_max_files));
                // Whatever the daemon's own default is: rotated files are read, too.
                words.add(["--log-opt", "compress=false"]);
            }
            Flavour::Podman => {
                words.add(["--log-driver", "k8s-file"]);
                words.pair("--log-opt", option("path=", parts.log));
                words.pair("--log-opt", format!("max-size={}", parts.log_max_bytes));
            }
        }
    }

    pub(super) fn cgroup_parent(&self, words: &mut Words, root: &str, pod: &Pod) {
        words.pair("--cgroup-parent", PodGroup::of(root, &pod.generation, Some(self)).word());
    }

    fn namespaces(&self, words: &mut Words, parts: &RunParts<'_>) {
        namespaces(words, parts);
        if let (Flavour::Podman, Some(pause), false) = (self.flavour, parts.pause, parts.pod.host_network) {
            // docker cannot do this, and gives the pause container's host name instead.
            words.pair("--uts", format!("container:{pause}"));
        }
    }
}

/// The words of a command line.
#[derive(Default)]
pub(super) struct Words(pub(super) Vec<OsString>);

impl Words {
    pub(super) fn add<W: Into<OsString>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.0.extend(words.into_iter().map(Into::into));
    }

    pub(super) fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.extend([option.into(), value.into()]);
    }

    pub(super) fn label(&mut self, name: &str, value: &str) {
        self.pair("--label", format!("{name}={value}"));
    }
}

/// An option's value that ends in a path.
pub(super) fn option(name: &str, path: &Path) -> OsString {
    let mut word = OsString::from(name);
    word.push(path);
    word
}

/// The labels that tell whose a container is: the kubelet's, and ours.
pub(super) fn of_instance(words: &mut Words, run_dir: &Path, pod: &Pod, id: &str) {
    words.label("io.kubernetes.pod.namespace", pod.key.namespace.as_str());
    words.label("io.kubernetes.pod.name", pod.key.name.as_str());
    words.label("io.kubernetes.pod.uid", pod.uid.as_str());
    words.pair("--label", option(&format!("{}=", super::RUN_DIR_LABEL), run_dir));
    words.label(super::GENERATION_LABEL, pod.generation.as_str());
    words.label(super::ID_LABEL, id);
}

fn of_container(words: &mut Words, parts: &RunParts<'_>) {
    let RunParts { pod, container, .. } = *parts;
    words.label("io.kubernetes.docker.type", "container");
    words.label("io.kubernetes.container.name", container.name.as_str());
    words.pair("--label", option(&format!("{}=", super::LOG_LABEL), parts.log));
    if let Some(pause) = parts.pause {
        words.label("io.kubernetes.sandbox.id", pause);
    }
    let policy = if container.termination_message_from_logs { "FallbackToLogsOnError" } else { "File" };
    for (name, value) in [
        ("container.restartCount", parts.attempt.to_string()),
        ("container.terminationMessagePath", container.termination_message_path.clone()),
        ("container.terminationMessagePolicy", policy.to_owned()),
        ("pod.terminationGracePeriod", pod.grace_seconds.to_string()),
    ] {
        words.label(&format!("annotation.io.kubernetes.{name}"), &value);
    }
}

fn namespaces(words: &mut Words, parts: &RunParts<'_>) {
    let pod = parts.pod;
    let of_pause = parts.pause.map(|id| format!("container:{id}"));
    match &of_pause {
        // With the network come its hosts, resolver and host name; docker has no way to share a UTS namespace.
        Some(pause) if !pod.host_network => words.pair("--network", pause.as_str()),
        Some(_) | None => words.add(["--network", "host", "--uts", "host"]),
    }
    match (&of_pause, pod.host_ipc) {
        (_, true) => words.add(["--ipc", "host"]),
        (Some(pause), false) => words.pair("--ipc", pause.as_str()),
        (None, false) => {
            words.pair("--shm-size", SHM);
            // Otherwise they are the pause container's.
            for (name, value) in &pod.sysctls {
                words.pair("--sysctl", format!("{name}={value}"));
            }
        }
    }
    match (&of_pause, pod.host_pid) {
        (_, true) => words.add(["--pid", "host"]),
        (Some(pause), false) if pod.share_process_namespace => words.pair("--pid", pause.as_str()),
        (Some(_) | None, false) => {}
    }
}

fn limits(words: &mut Words, container: &Container) {
    let asked = &container.resources;
    words.pair("--cpu-shares", resources::cpu_shares(asked.cpu_request.or(asked.cpu_limit)).to_string());
    if let Some(quota) = resources::cpu_quota(asked.cpu_limit) {
        words.pair("--cpu-period", resources::CPU_PERIOD.to_string());
        words.pair("--cpu-quota", quota.to_string());
    }
    if let Some(bytes) = asked.memory_limit.filter(|b| b.0 > 0) {
        // Swap equal to memory: none beyond the limit.
        words.pair("--memory", bytes.0.to_string());
        words.pair("--memory-swap", bytes.0.to_string());
    }
}

fn mounts(words: &mut Words, parts: &RunParts<'_>) {
    let container = parts.container;
    let files = &parts.host.files;
    let mut all: Vec<(&str, &Path, bool, &str)> = Vec::new();
    for (target, source, read_only) in [
        ("/etc/hosts", &files.hosts, false),
        ("/etc/hostname", &files.hostname, container.read_only_root),
        ("/etc/resolv.conf", &files.resolv_conf, container.read_only_root),
        (container.termination_message_path.as_str(), &files.termination_message, false),
    ] {
        if let Some(source) = source {
            all.push((target, source, read_only, "rprivate"));
        }
    }
    for (mount, source) in container.mounts.iter().zip(parts.sources) {
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        // The Pod's own mount at one of our places stands instead of ours.
        all.retain(|(target, ..)| *target != mount.path);
        all.push((&mount.path, &source.path, mount.read_only || source.read_only, propagation));
    }
    for (target, source, read_only, propagation) in all {
        let mut text = OsString::from("type=bind,");
        push_field(&mut text, "source=", source);
        text.push(",");
        push_field(&mut text, "target=", Path::new(target));
        text.push(",bind-propagation=");
        text.push(propagation);
        if read_only {
            text.push(",readonly");
        }
        words.pair("--mount", text);
    }
}

/// One field of a CSV record: quoted where it must be.
fn push_field(text: &mut OsString, name: &str, value: &Path) {
    let shown = value.to_string_lossy();
    if shown.contains([',', '"', '\n', '\r']) || shown.starts_with(' ') {
        text.push(format!("\"{name}{}\"", shown.replace('"', "\"\"")));
    } else {
        text.push(name);
        text.push(value);
    }
}

type ByName<'a> = Vec<(&'a str, &'a str)>;

/// The text of the environment file; and the variables that such a file cannot hold, which the CLI takes from its own
/// environment.
fn environment<'a>(parts: &RunParts<'a>) -> Result<(String, ByName<'a>), RunError> {
    let mut all: ByName<'a> = vec![("HOSTNAME", parts.host_name)];
    if parts.container.tty {
        all.push(("TERM", "xterm"));
    }
    for (name, value) in parts.variables {
        match all.iter_mut().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = value,
            None => all.push((name, value)),
        }
    }
    let mut text = String::new();
    let mut by_name = Vec::new();
    for (name, value) in all {
        if variables::fits_line(name, value) {
            text.push_str(name);
            text.push('=');
            text.push_str(value);
            text.push('\n');
        } else if variables::is_of_docker_cli(name) {
            return Err(RunError::Variable(name.to_owned()));
        } else {
            by_name.push((name, value));
        }
    }
    Ok((text, by_name))
}

/// The name of a container as the kubelet's docker users know it: `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
pub fn name(pod: &Pod, container: &str, attempt: u32) -> String {
    format!("k8s_{container}_{}_{}_{}_{attempt}", pod.key.name, pod.key.namespace, pod.uid)
}

/// What stands at the end of a name that another's container holds already: not random, so that it is found again.
pub fn other_name(name: &str, hash: u64) -> String {
    format!("{name}_{:08x}", hash as u32)
}

/// The path of a profile that docker is told.
pub fn profile_file(bundle: &Path) -> PathBuf {
    bundle.join("seccomp.json")
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
