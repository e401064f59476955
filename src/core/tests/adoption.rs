//! What a later daemon makes of what it finds, and of sources that are unread or refused.

use super::*;

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
        Saved { stop: Some(life::PodStop { why: StopReason::Removed, since: at(0) }), ..Saved::default() };
    let found =
        Found { opened: true, addresses: vec![], pod: Rc::new(pod("a", "g1", &["c"])), saved, runs: vec![] };
    s.world.step(Event::Found(Box::new(found)), at(0));
    let actions = s.event(Event::Desired { pods: BTreeMap::new(), complete: false });
    assert_eq!(removes(&actions), 1);
    let actions = s.event(Event::Removed { generation: Generation::new("g1"), left: None });
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

/// A daemon that was killed after it had started the next run and before it had saved the end of the former one.
#[test]
fn an_end_that_was_not_saved_is_taken_in_though_the_next_run_goes_on() {
    let mut p = pod("a", "g1", &["c"]);
    p.containers[0].readiness = Some(exec_probe(10, 1));
    let stop = run::Stopping {
        since: at(40),
        pre_stop: run::HookState::Pending,
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
    s.event(Event::Removed { generation: p.generation, left: None });
    assert!(s.world.is_empty());
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

#[test]
fn what_probes_have_failed_counts_across_daemons() {
    for (kind, restarted) in
        [(ProbeKind::Liveness, true), (ProbeKind::Startup, true), (ProbeKind::Readiness, false)]
    {
        let mut p = pod("a", "g1", &["c"]);
        let rule = Some(exec_probe(10, 3));
        match kind {
            ProbeKind::Liveness => p.containers[0].liveness = rule,
            ProbeKind::Startup => p.containers[0].startup = rule,
            ProbeKind::Readiness => p.containers[0].readiness = rule,
        }
        let r = run("g1", "c", 0);
        let failed =
            || Event::Probed { run: r.clone(), kind, verdict: Verdict::Failure, message: String::new() };
        let mut s = Script::new();
        s.want(&[&p]);
        s.started(&r);
        let mut actions = s.event(failed());
        for _ in 0..2 {
            assert!(terms(&actions).is_empty(), "{kind:?}");
            // Another daemon takes over five seconds later, and does not know when the last try was.
            let saved = s.world.slots().next().unwrap().1.life.as_ref().unwrap().saved();
            let now = s.now + 5_000;
            s = find(&s, &[(&p, saved, vec![found_run(0, Some(0), None)])]);
            s.now = now;
            s.want(&[&p]);
            let due = s.deadline().unwrap();
            assert!(due > now, "{kind:?}: no sooner than a whole period after that");
            assert!(matches!(s.pass(due - s.now).as_slice(), [Action::Probe { .. }]), "{kind:?}");
            actions = s.event(failed());
        }
        assert_eq!(!terms(&actions).is_empty(), restarted, "{kind:?}: the third in a row");
    }
}
