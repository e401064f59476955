//! The main job: a real etcd from a manifest as kubeadm writes it, started, watched, restarted, changed and removed by
//! editing a directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::image::{self, in_tree};
use common::{Instance, assert_exit, bare_instance, describe, host, podstrap, text};
use nix::sys::signal::Signal;
use podstrap::report::ManifestState;

/// An instance with etcd's image and manifest.
struct EtcdPod {
    i: Instance,
    etcdctl: PathBuf,
    endpoint: String,
    manifest: String,
}

/// Made, and its manifest written; the daemon is not started yet. `None`, said aloud, where there is no etcd.
fn etcd() -> Option<EtcdPod> {
    let i = bare_instance()?;
    let etcd = match image::etcd() {
        Ok(etcd) => etcd,
        Err(reason) => {
            host::skip(&reason);
            return None;
        }
    };
    image::provide(&etcd.archive, &i.images_dir(), "etcd.tar");
    let ports: Vec<u16> = three_ports();
    let output = Command::new("sh")
        .arg(in_tree("tests/tools/etcd-manifest"))
        .arg(&i.dir)
        .arg(&etcd.image)
        .args(ports.iter().map(u16::to_string))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", describe(&output));
    let manifest = text(&output.stdout);
    i.write_manifest("etcd.yaml", &manifest);
    Some(EtcdPod { i, etcdctl: etcd.etcdctl, endpoint: format!("http://127.0.0.1:{}", ports[0]), manifest })
}

/// Three ports that are free, and differ: all are held before any is given back.
fn three_ports() -> Vec<u16> {
    let held: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().port()).collect()
}

impl EtcdPod {
    fn wait_ready(&self) {
        assert_exit(&self.i.wait(&["--for", "ready", "--timeout", "60s", "kube-system/etcd"]), 0);
    }

    fn etcdctl(&self, args: &[&str]) -> Output {
        let endpoints = format!("--endpoints={}", self.endpoint);
        Command::new(&self.etcdctl).arg(endpoints).args(["--command-timeout=5s"]).args(args).output().unwrap()
    }

    fn put(&self, key: &str, value: &str) {
        let output = self.etcdctl(&["put", key, value]);
        assert!(output.status.success(), "{}", describe(&output));
    }

    fn get(&self, key: &str) -> String {
        let output = self.etcdctl(&["get", key, "--print-value-only"]);
        assert!(output.status.success(), "{}", describe(&output));
        text(&output.stdout).trim_end().to_owned()
    }

    fn pid(&self) -> i32 {
        self.i.running_pid("etcd", "etcd").expect("etcd runs")
    }
}

#[test]
fn from_manifest_to_key_in_seconds() {
    let Some(mut e) = etcd() else { return };
    let began = Instant::now();
    e.i.start();
    e.wait_ready();
    assert!(began.elapsed() < Duration::from_secs(15), "ready after {:?}", began.elapsed());
    e.put("hello", "world");
    assert_eq!(e.get("hello"), "world");
    let inside = e.i.cli_ok(
        "exec",
        &[
            "kube-system/etcd",
            "--",
            "etcdctl",
            "--endpoints",
            &e.endpoint,
            "get",
            "hello",
            "--print-value-only",
        ],
    );
    assert_eq!(inside.trim_end(), "world");
    let status = e.i.cli_ok("status", &[]);
    let row = status.lines().find(|l| l.contains("etcd")).expect("a row for etcd");
    assert!(row.contains("1/1") && row.contains("Running"), "{status}");
    let pod = e.i.pod("etcd").unwrap().pod;
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    assert_eq!(pod["spec"]["priorityClassName"], "system-node-critical");

    let status = fs::read_to_string(format!("/proc/{}/status", e.pid())).unwrap();
    assert!(status.lines().any(|l| l == "Seccomp:\t2"), "a seccomp filter is on:\n{status}");
    // As critical as this host lets it be: −997, or 0 where lowering is not permitted.
    let adjusted = fs::read_to_string(format!("/proc/{}/oom_score_adj", e.pid())).unwrap();
    assert!(["-997", "0"].contains(&adjusted.trim()), "oom_score_adj is {adjusted}");
    // 100m of a cpu are 102 shares (or 4 in the weight of cgroup v2) in the container's own cgroup.
    let cgroups = host::cgroups_of(&e.i.cgroup_root);
    let shares: Vec<String> = cgroups
        .iter()
        .flat_map(|c| ["cpu.shares", "cpu.weight"].map(|f| c.join(f)))
        .filter_map(|f| fs::read_to_string(f).ok())
        .map(|s| s.trim().to_owned())
        .collect();
    assert!(shares.iter().any(|s| s == "102" || s == "4"), "cpu shares of the cgroups: {shares:?}");
    // The manifest's directories were made, and hold the data.
    assert!(e.i.dir.join("etcd-data/member/wal").is_dir());
    assert!(e.i.dir.join("pki/etcd").is_dir());
}

