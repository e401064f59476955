//! The state machine as scripts: literal times, no process, no clock; and seeded random histories against invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::state::StopReason;
use super::*;
use crate::pod::*;

mod depends;
mod lost;
mod whole;

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

/// A world with helpers that read as a script.
struct Script {
    world: World,
    now: u64,
}

impl Script {
    fn new() -> Self {
        let mut world = World::new(Settings { backoff: RULE, parallel_starts: 4 });
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

#[test]
fn a_crash_loop_follows_the_schedule_exactly() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    assert_eq!(starts(&s.want(&[&p])), [run("g1", "c", 0)]);
    let mut delays = Vec::new();
    for attempt in 0..9 {
        s.started(&run("g1", "c", attempt));
        s.now += 10;
        let ended_at = s.now;
        let mut begun = starts(&s.ended(&run("g1", "c", attempt), 1));
        while begun.is_empty() {
            let deadline = s.deadline().expect("a restart is due some time");
            assert!(deadline > s.now);
            s.now = deadline;
            begun = starts(&s.plan());
        }
        assert_eq!(begun, [run("g1", "c", attempt + 1)]);
        delays.push(s.now - ended_at);
    }
    assert_eq!(delays, [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
}

#[test]
fn restart_policies() {
    for (policy, code, again) in [
        (RestartPolicy::Always, 0, true),
        (RestartPolicy::OnFailure, 0, false),
        (RestartPolicy::OnFailure, 3, true),
        (RestartPolicy::Never, 3, false),
    ] {
        let mut s = Script::new();
        let p = Pod { restart_policy: policy, ..pod("a", "g1", &["c"]) };
        s.want(&[&p]);
        s.started(&run("g1", "c", 0));
        assert_eq!(starts(&s.ended(&run("g1", "c", 0), code)).len(), usize::from(again), "{policy:?} {code}");
    }
}

#[test]
fn containers_start_in_order() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["one", "two"]);
    assert_eq!(starts(&s.want(&[&p])), [run("g1", "one", 0)]);
    assert_eq!(starts(&s.started(&run("g1", "one", 0))), [run("g1", "two", 0)]);
}

#[test]
fn a_first_container_that_fails_does_not_hold_up_the_second() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["one", "two"]);
    s.want(&[&p]);
    let run0 = run("g1", "one", 0);
    let at0 = at(0);
    let ending = Ending::NotCreated { reason: "CreateContainerError".into(), message: "x".into() };
    let actions = s.event(Event::Ended { run: run0.clone(), ending, at: at0, message: None });
    assert_eq!(
        starts(&actions),
        [run("g1", "two", 0)],
        "and the first is not tried again before it is cleared"
    );
    assert_eq!(starts(&s.event(Event::Cleared { run: run0.clone() })), [run0], "under its old number");
}

#[test]
fn removal_terms_waits_for_the_grace_and_kills() {
    let mut s = Script::new();
    let p = Pod { grace_seconds: 5, ..pod("a", "g1", &["one", "two"]) };
    s.want(&[&p]);
    s.started(&run("g1", "one", 0));
    s.started(&run("g1", "two", 0));
    let actions = s.want(&[]);
    assert_eq!(terms(&actions), [run("g1", "one", 0), run("g1", "two", 0)], "both at once");
    assert_eq!(starts(&s.ended(&run("g1", "one", 0), 0)), []);
    assert_eq!(s.deadline(), Some(5000));
    assert_eq!(kills(&s.pass(4999)), []);
    assert_eq!(kills(&s.pass(1)), [run("g1", "two", 0)]);
    let actions = s.ended(&run("g1", "two", 0), 137);
    assert_eq!(removes(&actions), 1);
    s.event(Event::Removed { generation: Generation::new("g1"), done: true });
    assert!(s.world.is_empty());
    assert_eq!(s.world.slots().count(), 0);
}

#[test]
fn a_replacement_starts_the_moment_the_old_one_is_gone() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    s.started(&run("g1", "c", 0));
    let actions = s.want(&[&pod("a", "g2", &["c"])]);
    assert_eq!(terms(&actions), [run("g1", "c", 0)]);
    assert_eq!(starts(&actions), []);
    assert_eq!(starts(&s.ended(&run("g1", "c", 0), 0)), []);
    let actions = s.event(Event::Removed { generation: Generation::new("g1"), done: true });
    assert_eq!(starts(&actions), [run("g2", "c", 0)]);
}

#[test]
fn the_latest_of_many_edits_wins_and_a_return_restarts_cleanly() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    s.started(&run("g1", "c", 0));
    s.want(&[&pod("a", "g2", &["c"])]);
    for generation in ["g3", "g4", "g1"] {
        assert_eq!(s.want(&[&pod("a", generation, &["c"])]), []);
    }
    s.ended(&run("g1", "c", 0), 0);
    let actions = s.event(Event::Removed { generation: Generation::new("g1"), done: true });
    assert_eq!(starts(&actions), [run("g1", "c", 0)], "the same generation again, as a new life");
}

#[test]
fn a_replacement_waits_for_its_image_and_the_old_one_lives_on() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    s.started(&run("g1", "c", 0));
    let mut next = pod("a", "g2", &["c"]);
    next.containers[0].image = Reference { given: "new".into(), full: "new".into() };
    next.containers[0].pull_policy = PullPolicy::Never;
    assert_eq!(s.want(&[&next]), []);
    let waits = s.world.slots().next().unwrap().1.replacement_waits.clone().unwrap();
    assert_eq!(waits.reason, "ErrImageNeverPull");
    assert_eq!(terms(&s.event(images(&["new", "docker.io/library/img:latest"]))), [run("g1", "c", 0)]);
}

