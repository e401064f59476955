//! The command line: `wait`, `status`, `logs`, `exec`, `validate`, and their exit codes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::yaml::{canary, container, one, pod};
use crate::common::{Instance, assert_exit, bare_instance, describe, host, instance, podstrap, text};

#[test]
fn wait_begun_before_daemon_and_manifest_ends_when_the_pod_is_ready() {
    let Some(mut i) = instance() else { return };
    let mut waiting = Command::new(podstrap())
        .args(["wait", "--for", "ready", "--timeout", "60s", "--run-dir"])
        .arg(&i.run)
        .arg("web")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it does not give up");
    i.start();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it does not give up");
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.until_ready("web");
    let output = waiting.wait_with_output().unwrap();
    assert_exit(&output, 0);
    assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "a line per change");
}

#[test]
fn wait_without_a_pod_means_all_of_them() {
    let Some(mut i) = instance() else { return };
    i.start();
    assert_exit(&i.wait(&["--for", "ready", "--timeout", "1s"]), 4);
    for name in ["a", "b"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &format!("sleep 1\n{}", canary(name)), &[]));
    }
    assert_exit(&i.wait(&["--for", "ready", "--timeout", "30s"]), 0);
    assert!(i.ready("a") && i.ready("b"));
}

#[test]
fn wait_ends_with_three_for_a_refused_manifest() {
    let Some(mut i) = instance() else { return };
    i.start();
    i.write_manifest(
        "bad.yaml",
        &one(&i, "bad", &canary("bad"), &[]).replace("kind: Pod", "kind: Deployment"),
    );
    let began = Instant::now();
    let output = i.wait(&["--timeout", "30s"]);
    assert_exit(&output, 3);
    assert!(began.elapsed() < Duration::from_secs(20), "at once, not after {:?}", began.elapsed());
    assert!(describe(&output).contains("bad.yaml"), "{}", describe(&output));
}

#[test]
fn wait_ends_with_four_when_time_is_up() {
    let Some(mut i) = instance() else { return };
    let probe = "readinessProbe: {exec: {command: ['false']}, periodSeconds: 1}";
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[probe]));
    i.start();
    let began = Instant::now();
    let output = i.wait(&["--for", "ready", "--timeout", "2s", "web"]);
    assert_exit(&output, 4);
    assert!((2.0..4.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert!(describe(&output).contains("web"), "{}", describe(&output));
    assert_exit(&i.wait(&["--for", "running", "--timeout", "20s", "web"]), 0);
}

#[test]
fn wait_ends_with_five_for_a_pod_that_fails_and_shows_its_last_words() {
    let Some(mut i) = instance() else { return };
    let script = "echo these are my last words; exit 9";
    // Without a probe it would be ready for the moment that it runs.
    let main = container("main", script, &["readinessProbe: {exec: {command: ['false']}}"]);
    i.write_manifest("once.yaml", &pod(&i, "once", &["restartPolicy: Never"], std::slice::from_ref(&main)));
    i.write_manifest("loop.yaml", &pod(&i, "loop", &[], &[main]));
    i.args(&["--restart-backoff", "1s,60s"]).start();
    // One that may yet recover is waited for until the time is up.
    for (name, timeout) in [("once", "40s"), ("loop", "6s")] {
        let output = i.wait(&["--for", "ready", "--timeout", timeout, name]);
        assert_exit(&output, 5);
        let said = describe(&output);
        assert!(said.contains("these are my last words") && said.contains('9'), "{said}");
    }
}

#[test]
fn without_a_daemon_and_without_anything_left_by_one() {
    let Some(i) = bare_instance() else { return };
    let output = i.cli("status", &[]);
    assert_exit(&output, 6);
    assert!(describe(&output).contains("not running"), "{}", describe(&output));
    assert_exit(&i.wait(&["--for", "gone", "--timeout", "5s", "web"]), 0);
    assert_exit(&i.wait(&["--for", "ready", "--timeout", "1s", "web"]), 4);
    assert!(!i.run.exists(), "looking makes nothing");
}

#[test]
fn down_without_a_daemon_stops_what_one_has_left_running() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    i.kill9();
    i.cli_ok("down", &[]);
    assert!(!host::alive(pid));
    assert_eq!(i.lines("web").len(), 2, "it got TERM");
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
}

