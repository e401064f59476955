//! A manifest all the way: bytes → Pods → what runc and docker are given.
//!
//! Whatever is accepted must become words and paths that mean what they say to a runtime: no zero byte, no option made of a
//! manifest's value, no path that is relative or leads upwards.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use podstrap::image::config::ImageConfig;
use podstrap::manifest::{Accepted, Context, Document, Limits, Runtime, from_canonical, read};
use podstrap::paths::{Roots, container_id};
use podstrap::pod::stop::{Member, order};
use podstrap::pod::{Container, Hook, NodeName, Pod, ProbeAction, Volume};
use podstrap::runtime::bundle::{self, Parts};
use podstrap::runtime::docker::pause::PauseParts;
use podstrap::runtime::docker::run::RunParts;
use podstrap::runtime::docker::{CgroupDriver, Docker, Flavour};
use podstrap::runtime::environment::{self, Facts};
use podstrap::runtime::runc::Runc;
use podstrap::runtime::user::User;
use podstrap::runtime::{Host, Source, etc, projection};
use serde_json::Value;

use super::{is_plain, is_shown, reference};

const RUN: &str = "/run/podstrap";

pub fn run(data: &[u8]) {
    for runtime in [Runtime::Runc, Runtime::Docker] {
        let node = NodeName::new("host1");
        let context = Context { node: &node, path: "f.yaml", limits: Limits::default(), runtime };
        let documents = read(data, &context);
        for document in &documents {
            look_at(document, &context);
        }
    }
}

fn look_at(document: &Document, context: &Context<'_>) {
    let problems = document.outcome.as_ref().err().into_iter().flatten().chain(&document.warnings);
    for problem in problems {
        let shown = problem.to_string();
        assert!(shown.lines().count() <= 4 && shown.lines().all(is_shown), "{shown:?}");
    }
    match &document.outcome {
        Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
        Ok(Accepted::Nothing) => {}
        Ok(Accepted::Set(set)) => assert!(!set.key.name.contains('/')),
        Ok(Accepted::Object(object)) => assert!(!object.reference.name.contains('/')),
        Ok(Accepted::Pod { pod, canonical }) => {
            // A later daemon, which has only the stored form, makes the same Pod of it.
            let stored: Value = serde_json::from_str(&canonical.to_string()).expect("JSON");
            let mut again = from_canonical(&stored, context).expect("what was accepted once");
            again.origin.document = document.number;
            assert!(again == **pod, "another Pod");
            // So does a monitor, which gets the Pod itself.
            let text = serde_json::to_string(pod).expect("a Pod is JSON");
            assert!(serde_json::from_str::<Pod>(&text).expect("a Pod") == **pod, "another Pod");
            check(pod);
        }
    }
}

/// Everything that an accepted Pod is turned into.
pub fn check(pod: &Pod) {
    let name = |text: &str| {
        assert!(!text.is_empty() && text.len() <= 253, "{text:?}");
        assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)));
        assert!(!text.starts_with(['-', '.']), "{text:?}");
    };
    name(pod.key.name.as_str());
    name(pod.key.namespace.as_str());
    assert!(pod.uid.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{:?}", pod.uid);
    assert_eq!(pod.generation.as_str().len(), 32);
    let roots = Roots { run: RUN.into(), state: "/var/lib/podstrap".into(), log: "/var/log/pods".into() };
    let logs = roots.pod_logs(pod);
    assert!(logs.starts_with("/var/log/pods") && logs.components().count() == 5, "{}", logs.display());
    let member =
        Member { key: &pod.key, priority: pod.priority(), origin: &pod.origin, depends_on: &pod.depends_on };
    assert_eq!(order(&[member]).len(), 1);
    volumes(pod);
    let cluster = etc::Cluster { dns: &["10.96.0.10".to_owned()], domain: "cluster.local" };
    let host_name = etc::host_name(pod, cluster).unwrap_or_else(|_| "h".to_owned());
    name(&host_name);
    let hosts = etc::hosts(pod, &[], "127.0.0.1 localhost\n", cluster);
    let _ = etc::resolver(pod, "nameserver 10.0.0.1\n", cluster);
    assert!(!hosts.contains('\0'));
    pause(pod, &host_name);
    for container in pod.all_containers() {
        name(container.name.as_str());
        reference::check(&container.image);
        commands(container);
        let (variables, _) = environment::own(pod, container, &Facts::default(), &BTreeMap::new())
            .unwrap_or_else(|_| (Vec::new(), Vec::new()));
        let given =
            Given { pod, container, variables, host_name: &host_name, sources: sources(pod, container) };
        given.to_runc();
        for flavour in [Flavour::Docker, Flavour::Podman, Flavour::Nerdctl] {
            given.to_docker(flavour);
        }
    }
}

