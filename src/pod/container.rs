//! One container of a Pod: its program, surroundings, mounts, limits, hooks and probes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quantity::{Bytes, MilliCpu};
use super::reference::Reference;
use super::{ContainerName, FieldRef, ObjectRef, RestartPolicy, Security, VolumeName};

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: ContainerName,
    /// The image, normalised.
    pub image: Reference,
    /// When to pull.
    pub pull_policy: PullPolicy,
    /// An init container with `restartPolicy: Always`: it runs beside the others, from its turn on to the Pod's end.
    pub sidecar: bool,
    /// The container's own `restartPolicy`, where it is no sidecar.
    pub restart: Option<RestartPolicy>,
    /// `restartPolicyRules`: the first that fits an exit decides, before the policy does.
    pub restart_rules: Vec<RestartRule>,
    /// `lifecycle`.
    pub lifecycle: Lifecycle,
    /// `stdin`: standard input is an open pipe, not /dev/null.
    pub stdin: bool,
    /// `tty`.
    pub tty: bool,
    /// `terminationMessagePath`.
    pub termination_message_path: String,
    /// `terminationMessagePolicy: FallbackToLogsOnError`.
    pub termination_message_from_logs: bool,
    /// Replaces the image's ENTRYPOINT when not empty; the image's CMD is then dropped. `$(VAR)` not yet expanded.
    pub command: Vec<String>,
    /// Replaces the image's CMD when not empty. `$(VAR)` not yet expanded.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// `envFrom`, in order; comes before `env`.
    pub env_from: Vec<EnvFrom>,
    /// In the manifest's order; a later one of the same name wins. `$(VAR)` not yet expanded.
    pub env: Vec<EnvVar>,
    /// Named and numbered ports.
    pub ports: Vec<Port>,
    /// cpu, memory, …
    pub resources: Resources,
    /// Where volumes appear.
    pub mounts: Vec<Mount>,
    /// `livenessProbe`.
    pub liveness: Option<Probe>,
    /// `readinessProbe`.
    pub readiness: Option<Probe>,
    /// `startupProbe`.
    pub startup: Option<Probe>,
    /// The container's own security context.
    pub security: Security,
    /// `privileged`.
    pub privileged: bool,
    /// `allowPrivilegeEscalation`, true when not set (then `no_new_privs` is off, as under the kubelet).
    pub allow_privilege_escalation: bool,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `capabilities.add`, as the manifest has them (without `CAP_`, or `ALL`).
    pub cap_add: Vec<String>,
    /// `capabilities.drop`.
    pub cap_drop: Vec<String>,
    /// `procMount: Unmasked`.
    pub proc_unmasked: bool,
}

impl Container {
    /// A container of which the manifest says nothing but this: Kubernetes' defaults for all the rest.
    pub fn new(name: ContainerName, image: Reference) -> Self {
        Self {
            name,
            image,
            pull_policy: PullPolicy::IfNotPresent,
            sidecar: false,
            restart: None,
            restart_rules: Vec::new(),
            lifecycle: Lifecycle::default(),
            stdin: false,
            tty: false,
            termination_message_path: "/dev/termination-log".to_owned(),
            termination_message_from_logs: false,
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env_from: Vec::new(),
            env: Vec::new(),
            ports: Vec::new(),
            resources: Resources::default(),
            mounts: Vec::new(),
            liveness: None,
            readiness: None,
            startup: None,
            security: Security::default(),
            privileged: false,
            allow_privilege_escalation: true,
            read_only_root: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            proc_unmasked: false,
        }
    }
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When it is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// Where the value of an environment variable comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvValue {
    /// The manifest; `$(VAR)` not yet expanded.
    Text(String),
    /// The Pod's own fields.
    Field(FieldRef),
    /// One key of a ConfigMap or Secret.
    Key {
        /// Which object.
        object: ObjectRef,
        /// Which key.
        key: String,
        /// A missing object or key leaves the variable out.
        optional: bool,
    },
}

/// One entry of `envFrom`: every key becomes a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFrom {
    /// Put before each key.
    pub prefix: String,
    /// Which object.
    pub object: ObjectRef,
    /// A missing object is no error.
    pub optional: bool,
}

