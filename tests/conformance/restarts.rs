//! When containers are started again, and when not.

use crate::case::{Case, case, part};
use crate::common;

pub fn cases() -> Vec<Case> {
    vec![
        case("spec.restartPolicy=Always", "a clean exit is followed by a restart")
            .spec("restartPolicy: Always")
            .main("say main; exit 0", "")
            .then(|t| {
                t.nth("main", 3);
                let former = t.former("main");
                assert_eq!((&former["exitCode"], &former["reason"]), (&0.into(), &"Completed".into()));
                assert_eq!(t.at("/status/phase"), "Running");
            }),
        case("spec.restartPolicy=OnFailure", "a failure is, a clean exit is not")
            .spec("restartPolicy: OnFailure")
            .main("say main; [ $(grep -c main /out/events) -ge 3 ]", "")
            .phase("Succeeded")
            .then(|t| {
                assert_eq!(t.restarts("main"), 2);
                t.holds(1.5, "it stays ended", || t.count("main") == 3);
            }),
        case("spec.restartPolicy=Never", "neither is")
            .main("say main; exit 4", "")
            .phase("Failed")
            .then(|t| t.holds(1.5, "it stays ended", || t.count("main") == 1 && t.restarts("main") == 0)),
        case("spec.restartPolicy=Always", "the first restart comes at once, the next after the back-off")
            .spec("restartPolicy: Always")
            .main("say main; exit 1", "")
            .then(|t| {
                t.nth("main", 4);
                t.until("it is told", || t.container("main")["state"]["waiting"]["reason"] == "CrashLoopBackOff");
                let times: Vec<f64> = t.events().iter().map(|e| e.1).collect();
                let waits: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
                let most = if common::runtime() == "podman" { 2.0 } else { 0.9 };
                assert!(waits[0] < most, "the first restart after {} s", waits[0]);
                for wait in &waits[1..3] {
                    assert!((1.0..2.2).contains(wait), "a restart after {wait} s with a back-off of 1 s");
                }
            }),
        case("spec.containers.restartPolicy=Always", "wins over the Pod's Never")
            .main("say main; exit 0", "restartPolicy: Always")
            .then(|t| {
                t.nth("main", 2);
                t.until("the restart is counted", || t.restarts("main") >= 1);
            }),
        case("spec.containers.restartPolicy=Never", "wins over the Pod's Always")
            .spec("restartPolicy: Always")
            .container(part("other", "say other; sleep 0.5; [ $(grep -c other /out/events) -ge 2 ] && stay"))
            .main("say main; exit 3", "restartPolicy: Never")
            .then(|t| {
                assert_eq!(t.ended("main")["exitCode"], 3);
                t.nth("other", 2);
                t.holds(1.5, "it stays ended", || t.count("main") == 1);
                assert_eq!(t.at("/status/phase"), "Running");
            }),
        case("spec.containers.restartPolicy=OnFailure", "wins over the Pod's Never")
            .main("say main; [ $(grep -c main /out/events) -ge 2 ]", "restartPolicy: OnFailure")
            .phase("Succeeded")
            .then(|t| assert_eq!((t.count("main"), t.restarts("main")), (2, 1))),
        case("spec.containers.restartPolicyRules", "In: the exit code restarts, another does not")
            .main(
                "say main; [ $(grep -c main /out/events) -ge 2 ] && exit 5; exit 42",
                "restartPolicy: Never
                 restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [41, 42]}}]",
            )
            .phase("Failed")
            .then(|t| {
                assert_eq!(t.words(), ["main", "main"]);
                assert_eq!(t.ended("main")["exitCode"], 5);
                assert_eq!(t.former("main")["exitCode"], 42);
            }),
        case("spec.containers.restartPolicyRules", "NotIn: every other exit code restarts")
            .main(
                "say main; [ $(grep -c main /out/events) -ge 2 ] && exit 42; exit 5",
                "restartPolicy: Never
                 restartPolicyRules: [{action: Restart, exitCodes: {operator: NotIn, values: [0, 42]}}]",
            )
            .phase("Failed")
            .then(|t| {
                assert_eq!(t.words(), ["main", "main"]);
                assert_eq!(t.ended("main")["exitCode"], 42);
            }),
        case("spec.containers.restartPolicyRules", "none matches: the container's policy counts")
            .main(
                "say main; [ $(grep -c main /out/events) -ge 2 ] && exit 0; exit 5",
                "restartPolicy: OnFailure
                 restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]",
            )
            .phase("Succeeded")
            .then(|t| assert_eq!(t.words(), ["main", "main"])),
        case("spec.containers.restartPolicyRules.action=RestartAllContainers", "every container of the Pod, init too")
            .volume("{name: kept, emptyDir: {}}")
            .init(part("init", "say init"))
            .container(part("other", "say other; stay"))
            .container(
                part("main", "say main; echo x >>/kept/lives; [ $(wc -l </kept/lives) -ge 2 ] && stay; sleep 0.5; exit 42")
                    .mount("{name: kept, mountPath: /kept}")
                    .with("restartPolicy: Never")
                    .with("restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]"),
            )
            .then(|t| {
                t.event("main");
                let uid = t.at("/metadata/uid");
                t.nth("main", 2);
                t.ready();
                assert_eq!((t.count("init"), t.count("other")), (2, 2));
                for name in ["init", "other", "main"] {
                    assert!(t.restarts(name) >= 1, "{name} was not restarted: {}", t.container(name));
                }
                assert_eq!(t.at("/metadata/uid"), uid);
            }),
        case("spec.containers.restartPolicyRules", "refused without restartPolicy")
            .main(
                "say main",
                "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]",
            )
            .refused(&["containers[0].restartPolicy"]),
        case("spec.containers.restartPolicyRules.exitCodes.operator", "refused when unknown")
            .main(
                "say main",
                "restartPolicy: Never
                 restartPolicyRules: [{action: Restart, exitCodes: {operator: Near, values: [42]}}]",
            )
            .refused(&["operator", "Near"]),
    ]
}
