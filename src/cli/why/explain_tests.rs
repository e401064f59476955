use serde_json::json;

use super::super::addresses::in_question;
use super::super::listeners::Address;
use super::*;
use crate::pod::{Generation, Namespace, Origin, PodName};

const NOW: &str = "2026-01-01T01:00:00Z";

fn entry(state: Value, last: Value, restarts: u32) -> PodStatusFile {
    let ready = state.get("running").is_some();
    PodStatusFile {
        namespace: Some(Namespace::new("default")),
        name: Some(PodName::new("web-n")),
        generation: Some(Generation::new("g")),
        uid: None,
        origin: Origin { path: "/m/web.yaml".into(), document: 1 },
        manifest: ManifestState::Current { warnings: Vec::new() },
        summary: "Running".into(),
        message: None,
        created_at: Some("2026-01-01T00:00:00Z".into()),
        deletion_timestamp: None,
        pod: json!({
            "spec": {"containers": [{
                "name": "c", "image": "i:1", "ports": [{"containerPort": 8080}],
                "resources": {"limits": {"memory": "64Mi"}}, "readinessProbe": {"httpGet": {"port": 8080}},
            }]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                    "lastTransitionTime": "2026-01-01T00:30:00Z"}],
                "containerStatuses": [{"name": "c", "ready": ready, "started": true, "restartCount": restarts,
                    "image": "i:1", "imageID": "", "state": state, "lastState": last}],
            },
        }),
    }
}

fn facts(entry: &PodStatusFile) -> Facts<'_> {
    Facts {
        entry,
        running: true,
        runtime: "runc".into(),
        now_ms: unix_ms(NOW).unwrap(),
        logs: Vec::new(),
        next_start_ms: Vec::new(),
        listeners: Vec::new(),
        is_address_known: true,
        changes: Vec::new(),
        since_worked: None,
        image_dir: "/images.d".into(),
    }
}

fn of(facts: &Facts<'_>) -> String {
    text(facts, &explain(facts))
}

fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

fn ended(code: i32, signal: Option<i32>, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "signal": signal, "reason": reason, "finishedAt": "2026-01-01T00:59:50Z"}})
}

#[test]
fn a_healthy_pod_is_said_to_be_well_since_when() {
    let well = entry(running(), json!({}), 0);
    assert_eq!(
        of(&facts(&well)),
        "default/web-n is well. Its container has been ready since 2026-01-01T00:30:00Z (30m ago).\n    \
         this version of /m/web.yaml has run since 2026-01-01T00:00:00Z\nNext: nothing is to be done.\n"
    );
    let again = entry(running(), ended(3, None, "Error"), 2);
    let told = of(&facts(&again));
    assert!(told.contains("started again 2 times, last 10s ago, after it ended with exit code 3"), "{told}");
    assert!(told.contains("podstrap logs -p default/web-n -c c"), "{told}");
    let down = Facts { running: false, ..facts(&well) };
    assert!(of(&down).contains("The daemon is not running"), "{}", of(&down));
}

#[test]
fn a_crash_tells_code_next_try_and_last_lines() {
    let crash = entry(waiting("CrashLoopBackOff", "last run: exit code 2"), ended(2, None, "Error"), 4);
    let mut f = facts(&crash);
    f.next_start_ms = vec![("c".into(), 4_250)];
    f.logs = vec![("c".into(), vec!["panic: no config".into()])];
    assert_eq!(
        of(&f),
        "default/web-n is not ready. Container c ended with exit code 2, 10s ago, and was started again 4 times before; it is \
         started again in 4.2 s.\n    log of c: panic: no config\n    not ready since 2026-01-01T00:30:00Z (30m ago); \
         /m/web.yaml has not changed since 2026-01-01T00:00:00Z\nNext: read all of its log: `podstrap logs default/web-n -c \
         c`.\n"
    );
    let killed = entry(ended(139, Some(11), "Error"), json!({}), 0);
    let told = of(&facts(&killed));
    assert!(
        told.contains("killed by signal 11 (SIGSEGV") && told.contains("it is not started again"),
        "{told}"
    );
    let docker = entry(ended(137, None, "Error"), json!({}), 0);
    assert!(
        of(&facts(&docker)).contains("exit code 137, which is that of signal 9 (SIGKILL"),
        "{}",
        of(&facts(&docker))
    );
    let missing = entry(ended(127, None, "Error"), json!({}), 0);
    assert!(
        of(&facts(&missing)).contains("Next: mend the command of container c"),
        "{}",
        of(&facts(&missing))
    );
}

#[test]
fn memory_that_ran_out_is_told_with_its_limit() {
    let oom = entry(waiting("CrashLoopBackOff", "x"), ended(137, Some(9), "OOMKilled"), 1);
    let told = of(&facts(&oom));
    assert!(told.contains("killed for want of memory (OOMKilled)"), "{told}");
    assert!(
        told.contains("its memory limit is 64Mi") && told.contains("Next: raise resources.limits.memory"),
        "{told}"
    );
}

