//! postStart and preStop.

use crate::bench::uptime;
use crate::case::{Case, case, part};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.containers.lifecycle.postStart.exec", "runs in the container, with its variables and directory")
            .main(
                "say main; stay",
                "env: [{name: WORD, value: hello}]
                 workingDir: /tmp
                 lifecycle: {postStart: {exec: {command: [sh, -c, 'echo $WORD $PWD >/tmp/seen; cat /tmp/seen >/out/seen']}}}",
            )
            .then(|t| assert_eq!(t.content("seen"), "hello /tmp")),
        case("spec.containers.lifecycle.postStart", "holds up the next container of the Pod")
            .container(part("one", "say one; stay").with(
                "lifecycle: {postStart: {exec: {command: [sh, -c, 'sleep 1.5; read up _ </proc/uptime; echo hook $up >>/out/events']}}}",
            ))
            .container(part("two", "say two; stay"))
            .then(|t| {
                t.ready();
                t.event("two");
                assert_eq!(t.words(), ["one", "hook", "two"]);
            }),
        case("spec.containers.lifecycle.postStart", "its failure kills the container, and the next is not started")
            .spec("terminationGracePeriodSeconds: 5")
            .container(
                part("one", "trap 'say one-term; exit 9' TERM; say one; stay")
                    .with("lifecycle: {postStart: {exec: {command: [sh, -c, 'while ! [ -e /out/events ]; do sleep 0.1; done; exit 1']}}}"),
            )
            .container(part("two", "say two"))
            .then(|t| {
                t.event("one-term");
                assert_eq!(t.ended("one")["exitCode"], 9);
                assert!(!t.words()[..2].contains(&"two".to_owned()), "{:?}", t.words());
            }),
        case("spec.containers.lifecycle.postStart", "its failure counts as a crash, and is told: PostStartHookError")
            .spec("restartPolicy: Always")
            .main(
                "trap 'exit 0' TERM; say main; stay",
                "lifecycle: {postStart: {exec: {command: [sh, -c, 'sleep 0.3; [ $(grep -c main /out/events) -ge 3 ]']}}}",
            )
            .then(|t| {
                t.until("the reason is told", || {
                    let status = t.status().map(|s| serde_json::to_string(&s).unwrap()).unwrap_or_default();
                    status.contains("PostStartHook")
                });
                t.nth("main", 3);
                t.ready();
                assert_eq!(t.restarts("main"), 2);
            }),
        case("spec.containers.lifecycle.postStart.httpGet", "asks with path and headers")
            .web()
            .main(
                "say main; stay",
                "lifecycle: {postStart: {httpGet: {host: 127.0.0.1, port: @PORT@, path: '/started?x=1', httpHeaders: [{name: X-Word, value: hello}]}}}",
            )
            .then(|t| {
                t.ready();
                let asked = t.web.as_ref().unwrap().asked();
                assert_eq!(asked.len(), 1);
                assert!(asked[0].1.starts_with("GET /started?x=1 HTTP/1.1\r\n"), "{asked:?}");
                assert!(asked[0].1.to_lowercase().contains("\r\nx-word: hello\r\n"), "{asked:?}");
            }),
        case("spec.containers.lifecycle.postStart.sleep", "waits")
            .spec("terminationGracePeriodSeconds: 5")
            .container(part("one", "say one; stay").with("lifecycle: {postStart: {sleep: {seconds: 2}}}"))
            .container(part("two", "say two; stay"))
            .then(|t| {
                let apart = t.event("two") - t.event("one");
                assert!((1.9..3.5).contains(&apart), "{apart} s");
            }),
    ];
    cases.extend(pre_stop());
    cases
}