#[test]
fn moved_out_it_ends_cleanly_and_moved_in_it_has_its_data() {
    let Some(mut e) = etcd() else { return };
    e.i.start();
    e.wait_ready();
    e.put("kept", "yes");
    let data = host::inode(&e.i.dir.join("etcd-data"));
    let (pid, dir) = (e.pid(), e.i.dir.clone());
    // The log goes with the Pod: read on through a descriptor of our own.
    let mut logs = host::entries(&e.i.log).into_iter().map(|pod| pod.join("etcd/0.log"));
    let path = logs.find(|f| f.exists()).unwrap();
    let mut kept_open = fs::File::open(path).unwrap();

    fs::rename(e.i.manifests.join("etcd.yaml"), dir.join("etcd.yaml")).unwrap();
    assert_exit(&e.i.wait(&["--for", "gone", "--timeout", "60s", "kube-system/etcd"]), 0);
    assert!(!host::alive(pid));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut kept_open, &mut said).unwrap();
    assert!(
        said.contains("received signal") || said.contains("received terminated signal"),
        "TERM was seen:\n{said}"
    );
    let left = host::left_behind(&dir, &e.i.cgroup_root, Some(e.i.daemon_pid()));
    assert_eq!(left, [""; 0], "cgroup, mounts and processes are gone");
    assert!(host::entries(&e.i.run.join("pods")).is_empty(), "the bundle is gone");
    assert!(host::entries(&e.i.run.join("runc")).is_empty(), "runc knows nothing any more");

    fs::rename(dir.join("etcd.yaml"), e.i.manifests.join("etcd.yaml")).unwrap();
    e.wait_ready();
    assert_eq!(e.get("kept"), "yes");
    assert_eq!(host::inode(&dir.join("etcd-data")), data);
}

#[test]
fn edited_it_is_replaced_once_and_broken_it_runs_on() {
    let Some(mut e) = etcd() else { return };
    e.i.start();
    e.wait_ready();
    e.put("kept", "yes");
    let first = e.pid();
    let edited = e.manifest.replace("--snapshot-count=10000", "--snapshot-count=20000");
    assert_ne!(edited, e.manifest);
    e.i.write_manifest("etcd.yaml", &edited);
    e.i.until_within(Duration::from_secs(40), "the edited one runs", |i| {
        i.running_pid("etcd", "etcd").is_some_and(|p| p != first) && i.ready("etcd")
    });
    let second = e.pid();
    assert!(fs::read(format!("/proc/{second}/cmdline")).unwrap().windows(5).any(|w| w == b"20000"));
    assert_eq!(e.get("kept"), "yes");
    assert_eq!(e.i.restarts("etcd", "etcd"), 0);

    let broken = edited.replace("        port: ", "        prot: ");
    e.i.write_in_place("etcd.yaml", broken.as_bytes());
    e.i.until("the breakage is published", |i| {
        i.pod("etcd").is_some_and(|p| matches!(p.manifest, ManifestState::Kept { .. }))
    });
    let file = e.i.manifests.join("etcd.yaml");
    let output = Command::new(podstrap()).arg("validate").arg(&file).output().unwrap();
    assert_exit(&output, 3);
    let said = text(&output.stdout) + &text(&output.stderr);
    for (n, _) in broken.lines().enumerate().filter(|(_, l)| l.contains("prot: ")) {
        assert!(said.contains(&format!("{}:", file.display())), "line {}: {said}", n + 1);
    }
    assert!(said.contains("port"), "{said}");
    assert!(describe(&e.i.cli("status", &[])).contains("etcd.yaml"), "status names the file");
    e.i.holds_for(Duration::from_secs(3), "the same process runs on", |i| {
        i.running_pid("etcd", "etcd") == Some(second)
    });
    assert_eq!(e.get("kept"), "yes");
}

#[test]
fn killed_it_runs_again_at_once_and_its_former_life_is_shown() {
    let Some(mut e) = etcd() else { return };
    e.i.start();
    e.wait_ready();
    e.put("kept", "yes");
    let first = e.pid();
    let member = text(&e.etcdctl(&["member", "list"]).stdout);
    let killed = Instant::now();
    host::signal(first, Signal::SIGKILL);
    e.i.until("another process runs", |i| i.running_pid("etcd", "etcd").is_some_and(|p| p != first));
    assert!(killed.elapsed() < Duration::from_secs(2), "took {:?}", killed.elapsed());
    e.i.until("the restart is counted", |i| i.restarts("etcd", "etcd") == 1 && i.ready("etcd"));
    assert_eq!(e.get("kept"), "yes");
    assert_eq!(text(&e.etcdctl(&["member", "list"]).stdout), member, "the same member");
    let ended = e.i.container("etcd", "etcd").unwrap().last_state.terminated.expect("a former life");
    assert_eq!(ended.exit_code, 137);
    let former = e.i.cli_ok("logs", &["-p", "kube-system/etcd"]);
    assert!(former.contains("ready to serve client requests"), "{former}");
}

#[test]
fn the_daemons_death_is_not_noticed_by_etcd() {
    let Some(mut e) = etcd() else { return };
    e.i.start();
    e.wait_ready();
    let pid = e.pid();
    for n in 0..5 {
        e.i.kill9();
        e.put("round", &n.to_string());
        e.i.start();
        assert_eq!(e.get("round"), n.to_string());
    }
    e.wait_ready();
    assert_eq!(e.pid(), pid);
    assert_eq!(e.i.restarts("etcd", "etcd"), 0);
}
