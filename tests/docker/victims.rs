//! What somebody does to containers with docker's command line, by hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use super::stage::{all, containers, docker, inspect, instance, starts, the, until_restarted};
use crate::common::yaml::{canary, container, one, pod};
use crate::common::{Instance, NODE, engine, host, image};

/// Started, with the Pod `web` ready.
fn with_web() -> Option<Instance> {
    let mut i = instance()?;
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    Some(i)
}

/// Seconds from the end of one container of a Pod's `main` to the start of the next, by docker's own clock.
fn gap(i: &Instance, pod: &str, since: SystemTime) -> f64 {
    let unix = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64().to_string();
    let labels = [
        format!("label={}={}", engine::RUN_LABEL, i.run.display()),
        format!("label=io.kubernetes.pod.name={pod}-{NODE}"),
        "label=io.kubernetes.container.name=main".to_owned(),
    ];
    let (since, until) = (unix(since), unix(SystemTime::now()));
    let mut args =
        vec!["events", "--since", &since, "--until", &until, "--format", "{{.Action}} {{.TimeNano}}"];
    args.extend(labels.iter().flat_map(|label| ["--filter", label]));
    let told = docker(i, &args);
    let time = |action: &str| {
        let line = told
            .lines()
            .find_map(|l| l.strip_prefix(action))
            .unwrap_or_else(|| panic!("no {action}: {told}"));
        line.trim().parse::<u64>().unwrap()
    };
    (time("start ") - time("die ")) as f64 / 1e9
}

#[test]
fn a_container_killed_by_hand_is_back_within_a_second() {
    let Some(mut i) = instance() else { return };
    i.start();
    let mut taken = Vec::new();
    // The first restart waits for nothing, and docker itself takes some 0.3 s for an end and a start on two processors.
    // A machine that is busy may be late, but not three times in a row.
    for pod in ["one", "two", "three"] {
        i.write_manifest(&format!("{pod}.yaml"), &one(&i, pod, &canary(pod), &[]));
        i.until_ready(pod);
        let (old, since) = (the(&i, pod, "main"), SystemTime::now());
        docker(&i, &["kill", &old]);
        i.until("it has begun again", |i| starts(i, pod) == 2);
        until_restarted(&i, pod, 1);
        assert_ne!(the(&i, pod, "main"), old, "a new container, and the old one is removed");
        let last = i.container(pod, "main").unwrap().last_state.terminated.unwrap();
        assert_eq!(last.exit_code, 137, "{last:?}");
        taken.push(gap(&i, pod, since));
        if taken.iter().any(|seconds| *seconds < 1.0) {
            return;
        }
    }
    panic!("from an end to the next start: {taken:.2?} s");
}

#[test]
fn a_container_stopped_by_hand_is_back() {
    let Some(i) = with_web() else { return };
    docker(&i, &["stop", "-t", "5", &the(&i, "web", "main")]);
    until_restarted(&i, "web", 1);
    i.until("it has begun again", |i| starts(i, "web") == 2);
    assert_eq!(i.lines("web").iter().filter(|l| l.starts_with("term ")).count(), 1, "it was asked to end");
    assert_eq!(i.container("web", "main").unwrap().last_state.terminated.unwrap().exit_code, 0);
}

#[test]
fn a_container_removed_by_hand_is_back() {
    let Some(i) = with_web() else { return };
    let old = the(&i, "web", "main");
    docker(&i, &["rm", "-f", &old]);
    until_restarted(&i, "web", 1);
    i.until("it has begun again", |i| starts(i, "web") == 2);
    assert_ne!(the(&i, "web", "main"), old);
    // Nobody can tell any more how it ended; that it did is told all the same.
    assert!(i.container("web", "main").unwrap().last_state.terminated.is_some());
}

#[test]
fn a_container_that_is_restarted_by_hand_runs_once() {
    let Some(mut i) = instance() else { return };
    // Ready as long as a file is there that each of its starts removes.
    let script = format!("rm -f /shared/good; {}", canary("web"));
    let probe = "readinessProbe: {exec: {command: [test, -e, /shared/good]}, periodSeconds: 3600}";
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[probe, "startupProbe: {exec: {command: [test, -e, /shared/good]}, periodSeconds: 1, failureThreshold: 60}"]));
    i.start();
    i.until("it has begun", |i| starts(i, "web") == 1);
    std::fs::write(i.shared.join("good"), "").unwrap();
    i.until_ready("web");
    docker(&i, &["restart", "-t", "1", &the(&i, "web", "main")]);
    i.until("it is not ready before its probes say so again", |i| starts(i, "web") >= 2 && !i.ready("web"));
    std::fs::write(i.shared.join("good"), "").unwrap();
    i.until("it runs again", |i| i.ready("web") && i.running_pid("web", "main").is_some());
    i.holds_for(Duration::from_secs(2), "there is one of it", |i| containers(i, "web", "main").len() <= 2);
    i.until("one container is left", |i| containers(i, "web", "main").len() == 1);
    let running = inspect(&i, &the(&i, "web", "main"));
    assert_eq!(running["State"]["Running"], true, "{running}");
    assert_eq!(running["State"]["Pid"], i.running_pid("web", "main").unwrap(), "and it is the one we know");
    let started = i.container("web", "main").unwrap().state.running.unwrap().started_at;
    let of_docker = running["State"]["StartedAt"].as_str().unwrap();
    assert_eq!(
        started.trim_end_matches('Z'),
        of_docker.split('.').next().unwrap(),
        "since docker's last start of it"
    );
}

