//! What probes find, and what follows from it.

use super::*;

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

/// `docker restart`: the same run, and a program that has just begun.
#[test]
fn a_run_that_was_started_anew_is_probed_as_one_that_has_just_begun() {
    let mut s = Script::new();
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].startup = Some(exec_probe(5, 30));
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    let begun = s.now;
    s.started(&r);
    s.event(Event::Probed {
        run: r.clone(),
        kind: ProbeKind::Startup,
        verdict: Verdict::Success,
        message: String::new(),
    });
    let state = |s: &Script| {
        let (_, slot) = s.world.slots().next().unwrap();
        let state = &slot.life.as_ref().unwrap().containers[0];
        let container::Phase::Running(run) = &state.phase else { panic!("{:?}", state.phase) };
        (run.at.boot, state.is_started())
    };
    assert_eq!(state(&s), (Time(begun), true));
    s.pass(60_000);
    let actions = s.started(&r);
    assert!(matches!(actions.as_slice(), [Action::Probe { kind: ProbeKind::Startup, .. }]), "{actions:?}");
    assert_eq!(state(&s), (Time(begun + 60_000), false));
    // What is told twice changes nothing.
    s.event(Event::Probed {
        run: r.clone(),
        kind: ProbeKind::Startup,
        verdict: Verdict::Success,
        message: String::new(),
    });
    assert_eq!(s.started(&r), []);
    assert!(state(&s).1);
}
