//! Pods that wait for others by `podstrap.io/depends-on`, and that end before them.

use std::fs;
use std::time::Duration;

use crate::common::yaml::{canary, one};
use crate::common::{Instance, NODE, assert_exit, describe, host, instance, text};

/// A manifest with the annotation.
fn on(manifest: &str, list: &str) -> String {
    manifest.replacen("}\n", &format!(", annotations: {{podstrap.io/depends-on: \"{list}\"}}}}\n"), 1)
}

const PROBE: &str =
    "readinessProbe: {exec: {command: [test, -f, /shared/ready]}, periodSeconds: 1, failureThreshold: 1}";

/// Says when it is ready, two seconds after its start, and writes that down.
fn slow(file: &str) -> String {
    let ready = "read up _ </proc/uptime; echo $up >/shared/ready.part; mv /shared/ready.part /shared/ready";
    format!("(sleep 2; {ready}) &\n{}", canary(file))
}

/// Takes a second to end, and says so.
fn slow_to_end(file: &str) -> String {
    canary(file).replace("say term;", "say term; sleep 1; say gone;")
}

fn time(line: &str) -> f64 {
    line.split_once(' ').unwrap().1.parse().unwrap()
}

fn summary(i: &Instance, pod: &str) -> (String, String) {
    i.pod(pod).map(|p| (p.summary, p.message.unwrap_or_default())).unwrap_or_default()
}

fn told(i: &Instance, what: &str) -> usize {
    fs::read_to_string(i.daemon_log()).unwrap().lines().filter(|l| l.contains(what)).count()
}

#[test]
fn a_pod_starts_when_what_it_depends_on_is_ready_and_ends_before_it() {
    let Some(mut i) = instance() else { return };
    // By name and by priority the other way round.
    let api = one(&i, "api", &slow_to_end("api"), &[]);
    let api = api
        .replace("spec:\n", "spec:\n  priority: 7\n")
        .replace("GracePeriodSeconds: 2", "GracePeriodSeconds: 20");
    i.write_manifest("api.yaml", &on(&api, &format!("etcd , default/etcd-{NODE}")));
    i.write_manifest("etcd.yaml", &one(&i, "etcd", &slow("etcd"), &[PROBE]));
    for (lives, how) in ["down", "down without a daemon", "SIGTERM"].into_iter().enumerate() {
        if how == "SIGTERM" {
            i.args(&["--on-exit", "stop"]);
        }
        i.start();
        i.until("it says what it waits for", |i| summary(i, "api").1.contains("readiness probe: exit"));
        let (word, message) = summary(&i, "api");
        assert_eq!(word, "DependencyNotReady");
        let begin = format!(
            "waits for default/etcd-{NODE}, which is not ready: Running: main: readiness probe: exit code 1"
        );
        assert_eq!(message, begin, "one Pod by two names is one Pod");
        let waiting = i.container("api", "main").unwrap().state.waiting.unwrap();
        assert_eq!((waiting.reason, waiting.message.unwrap()), (word, message));
        let output = i.wait(&["--timeout", "0", "api"]);
        assert_exit(&output, 4);
        assert!(text(&output.stderr).contains(&begin), "{}", describe(&output));
        assert_eq!(i.lines("api").len(), 3 * lives, "nothing of it runs");
        assert_eq!(i.records("api", "main").len(), 0, "nothing of it is made");
        i.until_ready("api");
        let ready: f64 = fs::read_to_string(i.shared.join("ready")).unwrap().trim().parse().unwrap();
        let started = time(i.lines("api").last().unwrap());
        assert!(started >= ready, "started at {started}, and what it depends on was ready at {ready}");
        // Each life goes on where the logs of the one before it end.
        assert_eq!(i.restarts("api", "main") as usize, lives, "no back-off was burnt");
        match how {
            "down" => {
                i.cli_ok("down", &[]);
                i.daemon_exit(Duration::from_secs(20));
            }
            "SIGTERM" => drop(i.terminate()),
            _ => {
                i.kill9();
                i.cli_ok("down", &[]);
            }
        }
        let gone = i.lines("api").into_iter().rfind(|l| l.starts_with("gone")).map(|l| time(&l)).unwrap();
        let told = i.lines("etcd").into_iter().rfind(|l| l.starts_with("term")).map(|l| time(&l)).unwrap();
        assert!(told >= gone, "{how}: told to end at {told}, before what depends on it was gone at {gone}");
        // The next time it is as after a reboot: nothing is saved of the order.
        fs::remove_file(i.shared.join("ready")).unwrap();
    }
    assert_eq!(i.lines("api").len(), 9);
}