#[test]
fn a_kill_that_nobody_explains_is_told_with_the_limit() {
    let killed = entry(ended(137, None, "Error"), json!({}), 0);
    let told = of(&facts(&killed));
    assert!(told.contains("its memory limit is 64Mi: it may have gone beyond that"), "{told}");
    let mut probed = ended(137, Some(9), "Error");
    probed["terminated"]["message"] = json!("liveness probe failed: x");
    let probed = entry(probed, json!({}), 0);
    assert!(!of(&facts(&probed)).contains("64Mi"), "{}", of(&facts(&probed)));
}

#[test]
fn a_failing_probe_is_told_with_its_reply_and_how_it_asks() {
    let mut probed = entry(running(), json!({}), 0);
    probed.pod["status"]["containerStatuses"][0]["ready"] = json!(false);
    probed.pod["status"]["conditions"][0]["status"] = json!("False");
    probed.message = Some("c: readiness probe: HTTP 503: not yet\nmore".into());
    let told = of(&facts(&probed));
    assert!(
        told.contains("runs (started 60m ago) and is not ready: readiness probe: HTTP 503: not yet."),
        "{told}"
    );
    assert!(told.contains("    readinessProbe: {\"httpGet\":{\"port\":8080}}"), "{told}");
    let mut killed = ended(137, Some(9), "Error");
    killed["terminated"]["message"] = json!("liveness probe failed: connection refused");
    let liveness = entry(waiting("CrashLoopBackOff", "x"), killed, 1);
    let told = of(&facts(&liveness));
    assert!(told.contains("    said: liveness probe failed: connection refused"), "{told}");
    assert!(told.contains("Next: find out why the probe fails"), "{told}");
}

#[test]
fn what_is_waited_for_has_its_own_next_step() {
    for (reason, message, what, next) in [
        (
            "ErrImagePull",
            "skopeo: no such image",
            "The image i:1 of container c is not here",
            "archive of the image into /images.d",
        ),
        ("ErrImageNeverPull", "image i:1 is not here", "The image i:1 of", "podstrap image load FILE"),
        (
            "DependencyNotReady",
            "waits for default/db-n, which is not ready: Pending",
            "It waits for default/db-n",
            "`podstrap why` the Pod",
        ),
        (
            "DependencyNotFound",
            "waits for default/db-n, of which there is no manifest",
            "It waits for",
            "write the missing manifest",
        ),
        ("DependencyCycle", "depends on itself", "It depends on itself", "podstrap.io/depends-on"),
        (
            "CreateContainerConfigError",
            "configmap \"x\" not found",
            "configmap \"x\" not found",
            "write the missing ConfigMap",
        ),
        (
            "ContainerCreating",
            "no CNI network is configured in /etc/cni/net.d",
            "no CNI network",
            "hostNetwork: true",
        ),
        (
            "RunContainerError",
            "runc: exec: \"/nope\": not found\nstderr line",
            "runc: exec:",
            "what the runtime complains of",
        ),
    ] {
        let waits = entry(waiting(reason, message), json!({}), 0);
        let told = of(&facts(&waits));
        assert!(told.contains(what) && told.contains(next), "{reason}: {told}");
    }
    let runc = entry(waiting("RunContainerError", "runc: failed\nstderr line"), json!({}), 0);
    assert!(of(&facts(&runc)).contains("    stderr line\n"), "{}", of(&facts(&runc)));
}

#[test]
fn the_holder_of_a_port_is_named() {
    let lines = vec!["listen tcp 0.0.0.0:8080: bind: address already in use".to_owned()];
    let crash = entry(waiting("CrashLoopBackOff", "x"), ended(1, None, "Error"), 1);
    assert_eq!(in_question(&crash, "c", &lines), [Address::Tcp(8080)]);
    let mut f = facts(&crash);
    f.logs = vec![("c".into(), lines)];
    assert!(of(&f).contains("nobody listens there now"), "{}", of(&f));
    let unknown = Facts { is_address_known: false, ..f.clone() };
    assert!(of(&unknown).contains("tell which"), "{}", of(&unknown));
    f.listeners = vec![Listener { address: Address::Tcp(8080), process: Some((77, "nginx".into())) }];
    let told = of(&f);
    assert!(
        told.contains("; port 8080 is held by process 77 (nginx).") && told.contains("another port"),
        "{told}"
    );
    // A line that names none: then those of the manifest.
    let silent = ["bind: Address already in use".to_owned()];
    assert_eq!(in_question(&crash, "c", &silent), [Address::Tcp(8080)]);
    assert!(in_question(&crash, "c", &["GET http://h:99/".to_owned()]).is_empty());
}