#[test]
fn a_missing_image_is_pulled_with_back_off_and_an_archive_ends_the_wait() {
    let mut s = Script::new();
    s.event(images(&[]));
    let p = pod("a", "g1", &["c"]);
    let actions = s.want(&[&p]);
    assert!(matches!(actions.as_slice(), [Action::Pull { .. }]), "{actions:?}");
    let failed = |s: &mut Script| {
        s.event(Event::Pulled { reference: p.containers[0].image.full.clone(), error: Some("no".into()) })
    };
    assert_eq!(failed(&mut s), []);
    assert_eq!(s.deadline(), Some(10_000));
    assert!(matches!(s.pass(10_000).as_slice(), [Action::Pull { .. }]));
    assert_eq!(failed(&mut s), []);
    assert_eq!(s.deadline(), Some(30_000));
    assert_eq!(starts(&s.event(images(&["docker.io/library/img:latest"]))), [run("g1", "c", 0)]);
}

#[test]
fn a_liveness_probe_that_fails_restarts_its_container() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].liveness = Some(exec_probe(10, 3));
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    let mut actions = s.started(&r);
    for n in 1..=3 {
        assert!(matches!(actions.as_slice(), [Action::Probe { .. }]), "try {n}: {actions:?}");
        let probed = Event::Probed {
            run: r.clone(),
            kind: ProbeKind::Liveness,
            verdict: Verdict::Failure,
            message: "HTTP 503".into(),
        };
        actions = s.event(probed);
        if n < 3 {
            assert_eq!(actions, []);
            assert_eq!(s.deadline(), Some(s.now + 10_000));
            actions = s.pass(10_000);
        }
    }
    assert!(
        matches!(actions.as_slice(), [Action::Term { why, .. }] if why.contains("HTTP 503")),
        "{actions:?}"
    );
    s.now += 100;
    assert_eq!(starts(&s.ended(&r, 0)), [run("g1", "c", 1)]);
}

#[test]
fn the_startup_probe_gates_the_others_and_readiness_flips() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].startup = Some(exec_probe(1, 30));
    p.containers[0].liveness = Some(exec_probe(10, 1));
    p.containers[0].readiness = Some(exec_probe(5, 1));
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    let kinds = |actions: &[Action]| -> Vec<ProbeKind> {
        actions
            .iter()
            .filter_map(|a| if let Action::Probe { kind, .. } = a { Some(*kind) } else { None })
            .collect()
    };
    let probed = |s: &mut Script, kind, verdict| {
        s.event(Event::Probed { run: run("g1", "c", 0), kind, verdict, message: String::new() })
    };
    assert_eq!(kinds(&s.started(&r)), [ProbeKind::Startup]);
    probed(&mut s, ProbeKind::Startup, Verdict::Failure);
    assert_eq!(kinds(&s.pass(1000)), [ProbeKind::Startup]);
    let ready = |s: &Script| {
        let (_, slot) = s.world.slots().next().unwrap();
        let state = &slot.life.as_ref().unwrap().containers[0];
        (state.is_started(), state.is_ready())
    };
    assert_eq!(ready(&s), (false, false));
    let actions = probed(&mut s, ProbeKind::Startup, Verdict::Success);
    assert_eq!(kinds(&actions), [ProbeKind::Liveness, ProbeKind::Readiness]);
    assert_eq!(ready(&s), (true, false));
    probed(&mut s, ProbeKind::Liveness, Verdict::Success);
    probed(&mut s, ProbeKind::Readiness, Verdict::Success);
    assert_eq!(ready(&s), (true, true));
    assert_eq!(kinds(&s.pass(5000)), [ProbeKind::Readiness]);
    probed(&mut s, ProbeKind::Readiness, Verdict::Failure);
    assert_eq!(ready(&s), (true, false));
    // While it is being stopped, readiness goes on and liveness does not.
    s.want(&[]);
    assert_eq!(kinds(&s.pass(10_000)), [ProbeKind::Readiness]);
}

#[test]
fn a_prober_error_counts_neither_way() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].liveness = Some(exec_probe(10, 1));
    s.want(&[&p]);
    let mut actions = s.started(&run("g1", "c", 0));
    for _ in 0..3 {
        assert!(matches!(actions.as_slice(), [Action::Probe { .. }]), "{actions:?}");
        actions = s.event(Event::Probed {
            run: run("g1", "c", 0),
            kind: ProbeKind::Liveness,
            verdict: Verdict::Unknown,
            message: "runc: no".into(),
        });
    }
    assert_eq!(actions, [], "three tries at once, then the next period");
    assert_eq!(s.deadline(), Some(10_000));
}

#[test]
fn a_lost_monitor_is_swept_and_its_container_started_again() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    let r = run("g1", "c", 0);
    s.started(&r);
    let actions = s.event(Event::MonitorLost { run: r.clone() });
    assert_eq!(actions, [Action::Sweep { run: r.clone() }]);
    assert_eq!(s.event(Event::SweepFailed { run: r.clone() }), []);
    assert_eq!(s.pass(2000), [Action::Sweep { run: r.clone() }]);
    let now = at(s.now);
    let actions = s.event(Event::Ended { run: r.clone(), ending: Ending::Lost, at: now, message: None });
    assert_eq!(starts(&actions), [run("g1", "c", 1)]);
}

fn with_priority(name: &str, priority: i32) -> Pod {
    Pod { priority: Some(priority), ..pod(name, name, &["c"]) }
}

fn critical(name: &str) -> Pod {
    Pod { priority_class: Some("system-node-critical".into()), ..pod(name, name, &["c"]) }
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
    s.event(Event::Removed { generation: Generation::new(pod), done: true })
}

#[test]
fn a_full_stop_ends_lower_priorities_first_and_each_together() {
    let [a, b, c] = ["a", "b", "c"].map(|name| pod(name, name, &["c"]));
    let (low, high) = (with_priority("low", -1), with_priority("high", 10));
    let mut s = running_pods(&[&a, &b, &c, &high, &low]);
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["low"]);
    assert_eq!(names(&terms(&s.ended(&run("low", "c", 0), 0))), ["a", "b", "c"], "before low is removed");
    for last in ["a", "c"] {
        assert_eq!(terms(&s.ended(&run(last, "c", 0), 0)), [], "b runs still");
    }
    assert_eq!(names(&terms(&s.ended(&run("b", "c", 0), 0))), ["high"]);
    s.ended(&run("high", "c", 0), 0);
    for pod in ["low", "a", "b", "c"] {
        removed(&mut s, pod);
        assert!(!s.world.is_empty());
    }
    removed(&mut s, "high");
    assert!(s.world.is_empty());
}

