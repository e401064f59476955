//! What a Pod is once it has been validated: every default filled in, every name checked, every unit fixed.
//!
//! The types here are shared by all rooms of the house: `manifest` makes them, `core` decides over them, `runtime` and
//! `monitor` carry them out. After `manifest` nobody looks at YAML again. Nothing here reads a clock, a file or a
//! process. Each id is a type of its own, so that a Pod's name cannot be passed where its namespace is meant.

pub mod objects;
pub mod quantity;
pub mod reference;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use self::quantity::{Bytes, MilliCpu};
use self::reference::Reference;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that has been validated already (by `manifest`, or when it was first written to disk).
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_id! {
    /// A DNS-1123 label: the namespace of a Pod.
    Namespace
}
text_id! {
    /// A DNS-1123 subdomain: the name of a Pod with the node's name appended (`etcd-host1`).
    PodName
}
text_id! {
    /// A DNS-1123 label: the name of a container, unique in its Pod.
    ContainerName
}
text_id! {
    /// A DNS-1123 label: the name of a volume, unique in its Pod.
    VolumeName
}
text_id! {
    /// The name of this node, in lower case.
    NodeName
}
text_id! {
    /// What `metadata.uid` shows: the manifest's own value, or else the generation. Safe as one path component.
    Uid
}
text_id! {
    /// One validated version of a Pod: 32 hex digits of the SHA-256 over the canonical input document and the node name.
    /// Comments, key order, file names and our own defaults do not enter, so an upgrade of podstrap restarts nothing.
    Generation
}
text_id! {
    /// The name of one run of one container as the runtime knows it: `[a-z0-9-]{1,64}`, never reused.
    ContainerId
}

/// The identity of a Pod: one namespace and name, whatever file it came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// The namespace, `default` when the manifest names none.
    pub namespace: Namespace,
    /// The name with the node's suffix.
    pub name: PodName,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a Pod was read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, escaped for display (a file name may be any bytes).
    pub path: String,
    /// The document's place in the file, from 1.
    pub document: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.document > 1 { write!(f, " (document {})", self.document) } else { Ok(()) }
    }
}

/// A validated Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and suffixed name.
    pub key: PodKey,
    /// What `metadata.uid` shows, and the log directory's name carries.
    pub uid: Uid,
    /// Which version of the Pod this is.
    pub generation: Generation,
    /// The file and document.
    pub origin: Origin,
    /// `spec.nodeName`: this node.
    pub node: NodeName,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`, with `kubernetes.io/config.hash` and `.source` filled in (`.seen` is added when published).
    pub annotations: BTreeMap<String, String>,
    /// When containers are started again.
    pub restart_policy: RestartPolicy,
    /// Seconds between TERM and KILL, at least 1 (the kubelet raises 0 to 1).
    pub grace_seconds: u32,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.hostPID`.
    pub host_pid: bool,
    /// `spec.hostIPC`.
    pub host_ipc: bool,
    /// `spec.shareProcessNamespace`: the containers see each other's processes.
    pub share_process_namespace: bool,
    /// `spec.hostUsers`: false gives the Pod a user namespace of its own.
    pub host_users: bool,
    /// `spec.hostname`, if given.
    pub hostname: Option<String>,
    /// `spec.subdomain`, if given.
    pub subdomain: Option<String>,
    /// `spec.setHostnameAsFQDN`: the host name is the full one.
    pub fqdn_as_hostname: bool,
    /// `spec.hostAliases`: further lines of /etc/hosts.
    pub host_aliases: Vec<HostAlias>,
    /// `spec.dnsPolicy` and `spec.dnsConfig`.
    pub dns: Dns,
    /// `spec.activeDeadlineSeconds`: the Pod fails when it has been active for so many seconds.
    pub active_deadline_seconds: Option<u32>,
    /// `spec.priorityClassName`; `system-node-critical` gives the containers oom_score_adj −997.
    pub priority_class: Option<String>,
    /// `spec.priority`.
    pub priority: Option<i32>,
    /// The Pod's own security context; a container's wins where both speak.
    pub security: Security,
    /// `securityContext.supplementalGroups`.
    pub supplemental_groups: Vec<u32>,
    /// `securityContext.supplementalGroupsPolicy: Strict`: the image's own groups of the user do not count.
    pub strict_supplemental_groups: bool,
    /// `securityContext.fsGroup`: a further group of every container, and the owner of what is in the Pod's own volumes.
    pub fs_group: Option<u32>,
    /// `securityContext.fsGroupChangePolicy: OnRootMismatch`.
    pub fs_group_on_root_mismatch: bool,
    /// `securityContext.sysctls`, in order.
    pub sysctls: Vec<(String, String)>,
    /// `spec.resources`: requests and limits of the Pod as a whole.
    pub resources: Option<Resources>,
    /// Volumes by name.
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// `spec.initContainers` in their order, native sidecars ([`Container::sidecar`]) among them.
    pub init_containers: Vec<Container>,
    /// The containers in the manifest's order. Never empty.
    pub containers: Vec<Container>,
}