#[test]
fn what_the_manifest_has_to_do_with_it_is_told() {
    let mut refused = entry(Value::Null, json!({}), 0);
    refused.generation = None;
    refused.manifest =
        ManifestState::Refused { problems: vec!["/m/web.yaml:3:1: error: bad\n  x\n  ^".into()] };
    let told = of(&facts(&refused));
    assert!(
        told.contains("is refused, and no earlier version") && told.contains("web.yaml:3:1: error: bad"),
        "{told}"
    );
    let mut kept = entry(running(), json!({}), 0);
    kept.manifest = ManifestState::Kept { problems: vec!["bad".into()] };
    let told = of(&facts(&kept));
    assert!(told.starts_with("default/web-n is well. Its manifest /m/web.yaml cannot be used"), "{told}");
    assert!(told.contains("    bad\n"), "{told}");
    let mut replacing = entry(running(), json!({}), 0);
    replacing.manifest = ManifestState::Replacing { waits_for: Some("ErrImagePull: no such image".into()) };
    let mut f = facts(&replacing);
    f.changes = vec![Change {
        path: "spec.containers[c].image".into(),
        from: Some("i:1".into()),
        to: Some("i:2".into()),
    }];
    let told = of(&f);
    assert!(
        told.contains("changed: spec.containers[c].image: \"i:1\" → \"i:2\"") && told.contains("image load"),
        "{told}"
    );
    let mut held = entry(Value::Null, json!({}), 0);
    held.manifest = ManifestState::Held;
    assert!(of(&facts(&held)).contains("stopped by `podstrap down`"));
    let mut never = entry(waiting("CrashLoopBackOff", "x"), ended(1, None, "Error"), 1);
    never.pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    let told = of(&facts(&never));
    assert!(
        told.contains("this version of /m/web.yaml was begun 60m ago")
            && told.contains("has not been ready since"),
        "{told}"
    );
}

#[test]
fn what_was_changed_since_it_worked_is_told() {
    let crash = entry(waiting("CrashLoopBackOff", "x"), ended(2, None, "Error"), 4);
    let mut f = facts(&crash);
    let change = Change {
        path: "spec.containers[c].command[--etcd-servers]".into(),
        from: Some("a".into()),
        to: Some("b".into()),
    };
    f.since_worked = Some(("2026-01-01T00:00:00Z".into(), vec![change]));
    let told = of(&f);
    assert!(
        told.contains(
            "    changed since it last worked (a version of /m/web.yaml, seen to work 60m ago):\n        \
             spec.containers[c].command[--etcd-servers]: \"a\" → \"b\"\n"
        ),
        "{told}"
    );
    let well = entry(running(), json!({}), 0);
    let well = Facts { since_worked: f.since_worked.clone(), ..facts(&well) };
    assert!(!of(&well).contains("last worked"), "{}", of(&well));
}

#[test]
fn what_containers_say_cannot_move_a_cursor() {
    let evil = entry(waiting("Error\u{1b}[2J", "x\u{1b}[31m\u{202e}"), json!({}), 0);
    let told = of(&facts(&evil));
    assert!(!told.contains('\u{1b}') && !told.contains('\u{202e}'), "{told:?}");
}

#[test]
fn what_cannot_be_got_rid_of_is_no_matter_of_waiting() {
    let told = "what its last run left cannot be cleared away (4 tries): unmount /x: busy; it is tried again by itself; end \
                what keeps it";
    let waits = entry(waiting("KillContainerError", told), json!({}), 0);
    let text = of(&facts(&waits));
    assert!(
        text.contains("waits (KillContainerError): what its last run left")
            && text.contains("Next: end what keeps it")
    );
    let mut well = entry(running(), json!({}), 0);
    well.message = Some(format!("c: {told}"));
    let text = of(&facts(&well));
    assert!(text.contains("cannot be cleared away") && text.contains("Next: end what keeps it"), "{text}");
    let mut goes = entry(running(), json!({}), 0);
    goes.manifest = ManifestState::Removed;
    goes.deletion_timestamp = Some("2026-01-01T00:50:00Z".into());
    assert!(of(&facts(&goes)).contains("Next: wait for its grace period"));
    goes.message = Some("its manifest is gone; cannot be removed (1 try): unmount /x: busy".into());
    let text = of(&facts(&goes));
    assert!(text.contains("unmount /x: busy") && text.contains("Next: end what keeps it"), "{text}");
}

#[test]
fn a_port_of_the_host_that_another_has_and_a_start_that_hung() {
    let told = "waits for port 80/TCP of the host, which default/b has";
    let text = of(&facts(&entry(waiting("NodePorts", told), json!({}), 0)));
    assert!(text.contains("It waits for port 80/TCP of the host, which default/b has."), "{text}");
    assert!(text.contains("Next: give one of the two Pods another hostPort"), "{text}");
    let text = of(&facts(&entry(waiting("CreateContainerError", crate::core::GIVEN_UP), json!({}), 0)));
    assert!(text.contains("Next: mend the file system that does not answer"), "{text}");
}
