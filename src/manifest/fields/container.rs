//! The table's part for containers.

use super::{Field, Kind, NEEDS_SERVER, WINDOWS, has, never, no, warn, yes};

pub(super) const CONTAINER: &[Field] = &[
    yes("name", "DNS label, unique among all containers of the Pod"),
    yes("image", "a reference as docker takes it; etcd means docker.io/library/etcd:latest"),
    yes("imagePullPolicy", "Always (default for :latest), IfNotPresent (default else) or Never"),
    has("command", Kind::Scalars, "replaces ENTRYPOINT and CMD; $(VAR) is expanded"),
    has("args", Kind::Scalars, "replaces CMD; $(VAR) is expanded"),
    yes("workingDir", "absolute"),
    has("env", Kind::List(ENV), "in order; $(VAR) is expanded"),
    has("envFrom", Kind::List(ENV_FROM), "in order, before env; each has one source"),
    has("ports", Kind::List(PORT), ""),
    has("resources", Kind::Object(RESOURCES), ""),
    has("volumeMounts", Kind::List(MOUNT), ""),
    has("livenessProbe", Kind::Object(PROBE), "asks one thing"),
    has("readinessProbe", Kind::ObjectLike(PROBE), "as livenessProbe"),
    has("startupProbe", Kind::ObjectLike(PROBE), "as livenessProbe"),
    has("lifecycle", Kind::Object(LIFECYCLE), ""),
    has("securityContext", Kind::Object(SECURITY), "a field set here wins over the Pod's"),
    yes(
        "restartPolicy",
        "Always, OnFailure or Never, in place of the Pod's; in initContainers Always makes a sidecar",
    ),
    has(
        "restartPolicyRules",
        Kind::List(RESTART_RULE),
        "at most 20, need restartPolicy; the first that fits an exit decides",
    ),
    yes("terminationMessagePath", "absolute; /dev/termination-log when absent"),
    yes("terminationMessagePolicy", "File (default) or FallbackToLogsOnError"),
    yes("stdin", "standard input is an open pipe"),
    yes("tty", ""),
    warn("stdinOnce", &["false"], "nobody attaches to a container's standard input"),
    warn("resizePolicy", &[], "a static Pod is not resized in place"),
    no("volumeDevices", &[], NEEDS_SERVER),
];

const ENV: &[Field] = &[
    yes("name", "letters, digits, '-', '_', '.'; not a digit first"),
    yes("value", "text; empty when absent; not with valueFrom"),
    has("valueFrom", Kind::Object(VALUE_FROM), "exactly one source"),
];

pub(in super::super) const VALUE_FROM: &[Field] = &[
    has("fieldRef", Kind::Object(FIELD_REF), ""),
    has("resourceFieldRef", Kind::Object(RESOURCE_FIELD_REF), ""),
    has("configMapKeyRef", Kind::Object(KEY_REF), "a ConfigMap among the manifests"),
    has(
        "secretKeyRef",
        Kind::ObjectLike(KEY_REF),
        "a Secret among the manifests; fields as for configMapKeyRef",
    ),
    never("fileKeyRef", "files of variables are not supported; use configMapKeyRef or secretKeyRef"),
];

pub(super) const FIELD_REF: &[Field] = &[
    yes("apiVersion", "v1"),
    yes(
        "fieldPath",
        "metadata.name, .namespace, .uid, .labels['KEY'], .annotations['KEY']; in env also spec.nodeName, \
         spec.serviceAccountName, status.hostIP, .hostIPs, .podIP, .podIPs; in volumes also metadata.labels and \
         .annotations as a whole",
    ),
];

pub(super) const RESOURCE_FIELD_REF: &[Field] = &[
    yes("containerName", "in env the container itself when absent; required in volumes"),
    yes("resource", "limits. or requests. and cpu, memory, ephemeral-storage or hugepages-SIZE"),
    yes("divisor", "1 when absent; 1m or 1 for cpu; 1 or 1 with a suffix from k to Ei for others"),
];

const KEY_REF: &[Field] = &[
    yes("name", "DNS subdomain"),
    yes("key", "letters, digits, '-', '_' and '.'"),
    yes("optional", "a missing object or key leaves the variable out"),
];

pub(in super::super) const ENV_FROM: &[Field] = &[
    yes("prefix", "put before each key; as the name of a variable"),
    has("configMapRef", Kind::Object(OBJECT_REF), "a ConfigMap among the manifests"),
    has(
        "secretRef",
        Kind::ObjectLike(OBJECT_REF),
        "a Secret among the manifests; fields as for configMapRef",
    ),
];

const OBJECT_REF: &[Field] = &[yes("name", "DNS subdomain"), yes("optional", "a missing object is no error")];

const PORT: &[Field] = &[
    yes("containerPort", "1 to 65535"),
    yes("name", "at most 15 of a-z, 0-9 and '-'; probes may use it"),
    yes(
        "hostPort",
        "1 to 65535; equals containerPort under hostNetwork, and is that when absent; one Pod's at a time: the next one waits",
    ),
    yes("protocol", "TCP (default), UDP or SCTP"),
    yes("hostIP", "an address of the host"),
];

