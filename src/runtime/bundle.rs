//! config.json: the OCI runtime specification of one container, from the Pod, the image's configuration and the host's facts.
//!
//! Nothing that runc or the kernel would inherit from us is left unsaid: oom_score_adj and RLIMIT_NOFILE are always written.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::capabilities::{self, SYS_RESOURCE, UnknownCapability};
use super::labels::{self, LabelError};
use super::pod_group::PodGroup;
use super::profile::ProfileError;
use super::user::{self, User};
use super::{Host, Sandbox, Source, linux, mounts, process, resources};
use crate::image::config::ImageConfig;
use crate::pod::{Container, ContainerId, Pod};

/// What one container's configuration is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// This run's name for runc.
    pub id: &'a ContainerId,
    /// The image's configuration.
    pub image: &'a ImageConfig,
    /// As whom it runs.
    pub user: &'a User,
    /// The manifest's environment variables, resolved.
    pub variables: &'a [(String, String)],
    /// The name of the container's own host.
    pub host_name: &'a str,
    /// The Pod's own namespaces, where it has some that outlive its containers.
    pub sandbox: Option<&'a Sandbox>,
    /// The text of the profile that `seccompProfile.localhostProfile` names.
    pub profile: Option<&'a str>,
    /// Where each of the container's volume mounts comes from, in their order.
    pub sources: &'a [Source],
    /// The host.
    pub host: &'a Host,
    /// The parent of all Pod cgroups, without slashes at its ends.
    pub cgroup_root: &'a str,
}

/// A configuration, and what the host did not allow but the container can do without.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// config.json.
    pub config: Value,
    /// Lines for an operator.
    pub warnings: Vec<String>,
}

/// Why there can be no configuration.
#[derive(Debug)]
pub enum BundleError {
    /// Neither manifest nor image names a program.
    NoProgram,
    /// See [`UnknownCapability`].
    Capability(UnknownCapability),
    /// See [`LabelError`].
    Label(LabelError),
    /// The seccomp profile, and what is wrong with it.
    Profile(String, ProfileError),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram => f.write_str(
                "neither the manifest (command, args) nor the image (ENTRYPOINT, CMD) names a program",
            ),
            Self::Capability(e) => e.fmt(f),
            Self::Label(e) => e.fmt(f),
            Self::Profile(path, e) => write!(f, "seccompProfile.localhostProfile {path:?}: {e}"),
        }
    }
}

impl std::error::Error for BundleError {}

/// The cgroup of one run of a container, relative to the root of every hierarchy: below its Pod's.
pub fn container_cgroup(cgroup_root: &str, pod: &Pod, id: &ContainerId) -> PathBuf {
    PodGroup::of(cgroup_root, &pod.generation, None).path().join(id.as_str())
}

/// The configuration of one container.
pub fn config(parts: &Parts<'_>) -> Result<Bundle, BundleError> {
    let Parts { pod, container, host, .. } = *parts;
    let mut warnings = Vec::new();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process(parts, &mut warnings)?,
        "root": { "path": "rootfs", "readonly": container.read_only_root },
        "mounts": mounts::mounts(pod, container, parts.sources, &host.files),
        "annotations": {
            "io.kubernetes.pod.namespace": pod.key.namespace.as_str(),
            "io.kubernetes.pod.name": pod.key.name.as_str(),
            "io.kubernetes.pod.uid": pod.uid.as_str(),
            "io.kubernetes.container.name": container.name.as_str(),
        },
        "linux": linux::linux(parts)?,
    });
    if !pod.host_network {
        set(&mut config, "hostname", json!(parts.host_name));
    }
    Ok(Bundle { config, warnings })
}

