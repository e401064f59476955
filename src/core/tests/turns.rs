//! The order of the containers of one Pod: init containers, sidecars, hooks.

use super::*;

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