/// `lifecycle`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Runs right after the start; the next container waits for it, and its failure kills the container.
    pub post_start: Option<Hook>,
    /// Runs before the stop signal, within the grace period.
    pub pre_stop: Option<Hook>,
    /// `stopSignal`: the number of the signal that replaces the image's.
    pub stop_signal: Option<i32>,
}

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// Runs a command in the container, or asks a server, as a probe would (never `TcpSocket` or `Grpc`).
    Call(ProbeAction),
    /// Waits for so many seconds.
    Sleep(u32),
}

/// One entry of `restartPolicyRules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRule {
    /// What is done.
    pub action: RestartAction,
    /// `In` or, if true, `NotIn`.
    pub not_in: bool,
    /// The exit codes.
    pub exit_codes: Vec<i32>,
}

/// What a restart rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartAction {
    /// The container is started again.
    Restart,
    /// Every container of the Pod is, init containers included.
    RestartAllContainers,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// An IANA service name by which probes may call it.
    pub name: Option<String>,
    /// The port inside the container.
    pub container_port: u16,
    /// The port on the host; under hostNetwork it equals `container_port`.
    pub host_port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The host's address to bind to.
    pub host_ip: Option<String>,
}

/// Requests and limits of one container; a missing request has been taken from its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// `requests.cpu`.
    pub cpu_request: Option<MilliCpu>,
    /// `limits.cpu`.
    pub cpu_limit: Option<MilliCpu>,
    /// `requests.memory`.
    pub memory_request: Option<Bytes>,
    /// `limits.memory`.
    pub memory_limit: Option<Bytes>,
    /// `limits.hugepages-SIZE`: page size in bytes → bytes.
    pub huge_pages: BTreeMap<u64, Bytes>,
    /// `limits.ephemeral-storage`, for `resourceFieldRef` only.
    pub ephemeral_storage_limit: Option<Bytes>,
    /// `requests.ephemeral-storage`, for `resourceFieldRef` only.
    pub ephemeral_storage_request: Option<Bytes>,
}

impl Resources {
    /// Whether any cpu or memory is asked for.
    pub(super) fn asks(&self) -> bool {
        [self.cpu_request, self.cpu_limit].iter().flatten().any(|q| q.0 > 0)
            || [self.memory_request, self.memory_limit].iter().flatten().any(|q| q.0 > 0)
    }
}

/// One entry of `volumeMounts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume.
    pub volume: VolumeName,
    /// Absolute, clean path in the container.
    pub path: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// `recursiveReadOnly: Enabled` (or `IfPossible` where it is possible): what is mounted below is read-only too.
    pub recursive_read_only: bool,
    /// `mountPropagation`.
    pub propagation: Propagation,
    /// Only this part of the volume.
    pub sub_path: Option<SubPath>,
}

/// `subPath` or `subPathExpr`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubPath {
    /// Relative, without `..`.
    Plain(String),
    /// The same after `$(VAR)` has been expanded from the container's environment.
    Expression(String),
}

/// `mountPropagation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `None`: private.
    Private,
    /// `HostToContainer`: rslave.
    HostToContainer,
    /// `Bidirectional`: rshared.
    Bidirectional,
}

/// One probe; all times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub action: ProbeAction,
    /// From the container's start to the first try.
    pub initial_delay: u32,
    /// A try that takes longer has failed. At least 1.
    pub timeout: u32,
    /// From try to try. At least 1.
    pub period: u32,
    /// Successes in a row that make it good. At least 1.
    pub success_threshold: u32,
    /// Failures in a row that make it bad. At least 1.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds` of this probe: replaces the Pod's when this probe stops the container.
    pub grace_seconds: Option<u32>,
}

/// What a probe asks. Ports are numbers: named ones were looked up, an unknown name refused the Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeAction {
    /// GET; 200–399 is good.
    HttpGet {
        /// Where to connect; `None` is the Pod's own address (the host's loopback under hostNetwork).
        host: Option<String>,
        /// TCP port.
        port: u16,
        /// Path and query, as given.
        path: String,
        /// HTTPS; the certificate is not verified.
        https: bool,
        /// Extra headers, in order.
        headers: Vec<(String, String)>,
    },
    /// Connecting is good.
    TcpSocket {
        /// As for `HttpGet`.
        host: Option<String>,
        /// TCP port.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`; SERVING is good.
    Grpc {
        /// TCP port at the Pod's own address.
        port: u16,
        /// The service's name; empty: the server as a whole.
        service: String,
    },
    /// Exit code 0 inside the container is good.
    Exec {
        /// Argument vector, run without a shell. Never empty.
        command: Vec<String>,
    },
}
