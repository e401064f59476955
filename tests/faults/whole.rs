//! The whole Pod under faults: init containers, sidecars, hooks, its own namespaces and network, ConfigMaps, memory. The
//! daemon and its helpers are killed at any moment, plugins and hooks hang, what was asked for goes away.

mod network;
mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::container;
use crate::common::{Instance, assert_exit, host, text};
use crate::inject::{Dice, assert_no_double, guard, instance};

/// An instance with a network of one plugin, a shell script: it leases an address per Pod as `host-local` does, a file in
/// `leases`, and refuses to lease one twice. For a Pod whose name is in the file `hang` it sleeps instead, at ADD.
pub fn networked() -> Option<Instance> {
    let mut i = instance()?;
    let dir = i.dir.display().to_string();
    for sub in ["net.d", "bin", "leases"] {
        fs::create_dir(i.dir.join(sub)).unwrap();
    }
    let list = r#"{"cniVersion": "1.0.0", "name": "faults", "plugins": [{"type": "lease"}]}"#;
    fs::write(i.dir.join("net.d/10-faults.conflist"), list).unwrap();
    let plugin = i.dir.join("bin/lease");
    let script = format!(
        r#"#!/bin/sh
cat >/dev/null
lease={dir}/leases/$CNI_CONTAINERID
echo "$CNI_COMMAND $CNI_ARGS" >>{dir}/calls
case $CNI_COMMAND in
ADD)
  [ -e {dir}/refuse ] && {{ echo '{{"cniVersion": "1.0.0", "code": 11, "msg": "no address is free"}}'; exit 1; }}
  set -C; : >$lease || {{ echo '{{"cniVersion": "1.0.0", "code": 100, "msg": "leased already"}}'; exit 1; }}
  if [ -e {dir}/hang ] && echo "$CNI_ARGS" | grep -q "K8S_POD_NAME=$(cat {dir}/hang)-"; then sleep 1000; fi
  echo '{{"cniVersion": "1.0.0", "ips": [{{"address": "198.18.0.9/24"}}]}}';;
DEL) rm -f $lease;;
esac
"#
    );
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let (conf, bin) = (format!("{dir}/net.d"), format!("{dir}/bin"));
    i.args(&["--cni-conf-dir", &conf, "--cni-bin-dir", &bin, "--restart-backoff", "100ms,1s"]);
    Some(i)
}

pub fn leases(i: &Instance) -> Vec<PathBuf> {
    host::entries(&i.dir.join("leases"))
}

