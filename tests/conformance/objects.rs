//! configMap and secret volumes: documents beside the Pod's own.

use crate::case::{Case, case, part};

const AT: &str = "{name: conf, mountPath: /conf}";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '@NAME@-c'}\ndata: {one: first, two.conf: second}\nbinaryData: {raw: AAEC/w==}";

pub fn cases() -> Vec<Case> {
    vec![
        case("spec.volumes.configMap", "each key is a file")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .document(MAP)
            .container(part("main", "cd /conf; ls; cat one; echo; cat two.conf; echo; od -An -tx1 raw").mount(AT))
            .says("one\nraw\ntwo.conf\nfirst\nsecond\n 00 01 02 ff"),
        case("spec.volumes.configMap.items", "only these keys, at these paths")
            .volume("{name: conf, configMap: {name: '@NAME@-c', items: [{key: one, path: a/b, mode: 0600}]}}")
            .document(MAP)
            .container(part("main", "cd /conf; ls; cat a/b; echo; stat -L -c %a a/b").mount(AT))
            .says("a\nfirst\n600"),
        case("spec.volumes.configMap.defaultMode", "of its files")
            .volume("{name: conf, configMap: {name: '@NAME@-c', defaultMode: 0500}}")
            .document(MAP)
            .container(part("main", "stat -L -c %a /conf/one").mount(AT))
            .says("500"),
        case("spec.volumes.configMap", "cannot be written")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .document(MAP)
            .container(part("main", "touch /conf/x 2>/dev/null || echo refused").mount(AT))
            .says("refused"),
        case("spec.volumes.configMap", "a file of it, by subPath")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .document(MAP)
            .container(part("main", "cat /etc/app.conf").mount("{name: conf, mountPath: /etc/app.conf, subPath: two.conf}"))
            .says("second"),
        case("spec.volumes.secret", "decoded, each key a file")
            .volume("{name: conf, secret: {secretName: '@NAME@-s'}}")
            .document("apiVersion: v1\nkind: Secret\nmetadata: {name: '@NAME@-s'}\ndata: {pass: aHVudGVyMg==}\nstringData: {user: admin}")
            .container(part("main", "cd /conf; ls; cat pass; echo; cat user; echo; stat -L -c %a pass").mount(AT))
            .says("pass\nuser\nhunter2\nadmin\n644"),
        case("spec.volumes.configMap.optional", "a missing one is an empty directory")
            .volume("{name: conf, configMap: {name: '@NAME@-c', optional: true}}")
            .container(part("main", "ls /conf | wc -l").mount(AT))
            .says("0"),
        case("spec.volumes.secret.optional", "a missing one is an empty directory")
            .volume("{name: conf, secret: {secretName: '@NAME@-s', optional: true}}")
            .container(part("main", "ls /conf | wc -l").mount(AT))
            .says("0"),
        case("spec.volumes.configMap", "a missing one is waited for, and the Pod starts when it appears")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .container(part("main", "say main; cat /conf/one").mount(AT))
            .then(|t| {
                t.until("it is named", || {
                    t.status().and_then(|s| s.message).is_some_and(|m| m.contains(&t.fill("@NAME@-c")))
                });
                t.waits("main", "ContainerCreating", &[]);
                assert_eq!(t.at("/status/phase"), "Pending");
                t.write_file("-object", MAP);
            })
            .says("first"),
        case("spec.volumes.configMap.items.key", "a missing key is waited for")
            .volume("{name: conf, configMap: {name: '@NAME@-c', items: [{key: three, path: three}]}}")
            .container(part("main", "say main; cat /conf/three").mount(AT))
            .before(|t| t.write_file("-object", MAP))
            .then(|t| {
                t.until("it is named", || t.status().and_then(|s| s.message).is_some_and(|m| m.contains("three")));
                assert_eq!(t.count("main"), 0);
                t.write_file("-object", &MAP.replace("one:", "three:"));
            })
            .says("first"),
        case("spec.volumes.configMap", "an update is seen in the running container, all of it at once")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .before(|t| t.write_file("-object", &MAP.replace("second", "first")))
            .container(
                part(
                    "main",
                    "say main; while :; do cd /conf/..data && a=$(cat one 2>/dev/null) && b=$(cat two.conf 2>/dev/null) && { [ \"$a\" = \"$b\" ] || echo torn >/out/torn; echo $a >/out/.part; mv /out/.part /out/seen; }; cd /; done",
                )
                .mount(AT),
            )
            .then(|t| {
                t.event("main");
                t.until("the first content", || t.content("seen") == "first");
                t.write_file("-object", &MAP.replace("second", "later").replace("first", "later"));
                t.until("the second content", || t.content("seen") == "later");
                assert_eq!((t.count("main"), t.file("torn")), (1, String::new()), "no restart, nothing torn");
            }),
        case("spec.volumes.secret", "an update is seen in the running container")
            .volume("{name: conf, secret: {secretName: '@NAME@-s'}}")
            .before(|t| t.write_file("-object", "apiVersion: v1\nkind: Secret\nmetadata: {name: '@NAME@-s'}\nstringData: {user: first, old: x}"))
            .container(part("main", "say main; while :; do cp /conf/user /out/.part; echo >>/out/.part; mv /out/.part /out/seen; [ -e /conf/old ] || say removed; sleep 0.1; done").mount(AT))
            .then(|t| {
                t.until("the first content", || t.content("seen") == "first");
                t.write_file("-object", "apiVersion: v1\nkind: Secret\nmetadata: {name: '@NAME@-s'}\nstringData: {user: later}");
                t.until("the second content", || t.content("seen") == "later");
                t.event("removed");
                assert_eq!(t.count("main"), 1);
            }),
        case("spec.volumes.configMap", "a removed one leaves the running Pod as it is")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .before(|t| t.write_file("-object", MAP))
            .container(part("main", "trap 'say term; exit 0' TERM; say main; while :; do cp /conf/one /out/seen || say lost; sleep 0.1; done").mount(AT))
            .then(|t| {
                t.event("main");
                std::fs::remove_file(t.instance.manifests.join(t.fill("@NAME@-object.yaml"))).unwrap();
                t.holds(3.0, "it goes on", || t.words() == ["main"]);
            }),
        case("metadata.namespace", "an object of another namespace is not found")
            .volume("{name: conf, configMap: {name: '@NAME@-c'}}")
            .document("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '@NAME@-c', namespace: elsewhere}\ndata: {one: first}")
            .container(part("main", "say main").mount(AT))
            .then(|t| {
                t.until("it waits", || t.status().and_then(|s| s.message).is_some_and(|m| m.contains(&t.fill("@NAME@-c"))));
                t.holds(1.0, "it is not started", || t.count("main") == 0);
            }),
    ]
}
