//! The environment: values, expansion, fields of the Pod, resources, and documents beside it.

use crate::case::{Case, case, part};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"@NAME@-config\"}\ndata: {ONE: first, TWO: second, not-a-name: third}";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: \"@NAME@-secret\"}\ndata: {PASS: aHVudGVyMg==}\nstringData: {USER: admin}";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.containers.env.value", "as it is written")
            .main("echo \"[$PLAIN][$EMPTY][$LINES]\"", "env: [{name: PLAIN, value: ' a  b '}, {name: EMPTY, value: ''}, {name: LINES, value: \"x\\ny\"}, {name: NONE}]")
            .says("[ a  b ][][x\ny]"),
        case("spec.containers.env.value", "$(VAR) of earlier variables; unknown, escaped and open ones stay")
            .main(
                "echo \"$B|$C|$D|$E|$F\"",
                "env: [{name: A, value: a}, {name: B, value: <$(A)>}, {name: C, value: $(LATER)}, {name: D, value: $$(A)}, {name: E, value: $(A}, {name: F, value: $(B)$(A)}, {name: LATER, value: x}]",
            )
            .says("<a>|$(LATER)|$(A)|$(A|<a>a"),
        case("spec.containers.env", "a later one of the same name wins")
            .main("echo $A", "env: [{name: A, value: first}, {name: A, value: second}]")
            .says("second"),
        case("spec.containers.env.value", "of two lines")
            .main("echo \"$TEXT\"", "env: [{name: TEXT, value: \"one\\ntwo\"}]")
            .says("one\ntwo"),
        case("spec.containers.env.value", "of two lines, under a name that docker's command line reads")
            .main("echo \"$HTTPS_PROXY\"", "env: [{name: HTTPS_PROXY, value: \"one\\ntwo\"}]")
            .says("one\ntwo")
            .refused_by("docker", "a setting of its command line itself"),
        case("spec.containers.env", "under names that docker's command line reads")
            .main(
                "echo $HOME $PATH $DOCKER_HOST $https_proxy",
                "env: [{name: HOME, value: /h}, {name: PATH, value: /bin}, {name: DOCKER_HOST, value: unix:///none}, {name: https_proxy, value: http://none.example}]",
            )
            .says("/h /bin unix:///none http://none.example"),
        case("spec.containers.env", "wins over the image's; the image's others stay")
            .main(
                "echo $FROM_IMAGE $PATH",
                &format!("image: {}\nenv: [{{name: FROM_IMAGE, value: manifest}}]", crate::images::COMMAND),
            )
            .says("manifest /bin"),
        case("spec.enableServiceLinks", "there are no services, so no variables of them")
            .main("env | grep -c KUBERNETES_ || true", "")
            .says("0"),
        case("spec.containers.envFrom.configMapRef", "each key that is the name of a variable; others are passed over")
            .main("echo $ONE $TWO; env | grep not-a-name || true", "envFrom: [{configMapRef: {name: \"@NAME@-config\"}}]")
            .document(CONFIG)
            .says("first second"),
        case("spec.containers.envFrom.prefix", "stands before each key")
            .main("echo $P_ONE $ONE", "envFrom: [{prefix: P_, configMapRef: {name: \"@NAME@-config\"}}]")
            .document(CONFIG)
            .says("first"),
        case("spec.containers.envFrom.secretRef", "data is decoded, stringData is taken as it is")
            .main("echo $PASS $USER", "envFrom: [{secretRef: {name: \"@NAME@-secret\"}}]")
            .document(SECRET)
            .says("hunter2 admin"),
        case("spec.containers.envFrom.configMapRef.optional", "a missing one is no error")
            .main("echo started", "envFrom: [{configMapRef: {name: \"@NAME@-absent\", optional: true}}]")
            .says("started"),
        case("spec.containers.envFrom", "env wins over it, and a later source over an earlier one")
            .main(
                "echo $ONE $TWO",
                "envFrom: [{configMapRef: {name: \"@NAME@-config\"}}, {configMapRef: {name: \"@NAME@-more\"}}]
                 env: [{name: ONE, value: own}]",
            )
            .document(CONFIG)
            .document("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"@NAME@-more\"}\ndata: {TWO: more}")
            .says("own more"),
        case("spec.containers.env.valueFrom.configMapKeyRef", "one key, and in $(VAR)")
            .main(
                "echo $A $B",
                "env: [{name: A, valueFrom: {configMapKeyRef: {name: \"@NAME@-config\", key: TWO}}}, {name: B, value: <$(A)>}]",
            )
            .document(CONFIG)
            .says("second <second>"),
        case("spec.containers.env.valueFrom.secretKeyRef", "one key")
            .main("echo $A", "env: [{name: A, valueFrom: {secretKeyRef: {name: \"@NAME@-secret\", key: PASS}}}]")
            .document(SECRET)
            .says("hunter2"),
        case("spec.containers.env.valueFrom.configMapKeyRef.optional", "a missing key sets nothing")
            .main(
                "echo \"<${A-unset}>\"",
                "env: [{name: A, valueFrom: {configMapKeyRef: {name: \"@NAME@-config\", key: absent, optional: true}}}]",
            )
            .document(CONFIG)
            .says("<unset>"),
        case("spec.containers.env.valueFrom.configMapKeyRef", "a missing key is waited for")
            .main("echo $A", "env: [{name: A, valueFrom: {configMapKeyRef: {name: \"@NAME@-late\", key: KEY}}}]")
            .then(|t| {
                t.until("what is missing is named", || {
                    t.status().is_some_and(|s| serde_json::to_string(&s).unwrap().contains(&t.fill("@NAME@-late\\\"")) || s.message.unwrap_or_default().contains(&t.fill("@NAME@-late")))
                });
                assert_eq!(t.at("/status/phase"), "Pending");
                t.write_file("-late", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"@NAME@-late\"}\ndata: {KEY: here}\n");
            })
            .says("here"),
    ];
    cases.extend(fields());
    cases.extend(resources());
    cases
}

