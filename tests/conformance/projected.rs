//! downwardAPI and projected volumes.

use crate::case::{Case, case, part};

const POD: &str = "{name: pod, mountPath: /pod}";

fn downward(what: &'static str, items: &str, script: &str) -> Case {
    case("spec.volumes.downwardAPI.items", what)
        .metadata("labels: {zone: b, app: 'web'}")
        .metadata("annotations: {note: 'two\"words'}")
        .volume(&format!("{{name: pod, downwardAPI: {{items: [{items}]}}}}"))
        .container(part("main", script).mount(POD).with("resources: {limits: {cpu: 250m, memory: 64Mi}}"))
}

pub fn cases() -> Vec<Case> {
    vec![
        downward("labels: KEY=\"VALUE\", sorted", "{path: labels, fieldRef: {fieldPath: metadata.labels}}", "cat /pod/labels")
            .says("app=\"web\"\nzone=\"b\""),
        downward("annotations, with what the daemon has added", "{path: a/notes, fieldRef: {fieldPath: metadata.annotations}}", "cat /pod/a/notes")
            .output(|t, out| {
                assert!(out.lines().any(|l| l == "note=\"two\\\"words\""), "{out}");
                let hash = format!("kubernetes.io/config.hash={}", t.at("/metadata/uid"));
                assert!(out.lines().any(|l| l == hash), "{out}");
            }),
        downward(
            "name, namespace, uid and one label",
            "{path: name, fieldRef: {fieldPath: metadata.name}}, {path: ns, fieldRef: {fieldPath: metadata.namespace}}, {path: uid, fieldRef: {fieldPath: metadata.uid}}, {path: l, fieldRef: {fieldPath: \"metadata.labels['app']\"}}",
            "for f in name ns l uid; do cat /pod/$f; echo; done",
        )
        .output(|t, out| {
            let uid = t.at("/metadata/uid").as_str().unwrap().to_owned();
            assert_eq!(out.lines().collect::<Vec<_>>(), [&t.fill("@NAME@-node1"), "default", "web", &uid]);
        }),
        downward(
            "a container's resources",
            "{path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}, {path: mem, resourceFieldRef: {containerName: main, resource: limits.memory}}",
            "cat /pod/cpu; echo; cat /pod/mem",
        )
        .says("250\n67108864"),
        downward("resources without the container's name are refused", "{path: cpu, resourceFieldRef: {resource: limits.cpu}}", "true")
            .refused(&["containerName"]),
        case("spec.volumes.downwardAPI.defaultMode", "and an item's own mode")
            .volume("{name: pod, downwardAPI: {defaultMode: 0440, items: [{path: a, fieldRef: {fieldPath: metadata.name}}, {path: b, mode: 0400, fieldRef: {fieldPath: metadata.name}}]}}")
            .container(part("main", "stat -L -c %a /pod/a /pod/b").mount(POD))
            .says("440\n400"),
        downward("mode 0644 when absent; in the swapped directory", "{path: name, fieldRef: {fieldPath: metadata.name}}", "stat -L -c %a /pod/name; readlink /pod/name; test -L /pod/..data && echo linked")
            .says("644\n..data/name\nlinked"),
        downward("cannot be written", "{path: name, fieldRef: {fieldPath: metadata.name}}", "touch /pod/x 2>/dev/null || echo refused; echo x 2>/dev/null >/pod/name || echo refused")
            .output(|_, out| assert_eq!(out.matches("refused").count(), 2, "{out}")),
        case("spec.volumes.projected", "several sources in one directory")
            .metadata("labels: {app: web}")
            .volume(
                "{name: pod, projected: {sources: [{downwardAPI: {items: [{path: meta/labels, fieldRef: {fieldPath: metadata.labels}}]}}, {configMap: {name: '@NAME@-c'}}, {secret: {name: '@NAME@-s', items: [{key: pass, path: deep/pass, mode: 0400}]}}]}}",
            )
            .document("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '@NAME@-c'}\ndata: {conf: from the map}")
            .document("apiVersion: v1\nkind: Secret\nmetadata: {name: '@NAME@-s'}\nstringData: {pass: hush, other: not taken}")
            .container(
                part("main", "cd /pod; find . -follow -type f -not -path './..*' | sort; cat meta/labels; echo; cat conf; echo; cat deep/pass; echo; stat -L -c %a conf deep/pass").mount(POD),
            )
            .output(|_, out| {
                let lines: Vec<&str> = out.lines().filter(|l| !l.is_empty()).collect();
                assert_eq!(lines, ["./conf", "./deep/pass", "./meta/labels", "app=\"web\"", "from the map", "hush", "644", "400"]);
            }),
        case("spec.volumes.projected.sources", "of the same path: refused or the later wins")
            .volume(
                "{name: pod, projected: {sources: [{configMap: {name: '@NAME@-a'}}, {configMap: {name: '@NAME@-b'}}]}}",
            )
            .document("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '@NAME@-a'}\ndata: {conf: first}")
            .document("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '@NAME@-b'}\ndata: {conf: second}")
            .container(part("main", "cat /pod/conf").mount(POD))
            .says("second"),
        case("spec.volumes.projected.defaultMode", "holds for all sources")
            .volume("{name: pod, projected: {defaultMode: 0400, sources: [{downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}")
            .container(part("main", "stat -L -c %a /pod/name").mount(POD))
            .says("400"),
        case("spec.volumes.downwardAPI.items.path", "refused with `..`")
            .volume("{name: pod, downwardAPI: {items: [{path: ../x, fieldRef: {fieldPath: metadata.name}}]}}")
            .container(part("main", "true").mount(POD))
            .refused(&["path"]),
    ]
}
