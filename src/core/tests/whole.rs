//! The whole Pod: what a review found, and random histories with init containers, sidecars, hooks, restart rules, sandboxes
//! that fail, and daemons that are killed at any moment.

use super::*;

fn find(s: &Script, pods: &[(&Pod, Saved, Vec<FoundRun>)]) -> Script {
    let mut next = Script::new();
    next.now = s.now;
    for (pod, saved, runs) in pods {
        let found = Found {
            opened: saved.opened,
            addresses: vec![],
            pod: Rc::new((*pod).clone()),
            saved: saved.clone(),
            runs: runs.clone(),
        };
        next.world.step(Event::Found(Box::new(found)), at(next.now));
    }
    next
}

fn saved_of(world: &World) -> Vec<(Generation, Saved)> {
    world
        .slots()
        .filter_map(|(_, slot)| slot.life.as_ref())
        .map(|life| (life.pod.generation.clone(), life.saved()))
        .collect()
}

#[test]
fn a_replacement_waits_for_the_images_of_init_containers_and_volumes_too() {
    let new = Reference { given: "new".into(), full: "new".into() };
    let mut of_main = with_init(&[("i", false)], &["c"]);
    of_main.containers[0].image = new.clone();
    let mut of_volume = pod("a", "g1", &["c"]);
    let volume = Volume::Image { reference: new, pull_policy: PullPolicy::IfNotPresent };
    of_volume.volumes.insert(VolumeName::new("v"), volume);
    for next in [of_main, of_volume] {
        let mut s = Script::new();
        s.want(&[&pod("a", "g0", &["c"])]);
        s.started(&run("g0", "c", 0));
        let actions = s.want(&[&next]);
        assert!(matches!(actions.as_slice(), [Action::Pull { .. }]), "the old one lives on: {actions:?}");
        assert_eq!(s.event(Event::Pulled { reference: "new".into(), error: Some("no".into()) }), []);
        assert_eq!(s.deadline(), Some(10_000));
        assert!(matches!(s.pass(10_000).as_slice(), [Action::Pull { .. }]));
        let actions = s.event(images(&["new", "docker.io/library/img:latest"]));
        assert_eq!(terms(&actions), [run("g0", "c", 0)]);
    }
}

#[test]
fn a_sleeping_hook_that_outlasts_the_grace_does_not_hide_the_kill() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].liveness = Some(Probe { grace_seconds: Some(1), ..exec_probe(10, 1) });
    p.containers[0].lifecycle.pre_stop = Some(Hook::Sleep(2));
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    s.started(&r);
    let (verdict, message) = (Verdict::Failure, String::new());
    s.event(Event::Probed { run: r.clone(), kind: ProbeKind::Liveness, verdict, message });
    let mut killed = vec![];
    while let (Some(next), []) = (s.deadline(), killed.as_slice()) {
        s.now = next;
        killed = kills(&s.plan());
    }
    assert_eq!((s.now, killed), (3000, vec![r]));
}

#[test]
fn a_hook_that_has_slept_its_time_out_opens_the_way_at_once() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["one", "two"]);
    p.containers[0].lifecycle.post_start = Some(Hook::Sleep(2));
    s.want(&[&p]);
    assert_eq!(starts(&s.started(&run("g1", "one", 0))), []);
    assert_eq!(s.deadline(), Some(2000));
    assert_eq!(starts(&s.pass(2000)), [run("g1", "two", 0)]);
}

#[test]
fn a_finished_pod_that_is_found_is_not_begun_again_while_its_source_is_unread() {
    let mut s = Script::new();
    let p = Pod { restart_policy: RestartPolicy::Never, ..pod("a", "g1", &["c"]) };
    s.want(&[&p]);
    s.started(&run("g1", "c", 0));
    s.ended(&run("g1", "c", 0), 0);
    let saved = saved_of(&s.world).remove(0).1;
    let mut s = find(&s, &[(&p, saved, vec![])]);
    assert_eq!(s.plan(), [], "it stays to be looked at");
    s.event(Event::Desired { pods: BTreeMap::new(), complete: false });
    assert_eq!(stop_of(&s), Some(StopReason::Finished));
    assert_eq!(s.want(&[&p]), []);
    assert_eq!(removes(&s.event(Event::Drain)), 1, "and a full stop removes it");
    s.event(Event::Removed { generation: p.generation, done: true });
    assert!(s.world.is_empty());
}

#[test]
fn a_new_beginning_stops_sidecars_when_the_others_have_ended_and_fails_no_init_container() {
    let anew = |code| RestartRule {
        action: RestartAction::RestartAllContainers,
        not_in: false,
        exit_codes: vec![code],
    };
    let mut s = Script::new();
    let mut p = with_init(&[("side", true)], &["c"]);
    p.containers[0].restart_rules = vec![anew(42)];
    s.want(&[&p]);
    s.started(&run("g1", "side", 0));
    s.started(&run("g1", "c", 0));
    assert_eq!(terms(&s.ended(&run("g1", "c", 0), 42)), [run("g1", "side", 0)], "at once");

    let mut s = Script::new();
    let mut p = with_init(&[("side", true), ("i", false)], &["c"]);
    p.restart_policy = RestartPolicy::Never;
    p.init_containers[0].restart_rules = vec![anew(42)];
    s.want(&[&p]);
    s.started(&run("g1", "side", 0));
    s.started(&run("g1", "i", 0));
    assert_eq!(terms(&s.ended(&run("g1", "side", 0), 42)), [run("g1", "i", 0)]);
    assert_eq!(starts(&s.ended(&run("g1", "i", 0), 143)), [run("g1", "side", 1)]);
    assert_eq!(stop_of(&s), None);
}

