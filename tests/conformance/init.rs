//! Init containers: their order, what their failure means, and when they are run again.

use crate::case::{Case, case, part};

pub fn cases() -> Vec<Case> {
    vec![
        case("spec.initContainers", "run one after the other, to their ends, before the containers")
            .init(part("a", "say a; sleep 0.7; say a-end"))
            .init(part("b", "say b; sleep 0.3; say b-end"))
            .main("say main", "")
            .phase("Succeeded")
            .then(|t| assert_eq!(t.words(), ["a", "a-end", "b", "b-end", "main"])),
        case("spec.initContainers", "a failed one is tried again under OnFailure")
            .spec("restartPolicy: OnFailure")
            .init(part("a", "say a; [ $(grep -c '^a ' /out/events) -ge 3 ]"))
            .main("say main", "")
            .phase("Succeeded")
            .then(|t| {
                assert_eq!(t.words(), ["a", "a", "a", "main"]);
                assert_eq!(t.restarts("a"), 2);
                assert_eq!(t.container("a")["state"]["terminated"]["exitCode"], 0);
            }),
        case("spec.initContainers", "Always behaves as OnFailure: one that has succeeded is not restarted")
            .spec("restartPolicy: Always")
            .init(part("a", "say a; [ $(grep -c '^a ' /out/events) -ge 2 ]"))
            .main("say main; stay", "")
            .then(|t| {
                t.ready();
                t.holds(1.5, "it is run no more", || t.count("a") == 2);
                assert_eq!(t.words(), ["a", "a", "main"]);
            }),
        case("spec.initContainers", "a failed one fails the Pod under Never")
            .init(part("a", "say a; exit 3"))
            .init(part("b", "say b"))
            .main("say main", "")
            .phase("Failed")
            .then(|t| {
                let ended = t.ended("a");
                assert_eq!((ended["exitCode"].as_i64(), ended["reason"].as_str()), (Some(3), Some("Error")));
                assert_eq!(t.condition("Initialized")["status"], "False");
                t.holds(1.0, "nothing else is started", || t.words() == ["a"]);
            }),
        case("spec.initContainers", "not run again when a container is restarted")
            .spec("restartPolicy: Always")
            .init(part("a", "say a"))
            .main("say main; sleep 0.2; [ $(grep -c '^main ' /out/events) -ge 3 ] && stay; exit 1", "")
            .then(|t| {
                t.nth("main", 3);
                t.ready();
                assert_eq!((t.count("a"), t.restarts("main")), (1, 2));
            }),
        case("spec.initContainers", "run again when the Pod is replaced")
            .metadata("labels: {version: first}")
            .spec("restartPolicy: Always")
            .init(part("a", "say a"))
            .main("say main; stay", "")
            .then(|t| {
                t.ready();
                let uid = t.at("/metadata/uid");
                t.edit("version: first", "version: second");
                t.nth("main", 2);
                assert_eq!(t.words(), ["a", "main", "a", "main"]);
                t.until("it has a new UID", || t.at("/metadata/uid") != uid);
            }),
        case("spec.initContainers", "meanwhile the Pod is Pending, and the containers wait: PodInitializing")
            .init(part("a", "say a; while ! [ -e /out/go ]; do sleep 0.1; done"))
            .main("say main; stay", "")
            .then(|t| {
                t.event("a");
                t.waits("main", "PodInitializing", &[]);
                assert_eq!(t.at("/status/phase"), "Pending");
                assert_eq!(t.condition("Initialized")["status"], "False");
                assert_eq!(t.condition("Initialized")["reason"], "ContainersNotInitialized");
                assert_eq!(t.condition("Ready")["status"], "False");
                t.write("go", "");
                t.phase("Running");
                t.ready();
                assert_eq!(t.condition("Initialized")["status"], "True");
                assert_eq!(t.container("a")["state"]["terminated"]["reason"], "Completed");
            }),
        case("spec.initContainers", "share the Pod's volumes with the containers")
            .volume("{name: work, emptyDir: {}}")
            .init(part("a", "echo made by init >/space/file").mount("{name: work, mountPath: /space}"))
            .container(part("main", "cat /space/file").mount("{name: work, mountPath: /space}"))
            .says("made by init"),
        case("spec.initContainers.image", "an image of its own, with its own user")
            .init(
                part("a", "id -u >/out/uid")
                    .with(&format!("image: {}", crate::images::NUMBER))
                    .with("workingDir: /"),
            )
            .main("cat /out/uid; id -u", "")
            .says("1234\n0"),
        case("spec.initContainers.lifecycle", "refused on a plain init container")
            .init(part("a", "say a").with("lifecycle: {postStart: {exec: {command: ['true']}}}"))
            .main("say main", "")
            .refused(&["initContainers[0].lifecycle"]),
        case("spec.initContainers.readinessProbe", "refused on a plain init container")
            .init(part("a", "say a").with("readinessProbe: {exec: {command: ['true']}}"))
            .main("say main", "")
            .refused(&["initContainers[0].readinessProbe"]),
    ]
}
