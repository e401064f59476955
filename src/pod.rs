//! What a Pod is once it has been validated: every default filled in, every name checked, every unit fixed.
//!
//! The types here are shared by all rooms of the house: `manifest` makes them, `core` decides over them, `runtime` and
//! `monitor` carry them out. After `manifest` nobody looks at YAML again. Nothing here reads a clock, a file or a
//! process. Each id is a type of its own, so that a Pod's name cannot be passed where its namespace is meant.

mod container;
pub mod depends;
pub mod host_ports;
pub mod node;
pub mod objects;
pub mod quantity;
pub mod reference;
pub mod set;
pub mod stop;
pub mod variables;
mod volume;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::container::{
    Container, EnvFrom, EnvValue, EnvVar, Hook, Lifecycle, Mount, Port, Probe, ProbeAction, Propagation,
    PullPolicy, Resources, RestartAction, RestartRule, SubPath,
};
pub use self::depends::Dependency;
pub use self::volume::{
    DownwardFile, FieldRef, HostPathType, KeyToPath, Medium, ObjectKind, ObjectRef, ProjectedSource, Volume,
};

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
    /// `podstrap.io/depends-on`: the Pods that are to be ready before this one starts, and that end after it.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// The DaemonSet or StatefulSet that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<set::Owner>,
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
    /// `spec.hostnameOverride`, or else `spec.hostname`, if given.
    pub hostname: Option<String>,
    /// `spec.subdomain`, if given and not replaced by `spec.hostnameOverride`.
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
            depends_on: Vec::new(),
            owner: None,
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

    /// The priority that `spec.priorityClassName` and `spec.priority` give it.
    pub fn priority(&self) -> i32 {
        stop::priority(self.priority_class.as_deref(), self.priority)
    }

    /// Whether the Pod needs namespaces of its own that outlive its containers: network, IPC, UTS, perhaps processes. One
    /// container in the host's network shares IPC with nobody, and has a namespace of its own for that.
    pub fn needs_sandbox(&self) -> bool {
        let shares_ipc = !self.host_ipc && self.all_containers().nth(1).is_some();
        !self.host_network || self.share_process_namespace || shares_ipc
    }

    /// The quality of service class that Kubernetes derives from requests and limits
    /// (<https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>).
    pub fn qos(&self) -> Qos {
        let mut best_effort = true;
        let mut guaranteed = true;
        // What the Pod asks for as a whole decides alone, where it asks (`pkg/apis/core/v1/helper/qos`).
        let whole = self.resources.iter().filter(|r| r.asks());
        let each = self.all_containers().map(|c| &c.resources);
        let all: Vec<&Resources> = if whole.clone().count() > 0 { whole.collect() } else { each.collect() };
        for r in all {
            best_effort &= !r.asks();
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

#[cfg(test)]
mod tests {
    use super::quantity::{Bytes, MilliCpu};
    use super::reference::Reference;
    use super::*;

    #[test]
    fn the_pod_as_a_whole_decides_its_class() {
        let resources = |cpu: u64, memory: u64| Resources {
            cpu_request: Some(MilliCpu(cpu)),
            cpu_limit: Some(MilliCpu(cpu)),
            memory_request: Some(Bytes(memory)),
            memory_limit: Some(Bytes(memory)),
            ..Resources::default()
        };
        let reference = Reference::parse("etcd").unwrap();
        let container = Container::new(ContainerName::new("c"), reference);
        let key = PodKey { namespace: Namespace::new("default"), name: PodName::new("a-n1") };
        let mut pod = Pod::new(key, Generation::new("g"), NodeName::new("n1"), vec![container]);
        assert_eq!(pod.qos(), Qos::BestEffort);
        pod.resources = Some(resources(1000, 1 << 20));
        assert_eq!(pod.qos(), Qos::Guaranteed);
        pod.resources = Some(Resources { memory_limit: None, ..resources(1000, 1 << 20) });
        assert_eq!(pod.qos(), Qos::Burstable);
        pod.resources = Some(Resources::default());
        pod.containers[0].resources = resources(1, 1);
        assert_eq!(pod.qos(), Qos::Guaranteed);
    }
}
