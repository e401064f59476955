//! Every field of the v1 Pod, up to Kubernetes 1.35, and what becomes of it here.
//!
//! One table drives the check of unknown and unsupported fields and the field list of podstrap-manifest(5). A field is
//! refused only when it cannot be honoured *and* its loss would change what the Pod means; a verdict on an object holds
//! for all that is below it. Source: the types of <https://github.com/kubernetes/api/blob/master/core/v1/types.go>.

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has its effect (or rightly has none in this place).
    Honoured,
    /// It is ignored, with a warning.
    Warned,
    /// The document is refused.
    Refused,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One value.
    Scalar,
    /// A list of values.
    Scalars,
    /// Names and values, freely chosen.
    Map,
    /// An object with these fields.
    Object(&'static [Field]),
    /// A list of such objects.
    List(&'static [Field]),
    /// Not looked into.
    Opaque,
    /// One of several things that exclude each other: its mere presence counts, also when it is empty. Not looked into.
    Source,
}

/// One field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What it holds.
    pub kind: Kind,
    /// Values that say no more than the absent field (beside null and the empty list, map and object).
    pub silent: &'static [&'static str],
    /// Why, or what is special.
    pub note: &'static str,
}

const fn field(name: &'static str, verdict: Verdict, kind: Kind, note: &'static str) -> Field {
    Field { name, verdict, kind, silent: &[], note }
}

/// Honoured, one value.
const fn yes(name: &'static str, note: &'static str) -> Field {
    field(name, Verdict::Honoured, Kind::Scalar, note)
}

/// Honoured, of another kind.
const fn has(name: &'static str, kind: Kind, note: &'static str) -> Field {
    field(name, Verdict::Honoured, kind, note)
}