fn assert_none(left: &[PathBuf]) {
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// What of an instance's namespaces and memory is mounted.
fn mounts(i: &Instance) -> Vec<PathBuf> {
    host::mounts_below(&i.dir)
}

/// A Pod with a network of its own; `spec` holds lines of its spec, `volumes` further volumes.
fn own(i: &Instance, name: &str, spec: &[String], containers: &[String], volumes: &[&str]) -> String {
    let mut lines = vec![
        "apiVersion: v1".to_owned(),
        "kind: Pod".to_owned(),
        format!("metadata: {{name: {name}}}"),
        "spec:".to_owned(),
    ];
    if !spec.iter().any(|s| s.starts_with("terminationGracePeriodSeconds")) {
        lines.push("  terminationGracePeriodSeconds: 2".to_owned());
    }
    lines.extend(spec.iter().flat_map(|s| s.lines()).map(|s| format!("  {s}")));
    lines.push("  containers:".to_owned());
    lines.extend(containers.iter().cloned());
    lines.push("  volumes:".to_owned());
    lines.push(format!("  - {{name: shared, hostPath: {{path: {}}}}}", i.shared.display()));
    lines.extend(volumes.iter().map(|v| format!("  - {v}")));
    lines.join("\n") + "\n"
}

/// A Pod of one container of this script, with a network of its own.
pub fn plain(i: &Instance, name: &str, script: &str) -> String {
    own(i, name, &[], &[container("main", script, &[])], &[])
}

/// The init containers of a spec, as one of its lines.
fn inits(containers: &[String]) -> String {
    // The containers are indented by two, and so is each line of the spec.
    let text = containers.join("\n");
    let lines: Vec<&str> = text.lines().map(|l| l.strip_prefix("  ").unwrap_or(l)).collect();
    format!("initContainers:\n{}", lines.join("\n"))
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{word: \"{value}\"}}\n")
}

/// Everything at once: an init container that counts its runs, a sidecar, hooks, a network, memory, a ConfigMap.
fn everything(i: &Instance, name: &str, tag: u32) -> String {
    let hooks = format!(
        "lifecycle: {{postStart: {{exec: {{command: [sh, -c, 'echo begun {tag} >>/shared/{name}.hooks']}}}}, \
         preStop: {{exec: {{command: [sh, -c, 'echo ending {tag} >>/shared/{name}.hooks']}}}}}}"
    );
    let main = container("main", &guard(name, &tag.to_string()), &[&hooks]).replace(
        "mountPath: /shared}",
        "mountPath: /shared}, {name: memory, mountPath: /memory}, {name: config, mountPath: /config}",
    );
    let side =
        container("side", &guard(&format!("{name}-side"), &tag.to_string()), &["restartPolicy: Always"]);
    let first = container("first", &format!("echo init {tag} >>/shared/{name}.init"), &[]);
    own(
        i,
        name,
        &["shareProcessNamespace: true".to_owned(), inits(&[first, side])],
        &[main],
        &[
            "{name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}",
            "{name: config, configMap: {name: words}}",
        ],
    )
}

fn starts(i: &Instance, file: &str, tag: u32) -> usize {
    i.lines(file).iter().filter(|l| **l == format!("start {tag}")).count()
}

/// Waits until a Pod of `everything` is up as `tag`.
fn until_up(i: &Instance, name: &str, tag: u32) {
    i.until(&format!("{name} is up as {tag}"), |i| {
        i.ready(name)
            && starts(i, name, tag) == 1
            && starts(i, &format!("{name}-side"), tag) == 1
            && i.lines(&format!("{name}.hooks")).contains(&format!("begun {tag}"))
    });
}

#[test]
fn the_daemon_is_killed_while_whole_pods_come_and_go() {
    let Some(mut i) = networked() else { return };
    i.write_manifest("words.yaml", &config_map("words", "one"));
    let names = ["w0", "w1", "w2"];
    let (mut dice, mut tags, mut next) = (Dice(0x0dd_ba11), [None; 3], 0);
    for round in 0..10 {
        i.start();
        for _ in 0..=dice.below(2) {
            let n = dice.below(3) as usize;
            let file = format!("{}.yaml", names[n]);
            if tags[n].is_some() && dice.below(3) == 0 {
                i.remove(&file);
                tags[n] = None;
            } else {
                next += 1;
                tags[n] = Some(next);
                i.write_manifest(&file, &everything(&i, names[n], next));
            }
            std::thread::sleep(Duration::from_millis(dice.below(400)));
        }
        i.kill9();
        assert_no_double(&i);
        if round == 4 {
            i.start();
            settle(&i, &names, &tags);
            i.kill9();
        }
    }
    i.start();
    settle(&i, &names, &tags);
    // What is up goes through a last death as it is.
    let seen = |i: &Instance| {
        let files = names.iter().flat_map(|n| [(*n).to_owned(), format!("{n}-side"), format!("{n}.init")]);
        files.map(|f| i.lines(&f)).collect::<Vec<_>>()
    };
    let before = seen(&i);
    i.kill9();
    i.start();
    settle(&i, &names, &tags);
    assert_eq!(seen(&i), before);
    for (name, tag) in names.iter().zip(tags) {
        let Some(tag) = tag else { continue };
        let runs = i.lines(&format!("{name}.init")).iter().filter(|l| **l == format!("init {tag}")).count();
        assert_eq!(runs, 1, "the init container of {name} ran {runs} times");
        i.remove(&format!("{name}.yaml"));
    }
    i.until("all are gone", |i| names.iter().all(|n| i.pod(n).is_none()));
    assert_none(&leases(&i));
    assert_none(&mounts(&i));
    assert_none(&host::entries(&i.run.join("pods")));
    assert_no_double(&i);
}

fn settle(i: &Instance, names: &[&str; 3], tags: &[Option<u32>; 3]) {
    for (name, tag) in names.iter().zip(tags) {
        match tag {
            Some(tag) => until_up(i, name, *tag),
            None => i.until(&format!("{name} is gone"), |i| i.pod(name).is_none()),
        }
    }
}

/// The daemon's children that were started with one of these verbs.
fn helpers(i: &Instance, verbs: &[&str]) -> Vec<i32> {
    let of_one = |pid: &i32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').nth(1).is_some_and(|verb| verbs.contains(&verb))
    };
    children(i.daemon_pid()).into_iter().filter(of_one).collect()
}

