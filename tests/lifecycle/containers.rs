//! Start, restart, stop.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::{canary, container, one, pod};
use crate::common::{host, instance};

#[test]
fn starts_and_becomes_ready() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    assert_eq!(i.lines("web").len(), 1);
    let status = i.pod("web").unwrap();
    assert_eq!(status.summary, "Running");
    assert_eq!(status.namespace.unwrap().as_str(), "default");
    assert_eq!(status.pod["metadata"]["name"], "web-node1");
    assert_eq!(status.pod["status"]["phase"], "Running");
    let main = i.container("web", "main").unwrap();
    assert_eq!((main.restart_count, main.ready, main.started), (0, true, Some(true)));
    assert!(main.container_id.unwrap().starts_with(&format!("{}://", crate::common::runtime_name())));
    assert!(main.state.running.is_some());
    // Its own pid namespace, and a mask without blocked signals.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("SigBlk:"), "0000000000000000");
    assert!(field("NSpid:").ends_with("\t1"), "{}", field("NSpid:"));
}

#[test]
fn containers_of_a_pod_start_in_order_and_share_volumes() {
    let Some(mut i) = instance() else { return };
    let containers = [
        container("one", "echo one >>/shared/order; exec sleep 1000", &[]),
        container("two", "echo two >>/shared/order; exec sleep 1000", &[]),
        container("three", "echo three >>/shared/order; exec sleep 1000", &[]),
    ];
    i.write_manifest("trio.yaml", &pod(&i, "trio", &["terminationGracePeriodSeconds: 1"], &containers));
    i.start();
    i.until("all three run", |i| i.ready("trio"));
    assert_eq!(i.lines("order"), ["one", "two", "three"]);
}

#[test]
fn a_killed_container_is_started_again_and_its_former_life_is_shown() {
    let Some(mut i) = instance() else { return };
    let script = format!("echo life $(wc -l </shared/web 2>/dev/null || echo 0)\n{}", canary("web"));
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[]));
    i.start();
    let first = i.until_ready("web");
    let killed = Instant::now();
    host::signal(first, Signal::SIGKILL);
    i.until("a second start", |i| i.lines("web").len() == 2);
    assert!(killed.elapsed() < Duration::from_secs(2), "the first restart took {:?}", killed.elapsed());
    i.until("the restart is counted", |i| i.restarts("web", "main") == 1 && i.ready("web"));
    let ended = i.container("web", "main").unwrap().last_state.terminated.expect("a former life");
    assert_eq!(ended.exit_code, 137);
    assert_eq!(ended.reason, "Error");
    assert!(i.cli_ok("logs", &["-p", "web"]).contains("life 0"));
    assert!(i.cli_ok("logs", &["web"]).contains("life 1"));
    assert!(!i.cli_ok("logs", &["web"]).contains("life 0"));
}

#[test]
fn on_failure_restarts_failures_only() {
    let Some(mut i) = instance() else { return };
    let script = "echo start >>/shared/runs; [ $(wc -l </shared/runs) -ge 3 ] || exit 4";
    i.write_manifest(
        "job.yaml",
        &pod(&i, "job", &["restartPolicy: OnFailure"], &[container("main", script, &[])]),
    );
    i.args(&["--restart-backoff", "1s,1s"]).start();
    i.until("the Pod has succeeded", |i| {
        i.pod("job").is_some_and(|p| p.pod["status"]["phase"] == "Succeeded")
    });
    let main = i.container("job", "main").unwrap();
    assert_eq!(main.restart_count, 2);
    let ended = main.state.terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"));
    i.holds_for(Duration::from_secs(2), "it stays ended", |i| i.lines("runs").len() == 3);
}

#[test]
fn never_does_not_restart() {
    let Some(mut i) = instance() else { return };
    for (name, code) in [("good", 0), ("bad", 3)] {
        let script = format!("echo start >>/shared/{name}; exit {code}");
        let manifest = pod(&i, name, &["restartPolicy: Never"], &[container("main", &script, &[])]);
        i.write_manifest(&format!("{name}.yaml"), &manifest);
    }
    i.start();
    for (name, phase, code) in [("good", "Succeeded", 0), ("bad", "Failed", 3)] {
        i.until(&format!("{name} is {phase}"), |i| {
            i.pod(name).is_some_and(|p| p.pod["status"]["phase"] == phase)
        });
        assert_eq!(i.container(name, "main").unwrap().state.terminated.unwrap().exit_code, code);
    }
    i.holds_for(Duration::from_secs(2), "both stay ended", |i| {
        i.lines("good").len() == 1 && i.lines("bad").len() == 1
    });
}

#[test]
fn always_restarts_a_clean_exit() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", "echo start >>/shared/runs; exit 0", &[]));
    i.args(&["--restart-backoff", "1s,1s"]).start();
    i.until("three starts", |i| i.lines("runs").len() >= 3);
}

#[test]
fn term_is_enough_for_who_listens() {
    let Some(mut i) = instance() else { return };
    let manifest =
        pod(&i, "web", &["terminationGracePeriodSeconds: 30"], &[container("main", &canary("web"), &[])]);
    i.write_manifest("web.yaml", &manifest);
    i.start();
    let pid = i.until_ready("web");
    let removed = Instant::now();
    i.remove("web.yaml");
    i.until("the Pod is gone", |i| i.pod("web").is_none());
    assert!(removed.elapsed() < Duration::from_secs(10), "took {:?}", removed.elapsed());
    assert!(!host::alive(pid));
    let lines = i.lines("web");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("term "));
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, Some(i.daemon_pid())), [""; 0]);
    assert!(host::entries(&i.state.join("containers")).is_empty(), "writable layers are gone");
}

