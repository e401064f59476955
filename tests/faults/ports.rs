//! One port of the host for two Pods.

use crate::common::yaml::one;
use crate::common::{Instance, text};
use crate::inject::{assert_no_double, guard, instance, until_guarded};

/// Under hostNetwork every port that is declared is one of the host.
fn put(i: &Instance, name: &str, tag: &str, port: u16) {
    let ports = format!("ports: [{{containerPort: {port}}}]");
    i.write_manifest(&format!("{name}.yaml"), &one(i, name, &guard(name, tag), &[&ports]));
}

fn waits(i: &Instance, name: &str, port: u16, holder: &str) -> bool {
    let message = format!("waits for port {port}/TCP of the host, which default/{holder}-{} has", i.node);
    i.pod(name).is_some_and(|p| p.summary == "NodePorts" && p.message.as_deref() == Some(&message))
}

#[test]
fn the_second_pod_waits_for_the_port_and_the_first_is_never_stopped_for_it() {
    let Some(mut i) = instance() else { return };
    put(&i, "b", "1", 18_080);
    i.start();
    until_guarded(&i, "b", "1");
    let pid = i.running_pid("b", "main");
    // Another name, and one that comes first.
    put(&i, "a", "1", 18_080);
    i.until("a waits", |i| waits(i, "a", 18_080, "b"));
    assert_eq!((i.running_pid("b", "main"), i.lines("a").len()), (pid, 0));
    let why = text(&i.cli("why", &["a"]).stdout);
    assert!(why.contains("It waits for port 18080/TCP") && why.contains("another hostPort"), "{why}");
    put(&i, "c", "1", 18_081);
    until_guarded(&i, "c", "1");
    // A new version is no obstacle to itself, and nobody slips in between.
    put(&i, "b", "2", 18_080);
    until_guarded(&i, "b", "2");
    assert!(waits(&i, "a", 18_080, "b"));
    // One that wants another's port waits, and the old one goes on.
    put(&i, "b", "3", 18_081);
    i.until("its new version waits", |i| {
        i.pod("b")
            .is_some_and(|p| p.message.is_some_and(|m| m.contains("replacement waits: waits for port 18081")))
    });
    let plan = text(&i.cli("plan", &[]).stdout);
    assert!(plan.contains("is taken by default/c-"), "{plan}");
    i.kill9();
    i.start();
    i.until("a waits still", |i| waits(i, "a", 18_080, "b"));
    assert_eq!((i.lines("b").len(), i.lines("c").len(), i.lines("a").len()), (3, 1, 0));
    // The first goes: the second begins, one after the other.
    i.remove("c.yaml");
    until_guarded(&i, "b", "3");
    until_guarded(&i, "a", "1");
    assert_no_double(&i);
}
