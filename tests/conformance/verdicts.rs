//! What follows from probes: thresholds, delays, restarts, readiness.

use crate::case::{Case, case};

/// Told to end, it says so; it goes on to live after each restart.
const CANARY: &str = "trap 'say term; exit 0' TERM; say main; stay";

pub fn cases() -> Vec<Case> {
    vec![
        case("spec.containers.livenessProbe", "a failing one: TERM, then a restart by the policy")
            .spec("restartPolicy: Always")
            .spec("terminationGracePeriodSeconds: 10")
            .main(
                CANARY,
                "livenessProbe: {exec: {command: [test, '!', -e, /out/sick]}, periodSeconds: 1, failureThreshold: 1}",
            )
            .then(|t| {
                t.ready();
                t.holds(2.0, "a good probe restarts nothing", || t.words() == ["main"]);
                t.write("sick", "");
                t.nth("main", 2);
                std::fs::remove_file(t.dir.join("sick")).unwrap();
                t.ready();
                assert_eq!(t.words()[..3], ["main", "term", "main"]);
                t.until("the restart is counted", || t.restarts("main") >= 1);
            }),
        case("spec.containers.livenessProbe", "under Never the Pod has failed then")
            .main(
                "trap 'say term; exit 9' TERM; say main; stay",
                "livenessProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 1}",
            )
            .phase("Failed")
            .then(|t| {
                assert_eq!(t.ended("main")["exitCode"], 9);
                assert_eq!(t.count("main"), 1);
            }),
        case("spec.containers.livenessProbe.failureThreshold", "so many failures in a row")
            .main(
                CANARY,
                "livenessProbe: {exec: {command: [sh, -c, 'read up _ </proc/uptime; echo $up >>/out/asked; exit 1']}, periodSeconds: 1, failureThreshold: 4}",
            )
            .then(|t| {
                t.event("term");
                assert_eq!(t.file("asked").lines().count(), 4, "{}", t.file("asked"));
            }),
        case("spec.containers.livenessProbe.failureThreshold", "a success in between starts the count again")
            .main(
                CANARY,
                "livenessProbe: {exec: {command: [sh, -c, 'echo x >>/out/asked; [ $(($(wc -l </out/asked) % 2)) = 0 ]']}, periodSeconds: 1, failureThreshold: 2}",
            )
            .then(|t| {
                t.until("it is asked five times", || t.file("asked").lines().count() >= 5);
                assert_eq!(t.words(), ["main"]);
            }),
        case("spec.containers.livenessProbe.initialDelaySeconds", "passes before the first try")
            .main(
                CANARY,
                "livenessProbe: {exec: {command: [sh, -c, 'read up _ </proc/uptime; echo asked $up >>/out/events']}, initialDelaySeconds: 3, periodSeconds: 1}",
            )
            .then(|t| {
                let waited = t.event("asked") - t.event("main");
                assert!((2.7..4.6).contains(&waited), "first asked after {waited} s");
            }),
        case("spec.containers.readinessProbe.periodSeconds", "passes between tries")
            .web()
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@}, periodSeconds: 2}")
            .then(|t| {
                let web = t.web.as_ref().unwrap();
                t.until("it is asked four times", || web.asked().len() >= 4);
                let times: Vec<f64> = web.asked().iter().map(|a| a.0).collect();
                for gap in times.windows(2).map(|w| w[1] - w[0]).take(3) {
                    assert!((1.5..2.5).contains(&gap), "{times:?}");
                }
            }),
        case("spec.containers.readinessProbe.successThreshold", "so many successes in a row")
            .web()
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@}, periodSeconds: 1, successThreshold: 4}")
            .then(|t| {
                let web = t.web.as_ref().unwrap();
                let mut when_ready = 0;
                t.until("the Pod is ready", || {
                    when_ready = web.asked().len();
                    t.is_ready()
                });
                assert!(when_ready >= 4, "ready after {when_ready} tries");
            }),
        case("spec.containers.readinessProbe", "a failing one takes readiness away and restarts nothing")
            .main(
                CANARY,
                "readinessProbe: {exec: {command: [test, -e, /out/up]}, periodSeconds: 1, failureThreshold: 2}",
            )
            .then(|t| {
                t.event("main");
                t.holds(1.5, "it is not ready", || !t.is_ready());
                assert_eq!(t.container("main")["started"], true);
                t.write("up", "");
                t.ready();
                std::fs::remove_file(t.dir.join("up")).unwrap();
                t.until("it is not ready any more", || !t.is_ready());
                assert_eq!(t.condition("ContainersReady")["status"], "False");
                assert!(t.condition("Ready")["message"].as_str().unwrap_or_default().contains("main"));
                assert_eq!(t.words(), ["main"]);
            }),
        case("spec.containers.startupProbe", "liveness and readiness wait for it")
            .main(
                CANARY,
                "startupProbe: {exec: {command: [test, -e, /out/started]}, periodSeconds: 1, failureThreshold: 60}
                 livenessProbe: {exec: {command: [sh, -c, 'echo live 0 >>/out/events']}, periodSeconds: 1}
                 readinessProbe: {exec: {command: [sh, -c, 'echo ready 0 >>/out/events']}, periodSeconds: 1}",
            )
            .then(|t| {
                t.event("main");
                t.holds(2.5, "neither is asked", || t.words() == ["main"]);
                let main = t.container("main");
                assert_eq!((&main["started"], &main["ready"]), (&false.into(), &false.into()));
                t.write("started", "");
                t.ready();
                t.event("live");
                assert_eq!(t.container("main")["started"], true);
            }),
        case("spec.containers.startupProbe", "is not asked again once it has succeeded")
            .main(
                CANARY,
                "startupProbe: {exec: {command: [sh, -c, 'echo asked 0 >>/out/events']}, periodSeconds: 1}",
            )
            .then(|t| {
                t.ready();
                t.holds(2.5, "it is asked once", || t.count("asked") == 1);
            }),
        case("spec.containers.startupProbe", "a failing one restarts the container")
            .spec("restartPolicy: Always")
            .main(
                CANARY,
                "startupProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 2}",
            )
            .then(|t| {
                t.nth("main", 2);
                assert_eq!(t.words()[..3], ["main", "term", "main"]);
                assert!(!t.is_ready());
            }),
        case("spec.containers.livenessProbe.terminationGracePeriodSeconds", "replaces the Pod's for this kill")
            .spec("restartPolicy: Always")
            .spec("terminationGracePeriodSeconds: 60")
            .main(
                "trap 'say term' TERM; say main; while :; do sleep 0.1; done",
                "livenessProbe: {exec: {command: [test, '!', -e, /out/sick]}, periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 3}",
            )
            .then(|t| {
                t.ready();
                t.write("sick", "");
                let term = t.event("term");
                let again = t.nth("main", 2);
                assert!((2.7..5.5).contains(&(again - term)), "started again {} s after TERM", again - term);
                std::fs::remove_file(t.dir.join("sick")).unwrap();
                // So that the end of the suite does not wait for its minute.
                t.edit("terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 1");
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(t.pid("main")), nix::sys::signal::Signal::SIGKILL)
                    .unwrap();
            }),
        case("spec.containers.readinessProbe.terminationGracePeriodSeconds", "refused")
            .main("stay", "readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 3}")
            .refused(&["readinessProbe.terminationGracePeriodSeconds"]),
        case("spec.containers.livenessProbe.successThreshold", "refused unless 1")
            .main("stay", "livenessProbe: {tcpSocket: {port: 80}, successThreshold: 2}")
            .refused(&["livenessProbe.successThreshold"]),
        case("spec.containers.readinessProbe", "what the server said is in the status")
            .web()
            .before(|t| t.web.as_ref().unwrap().reply(503, "the database is away\nand more", &[]))
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@}, periodSeconds: 1, failureThreshold: 1}")
            .then(|t| {
                let told = || t.status().and_then(|s| s.message).unwrap_or_default();
                t.until("it is told", || told().contains("503") && told().contains("the database is away"));
            }),
    ]
}
