//! The table's part for the Pod as a whole.

use super::container::{APPARMOR, CONTAINER, RESOURCES, SECCOMP, SELINUX};
use super::volume::VOLUME;
use super::{Field, Kind, NEEDS_SERVER, NO_OBJECTS, SCHEDULER, WINDOWS, has, no, warn, yes};

pub(super) const SPEC: &[Field] = &[
    has("containers", Kind::List(CONTAINER), "at least one"),
    has(
        "initContainers",
        Kind::ListLike(CONTAINER),
        "fields as for containers; run one after the other before them; with restartPolicy Always it is a sidecar and \
         runs beside them; only then it may have probes and lifecycle",
    ),
    has("volumes", Kind::List(VOLUME), ""),
    yes("restartPolicy", "Always (default), OnFailure or Never"),
    yes("terminationGracePeriodSeconds", "30 when absent; 0 counts as 1"),
    yes("activeDeadlineSeconds", "1 to 2147483647"),
    yes("hostNetwork", "false when absent: the Pod has a network of its own"),
    yes("hostPID", "not together with shareProcessNamespace"),
    yes("hostIPC", "false when absent: the containers of a Pod share IPC and /dev/shm with each other alone"),
    yes("shareProcessNamespace", ""),
    no("hostUsers", &["true"], "needs a newer runc than 1.2 with id-mapped mounts"),
    yes(
        "hostname",
        "DNS label; the Pod's name when absent; without effect under hostNetwork, with a warning",
    ),
    yes("subdomain", "DNS label; makes the full name HOSTNAME.SUBDOMAIN.NAMESPACE.svc.cluster.local"),
    yes(
        "setHostnameAsFQDN",
        "the host name is the full one; without effect under hostNetwork, with a warning",
    ),
    yes(
        "hostnameOverride",
        "DNS subdomain of at most 64 characters, takes the place of hostname and subdomain; not with hostNetwork or \
         setHostnameAsFQDN",
    ),
    has("hostAliases", Kind::List(HOST_ALIAS), "further lines of /etc/hosts"),
    yes(
        "dnsPolicy",
        "ClusterFirst (default), ClusterFirstWithHostNet, Default, or None, which needs a name server in dnsConfig",
    ),
    has("dnsConfig", Kind::Object(DNS_CONFIG), "merged into what dnsPolicy gives"),
    yes("priority", "when all Pods are stopped, those of a lower priority end first; 0 when absent"),
    yes(
        "priorityClassName",
        "system-node-critical and system-cluster-critical give their priority, and the first also lowers the containers' \
         oom_score_adj to -997",
    ),
    yes("nodeName", "another node's name is ignored with a warning"),
    has("securityContext", Kind::Object(POD_SECURITY), ""),
    has(
        "resources",
        Kind::ObjectLike(RESOURCES),
        "as for containers: of the Pod as a whole; cpu, memory and hugepages only; the containers' requests together, and \
         each one's limits, must fit in",
    ),
    has("tolerations", Kind::Opaque, "without effect: a static Pod tolerates everything"),
    has("os", Kind::Object(OS), ""),
    no("ephemeralContainers", &[], "added by an API server to a running Pod"),
    no("serviceAccountName", &[""], NO_OBJECTS),
    no("serviceAccount", &[""], NO_OBJECTS),
    no("imagePullSecrets", &[], "static Pods may not refer to API objects; use the registry auth file"),
    no("runtimeClassName", &[""], "there are no runtime classes; see --runtime"),
    no("resourceClaims", &[], NEEDS_SERVER),
    no("readinessGates", &[], "no controller sets their conditions here: the Pod would never be ready"),
    warn("automountServiceAccountToken", &["false"], "a static Pod has no service account"),
    warn("enableServiceLinks", &["false", "true"], "there are no Services"),
    warn("nodeSelector", &[], SCHEDULER),
    warn("affinity", &[], SCHEDULER),
    warn("topologySpreadConstraints", &[], SCHEDULER),
    warn("schedulerName", &["", "default-scheduler"], SCHEDULER),
    warn("schedulingGates", &[], SCHEDULER),
    warn("preemptionPolicy", &["", "PreemptLowerPriority"], SCHEDULER),
    warn("overhead", &[], SCHEDULER),
    warn("workloadRef", &[], SCHEDULER),
];

const OS: &[Field] = &[yes("name", "linux; anything else is refused")];

const HOST_ALIAS: &[Field] = &[yes("ip", "an address"), has("hostnames", Kind::Scalars, "DNS subdomains")];

const DNS_CONFIG: &[Field] = &[
    has("nameservers", Kind::Scalars, "addresses, at most 3"),
    has("searches", Kind::Scalars, "at most 32 domains of 2048 characters in all"),
    has("options", Kind::List(DNS_OPTION), ""),
];

const DNS_OPTION: &[Field] = &[yes("name", "not empty"), yes("value", "")];

const POD_SECURITY: &[Field] = &[
    has("seccompProfile", Kind::Object(SECCOMP), ""),
    has("appArmorProfile", Kind::Object(APPARMOR), "where the host has AppArmor"),
    has("seLinuxOptions", Kind::Object(SELINUX), "where the host has SELinux"),
    yes("runAsUser", "0 to 2147483647"),
    yes("runAsGroup", "0 to 2147483647"),
    yes("runAsNonRoot", ""),
    has("supplementalGroups", Kind::Scalars, "0 to 2147483647"),
    yes(
        "supplementalGroupsPolicy",
        "Merge (default) or Strict: the image's own groups of the user do not count",
    ),
    yes("fsGroup", "0 to 2147483647; also the group of emptyDir and projected volumes"),
    yes("fsGroupChangePolicy", "Always (default) or OnRootMismatch"),
    has("sysctls", Kind::List(SYSCTL), ""),
    warn("seLinuxChangePolicy", &["", "Recursive"], "volumes are not relabelled"),
    no("windowsOptions", &[], WINDOWS),
];

const SYSCTL: &[Field] = &[
    yes(
        "name",
        "one of those that Kubernetes calls safe: kernel.shm_rmid_forced (not under hostIPC) and, not under hostNetwork, \
         net.ipv4.ip_local_port_range, .tcp_syncookies, .ping_group_range, .ip_unprivileged_port_start, \
         .ip_local_reserved_ports, .tcp_keepalive_time, .tcp_keepalive_intvl, .tcp_keepalive_probes, .tcp_fin_timeout, \
         .tcp_rmem and .tcp_wmem",
    ),
    yes("value", "text"),
];