#[test]
fn a_full_stop_ends_critical_pods_one_by_one_from_the_last() {
    let control_plane = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(critical);
    let ordinary = pod("web", "web", &["c"]);
    let mut s = running_pods(&control_plane.iter().chain([&ordinary]).collect::<Vec<_>>());
    let mut order = Vec::new();
    let mut actions = s.event(Event::Drain);
    while let [stopped] = terms(&actions).as_slice() {
        order.push(stopped.generation.to_string());
        // It takes 20 s of its 30 s.
        assert_eq!(s.pass(20_000), [], "whatever comes after {stopped} waits for it");
        actions = s.ended(stopped, 0);
    }
    assert_eq!(order, ["web", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"]);
}

#[test]
fn many_stubborn_pods_take_no_longer_than_one() {
    let pods: Vec<Pod> = (0..20).map(|n| pod(&format!("p{n}"), &format!("p{n}"), &["c"])).collect();
    let mut s = running_pods(&pods.iter().collect::<Vec<_>>());
    assert_eq!(terms(&s.event(Event::Drain)).len(), 20);
    assert_eq!(s.deadline(), Some(30_000));
    assert_eq!(s.pass(29_999), []);
    assert_eq!(kills(&s.pass(1)).len(), 20);
}

#[test]
fn a_pod_that_kill_does_not_end_holds_up_the_full_stop_for_half_a_minute() {
    let mut s = running_pods(&[&critical("etcd"), &critical("kube-apiserver")]);
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["kube-apiserver"]);
    assert_eq!(names(&kills(&s.pass(30_000))), ["kube-apiserver"]);
    s.pass(29_900);
    assert_eq!(s.deadline(), Some(60_000));
    assert_eq!(names(&terms(&s.pass(100))), ["etcd"]);
    s.ended(&run("etcd", "c", 0), 0);
    removed(&mut s, "etcd");
    assert!(!s.world.is_empty(), "it is still waited for");
    assert!(s.deadline().is_some_and(|t| t > s.now), "and killed again");
}

#[test]
fn in_a_full_stop_a_manifest_that_goes_or_changes_leaves_its_pod_its_turn() {
    let (etcd, api) = (critical("etcd"), critical("kube-apiserver"));
    for wanted in [&[][..], &[&Pod { generation: Generation::new("new"), ..etcd.clone() }][..]] {
        let mut s = running_pods(&[&etcd, &api]);
        s.event(Event::Drain);
        assert_eq!(s.want(wanted), []);
        assert_eq!(s.event(Event::Hold { pods: BTreeSet::from([etcd.key.clone()]) }), []);
        assert_eq!(names(&terms(&s.ended(&run("kube-apiserver", "c", 0), 0))), ["etcd"]);
        s.ended(&run("etcd", "c", 0), 0);
        removed(&mut s, "kube-apiserver");
        assert_eq!(removed(&mut s, "etcd"), [], "nothing new begins");
        assert!(s.world.is_empty());
    }
    // What was being stopped when the full stop began holds up what comes after it, and nothing before it.
    let mut s = running_pods(&[&etcd, &api]);
    assert_eq!(names(&terms(&s.want(&[&api]))), ["etcd"]);
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["kube-apiserver"]);
    let mut s = running_pods(&[&etcd, &api]);
    assert_eq!(names(&terms(&s.want(&[&etcd]))), ["kube-apiserver"]);
    assert_eq!(s.event(Event::Drain), []);
    assert_eq!(names(&terms(&s.ended(&run("kube-apiserver", "c", 0), 0))), ["etcd"]);
}

#[test]
fn in_a_full_stop_what_waits_for_its_turn_is_started_again_but_not_for_the_first_time() {
    let (etcd, api) = (critical("etcd"), critical("kube-apiserver"));
    let mut late = critical("a-late-one");
    late.containers[0].image.full = "missing".into();
    let mut s = running_pods(&[&etcd, &api]);
    s.want(&[&etcd, &api, &late]);
    let actions = s.event(Event::Drain);
    assert_eq!((names(&terms(&actions)), removes(&actions)), (vec!["kube-apiserver"], 1));
    assert_eq!(s.event(images(&["missing", "docker.io/library/img:latest"])), []);
    assert_eq!(starts(&s.ended(&run("etcd", "c", 0), 1)), [run("etcd", "c", 1)], "its clients need it");
    s.started(&run("etcd", "c", 1));
    assert_eq!(terms(&s.ended(&run("kube-apiserver", "c", 0), 0)), [run("etcd", "c", 1)]);
}

#[test]
fn a_held_pod_stays_down_until_its_manifest_changes() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    s.want(&[&p]);
    s.started(&run("g1", "c", 0));
    let actions = s.event(Event::Hold { pods: BTreeSet::from([p.key.clone()]) });
    assert_eq!(terms(&actions), [run("g1", "c", 0)]);
    s.ended(&run("g1", "c", 0), 0);
    s.event(Event::Removed { generation: Generation::new("g1"), done: true });
    assert_eq!(s.want(&[&p]), []);
    assert_eq!(starts(&s.want(&[&pod("a", "g2", &["c"])])), [run("g2", "c", 0)]);
}

#[test]
fn nothing_is_removed_before_every_source_was_read() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    let r = run("g1", "c", 2);
    let found = Found {
        opened: true,
        addresses: vec![],
        pod: Rc::new(p),
        saved: Saved::default(),
        runs: vec![FoundRun {
            run: r.clone(),
            monitored: true,
            started: Some(at(0)),
            ended: None,
            message: None,
            image_id: None,
            container: None,
        }],
    };
    assert_eq!(s.event(Event::Found(Box::new(found))), []);
    assert_eq!(s.event(Event::Desired { pods: BTreeMap::new(), complete: false }), []);
    let actions = s.event(Event::Desired { pods: BTreeMap::new(), complete: true });
    assert_eq!(terms(&actions), [r]);
}