impl Pod {
    /// A Pod of which the manifest says nothing but this and hostNetwork: Kubernetes' defaults for all the rest.
    pub fn new(key: PodKey, generation: Generation, node: NodeName, containers: Vec<Container>) -> Self {
        Self {
            key,
            uid: Uid::new(generation.as_str()),
            generation,
            origin: Origin { path: String::new(), document: 1 },
            node,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            restart_policy: RestartPolicy::Always,
            grace_seconds: 30,
            host_network: true,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            host_users: true,
            hostname: None,
            subdomain: None,
            fqdn_as_hostname: false,
            host_aliases: Vec::new(),
            dns: Dns::default(),
            active_deadline_seconds: None,
            priority_class: None,
            priority: None,
            security: Security::default(),
            supplemental_groups: Vec::new(),
            strict_supplemental_groups: false,
            fs_group: None,
            fs_group_on_root_mismatch: false,
            sysctls: Vec::new(),
            resources: None,
            volumes: BTreeMap::new(),
            init_containers: Vec::new(),
            containers,
        }
    }

    /// The container of that name.
    pub fn container(&self, name: &ContainerName) -> Option<&Container> {
        self.all_containers().find(|c| c.name == *name)
    }

    /// Every container: the init containers in their order, then the others in theirs.
    pub fn all_containers(&self) -> impl DoubleEndedIterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// Whether the Pod needs namespaces of its own that outlive its containers: network, IPC, UTS, perhaps processes.
    pub fn needs_sandbox(&self) -> bool {
        !self.host_network || self.share_process_namespace
    }

    /// The quality of service class that Kubernetes derives from requests and limits
    /// (<https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>).
    pub fn qos(&self) -> Qos {
        let mut best_effort = true;
        let mut guaranteed = true;
        // What the Pod says for itself counts alone.
        let own = self.resources.as_ref().filter(|r| {
            [r.cpu_request, r.cpu_limit].iter().any(Option::is_some)
                || [r.memory_request, r.memory_limit].iter().any(Option::is_some)
        });
        let of_containers = self.all_containers().map(|c| &c.resources).filter(|_| own.is_none());
        for r in own.into_iter().chain(of_containers) {
            if [r.cpu_request, r.cpu_limit].iter().flatten().any(|q| q.0 > 0)
                || [r.memory_request, r.memory_limit].iter().flatten().any(|q| q.0 > 0)
            {
                best_effort = false;
            }
            let cpu = r.cpu_limit.is_some_and(|l| l.0 > 0 && r.cpu_request == Some(l));
            let memory = r.memory_limit.is_some_and(|l| l.0 > 0 && r.memory_request == Some(l));
            guaranteed &= cpu && memory;
        }
        if best_effort {
            Qos::BestEffort
        } else if guaranteed {
            Qos::Guaranteed
        } else {
            Qos::Burstable
        }
    }
}

/// Quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qos {
    /// Every container has cpu and memory limits equal to its requests.
    Guaranteed,
    /// Something in between.
    Burstable,
    /// No container asks for anything.
    BestEffort,
}

impl Qos {
    /// The name as `status.qosClass` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// After any exit.
    Always,
    /// After an exit that is not 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// One entry of `spec.hostAliases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// `spec.dnsPolicy` and `spec.dnsConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The policy.
    pub policy: DnsPolicy,
    /// `dnsConfig.nameservers`.
    pub nameservers: Vec<String>,
    /// `dnsConfig.searches`.
    pub searches: Vec<String>,
    /// `dnsConfig.options`: name and, perhaps, value.
    pub options: Vec<(String, Option<String>)>,
}

/// `spec.dnsPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsPolicy {
    /// The host's resolv.conf.
    Default,
    /// The cluster's name servers where they are known, else as `Default`.
    #[default]
    ClusterFirst,
    /// The same, under hostNetwork too.
    ClusterFirstWithHostNet,
    /// Only what dnsConfig says.
    None,
}

/// The part of the security contexts that Pod and container share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `seccompProfile`.
    pub seccomp: Option<Seccomp>,
    /// `runAsUser`.
    pub run_as_user: Option<u32>,
    /// `runAsGroup`.
    pub run_as_group: Option<u32>,
    /// `runAsNonRoot`: refuse to start as user 0.
    pub run_as_non_root: Option<bool>,
    /// `appArmorProfile`.
    pub app_armor: Option<AppArmor>,
    /// `seLinuxOptions`.
    pub selinux: Option<SeLinux>,
}