#[test]
fn who_ignores_term_is_killed_after_the_grace_period() {
    let Some(mut i) = instance() else { return };
    let script = "trap 'read up _ </proc/uptime; echo term $up >>/shared/log' TERM\n\
                  while :; do read up _ </proc/uptime; echo alive $up >>/shared/log; sleep 0.05; done";
    let manifest = pod(&i, "deaf", &["terminationGracePeriodSeconds: 3"], &[container("main", script, &[])]);
    i.write_manifest("deaf.yaml", &manifest);
    i.start();
    i.until_ready("deaf");
    i.remove("deaf.yaml");
    i.until("the Pod is gone", |i| i.pod("deaf").is_none());
    let lines = i.lines("log");
    let seconds = |line: &String| line.split(' ').nth(1).unwrap().parse::<f64>().unwrap();
    let term = lines.iter().filter(|l| l.starts_with("term ")).map(seconds).collect::<Vec<_>>();
    assert_eq!(term.len(), 1, "one TERM: {term:?}");
    let lived = seconds(lines.last().unwrap()) - term[0];
    assert!((2.7..3.5).contains(&lived), "lived for {lived} s after TERM, with a grace period of 3 s");
}

#[test]
fn a_pod_in_back_off_is_removed_at_once() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("sick.yaml", &one(&i, "sick", "exit 1", &[]));
    i.args(&["--restart-backoff", "60s,60s"]).start();
    i.until("it waits", |i| i.pod("sick").is_some_and(|p| p.summary == "CrashLoopBackOff"));
    let waiting = i.container("sick", "main").unwrap().state.waiting.expect("a waiting state");
    assert_eq!(waiting.reason, "CrashLoopBackOff");
    let removed = Instant::now();
    i.remove("sick.yaml");
    i.until("the Pod is gone", |i| i.pod("sick").is_none());
    assert!(removed.elapsed() < Duration::from_secs(10), "took {:?}", removed.elapsed());
}

#[test]
fn a_program_that_cannot_be_run_is_told_apart_from_one_that_fails() {
    let Some(mut i) = instance() else { return };
    let manifest = one(&i, "typo", "", &[]).replace("command: [sh, -c, \"\"]", "command: [no-such-program]");
    i.write_manifest("typo.yaml", &manifest);
    i.start();
    i.until("the cause is published", |i| {
        i.container("typo", "main").is_some_and(|c| {
            let message = |m: Option<String>| m.is_some_and(|m| m.contains("no-such-program"));
            [c.state, c.last_state].into_iter().any(|s| {
                message(s.waiting.and_then(|w| w.message)) || message(s.terminated.and_then(|t| t.message))
            })
        })
    });
}

#[test]
fn kubernetes_variables_and_image_settings_reach_the_process() {
    let Some(mut i) = instance() else { return };
    let script = "echo \"$PLAIN|$EXPANDED|$LITERAL|$(pwd)|$(id -u)\" >>/shared/out; exec sleep 1000";
    let extra = [
        "env: [{name: PLAIN, value: a b}, {name: EXPANDED, value: \"<$(PLAIN)>\"}, {name: LITERAL, value: \"$$(PLAIN)\"}]",
        "workingDir: /tmp",
        "securityContext: {runAsUser: 65534}",
    ];
    fs::set_permissions(&i.shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    i.write_manifest("env.yaml", &one(&i, "env", script, &extra));
    i.start();
    i.until_ready("env");
    assert_eq!(i.lines("out"), ["a b|<a b>|$(PLAIN)|/tmp|65534"]);
}

/// A host path that is missing refuses the container each time it is tried, under the same attempt; the first retry comes
/// at once, in the very turn in which the first try is cleared away.
#[test]
fn a_container_that_cannot_be_made_is_tried_again_and_starts_once_it_can_be() {
    let Some(mut i) = instance() else { return };
    let later = i.dir.join("later");
    let extra = format!("- {{name: later, hostPath: {{path: {}, type: Directory}}}}", later.display());
    let manifest = one(&i, "web", &canary("web"), &[]) + "  " + &extra + "\n";
    let manifest = manifest.replace(
        "volumeMounts: [{name: shared, mountPath: /shared}]",
        "volumeMounts: [{name: shared, mountPath: /shared}, {name: later, mountPath: /later}]",
    );
    i.write_manifest("web.yaml", &manifest);
    i.start();
    i.until("the refusal is shown", |i| {
        i.container("web", "main").is_some_and(|c| {
            c.state.waiting.is_some_and(|w| w.reason == "ContainerCreating" && w.message.is_some())
        })
    });
    let status = i.pod("web").unwrap();
    assert_eq!(status.pod["status"]["phase"], "Pending", "nothing of it ever ran");
    i.holds_for(Duration::from_secs(4), "no monitor stumbles over a former try", |i| {
        let log = fs::read_to_string(i.daemon_log()).unwrap();
        !log.contains("before its work was done") && !log.contains("cannot be cleared away")
    });
    fs::create_dir(&later).unwrap();
    i.until_ready("web");
    assert_eq!(i.restarts("web", "main"), 0, "what never ran is no restart");
    assert_eq!(i.lines("web").len(), 1);
}