#[test]
fn a_new_daemon_goes_on_where_the_old_one_was() {
    // A container that crashes, then a daemon that dies during its back-off.
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    s.want(&[&p]);
    for attempt in 0..3 {
        s.started(&run("g1", "c", attempt));
        s.now += 5;
        s.ended(&run("g1", "c", attempt), 1);
        if let Some(d) = s.deadline().filter(|_| attempt < 2) {
            s.now = d;
            s.plan();
        }
    }
    let saved = s.world.slots().next().unwrap().1.life.as_ref().unwrap().saved();
    let due = s.deadline().unwrap();
    let mut next = Script::new();
    next.now = s.now;
    let found = Found { opened: true, addresses: vec![], pod: Rc::new(p.clone()), saved, runs: vec![] };
    assert_eq!(starts(&next.event(Event::Found(Box::new(found)))), []);
    assert_eq!(next.want(&[&p]), []);
    assert_eq!(next.deadline(), Some(due));
    next.now = due;
    assert_eq!(starts(&next.plan()), [run("g1", "c", 3)]);
}

#[test]
fn an_exit_that_no_daemon_saw_is_taken_in_once() {
    let p = pod("a", "g1", &["c"]);
    let found = |monitored| Found {
        opened: true,
        addresses: vec![],
        pod: Rc::new(p.clone()),
        saved: Saved::default(),
        runs: vec![FoundRun {
            run: run("g1", "c", 0),
            monitored,
            started: Some(at(0)),
            ended: Some((Ending::Exited { code: 1 }, at(50))),
            message: None,
            image_id: None,
            container: None,
        }],
    };
    for monitored in [true, false] {
        let mut s = Script::new();
        s.now = 100;
        let actions = s.event(Event::Found(Box::new(found(monitored))));
        assert_eq!(starts(&actions), [run("g1", "c", 1)]);
        let swept = actions.contains(&Action::Sweep { run: run("g1", "c", 0) });
        assert_eq!(swept, !monitored);
    }
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

#[test]
fn init_containers_run_one_after_the_other_and_only_once() {
    let mut s = Script::new();
    let p = with_init(&[("i1", false), ("i2", false)], &["c"]);
    assert_eq!(starts(&s.want(&[&p])), [run("g1", "i1", 0)]);
    assert_eq!(starts(&s.started(&run("g1", "i1", 0))), []);
    assert_eq!(starts(&s.ended(&run("g1", "i1", 0), 0)), [run("g1", "i2", 0)]);
    s.started(&run("g1", "i2", 0));
    // A failure is tried again, with the usual back-off.
    assert_eq!(starts(&s.ended(&run("g1", "i2", 0), 1)), [run("g1", "i2", 1)]);
    s.started(&run("g1", "i2", 1));
    assert_eq!(starts(&s.ended(&run("g1", "i2", 1), 0)), [run("g1", "c", 0)]);
    s.started(&run("g1", "c", 0));
    assert_eq!(starts(&s.ended(&run("g1", "c", 0), 1)), [run("g1", "c", 1)], "and no init container again");
}

#[test]
fn an_init_container_that_fails_for_good_fails_the_pod() {
    let mut s = Script::new();
    let p =
        Pod { restart_policy: RestartPolicy::Never, ..with_init(&[("side", true), ("i", false)], &["c"]) };
    s.want(&[&p]);
    assert_eq!(starts(&s.started(&run("g1", "side", 0))), [run("g1", "i", 0)]);
    s.started(&run("g1", "i", 0));
    let actions = s.ended(&run("g1", "i", 0), 1);
    assert_eq!(stop_of(&s), Some(StopReason::InitFailed));
    assert_eq!(terms(&actions), [run("g1", "side", 0)]);
    let actions = s.ended(&run("g1", "side", 0), 0);
    assert_eq!((starts(&actions), removes(&actions)), (vec![], 0), "it stays, to be looked at");
    let actions = s.want(&[]);
    assert_eq!(removes(&actions), 1);
}

#[test]
fn a_sidecar_opens_the_way_when_its_startup_probe_succeeds() {
    let mut s = Script::new();
    let mut p = with_init(&[("side", true), ("i", false)], &["c"]);
    p.init_containers[0].startup = Some(exec_probe(1, 30));
    s.want(&[&p]);
    assert_eq!(starts(&s.started(&run("g1", "side", 0))), []);
    let probed = Event::Probed {
        run: run("g1", "side", 0),
        kind: ProbeKind::Startup,
        verdict: Verdict::Success,
        message: String::new(),
    };
    assert_eq!(starts(&s.event(probed)), [run("g1", "i", 0)]);
    s.started(&run("g1", "i", 0));
    assert_eq!(starts(&s.ended(&run("g1", "i", 0), 0)), [run("g1", "c", 0)]);
    s.started(&run("g1", "c", 0));
    // It is started again whenever it ends, and the others do not wait for it then.
    assert_eq!(starts(&s.ended(&run("g1", "side", 0), 0)), [run("g1", "side", 1)]);
    assert_eq!(starts(&s.ended(&run("g1", "c", 0), 1)), [run("g1", "c", 1)]);
}

#[test]
fn sidecars_stop_last_and_in_reverse_and_keep_no_pod_alive() {
    for by_manifest in [true, false] {
        let mut s = Script::new();
        let mut p = with_init(&[("s1", true), ("s2", true)], &["c"]);
        p.restart_policy = RestartPolicy::Never;
        s.want(&[&p]);
        s.started(&run("g1", "s1", 0));
        s.started(&run("g1", "s2", 0));
        s.started(&run("g1", "c", 0));
        if by_manifest {
            assert_eq!(terms(&s.want(&[])), [run("g1", "c", 0)]);
        }
        assert_eq!(terms(&s.ended(&run("g1", "c", 0), 0)), [run("g1", "s2", 0)]);
        assert_eq!(terms(&s.ended(&run("g1", "s2", 0), 143)), [run("g1", "s1", 0)]);
        let actions = s.ended(&run("g1", "s1", 0), 0);
        assert_eq!(removes(&actions), usize::from(by_manifest));
        assert_eq!(stop_of(&s), Some(if by_manifest { StopReason::Removed } else { StopReason::Finished }));
    }
}

#[test]
fn a_sidecar_whose_turn_does_not_come_is_stopped_when_the_grace_is_over() {
    let mut s = Script::new();
    let p = Pod { grace_seconds: 5, ..with_init(&[("side", true)], &["c"]) };
    s.want(&[&p]);
    s.started(&run("g1", "side", 0));
    s.started(&run("g1", "c", 0));
    s.want(&[]);
    let actions = s.pass(5000);
    assert_eq!((kills(&actions), terms(&actions)), (vec![run("g1", "c", 0)], vec![run("g1", "side", 0)]));
    assert_eq!(kills(&s.pass(2000)), [run("g1", "side", 0)]);
}

#[test]
fn post_start_holds_up_the_next_container_and_its_failure_stops_its_own() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["one", "two"]);
    let call = Hook::Call(ProbeAction::Exec { command: vec!["true".into()] });
    p.containers[0].lifecycle.post_start = Some(call);
    s.want(&[&p]);
    let one = run("g1", "one", 0);
    let actions = s.started(&one);
    assert_eq!(hooks(&actions), [(one.clone(), HookKind::PostStart)]);
    assert_eq!(starts(&actions), []);
    let actions = hooked(&mut s, one.clone(), HookKind::PostStart, Some("exit code 1"));
    assert_eq!(terms(&actions), std::slice::from_ref(&one));
    let actions = s.ended(&one, 0);
    let again = run("g1", "one", 1);
    assert_eq!(starts(&actions), [again.clone(), run("g1", "two", 0)]);
    s.started(&again);
    assert_eq!(terms(&hooked(&mut s, again, HookKind::PostStart, None)), []);
}