#[test]
fn what_docker_pauses_is_neither_lost_nor_made_twice() {
    let Some(i) = with_web() else { return };
    let id = the(&i, "web", "main");
    docker(&i, &["pause", &id]);
    i.holds_for(Duration::from_secs(2), "it is the same one", |i| {
        containers(i, "web", "main") == [id.clone()]
    });
    docker(&i, &["unpause", &id]);
    assert_eq!((i.restarts("web", "main"), starts(&i, "web")), (0, 1));
}

/// A Pod of two containers with namespaces of its own.
fn with_two() -> Option<Instance> {
    let mut i = instance()?;
    let both = [container("main", &canary("one"), &[]), container("other", &canary("two"), &[])];
    let text = pod(&i, "web", &[], &both).replace("hostNetwork: true", "hostNetwork: false");
    i.write_manifest("web.yaml", &text);
    i.start();
    i.until_ready("web");
    i.until("both have begun", |i| starts(i, "one") == 1 && starts(i, "two") == 1);
    Some(i)
}

#[test]
fn a_pause_container_killed_by_hand_gives_a_new_sandbox_and_restarts_all_in_it() {
    let Some(i) = with_two() else { return };
    let old = [the(&i, "web", "POD"), the(&i, "web", "main"), the(&i, "web", "other")];
    docker(&i, &["kill", &old[0]]);
    i.until("both have begun again", |i| starts(i, "one") == 2 && starts(i, "two") == 2 && i.ready("web"));
    i.until("one of each is left", |i| {
        ["POD", "main", "other"].iter().all(|c| containers(i, "web", c).len() == 1)
    });
    let new = [the(&i, "web", "POD"), the(&i, "web", "main"), the(&i, "web", "other")];
    for (old, new) in old.iter().zip(&new) {
        assert_ne!(old, new);
    }
    for id in &new[1..] {
        let network = inspect(&i, id)["HostConfig"]["NetworkMode"].clone();
        assert_eq!(network, format!("container:{}", new[0]), "in the new sandbox");
    }
    assert_eq!((i.restarts("web", "main"), i.restarts("web", "other")), (1, 1));
}

#[test]
fn a_pause_container_removed_by_hand_gives_a_new_sandbox() {
    let Some(i) = with_two() else { return };
    docker(&i, &["rm", "-f", &the(&i, "web", "POD")]);
    i.until("both have begun again", |i| starts(i, "one") == 2 && starts(i, "two") == 2 && i.ready("web"));
    i.until("one of each is left", |i| {
        ["POD", "main", "other"].iter().all(|c| containers(i, "web", c).len() == 1)
    });
}

#[test]
fn all_containers_removed_by_hand_are_back() {
    let Some(i) = with_two() else { return };
    let ids = all(&i);
    assert_eq!(ids.len(), 3, "{ids:?}");
    let mut args = vec!["rm", "-f"];
    args.extend(ids.iter().map(String::as_str));
    docker(&i, &args);
    i.until("both have begun again", |i| starts(i, "one") >= 2 && starts(i, "two") >= 2 && i.ready("web"));
    i.until("one of each is left", |i| all(i).len() == 3);
    i.holds_for(Duration::from_secs(2), "and they stay", |i| all(i).len() == 3 && i.ready("web"));
}

#[test]
fn foreign_containers_are_left_alone_and_their_names_respected() {
    let Some(mut i) = instance() else { return };
    let text = one(&i, "web", &canary("web"), &[]);
    let file = i.dir.join("web.yaml");
    std::fs::write(&file, &text).unwrap();
    let judged = i.cli_ok("validate", &["--node-name", NODE, "-o", "json", file.to_str().unwrap()]);
    let judged: serde_json::Value = serde_json::from_str(&judged).unwrap();
    let uid = judged.pointer("/files/0/documents/0/generation").unwrap().as_str().unwrap().to_owned();
    let name = format!("k8s_main_web-{NODE}_default_{uid}_0");
    engine::ok(i.docker.as_ref().unwrap(), &["load", "-i", image::busybox().to_str().unwrap()]);

    // Somebody else's, with the name that ours would have, and one whose labels are nearly ours.
    let run = |args: &[&str]| {
        let mut all = vec!["run", "-d", "--network", "none"];
        all.extend(args);
        all.extend([image::BUSYBOX, "sleep", "1000"]);
        docker(&i, &all)
    };
    let holder = run(&["--name", &name]);
    let stranger =
        run(&["--label", "io.kubernetes.pod.name=web-node1", "--label", "io.kubernetes.container.name=main"]);
    let pids = |i: &Instance| [&holder, &stranger].map(|id| inspect(i, id)["State"]["Pid"].as_i64().unwrap());
    let before = pids(&i);

    i.write_manifest("web.yaml", &text);
    i.start();
    i.until_ready("web");
    let ours = inspect(&i, &the(&i, "web", "main"));
    let got = ours["Name"].as_str().unwrap().trim_start_matches('/');
    assert!(got != name && got.starts_with("k8s_main_web-node1_default_"), "{got}");
    // Found again under that name, too.
    docker(&i, &["kill", &the(&i, "web", "main")]);
    until_restarted(&i, "web", 1);
    let down = i.cli("down", &["--timeout", "60s"]);
    assert!(down.status.success(), "{}", crate::common::describe(&down));
    assert_eq!(i.daemon_exit(crate::common::SOON).code(), Some(0));
    assert_eq!(all(&i), [""; 0]);
    assert_eq!(pids(&i), before, "those of others live on");
    assert!(before.iter().all(|pid| host::alive(*pid as i32)));
    docker(&i, &["rm", "-f", &holder, &stranger]);
}

#[test]
fn a_process_killed_on_the_host_is_as_one_killed_in_docker() {
    let Some(i) = with_web() else { return };
    host::signal(i.running_pid("web", "main").unwrap(), Signal::SIGKILL);
    until_restarted(&i, "web", 1);
    i.until("it has begun again", |i| starts(i, "web") == 2);
}
