//! The Pods that a history may want: three names, many versions of each, with everything that the core treats differently.

use std::rc::Rc;

use super::dice::Dice;
use crate::core::tests::{container, exec_probe, pod};
use crate::pod::reference::Reference;
use crate::pod::*;

pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
const VERSIONS: u64 = 40;

/// The image that is always there, one that must be pulled, and one that nobody pulls.
pub(super) const HERE: &str = "docker.io/library/img:latest";
pub(super) const FAR: &str = "far";
pub(super) const NEVER: &str = "never";

pub(super) fn key(name: &str) -> PodKey {
    PodKey { namespace: Namespace::new("default"), name: PodName::new(name) }
}

/// Every version of every Pod, made once: making them takes longer than playing with them.
pub(super) struct Pool(Vec<Vec<Rc<Pod>>>);

impl Pool {
    pub(super) fn new() -> Self {
        Self(NAMES.iter().map(|name| (0..VERSIONS).map(|n| Rc::new(version(name, n))).collect()).collect())
    }

    pub(super) fn any(&self, dice: &mut Dice, name: &str) -> Rc<Pod> {
        let place = NAMES.iter().position(|n| *n == name).unwrap();
        dice.one_of(&self.0[place])
    }
}

fn version(name: &str, number: u64) -> Pod {
    let mut dice = Dice::new(number * 77 + u64::from(name.as_bytes()[0]));
    let mut p = pod(name, &format!("{name}{number}"), &["one", "two"][..1 + dice.roll(2) as usize]);
    let init = [("i", false), ("s", true), ("j", false), ("t", true)];
    p.init_containers = init
        .iter()
        .filter(|_| dice.roll(5) < 2)
        .map(|(name, sidecar)| Container { sidecar: *sidecar, ..container(name) })
        .collect();
    p.restart_policy = dice.one_of(&[
        RestartPolicy::Always,
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ]);
    p.grace_seconds = dice.one_of(&[1, 3, 30]);
    p.host_network = dice.once_in(3);
    p.active_deadline_seconds = dice.once_in(6).then_some(40);
    for c in p.init_containers.iter_mut().chain(&mut p.containers) {
        fill(&mut dice, c);
    }
    p.priority = dice.one_of(&[None, Some(5), Some(2_000_000_000)]);
    let on = |name: &str| Dependency::on(key(name));
    let others = NAMES.iter().filter(|other| **other != name);
    p.depends_on = others.filter(|_| dice.once_in(4)).map(|other| on(other)).collect();
    let port = dice.one_of(&[None, None, None, Some(80), Some(81)]);
    p.containers[0].ports.extend(port.map(|port| of_host(&mut dice, port)));
    p.depends_on.extend(dice.once_in(12).then(|| on("unknown")));
    p
}

fn of_host(dice: &mut Dice, port: u16) -> Port {
    let host_ip = dice.once_in(4).then(|| "127.0.0.1".to_owned());
    Port { name: None, container_port: port, host_port: Some(port), protocol: "TCP".into(), host_ip }
}

fn fill(dice: &mut Dice, c: &mut Container) {
    let is_init = !c.sidecar && ["i", "j"].contains(&c.name.as_str());
    if !is_init {
        let call = || Hook::Call(ProbeAction::Exec { command: vec!["x".into()] });
        c.lifecycle.post_start = dice.one_of(&[None, None, Some(call()), Some(Hook::Sleep(1))]);
        c.lifecycle.pre_stop = dice.one_of(&[None, None, Some(call()), Some(Hook::Sleep(2))]);
        c.startup = dice.once_in(3).then(|| exec_probe(1, 3));
        let grace_seconds = dice.once_in(2).then_some(1);
        c.liveness = dice.once_in(3).then(|| Probe { grace_seconds, ..exec_probe(2, 2) });
        c.readiness = dice.once_in(5).then(|| exec_probe(5, 1));
    }
    if dice.once_in(6) {
        let (action, not_in) = (RestartAction::RestartAllContainers, false);
        c.restart_rules = vec![RestartRule { action, not_in, exit_codes: vec![42] }];
    }
    let image = |full: &str| Reference { given: full.into(), full: full.into() };
    let policies = [PullPolicy::IfNotPresent, PullPolicy::IfNotPresent, PullPolicy::Always];
    match dice.roll(8) {
        0 => (c.image, c.pull_policy) = (image(FAR), dice.one_of(&policies)),
        1 if dice.once_in(3) => (c.image, c.pull_policy) = (image(NEVER), PullPolicy::Never),
        _ => c.pull_policy = PullPolicy::IfNotPresent,
    }
}