fn volumes(pod: &Pod) {
    for volume in pod.volumes.values() {
        match volume {
            Volume::HostPath { path, .. } => assert!(is_plain(path), "{path:?}"),
            Volume::Projected { sources, default_mode } => {
                let (objects, facts) = (BTreeMap::new(), Facts::default());
                if let Ok(files) = projection::files(pod, sources, *default_mode, &objects, &facts) {
                    for (path, file) in files {
                        assert!(is_plain(&format!("/{path}")) && file.mode <= 0o777, "{path:?}");
                    }
                }
            }
            Volume::Image { reference, .. } => reference::check(reference),
            Volume::EmptyDir { .. } => {}
        }
    }
}

/// Where the mounts of a container come from, in their order.
fn sources(pod: &Pod, container: &Container) -> Vec<Source> {
    let of = |volume: &Volume| match volume {
        Volume::HostPath { path, .. } => PathBuf::from(path),
        Volume::EmptyDir { .. } | Volume::Projected { .. } | Volume::Image { .. } => "/s/v".into(),
    };
    let mounts = container.mounts.iter();
    mounts
        .map(|m| {
            let volume = pod.volumes.get(&m.volume).expect("a volume that the Pod has");
            Source { path: of(volume), ..Source::default() }
        })
        .collect()
}

fn no_zero(text: &str) {
    assert!(!text.contains('\0'), "{text:?}");
}

/// Commands of probes and hooks: they follow a `--`.
fn commands(container: &Container) {
    let probes = [&container.startup, &container.liveness, &container.readiness];
    let probes = probes.into_iter().flatten().map(|p| &p.action);
    let hooks = [&container.lifecycle.post_start, &container.lifecycle.pre_stop];
    let hooks = hooks.into_iter().flatten().filter_map(|hook| match hook {
        Hook::Call(action) => Some(action),
        Hook::Sleep(_) => None,
    });
    for action in probes.chain(hooks) {
        match action {
            ProbeAction::Exec { command } => {
                assert!(!command.is_empty());
                command.iter().for_each(|word| no_zero(word));
                let runc = Runc { binary: Path::new("/r"), root: Path::new("/x") };
                let id = podstrap::pod::ContainerId::new("id");
                let line = runc.exec(&id, command, None, false);
                let at = line.args.iter().position(|w| w == "--").expect("an end of options");
                let words: Vec<_> = line.args[at + 2..].iter().map(|w| w.to_str().expect("text")).collect();
                assert_eq!(words, *command);
            }
            ProbeAction::HttpGet { host, path, headers, .. } => {
                for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                    assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
                }
                assert!(!path.contains(['\r', '\n', '\0', ' ']), "{path:?}");
                no_zero(host.as_deref().unwrap_or_default());
            }
            ProbeAction::TcpSocket { host, .. } => no_zero(host.as_deref().unwrap_or_default()),
            ProbeAction::Grpc { service, .. } => no_zero(service),
        }
    }
}

struct Given<'a> {
    pod: &'a Pod,
    container: &'a Container,
    variables: Vec<(String, String)>,
    host_name: &'a str,
    sources: Vec<Source>,
}

fn host() -> Host {
    Host { capabilities: (1 << 41) - 1, open_files: 1024, memory: 1 << 30, kernel: (6, 1), ..Host::default() }
}