#[test]
fn pre_stop_comes_before_term_and_within_the_grace() {
    let mut s = Script::new();
    let mut p = Pod { grace_seconds: 10, ..pod("a", "g1", &["c"]) };
    p.containers[0].lifecycle.pre_stop = Some(Hook::Call(ProbeAction::Exec { command: vec!["x".into()] }));
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    s.started(&r);
    let actions = s.want(&[]);
    assert_eq!((hooks(&actions), terms(&actions)), (vec![(r.clone(), HookKind::PreStop)], vec![]));
    s.now += 4000;
    assert_eq!(terms(&hooked(&mut s, r.clone(), HookKind::PreStop, None)), std::slice::from_ref(&r));
    assert_eq!(s.deadline(), Some(10_000));
    assert_eq!(kills(&s.pass(6000)), [r]);
}

#[test]
fn pre_stop_that_takes_all_of_the_grace_leaves_two_seconds() {
    let mut s = Script::new();
    let mut p = Pod { grace_seconds: 10, ..pod("a", "g1", &["c"]) };
    p.containers[0].lifecycle.pre_stop = Some(Hook::Sleep(60));
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    s.started(&r);
    assert_eq!(terms(&s.want(&[])), []);
    let actions = s.pass(10_000);
    assert_eq!((terms(&actions), kills(&actions)), (vec![r.clone()], vec![]));
    assert_eq!(kills(&s.pass(1_999)), []);
    assert_eq!(kills(&s.pass(1)), [r]);
}

#[test]
fn restart_rules_come_before_policies() {
    let rule = |not_in, codes: &[i32], action| RestartRule { action, not_in, exit_codes: codes.to_vec() };
    for (own, rules, code, again) in [
        (Some(RestartPolicy::Never), vec![rule(false, &[42], RestartAction::Restart)], 42, true),
        (Some(RestartPolicy::Never), vec![rule(false, &[42], RestartAction::Restart)], 1, false),
        (Some(RestartPolicy::Never), vec![rule(true, &[0, 3], RestartAction::Restart)], 1, true),
        (Some(RestartPolicy::Never), vec![rule(true, &[0, 3], RestartAction::Restart)], 3, false),
        (Some(RestartPolicy::OnFailure), vec![], 0, false),
        (Some(RestartPolicy::Always), vec![], 0, true),
    ] {
        let mut s = Script::new();
        let mut p = Pod { restart_policy: RestartPolicy::Never, ..pod("a", "g1", &["c", "other"]) };
        p.containers[0].restart = own;
        p.containers[0].restart_rules = rules;
        s.want(&[&p]);
        s.started(&run("g1", "c", 0));
        s.started(&run("g1", "other", 0));
        assert_eq!(starts(&s.ended(&run("g1", "c", 0), code)).len(), usize::from(again), "{own:?} {code}");
    }
}

#[test]
fn a_rule_can_start_every_container_anew() {
    let mut s = Script::new();
    let mut p = with_init(&[("i", false)], &["c", "other"]);
    p.containers[0].restart = Some(RestartPolicy::Never);
    p.containers[0].restart_rules = vec![RestartRule {
        action: RestartAction::RestartAllContainers,
        not_in: false,
        exit_codes: vec![42],
    }];
    s.want(&[&p]);
    s.started(&run("g1", "i", 0));
    s.ended(&run("g1", "i", 0), 0);
    s.started(&run("g1", "c", 0));
    s.started(&run("g1", "other", 0));
    let actions = s.ended(&run("g1", "c", 0), 42);
    assert_eq!((terms(&actions), starts(&actions)), (vec![run("g1", "other", 0)], vec![]));
    assert_eq!(starts(&s.ended(&run("g1", "other", 0), 143)), [run("g1", "i", 1)]);
    s.started(&run("g1", "i", 1));
    assert_eq!(starts(&s.ended(&run("g1", "i", 1), 0)), [run("g1", "c", 1)]);
    assert_eq!(starts(&s.started(&run("g1", "c", 1))), [run("g1", "other", 1)]);
}

