//! An instance on docker, and what docker itself tells of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::common::engine::{self, Engine};
use crate::common::{Instance, NODE, docker_instance, host, image};

/// Whether docker can be had here; said aloud where it cannot.
pub fn can_run() -> bool {
    let missing = [
        (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned()),
        host::find("busybox").is_none().then(|| "no busybox on PATH".to_owned()),
        engine::missing("docker"),
    ];
    match missing.into_iter().flatten().next() {
        Some(reason) => {
            host::skip(&reason);
            false
        }
        None => true,
    }
}

/// An instance on the docker that all tests here share, not yet started.
pub fn instance() -> Option<Instance> {
    can_run().then(|| on(engine::shared("docker")))
}

/// An instance on a dockerd of the test's own. The instance is to be dropped first.
pub fn instance_and_dockerd() -> Option<(Engine, Instance)> {
    can_run().then(|| {
        let engine = Engine::start("docker");
        let instance = on(&engine.cli);
        (engine, instance)
    })
}

fn on(cli: &Path) -> Instance {
    let instance = docker_instance(cli);
    image::provide_busybox(&instance.images_dir());
    instance
}

/// docker's command line with these arguments, and what it answers; the test fails where it does.
pub fn docker(i: &Instance, args: &[&str]) -> String {
    engine::ok(i.docker.as_ref().unwrap(), args)
}

/// Puts a script before the real command line, which it has in `real`; `dir` is the instance's directory.
pub fn before_docker(i: &mut Instance, script: &str) {
    let real = i.docker.clone().expect("it runs on docker");
    let text = format!("#!/bin/sh\ndir={}; real={}\n{script}\n", i.dir.display(), real.display());
    let path = i.dir.join("docker");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    i.docker = Some(path);
}

/// What docker tells of a container.
pub fn inspect(i: &Instance, container: &str) -> Value {
    let all: Value = serde_json::from_str(&docker(i, &["inspect", container])).unwrap();
    all[0].clone()
}

/// The ids of all containers of the instance, running or not, pause containers too.
pub fn all(i: &Instance) -> Vec<String> {
    engine::containers_of(i.docker.as_ref().unwrap(), &i.run).unwrap()
}

/// The ids of the containers of a Pod by that name in it (`POD` is its pause container), running or not.
pub fn containers(i: &Instance, pod: &str, container: &str) -> Vec<String> {
    let labels = [
        format!("{}={}", engine::RUN_LABEL, i.run.display()),
        format!("io.kubernetes.pod.name={pod}-{NODE}"),
        format!("io.kubernetes.container.name={container}"),
    ];
    let mut args = vec!["ps".to_owned(), "-aq".to_owned(), "--no-trunc".to_owned()];
    args.extend(labels.iter().map(|l| format!("--filter=label={l}")));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    docker(i, &args).split_whitespace().map(str::to_owned).collect()
}

/// The id of the one container of that name in a Pod; the test fails if there are more, or none.
pub fn the(i: &Instance, pod: &str, container: &str) -> String {
    let found = containers(i, pod, container);
    let [one] = found.as_slice() else {
        panic!("{pod}/{container} is {} containers: {found:?}", found.len())
    };
    one.clone()
}

/// How often a canary has begun.
pub fn starts(i: &Instance, file: &str) -> usize {
    i.lines(file).iter().filter(|l| l.starts_with("start ")).count()
}

/// Waits until a Pod's `main` was restarted so often and is ready, and docker has the container that runs and no other: what
/// ended is removed only after the next one has begun.
pub fn until_restarted(i: &Instance, pod: &str, count: u32) {
    i.until(&format!("{pod} was restarted {count} times and is ready"), |i| {
        i.restarts(pod, "main") == count && i.ready(pod) && i.running_pid(pod, "main").is_some()
    });
    i.until("docker has one container of it", |i| containers(i, pod, "main").len() == 1);
}