fn field(what: &'static str, path: &str, expected: &'static str) -> Case {
    case("spec.containers.env.valueFrom.fieldRef", what)
        .metadata("labels: {app: web, 'example.org/tier': back}")
        .metadata("annotations: {note: some words}")
        .main("echo \"[$A]\"", &format!("env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: {path}}}}}}}]"))
        .says(expected)
}

fn fields() -> Vec<Case> {
    let status = |what, path: &'static str, pointer: &'static str| {
        case("spec.containers.env.valueFrom.fieldRef", what)
            .main("echo $A", &format!("env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: {path}}}}}}}]"))
            .output(move |t, out| {
                let value = t.at(pointer);
                let all =
                    value.as_array().map(|a| a.iter().filter_map(|i| i["ip"].as_str()).collect::<Vec<_>>());
                let expected =
                    all.map_or_else(|| value.as_str().unwrap_or("none").to_owned(), |a| a.join(","));
                assert_eq!(out.trim(), expected);
            })
    };
    vec![
        field("metadata.name", "metadata.name", "[@NAME@-node1]"),
        field("metadata.namespace", "metadata.namespace", "[default]"),
        field("metadata.labels['KEY']", "\"metadata.labels['example.org/tier']\"", "[back]"),
        field("metadata.labels['KEY'], absent", "\"metadata.labels['none']\"", "[]"),
        field("metadata.annotations['KEY']", "\"metadata.annotations['note']\"", "[some words]"),
        field("spec.nodeName", "spec.nodeName", "[node1]"),
        field("spec.serviceAccountName", "spec.serviceAccountName", "[]"),
        status("metadata.uid", "metadata.uid", "/metadata/uid"),
        status("status.hostIP", "status.hostIP", "/status/hostIP"),
        status("status.hostIPs", "status.hostIPs", "/status/hostIPs"),
        status("status.podIP", "status.podIP", "/status/podIP"),
        status("status.podIPs", "status.podIPs", "/status/podIPs"),
        case("spec.containers.env.valueFrom.fieldRef.fieldPath", "refused when unknown")
            .main("true", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.colour}}}]")
            .refused(&["fieldPath", "spec.colour"]),
    ]
}

fn resources() -> Vec<Case> {
    let resource = |what, reference: &str, expected: &'static str| {
        case("spec.containers.env.valueFrom.resourceFieldRef", what)
            .main(
                "echo $A",
                &format!(
                    "resources: {{requests: {{cpu: 120m, memory: 32Mi, ephemeral-storage: 1Gi}}, limits: {{cpu: 1500m, memory: 65Mi, ephemeral-storage: 2Gi}}}}
                     env: [{{name: A, valueFrom: {{resourceFieldRef: {{{reference}}}}}}}]"
                ),
            )
            .says(expected)
    };
    vec![
        resource("limits.cpu, rounded up", "resource: limits.cpu", "2"),
        resource("limits.cpu by 1m", "resource: limits.cpu, divisor: 1m", "1500"),
        resource("requests.cpu by 1m", "resource: requests.cpu, divisor: 1m", "120"),
        resource("limits.memory, in bytes", "resource: limits.memory", "68157440"),
        resource("limits.memory by 1Mi", "resource: limits.memory, divisor: 1Mi", "65"),
        resource("requests.memory by 1Ki", "resource: requests.memory, divisor: 1Ki", "32768"),
        resource("limits.ephemeral-storage by 1Gi", "resource: limits.ephemeral-storage, divisor: 1Gi", "2"),
        resource("requests.ephemeral-storage by 1Mi", "resource: requests.ephemeral-storage, divisor: 1Mi", "1024"),
        case("spec.containers.env.valueFrom.resourceFieldRef.containerName", "another container's")
            .container(part("other", "true").with("resources: {limits: {memory: 48Mi}}"))
            .main(
                "echo $A",
                "env: [{name: A, valueFrom: {resourceFieldRef: {containerName: other, resource: limits.memory, divisor: 1Mi}}}]",
            )
            .says("48"),
        case("spec.containers.env.valueFrom.resourceFieldRef", "without a limit, what the node has")
            .main(
                "echo $A; grep -c ^processor /proc/cpuinfo; echo $B; grep MemTotal: /proc/meminfo | tr -dc 0-9",
                "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Ki}}}]",
            )
            .output(|_, out| {
                let lines: Vec<&str> = out.lines().collect();
                assert_eq!((lines[0], lines[2]), (lines[1], lines[3]), "{out}");
            }),
    ]
}
