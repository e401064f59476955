//! How a Pod ends: signals, grace, deadlines, last words.

use crate::bench::uptime;
use crate::case::{Case, case, part};
use crate::images::COMMAND;

/// Tells of TERM, does not end, and keeps a file of its last sign of life.
const DEAF: &str = "trap 'say term' TERM; say main; while :; do read -r up _ </proc/uptime; echo $up >/out/last.new; mv /out/last.new /out/last; sleep 0.05; done";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.terminationGracePeriodSeconds", "passes between TERM and KILL")
            .spec("terminationGracePeriodSeconds: 3")
            .main(DEAF, "")
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                let last: f64 = t.content("last").parse().unwrap();
                let lived = last - t.event("term");
                assert!((2.7..3.8).contains(&lived), "killed {lived} s after TERM");
            }),
        case("spec.terminationGracePeriodSeconds", "is not waited out when all have ended")
            .spec("terminationGracePeriodSeconds: 30")
            .main("trap 'say term; exit 0' TERM; say main; stay", "")
            .then(|t| {
                t.ready();
                t.event("main");
                let removed = uptime();
                t.remove();
                t.gone();
                assert!(uptime() - removed < 12.0, "it took {} s", uptime() - removed);
                assert_eq!(t.count("term"), 1);
            }),
        case("spec.containers", "all get TERM at once")
            .spec("terminationGracePeriodSeconds: 10")
            .container(part("one", "trap 'say one-term; sleep 1.5; exit 0' TERM; say one; stay"))
            .container(part("two", "trap 'say two-term; sleep 1.5; exit 0' TERM; say two; stay"))
            .then(|t| {
                t.ready();
                t.event("two");
                t.remove();
                t.gone();
                let apart = (t.event("one-term") - t.event("two-term")).abs();
                assert!(apart < 0.7, "{apart} s apart");
            }),
        case("spec.containers.lifecycle.stopSignal", "is sent in place of TERM")
            .spec("os: {name: linux}")
            .spec("terminationGracePeriodSeconds: 10")
            .main(
                "trap 'say term' TERM; trap 'say usr2; exit 0' USR2; say main; stay",
                "lifecycle: {stopSignal: SIGUSR2}",
            )
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                assert_eq!(t.words(), ["main", "usr2"]);
            }),
        case("spec.containers.image", "its STOPSIGNAL is sent in place of TERM")
            .spec("terminationGracePeriodSeconds: 10")
            .container(
                part("main", "trap 'say term' TERM; trap 'say usr1; exit 0' USR1; say main; stay")
                    .with(&format!("image: {COMMAND}")),
            )
            .then(|t| {
                t.ready();
                t.event("main");
                t.remove();
                t.gone();
                assert_eq!(t.words(), ["main", "usr1"]);
            }),
        case("spec.activeDeadlineSeconds", "the Pod fails: DeadlineExceeded")
            .spec("activeDeadlineSeconds: 2")
            .spec("terminationGracePeriodSeconds: 5")
            .spec("restartPolicy: Always")
            .main("trap 'say term; exit 0' TERM; say main; stay", "")
            .phase("Failed")
            .then(|t| {
                assert_eq!(t.at("/status/reason"), "DeadlineExceeded");
                t.until("it has been stopped", || t.count("term") == 1);
                let lived = t.event("term") - t.event("main");
                // It counts from the Pod's beginning, and a busy machine may take its time to start the container.
                assert!((0.0..4.0).contains(&lived), "lived for {lived} s");
                t.holds(1.5, "it is not started again", || t.count("main") == 1);
            }),
        case("spec.activeDeadlineSeconds", "counts for init containers, too")
            .spec("activeDeadlineSeconds: 1")
            .init(part("init", "say init; stay"))
            .main("say main", "")
            .phase("Failed")
            .then(|t| {
                assert_eq!(t.at("/status/reason"), "DeadlineExceeded");
                assert_eq!(t.count("main"), 0);
            }),
        case("metadata.deletionTimestamp", "is set while the Pod terminates, and the phase stays")
            .spec("terminationGracePeriodSeconds: 10")
            .main("trap 'say term; sleep 2; exit 0' TERM; say main; stay", "")
            .then(|t| {
                t.ready();
                t.event("main");
                assert!(t.at("/metadata/deletionTimestamp").is_null());
                t.remove();
                t.event("term");
                t.until("it is told", || t.at("/metadata/deletionTimestamp").is_string());
                assert_eq!(t.at("/status/phase"), "Running");
                t.gone();
            }),
        case("spec.containers.readinessProbe", "goes on while the Pod terminates")
            .spec("terminationGracePeriodSeconds: 20")
            .main(
                "trap 'rm /out/up; say term; sleep 4; say end; exit 0' TERM; echo >/out/up; say main; stay",
                "readinessProbe: {exec: {command: [test, -e, /out/up]}, periodSeconds: 1, failureThreshold: 1}",
            )
            .then(|t| {
                t.ready();
                t.remove();
                t.event("term");
                t.until("it is not ready any more", || t.status().is_some() && !t.is_ready());
                assert_eq!(t.count("end"), 0, "seen before it has ended");
                t.gone();
            }),
        case("spec.containers.livenessProbe", "ends when the Pod terminates")
            .spec("terminationGracePeriodSeconds: 20")
            .main(
                "trap 'say term; sleep 4; say end; exit 0' TERM; say main; stay",
                "livenessProbe: {exec: {command: [sh, -c, 'read up _ </proc/uptime; echo $up >>/out/asked']}, periodSeconds: 1}",
            )
            .then(|t| {
                t.ready();
                t.until("it is asked", || t.file("asked").lines().count() >= 2);
                t.remove();
                let term = t.event("term");
                t.gone();
                let late = t.file("asked").lines().filter(|l| l.parse::<f64>().unwrap() > term + 0.8).count();
                assert_eq!(late, 0, "asked after TERM at {term}:\n{}", t.file("asked"));
            }),
    ];
    cases.extend(messages());
    cases
}