#[test]
fn helpers_are_killed_while_whole_pods_come_and_go() {
    let Some(mut i) = networked() else { return };
    i.write_manifest("words.yaml", &config_map("words", "0"));
    i.start();
    let names = ["w0", "w1", "w2"];
    let (mut dice, mut tags, mut killed) = (Dice(0x5ca1_ab1e), [None; 3], 0);
    for round in 1..=12 {
        let n = dice.below(3) as usize;
        let file = format!("{}.yaml", names[n]);
        if tags[n].is_some() && dice.below(3) == 0 {
            i.remove(&file);
            tags[n] = None;
        } else {
            tags[n] = Some(round);
            i.write_manifest(&file, &everything(&i, names[n], round));
        }
        i.write_manifest("words.yaml", &config_map("words", &round.to_string()));
        let end = Instant::now() + Duration::from_millis(dice.below(500));
        while Instant::now() < end {
            for pid in helpers(&i, &["sandbox", "remove", "project", "sweep"]) {
                if dice.below(3) > 0 {
                    host::signal(pid, Signal::SIGKILL);
                    killed += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(dice.below(10)));
        }
    }
    settle(&i, &names, &tags);
    assert!(killed > 0, "no helper was killed");
    i.write_manifest("words.yaml", &config_map("words", "last"));
    for (name, _) in names.iter().zip(tags).filter(|(_, tag)| tag.is_some()) {
        i.until("its volume has the last", |i| {
            let pid = i.running_pid(name, "main").unwrap_or(0);
            fs::read_to_string(format!("/proc/{pid}/root/config/word")).is_ok_and(|w| w == "last")
        });
        i.remove(&format!("{name}.yaml"));
    }
    i.until("all are gone", |i| names.iter().all(|n| i.pod(n).is_none()));
    assert_none(&leases(&i));
    assert_none(&mounts(&i));
    assert_none(&host::entries(&i.run.join("pods")));
    assert_no_double(&i);
}

#[test]
fn what_has_finished_is_not_run_again() {
    let Some(mut i) = networked() else { return };
    let never = "restartPolicy: Never".to_owned();
    i.write_manifest(
        "once.yaml",
        &own(
            &i,
            "once",
            std::slice::from_ref(&never),
            &[container("main", "echo ran >>/shared/once", &[])],
            &[],
        ),
    );
    let first = container("first", "echo ran >>/shared/stuck; exit 3", &[]);
    i.write_manifest(
        "broken.yaml",
        &own(
            &i,
            "broken",
            &[never, inits(&[first])],
            &[container("main", "echo ran >>/shared/stuck", &[])],
            &[],
        ),
    );
    i.start();
    let phase = |i: &Instance, pod: &str| {
        i.pod(pod).and_then(|p| Some(p.pod.pointer("/status/phase")?.as_str()?.to_owned()))
    };
    let ended = |i: &Instance| {
        phase(i, "once").as_deref() == Some("Succeeded") && phase(i, "broken").as_deref() == Some("Failed")
    };
    i.until("both have ended", ended);
    for _ in 0..3 {
        i.kill9();
        i.start();
        i.until("both have ended", ended);
    }
    // A directory that is not there yet (a mount that comes late) takes nothing away.
    i.kill9();
    let away = i.dir.join("away");
    fs::rename(&i.manifests, &away).unwrap();
    i.start();
    i.holds_for(Duration::from_millis(500), "both are known", |i| {
        i.pod("once").is_some() && i.pod("broken").is_some()
    });
    fs::rename(&away, &i.manifests).unwrap();
    host::signal(i.daemon_pid(), Signal::SIGHUP);
    i.until("both have ended", ended);
    i.holds_for(Duration::from_millis(500), "nothing runs again", |i| {
        i.lines("once").len() == 1 && i.lines("stuck").len() == 1
    });
    // `down` ends what has finished, too, without a daemon as with one.
    i.cli_ok("down", &["once", "--timeout", "10s"]);
    i.until("it is gone", |i| leases(i).len() == 1);
    i.kill9();
    assert_exit(&i.cli("down", &["--timeout", "10s"]), 0);
    assert_none(&leases(&i));
    assert_none(&mounts(&i));
}

#[test]
fn a_pod_of_its_own_namespaces_outlives_its_saved_state() {
    let Some(mut i) = networked() else { return };
    i.write_manifest("words.yaml", &config_map("words", "one"));
    for name in ["a", "b"] {
        i.write_manifest(&format!("{name}.yaml"), &everything(&i, name, 1));
    }
    i.start();
    for name in ["a", "b"] {
        until_up(&i, name, 1);
    }
    let generation =
        |i: &Instance, name: &str| i.run.join("pods").join(i.pod(name).unwrap().generation.unwrap().as_str());
    let (a, b) = (generation(&i, "a"), generation(&i, "b"));
    i.kill9();
    // Killed between a start and the saving of it; and a record of the namespaces that cannot be read any more.
    let state = fs::read_to_string(a.join("state.json")).unwrap();
    assert!(state.contains("\"opened\":true"), "{state}");
    fs::write(a.join("state.json"), state.replace("\"opened\":true", "\"opened\":false")).unwrap();
    fs::write(b.join("sandbox.json"), "{").unwrap();
    i.start();
    i.until("both are ready", |i| i.ready("a") && i.ready("b"));
    i.holds_for(Duration::from_millis(700), "nothing runs again", |i| starts(i, "a", 1) == 1 && i.ready("a"));
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.lines().count() < 100, "{} lines were logged", log.lines().count());
    assert_eq!(i.lines("a.init").len(), 1, "it had succeeded: {:?}", i.lines("a.init"));
    for name in ["a", "b"] {
        i.remove(&format!("{name}.yaml"));
        i.until("it is gone", |i| i.pod(name).is_none());
    }
    assert_none(&leases(&i));
    assert_no_double(&i);
}

