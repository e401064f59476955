//! What a later daemon makes of the runs that it finds where the saved state is lost, or too old.

use super::*;

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
    assert_eq!(terms(&s.want(&[])), std::slice::from_ref(&run));
    s.now = 29_000;
    let mut s = find(&s, &[(&p, saved_of(&s.world).remove(0).1, living())]);
    assert_eq!(terms(&s.want(&[])), [], "it has been told");
    assert_eq!(kills(&s.pass(1_000)), [run], "and has what is left of its grace");
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
    // An earlier try of the first one may not be cleared away yet.
    let failed = found_run(0, Some(0), Some((Ending::Lost, 0)));
    let failed = FoundRun { run: run("g1", "i", 0), ..failed };
    for runs in [vec![living.clone()], vec![failed, living]] {
        let mut s = find(&Script::new(), &[(&p, Saved { opened: true, ..Saved::default() }, runs)]);
        assert_eq!(starts(&s.want(&[&p])), []);
        assert_eq!(starts(&s.ended(&run("g1", "j", 1), 0)), [run("g1", "c", 0)]);
    }
}