impl Given<'_> {
    fn to_runc(&self) {
        let id = container_id(&self.pod.generation, &self.container.name, 0);
        assert!(id.as_str().len() <= 64);
        let image = ImageConfig { entrypoint: vec!["/x".into()], ..ImageConfig::default() };
        let host = host();
        let parts = Parts {
            pod: self.pod,
            container: self.container,
            id: &id,
            image: &image,
            user: &User::default(),
            variables: &self.variables,
            host_name: self.host_name,
            sandbox: None,
            profile: Some(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#),
            sources: &self.sources,
            host: &host,
            cgroup_root: "podstrap",
        };
        // The host of this test has neither AppArmor nor SELinux.
        let Ok(made) = bundle::config(&parts) else { return };
        each_text(&made.config, &mut no_zero);
        let config = &made.config;
        assert!(is_plain(config["process"]["cwd"].as_str().expect("a directory")));
        for variable in config["process"]["env"].as_array().expect("variables") {
            let (name, _) = variable.as_str().and_then(|v| v.split_once('=')).expect("NAME=VALUE");
            assert!(!name.is_empty());
        }
        for mount in config["mounts"].as_array().expect("mounts") {
            let destination = mount["destination"].as_str().expect("a destination");
            assert!(is_plain(destination) && destination != "/", "{destination:?}");
            if mount["type"] == "bind" {
                assert!(is_plain(mount["source"].as_str().expect("a source")));
            }
        }
        let cgroup = config["linux"]["cgroupsPath"].as_str().expect("a cgroup");
        assert!(cgroup.starts_with("/podstrap/pod") && is_plain(cgroup));
    }

    fn to_docker(&self, flavour: Flavour) {
        let (pod, container) = (self.pod, self.container);
        let id = container_id(&pod.generation, &container.name, 0);
        let name = podstrap::runtime::docker::run::name(pod, container.name.as_str(), 0);
        let host = host();
        let parts = RunParts {
            pod,
            container,
            attempt: 0,
            id: &id,
            name: &name,
            run_dir: Path::new(RUN),
            pause: Some("abc"),
            user: None,
            is_root: true,
            variables: &self.variables,
            host_name: self.host_name,
            profile: Some(Path::new("/p.json")),
            sources: &self.sources,
            host: &host,
            processes: 100,
            cgroup_root: "podstrap",
            log: Path::new("/l"),
            log_max_bytes: 1,
            log_max_files: 1,
            id_file: Path::new("/i"),
            env_file: Path::new("/e"),
        };
        let cgroups = if flavour == Flavour::Podman { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
        let docker = Docker { flavour, cgroups, ..Docker::new(PathBuf::from("/d")) };
        let Ok(line) = docker.run(&parts, &container.image.full) else { return };
        let rest = options(&line.line.args);
        // The image, then the program's own words.
        assert_eq!(rest[0], container.image.full.as_str());
        for variable in line.env_file.lines() {
            assert!(variable.split_once('=').is_some_and(|(name, _)| !name.is_empty()), "{variable:?}");
        }
        // One line for each variable that is not given by name.
        let by_name = line.line.args.iter().filter(|w| *w == "--env").count();
        let tty = usize::from(container.tty && !self.variables.iter().any(|(n, _)| n == "TERM"));
        let host_name = usize::from(!self.variables.iter().any(|(n, _)| n == "HOSTNAME"));
        assert_eq!(line.env_file.lines().count() + by_name, self.variables.len() + tty + host_name);
        // No value is among the words (a short one may be by chance).
        for (_, value) in self.variables.iter().filter(|(_, v)| v.len() > 40 && !is_elsewhere(pod, v)) {
            assert!(
                line.line.args.iter().all(|w| !w.to_string_lossy().contains(value.as_str())),
                "{value:?}"
            );
        }
    }
}

/// A manifest may itself say in another place, where it is no secret, what a variable says.
fn is_elsewhere(pod: &Pod, value: &str) -> bool {
    let mut pod = pod.clone();
    for container in pod.containers.iter_mut().chain(&mut pod.init_containers) {
        // `$(NAME)` in a command puts it there on purpose.
        if container.command.iter().chain(&container.args).any(|w| w.contains("$(")) {
            return true;
        }
        container.env.clear();
    }
    format!("{pod:?}").contains(value.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
}

fn pause(pod: &Pod, host_name: &str) {
    let parts = PauseParts {
        name: "n",
        run_dir: Path::new(RUN),
        host_name,
        own_network: true,
        cgroup_root: "podstrap",
        open_files: 1024,
        processes: 100,
        oom_score_adj: 0,
        id_file: Path::new("/i"),
    };
    let line = Docker::new(PathBuf::from("/d")).run_pause(pod, &parts, "pause:1");
    assert_eq!(options(&line.args), ["pause:1", "pause", "container"]);
}

/// Options of `docker run` that stand alone; every other one has its value in a word of its own.
const ALONE: [&str; 7] =
    ["--detach", "--no-healthcheck", "--read-only", "--privileged", "--interactive", "--tty", "--init"];

/// Options that are given a value.
const VALUED: [&str; 29] = [
    "--pull",
    "--restart",
    "--name",
    "--cidfile",
    "--label",
    "--log-driver",
    "--log-opt",
    "--network",
    "--uts",
    "--ipc",
    "--pid",
    "--shm-size",
    "--user",
    "--group-add",
    "--security-opt",
    "--cap-add",
    "--cap-drop",
    "--cpu-shares",
    "--cpu-period",
    "--cpu-quota",
    "--memory",
    "--memory-swap",
    "--cgroup-parent",
    "--ulimit",
    "--oom-score-adj",
    "--mount",
    "--env-file",
    "--env",
    "--workdir",
];

/// Of a pause container, and of a manifest's command.
const VALUED_TOO: [&str; 4] = ["--entrypoint", "--hostname", "--publish", "--sysctl"];

/// Reads a `docker run` as docker does, and gives what stands after its options. A word that is no option of ours where
/// docker looks for one, and a value that docker would take apart in another way than we meant, is a panic.
fn options(words: &[impl AsRef<OsStr>]) -> Vec<String> {
    let words: Vec<&str> = words.iter().map(|w| w.as_ref().to_str().expect("text")).collect();
    words.iter().for_each(|w| no_zero(w));
    let mut rest = words.iter();
    assert_eq!(rest.next(), Some(&"run"));
    while let Some(word) = rest.next() {
        match *word {
            "--" => return rest.map(|w| (*w).to_owned()).collect(),
            word if ALONE.contains(&word) => {}
            word if VALUED.contains(&word) || VALUED_TOO.contains(&word) => {
                value(word, rest.next().expect("a value"));
            }
            word => panic!("{word:?} stands where an option is looked for"),
        }
    }
    panic!("nothing stands after the options")
}

fn value(option: &str, text: &str) {
    match option {
        "--mount" => {
            let fields = csv(text);
            let field = |name: &str| fields.iter().find_map(|f| f.strip_prefix(name)).expect("a field");
            assert_eq!(fields[0], "type=bind", "{text:?}");
            assert!(is_plain(field("source=")) && is_plain(field("target=")), "{text:?}");
            assert!(fields.len() <= 5, "{text:?}");
        }
        "--env" => assert!(!text.is_empty() && !text.contains('='), "{text:?}"),
        "--workdir" => assert!(is_plain(text), "{text:?}"),
        "--label" | "--log-opt" | "--sysctl" => {
            assert!(text.split_once('=').is_some_and(|(name, _)| !name.is_empty()), "{text:?}");
        }
        // docker's own words, or numbers: nothing of a manifest but what was validated.
        "--entrypoint" => {}
        _ => assert!(!text.is_empty() && !text.contains([' ', '\n']), "{option} {text:?}"),
    }
}

/// One record of CSV, as Go's encoding/csv reads it.
fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let field = fields.last_mut().expect("a field");
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' => {
                assert!(field.is_empty(), "a bare quote: {text:?}");
                quoted = true;
            }
            ',' if !quoted => fields.push(String::new()),
            '\n' | '\r' if !quoted => panic!("a bare line break: {text:?}"),
            c => field.push(c),
        }
    }
    assert!(!quoted, "{text:?}");
    fields
}

fn each_text(value: &Value, f: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => f(text),
        Value::Array(list) => list.iter().for_each(|v| each_text(v, f)),
        Value::Object(map) => map.iter().for_each(|(k, v)| {
            f(k);
            each_text(v, f);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