/// `appArmorProfile.type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppArmor {
    /// No profile.
    Unconfined,
    /// The runtime's profile.
    RuntimeDefault,
    /// A profile that is loaded on the host.
    Localhost(String),
}

/// `seLinuxOptions`; what is empty is the host's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeLinux {
    /// `user`
    pub user: String,
    /// `role`
    pub role: String,
    /// `type`
    pub kind: String,
    /// `level`
    pub level: String,
}

/// `seccompProfile.type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// No filter.
    Unconfined,
    /// The allow-list that comes with podstrap.
    RuntimeDefault,
    /// A profile file: this path below the state directory's `seccomp`.
    Localhost(String),
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volume {
    /// A path of the host.
    HostPath {
        /// Absolute, without `..`.
        path: String,
        /// What must be there, or is made.
        kind: HostPathType,
    },
    /// A directory of its own, mode 0777, that lives as long as the Pod's generation.
    EmptyDir {
        /// On the disk, or in memory.
        medium: Medium,
        /// `sizeLimit`.
        size_limit: Option<Bytes>,
    },
    /// Files made of the Pod's own fields, and of ConfigMap and Secret documents of the same source: `downwardAPI`,
    /// `configMap`, `secret` and `projected` are all of this kind.
    Projected {
        /// What is projected, in order; a later file of the same path wins.
        sources: Vec<ProjectedSource>,
        /// `defaultMode`.
        default_mode: u32,
    },
    /// The files of an image, read-only.
    Image {
        /// The image.
        reference: Reference,
        /// When to pull.
        pull_policy: PullPolicy,
    },
}

/// `emptyDir.medium`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Medium {
    /// `""`: the state directory's disk.
    Disk,
    /// `Memory`: a tmpfs.
    Memory,
    /// `HugePages` or `HugePages-SIZE`: a hugetlbfs with pages of this many bytes (0: the host's default).
    HugePages(u64),
}

/// One source of a projected volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProjectedSource {
    /// Fields of the Pod.
    DownwardApi(Vec<DownwardFile>),
    /// Keys of a ConfigMap or Secret.
    Object {
        /// Which.
        object: ObjectRef,
        /// Which keys go where; empty: every key under its own name.
        items: Vec<KeyToPath>,
        /// A missing object or key is no error.
        optional: bool,
    },
}

/// One file of a downwardAPI source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownwardFile {
    /// Relative to the volume, without `..`.
    pub path: String,
    /// What it says.
    pub field: FieldRef,
    /// Its own mode.
    pub mode: Option<u32>,
}

/// One entry of `items`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// Relative to the volume, without `..`.
    pub path: String,
    /// Its own mode.
    pub mode: Option<u32>,
}

/// A ConfigMap or Secret of the Pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Which kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

/// The kinds of objects that hold data for Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// ConfigMap
    ConfigMap,
    /// Secret
    Secret,
}

/// A value that the Pod's own fields give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldRef {
    /// `metadata.name`, with the node's suffix.
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `metadata.uid`
    Uid,
    /// `metadata.labels` as lines (volumes only).
    Labels,
    /// `metadata.annotations` as lines (volumes only).
    Annotations,
    /// `metadata.labels['KEY']`
    Label(String),
    /// `metadata.annotations['KEY']`
    Annotation(String),
    /// `spec.nodeName`
    NodeName,
    /// `spec.serviceAccountName`: always empty here.
    ServiceAccountName,
    /// `status.hostIP`
    HostIp,
    /// `status.hostIPs`
    HostIps,
    /// `status.podIP`
    PodIp,
    /// `status.podIPs`
    PodIps,
    /// `resourceFieldRef`
    Resource {
        /// Whose; in env `None` is the container itself.
        container: Option<ContainerName>,
        /// `limits.cpu`, `requests.memory` …
        resource: String,
        /// In thousandths of the unit (cores or bytes); the value is divided by it and rounded up.
        divisor_milli: u64,
    },
}

/// `hostPath.type`, by the names of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathType {
    /// `""`: no check; a missing path becomes a directory, as docker and containerd make one.
    Unset,
    /// A directory is made (0755, with its parents) where nothing is.
    DirectoryOrCreate,
    /// Must be a directory.
    Directory,
    /// An empty file is made (0644, not its parents) where nothing is.
    FileOrCreate,
    /// Must be a regular file.
    File,
    /// Must be a socket.
    Socket,
    /// Must be a character device.
    CharDevice,
    /// Must be a block device.
    BlockDevice,
}

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