fn process(parts: &Parts<'_>, warnings: &mut Vec<String>) -> Result<Value, BundleError> {
    let Parts { pod, container, image, host, user, .. } = *parts;
    let argv = process::argv(container, image, parts.variables);
    if argv.is_empty() {
        return Err(BundleError::NoProgram);
    }
    let (given, refused) = capabilities::of(container, host.capabilities).map_err(BundleError::Capability)?;
    if !refused.names().is_empty() {
        warnings.push(format!("{} cannot be given: the host does not have it", refused.names().join(", ")));
    }
    let names = given.names();
    // A user other than root gets nothing by default but may gain what the bounding set leaves, as execve has it.
    let effective = if user.uid == 0 { names.clone() } else { Vec::new() };
    let privileged_host = host.capabilities & (1 << SYS_RESOURCE) != 0;
    let wanted = resources::oom_score_adj(pod, container, host.memory);
    let score = if privileged_host { wanted } else { wanted.max(host.oom_score_adj) };
    if score != wanted {
        warnings.push(format!(
            "oom_score_adj {wanted} is not allowed here (no CAP_SYS_RESOURCE): running with {score}"
        ));
    }
    // More than the kernel's default fs.nr_open would be refused; without the capability our own limit is the end.
    let files = if privileged_host { NR_OPEN } else { host.open_files.min(NR_OPEN) };
    let mut process = json!({
        "terminal": container.tty,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": argv,
        "env": process::environment(container, image, parts.variables, parts.host_name),
        "cwd": process::working_directory(container, image),
        "capabilities": { "bounding": names, "effective": effective, "permitted": effective },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": files, "hard": files }],
        "noNewPrivileges": !container.allow_privilege_escalation,
        "oomScoreAdj": score,
    });
    if !container.privileged {
        let security = user::security(pod, container);
        if let Some(profile) = labels::app_armor(&security, host).map_err(BundleError::Label)? {
            set(&mut process, "apparmorProfile", json!(profile));
        }
        if let Some((label, _)) = labels::selinux(&security, host).map_err(BundleError::Label)? {
            set(&mut process, "selinuxLabel", json!(label));
        }
    }
    Ok(process)
}

/// The kernel's default of fs.nr_open.
const NR_OPEN: u64 = 1 << 20;

