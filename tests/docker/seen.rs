//! What docker's own users see: names, labels, the pause image; and what the daemon costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::stage::{all, containers, docker, inspect, instance, the};
use crate::common::yaml::{canary, container, one, pod};
use crate::common::{Instance, host, image};

#[test]
fn names_and_labels_are_those_that_the_kubelets_docker_users_know() {
    let Some(mut i) = instance() else { return };
    let text = pod(&i, "web", &[], &[container("main", &canary("web"), &[])])
        .replace("hostNetwork: true", "hostNetwork: false")
        .replace("{name: web}", "{name: web, namespace: shop, labels: {app: web, tier: front}}");
    i.write_manifest("web.yaml", &text);
    i.start();
    i.until_ready("web");
    let uid = i.pod("web").unwrap().uid.unwrap().to_string();
    let (main, pause) = (inspect(&i, &the(&i, "web", "main")), inspect(&i, &the(&i, "web", "POD")));
    assert_eq!(main["Name"], format!("/k8s_main_web-node1_shop_{uid}_0"));
    assert_eq!(pause["Name"], format!("/k8s_POD_web-node1_shop_{uid}_0"));
    let has = |of: &serde_json::Value, labels: &[(&str, &str)]| {
        for (name, value) in labels {
            assert_eq!(of["Config"]["Labels"][name], *value, "{name}: {}", of["Config"]["Labels"]);
        }
    };
    for (of, kind, name) in [(&main, "container", "main"), (&pause, "podsandbox", "POD")] {
        has(
            of,
            &[
                ("io.kubernetes.pod.name", "web-node1"),
                ("io.kubernetes.pod.namespace", "shop"),
                ("io.kubernetes.pod.uid", &uid),
                ("io.kubernetes.container.name", name),
                ("io.kubernetes.docker.type", kind),
                ("io.podstrap.run-dir", &i.run.to_string_lossy()),
            ],
        );
        // Restarting is for us, and nobody checks behind our back.
        assert_eq!(of["HostConfig"]["RestartPolicy"]["Name"], "no");
        assert!(of["Config"]["Healthcheck"].is_null() || of["Config"]["Healthcheck"]["Test"][0] == "NONE");
    }
    has(&pause, &[("app", "web"), ("tier", "front")]);
    let log = i.log.join(format!("shop_web-node1_{uid}/main/0.log"));
    has(
        &main,
        &[
            ("io.kubernetes.sandbox.id", pause["Id"].as_str().unwrap()),
            ("io.kubernetes.container.logpath", &log.to_string_lossy()),
            ("annotation.io.kubernetes.container.restartCount", "0"),
            ("annotation.io.kubernetes.pod.terminationGracePeriod", "2"),
        ],
    );
    assert!(log.exists(), "{}", log.display());
}

/// A Pod's labels are free, and must not make its containers another's.
#[test]
fn labels_of_a_pod_do_not_replace_those_that_tell_whose_a_container_is() {
    let Some(mut i) = instance() else { return };
    let labels = "io.podstrap.run-dir: elsewhere, io.podstrap.id: x, io.podstrap.generation: y, \
                  io.kubernetes.pod.name: other, io.kubernetes.container.name: other";
    let text = one(&i, "web", &canary("web"), &[])
        .replace("hostNetwork: true", "hostNetwork: false")
        .replace("{name: web}", &format!("{{name: web, labels: {{{labels}}}}}"));
    i.write_manifest("web.yaml", &text);
    i.start();
    i.until_ready("web");
    let labels = inspect(&i, &the(&i, "web", "POD"))["Config"]["Labels"].clone();
    assert_eq!(labels["io.podstrap.run-dir"], i.run.to_string_lossy().as_ref(), "{labels}");
    assert_ne!(labels["io.podstrap.id"], "x");
    assert_ne!(labels["io.podstrap.generation"], "y");
}

