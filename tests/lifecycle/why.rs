//! `why`: each cause, made for real.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use crate::common::yaml::{canary, container, one, pod};
use crate::common::{Instance, SOON, assert_exit, describe, host, instance, runtime, text};

fn why(i: &Instance, pod: &str) -> String {
    let output = i.cli("why", &[pod]);
    assert_exit(&output, 0);
    assert!(output.stderr.is_empty(), "{}", describe(&output));
    let said = text(&output.stdout);
    assert!(said.lines().last().is_some_and(|l| l.starts_with("Next: ")), "{said}");
    said
}

/// Asks until all of `wanted` is in the answer.
fn until_why(i: &Instance, pod: &str, wanted: &[&str]) -> String {
    let mut said = String::new();
    i.until(&format!("why {pod} says {wanted:?}"), |i| {
        said = why(i, pod);
        let all = wanted.iter().all(|w| said.contains(w));
        if !all {
            eprintln!("{said}");
        }
        all
    });
    said
}

#[test]
fn a_healthy_pod_a_crash_and_a_missing_image() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "30s,60s"]);
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.write_manifest("loop.yaml", &one(&i, "loop", "echo these are my last words; exit 3", &[]));
    let never = ["image: nowhere.invalid/x:1", "imagePullPolicy: Never"];
    i.write_manifest("image.yaml", &one(&i, "image", "true", &never));
    i.write_manifest(
        "bad.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {hostNetwork: maybe}\n",
    );
    i.start();
    i.until_ready("web");
    let well = why(&i, "web");
    assert!(well.contains(" is well. Its container has been ready since "), "{well}");
    assert!(well.contains("this version of ") && well.contains("Next: nothing is to be done."), "{well}");
    let wanted = [
        "ended with exit code 3",
        "started again 1 time before; it is started again in ",
        "log of main: these are my last words",
    ];
    let said = until_why(&i, "loop", &wanted);
    assert!(said.contains("has not been ready since") || said.contains("not ready since "), "{said}");
    until_why(
        &i,
        "image",
        &["The image nowhere.invalid/x:1 of container main is not here", "images.d", "Next: put an archive"],
    );
    until_why(
        &i,
        "bad",
        &["is refused, and no earlier version of it runs", "spec.hostNetwork", "podstrap validate"],
    );
    assert_exit(&i.cli("why", &["nobody"]), 1);
    let json: serde_json::Value =
        serde_json::from_slice(&i.cli("why", &["loop", "-o", "json"]).stdout).unwrap();
    let finding = &json["findings"][0];
    assert!(
        finding["what"].as_str().unwrap().contains("exit code 3") && finding["evidence"].is_array(),
        "{json:#}"
    );
    assert!(finding["next"].as_str().unwrap().contains("podstrap logs"), "{json:#}");

    // An edit to a version that cannot begin.
    let edited = one(&i, "web", &canary("web"), &never);
    i.write_manifest("web.yaml", &edited);
    until_why(
        &i,
        "web",
        &[
            "has changed and the new version has not begun",
            "changed: spec.containers[main].image: ",
            "nowhere.invalid/x:1",
        ],
    );
    i.kill9();
    let said = why(&i, "loop");
    assert!(said.contains("The daemon is not running") && said.contains("exit code 3"), "{said}");
}

