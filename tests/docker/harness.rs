//! The tests' own eyes: what is left in docker must be seen, and an engine must go with whoever asked for it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::stage::{can_run, docker, instance};
use crate::common::engine::{self, Engine};
use crate::common::{host, image};

/// Makes docker know the busybox image, without any daemon of ours.
pub fn load_busybox(cli: &Path) {
    engine::ok(cli, &["load", "-i", image::busybox().to_str().unwrap()]);
}

#[test]
fn containers_left_behind_are_seen_and_removed() {
    let Some(i) = instance() else { return };
    load_busybox(i.docker.as_ref().unwrap());
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
    let label = format!("{}={}", engine::RUN_LABEL, i.run.display());
    let neighbour = format!("{label}2");
    let run = |label: &str| {
        let args = ["run", "-d", "--network", "none", "--label", label, image::BUSYBOX, "sleep", "1000"];
        docker(&i, &args)
    };
    let (ours, theirs) = (run(&label), run(&neighbour));
    let left = host::left_behind(&i.dir, &i.cgroup_root, None);
    assert!(left.len() == 1 && left[0].contains(&ours), "{left:#?}");
    host::clean_up(&i.dir, &i.cgroup_root);
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
    assert!(docker(&i, &["ps", "-q", "--no-trunc"]).contains(&theirs), "a neighbour's is left alone");
    docker(&i, &["rm", "-f", &theirs]);
}

/// What there is of an engine on the host.
fn traces(dir: &Path) -> Vec<String> {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let mut found = Vec::new();
    let needles = [format!("{}/", dir.display()), format!("-namespace {name} ")];
    for proc in host::entries(Path::new("/proc")) {
        let cmdline = fs::read(proc.join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        if needles.iter().any(|n| cmdline.contains(n)) {
            found.push(format!("{}: {cmdline}", proc.display()));
        }
    }
    found.extend(host::mounts_below(dir).iter().map(|m| format!("mount {}", m.display())));
    found.extend(host::cgroups_of(&name).iter().map(|c| format!("cgroup {}", c.display())));
    found.extend(dir.exists().then(|| dir.display().to_string()));
    found
}

#[test]
fn an_engine_goes_with_the_process_that_asked_for_it_however_that_ends() {
    if !can_run() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "harness::holds_an_engine", "--ignored", "--nocapture"])
        .env("PODSTRAP_TEST_HOLD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("HOLDS ").map(str::to_owned));
    let (dir, pid) = told.as_ref().and_then(|t| t.split_once(' ')).expect("the child has told what it holds");
    let (dir, pid) = (PathBuf::from(dir), pid.parse::<i32>().unwrap());
    assert!(host::alive(pid) && !traces(&dir).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(40);
    while !traces(&dir).is_empty() || host::alive(pid) {
        assert!(
            Instant::now() < end,
            "left behind (container alive: {}): {:#?}",
            host::alive(pid),
            traces(&dir)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "run by an_engine_goes_with_the_process_that_asked_for_it_however_that_ends"]
fn holds_an_engine() {
    if std::env::var_os("PODSTRAP_TEST_HOLD").is_none() {
        return;
    }
    let engine = Engine::start("docker");
    load_busybox(&engine.cli);
    let id = engine::ok(&engine.cli, &["run", "-d", "--network", "none", image::BUSYBOX, "sleep", "1000"]);
    let pid = engine::ok(&engine.cli, &["inspect", "-f", "{{.State.Pid}}", &id]);
    // Not even a dockerd that answers nobody may stay.
    host::signal(engine.pid(), nix::sys::signal::Signal::SIGSTOP);
    println!("HOLDS {} {pid}", engine.dir.display());
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}