/// `terminationMessagePath` and `terminationMessagePolicy`.
fn messages() -> Vec<Case> {
    vec![
        case("spec.containers.terminationMessagePath", "its default is /dev/termination-log")
            .main("echo -n last words >/dev/termination-log; exit 3", "")
            .then(|t| assert_eq!(t.ended("main")["message"], "last words")),
        case("spec.containers.terminationMessagePath", "another file, writable for every user")
            .main(
                "echo -n words of $(id -u) >/run/last/words; ls -l /run/last/words | cut -c1-10",
                "terminationMessagePath: /run/last/words
                 securityContext: {runAsUser: 4321}",
            )
            .then(|t| {
                assert_eq!(t.ended("main")["message"], "words of 4321");
                assert_eq!(t.logs("main").trim(), "-rw-rw-rw-");
            }),
        case("spec.containers.terminationMessagePath", "the last 4096 bytes count")
            .main("(yes a | head -n 2000; yes b | head -n 1000) >/dev/termination-log", "")
            .then(|t| {
                let message = t.ended("main")["message"].as_str().unwrap_or_default().to_owned();
                assert_eq!(message.len(), 4096);
                assert_eq!((message.matches('a').count(), message.matches('b').count()), (1048, 1000));
            }),
        case("spec.containers.terminationMessagePath", "the message of a former life is kept with it")
            .spec("restartPolicy: OnFailure")
            .main("say main; [ $(grep -c main /out/events) -ge 2 ] && stay; echo -n first >/dev/termination-log; exit 1", "")
            .then(|t| assert_eq!(t.former("main")["message"], "first")),
        case("spec.containers.terminationMessagePolicy=FallbackToLogsOnError", "a failure without words: the log's end")
            .main("echo one; echo two >&2; exit 1", "terminationMessagePolicy: FallbackToLogsOnError")
            .then(|t| {
                let message = t.ended("main")["message"].as_str().unwrap_or_default().to_owned();
                assert!(message.contains("one") && message.contains("two"), "{message:?}");
            }),
        case("spec.containers.terminationMessagePolicy=FallbackToLogsOnError", "at most 80 lines of it")
            .main("seq 1 200; exit 1", "terminationMessagePolicy: FallbackToLogsOnError")
            .then(|t| {
                let message = t.ended("main")["message"].as_str().unwrap_or_default().to_owned();
                let lines: Vec<&str> = message.lines().collect();
                assert_eq!((lines.len(), lines.first(), lines.last()), (80, Some(&"121"), Some(&"200")));
            }),
        case("spec.containers.terminationMessagePolicy=FallbackToLogsOnError", "a file with words wins; a success has none")
            .container(
                part("file", "echo log; echo -n file >/dev/termination-log; exit 1")
                    .with("terminationMessagePolicy: FallbackToLogsOnError"),
            )
            .main("echo log; exit 0", "terminationMessagePolicy: FallbackToLogsOnError")
            .then(|t| {
                assert_eq!(t.ended("file")["message"], "file");
                assert!(t.ended("main")["message"].as_str().unwrap_or_default().is_empty());
            }),
        case("spec.containers.terminationMessagePolicy", "refused when unknown")
            .main("say main", "terminationMessagePolicy: Shout")
            .refused(&["terminationMessagePolicy", "Shout"]),
    ]
}
