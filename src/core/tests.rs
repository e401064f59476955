//! The state machine as scripts: literal times, no process, no clock. Here are the helpers that let a test read as one; the
//! tests stand by topic in the files beside. `sim` plays random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::life::StopReason;
use super::*;
use crate::pod::reference::Reference;
use crate::pod::*;

mod adoption;
mod damage;
mod depends;
mod hangs;
mod lost;
mod ports;
mod probes;
mod replacement;
mod restarts;
mod sets;
mod sim;
mod stops;
mod turns;

const RULE: BackoffRule = BackoffRule { initial_ms: 1000, max_ms: 60_000 };

fn at(ms: u64) -> Stamp {
    Stamp { boot: Time(ms), unix_ms: 1_700_000_000_000 + ms as i64 }
}

fn container(name: &str) -> Container {
    let image = Reference { given: "img".into(), full: "docker.io/library/img:latest".into() };
    Container::new(ContainerName::new(name), image)
}

fn pod(name: &str, generation: &str, containers: &[&str]) -> Pod {
    let key = PodKey { namespace: Namespace::new("default"), name: PodName::new(name) };
    let containers = containers.iter().map(|c| container(c)).collect();
    let origin = Origin { path: format!("/m/{name}.yaml"), document: 1 };
    Pod { origin, ..Pod::new(key, Generation::new(generation), NodeName::new("n"), containers) }
}

fn exec_probe(period: u32, failure_threshold: u32) -> Probe {
    Probe {
        action: ProbeAction::Exec { command: vec!["true".into()] },
        initial_delay: 0,
        timeout: 1,
        period,
        success_threshold: 1,
        failure_threshold,
        grace_seconds: None,
    }
}

fn settings(parallel_starts: usize) -> Settings {
    Settings { backoff: RULE, parallel_starts, start_ms: START_MS }
}

/// A world with helpers that read as a script.
struct Script {
    world: World,
    now: u64,
}

impl Script {
    fn new() -> Self {
        let mut world = World::new(settings(4));
        world.step(images(&["docker.io/library/img:latest"]), at(0));
        Self { world, now: 0 }
    }

    fn want(&mut self, pods: &[&Pod]) -> Vec<Action> {
        let pods = pods.iter().map(|p| (p.key.clone(), Rc::new((*p).clone()))).collect();
        self.event(Event::Desired { pods, complete: true })
    }

    /// One event and what follows from it; opening is answered at once, as the daemon does.
    fn event(&mut self, event: Event) -> Vec<Action> {
        self.world.step(event, at(self.now));
        self.plan()
    }

    fn plan(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        loop {
            let actions = self.world.plan(at(self.now));
            let mut opened = Vec::new();
            for action in actions {
                match action {
                    Action::Open { pod } => opened.push(pod.generation.clone()),
                    other => all.push(other),
                }
            }
            if opened.is_empty() {
                break;
            }
            for generation in opened {
                self.world.step(
                    Event::Opened { generation, first_attempts: BTreeMap::new(), addresses: vec![] },
                    at(self.now),
                );
            }
        }
        assert_eq!(self.world.plan(at(self.now)), [], "planning twice asks for nothing more");
        all
    }

    fn pass(&mut self, ms: u64) -> Vec<Action> {
        self.now += ms;
        self.plan()
    }

    fn started(&mut self, run: &RunKey) -> Vec<Action> {
        let at = at(self.now);
        self.event(Event::Started { run: run.clone(), at, image_id: None, container: None })
    }

    fn ended(&mut self, run: &RunKey, code: i32) -> Vec<Action> {
        let at = at(self.now);
        let mut actions =
            self.event(Event::Ended { run: run.clone(), ending: Ending::Exited { code }, at, message: None });
        actions.extend(self.event(Event::Cleared { run: run.clone() }));
        actions
    }

    fn deadline(&self) -> Option<u64> {
        self.world.deadline(Time(self.now)).map(|t| t.0)
    }
}

fn images(names: &[&str]) -> Event {
    Event::Images {
        index: names.iter().map(|n| ((*n).to_owned(), "sha256:1".to_owned())).collect(),
        loading: false,
        can_pull: false,
    }
}

fn run(generation: &str, container: &str, attempt: u32) -> RunKey {
    RunKey { generation: Generation::new(generation), container: ContainerName::new(container), attempt }
}

fn starts(actions: &[Action]) -> Vec<RunKey> {
    actions
        .iter()
        .filter_map(|a| if let Action::Start { run, .. } = a { Some(run.clone()) } else { None })
        .collect()
}

fn terms(actions: &[Action]) -> Vec<RunKey> {
    actions
        .iter()
        .filter_map(|a| if let Action::Term { run, .. } = a { Some(run.clone()) } else { None })
        .collect()
}

fn kills(actions: &[Action]) -> Vec<RunKey> {
    actions
        .iter()
        .filter_map(|a| if let Action::Kill { run, .. } = a { Some(run.clone()) } else { None })
        .collect()
}

fn removes(actions: &[Action]) -> usize {
    actions.iter().filter(|a| matches!(a, Action::Remove { .. })).count()
}

fn with_init(init: &[(&str, bool)], main: &[&str]) -> Pod {
    let init_containers =
        init.iter().map(|(name, sidecar)| Container { sidecar: *sidecar, ..container(name) });
    Pod { init_containers: init_containers.collect(), ..pod("a", "g1", main) }
}

fn hooks(actions: &[Action]) -> Vec<(RunKey, HookKind)> {
    let hook = |a: &Action| match a {
        Action::Hook { run, kind, .. } => Some((run.clone(), *kind)),
        _ => None,
    };
    actions.iter().filter_map(hook).collect()
}

fn hooked(s: &mut Script, run: RunKey, kind: HookKind, error: Option<&str>) -> Vec<Action> {
    s.event(Event::Hooked { run, kind, error: error.map(str::to_owned) })
}

fn stop_of(s: &Script) -> Option<StopReason> {
    s.world.slots().next().and_then(|(_, slot)| slot.life.as_ref()).and_then(|l| l.stop).map(|s| s.why)
}

/// The Pods of one container `c` each run; each one's generation is its name.
fn running_pods(pods: &[&Pod]) -> Script {
    let mut s = Script::new();
    s.world.settings.parallel_starts = pods.len();
    s.want(pods);
    for pod in pods {
        s.started(&run(pod.generation.as_str(), "c", 0));
    }
    s
}

fn names(runs: &[RunKey]) -> Vec<&str> {
    runs.iter().map(|r| r.generation.as_str()).collect()
}

fn removed(s: &mut Script, pod: &str) -> Vec<Action> {
    s.event(Event::Removed { generation: Generation::new(pod), left: None })
}

fn found_run(attempt: u32, started: Option<u64>, ended: Option<(Ending, u64)>) -> FoundRun {
    FoundRun {
        run: run("g1", "c", attempt),
        monitored: true,
        started: started.map(at),
        ended: ended.map(|(ending, ms)| (ending, at(ms))),
        image_id: None,
        container: None,
        message: None,
    }
}

fn state_of(s: &Script) -> &container::ContainerState {
    &s.world.slots().next().unwrap().1.life.as_ref().unwrap().containers[0]
}

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

fn with_priority(name: &str, priority: i32) -> Pod {
    Pod { priority: Some(priority), ..pod(name, name, &["c"]) }
}

fn critical(name: &str) -> Pod {
    Pod { priority_class: Some("system-node-critical".into()), ..pod(name, name, &["c"]) }
}