#[test]
fn a_finished_pod_is_deleted_when_its_manifest_goes() {
    let mut s = Script::new();
    let p = Pod { restart_policy: RestartPolicy::Never, ..pod("a", "g1", &["c"]) };
    s.want(&[&p]);
    s.started(&run("g1", "c", 0));
    s.ended(&run("g1", "c", 0), 0);
    s.now = 60_000;
    assert_eq!(removes(&s.want(&[])), 1);
    let life = s.world.slots().next().unwrap().1.life.as_ref().unwrap();
    assert_eq!(life.leaving().unwrap().since, at(60_000));
}

#[test]
fn init_containers_are_not_run_again_beside_the_others_though_the_saved_state_is_lost() {
    let p = with_init(&[("i", false)], &["c"]);
    let mut living = found_run(0, Some(5), None);
    living.run = run("g1", "c", 0);
    let mut s = find(&Script::new(), &[(&p, Saved { opened: true, ..Saved::default() }, vec![living])]);
    assert_eq!(s.want(&[&p]), []);
    assert_eq!(starts(&s.ended(&run("g1", "c", 0), 1)), [run("g1", "c", 1)]);
    assert_eq!(stop_of(&s), None);
}

/// A run's directory.
#[derive(Clone, Default)]
struct Dir {
    started: Option<u64>,
    ended: Option<(Ending, u64)>,
    monitored: bool,
    /// Over, to be removed once that is saved.
    finished: bool,
}

/// What is outside the core: processes, helpers, and files.
#[derive(Default)]
struct Host {
    runs: BTreeMap<RunKey, Dir>,
    termed: BTreeSet<RunKey>,
    killed: BTreeSet<RunKey>,
    helpers: BTreeSet<Generation>,
    removers: BTreeSet<Generation>,
    sweepers: BTreeSet<RunKey>,
    hooks: Vec<(RunKey, HookKind)>,
    probes: Vec<(RunKey, ProbeKind)>,
    pods: BTreeMap<Generation, Rc<Pod>>,
    disk: BTreeMap<Generation, Saved>,
    /// Those whose sandboxes are gone, and not made anew yet.
    lost: BTreeSet<Generation>,
    /// In this life: starts of each container, and init containers that have succeeded.
    started: BTreeMap<(Generation, ContainerName), u32>,
    succeeded: BTreeSet<(Generation, ContainerName)>,
}

impl Host {
    fn lives(&self, generation: &Generation, role: impl Fn(Role) -> bool) -> bool {
        self.runs.iter().any(|(run, dir)| {
            run.generation == *generation && dir.ended.is_none() && role(role_of(&self.pods[generation], run))
        })
    }
}

use crate::core::depends::Wait;
use crate::core::state::{Opened, Phase, Role};

fn role_of(pod: &Pod, run: &RunKey) -> Role {
    Role::of(pod, pod.all_containers().position(|c| c.name == run.container).unwrap())
}

struct Play {
    seed: u64,
    dice: Dice,
    now: u64,
    world: World,
    host: Host,
    wanted: BTreeMap<&'static str, Pod>,
    crashes: u32,
    /// The sources have not been read since the last crash.
    unread: bool,
    /// When the full stop began: priority, place, and what it depends on, of every Pod.
    at_stop: BTreeMap<PodKey, (i32, Origin, Vec<PodKey>)>,
}

