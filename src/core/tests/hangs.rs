//! Starts that hang and runs that cannot be cleared away: nobody waits for ever, and nobody is left in the dark.

use super::*;
use crate::core::container::{Phase, Stuck};

fn lost(s: &mut Script, r: &RunKey) -> Vec<Action> {
    let now = at(s.now);
    let mut actions = s.event(Event::Ended { run: r.clone(), ending: Ending::Lost, at: now, message: None });
    actions.extend(s.event(Event::Cleared { run: r.clone() }));
    actions
}

#[test]
fn a_start_that_hangs_is_given_up_and_tried_again_under_its_number() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    assert_eq!(s.pass(299_999), []);
    assert_eq!(s.deadline(), Some(300_000));
    let pod = Rc::new(p);
    let give_up = |run: &RunKey| Action::GiveUp { pod: pod.clone(), run: run.clone() };
    assert_eq!(s.pass(1), [give_up(&r)]);
    assert_eq!(s.deadline(), None, "its monitor is being killed; that may take its time");
    assert_eq!(s.pass(100_000), [], "once is enough");
    assert_eq!(s.event(Event::MonitorLost { run: r.clone() }), [Action::Sweep { run: r.clone() }]);
    // It never ran: no restart is counted, and the reason is told.
    assert_eq!(starts(&lost(&mut s, &r)), std::slice::from_ref(&r), "at once, the first time");
    let last = state_of(&s).last.as_ref().unwrap();
    assert_eq!(last.ending.reason(), "CreateContainerError");
    assert_eq!(last.ending.message(), Some(GIVEN_UP));
    assert_eq!(state_of(&s).restart_count(), 0);
    // Then with back-off, like everything that cannot be made.
    assert_eq!(s.pass(300_000), [give_up(&r)]);
    s.event(Event::MonitorLost { run: r.clone() });
    assert_eq!(starts(&lost(&mut s, &r)), []);
    assert_eq!(s.deadline(), Some(s.now + 1_000));
    assert_eq!(starts(&s.pass(1_000)), std::slice::from_ref(&r));
    // It begins after all.
    s.started(&r);
    assert_eq!(s.pass(400_000), []);
}

#[test]
fn what_began_in_the_last_moment_is_believed() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    let r = run("g1", "c", 0);
    assert_eq!(s.pass(300_000).len(), 1);
    s.started(&r);
    s.event(Event::MonitorLost { run: r.clone() });
    assert_eq!(starts(&lost(&mut s, &r)), [run("g1", "c", 1)], "it ran, and that is a restart");
    assert_eq!(s.pass(300_000).len(), 1);
    let next = run("g1", "c", 1);
    s.ended(&next, 3);
    assert_eq!(state_of(&s).last.as_ref().unwrap().ending, Ending::Exited { code: 3 });
}

#[test]
fn in_a_stop_a_start_that_hangs_has_the_grace_period_and_no_more() {
    for (grace_seconds, began_before, given_up_after) in [(30, 0, 30_000), (1, 0, 10_000), (1, 20_000, 1_000)]
    {
        let mut s = Script::new();
        s.want(&[&Pod { grace_seconds, ..pod("a", "g1", &["c"]) }]);
        s.pass(began_before);
        s.want(&[]);
        assert_eq!(s.pass(given_up_after - 1), []);
        assert_eq!(s.deadline(), Some(s.now + 1));
        let r = run("g1", "c", 0);
        assert!(matches!(s.pass(1).as_slice(), [Action::GiveUp { run, .. }] if *run == r));
        s.event(Event::MonitorLost { run: r.clone() });
        assert_eq!(removes(&lost(&mut s, &r)), 1);
    }
}

#[test]
fn a_later_daemon_gives_up_a_start_too() {
    let p = pod("a", "g1", &["c"]);
    let began = vec![found_run(0, None, None)];
    let mut s = find(&Script::new(), &[(&p, Saved { opened: true, ..Saved::default() }, began)]);
    s.want(&[&p]);
    assert_eq!(s.pass(299_999), []);
    assert!(matches!(s.pass(1).as_slice(), [Action::GiveUp { .. }]));
    assert!(matches!(state_of(&s).phase, Phase::Starting { overdue: true, .. }));
}

#[test]
fn a_run_that_cannot_be_cleared_away_is_known_and_tried_less_and_less_often() {
    let mut s = Script::new();
    let p = pod("a", "g1", &["c"]);
    s.want(&[&p]);
    let r = run("g1", "c", 0);
    s.started(&r);
    s.event(Event::MonitorLost { run: r.clone() });
    let mut waits = Vec::new();
    for times in 1..=9 {
        s.event(Event::SweepFailed { run: r.clone(), error: Some("busy".into()) });
        assert_eq!(s.world.failed_sweeps(&r), times);
        let next = s.deadline().unwrap();
        waits.push(next - s.now);
        let by = next - s.now;
        assert_eq!(s.pass(by), [Action::Sweep { run: r.clone() }]);
    }
    assert_eq!(waits, [2_000, 2_000, 2_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
    let stuck = Stuck { times: 9, error: "busy".into() };
    assert_eq!(state_of(&s).stuck.get(&0), Some(&stuck));
    // That the runtime does not answer is another matter.
    s.event(Event::SweepFailed { run: r.clone(), error: None });
    assert_eq!((s.world.failed_sweeps(&r), s.deadline()), (9, Some(s.now + 2_000)));
    // Three such runs keep a container from being started again: that is said of it.
    assert_eq!(state_of(&s).kept_by(), None);
    s.want(&[]);
    s.event(Event::Cleared { run: r.clone() });
    assert_eq!(s.world.failed_sweeps(&r), 0);
}

#[test]
fn what_keeps_a_container_from_being_started_again_is_told_of_it() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    let r = run("g1", "c", 0);
    let (reason, message, now) = (String::from("CreateContainerError"), String::from("no"), at(0));
    let ending = Ending::NotCreated { reason, message };
    s.event(Event::Ended { run: r.clone(), ending, at: now, message: None });
    s.event(Event::MonitorLost { run: r.clone() });
    s.event(Event::SweepFailed { run: r.clone(), error: Some("busy".into()) });
    assert_eq!(state_of(&s).kept_by().map(|stuck| stuck.times), Some(1), "it would have the same number");
    let actions = s.event(Event::Cleared { run: r.clone() });
    assert_eq!((state_of(&s).kept_by(), starts(&actions)), (None, vec![r]));
}

#[test]
fn what_cannot_be_removed_is_known() {
    let mut s = running_pods(&[&pod("a", "a", &["c"])]);
    s.want(&[]);
    assert_eq!(removes(&s.ended(&run("a", "c", 0), 0)), 1);
    let generation = Generation::new("a");
    for times in 1..=3 {
        let left = Some("busy".to_owned());
        s.event(Event::Removed { generation: generation.clone(), left });
        assert_eq!(s.world.failed_removals(&generation), times);
        assert_eq!(removes(&s.pass(2_000)), 1);
    }
    s.event(Event::Removed { generation, left: None });
    assert!(s.world.is_empty());
}