#[test]
fn a_pod_that_is_active_too_long_fails() {
    let mut s = Script::new();
    let p = Pod { active_deadline_seconds: Some(7), ..pod("a", "g1", &["c"]) };
    s.want(&[&p]);
    s.started(&run("g1", "c", 0));
    assert_eq!(s.deadline(), Some(7000));
    assert_eq!(terms(&s.pass(7000)), [run("g1", "c", 0)]);
    assert_eq!(stop_of(&s), Some(StopReason::DeadlineExceeded));
    let actions = s.ended(&run("g1", "c", 0), 0);
    assert_eq!((starts(&actions), removes(&actions)), (vec![], 0));
}

#[test]
fn a_missing_object_is_waited_for() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["c"]);
    let object = ObjectRef { kind: ObjectKind::ConfigMap, name: "settings".into() };
    p.containers[0].env_from =
        vec![EnvFrom { prefix: String::new(), object: object.clone(), optional: false }];
    assert_eq!(s.want(&[&p]), []);
    let present = BTreeSet::from([(Namespace::new("default"), object)]);
    assert_eq!(starts(&s.event(Event::Objects { present })), [run("g1", "c", 0)]);
}

#[test]
fn a_sandbox_that_cannot_be_made_is_tried_again() {
    let mut world = World::new(Settings { backoff: RULE, parallel_starts: 4 });
    let p = Rc::new(pod("a", "g1", &["c"]));
    let pods = BTreeMap::from([(p.key.clone(), p.clone())]);
    world.step(images(&["docker.io/library/img:latest"]), at(0));
    world.step(Event::Desired { pods, complete: true }, at(0));
    let open = Action::Open { pod: p.clone() };
    assert_eq!(world.plan(at(0)), std::slice::from_ref(&open));
    let failed = Event::OpenFailed { generation: p.generation.clone(), message: "no CNI".into() };
    world.step(failed.clone(), at(10));
    assert_eq!(world.plan(at(10)), []);
    assert_eq!(world.deadline(Time(10)), Some(Time(510)));
    assert_eq!(world.plan(at(510)), [open]);
    world.step(failed, at(520));
    assert_eq!(world.deadline(Time(520)), Some(Time(1520)));
}

#[test]
fn a_pod_is_removed_though_its_sandbox_is_still_being_made() {
    let mut world = World::new(Settings { backoff: RULE, parallel_starts: 4 });
    let p = Rc::new(pod("a", "g1", &["c"]));
    world.step(Event::Desired { pods: BTreeMap::from([(p.key.clone(), p.clone())]), complete: true }, at(0));
    assert_eq!(world.plan(at(0)), [Action::Open { pod: p.clone() }]);
    world.step(Event::Desired { pods: BTreeMap::new(), complete: true }, at(10));
    assert_eq!(world.plan(at(10)), [Action::Remove { pod: p.clone() }]);
    // The helper's end is told after that, whatever it was.
    let failed = Event::OpenFailed { generation: p.generation.clone(), message: "killed".into() };
    world.step(failed, at(20));
    assert_eq!(world.plan(at(20)), []);
    world.step(Event::Removed { generation: p.generation.clone(), done: true }, at(30));
    assert_eq!(world.plan(at(30)), []);
    assert!(world.is_empty());
}

/// A small generator (SplitMix64): the histories are the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// What the world outside holds in a random history.
#[derive(Default)]
struct Outside {
    /// Runs whose container lives.
    living: BTreeMap<RunKey, u64>,
    /// Runs that were asked for and have not said anything yet.
    starting: BTreeSet<RunKey>,
    /// Runs that are over and not cleared away.
    uncleared: BTreeSet<RunKey>,
    termed: BTreeMap<RunKey, u64>,
    removing: BTreeSet<Generation>,
    probes: Vec<(RunKey, ProbeKind)>,
}

#[test]
fn random_histories_keep_the_invariants() {
    for seed in 0..2_000 {
        history(seed);
    }
}