#[test]
fn a_dependency_that_fails_later_stops_nobody_not_even_under_another_daemon() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("etcd.yaml", &one(&i, "etcd", &slow("etcd"), &[PROBE]));
    i.write_manifest("api.yaml", &on(&one(&i, "api", &canary("api"), &[]), "etcd"));
    i.start();
    let pid = i.until_ready("api");
    fs::remove_file(i.shared.join("ready")).unwrap();
    i.until("it is not ready any more", |i| !i.ready("etcd"));
    i.kill9();
    i.start();
    i.holds_for(Duration::from_secs(3), "it runs on", |_| host::alive(pid));
    assert!(!i.ready("etcd") && i.ready("api"));
    // Replaced now, it would have to wait: the old version ends, and the new one does.
    i.write_manifest("api.yaml", &on(&one(&i, "api", &canary("api2"), &[]), "etcd"));
    i.until("the new version waits", |i| summary(i, "api").0 == "DependencyNotReady");
    assert!(!host::alive(pid));
    fs::write(i.shared.join("ready"), "").unwrap();
    i.until_ready("api");
    assert_eq!(i.lines("api2").len(), 1);
    assert_eq!(i.lines("etcd").len(), 1);
}

#[test]
fn an_unknown_name_is_told_once_and_waited_for() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("api.yaml", &on(&one(&i, "api", &canary("api"), &[]), "other/net,etcd"));
    i.write_manifest("etcd.yaml", &one(&i, "etcd", &canary("etcd"), &[]));
    i.start();
    i.until("it says so", |i| summary(i, "api").0 == "DependencyNotFound");
    i.until_ready("etcd");
    let text = format!("waits for other/net-{NODE}, of which there is no manifest");
    assert_eq!(summary(&i, "api").1, text);
    // A Pod of this name in another namespace is another Pod.
    i.write_manifest("net.yaml", &one(&i, "net", &canary("net"), &[]));
    i.until_ready("net");
    assert_eq!(summary(&i, "api"), ("DependencyNotFound".to_owned(), text.clone()));
    assert_eq!(told(&i, &text), 1);
    let net = one(&i, "net", &canary("other"), &[]).replacen("name: net", "name: net, namespace: other", 1);
    i.write_manifest("other.yaml", &net);
    i.until_ready("api");
    // A running Pod is not ended for a name that nothing has.
    i.write_manifest("api.yaml", &on(&one(&i, "api", &canary("api"), &[]), "nett"));
    i.until("the new version waits", |i| summary(i, "api").1.contains("replacement waits: waits for"));
    assert_eq!(summary(&i, "api").0, "Running");
    i.holds_for(Duration::from_secs(1), "the old one runs", |i| i.lines("api").len() == 1);
    assert_exit(&i.wait(&["--timeout", "0", "api"]), 4);
}

#[test]
fn a_circle_is_told_by_its_names_and_deadlocks_nothing() {
    let Some(mut i) = instance() else { return };
    for (name, list) in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")] {
        i.write_manifest(&format!("{name}.yaml"), &on(&one(&i, name, &canary(name), &[]), list));
    }
    i.start();
    let circle = format!("default/b-{NODE} → default/c-{NODE} → default/a-{NODE} → default/b-{NODE}");
    i.until("it is told", |i| summary(i, "b").1.contains(&circle));
    assert_eq!(summary(&i, "b").0, "DependencyCycle");
    i.until("and who waits for it", |i| {
        summary(i, "d").1.contains(&format!("it waits for default/a-{NODE} → "))
    });
    assert!(told(&i, &circle) == 1, "once");
    i.holds_for(Duration::from_secs(1), "nothing of it starts", |i| {
        ["a", "b", "c", "d"].iter().all(|name| i.lines(name).is_empty())
    });
    i.write_manifest("c.yaml", &one(&i, "c", &canary("c"), &[]));
    for name in ["c", "b", "a", "d"] {
        i.until_ready(name);
    }
    i.write_manifest("c.yaml", &on(&one(&i, "c", &canary("c"), &[]), "d"));
    i.until("the circle is closed again", |i| summary(i, "c").1.contains("depends on itself"));
    i.cli_ok("down", &[]);
    i.daemon_exit(Duration::from_secs(20));
    let term = |name: &str| time(i.lines(name).last().unwrap());
    assert!(term("d") <= term("a") && term("a") <= term("b") && term("b") <= term("c"));
}
