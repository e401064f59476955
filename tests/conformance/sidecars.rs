//! Native sidecars: init containers with `restartPolicy: Always`.

use crate::case::{Case, Part, case, part};

fn sidecar(name: &str, script: &str) -> Part {
    part(name, script).with("restartPolicy: Always")
}

pub fn cases() -> Vec<Case> {
    vec![
        case("spec.initContainers.restartPolicy", "a sidecar runs on beside what follows it")
            .init(sidecar("side", "say side; stay"))
            .init(part("next", "say next"))
            .main("say main; stay", "")
            .then(|t| {
                t.ready();
                assert_eq!(t.words(), ["side", "next", "main"]);
                let side = t.container("side");
                assert!(side["state"]["running"].is_object(), "{side}");
                assert_eq!((&side["started"], &side["ready"]), (&true.into(), &true.into()));
            }),
        case("spec.initContainers.startupProbe", "a sidecar's gates what follows it")
            .init(
                sidecar("side", "say side; stay")
                    .with("startupProbe: {exec: {command: [test, -e, /out/go]}, periodSeconds: 1, failureThreshold: 60}"),
            )
            .init(part("next", "say next"))
            .main("say main; stay", "")
            .then(|t| {
                t.event("side");
                t.holds(2.5, "the next is not started", || t.words() == ["side"]);
                assert_eq!(t.container("side")["started"], false);
                assert_eq!(t.at("/status/phase"), "Pending");
                t.write("go", "");
                t.ready();
                assert_eq!(t.words(), ["side", "next", "main"]);
                assert_eq!(t.container("side")["started"], true);
            }),
        case("spec.initContainers.restartPolicy", "sidecars are stopped after the containers, in reverse order")
            .spec("terminationGracePeriodSeconds: 20")
            .init(sidecar("one", "trap 'say one-term; exit 0' TERM; say one; stay"))
            .init(sidecar("two", "trap 'say two-term; sleep 0.5; say two-end; exit 0' TERM; say two; stay"))
            .main("trap 'say main-term; sleep 0.5; say main-end; exit 0' TERM; say main; stay", "")
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                assert_eq!(t.words()[3..], ["main-term", "main-end", "two-term", "two-end", "one-term"]);
            }),
        case("spec.initContainers.restartPolicy", "a sidecar does not keep a Pod of policy Never alive")
            .spec("terminationGracePeriodSeconds: 10")
            .init(sidecar("side", "trap 'say side-term; exit 7' TERM; say side; stay"))
            .main("say main; exit 0", "")
            .phase("Succeeded")
            .then(|t| {
                assert_eq!(t.words(), ["side", "main", "side-term"]);
                t.holds(1.5, "it is not restarted", || t.count("side") == 1 && t.at("/status/phase") == "Succeeded");
                assert_eq!(t.container("side")["state"]["terminated"]["exitCode"], 7);
            }),
        case("spec.initContainers.restartPolicy", "a sidecar is restarted under Never, too")
            .init(sidecar("side", "say side; [ $(grep -c '^side ' /out/events) -ge 2 ] && stay; sleep 0.5; exit 0"))
            .main("say main; stay", "")
            .then(|t| {
                t.nth("side", 2);
                t.until("the restart is counted", || t.restarts("side") == 1);
                t.ready();
                assert_eq!((t.count("main"), t.restarts("main")), (1, 0));
            }),
        case("spec.initContainers.readinessProbe", "a sidecar's counts for the Pod's readiness")
            .init(
                sidecar("side", "say side; stay").with(
                    "readinessProbe: {exec: {command: [test, -e, /out/go]}, periodSeconds: 1, failureThreshold: 1}",
                ),
            )
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                t.started("main");
                t.holds(1.5, "the Pod is not ready", || !t.is_ready());
                t.write("go", "");
                t.ready();
            }),
        case("spec.initContainers.livenessProbe", "a sidecar's restarts it")
            .init(sidecar("side", "trap 'exit 0' TERM; say side; stay").with(
                "livenessProbe: {exec: {command: [test, -e, /out/events, -a, '!', -e, /out/sick]}, periodSeconds: 1, failureThreshold: 1}",
            ))
            .main("say main; stay", "")
            .then(|t| {
                t.ready();
                t.write("sick", "");
                t.nth("side", 2);
                std::fs::remove_file(t.dir.join("sick")).unwrap();
                assert_eq!(t.count("main"), 1);
            }),
        case("spec.initContainers.lifecycle.postStart", "a sidecar's comes before what follows it")
            .init(
                sidecar("side", "say side; stay")
                    .with("lifecycle: {postStart: {exec: {command: [sh, -c, 'sleep 1; echo hook 0 >>/out/events']}}}"),
            )
            .main("say main", "")
            .phase("Succeeded")
            .then(|t| {
                let words = t.words();
                let place = |w: &str| words.iter().position(|x| x == w);
                assert!(place("hook") < place("main") && place("hook").is_some(), "{words:?}");
            }),
        case("spec.initContainers.restartPolicy", "refused when it is not Always")
            .init(part("side", "say side").with("restartPolicy: Sometimes"))
            .main("say main", "")
            .refused(&["initContainers[0].restartPolicy", "Sometimes"]),
    ]
}