fn history(seed: u64) {
    let mut dice = Dice(seed);
    let mut s = Script::new();
    let mut out = Outside::default();
    let mut wanted: BTreeMap<&str, Pod> = BTreeMap::new();
    for _ in 0..120 {
        s.now += dice.roll(3_000);
        let event = match dice.roll(10) {
            0 | 1 => {
                let name = ["a", "b"][dice.roll(2) as usize];
                match dice.roll(4) {
                    0 => {
                        wanted.remove(name);
                    }
                    g => {
                        let mut p =
                            pod(name, &format!("{name}{g}"), &["one", "two"][..1 + dice.roll(2) as usize]);
                        p.generation = Generation::new(format!("{name}{g}{}", p.containers.len()));
                        p.grace_seconds = 3;
                        p.containers[0].liveness = Some(exec_probe(2, 2));
                        wanted.insert(name, p);
                    }
                }
                let pods = wanted.values().map(|p| (p.key.clone(), Rc::new(p.clone()))).collect();
                Some(Event::Desired { pods, complete: true })
            }
            2 | 3 => pick(&mut dice, &out.starting).map(|run| {
                out.starting.remove(&run);
                if dice.roll(8) == 0 {
                    out.uncleared.insert(run.clone());
                    let ending =
                        Ending::NotCreated { reason: "CreateContainerError".into(), message: "x".into() };
                    Event::Ended { run, ending, at: at(s.now), message: None }
                } else {
                    out.living.insert(run.clone(), s.now);
                    Event::Started { run, at: at(s.now), image_id: None, container: None }
                }
            }),
            4 | 5 => {
                let living: BTreeSet<RunKey> = out.living.keys().cloned().collect();
                pick(&mut dice, &living).map(|run| {
                    out.living.remove(&run);
                    out.termed.remove(&run);
                    out.uncleared.insert(run.clone());
                    Event::Ended {
                        run,
                        ending: Ending::Exited { code: dice.roll(2) as i32 },
                        at: at(s.now),
                        message: None,
                    }
                })
            }
            6 => pick(&mut dice, &out.uncleared).map(|run| {
                out.uncleared.remove(&run);
                Event::Cleared { run }
            }),
            7 => pick(&mut dice, &out.removing).map(|generation| {
                out.removing.remove(&generation);
                Event::Removed { generation, done: dice.roll(5) > 0 }
            }),
            8 => out.probes.pop().map(|(run, kind)| {
                let verdict = [Verdict::Success, Verdict::Failure, Verdict::Unknown][dice.roll(3) as usize];
                Event::Probed { run, kind, verdict, message: String::new() }
            }),
            _ => None,
        };
        let actions = match event {
            Some(event) => s.event(event),
            None => s.plan(),
        };
        check(seed, s.now, &mut out, &actions);
    }
    // Quiet: nothing changes any more, every container runs on, every helper does its work.
    for _ in 0..200 {
        s.now += 1_000;
        let mut events: Vec<Event> = Vec::new();
        events.extend(std::mem::take(&mut out.uncleared).into_iter().map(|run| Event::Cleared { run }));
        events.extend(
            std::mem::take(&mut out.removing)
                .into_iter()
                .map(|generation| Event::Removed { generation, done: true }),
        );
        for run in std::mem::take(&mut out.starting) {
            out.living.insert(run.clone(), s.now);
            events.push(Event::Started { run, at: at(s.now), image_id: None, container: None });
        }
        for run in out.termed.keys().cloned().collect::<Vec<_>>() {
            if out.living.remove(&run).is_some() {
                out.uncleared.insert(run.clone());
                events.push(Event::Ended {
                    run,
                    ending: Ending::Exited { code: 0 },
                    at: at(s.now),
                    message: None,
                });
            }
        }
        events.extend(std::mem::take(&mut out.probes).into_iter().map(|(run, kind)| Event::Probed {
            run,
            kind,
            verdict: Verdict::Success,
            message: String::new(),
        }));
        for event in events {
            let over = if let Event::Ended { run, .. } = &event { Some(run.clone()) } else { None };
            let actions = s.event(event);
            if let Some(run) = over {
                out.termed.remove(&run);
            }
            check(seed, s.now, &mut out, &actions);
        }
        let actions = s.plan();
        check(seed, s.now, &mut out, &actions);
    }
    let expected: BTreeSet<(String, String)> = wanted
        .values()
        .flat_map(|p| p.containers.iter().map(|c| (p.generation.to_string(), c.name.to_string())))
        .collect();
    let living: BTreeSet<(String, String)> =
        out.living.keys().map(|r| (r.generation.to_string(), r.container.to_string())).collect();
    assert_eq!(living, expected, "seed {seed}: what runs in the end is what is wanted");
}

fn pick<T: Clone>(dice: &mut Dice, set: &BTreeSet<T>) -> Option<T> {
    if set.is_empty() {
        return None;
    }
    set.iter().nth(dice.roll(set.len() as u64) as usize).cloned()
}

/// Carries the actions over to the outside and checks what must always hold.
fn check(seed: u64, now: u64, out: &mut Outside, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Start { pod, run } => {
                let name = |r: &RunKey| r.generation.as_str().chars().next();
                for other in out.living.keys().chain(&out.starting) {
                    assert!(
                        name(other) != name(run) || other.generation == run.generation,
                        "seed {seed}: {run} starts while {other} of another generation lives"
                    );
                    assert!(
                        other.generation != run.generation || other.container != run.container,
                        "seed {seed}: {run} starts while {other} lives"
                    );
                }
                assert!(
                    !out.uncleared.contains(run),
                    "seed {seed}: {run} is used again before it was cleared"
                );
                assert_eq!(pod.generation, run.generation);
                out.starting.insert(run.clone());
            }
            Action::Term { run, .. } => {
                assert!(out.living.contains_key(run), "seed {seed}: TERM to {run}, which does not live");
                assert!(out.termed.insert(run.clone(), now).is_none(), "seed {seed}: {run} is termed twice");
            }
            Action::Kill { run, pod } => {
                let since = out.termed.get(run).copied();
                let grace = u64::from(pod.grace_seconds) * 1000;
                assert!(
                    since.is_some_and(|t| now >= t + grace),
                    "seed {seed}: {run} is killed before its grace is over"
                );
            }
            Action::Remove { pod } => {
                let generation = &pod.generation;
                let left = out.living.keys().chain(&out.starting).chain(&out.uncleared);
                assert_eq!(
                    left.filter(|r| r.generation == *generation).count(),
                    0,
                    "seed {seed}: {generation} is removed while something of it is left"
                );
                assert!(
                    out.removing.insert(generation.clone()),
                    "seed {seed}: {generation} is removed twice at once"
                );
            }
            Action::Probe { run, kind, .. } => out.probes.push((run.clone(), *kind)),
            Action::Open { .. } | Action::Sweep { .. } | Action::Pull { .. } | Action::Hook { .. } => {}
        }
    }
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

fn state_of(s: &Script) -> &state::ContainerState {
    &s.world.slots().next().unwrap().1.life.as_ref().unwrap().containers[0]
}