/// Adds one member.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pod::quantity::{Bytes, MilliCpu};
    use crate::pod::reference::Reference;
    use crate::pod::*;

    pub(crate) fn container() -> Container {
        let image = Reference { given: "box".into(), full: "docker.io/library/box:latest".into() };
        Container { command: vec!["sh".into()], ..Container::new(ContainerName::new("c"), image) }
    }

    pub(crate) fn pod() -> Pod {
        let key = PodKey { namespace: Namespace::new("ns"), name: PodName::new("p-host1") };
        let generation = Generation::new("0123456789abcdef0123456789abcdef");
        Pod {
            uid: Uid::new("u1"),
            host_network: false,
            ..Pod::new(key, generation, NodeName::new("host1"), vec![container()])
        }
    }

    fn made(pod: &Pod, host: &Host) -> Bundle {
        let (id, image) = (ContainerId::new("g-c-0"), ImageConfig::default());
        config(&Parts {
            pod,
            container: &pod.containers[0],
            id: &id,
            image: &image,
            user: &User::default(),
            variables: &[],
            host_name: "p-host1",
            sandbox: None,
            profile: None,
            sources: &[],
            host,
            cgroup_root: "podstrap",
        })
        .unwrap()
    }

    fn kinds(config: &Value) -> Vec<&str> {
        config["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].as_str().unwrap())
            .collect()
    }

    const FULL: Host = Host {
        capabilities: (1 << 41) - 1,
        open_files: 4096,
        oom_score_adj: 0,
        memory: 1 << 30,
        cgroup_v2: false,
        files: super::super::HostFiles {
            hosts: None,
            hostname: None,
            resolv_conf: None,
            termination_message: None,
            shm: None,
        },
        devices: Vec::new(),
        page_sizes: Vec::new(),
        app_armor: None,
        selinux: false,
        kernel: (6, 1),
    };

    #[test]
    fn the_shape_of_a_plain_container() {
        let Bundle { config, warnings } = made(&pod(), &FULL);
        assert!(warnings.is_empty());
        assert_eq!(kinds(&config), ["mount", "pid", "network", "ipc", "uts"]);
        assert_eq!(config["hostname"], "p-host1");
        assert_eq!(config["linux"]["cgroupsPath"], "/podstrap/pod0123456789abcdef0123456789abcdef/g-c-0");
        assert_eq!(config["process"]["oomScoreAdj"], 1000);
        assert_eq!(config["process"]["rlimits"][0]["hard"], NR_OPEN);
        assert_eq!(config["process"]["cwd"], "/");
        assert_eq!(config["process"]["capabilities"]["inheritable"], Value::Null);
        assert_eq!(config["linux"]["seccomp"], Value::Null);
        assert_eq!(config["linux"]["resources"]["cpu"], json!({ "shares": 2 }));
    }

    #[test]
    fn host_namespaces_limits_and_seccomp() {
        let mut pod = pod();
        (pod.host_network, pod.host_pid, pod.host_ipc) = (true, true, true);
        pod.security.seccomp = Some(Seccomp::RuntimeDefault);
        pod.priority_class = Some("system-node-critical".into());
        pod.containers[0].resources = Resources {
            cpu_request: Some(MilliCpu(100)),
            cpu_limit: Some(MilliCpu(200)),
            memory_request: None,
            memory_limit: Some(Bytes(1 << 20)),
            ..Resources::default()
        };
        let host = Host { cgroup_v2: true, capabilities: FULL.capabilities & !(1 << SYS_RESOURCE), ..FULL };
        let Bundle { config, warnings } = made(&pod, &host);
        assert_eq!(kinds(&config), ["mount", "cgroup"]);
        assert_eq!(config["hostname"], Value::Null);
        assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(config["process"]["oomScoreAdj"], 0);
        assert_eq!(config["process"]["rlimits"][0]["soft"], 4096);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let resources = &config["linux"]["resources"];
        assert_eq!(resources["cpu"], json!({ "shares": 102, "quota": 20_000, "period": 100_000 }));
        assert_eq!(resources["memory"], json!({ "limit": 1 << 20, "swap": 1 << 20 }));
        assert_eq!(resources["unified"]["memory.oom.group"], "1");
        // A container's own word wins over the Pod's, and privileged ones have no filter at all.
        pod.containers[0].security.seccomp = Some(Seccomp::Unconfined);
        assert_eq!(made(&pod, &host).config["linux"]["seccomp"], Value::Null);
        pod.containers[0].security.seccomp = None;
        pod.containers[0].privileged = true;
        let config = made(&pod, &host).config;
        assert_eq!(config["linux"]["seccomp"], Value::Null);
        assert_eq!(config["linux"]["maskedPaths"], Value::Null);
        assert_eq!(config["linux"]["resources"]["devices"][0]["allow"], true);
    }

    #[test]
    fn users_other_than_root_start_without_capabilities() {
        let pod = pod();
        let (id, image) = (ContainerId::new("i"), ImageConfig::default());
        let user = User { uid: 5, gid: 6, groups: vec![6] };
        let plain = container();
        let parts = Parts {
            pod: &pod,
            container: &plain,
            id: &id,
            image: &image,
            user: &user,
            variables: &[],
            host_name: "h",
            sandbox: None,
            profile: None,
            sources: &[],
            host: &FULL,
            cgroup_root: "r",
        };
        let process = &config(&parts).unwrap().config["process"];
        assert_eq!(process["capabilities"]["effective"], json!([]));
        assert_eq!(process["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert_eq!(process["user"], json!({ "uid": 5, "gid": 6, "additionalGids": [6] }));
        let empty = Container { command: vec![], ..plain.clone() };
        let parts = Parts { container: &empty, ..parts };
        assert!(matches!(config(&parts), Err(BundleError::NoProgram)));
    }

    #[test]
    fn shared_namespaces_sysctls_masks_and_profiles() {
        let mut pod = pod();
        pod.sysctls = vec![("net.ipv4.tcp_fin_timeout".into(), "5".into())];
        pod.share_process_namespace = true;
        pod.containers[0].proc_unmasked = true;
        pod.containers[0].tty = true;
        pod.containers[0].security.seccomp = Some(Seccomp::Localhost("a.json".into()));
        let at = |name: &str| Some(PathBuf::from(format!("/ns/{name}")));
        let sandbox = Sandbox { net: at("net"), ipc: at("ipc"), pid: at("pid"), ..Sandbox::default() };
        let (id, image, user) = (ContainerId::new("i"), ImageConfig::default(), User::default());
        let parts = Parts {
            pod: &pod,
            container: &pod.containers[0],
            id: &id,
            image: &image,
            user: &user,
            variables: &[],
            host_name: "h",
            sandbox: Some(&sandbox),
            profile: Some(r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#),
            sources: &[],
            host: &FULL,
            cgroup_root: "r",
        };
        let made = config(&parts).unwrap().config;
        let namespaces = &made["linux"]["namespaces"];
        assert_eq!(namespaces[1], json!({ "type": "pid", "path": "/ns/pid" }));
        assert_eq!(namespaces[2], json!({ "type": "network", "path": "/ns/net" }));
        assert_eq!(namespaces[3], json!({ "type": "ipc", "path": "/ns/ipc" }));
        assert_eq!(namespaces[4], json!({ "type": "uts" }));
        assert_eq!(made["linux"]["sysctl"]["net.ipv4.tcp_fin_timeout"], "5");
        assert_eq!(made["linux"]["maskedPaths"], Value::Null);
        assert_eq!(made["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
        assert_eq!(made["process"]["terminal"], true);
        let broken = Parts { profile: Some("{"), ..parts };
        assert!(config(&broken).unwrap_err().to_string().contains("\"a.json\": not a seccomp profile"));
    }
}