#[test]
fn a_failing_probe_and_a_dependency() {
    let Some(mut i) = instance() else { return };
    let probe =
        "readinessProbe: {exec: {command: [sh, -c, 'echo not yet; echo more; exit 1']}, periodSeconds: 1}";
    i.write_manifest("slow.yaml", &one(&i, "slow", &canary("slow"), &[probe]));
    let depends = one(&i, "dep", &canary("dep"), &[]).replace(
        "metadata: {name: dep}",
        "metadata: {name: dep, annotations: {podstrap.io/depends-on: slow}}",
    );
    i.write_manifest("dep.yaml", &depends);
    let lives = "livenessProbe: {exec: {command: [sh, -c, 'echo dead inside; exit 1']}, periodSeconds: 1, failureThreshold: 1}";
    i.write_manifest(
        "dead.yaml",
        &pod(&i, "dead", &["terminationGracePeriodSeconds: 1"], &[container("main", "sleep 1000", &[lives])]),
    );
    i.start();
    until_why(&i, "slow", &["and is not ready: readiness probe: ", "not yet", "readinessProbe: {\"exec\""]);
    until_why(&i, "dep", &["It waits for default/slow-", "Next: `podstrap why` the Pod that it waits for"]);
    until_why(&i, "dead", &["probe", "dead inside"]);
}

#[test]
fn what_was_changed_since_it_last_worked_is_told() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "30s,60s"]);
    let web = one(&i, "web", &canary("web"), &["env: [{name: A, value: one}]"]);
    i.write_manifest("web.yaml", &web);
    i.start();
    i.until_ready("web");
    let worked = i.state.join("worked");
    i.until_within(SOON, "it has worked for a while", |_| !host::entries(&worked).is_empty());
    i.write_manifest("web.yaml", &one(&i, "web", "exit 3", &["env: [{name: A, value: two}]"]));
    let changed = "spec.containers[main].env[A].value: \"one\" → \"two\"";
    until_why(&i, "web", &["ended with exit code 3", "changed since it last worked", changed]);
    // It outlives the daemon, and one more version that does not work either.
    i.kill9();
    i.start();
    i.write_manifest("web.yaml", &one(&i, "web", "exit 4", &["env: [{name: A, value: three}]"]));
    let changed = "spec.containers[main].env[A].value: \"one\" → \"three\"";
    until_why(&i, "web", &["ended with exit code 4", "changed since it last worked", changed]);
    i.write_manifest("web.yaml", &web);
    // One that ends at once is ready for an instant, too.
    i.until("the first one runs again", |i| i.lines("web").len() == 3);
    i.until_ready("web");
    assert!(!why(&i, "web").contains("last worked"));
}

#[test]
fn the_process_that_holds_a_socket_is_named() {
    let Some(mut i) = instance() else { return };
    let path = i.dir.join("held.sock");
    let _held = UnixListener::bind(&path).unwrap();
    let line = format!("listen unix {}: bind: address already in use", path.display());
    i.write_manifest("web.yaml", &one(&i, "web", &format!("echo {line}; exit 1"), &[]));
    i.start();
    until_why(&i, "web", &[&format!("socket {} is held by process {}", path.display(), std::process::id())]);
}

#[test]
fn the_process_that_holds_a_port_is_named() {
    let Some(mut i) = instance() else { return };
    let held = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let script = format!("nc -l -p {port}");
    let ports = format!("ports: [{{containerPort: {port}}}]");
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[&ports]));
    i.start();
    let holder = format!("port {port} is held by process {}", std::process::id());
    let said = until_why(&i, "web", &[&holder]);
    assert!(
        said.to_lowercase().contains("address already in use") && said.contains("another port"),
        "{said}"
    );
}

#[test]
fn a_container_that_took_too_much_memory() {
    let Some(mut i) = instance() else { return };
    let script = "x=0123456789abcdef; while :; do x=$x$x; done";
    let limit = "resources: {limits: {memory: 16Mi}}";
    i.write_manifest(
        "big.yaml",
        &pod(&i, "big", &["restartPolicy: Never"], &[container("main", script, &[limit])]),
    );
    i.start();
    if runtime() != "runc" {
        // Neither docker nor podman always tells: the end of the process may come before the news of its cause.
        until_why(&i, "big", &["its memory limit is 16Mi"]);
        return;
    }
    let wanted = [
        "killed for want of memory (OOMKilled)",
        "its memory limit is 16Mi",
        "Next: raise resources.limits.memory",
    ];
    until_why(&i, "big", &wanted);
}
