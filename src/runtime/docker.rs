//! docker's command lines, and what its output means. All forms are those of docker-run(1) and its neighbours, as docker
//! 20.10 knows them; podman and nerdctl understand the same words where [`Flavour`] does not say otherwise.

pub mod events;
pub mod exec;
pub mod images;
pub mod json_log;
pub mod pause;
pub mod run;
mod security;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::CommandLine;
use crate::pod::Generation;

/// Which instance a container belongs to: the path of its run directory.
pub const RUN_DIR_LABEL: &str = "io.podstrap.run-dir";
/// Which version of its Pod a container is of.
pub const GENERATION_LABEL: &str = "io.podstrap.generation";
/// Which run of which container it is, as `paths::container_id` names it.
pub const ID_LABEL: &str = "io.podstrap.id";

/// Where the log of a container is as Kubernetes names it.
pub const LOG_LABEL: &str = "io.kubernetes.container.logpath";

/// A daemon that takes this long for a small thing hangs.
const OTHER_MS: u64 = 30_000;

/// A list of containers is no longer than this, in bytes: some 200 for each.
pub const LIST_BYTES: usize = 8 << 20;

/// Loading an image, or ending containers that do not want to.
const DELETE_MS: u64 = 120_000;

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
    /// Who makes control groups for it.
    #[serde(default)]
    pub cgroups: CgroupDriver,
}