pub(super) const RESOURCES: &[Field] = &[
    has(
        "limits",
        Kind::Map,
        "cpu, memory, hugepages-SIZE (with cpu or memory); ephemeral-storage is warned about, others refused",
    ),
    has(
        "requests",
        Kind::Map,
        "as limits, which they must not exceed and from which they are taken when absent",
    ),
    no("claims", &[], NEEDS_SERVER),
];

const MOUNT: &[Field] = &[
    yes("name", "one of spec.volumes"),
    yes("mountPath", "absolute, without '..'; not /, /proc, /sys or /dev itself, nor below /proc"),
    yes("readOnly", ""),
    yes(
        "recursiveReadOnly",
        "Disabled (default), IfPossible or Enabled, both with readOnly and without mountPropagation",
    ),
    yes("mountPropagation", "None (default), HostToContainer, or Bidirectional in a privileged container"),
    yes("subPath", "relative, without '..'"),
    yes("subPathExpr", "the same with $(VAR); not with subPath"),
];

const PROBE: &[Field] = &[
    has("httpGet", Kind::Object(HTTP_GET), ""),
    has("tcpSocket", Kind::Object(TCP_SOCKET), ""),
    has("exec", Kind::Object(EXEC), ""),
    has("grpc", Kind::Object(GRPC), ""),
    yes("initialDelaySeconds", "0 when absent"),
    yes("timeoutSeconds", "1 when absent"),
    yes("periodSeconds", "10 when absent"),
    yes("successThreshold", "1 when absent; must be 1 for liveness and startup"),
    yes("failureThreshold", "3 when absent"),
    yes("terminationGracePeriodSeconds", "at least 1; not in a readinessProbe; the Pod's when absent"),
];

const HTTP_GET: &[Field] = &[
    yes("host", "the Pod's address when absent; the node's loopback address under hostNetwork"),
    yes("port", "a number, or the name of one of the container's ports"),
    yes("path", "/ when absent"),
    yes("scheme", "HTTP (default) or HTTPS, whose certificate is not verified"),
    has("httpHeaders", Kind::List(HEADER), ""),
];

const HEADER: &[Field] = &[yes("name", ""), yes("value", "")];

const TCP_SOCKET: &[Field] = &[yes("port", "as for httpGet"), yes("host", "as for httpGet")];

const EXEC: &[Field] = &[has("command", Kind::Scalars, "run in the container, without a shell")];

const GRPC: &[Field] =
    &[yes("port", "a number: names of ports are not looked up"), yes("service", "empty when absent")];

const LIFECYCLE: &[Field] = &[
    has("postStart", Kind::Object(HOOK), "runs after the start; the next container waits; its failure kills"),
    has(
        "preStop",
        Kind::ObjectLike(HOOK),
        "as postStart; runs before the stop signal, within the grace period",
    ),
    yes("stopSignal", "the name of a signal, such as SIGTERM or SIGRTMIN+3; the image's when absent"),
];

const HOOK: &[Field] = &[
    has("exec", Kind::Object(EXEC), ""),
    has("httpGet", Kind::ObjectLike(HTTP_GET), "as for probes"),
    has("sleep", Kind::Object(SLEEP), ""),
    never("tcpSocket", "a hook must do something: use exec, httpGet or sleep"),
];

const SLEEP: &[Field] = &[yes("seconds", "0 to terminationGracePeriodSeconds")];

const RESTART_RULE: &[Field] = &[
    yes("action", "Restart, or RestartAllContainers, init containers included"),
    has("exitCodes", Kind::Object(EXIT_CODES), ""),
];

const EXIT_CODES: &[Field] =
    &[yes("operator", "In or NotIn"), has("values", Kind::Scalars, "0 to 255, at most 255 of them")];

const SECURITY: &[Field] = &[
    yes("privileged", ""),
    yes("allowPrivilegeEscalation", "false sets no_new_privs; not with privileged or SYS_ADMIN"),
    yes("readOnlyRootFilesystem", ""),
    has("capabilities", Kind::Object(CAPABILITIES), ""),
    has("seccompProfile", Kind::ObjectLike(SECCOMP), "as the Pod's"),
    has("appArmorProfile", Kind::ObjectLike(APPARMOR), "as the Pod's"),
    has("seLinuxOptions", Kind::ObjectLike(SELINUX), "as the Pod's"),
    yes("runAsUser", "0 to 2147483647"),
    yes("runAsGroup", "0 to 2147483647"),
    yes("runAsNonRoot", ""),
    yes("procMount", "Default or Unmasked, which is warned about"),
    no("windowsOptions", &[], WINDOWS),
];

const CAPABILITIES: &[Field] =
    &[has("add", Kind::Scalars, "names without CAP_, or ALL"), has("drop", Kind::Scalars, "as add")];

pub(super) const SECCOMP: &[Field] = &[
    yes("type", "RuntimeDefault, Localhost or Unconfined"),
    yes("localhostProfile", "a file below STATE/seccomp, relative, without '..'; with Localhost only"),
];

pub(super) const APPARMOR: &[Field] = &[
    yes("type", "RuntimeDefault, Localhost or Unconfined"),
    yes("localhostProfile", "the name of a profile that is loaded on the host; with Localhost only"),
];

pub(super) const SELINUX: &[Field] = &[yes("user", ""), yes("role", ""), yes("type", ""), yes("level", "")];