#[test]
fn down_without_a_daemon_waits_no_longer_than_it_is_told_to() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", "trap '' TERM; while :; do sleep 1; done", &[]));
    i.start();
    let pid = i.until_ready("web");
    i.kill9();
    let output = i.cli("down", &["--timeout", "1s"]);
    assert_exit(&output, 4);
    assert!(describe(&output).contains("not gone in time: default/web-node1"), "{}", describe(&output));
    assert!(host::alive(pid), "its grace period is not over");
}

#[test]
fn down_of_one_pod_without_a_daemon_touches_no_other() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "2s,2s"]);
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.write_manifest("loop.yaml", &one(&i, "loop", "exit 3", &[]));
    i.start();
    let pid = i.until_ready("web");
    let summary = |i: &Instance| i.pod("loop").map(|p| p.summary);
    i.until("one Pod waits to be started again", |i| summary(i).as_deref() == Some("CrashLoopBackOff"));
    i.kill9();
    let restarts = i.restarts("loop", "main");
    // Its wait is over when the other is stopped.
    std::thread::sleep(Duration::from_millis(2_100));
    i.cli_ok("down", &["web"]);
    assert!(!host::alive(pid));
    assert_eq!(summary(&i).as_deref(), Some("CrashLoopBackOff"), "what was published of it stands");
    assert_eq!(i.restarts("loop", "main"), restarts);
    i.remove("web.yaml");
    i.start();
    i.until("the next daemon goes on with it", |i| i.restarts("loop", "main") > restarts);
}

#[test]
fn status_as_json_is_a_pod_list_for_jq() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.write_manifest("net.yaml", &one(&i, "net", &canary("net"), &[]));
    i.start();
    i.until_ready("web");
    i.until_ready("net");
    let list = i.status();
    assert_eq!(
        (list["apiVersion"].as_str(), list["kind"].as_str()),
        (Some("v1"), Some("PodList")),
        "{list:#}"
    );
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|p| p["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["net-node1", "web-node1"], "sorted, with the node's name");
    let web = &list["items"][1];
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(web["spec"]["nodeName"], "node1");
    assert_eq!(web["status"]["containerStatuses"][0]["name"], "main");
    assert_eq!(web["metadata"]["annotations"]["kubernetes.io/config.source"], "file");
    assert_eq!(web["metadata"]["uid"], web["metadata"]["annotations"]["kubernetes.io/config.hash"]);
    // The table, narrow and wide.
    for args in [&[][..], &["-o", "wide"]] {
        let table = i.cli_ok("status", args);
        let row = table.lines().find(|l| l.contains("web")).unwrap_or_else(|| panic!("no row:\n{table}"));
        assert!(row.contains("1/1") && row.contains("Running"), "{table}");
        assert!(!table.contains('\u{1b}'), "no colours without a terminal");
    }
}

