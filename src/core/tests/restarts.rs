//! When containers are started again, and what keeps them from it.

use super::*;

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
fn a_lost_monitor_is_swept_and_its_container_started_again() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    let r = run("g1", "c", 0);
    s.started(&r);
    let actions = s.event(Event::MonitorLost { run: r.clone() });
    assert_eq!(actions, [Action::Sweep { run: r.clone() }]);
    assert_eq!(s.event(Event::SweepFailed { run: r.clone(), error: Some("busy".into()) }), []);
    assert_eq!(s.pass(2000), [Action::Sweep { run: r.clone() }]);
    let now = at(s.now);
    let actions = s.event(Event::Ended { run: r.clone(), ending: Ending::Lost, at: now, message: None });
    assert_eq!(starts(&actions), [run("g1", "c", 1)]);
}

#[test]
fn a_run_that_never_began_is_cleared_away_again_until_it_works() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    let r = run("g1", "c", 0);
    assert_eq!(s.event(Event::MonitorLost { run: r.clone() }), [Action::Sweep { run: r.clone() }]);
    for _ in 0..3 {
        assert_eq!(s.event(Event::SweepFailed { run: r.clone(), error: Some("busy".into()) }), []);
        assert_eq!(s.pass(2_000), [Action::Sweep { run: r.clone() }]);
    }
    let (ending, now) = (Ending::Lost, at(s.now));
    assert_eq!(
        starts(&s.event(Event::Ended { run: r, ending, at: now, message: None })),
        [run("g1", "c", 1)]
    );
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
fn starts_that_hang_do_not_hold_up_the_others_for_ever() {
    let mut s = Script::new();
    let pods: Vec<Pod> = (0..6).map(|n| pod(&format!("p{n}"), &format!("g{n}"), &["c"])).collect();
    assert_eq!(starts(&s.want(&pods.iter().collect::<Vec<_>>())).len(), 4, "as many as are let at one time");
    assert_eq!(starts(&s.pass(9_999)), []);
    assert_eq!(s.deadline(), Some(10_000));
    assert_eq!(starts(&s.pass(1)).len(), 2);
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
fn a_sandbox_that_cannot_be_made_is_tried_again() {
    let mut world = World::new(settings(4));
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