#[test]
fn damaged_files_restart_nothing_of_whole_pods() {
    let Some(mut i) = networked() else { return };
    i.write_manifest("words.yaml", &config_map("words", "one"));
    let names = ["a", "b", "c"];
    for name in names {
        i.write_manifest(&format!("{name}.yaml"), &everything(&i, name, 1));
    }
    i.start();
    names.iter().for_each(|name| until_up(&i, name, 1));
    let generations = names.map(|n| i.pod(n).unwrap().generation.unwrap());
    i.kill9();
    for (generation, files) in
        generations.iter().zip([&["state.json"][..], &["pod.json"], &["pod.json", "state.json"]])
    {
        for file in files {
            fs::write(i.run.join("pods").join(generation.as_str()).join(file), "{").unwrap();
        }
    }
    i.start();
    i.until("all are ready", |i| names.iter().all(|n| i.ready(n)));
    i.holds_for(Duration::from_millis(700), "nothing is started", |i| {
        names.iter().all(|n| {
            let once = |file: String| i.lines(&file).len() == 1;
            i.ready(n) && [(*n).to_owned(), format!("{n}-side"), format!("{n}.init")].into_iter().all(once)
        })
    });
    for name in names {
        i.remove(&format!("{name}.yaml"));
        i.until("it is gone", |i| i.pod(name).is_none());
    }
    assert_none(&leases(&i));
    assert_none(&mounts(&i));
    assert_no_double(&i);
}

/// The processes whose parent this one is.
fn children(parent: i32) -> Vec<i32> {
    let pids = host::entries("/proc".as_ref());
    let pids = pids.iter().filter_map(|p| p.file_name()?.to_str()?.parse::<i32>().ok());
    let ppid = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    pids.filter(|p| ppid(*p) == Some(parent)).collect()
}

#[test]
fn after_a_reboot_nothing_of_the_old_namespaces_is_used() {
    let Some(mut i) = networked() else { return };
    i.write_manifest("words.yaml", &config_map("words", "one"));
    i.write_manifest("a.yaml", &everything(&i, "a", 1));
    i.write_manifest("b.yaml", &everything(&i, "b", 1));
    i.start();
    until_up(&i, "a", 1);
    until_up(&i, "b", 1);
    i.kill9();
    // The power goes: every process ends, files and (here, unlike in life) mounts stay.
    for (pid, _) in host::processes_of(&i.dir, &i.cgroup_root) {
        host::signal(pid, Signal::SIGKILL);
    }
    i.until("all processes have ended", |i| host::processes_of(&i.dir, &i.cgroup_root).is_empty());
    let boot = fs::read_to_string(i.run.join("boot_id")).unwrap();
    let other: String = boot.trim().chars().rev().collect();
    for file in host::files_below(&i.run).into_iter().chain([i.state.join("boot_id")]) {
        if let Ok(text) = fs::read_to_string(&file)
            && text.contains(boot.trim())
        {
            fs::write(&file, text.replace(boot.trim(), &other)).unwrap();
        }
    }
    assert!(mounts(&i).iter().any(|m| m.to_string_lossy().contains("/ns/")), "{:?}", mounts(&i));
    i.remove("b.yaml");
    i.start();
    i.until("it is started anew", |i| i.ready("a") && starts(i, "a", 1) == 2 && starts(i, "a-side", 1) == 2);
    assert_eq!(i.lines("a.init").len(), 2, "a reboot runs init containers again");
    i.remove("a.yaml");
    i.until("it is gone", |i| i.pod("a").is_none());
    assert_none(&mounts(&i));
    assert_eq!(i.lines("b").len(), 1);
    let log = text(&fs::read(i.daemon_log()).unwrap());
    assert!(!log.contains("cannot be taken over"), "{log}");
    assert_no_double(&i);
}