/// Ignored with a warning.
const fn warn(name: &'static str, silent: &'static [&'static str], note: &'static str) -> Field {
    Field { silent, ..field(name, Verdict::Warned, Kind::Opaque, note) }
}

/// Refused.
const fn no(name: &'static str, silent: &'static [&'static str], note: &'static str) -> Field {
    Field { silent, ..field(name, Verdict::Refused, Kind::Opaque, note) }
}

/// Refused, also when empty.
const fn never(name: &'static str, note: &'static str) -> Field {
    field(name, Verdict::Refused, Kind::Source, note)
}

const SERVER: &str = "set by an API server";
const NEEDS_SERVER: &str = "needs an API server";
const NEEDS_CLUSTER: &str = "needs a cluster's storage drivers";
const SCHEDULER: &str = "for a scheduler; this Pod runs on this node";
const NOT_YET: &str = "not supported yet";
const WINDOWS: &str = "for Windows nodes";

/// The whole document.
pub const POD: &[Field] = &[
    yes("apiVersion", "v1"),
    yes("kind", "Pod"),
    has("metadata", Kind::Object(METADATA), ""),
    has("spec", Kind::Object(SPEC), ""),
    warn("status", &[], "what an API server reports; it does not enter the generation"),
];

const METADATA: &[Field] = &[
    yes("name", "DNS subdomain; the node's name is appended: NAME-NODE"),
    yes("namespace", "DNS label; default when absent"),
    yes("uid", "letters, digits and dashes, at most 64; when absent or otherwise, the generation"),
    has("labels", Kind::Map, ""),
    has(
        "annotations",
        Kind::Map,
        "kubernetes.io/config.mirror is ignored with a warning; .hash and .source are set",
    ),
    warn("generateName", &[""], "only an API server makes up names"),
    warn("creationTimestamp", &[], SERVER),
    warn("deletionTimestamp", &[], SERVER),
    warn("deletionGracePeriodSeconds", &[], SERVER),
    warn("finalizers", &[], "there is no API server to keep them"),
    warn("ownerReferences", &[], "a static Pod has no owner"),
    warn("managedFields", &[], SERVER),
    warn("resourceVersion", &["", "0"], SERVER),
    warn("generation", &["0"], SERVER),
    warn("selfLink", &[""], SERVER),
    warn("clusterName", &[""], SERVER),
];

const SPEC: &[Field] = &[
    has("containers", Kind::List(CONTAINER), "at least one"),
    has("volumes", Kind::List(VOLUME), ""),
    yes("restartPolicy", "Always (default), OnFailure or Never"),
    yes("terminationGracePeriodSeconds", "30 when absent; 0 counts as 1"),
    yes("hostNetwork", "must be true: Pod networking is not supported yet"),
    yes("hostPID", ""),
    yes("hostIPC", ""),
    yes("hostname", "DNS label; without effect under hostNetwork, with a warning"),
    yes("priority", "recorded"),
    yes("priorityClassName", "system-node-critical lowers the containers' oom_score_adj to -997"),
    yes("nodeName", "another node's name is ignored with a warning"),
    yes(
        "dnsPolicy",
        "Default, ClusterFirst, ClusterFirstWithHostNet: the node's resolv.conf; None is refused",
    ),
    has("securityContext", Kind::Object(POD_SECURITY), ""),
    has("tolerations", Kind::Opaque, "without effect: a static Pod tolerates everything"),
    no("initContainers", &[], NOT_YET),
    no("ephemeralContainers", &[], "added by an API server to a running Pod"),
    no("activeDeadlineSeconds", &[], NOT_YET),
    no("serviceAccountName", &[""], "static Pods may not refer to API objects"),
    no("serviceAccount", &[""], "static Pods may not refer to API objects"),
    no("imagePullSecrets", &[], "static Pods may not refer to API objects; use the registry auth file"),
    no("shareProcessNamespace", &["false"], NOT_YET),
    no("hostUsers", &["true"], "user namespaces are not supported yet"),
    no("hostAliases", &[], NOT_YET),
    no("dnsConfig", &[], NOT_YET),
    no("runtimeClassName", &[""], "there are no runtime classes; see --runtime"),
    no("resourceClaims", &[], NEEDS_SERVER),
    no(
        "resources",
        &[],
        "resources of the Pod as a whole are not supported yet; set them for each container",
    ),
    has("os", Kind::Object(OS), ""),
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
    warn("readinessGates", &[], "no controller sets them; readiness is that of the containers"),
    warn("subdomain", &[""], "there is no cluster DNS"),
    warn("setHostnameAsFQDN", &["false"], "without effect under hostNetwork"),
    warn("hostnameOverride", &[""], "without effect under hostNetwork"),
];

const OS: &[Field] = &[yes("name", "linux; anything else is refused")];

const POD_SECURITY: &[Field] = &[
    has("seccompProfile", Kind::Object(SECCOMP), ""),
    yes("runAsUser", "0 to 2147483647"),
    yes("runAsGroup", "0 to 2147483647"),
    yes("runAsNonRoot", ""),
    has("supplementalGroups", Kind::Scalars, ""),
    no("supplementalGroupsPolicy", &["", "Merge"], NOT_YET),
    no("fsGroup", &[], NOT_YET),
    warn("fsGroupChangePolicy", &[""], "without effect without fsGroup"),
    no("sysctls", &[], NOT_YET),
    no("seLinuxOptions", &[], NOT_YET),
    warn("seLinuxChangePolicy", &[""], "without effect without seLinuxOptions"),
    has("appArmorProfile", Kind::Object(APPARMOR), ""),
    warn("windowsOptions", &[], WINDOWS),
];

const SECCOMP: &[Field] = &[
    yes("type", "RuntimeDefault or Unconfined; Localhost is refused (not supported yet)"),
    no("localhostProfile", &[""], NOT_YET),
];

const APPARMOR: &[Field] = &[
    yes("type", "Unconfined; RuntimeDefault and Localhost are refused (not supported yet)"),
    no("localhostProfile", &[""], NOT_YET),
];

const CONTAINER: &[Field] = &[
    yes("name", "DNS label, unique in the Pod"),
    yes("image", "a reference as docker takes it; etcd means docker.io/library/etcd:latest"),
    yes("imagePullPolicy", "Always (default for :latest), IfNotPresent (default else) or Never"),
    has("command", Kind::Scalars, "replaces ENTRYPOINT and CMD; $(VAR) is expanded"),
    has("args", Kind::Scalars, "replaces CMD; $(VAR) is expanded"),
    yes("workingDir", "absolute"),
    has("env", Kind::List(ENV), "in order; $(VAR) is expanded"),
    no("envFrom", &[], "static Pods may not refer to API objects"),
    has("ports", Kind::List(PORT), ""),
    has("resources", Kind::Object(RESOURCES), ""),
    has("volumeMounts", Kind::List(MOUNT), ""),
    no("volumeDevices", &[], NEEDS_SERVER),
    has("livenessProbe", Kind::Object(PROBE), ""),
    has("readinessProbe", Kind::Object(PROBE), ""),
    has("startupProbe", Kind::Object(PROBE), ""),
    no("lifecycle", &[], NOT_YET),
    has("securityContext", Kind::Object(SECURITY), "a field set here wins over the Pod's"),
    no("restartPolicy", &[], "a policy of a single container is not supported yet; see spec.restartPolicy"),
    no("restartPolicyRules", &[], NOT_YET),
    warn("resizePolicy", &[], "a static Pod is not resized in place"),
    warn("terminationMessagePath", &["", "/dev/termination-log"], NOT_YET),
    warn("terminationMessagePolicy", &["", "File"], NOT_YET),
    no("stdin", &["false"], NOT_YET),
    no("stdinOnce", &["false"], NOT_YET),
    no("tty", &["false"], NOT_YET),
];

const ENV: &[Field] = &[
    yes("name", "letters, digits, '-', '_', '.'; not a digit first"),
    yes("value", "text; empty when absent"),
    has("valueFrom", Kind::Object(VALUE_FROM), ""),
];

pub(super) const VALUE_FROM: &[Field] = &[
    never("fieldRef", NOT_YET),
    never("resourceFieldRef", NOT_YET),
    never("fileKeyRef", NOT_YET),
    never("configMapKeyRef", NEEDS_SERVER),
    never("secretKeyRef", NEEDS_SERVER),
];

const PORT: &[Field] = &[
    yes("containerPort", "1 to 65535"),
    yes("name", "at most 15 of a-z, 0-9 and '-'; probes may use it"),
    yes("hostPort", "must equal containerPort under hostNetwork"),
    yes("protocol", "TCP (default), UDP or SCTP"),
    yes("hostIP", "recorded; an address"),
];

const RESOURCES: &[Field] = &[
    has(
        "limits",
        Kind::Map,
        "cpu and memory; ephemeral-storage and hugepages are warned about, others refused",
    ),
    has("requests", Kind::Map, "cpu and memory, at most the limits, from which they are taken when absent"),
    no("claims", &[], NEEDS_SERVER),
];

const MOUNT: &[Field] = &[
    yes("name", "one of spec.volumes"),
    yes("mountPath", "absolute, without '..'; not /, /proc, /sys or /dev itself, nor below /proc"),
    yes("readOnly", ""),
    yes("mountPropagation", "None (default), HostToContainer, or Bidirectional in a privileged container"),
    no("recursiveReadOnly", &["", "Disabled", "IfPossible"], NOT_YET),
    no("subPath", &[""], NOT_YET),
    no("subPathExpr", &[""], NOT_YET),
];

const PROBE: &[Field] = &[
    has("httpGet", Kind::Object(HTTP_GET), ""),
    has("tcpSocket", Kind::Object(TCP_SOCKET), ""),
    has("exec", Kind::Object(EXEC), ""),
    never("grpc", NOT_YET),
    yes("initialDelaySeconds", "0 when absent"),
    yes("timeoutSeconds", "1 when absent"),
    yes("periodSeconds", "10 when absent"),
    yes("successThreshold", "1 when absent; must be 1 for liveness and startup"),
    yes("failureThreshold", "3 when absent"),
    no("terminationGracePeriodSeconds", &[], NOT_YET),
];

const HTTP_GET: &[Field] = &[
    yes("host", "the node's loopback address when absent"),
    yes("port", "a number, or the name of one of the container's ports"),
    yes("path", "/ when absent"),
    yes("scheme", "HTTP (default) or HTTPS, whose certificate is not verified"),
    has("httpHeaders", Kind::List(HEADER), ""),
];

const HEADER: &[Field] = &[yes("name", ""), yes("value", "")];

const TCP_SOCKET: &[Field] = &[yes("port", "as for httpGet"), yes("host", "as for httpGet")];

const EXEC: &[Field] = &[has("command", Kind::Scalars, "run in the container, without a shell")];

const SECURITY: &[Field] = &[
    yes("privileged", ""),
    yes("allowPrivilegeEscalation", "false sets no_new_privs; not with privileged or SYS_ADMIN"),
    yes("readOnlyRootFilesystem", ""),
    has("capabilities", Kind::Object(CAPABILITIES), ""),
    has("seccompProfile", Kind::Object(SECCOMP), ""),
    yes("runAsUser", "0 to 2147483647"),
    yes("runAsGroup", "0 to 2147483647"),
    yes("runAsNonRoot", ""),
    has("appArmorProfile", Kind::Object(APPARMOR), ""),
    no("procMount", &["", "Default"], NOT_YET),
    no("seLinuxOptions", &[], NOT_YET),
    warn("windowsOptions", &[], WINDOWS),
];

const CAPABILITIES: &[Field] =
    &[has("add", Kind::Scalars, "names without CAP_, or ALL"), has("drop", Kind::Scalars, "as add")];

pub(super) const VOLUME: &[Field] = &[
    yes("name", "DNS label, unique in the Pod"),
    has("hostPath", Kind::Object(HOST_PATH), ""),
    has("emptyDir", Kind::Object(EMPTY_DIR), "also when no source is named; an unknown source is refused"),
    never("image", NOT_YET),
    never("downwardAPI", NOT_YET),
    never("projected", NOT_YET),
    never("nfs", "not supported; mount it on the node and use hostPath"),
    never("configMap", NEEDS_SERVER),
    never("secret", NEEDS_SERVER),
    never("persistentVolumeClaim", NEEDS_SERVER),
    never("ephemeral", NEEDS_SERVER),
    never("csi", NEEDS_CLUSTER),
    never("flexVolume", NEEDS_CLUSTER),
    never("iscsi", NEEDS_CLUSTER),
    never("fc", NEEDS_CLUSTER),
    never("rbd", NEEDS_CLUSTER),
    never("cephfs", NEEDS_CLUSTER),
    never("cinder", NEEDS_CLUSTER),
    never("glusterfs", NEEDS_CLUSTER),
    never("quobyte", NEEDS_CLUSTER),
    never("flocker", NEEDS_CLUSTER),
    never("storageos", NEEDS_CLUSTER),
    never("portworxVolume", NEEDS_CLUSTER),
    never("scaleIO", NEEDS_CLUSTER),
    never("vsphereVolume", NEEDS_CLUSTER),
    never("photonPersistentDisk", NEEDS_CLUSTER),
    never("gcePersistentDisk", NEEDS_CLUSTER),
    never("awsElasticBlockStore", NEEDS_CLUSTER),
    never("azureDisk", NEEDS_CLUSTER),
    never("azureFile", NEEDS_CLUSTER),
    never("gitRepo", "removed from Kubernetes; clone into a hostPath"),
];

const HOST_PATH: &[Field] = &[
    yes("path", "absolute, without '..'"),
    yes("type", "DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice or empty"),
];

const EMPTY_DIR: &[Field] = &[
    yes("medium", "empty: on disk; Memory and HugePages are refused (not supported yet)"),
    warn("sizeLimit", &["0"], "not enforced"),
];

/// All fields with their paths (`spec.containers[].image`), parents before children, in the order of the table.
pub fn all() -> Vec<(String, &'static Field)> {
    let mut out = Vec::new();
    collect(POD, "", &mut out);
    out
}

fn collect(fields: &'static [Field], prefix: &str, out: &mut Vec<(String, &'static Field)>) {
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        match field.kind {
            Kind::Object(below) => {
                out.push((path.clone(), field));
                collect(below, &format!("{path}."), out);
            }
            Kind::List(below) => {
                let path = format!("{path}[]");
                out.push((path.clone(), field));
                collect(below, &format!("{path}."), out);
            }
            Kind::Scalars => out.push((format!("{path}[]"), field)),
            Kind::Scalar | Kind::Map | Kind::Opaque | Kind::Source => out.push((path, field)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_stands_twice_in_an_object() {
        let mut paths: Vec<String> = all().into_iter().map(|(p, _)| p).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
        assert!(count > 200, "{count}");
    }

    #[test]
    fn whoever_is_not_honoured_says_why() {
        for (path, field) in all() {
            assert!(field.verdict == Verdict::Honoured || !field.note.is_empty(), "{path}");
        }
    }
}