fn pre_stop() -> Vec<Case> {
    vec![
        case("spec.containers.lifecycle.preStop.exec", "runs before TERM")
            .spec("terminationGracePeriodSeconds: 10")
            .main(
                "trap 'say term; exit 0' TERM; say main; stay",
                "lifecycle: {preStop: {exec: {command: [sh, -c, 'sleep 0.5; read up _ </proc/uptime; echo hook $up >>/out/events']}}}",
            )
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                assert_eq!(t.words(), ["main", "hook", "term"]);
            }),
        case("spec.containers.lifecycle.preStop", "counts against the grace period")
            .spec("terminationGracePeriodSeconds: 6")
            .main(
                "trap 'say term' TERM; say main; while :; do read -r up _ </proc/uptime; echo $up >/out/last.new; mv /out/last.new /out/last; sleep 0.05; done",
                "lifecycle: {preStop: {exec: {command: [sh, -c, 'read up _ </proc/uptime; echo hook $up >>/out/events; sleep 3']}}}",
            )
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                let (hook, term) = (t.event("hook"), t.event("term"));
                let last: f64 = t.content("last").parse().unwrap();
                assert!((2.9..4.0).contains(&(term - hook)), "TERM {} s after the hook's start", term - hook);
                assert!((5.4..7.2).contains(&(last - hook)), "KILL {} s after the hook's start", last - hook);
            }),
        case("spec.containers.lifecycle.preStop", "one that takes longer: TERM at the end of grace, KILL 2 s later")
            .spec("terminationGracePeriodSeconds: 2")
            .main(
                "trap 'say term' TERM; say main; while :; do read -r up _ </proc/uptime; echo $up >/out/last.new; mv /out/last.new /out/last; sleep 0.05; done",
                "lifecycle: {preStop: {exec: {command: [sh, -c, 'read up _ </proc/uptime; echo hook $up >>/out/events; sleep 600']}}}",
            )
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                let (hook, term) = (t.event("hook"), t.event("term"));
                let last: f64 = t.content("last").parse().unwrap();
                assert!((1.7..3.2).contains(&(term - hook)), "TERM {} s after the hook's start", term - hook);
                assert!((1.7..3.0).contains(&(last - term)), "KILL {} s after TERM", last - term);
            }),
        case("spec.containers.lifecycle.preStop.httpGet", "asks before TERM")
            .web()
            .spec("terminationGracePeriodSeconds: 10")
            .main(
                "trap 'say term; exit 0' TERM; say main; stay",
                "ports: [{name: web, containerPort: @PORT@}]
                 lifecycle: {preStop: {httpGet: {port: web, path: /stop}}}",
            )
            .then(|t| {
                t.ready();
                t.event("main");
                assert!(t.web.as_ref().unwrap().asked().is_empty());
                t.remove();
                t.gone();
                let asked = t.web.as_ref().unwrap().asked();
                assert!(asked[0].1.starts_with("GET /stop HTTP/1.1\r\n"), "{asked:?}");
                assert!(asked[0].0 <= t.event("term"), "asked before TERM");
            }),
        case("spec.containers.lifecycle.preStop.sleep", "waits before TERM")
            .spec("terminationGracePeriodSeconds: 10")
            .main("trap 'say term; exit 0' TERM; say main; stay", "lifecycle: {preStop: {sleep: {seconds: 2}}}")
            .then(|t| {
                t.ready();
                t.event("main");
                let removed = uptime();
                t.remove();
                t.gone();
                let waited = t.event("term") - removed;
                assert!((1.9..8.0).contains(&waited), "TERM after {waited} s");
            }),
        case("spec.containers.lifecycle.preStop", "does not run when the container ends by itself")
            .main("say main; sleep 0.5", "lifecycle: {preStop: {exec: {command: [sh, -c, 'echo hook 0 >>/out/events']}}}")
            .phase("Succeeded")
            .then(|t| t.holds(1.0, "no hook runs", || t.words() == ["main"])),
        case("spec.containers.lifecycle.preStop", "runs when the liveness probe stops the container")
            .spec("terminationGracePeriodSeconds: 10")
            .main(
                "trap 'say term; exit 0' TERM; say main; stay",
                "livenessProbe: {exec: {command: [test, '!', -e, /out/events]}, initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 1}
                 lifecycle: {preStop: {exec: {command: [sh, -c, 'echo hook 0 >>/out/events']}}}",
            )
            .then(|t| {
                t.event("term");
                assert_eq!(t.words()[..3], ["main", "hook", "term"]);
            }),
        case("spec.containers.lifecycle.preStop", "its failure does not hold up TERM")
            .spec("terminationGracePeriodSeconds: 10")
            .main(
                "trap 'say term; exit 0' TERM; say main; stay",
                "lifecycle: {preStop: {exec: {command: [no-such-program]}}}",
            )
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                assert_eq!(t.words(), ["main", "term"]);
            }),
        case("spec.containers.lifecycle.postStart.tcpSocket", "refused: the kubelet cannot do it either")
            .main("say main", "lifecycle: {postStart: {tcpSocket: {port: 80}}}")
            .refused(&["postStart", "tcpSocket"]),
        case("spec.containers.lifecycle.preStop.httpGet.port", "a name that no port has is refused")
            .main("say main", "lifecycle: {preStop: {httpGet: {port: wbe}}}")
            .refused(&["preStop.httpGet.port", "wbe"]),
    ]
}