/// The Pod that this number stands for.
fn any_pod(name: &'static str, number: u64) -> Pod {
    let mut dice = Dice(number * 77 + name.len() as u64);
    let mut p = pod(name, &format!("{name}{number}"), &["one", "two"][..1 + dice.roll(2) as usize]);
    let init = [("i", false), ("s", true), ("j", false), ("t", true)];
    p.init_containers = init
        .iter()
        .filter(|_| dice.roll(2) == 0)
        .map(|(name, sidecar)| Container { sidecar: *sidecar, ..container(name) })
        .collect();
    let policies = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never];
    p.restart_policy = policies[dice.roll(3) as usize];
    p.grace_seconds = 3;
    p.active_deadline_seconds = (dice.roll(6) == 0).then_some(40);
    for c in p.init_containers.iter_mut().chain(&mut p.containers) {
        let call = || Hook::Call(ProbeAction::Exec { command: vec!["x".into()] });
        if c.sidecar || !["i", "j"].contains(&c.name.as_str()) {
            c.lifecycle.post_start =
                [None, None, Some(call()), Some(Hook::Sleep(1))][dice.roll(4) as usize].clone();
            c.lifecycle.pre_stop =
                [None, None, Some(call()), Some(Hook::Sleep(2))][dice.roll(4) as usize].clone();
            c.startup = (dice.roll(3) == 0).then(|| exec_probe(1, 3));
            let grace_seconds = (dice.roll(2) == 0).then_some(1);
            c.liveness = (dice.roll(3) == 0).then(|| Probe { grace_seconds, ..exec_probe(2, 2) });
        }
        if dice.roll(6) == 0 {
            let action = RestartAction::RestartAllContainers;
            c.restart_rules = vec![RestartRule { action, not_in: false, exit_codes: vec![42] }];
        }
    }
    p.priority = [None, Some(5), Some(2_000_000_000)][dice.roll(3) as usize];
    let on = |name: &str| Dependency::on(pod(name, name, &[]).key);
    let others = NAMES.iter().filter(|other| **other != name);
    p.depends_on = others.filter(|_| dice.roll(4) == 0).map(|other| on(other)).collect();
    p.depends_on.extend((dice.roll(12) == 0).then(|| on("unknown")));
    p
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Play {
    fn new(seed: u64) -> Self {
        let world = Script::new().world;
        let (host, wanted) = (Host::default(), BTreeMap::new());
        let at_stop = BTreeMap::new();
        Self { seed, dice: Dice(seed), now: 0, world, host, wanted, crashes: 0, unread: false, at_stop }
    }

    fn desired(&self) -> Event {
        let pods = self.wanted.values().map(|p| (p.key.clone(), Rc::new(p.clone()))).collect();
        Event::Desired { pods, complete: true }
    }

    /// One turn of the daemon: step, plan, act; and, unless it is killed before it, publish.
    fn turn(&mut self, event: Option<Event>, may_crash: bool) {
        if let Some(event) = event {
            self.world.step(event, at(self.now));
        }
        if self.host.runs.values().any(|d| d.finished) {
            self.publish();
        }
        let actions = self.world.plan(at(self.now));
        for action in actions {
            self.act(action);
        }
        let seed = self.seed;
        let more = self.world.plan(at(self.now)).len();
        assert_eq!(more, 0, "seed {seed}: planning twice asks for nothing more");
        if may_crash && self.dice.roll(25) == 0 {
            if self.dice.roll(2) == 0 {
                self.publish();
            }
            self.crash();
        } else {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.host.disk.extend(saved_of(&self.world));
        self.host.runs.retain(|_, d| !d.finished);
    }

    /// The daemon is killed, and another begins: helpers that are under way are of no use any more.
    fn crash(&mut self) {
        self.crashes += 1;
        let host = &mut self.host;
        host.helpers.clear();
        host.removers.clear();
        host.sweepers.clear();
        host.hooks.clear();
        host.probes.clear();
        self.world = Script::new().world;
        for (generation, pod) in &host.pods {
            let saved = host.disk.get(generation).cloned().unwrap_or_default();
            let runs: Vec<FoundRun> = host
                .runs
                .iter_mut()
                .filter(|(run, _)| run.generation == *generation)
                .map(|(run, dir)| {
                    dir.finished = false;
                    FoundRun {
                        run: run.clone(),
                        monitored: dir.monitored,
                        started: dir.started.map(at),
                        ended: dir.ended.clone().map(|(ending, ms)| (ending, at(ms))),
                        message: None,
                        image_id: None,
                        container: None,
                    }
                })
                .collect();
            let opened = saved.opened || !runs.is_empty();
            let found = Found { opened, addresses: vec![], pod: pod.clone(), saved, runs };
            self.world.step(Event::Found(Box::new(found)), at(self.now));
            if host.lost.contains(generation) {
                self.world.step(Event::SandboxLost { generation: generation.clone() }, at(self.now));
            }
        }
        if self.dice.roll(2) == 0 {
            // The sources are read only later.
            self.world.step(Event::Desired { pods: BTreeMap::new(), complete: false }, at(self.now));
            self.unread = true;
            self.turn(None, false);
            self.unread = false;
        }
        let event = self.desired();
        self.turn(Some(event), false);
    }

    fn act(&mut self, action: Action) {
        let (seed, now) = (self.seed, self.now);
        match action {
            Action::Open { pod } => {
                let trouble = self.world.trouble();
                assert_eq!(trouble, None, "seed {seed}: {} is opened", pod.generation);
                assert!(!self.host.lives(&pod.generation, |_| true), "seed {seed}: {} lives", pod.generation);
                for other in self.host.pods.values() {
                    let same = other.key == pod.key && other.generation != pod.generation;
                    assert!(!same, "seed {seed}: {} beside {}", pod.generation, other.generation);
                }
                assert!(
                    self.host.helpers.insert(pod.generation.clone()),
                    "seed {seed}: opened twice at once"
                );
                let life = self.world.slot(&pod.key).and_then(|s| s.life.as_ref()).unwrap();
                if life.since.boot == Time(now) && life.open_failures == 0 {
                    self.may_begin(&pod);
                }
                self.host.pods.insert(pod.generation.clone(), pod);
            }
            Action::Start { pod, run } => {
                assert_eq!(self.world.trouble(), None, "seed {seed}: {run} is started");
                let lost = self.host.lost.contains(&run.generation);
                assert!(!lost, "seed {seed}: {run} is started in namespaces that are gone");
                let role = role_of(&pod, &run);
                let lives = |role: fn(Role) -> bool| self.host.lives(&run.generation, role);
                let name = (run.generation.clone(), run.container.clone());
                let twice =
                    self.host.runs.iter().any(|(r, d)| {
                        (&r.generation, &r.container) == (&name.0, &name.1) && d.ended.is_none()
                    });
                assert!(!twice, "seed {seed}: two runs of {run} at {now}");
                assert!(
                    // In a full stop, a manifest that goes does not end its Pod before its turn.
                    // A Pod lives on while its new version waits for a manifest.
                    self.unread
                        || self.world.is_draining()
                        || self.world.slot(&pod.key).is_some_and(|s| s.waiting.is_some())
                        || self.wanted.values().any(|p| p.generation == run.generation),
                    "seed {seed}: {run} unwanted"
                );
                match role {
                    Role::Main => {
                        for c in pod.init_containers.iter().filter(|c| !c.sidecar) {
                            let done = self.host.succeeded.contains(&(name.0.clone(), c.name.clone()));
                            assert!(done, "seed {seed}: {run} starts before {} has succeeded", c.name);
                        }
                        assert!(!lives(|r| r == Role::Init), "seed {seed}: {run} beside an init container");
                    }
                    Role::Init => {
                        assert!(!lives(|r| r != Role::Sidecar), "seed {seed}: {run} beside others at {now}");
                    }
                    Role::Sidecar => {}
                }
                let has_rules = pod.all_containers().any(|c| !c.restart_rules.is_empty());
                if pod.restart_policy == RestartPolicy::Never && role != Role::Sidecar && !has_rules {
                    let begun = self.host.started.contains_key(&name);
                    assert!(!begun, "seed {seed}: {run} runs again in spite of its policy");
                }
                if self.host.runs.get(&run).is_some_and(|d| d.finished) {
                    self.publish();
                }
                let former = self.host.runs.insert(run.clone(), Dir { monitored: true, ..Dir::default() });
                assert!(former.is_none(), "seed {seed}: {run} is used again before it was cleared");
            }
            Action::Term { pod, run, .. } => {
                let lives = self.host.runs.get(&run).is_some_and(|d| d.ended.is_none());
                assert!(lives, "seed {seed}: TERM to {run}, which does not live");
                let again = !self.host.termed.insert(run.clone());
                assert!(!again || self.crashes > 0, "seed {seed}: {run} is termed twice");
                let life = self.world.slot(&pod.key).and_then(|s| s.life.as_ref()).unwrap();
                let Phase::Running(state) = &life.get(&run.container).unwrap().1.phase else { panic!() };
                let since = state.stop.as_ref().unwrap().since.boot;
                if life.stop.is_some_and(|s| s.why == StopReason::Drain) {
                    self.has_its_turn(&pod);
                }
                if life.stop.is_some()
                    && role_of(&pod, &run) == Role::Sidecar
                    && Time(now).since(since) < u64::from(pod.grace_seconds) * 1000
                {
                    // A probe's own grace may be shorter.
                    let others = self.host.lives(&run.generation, |r| r != Role::Sidecar);
                    let own = life.get(&run.container).unwrap().0.liveness.is_some();
                    assert!(!others || own, "seed {seed}: sidecar {run} is termed before the others");
                }
            }
            Action::Kill { run, .. } => {
                assert!(self.host.termed.contains(&run), "seed {seed}: {run} is killed without a word");
                self.host.killed.insert(run);
            }
            Action::Sweep { run } => {
                assert!(self.host.sweepers.insert(run.clone()), "seed {seed}: {run} is swept twice at once");
            }
            Action::Probe { run, kind, .. } => self.host.probes.push((run, kind)),
            Action::Hook { run, kind, .. } => self.host.hooks.push((run, kind)),
            Action::Pull { .. } => {}
            Action::Remove { pod } => {
                let generation = &pod.generation;
                let left = self.host.runs.iter().any(|(r, d)| r.generation == *generation && !d.finished);
                assert!(!left, "seed {seed}: {generation} is removed while something of it is left");
                // A helper that is still opening it is ended before anything is removed.
                self.host.helpers.remove(generation);
                assert!(self.host.removers.insert(generation.clone()), "seed {seed}: removed twice at once");
            }
        }
    }

    /// What a Pod depends on is ready when its life begins.
    fn may_begin(&self, pod: &Pod) {
        for dependency in &pod.depends_on {
            let (seed, now, key) = (self.seed, self.now, dependency.key());
            let life = self.world.slot(key).and_then(|s| s.life.as_ref());
            // It may have become this Pod's turn to be replaced at the same moment.
            let is_ready = life.is_some_and(|life| {
                life.is_dependable() || life.leaving().is_some_and(|s| s.since.boot == Time(now))
            });
            assert!(is_ready && self.is_well(key), "seed {seed}: {} begins before {key} at {now}", pod.key);
        }
    }

    /// Whether a Pod does what it is there for, as it is seen from outside of the core.
    fn is_well(&self, key: &PodKey) -> bool {
        let Some(pod) = self.host.pods.values().find(|p| p.key == *key) else { return false };
        let runs = |c: &Container| {
            let is_it = |r: &RunKey| r.generation == pod.generation && r.container == c.name;
            self.host.runs.iter().any(|(r, d)| is_it(r) && d.started.is_some() && d.ended.is_none())
        };
        let succeeded =
            |c: &Container| self.host.succeeded.contains(&(pod.generation.clone(), c.name.clone()));
        let sidecars = || pod.init_containers.iter().filter(|c| c.sidecar);
        pod.containers.iter().all(succeeded) || sidecars().chain(&pod.containers).all(runs)
    }

    fn has_failed(&self, key: &PodKey) -> bool {
        let stop = self.world.slot(key).and_then(|s| s.life.as_ref()).and_then(|l| l.stop);
        stop.is_some_and(|s| s.why != StopReason::Finished)
    }

    fn depends(&self, from: &PodKey, to: &PodKey) -> bool {
        let (mut open, mut seen) = (vec![from], BTreeSet::new());
        while let Some(key) = open.pop() {
            for next in self.at_stop.get(key).iter().flat_map(|(_, _, list)| list) {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen.contains(to)
    }

    /// It depends on the other one, which does not depend on it.
    fn hangs_on(&self, from: &PodKey, to: &PodKey) -> bool {
        self.depends(from, to) && !self.depends(to, from)
    }

    /// Its own priority, or that of the most important Pod that depends on it.
    fn priority(&self, key: &PodKey) -> i32 {
        let all = self.at_stop.iter().filter(|(other, _)| *other == key || self.hangs_on(other, key));
        all.map(|(_, (priority, ..))| *priority).max().unwrap()
    }

    /// In a full stop: nothing runs any more that is to end before this Pod.
    fn has_its_turn(&self, pod: &Pod) {
        let has_order = self.at_stop.values().any(|(.., list)| !list.is_empty());
        for (_, slot) in self.world.slots() {
            let Some(life) = slot.life.as_ref().filter(|l| l.pod.key != pod.key) else { continue };
            let (other_key, origin) = (&life.pod.key, &life.pod.origin);
            let (other, own) = (self.priority(other_key), self.priority(&pod.key));
            let is_critical = other == own && own >= 2_000_000_000;
            let is_first = other < own
                || self.hangs_on(other_key, &pod.key)
                // One after the other, but not always from the last.
                || (is_critical && has_order && life.leaving().is_some_and(|s| s.why == StopReason::Drain))
                || (is_critical && !has_order && *origin > pod.origin);
            let is_stuck = life.leaving().is_some_and(|s| Time(self.now).since(s.since.boot) >= 33_000);
            let lives = self.host.lives(&life.pod.generation, |_| true);
            let (seed, generation) = (self.seed, &life.pod.generation);
            assert!(
                !is_first || is_stuck || !lives,
                "seed {seed}: {} before {generation} at {}",
                pod.key,
                self.now
            );
        }
    }

    fn drain(&mut self) {
        let pods = self
            .world
            .slots()
            .filter_map(|(_, s)| s.life.as_ref().map(|l| l.pod.clone()).or_else(|| s.want.clone()));
        self.at_stop = pods
            .map(|p| {
                let depends_on = p.depends_on.iter().map(|d| d.key().clone()).collect();
                (p.key.clone(), (p.priority(), p.origin.clone(), depends_on))
            })
            .collect();
        self.turn(Some(Event::Drain), false);
    }

    /// A full stop in the middle of whatever goes on.
    fn stop(mut self) {
        for _ in 0..100 {
            self.now += self.dice.roll(1_500);
            let event = self.something();
            self.turn(event, true);
        }
        self.drain();
        for _ in 0..40 {
            self.now += self.dice.roll(500);
            let event = self.something();
            self.turn(event, false);
        }
        // No more than: the Pods, one after the other, each with its grace period, the least after a hook, and retries.
        let latest = self.now + NAMES.len() as u64 * 15_000;
        while !self.world.is_empty() {
            self.answer();
            self.turn(None, false);
            if self.world.is_empty() || !self.host.helpers.is_empty() || !self.host.probes.is_empty() {
                continue;
            }
            // What has been answered may call for more answers before the next deadline.
            let soon = self.now + 100;
            self.now = self.world.deadline(Time(self.now)).map_or(soon, |t| t.0.min(soon));
            assert!(self.now <= latest, "seed {}: it is not over at {}", self.seed, self.now);
        }
        assert!(self.host.runs.values().all(|d| d.finished || d.ended.is_some()), "seed {}", self.seed);
    }

    fn run_where(&mut self, fits: impl Fn(&RunKey, &Dir) -> bool) -> Option<RunKey> {
        let fitting: BTreeSet<RunKey> =
            self.host.runs.iter().filter(|(r, d)| fits(r, d)).map(|(r, _)| r.clone()).collect();
        pick(&mut self.dice, &fitting)
    }

    fn begun(&mut self, run: RunKey) -> Event {
        self.host.runs.get_mut(&run).unwrap().started = Some(self.now);
        *self.host.started.entry((run.generation.clone(), run.container.clone())).or_default() += 1;
        Event::Started { run, at: at(self.now), image_id: None, container: None }
    }

    fn over(&mut self, run: RunKey, ending: Ending) -> Event {
        let name = (run.generation.clone(), run.container.clone());
        if ending.success() {
            self.host.succeeded.insert(name);
        }
        self.host.termed.remove(&run);
        self.host.killed.remove(&run);
        self.host.runs.get_mut(&run).unwrap().ended = Some((ending.clone(), self.now));
        Event::Ended { run, ending, at: at(self.now), message: None }
    }

    fn opened(&mut self, generation: Generation) -> Event {
        self.host.lost.remove(&generation);
        Event::Opened { generation, first_attempts: BTreeMap::new(), addresses: vec![] }
    }

    fn cleared(&mut self, run: RunKey) -> Event {
        self.host.runs.get_mut(&run).unwrap().finished = true;
        Event::Cleared { run }
    }

    fn removed(&mut self, generation: Generation, done: bool) -> Event {
        self.host.removers.remove(&generation);
        if done {
            self.host.pods.remove(&generation);
            self.host.lost.remove(&generation);
            self.host.disk.remove(&generation);
            self.host.runs.retain(|r, _| r.generation != generation);
            self.host.started.retain(|(g, _), _| *g != generation);
            self.host.succeeded.retain(|(g, _)| *g != generation);
        }
        Event::Removed { generation, done }
    }

    fn something(&mut self) -> Option<Event> {
        match self.dice.roll(16) {
            14 => {
                let opened = |g: &Generation| {
                    let key = &self.host.pods[g].key;
                    let life = self.world.slot(key).and_then(|s| s.life.as_ref());
                    life.is_some_and(|l| l.pod.generation == *g && l.opened == Opened::Yes)
                };
                let made: BTreeSet<Generation> =
                    self.host.pods.keys().filter(|g| opened(g)).cloned().collect();
                pick(&mut self.dice, &made).filter(|_| self.dice.roll(3) == 0).map(|generation| {
                    self.host.lost.insert(generation.clone());
                    // Init containers run once more; what else has done its work does not.
                    let inits = self.host.pods[&generation].init_containers.clone();
                    let again = |name: &ContainerName| inits.iter().any(|c| c.name == *name);
                    self.host.succeeded.retain(|(g, name)| *g != generation || !again(name));
                    Event::SandboxLost { generation }
                })
            }
            15 => {
                let trouble = (self.dice.roll(3) == 0).then(|| "docker does not answer".to_owned());
                Some(Event::Runtime { trouble })
            }
            0 => {
                let name = NAMES[self.dice.roll(3) as usize];
                match self.dice.roll(4) {
                    0 => drop(self.wanted.remove(name)),
                    _ => drop(self.wanted.insert(name, any_pod(name, self.dice.roll(40)))),
                }
                Some(self.desired())
            }
            1 | 2 => pick(&mut self.dice, &self.host.helpers).map(|generation| {
                self.host.helpers.remove(&generation);
                if self.dice.roll(3) == 0 {
                    return Event::OpenFailed { generation, message: "no network".into() };
                }
                self.opened(generation)
            }),
            3..=5 => {
                self.run_where(|_, d| d.started.is_none() && d.ended.is_none() && d.monitored).map(|run| {
                    if self.dice.roll(10) == 0 {
                        let (reason, message) = ("CreateContainerError".into(), "x".into());
                        return self.over(run, Ending::NotCreated { reason, message });
                    }
                    self.begun(run)
                })
            }
            6 | 7 => {
                self.run_where(|_, d| d.started.is_some() && d.ended.is_none() && d.monitored).map(|run| {
                    let code = [0, 0, 1, 42][self.dice.roll(4) as usize];
                    self.over(run, Ending::Exited { code })
                })
            }
            8 => self
                .run_where(|_, d| d.ended.is_some() && d.monitored && !d.finished)
                .map(|r| self.cleared(r)),
            9 => self.run_where(|_, d| d.monitored && !d.finished).filter(|_| self.dice.roll(4) == 0).map(
                |run| {
                    self.host.runs.get_mut(&run).unwrap().monitored = false;
                    Event::MonitorLost { run }
                },
            ),
            10 => pick(&mut self.dice, &self.host.removers).map(|generation| {
                let done = self.dice.roll(4) > 0;
                self.removed(generation, done)
            }),
            11 | 12 if !self.host.hooks.is_empty() => {
                let n = self.dice.roll(self.host.hooks.len() as u64) as usize;
                let (run, kind) = self.host.hooks.swap_remove(n);
                let error = (self.dice.roll(3) == 0).then(|| "no".to_owned());
                Some(Event::Hooked { run, kind, error })
            }
            13 => self.host.probes.pop().map(|(run, kind)| {
                let verdict = [Verdict::Success, Verdict::Failure][self.dice.roll(2) as usize];
                Event::Probed { run, kind, verdict, message: String::new() }
            }),
            _ => None,
        }
    }

    /// What a world without trouble answers. Half of all runs do not listen to TERM; every hook call hangs for ever while
    /// its run is being stopped.
    fn answer(&mut self) {
        for generation in std::mem::take(&mut self.host.helpers) {
            let event = self.opened(generation);
            self.turn(Some(event), false);
        }
        for run in std::mem::take(&mut self.host.sweepers) {
            if self.host.runs.get(&run).is_some_and(|d| d.ended.is_none()) {
                let event = self.over(run.clone(), Ending::Lost);
                self.turn(Some(event), false);
            }
            let event = self.cleared(run);
            self.turn(Some(event), false);
        }
        for generation in std::mem::take(&mut self.host.removers) {
            let event = self.removed(generation, true);
            self.turn(Some(event), false);
        }
        for run in self.host.runs.keys().cloned().collect::<Vec<_>>() {
            let Some(dir) = self.host.runs.get(&run).cloned() else { continue };
            let role = role_of(&self.host.pods[&run.generation], &run);
            let policy = self.host.pods[&run.generation].restart_policy;
            let deaf = run.attempt % 2 == 0;
            if dir.ended.is_some() {
                if dir.monitored && !dir.finished {
                    let event = self.cleared(run);
                    self.turn(Some(event), false);
                }
            } else if !dir.monitored {
            } else if dir.started.is_none() {
                let event = self.begun(run);
                self.turn(Some(event), false);
            } else if self.host.killed.contains(&run) || (self.host.termed.contains(&run) && !deaf) {
                let event = self.over(run, Ending::Exited { code: 143 });
                self.turn(Some(event), false);
            } else if role == Role::Init || (role == Role::Main && policy != RestartPolicy::Always) {
                let event = self.over(run, Ending::Exited { code: 0 });
                self.turn(Some(event), false);
            }
        }
        for (run, kind) in std::mem::take(&mut self.host.hooks) {
            if kind == HookKind::PostStart {
                self.turn(Some(Event::Hooked { run, kind, error: None }), false);
            }
        }
        for (run, kind) in std::mem::take(&mut self.host.probes) {
            self.turn(
                Some(Event::Probed { run, kind, verdict: Verdict::Success, message: String::new() }),
                false,
            );
        }
    }

    fn history(mut self) -> u32 {
        for _ in 0..150 {
            self.now += self.dice.roll(1_500);
            let event = self.something();
            self.turn(event, true);
        }
        self.turn(Some(Event::Runtime { trouble: None }), false);
        // Quiet: from here on time passes only to what the core itself says is due.
        for _ in 0..600 {
            self.answer();
            self.turn(None, false);
            if !self.host.helpers.is_empty() || !self.host.probes.is_empty() {
                continue;
            }
            match self.world.deadline(Time(self.now)) {
                Some(next) => {
                    assert!(next.0 > self.now, "seed {}: a deadline in the past", self.seed);
                    self.now = next.0;
                }
                None => self.now += 1,
            }
        }
        self.settled();
        self.crashes
    }

    fn wants(&self, from: &PodKey, to: &PodKey) -> bool {
        let pod = self.wanted.values().find(|p| p.key == *from);
        pod.is_some_and(|p| p.depends_on.iter().any(|d| d.key() == to))
    }

    fn settled(&self) {
        let seed = self.seed;
        let wanted: BTreeSet<&PodKey> = self.wanted.values().map(|p| &p.key).collect();
        let known: BTreeSet<&PodKey> = self.world.slots().map(|(key, _)| key).collect();
        assert_eq!(known, wanted, "seed {seed}: what is known in the end is what is wanted");
        for p in self.wanted.values() {
            let slot = self.world.slot(&p.key).unwrap();
            let on = slot.waiting.iter().flat_map(|w| &w.on);
            let life = slot.life.as_ref().filter(|l| l.pod.generation == p.generation);
            assert_eq!(life.is_none(), on.clone().count() > 0, "seed {seed}: {} waits or lives", p.key);
            for wait in on.clone() {
                let is_so = match wait {
                    Wait::On(key) => !self.is_well(key) || self.has_failed(key),
                    Wait::Unknown { key, .. } => !wanted.contains(key),
                    Wait::Cycle(way) => {
                        way[0] == p.key
                            && (0..way.len()).all(|n| self.wants(&way[n], &way[(n + 1) % way.len()]))
                    }
                };
                assert!(is_so, "seed {seed}: {} waits for nothing: {wait:?}", p.key);
            }
            if let Some(old) = slot.life.as_ref().filter(|_| life.is_none()) {
                assert!(on.clone().any(Wait::is_of_manifests), "seed {seed}: {} is kept", old.pod.generation);
            }
            let Some(life) = life else { continue };
            let living: BTreeSet<&str> = self
                .host
                .runs
                .iter()
                .filter(|(r, d)| r.generation == p.generation && d.ended.is_none())
                .map(|(r, _)| r.container.as_str())
                .collect();
            let lasting: BTreeSet<&str> = match &life.stop {
                Some(stop) => {
                    assert!(
                        !stop.why.removes(),
                        "seed {seed}: {} is removed for ever: {stop:?}",
                        p.generation
                    );
                    BTreeSet::new()
                }
                None => {
                    assert_eq!(
                        p.restart_policy,
                        RestartPolicy::Always,
                        "seed {seed}: {} has not ended",
                        p.generation
                    );
                    p.init_containers
                        .iter()
                        .filter(|c| c.sidecar)
                        .chain(&p.containers)
                        .map(|c| c.name.as_str())
                        .collect()
                }
            };
            assert_eq!(living, lasting, "seed {seed}: of {} at {}", p.generation, self.now);
        }
        for run in self.host.runs.keys() {
            let known = |p: &Pod| p.generation == run.generation;
            let known = self.wanted.values().any(known)
                || self.world.slots().any(|(_, s)| s.life.as_ref().is_some_and(|l| known(&l.pod)));
            assert!(known, "seed {seed}: {run} is left");
        }
    }
}

#[test]
fn random_histories_of_whole_pods_keep_the_invariants() {
    let crashes: u32 = (0..1_000).map(|seed| Play::new(seed).history()).sum();
    assert!(crashes > 1_000, "daemons were killed in the middle: {crashes}");
}

#[test]
fn a_full_stop_keeps_its_order_and_comes_to_an_end_whatever_happens() {
    for seed in 0..1_000 {
        Play::new(seed).stop();
    }
}

#[test]
fn a_lost_sandbox_starts_anew_what_is_not_over_and_nothing_that_runs_only_once() {
    let lost = || Event::SandboxLost { generation: Generation::new("g1") };
    for (policy, again, stop) in [
        (RestartPolicy::Always, vec!["i"], None),
        (RestartPolicy::OnFailure, vec!["i"], None),
        (RestartPolicy::Never, vec![], Some(StopReason::Finished)),
    ] {
        let mut s = Script::new();
        let mut p = with_init(&[("i", false)], &["one", "two"]);
        p.restart_policy = policy;
        s.want(&[&p]);
        s.started(&run("g1", "i", 0));
        s.ended(&run("g1", "i", 0), 0);
        s.started(&run("g1", "one", 0));
        s.started(&run("g1", "two", 0));
        if policy != RestartPolicy::Always {
            assert_eq!(starts(&s.ended(&run("g1", "one", 0), 0)), []);
        }
        let living = if policy == RestartPolicy::Always { vec!["one", "two"] } else { vec!["two"] };
        let termed: Vec<RunKey> = living.iter().map(|c| run("g1", c, 0)).collect();
        assert_eq!(terms(&s.event(lost())), termed, "{policy:?}");
        let begun: Vec<RunKey> =
            living.iter().flat_map(|c| starts(&s.ended(&run("g1", c, 0), 137))).collect();
        assert_eq!(begun.iter().map(|r| r.container.as_str()).collect::<Vec<_>>(), again, "{policy:?}");
        assert_eq!(stop_of(&s), stop, "{policy:?}");
        if policy != RestartPolicy::Never {
            s.started(&run("g1", "i", 1));
            let next = if policy == RestartPolicy::Always { "one" } else { "two" };
            assert_eq!(starts(&s.ended(&run("g1", "i", 1), 0)), [run("g1", next, 1)], "{policy:?}");
        }
    }
}

#[test]
fn a_run_that_never_began_is_cleared_away_again_until_it_works() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    let r = run("g1", "c", 0);
    assert_eq!(s.event(Event::MonitorLost { run: r.clone() }), [Action::Sweep { run: r.clone() }]);
    for _ in 0..3 {
        assert_eq!(s.event(Event::SweepFailed { run: r.clone() }), []);
        assert_eq!(s.pass(2_000), [Action::Sweep { run: r.clone() }]);
    }
    let (ending, now) = (Ending::Lost, at(s.now));
    assert_eq!(
        starts(&s.event(Event::Ended { run: r, ending, at: now, message: None })),
        [run("g1", "c", 1)]
    );
}

/// What was saved was lost once: the next daemons know again what they see, and save it.
#[test]
fn what_is_known_of_a_run_is_saved_though_what_was_saved_before_it_was_lost() {
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].readiness = Some(exec_probe(10, 1));
    let living = || vec![found_run(3, Some(0), None)];
    let mut s = find(&Script::new(), &[(&p, Saved { opened: true, ..Saved::default() }, living())]);
    s.want(&[&p]);
    let (run, kind, message) = (run("g1", "c", 3), ProbeKind::Readiness, String::new());
    s.event(Event::Probed { run: run.clone(), kind, verdict: Verdict::Success, message });
    assert!(state_of(&s).is_ready());
    let s = find(&s, &[(&p, saved_of(&s.world).remove(0).1, living())]);
    assert!(state_of(&s).is_ready());

    let mut s = find(&s, &[(&p, saved_of(&s.world).remove(0).1, living())]);
    assert_eq!(terms(&s.want(&[])), [run.clone()]);
    s.now = 29_000;
    let mut s = find(&s, &[(&p, saved_of(&s.world).remove(0).1, living())]);
    assert_eq!(terms(&s.want(&[])), [], "it has been told");
    assert_eq!(kills(&s.pass(1_000)), [run], "and has what is left of its grace");
}

/// The daemon was killed between the start of the first container anew and its note that the old ones have ended.
#[test]
fn what_has_begun_anew_is_not_begun_anew_once_more_by_the_next_daemon() {
    let mut p = pod("a", "g1", &["c", "other"]);
    let action = RestartAction::RestartAllContainers;
    p.containers[0].restart_rules = vec![RestartRule { action, not_in: false, exit_codes: vec![42] }];
    let mut s = Script::new();
    s.want(&[&p]);
    s.started(&run("g1", "c", 0));
    s.started(&run("g1", "other", 0));
    assert_eq!(terms(&s.ended(&run("g1", "c", 0), 42)), [run("g1", "other", 0)]);
    let saved = saved_of(&s.world).remove(0).1;
    assert_eq!(starts(&s.ended(&run("g1", "other", 0), 143)), [run("g1", "c", 1)]);
    let other = FoundRun { run: run("g1", "other", 0), ..found_run(0, Some(0), Some((Ending::Lost, 0))) };
    let mut s = find(&s, &[(&p, saved, vec![found_run(1, Some(0), None), other])]);
    let actions = s.want(&[&p]);
    assert_eq!((terms(&actions), starts(&actions)), (vec![], vec![run("g1", "other", 1)]));
}

/// Everything that was saved was lost while the init containers ran once more, in namespaces that had been made anew.
#[test]
fn an_init_container_that_runs_is_witness_that_the_others_have_to_wait() {
    let p = with_init(&[("i", false)], &["c"]);
    let of =
        |container: &str, found: FoundRun| FoundRun { run: run("g1", container, found.run.attempt), ..found };
    let runs = vec![
        of("c", found_run(0, Some(5), Some((Ending::Lost, 10)))),
        of("i", found_run(0, Some(0), Some((Ending::Exited { code: 0 }, 5)))),
        of("i", found_run(1, Some(20), None)),
    ];
    let at_100 = Script { now: 100, ..Script::new() };
    // What was saved may also be merely too old.
    let known = saved::SavedContainer { next_attempt: 1, done: true, ..Default::default() };
    let old = Saved {
        since: Some(at(0)),
        initialized: true,
        containers: BTreeMap::from([(ContainerName::new("i"), known)]),
        ..Saved::default()
    };
    for saved in [Saved::default(), old] {
        let mut s = find(&at_100, &[(&p, Saved { opened: true, ..saved.clone() }, runs.clone())]);
        assert_eq!(starts(&s.want(&[&p])), []);
        assert_eq!(starts(&s.ended(&run("g1", "i", 1), 0)), [run("g1", "c", 1)]);

        let mut failed = runs.clone();
        failed[2].ended = Some((Ending::Exited { code: 1 }, at(50)));
        let mut s = find(&at_100, &[(&p, Saved { opened: true, ..saved }, failed)]);
        assert_eq!(starts(&s.want(&[&p])), [run("g1", "i", 2)]);
    }
}

/// The saved state was lost, or could not be written, since a rule wanted every container started anew.
#[test]
fn what_a_rule_wanted_is_done_when_a_later_run_is_there() {
    let mut p = pod("a", "g1", &["c", "other"]);
    let action = RestartAction::RestartAllContainers;
    p.containers[0].restart_rules = vec![RestartRule { action, not_in: false, exit_codes: vec![42] }];
    let runs = vec![
        found_run(0, Some(0), Some((Ending::Exited { code: 42 }, 10))),
        found_run(1, Some(20), None),
        FoundRun { run: run("g1", "other", 1), ..found_run(1, Some(20), None) },
    ];
    let mut s = find(&Script::new(), &[(&p, Saved { opened: true, ..Saved::default() }, runs)]);
    assert_eq!(terms(&s.want(&[&p])), []);
}

#[test]
fn a_later_init_container_is_witness_that_those_before_it_have_ended_well() {
    let p = with_init(&[("i", false), ("j", false)], &["c"]);
    let living = FoundRun { run: run("g1", "j", 1), ..found_run(1, Some(20), None) };
    let mut s = find(&Script::new(), &[(&p, Saved { opened: true, ..Saved::default() }, vec![living])]);
    assert_eq!(starts(&s.want(&[&p])), []);
    assert_eq!(starts(&s.ended(&run("g1", "j", 1), 0)), [run("g1", "c", 0)]);
}