#[test]
fn nothing_of_a_value_is_to_be_seen_on_a_command_line() {
    let Some(mut i) = instance() else { return };
    // Every command line that was ever given to docker.
    let cli = i.docker.clone().unwrap();
    let words = i.dir.join("words");
    let spy = i.dir.join("spy");
    let script = format!(
        "#!/bin/sh\ntr '\\0' '\\n' <\"/proc/$$/cmdline\" >>{}\nexec {} \"$@\"\n",
        words.display(),
        cli.display()
    );
    fs::write(&spy, script).unwrap();
    fs::set_permissions(&spy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    i.docker = Some(spy);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {pass: hunter2, two: \"hunter\\n3\"}\n---\n";
    let env = "env: [{name: A, value: hunter1}, {name: B, valueFrom: {secretKeyRef: {name: s, key: pass}}}, \
               {name: C, valueFrom: {secretKeyRef: {name: s, key: two}}}]";
    let script = "echo \"$A|$B|$C\" >/shared/seen; exec sleep 1000";
    i.write_manifest("web.yaml", &format!("{secret}{}", one(&i, "web", script, &[env])));
    i.start();
    i.until("they are in the container", |i| i.lines("seen") == ["hunter1|hunter2|hunter", "3"]);
    let words = fs::read_to_string(&words).unwrap();
    assert!(words.contains("--env-file"), "the spy saw what was run:\n{words}");
    assert!(!words.contains("hunter"), "{words}");
    // Nor in any file that stays: the file of variables is gone when docker has read it.
    let holds = |file: &Path| {
        let text = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.contains("hunter2") || text.contains("hunter\n3")
    };
    i.until("no file of the run directory has a Secret's value", |i| {
        !host::files_below(&i.run).iter().any(|file| holds(file))
    });
}

#[test]
fn the_pause_image_is_made_here_and_nothing_is_pulled() {
    let Some(mut i) = instance() else { return };
    let text = one(&i, "web", &canary("web"), &[]).replace("hostNetwork: true", "hostNetwork: false");
    i.write_manifest("web.yaml", &text);
    let since = docker(&i, &["info", "--format", "{{.SystemTime}}"]);
    i.start();
    i.until_ready("web");
    let pause = inspect(&i, &the(&i, "web", "POD"));
    assert!(
        pause["Config"]["Image"].as_str().unwrap().starts_with("podstrap-pause:"),
        "{}",
        pause["Config"]["Image"]
    );
    let until = docker(&i, &["info", "--format", "{{.SystemTime}}"]);
    let pulls = docker(&i, &["events", "--since", &since, "--until", &until, "--filter", "event=pull"]);
    assert_eq!(pulls, "");
    // It waits for nothing but signals.
    let pid = i32::try_from(pause["State"]["Pid"].as_i64().unwrap()).unwrap();
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<String> = stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(ticks(), before);
}

/// The processes below a process, with their command lines.
fn below(pid: i32) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for proc in host::entries(Path::new("/proc")) {
        let Some(child) = proc.file_name().and_then(|n| n.to_str()?.parse::<i32>().ok()) else { continue };
        let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        if parent == Some(pid) && host::alive(child) {
            let cmdline = fs::read(proc.join("cmdline")).unwrap_or_default();
            found.push((child, String::from_utf8_lossy(&cmdline).replace('\0', " ")));
            found.extend(below(child));
        }
    }
    found
}

#[test]
fn at_rest_there_is_one_process_of_dockers_command_line_and_none_for_each_container() {
    let Some(mut i) = instance() else { return };
    for n in 0..5 {
        let name = format!("p{n}");
        i.write_manifest(&format!("{name}.yaml"), &one(&i, &name, &canary(&name), &[]));
    }
    i.start();
    for n in 0..5 {
        i.until_ready(&format!("p{n}"));
    }
    let is_events = |line: &str| line.contains(" events ");
    i.until("only docker events is left below the daemon", |i| {
        let all = below(i.daemon_pid());
        all.len() == 1 && is_events(&all[0].1)
    });
    i.holds_for(Duration::from_secs(3), "and it stays so", |i| {
        below(i.daemon_pid()).iter().filter(|(_, line)| is_events(line)).count() == 1
    });
    // No monitor lives beside the containers either.
    let ours: Vec<_> = host::processes_of(&i.dir, &i.cgroup_root)
        .into_iter()
        .filter(|(_, line)| line.contains("monitor"))
        .collect();
    assert_eq!(ours, []);
    let events = below(i.daemon_pid()).remove(0).0;
    // One that dies is replaced.
    host::signal(events, nix::sys::signal::Signal::SIGKILL);
    i.until("there is another one", |i| {
        below(i.daemon_pid()).iter().any(|(pid, line)| *pid != events && is_events(line))
    });
    docker(&i, &["kill", &the(&i, "p0", "main")]);
    i.until("an end is seen all the same", |i| i.restarts("p0", "main") == 1 && i.ready("p0"));
}

#[test]
fn down_leaves_no_container() {
    let Some(mut i) = instance() else { return };
    let both = [container("main", &canary("one"), &[]), container("other", &canary("two"), &[])];
    let text = pod(&i, "web", &[], &both);
    i.write_manifest("web.yaml", &text);
    i.write_manifest(
        "own.yaml",
        &one(&i, "own", &canary("own"), &[]).replace("hostNetwork: true", "hostNetwork: false"),
    );
    i.start();
    i.until_ready("web");
    i.until_ready("own");
    // Each Pod has a pause container: the one of two containers for their IPC, the other for its network.
    assert_eq!(all(&i).len(), 5);
    i.cli_ok("down", &["own", "--timeout", "60s"]);
    assert_eq!(containers(&i, "own", "main").len() + containers(&i, "own", "POD").len(), 0);
    assert_eq!(all(&i).len(), 3, "the other Pod runs on");
    i.cli_ok("down", &["--timeout", "60s"]);
    assert_eq!(i.daemon_exit(crate::common::SOON).code(), Some(0));
    assert_eq!(all(&i), [""; 0]);
    for file in ["one", "two", "own"] {
        assert_eq!(
            i.lines(file).iter().filter(|l| l.starts_with("term ")).count(),
            1,
            "{file} was asked to end"
        );
    }
}

/// `--image-dir` archives are handed to docker, which keeps them under the name that the manifest has.
#[test]
fn images_of_archives_are_dockers_own() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    assert!(!docker(&i, &["image", "ls", "-q", image::BUSYBOX]).is_empty());
    let id = inspect(&i, &the(&i, "web", "main"))["Image"].as_str().unwrap().to_owned();
    assert!(i.container("web", "main").unwrap().image_id.contains(&id), "{id}");
}

/// An instance that does not run podstrap at all leaves docker alone.
#[test]
fn another_instance_on_the_same_docker_is_left_alone() {
    let (Some(mut one_of), Some(mut other)) = (instance(), instance()) else { return };
    let start = |i: &mut Instance| {
        i.write_manifest("web.yaml", &one(i, "web", &canary("web"), &[]));
        i.start();
        i.until_ready("web")
    };
    let (_, pid) = (start(&mut one_of), start(&mut other));
    one_of.kill9();
    one_of.start();
    one_of.until_ready("web");
    one_of.cli_ok("down", &["--timeout", "60s"]);
    assert_eq!(one_of.daemon_exit(crate::common::SOON).code(), Some(0));
    assert_eq!(all(&one_of), [""; 0]);
    assert_eq!(other.running_pid("web", "main"), Some(pid));
    assert_eq!(other.restarts("web", "main"), 0);
}