/// Who makes the control groups of containers: decides how their parent is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// docker itself: the parent is a path.
    #[default]
    Cgroupfs,
    /// systemd: the parent is a slice.
    Systemd,
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
    /// The CLI of that path, whose it is not known yet: docker's, with root's own credentials.
    pub fn new(binary: PathBuf) -> Self {
        Self { binary, flavour: Flavour::Docker, config: None, cgroups: CgroupDriver::default() }
    }

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

    /// Asks the daemon whether it is there, and who makes control groups; see [`parse_info`].
    pub fn info(&self) -> CommandLine {
        let format = match self.flavour {
            Flavour::Docker | Flavour::Nerdctl => "{{.CgroupDriver}}",
            Flavour::Podman => "{{.Host.CgroupManager}}",
        };
        self.command().args(["info", "--format", format]).deadline(OTHER_MS)
    }

    /// Lists this instance's containers, ended ones too; see [`parse_list`]. `id`: only that run's.
    pub fn list(&self, run_dir: &Path, id: Option<&str>) -> CommandLine {
        let mut label = std::ffi::OsString::from(format!("label={RUN_DIR_LABEL}="));
        label.push(run_dir);
        let line = self.command().args(["ps", "--all", "--no-trunc", "--filter"]).arg(label);
        let line = match id {
            Some(id) => line.arg("--filter").arg(format!("label={ID_LABEL}={id}")),
            None => line,
        };
        let format = match self.flavour {
            Flavour::Docker | Flavour::Nerdctl => format!(r#"{{{{.ID}}}} {{{{.Label "{ID_LABEL}"}}}}"#),
            Flavour::Podman => format!(r#"{{{{.ID}}}} {{{{index .Labels "{ID_LABEL}"}}}}"#),
        };
        line.arg("--format").arg(format).deadline(OTHER_MS)
    }

    /// Asks for what is known of one container; see [`parse_inspect`].
    pub fn inspect(&self, container: &str) -> CommandLine {
        // The whole answer is some 10 KiB, most of it what we have said ourselves.
        let log = match self.flavour {
            Flavour::Docker => r#""LogPath":{{json .LogPath}},"#,
            Flavour::Podman | Flavour::Nerdctl => "",
        };
        let format = format!(
            r#"{{"Id":{{{{json .ID}}}},"Image":{{{{json .Image}}}},"State":{{{{json .State}}}},{log}"StopSignal":{{{{json .Config.StopSignal}}}},"Labels":{{"id":{{{{json (index .Config.Labels "{ID_LABEL}")}}}},"run_dir":{{{{json (index .Config.Labels "{RUN_DIR_LABEL}")}}}},"generation":{{{{json (index .Config.Labels "{GENERATION_LABEL}")}}}},"log":{{{{json (index .Config.Labels "{LOG_LABEL}")}}}}}},"Networks":{{{{json .NetworkSettings.Networks}}}}}}"#
        );
        self.command()
            .args(["inspect", "--type", "container", "--format"])
            .arg(format)
            .arg("--")
            .arg(container)
            .deadline(OTHER_MS)
    }

    /// Asks for an image's user: `UID[:GID]`, a name, or nothing.
    pub fn image_user(&self, image: &str) -> CommandLine {
        self.command()
            .args(["image", "inspect", "--format", "{{.Config.User}}", "--", image])
            .deadline(OTHER_MS)
    }

    /// Kills a container, also one that is paused: on cgroup v1 a frozen process does not end by a signal of ours.
    pub fn kill(&self, container: &str) -> CommandLine {
        self.command().args(["kill", "--", container]).deadline(OTHER_MS)
    }

    /// Waits for a container's end.
    pub fn wait(&self, container: &str) -> CommandLine {
        let line = self.command().arg("wait");
        let line = match self.flavour {
            Flavour::Podman => line.args(["--interval", "20ms"]),
            Flavour::Docker | Flavour::Nerdctl => line,
        };
        line.args(["--", container]).deadline(OTHER_MS)
    }

    /// Sends containers their stop signals, and KILL after so many seconds; all at once.
    pub fn stop(&self, containers: &[&str], grace_seconds: u32) -> CommandLine {
        let deadline = u64::from(grace_seconds).saturating_mul(1000).saturating_add(OTHER_MS);
        self.command()
            .args(["stop", "--time"])
            .arg(grace_seconds.to_string())
            .arg("--")
            .args(containers)
            .deadline(deadline)
    }

    /// Kills what lives of containers and removes them with their nameless volumes.
    pub fn remove<'a>(&self, containers: impl IntoIterator<Item = &'a str>) -> CommandLine {
        self.command().args(["rm", "--force", "--volumes", "--"]).args(containers).deadline(DELETE_MS)
    }

    /// Makes an image of one layer from the tar on standard input.
    pub fn import(&self, image: &str) -> CommandLine {
        self.command()
            .args(["import", "--change", r#"ENTRYPOINT ["/podstrap", "pause"]"#, "-", image])
            .deadline(DELETE_MS)
    }
}

/// Who makes control groups, by the answer to [`Docker::info`].
pub fn parse_info(output: &str) -> CgroupDriver {
    if output.lines().any(|l| l.trim() == "systemd") { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs }
}

/// One container of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// docker's id of it.
    pub container: String,
    /// [`ID_LABEL`].
    pub id: String,
}

/// The answer to [`Docker::list`], of which at most [`LIST_BYTES`] are to be read. Warnings may stand among the lines.
pub fn parse_list(output: &str) -> Vec<Listed> {
    let is_id = |l: &str| l.len() >= 12 && l.bytes().all(|b| b.is_ascii_hexdigit());
    let parse = |line: &str| {
        let (container, id) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        is_id(container).then(|| Listed { container: container.to_owned(), id: id.trim().to_owned() })
    };
    output.lines().filter_map(parse).collect()
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// docker's id of it.
    pub id: String,
    /// The image's id.
    pub image: String,
    /// How it is.
    pub state: State,
    /// Where its log is.
    #[serde(default)]
    pub log_path: Option<String>,
    #[serde(default)]
    stop_signal: Value,
    /// Our labels.
    pub labels: Labels,
    #[serde(default)]
    networks: Value,
}

/// Our labels on a container; empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Labels {
    /// [`ID_LABEL`].
    pub id: String,
    /// [`RUN_DIR_LABEL`].
    pub run_dir: String,
    /// [`GENERATION_LABEL`].
    pub generation: String,
    /// [`LOG_LABEL`].
    #[serde(default)]
    pub log: String,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`; podman has `configured`, `stopped` too.
    pub status: String,
    /// The init's pid on the host; 0 when it does not run.
    pub pid: i32,
    /// 128 + signal for one that was killed.
    pub exit_code: i32,
    /// Killed by the kernel for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: String,
    /// RFC 3339; of the year 1 when it never was.
    pub started_at: String,
    /// RFC 3339; of the year 1 when it never was.
    pub finished_at: String,
}

impl State {
    /// Whether its processes may live.
    pub fn is_alive(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "restarting" | "stopping")
    }

    /// Whether it ran and is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "exited" | "dead" | "stopped" | "removing")
    }
}

impl Inspected {
    /// Its STOPSIGNAL: docker tells a name, podman a number.
    pub fn stop_signal(&self) -> Option<i32> {
        match &self.stop_signal {
            Value::String(name) => super::process::stop_signal(name),
            Value::Number(number) => number.as_i64().and_then(|n| i32::try_from(n).ok()),
            _ => None,
        }
    }

    /// Its addresses in docker's own networks.
    pub fn addresses(&self) -> Vec<std::net::IpAddr> {
        let Some(networks) = self.networks.as_object() else { return Vec::new() };
        let of = |network: &Value, field: &str| network.get(field)?.as_str()?.parse().ok();
        let all = networks.values().flat_map(|n| [of(n, "IPAddress"), of(n, "GlobalIPv6Address")]);
        all.flatten().collect()
    }

    /// The image's id in one form: podman leaves the algorithm out.
    pub fn image_id(&self) -> String {
        if self.image.contains(':') { self.image.clone() } else { format!("sha256:{}", self.image) }
    }
}

/// Parses the answer to [`Docker::inspect`]. Warnings may stand before it.
pub fn parse_inspect(output: &str) -> Option<Inspected> {
    output.lines().filter(|l| l.starts_with('{')).find_map(|l| serde_json::from_str(l).ok())
}

/// Whether docker has said that there is no such container.
pub fn is_missing(output: &str) -> bool {
    let lower = output.to_ascii_lowercase();
    lower.contains("no such container")
        || lower.contains("no such object")
        || lower.contains("no container with name or id")
}

/// Whether docker has said that it has no such image.
pub fn is_no_image(output: &str) -> bool {
    let lower = output.to_ascii_lowercase();
    lower.contains("no such image")
        || lower.contains("image not known")
        || lower.contains("unable to find image")
}

/// The id of the container that holds a name which was wanted, if that is what docker complains about: `… name "/x" is already
/// in use by container "ID"`, and without the word and the quotes from podman.
pub fn name_holder(output: &str) -> Option<&str> {
    let (_, holder) = output.split_once("\" is already in use by ")?;
    let holder = holder.strip_prefix("container ").unwrap_or(holder).trim_start_matches('"');
    holder.get(..64).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether docker's daemon does not answer.
pub fn is_unreachable(output: &str) -> bool {
    let lower = output.to_ascii_lowercase();
    [
        "cannot connect to the docker daemon",
        "error during connect",
        "is the docker daemon running",
        "connection refused",
        "unexpected eof",
    ]
    .iter()
    .any(|text| lower.contains(text))
}

/// What docker said went wrong, without the words that every complaint has; at most 2 KiB.
pub fn complaint(output: &str) -> String {
    let is_reason = |l: &&str| {
        !l.is_empty()
            && !["See '", "Run '", "WARNING"].iter().any(|word| l.starts_with(word))
            && !l.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let line = output.lines().map(str::trim).rfind(is_reason).unwrap_or("docker did not say why");
    if line.starts_with("template: ") {
        // `docker info` of a daemon that is about to begin or to end has none of the fields that were asked for.
        return "its daemon is starting or stopping".to_owned();
    }
    let mut text = line;
    for prefix in [
        "docker: ",
        "Error response from daemon: ",
        "Error: ",
        "failed to create task for container: ",
        "failed to create shim task: ",
        "failed to create shim: ",
        "OCI runtime create failed: ",
        "runc: ",
        "runc create failed: ",
        "unable to start container process: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = text.strip_suffix(": unknown.").or_else(|| text.strip_suffix(": unknown")).unwrap_or(text);
    super::runc::cut(text, 2048).to_owned()
}

/// The id label of a Pod's pause container.
pub fn pause_id(generation: &Generation) -> String {
    format!("{generation}-POD")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_the_run_of_each_container() {
        let id = "f11543a4fdec86efc8f78564c0d5cca942defaabe764ec26f78046df86ea4cbf";
        let text = format!("WARNING: something\n{id} 0123-web-0\n{id} 0123-POD\n{id} \n");
        let ids: Vec<String> = parse_list(&text).into_iter().map(|l| l.id).collect();
        assert_eq!(ids, ["0123-web-0", "0123-POD", ""]);
        assert!(parse_list(&text).iter().all(|l| l.container == id));
    }

    #[test]
    fn who_holds_a_name_is_told_and_nothing_else_that_is_in_use() {
        let id = "727f5a89349a42027d9c7d5529409562e34ff864a20493d1f14bc2509d515a37";
        let of_docker = format!(
            "docker: Error response from daemon: Conflict. The container name \"/xx\" is already in use by container \
             \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
        );
        let of_podman = format!(
            "Error: creating container storage: the container name \"x\" is already in use by {id}. You have to remove \
             that container to be able to reuse that name: that name is already in use"
        );
        assert_eq!(name_holder(&of_docker), Some(id));
        assert_eq!(name_holder(&of_podman), Some(id));
        let port = format!(
            "{id}\ndocker: Error response from daemon: driver failed programming external connectivity on endpoint yy \
             ({id}): Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use."
        );
        assert_eq!(name_holder(&port), None);
    }
}
