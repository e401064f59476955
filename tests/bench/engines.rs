//! The same Pod beside what people use: docker, podman's `kube play`, docker-compose. Each runs in a directory of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::Effort;
use crate::common::engine::{self, Engine};
use crate::common::host;
use crate::one::{life, rest, seconds};
use crate::pods::{Bench, bench};
use crate::sample::{Bound, Line, Unit};
use crate::stamp::{IMAGE, image, now};

/// podstrap with docker, and docker by hand.
pub fn docker(effort: &Effort) -> Vec<Line> {
    let engine = Engine::start("docker");
    let mut b = bench(Some(&engine.cli));
    b.start();
    let volume = format!("{}:/shared", b.i.shared.display());
    let (mut ours, mut theirs) = ([vec![], vec![], vec![]], [vec![], vec![], vec![]]);
    for n in 0..=effort.rounds {
        let name = format!("pod-{n}");
        let (mut by_podstrap, mut by_docker) = ([0.0; 3], [0.0; 3]);
        for turn in [n, n + 1] {
            if turn % 2 == 0 {
                by_podstrap = life(&b, &name);
                continue;
            }
            let name = format!("bare-{n}");
            let mut run = vec!["run", "-d", "--name", &name, "--restart", "always", "--network", "host"];
            run.extend(["-v", &volume, IMAGE, "/stamp", &name]);
            rest();
            let began = now();
            engine::ok(&engine.cli, &run);
            by_docker[0] = seconds(began, b.stamps.nth(&name, "start", 1));
            let pid = engine::ok(&engine.cli, &["inspect", "--format", "{{.State.Pid}}", &name]);
            rest();
            host::signal(pid.parse().unwrap(), Signal::SIGUSR1);
            let ended = b.stamps.nth(&name, "exit", 1);
            by_docker[1] = seconds(ended, b.stamps.nth(&name, "start", 2));
            let began = now();
            engine::ok(&engine.cli, &["stop", &name]);
            engine::ok(&engine.cli, &["rm", &name]);
            by_docker[2] = seconds(began, now());
        }
        if n > 0 {
            ours.iter_mut().zip(by_podstrap).for_each(|(all, one)| all.push(one));
            theirs.iter_mut().zip(by_docker).for_each(|(all, one)| all.push(one));
        }
    }
    b.down();
    let ([start, restart, removal], [run, again, stop]) = (ours, theirs);
    vec![
        Line::of("manifest in place → process, docker", Unit::Time, start)
            .against("docker run -d", run.clone())
            .bound(Bound::Times(1.3)),
        Line::of("process ended → first restart, docker", Unit::Time, restart.clone())
            .against("docker run -d", run)
            .bound(Bound::Times(1.3)),
        Line::of("process ended → first restart, docker", Unit::Time, restart)
            .against("docker --restart always", again),
        Line::of("manifest gone → all gone, docker, without the 250 ms", Unit::Time, removal)
            .against("docker stop, rm", stop),
    ]
}

/// podstrap with runc, and `podman kube play` of the same manifest.
pub fn podman(effort: &Effort) -> Vec<Line> {
    let engine = Engine::start("podman");
    engine::ok(&engine.cli, &["load", "-i", image().to_str().unwrap()]);
    let manager = cgroup_manager();
    let mut b = bench(None);
    b.start();
    let play = |b: &Bench, name: &str| {
        let file = b.i.dir.join(format!("{name}.yaml"));
        fs::write(&file, b.manifest(name, &[], "")).unwrap();
        rest();
        let began = now();
        engine::ok(&engine.cli, &[manager, "kube", "play", file.to_str().unwrap()]);
        let took = seconds(began, b.stamps.nth(name, "start", 1));
        engine::ok(&engine.cli, &[manager, "pod", "rm", "-f", "-t", "0", name]);
        took
    };
    let (ours, theirs) = in_turn(&b, effort, play);
    b.down();
    vec![Line::of("manifest in place → process, runc", Unit::Time, ours).against("podman kube play", theirs)]
}

/// What podman takes by itself. With version 2 of control groups and podman 4.3, its Pods do not start in groups that systemd
/// has not made: runc may not open /dev/null in them.
fn cgroup_manager() -> &'static str {
    let by_systemd = ["/run/systemd/system", "/sys/fs/cgroup/cgroup.controllers"];
    match by_systemd.iter().all(|path| Path::new(path).exists()) {
        true => "--cgroup-manager=systemd",
        false => "--cgroup-manager=cgroupfs",
    }
}

/// podstrap with docker, and docker-compose with the same docker.
pub fn compose(effort: &Effort) -> Vec<Line> {
    let engine = Engine::start("docker");
    let mut b = bench(Some(&engine.cli));
    b.start();
    let call = |dir: &Path, words: &[&str]| {
        let mut command = Command::new("docker-compose");
        command.args(["-p", "bench", "-f"]).arg(dir.join("compose.yaml")).args(words);
        command.env("DOCKER_HOST", format!("unix://{}", engine.dir.join("docker.sock").display()));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "docker-compose: {}", String::from_utf8_lossy(&output.stderr));
    };
    let up = |b: &Bench, name: &str| {
        let file = format!(
            "version: '3'\nservices:\n  main:\n    image: {IMAGE}\n    command: [/stamp, {name}]\n    \
             network_mode: host\n    volumes: ['{}:/shared']\n",
            b.i.shared.display()
        );
        fs::write(b.i.dir.join("compose.yaml"), file).unwrap();
        rest();
        let began = now();
        call(&b.i.dir, &["up", "-d"]);
        let took = seconds(began, b.stamps.nth(name, "start", 1));
        call(&b.i.dir, &["down", "-t", "0"]);
        took
    };
    let (ours, theirs) = in_turn(&b, effort, up);
    b.down();
    vec![
        Line::of("manifest in place → process, docker", Unit::Time, ours)
            .against("docker-compose up -d", theirs),
    ]
}

/// Starts by podstrap and by something else, in turn.
fn in_turn(b: &Bench, effort: &Effort, other: impl Fn(&Bench, &str) -> f64) -> (Vec<f64>, Vec<f64>) {
    let mut both = (vec![], vec![]);
    for n in 0..effort.few {
        for turn in [n, n + 1] {
            match turn % 2 {
                0 => both.0.push(life(b, &format!("pod-{n}"))[0]),
                _ => both.1.push(other(b, &format!("other-{n}"))),
            }
        }
    }
    both
}
