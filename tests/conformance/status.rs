//! What `status -o json` says of a Pod's life: phases, conditions, states, as Kubernetes names them.

use nix::sys::signal::Signal;

use crate::case::{Case, case, part};
use crate::common::host;

pub fn cases() -> Vec<Case> {
    vec![
        case("status.phase", "Running, then Succeeded; conditions of a completed Pod")
            .main("say main; while ! [ -e /out/go ]; do sleep 0.1; done", "")
            .then(|t| {
                t.phase("Running");
                t.ready();
                for kind in
                    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
                {
                    assert_eq!(t.condition(kind)["status"], "True", "{kind}: {}", t.at("/status/conditions"));
                }
                t.write("go", "");
                t.phase("Succeeded");
                for (kind, status) in
                    [("Initialized", "True"), ("Ready", "False"), ("ContainersReady", "False")]
                {
                    let condition = t.condition(kind);
                    assert_eq!(
                        (&condition["status"], &condition["reason"]),
                        (&status.into(), &"PodCompleted".into()),
                        "{kind}"
                    );
                }
            }),
        case("status.phase", "Failed when one of the containers has failed")
            .container(part("good", "exit 0"))
            .container(part("bad", "exit 6"))
            .phase("Failed")
            .then(|t| {
                let (good, bad) = (t.ended("good"), t.ended("bad"));
                assert_eq!((&good["exitCode"], &good["reason"]), (&0.into(), &"Completed".into()));
                assert_eq!((&bad["exitCode"], &bad["reason"]), (&6.into(), &"Error".into()));
                assert_eq!(t.condition("Ready")["reason"], "PodFailed");
            }),
        case("status.phase", "Running as long as one of the containers runs")
            .container(part("short", "exit 0"))
            .container(part("long", "say long; stay"))
            .then(|t| {
                t.ended("short");
                t.event("long");
                t.phase("Running");
                t.holds(1.0, "it is Running", || t.at("/status/phase") == "Running");
                assert!(!t.is_ready(), "a Pod with an ended container is not ready");
                assert_eq!(t.condition("ContainersReady")["reason"], "ContainersNotReady");
            }),
        case("status.containerStatuses.lastState", "the former life, with its times and code")
            .spec("restartPolicy: Always")
            .main("say main; [ $(grep -c main /out/events) -ge 2 ] && stay; sleep 1.2; exit 5", "")
            .then(|t| {
                let former = t.former("main");
                assert_eq!((&former["exitCode"], &former["reason"]), (&5.into(), &"Error".into()));
                let time = |field: &str| former[field].as_str().unwrap_or_default().to_owned();
                assert!(
                    time("startedAt") < time("finishedAt") && time("startedAt").ends_with('Z'),
                    "{former}"
                );
                t.ready();
                let now = t.container("main");
                assert!(
                    now["state"]["running"]["startedAt"].as_str().unwrap() >= time("finishedAt").as_str(),
                    "{now}"
                );
                assert_ne!(now["containerID"], former["containerID"]);
                assert_eq!(now["restartCount"], 1);
            }),
        case("status.containerStatuses.state.terminated", "killed by a signal: 128 and its number")
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                host::signal(t.pid("main"), Signal::SIGKILL);
                let ended = t.ended("main");
                assert_eq!((&ended["exitCode"], &ended["reason"]), (&137.into(), &"Error".into()));
                assert_eq!(t.at("/status/phase"), "Failed");
            }),
        case("status.containerStatuses.state.waiting", "CrashLoopBackOff")
            .spec("restartPolicy: Always")
            .main("exit 1", "")
            .waits("main", "CrashLoopBackOff", &[]),
        case("status.containerStatuses.state.waiting", "ErrImageNeverPull for an image that is not there")
            .main("say main", "image: localhost/absent:1\nimagePullPolicy: Never")
            .waits("main", "ErrImageNeverPull", &["localhost/absent:1"]),
        case("status.containerStatuses", "name, image, imageID and containerID")
            .main("say main; stay", "")
            .then(|t| {
                t.ready();
                let main = t.container("main");
                let text = |field: &str| main[field].as_str().unwrap_or_default().to_owned();
                assert_eq!(text("name"), "main");
                assert!(text("image").contains("localhost/busybox:test"), "{main}");
                assert!(text("imageID").contains("sha256:"), "{main}");
                assert!(
                    text("containerID").starts_with(&format!("{}://", crate::common::runtime_name())),
                    "{main}"
                );
            }),
        case("status.containerStatuses.state.terminated", "a program that is not there")
            .container(crate::case::Part::of_image("main").with("command: [no-such-program]"))
            .then(|t| {
                t.until("the program is named", || {
                    t.container("main").to_string().contains("no-such-program")
                });
                t.phase("Failed");
            }),
        case("status.hostIP", "and podIP under hostNetwork: an address of the node")
            .main("ip -o addr | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1", "")
            .output(|t, out| {
                let ip = t.at("/status/hostIP");
                assert!(out.lines().any(|l| ip == l), "{ip} is none of {out}");
                assert_eq!(t.at("/status/podIP"), ip);
                assert_eq!(t.at("/status/podIPs/0/ip"), ip);
                assert_eq!(t.at("/status/hostIPs/0/ip"), ip);
            }),
        case("status.startTime", "is before the containers' start").main("say main; stay", "").then(|t| {
            t.ready();
            let start = t.at("/status/startTime").as_str().unwrap().to_owned();
            let running = t.container("main")["state"]["running"]["startedAt"].as_str().unwrap().to_owned();
            assert!(!start.is_empty() && start <= running, "{start} {running}");
        }),
        case("metadata", "of a static Pod: suffixed name, UID, and where it comes from")
            .metadata("labels: {a: b}")
            .main("say main; stay", "")
            .then(|t| {
                t.ready();
                assert_eq!(t.at("/metadata/name"), format!("{}-node1", t.name));
                assert_eq!(t.at("/metadata/namespace"), "default");
                assert_eq!(t.at("/metadata/labels/a"), "b");
                assert_eq!(t.at("/spec/nodeName"), "node1");
                assert_eq!(t.at("/metadata/annotations/kubernetes.io~1config.hash"), t.at("/metadata/uid"));
                assert_eq!(t.at("/metadata/annotations/kubernetes.io~1config.source"), "file");
                assert!(t.at("/metadata/annotations/kubernetes.io~1config.seen").is_string());
            }),
    ]
}