/// A daemon that was killed after it had started the next run and before it had saved the end of the former one.
#[test]
fn an_end_that_was_not_saved_is_taken_in_though_the_next_run_goes_on() {
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].readiness = Some(exec_probe(10, 1));
    let stop = state::Stopping {
        since: at(40),
        pre_stop: state::HookState::Pending,
        termed: true,
        kill_at: Time(30_040),
        killed: false,
        why: "x".into(),
    };
    let container = saved::SavedContainer {
        next_attempt: 3,
        started: true,
        ready: true,
        stop: Some(stop),
        ..Default::default()
    };
    let saved = Saved { containers: [(ContainerName::new("c"), container)].into(), ..Saved::default() };
    let ended = found_run(3, Some(10), Some((Ending::Exited { code: 7 }, 50)));
    let mut s = Script::new();
    s.now = 100;
    let runs = vec![ended, found_run(4, Some(60), None)];
    s.event(Event::Found(Box::new(Found { opened: true, addresses: vec![], pod: Rc::new(p), saved, runs })));
    let state = state_of(&s);
    assert_eq!(state.restart_count(), 4);
    assert_eq!(state.last.as_ref().map(|l| (l.attempt, &l.ending)), Some((3, &Ending::Exited { code: 7 })));
    assert!(!state.is_ready(), "the verdict was the former run's");
    assert!(kills(&s.pass(40_000)).is_empty(), "and so was the stop");
    // The former end counts in the back-off.
    assert_eq!(starts(&s.ended(&run("g1", "c", 4), 1)), []);
    assert_eq!(s.deadline(), Some(s.now + 1000));
}

#[test]
fn a_try_that_could_not_be_made_is_counted_once_across_daemons() {
    let p = pod("a", "g1", &["c"]);
    let mut s = Script::new();
    s.want(&[&p]);
    let ending = || Ending::NotCreated { reason: "CreateContainerError".into(), message: "x".into() };
    for _ in 0..3 {
        let now = at(s.now);
        s.event(Event::Ended { run: run("g1", "c", 0), ending: ending(), at: now, message: None });
        s.event(Event::Cleared { run: run("g1", "c", 0) });
        if let Some(due) = s.deadline() {
            s.now = due;
            s.plan();
        }
    }
    let ended_at = s.now;
    s.event(Event::Ended { run: run("g1", "c", 0), ending: ending(), at: at(ended_at), message: None });
    let due = s.deadline();
    let saved = s.world.slots().next().unwrap().1.life.as_ref().unwrap().saved();
    let mut next = Script::new();
    next.now = s.now;
    let runs = vec![found_run(0, None, Some((ending(), ended_at)))];
    next.event(Event::Found(Box::new(Found {
        opened: true,
        addresses: vec![],
        pod: Rc::new(p),
        saved,
        runs,
    })));
    assert_eq!(next.deadline(), due);
}

#[test]
fn what_was_read_and_is_gone_is_stopped_though_another_source_is_still_unread() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    let incomplete = |pods: &[&Pod]| Event::Desired {
        pods: pods.iter().map(|p| (p.key.clone(), Rc::new((*p).clone()))).collect(),
        complete: false,
    };
    s.event(incomplete(&[&p]));
    s.started(&run("g1", "c", 0));
    assert_eq!(terms(&s.event(incomplete(&[]))), [run("g1", "c", 0)]);
}

#[test]
fn what_was_being_stopped_does_not_come_back_while_its_source_is_unread() {
    let mut s = Script::new();
    let saved =
        Saved { stop: Some(state::PodStop { why: StopReason::Removed, since: at(0) }), ..Saved::default() };
    let found =
        Found { opened: true, addresses: vec![], pod: Rc::new(pod("a", "g1", &["c"])), saved, runs: vec![] };
    s.world.step(Event::Found(Box::new(found)), at(0));
    let actions = s.event(Event::Desired { pods: BTreeMap::new(), complete: false });
    assert_eq!(removes(&actions), 1);
    let actions = s.event(Event::Removed { generation: Generation::new("g1"), done: true });
    assert_eq!(actions, []);
    assert!(s.world.is_empty());
}

#[test]
fn a_refused_document_does_not_stop_the_pod_that_it_was() {
    let p = pod("a", "g1", &["c"]);
    for (key, path, goes_on) in [
        (Some(p.key.clone()), "/m/other.yaml", true),
        (None, "/m/a.yaml", true),
        (None, "/m/other.yaml", false),
        (Some(pod("b", "g", &["c"]).key), "/m/a.yaml", false),
    ] {
        let mut s = Script::new();
        let runs = vec![found_run(0, Some(0), None)];
        s.event(Event::Found(Box::new(Found {
            opened: true,
            addresses: vec![],
            pod: Rc::new(p.clone()),
            saved: Saved::default(),
            runs,
        })));
        s.world.step(Event::Refused(vec![Refusal { key: key.clone(), path: path.into() }]), at(0));
        assert_eq!(terms(&s.want(&[])).is_empty(), goes_on, "{key:?} {path}");
        s.world.step(Event::Refused(vec![]), at(0));
        assert_eq!(terms(&s.want(&[])).is_empty(), !goes_on, "once it is gone the Pod is stopped");
    }
}

#[test]
fn the_time_of_readiness_is_that_of_its_last_change_and_survives_the_daemon() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    s.want(&[&p]);
    let ready = |s: &Script| s.world.slots().next().unwrap().1.life.as_ref().unwrap().ready;
    s.now = 500;
    s.started(&run("g1", "c", 0));
    assert_eq!(ready(&s), (true, at(500)));
    s.pass(1000);
    let saved = s.world.slots().next().unwrap().1.life.as_ref().unwrap().saved();
    assert_eq!(ready(&s), (true, at(500)));
    let mut next = Script::new();
    next.now = 9000;
    let runs = vec![found_run(0, Some(500), None)];
    next.event(Event::Found(Box::new(Found {
        opened: true,
        addresses: vec![],
        pod: Rc::new(p),
        saved,
        runs,
    })));
    assert_eq!(ready(&next), (true, at(500)));
}

#[test]
fn starts_that_hang_do_not_hold_up_the_others_for_ever() {
    let mut s = Script::new();
    let pods: Vec<Pod> = (0..6).map(|n| pod(&format!("p{n}"), &format!("g{n}"), &["c"])).collect();
    assert_eq!(starts(&s.want(&pods.iter().collect::<Vec<_>>())).len(), 4, "as many as are let at one time");
    assert_eq!(starts(&s.pass(9_999)), []);
    assert_eq!(s.deadline(), Some(10_000));
    assert_eq!(starts(&s.pass(1)).len(), 2);
}