#[test]
fn logs_follow_tail_and_choose() {
    let Some(mut i) = instance() else { return };
    let script = |word: &str| {
        format!(
            "n=1; while [ $n -le 20 ]; do echo {word} $n; n=$((n + 1)); done; echo {word} err >&2; exec sleep 1000"
        )
    };
    let containers = [container("main", &script("alpha"), &[]), container("side", &script("beta"), &[])];
    i.write_manifest("web.yaml", &pod(&i, "web", &[], &containers));
    i.start();
    i.until_ready("web");
    i.until("all is written", |i| i.cli_ok("logs", &["-c", "main", "web"]).contains("alpha err"));
    i.until("all is written", |i| i.cli_ok("logs", &["-c", "side", "web"]).contains("beta err"));
    let all = i.cli_ok("logs", &["-c", "main", "web"]);
    assert_eq!(all.lines().count(), 21, "{all}");
    assert!(!all.contains("beta"));
    let tail = i.cli_ok("logs", &["-c", "side", "--tail", "3", "default/web-node1"]);
    assert_eq!(tail.lines().count(), 3, "{tail}");
    let stamped = i.cli_ok("logs", &["-c", "main", "--timestamps", "--tail", "1", "web"]);
    assert!(stamped.starts_with("20") && stamped.contains('T'), "{stamped}");
    assert_eq!(i.cli_ok("logs", &["-c", "main", "--since", "1h", "web"]).lines().count(), 21);
    // Two containers and none chosen: the first, and the names are told.
    let output = i.cli("logs", &["web"]);
    assert_exit(&output, 0);
    assert_eq!(text(&output.stdout), all);
    assert!(text(&output.stderr).contains("side"), "{}", describe(&output));
    assert_exit(&i.cli("logs", &["no-such-pod"]), 1);
    if !crate::common::with_runc() {
        // Until the run has ended it is a link to docker's own.
        return;
    }
    // The file itself, as log shippers expect it.
    let file = host::files_below(&i.log).into_iter().find(|f| f.ends_with("main/0.log")).unwrap();
    let dir = file.parent().unwrap().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let uid = i.pod("web").unwrap().uid.unwrap();
    assert_eq!(dir, format!("default_web-node1_{uid}"));
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let fields: Vec<_> = line.splitn(4, ' ').collect();
        assert!(
            fields[0].starts_with("20")
                && fields[0].ends_with(['Z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        );
        assert!(["stdout", "stderr"].contains(&fields[1]) && fields[2] == "F", "{line}");
    }
    let links = host::entries(&i.dir.join("log/containers"));
    assert_eq!(links.len(), 2, "{links:?}");
    assert!(links.iter().all(|l| l.exists()), "the links lead to the logs");
}

#[test]
fn logs_follow_through_a_restart() {
    let Some(mut i) = instance() else { return };
    let script = "echo start >>/shared/n; echo life $(wc -l </shared/n); read line </shared/fifo; exit 1";
    nix::unistd::mkfifo(&i.shared.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    i.write_manifest("web.yaml", &one(&i, "web", script, &[]));
    i.start();
    i.until_ready("web");
    let out = i.dir.join("followed");
    let mut following = Command::new(podstrap())
        .args(["logs", "-f", "--run-dir"])
        .arg(&i.run)
        .arg("web")
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let followed = |word: &str| std::fs::read_to_string(&out).unwrap().contains(word);
    i.until("the first life is followed", |_| followed("life 1"));
    std::fs::write(i.shared.join("fifo"), "go\n").unwrap();
    i.until("the second life is followed", |_| followed("life 2"));
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn exec_runs_inside_and_gives_the_exit_code() {
    let Some(mut i) = instance() else { return };
    let containers = [
        container("main", &canary("web"), &["env: [{name: WHO, value: me}]"]),
        container("side", "exec sleep 1000", &[]),
    ];
    i.write_manifest("web.yaml", &pod(&i, "web", &[], &containers));
    i.start();
    i.until_ready("web");
    let out = i.cli_ok("exec", &["-c", "main", "web", "--", "sh", "-c", "echo $WHO; cat /proc/1/comm"]);
    assert_eq!(out.lines().collect::<Vec<_>>(), ["me", "sh"]);
    assert_exit(&i.cli("exec", &["-c", "side", "web", "--", "sh", "-c", "exit 7"]), 7);
    assert_exit(&i.cli("exec", &["no-such-pod", "--", "true"]), 1);
    let mut with_input = Command::new(podstrap())
        .args(["exec", "-i", "-c", "main", "--run-dir"])
        .arg(&i.run)
        .args(["web", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut with_input.stdin.take().unwrap(), b"through\n").unwrap();
    let output = with_input.wait_with_output().unwrap();
    assert_exit(&output, 0);
    assert_eq!(text(&output.stdout), "through\n");
}

#[test]
fn validate_takes_files_and_directories_and_needs_no_root() {
    let Some(i) = bare_instance() else { return };
    let good = i.dir.join("good.yaml");
    std::fs::write(&good, one(&i, "good", "true", &[])).unwrap();
    let validate =
        |path: &std::path::Path| Command::new(podstrap()).arg("validate").arg(path).output().unwrap();
    assert_exit(&validate(&good), 0);
    i.write_manifest("good.yaml", &one(&i, "good", "true", &[]));
    assert_exit(&validate(&i.manifests), 0);
    i.write_manifest("bad.yaml", "kind: Pod\n");
    let output = validate(&i.manifests);
    assert_exit(&output, 3);
    assert!(describe(&output).contains("bad.yaml:"), "{}", describe(&output));
    assert_exit(&validate(&i.dir.join("no-such-file.yaml")), 1);
}

#[test]
fn version_and_help() {
    let output = Command::new(podstrap()).arg("version").output().unwrap();
    assert_exit(&output, 0);
    assert!(text(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    let output = Command::new(podstrap()).arg("--help").output().unwrap();
    assert_exit(&output, 0);
    for verb in ["run", "wait", "status", "logs", "exec", "validate", "down", "image", "version"] {
        assert!(text(&output.stdout).contains(verb), "--help does not name {verb}");
    }
}
