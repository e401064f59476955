//! Pods that wait for others: what begins when, what is said of it, and what ends before what.

use super::*;
use crate::core::depends::Wait;

fn key(name: &str) -> PodKey {
    pod(name, name, &[]).key
}

/// A Pod of one container `c` whose generation is its name.
fn on(name: &str, dependencies: &[&str]) -> Pod {
    let depends_on = dependencies.iter().map(|d| Dependency::on(key(d))).collect();
    Pod { depends_on, ..pod(name, name, &["c"]) }
}

fn probed_pod(name: &str) -> Pod {
    let mut p = on(name, &[]);
    p.containers[0].readiness = Some(exec_probe(1, 1));
    p
}

fn waits(s: &Script, name: &str) -> Vec<Wait> {
    s.world.slot(&key(name)).and_then(|slot| slot.waiting.as_ref()).map_or(vec![], |w| w.on.clone())
}

fn lives(s: &Script, name: &str) -> bool {
    s.world.slot(&key(name)).is_some_and(|slot| slot.life.is_some())
}

fn probed(s: &mut Script, name: &str, verdict: Verdict) -> Vec<Action> {
    let (run, kind, message) = (run(name, "c", 0), ProbeKind::Readiness, String::new());
    s.event(Event::Probed { run, kind, verdict, message })
}

fn unknown(name: &str) -> Wait {
    Wait::Unknown { key: key(name), refused: None }
}

#[test]
fn a_pod_begins_at_the_moment_at_which_what_it_depends_on_is_ready() {
    let mut s = Script::new();
    let (etcd, api) = (probed_pod("etcd"), on("api", &["etcd"]));
    assert_eq!(names(&starts(&s.want(&[&etcd, &api]))), ["etcd"]);
    assert!(!lives(&s, "api"), "no directory, no namespace, no time that runs against it");
    assert_eq!(waits(&s, "api"), [Wait::On(key("etcd"))]);
    s.started(&run("etcd", "c", 0));
    assert_eq!(starts(&s.pass(5_000)), [], "it runs, and is not ready");
    assert_eq!(starts(&probed(&mut s, "etcd", Verdict::Failure)), []);
    s.pass(1_000);
    assert_eq!(names(&starts(&probed(&mut s, "etcd", Verdict::Success))), ["api"]);
    assert_eq!(waits(&s, "api"), []);
    let life = s.world.slot(&key("api")).unwrap().life.as_ref().unwrap();
    assert_eq!(life.since, at(6_000));
}

#[test]
fn what_becomes_ready_by_a_hook_that_has_slept_frees_the_others_at_once() {
    let mut s = Script::new();
    let mut etcd = on("etcd", &[]);
    etcd.containers[0].lifecycle.post_start = Some(Hook::Sleep(2));
    s.want(&[&etcd, &on("api", &["etcd"])]);
    assert_eq!(starts(&s.started(&run("etcd", "c", 0))), []);
    assert_eq!(s.deadline(), Some(2_000));
    assert_eq!(names(&starts(&s.pass(2_000))), ["api"]);
}

#[test]
fn what_happens_to_a_dependency_later_stops_nobody() {
    let mut s = Script::new();
    let (etcd, api) = (on("etcd", &[]), on("api", &["etcd"]));
    s.want(&[&etcd, &api]);
    s.started(&run("etcd", "c", 0));
    s.started(&run("api", "c", 0));
    assert_eq!(starts(&s.ended(&run("etcd", "c", 0), 1)), [run("etcd", "c", 1)]);
    assert_eq!(starts(&s.ended(&run("api", "c", 0), 1)), [run("api", "c", 1)], "a restart waits for nobody");
    s.started(&run("etcd", "c", 1));
    s.started(&run("api", "c", 1));
    let new = Pod { generation: Generation::new("new"), ..etcd };
    assert_eq!(terms(&s.want(&[&new, &api])), [run("etcd", "c", 1)]);
    assert_eq!(terms(&s.want(&[&api])), []);
    assert!(lives(&s, "api"));
}

#[test]
fn a_replacement_waits_only_if_its_dependency_is_not_ready_at_that_time() {
    for is_ready in [true, false] {
        let mut s = Script::new();
        let (etcd, api) = (probed_pod("etcd"), on("api", &["etcd"]));
        s.want(&[&etcd, &api]);
        s.started(&run("etcd", "c", 0));
        probed(&mut s, "etcd", Verdict::Success);
        s.started(&run("api", "c", 0));
        let new = Pod { generation: Generation::new("new"), ..api };
        assert_eq!(terms(&s.want(&[&etcd, &new])), [run("api", "c", 0)]);
        if !is_ready {
            s.pass(1_000);
            probed(&mut s, "etcd", Verdict::Failure);
        }
        s.ended(&run("api", "c", 0), 0);
        let begun = removed(&mut s, "api");
        assert_eq!(names(&starts(&begun)), ["new"][..usize::from(is_ready)]);
        assert_eq!(waits(&s, "api").is_empty(), is_ready);
    }
}

#[test]
fn an_edit_that_names_what_is_not_there_or_closes_a_circle_leaves_the_old_version_running() {
    let mut s = Script::new();
    let (etcd, api) = (on("etcd", &[]), on("api", &["etcd"]));
    s.want(&[&etcd, &api]);
    s.started(&run("etcd", "c", 0));
    s.started(&run("api", "c", 0));
    let misspelt = Pod { generation: Generation::new("new"), ..on("api", &["etdc"]) };
    assert_eq!(s.want(&[&etcd, &misspelt]), []);
    assert_eq!(waits(&s, "api"), [unknown("etdc")]);
    let circular = Pod { generation: Generation::new("new"), ..on("etcd", &["api"]) };
    assert_eq!(s.want(&[&circular, &api]), []);
    assert_eq!(waits(&s, "etcd"), [Wait::Cycle(vec![key("etcd"), key("api")])]);
    assert_eq!(waits(&s, "api"), []);
    // Mended: only what has changed is replaced.
    assert_eq!(s.want(&[&etcd, &api]), []);
    assert_eq!(waits(&s, "etcd"), []);
    let mended = Pod { generation: Generation::new("new"), ..on("api", &["etcd"]) };
    assert_eq!(terms(&s.want(&[&etcd, &mended])), [run("api", "c", 0)]);
}

#[test]
fn a_name_that_nothing_has_is_waited_for_and_a_refused_manifest_is_told() {
    let mut s = Script::new();
    let api = on("api", &["etcd", "net"]);
    s.want(&[&api]);
    assert_eq!(waits(&s, "api"), [unknown("etcd"), unknown("net")]);
    let refusal = Refusal { key: Some(key("net")), path: "/m/net.yaml".into() };
    s.event(Event::Refused(vec![refusal]));
    let refused = Wait::Unknown { key: key("net"), refused: Some("/m/net.yaml".into()) };
    assert_eq!(waits(&s, "api"), [unknown("etcd"), refused]);
    let (etcd, net) = (on("etcd", &[]), on("net", &[]));
    assert_eq!(names(&starts(&s.want(&[&etcd, &net, &api]))), ["etcd", "net"]);
    s.started(&run("etcd", "c", 0));
    assert_eq!(waits(&s, "api"), [Wait::On(key("net"))]);
    // It goes while it is waited for.
    s.event(Event::Refused(vec![]));
    s.want(&[&etcd, &api]);
    s.event(Event::Ended {
        run: run("net", "c", 0),
        ending: Ending::Exited { code: 0 },
        at: at(0),
        message: None,
    });
    s.event(Event::Cleared { run: run("net", "c", 0) });
    removed(&mut s, "net");
    assert_eq!(waits(&s, "api"), [unknown("net")]);
    assert_eq!(s.deadline(), None, "nothing is polled for");
}

#[test]
fn a_circle_waits_and_whoever_depends_on_it_too() {
    let mut s = Script::new();
    let pods = [on("a", &["b"]), on("b", &["c"]), on("c", &["a"]), on("d", &["a"])];
    assert_eq!(s.want(&pods.iter().collect::<Vec<_>>()), []);
    assert_eq!(waits(&s, "b"), [Wait::Cycle(["b", "c", "a"].map(key).into())]);
    assert_eq!(waits(&s, "d"), [Wait::On(key("a"))]);
    let c = Pod { generation: Generation::new("open"), ..on("c", &[]) };
    assert_eq!(names(&starts(&s.want(&[&pods[0], &pods[1], &c, &pods[3]]))), ["open"]);
    assert_eq!(names(&starts(&s.started(&run("open", "c", 0)))), ["b"]);
    assert!(s.event(Event::Drain).iter().all(|a| !matches!(a, Action::Open { .. })));
    assert_eq!(waits(&s, "d"), []);
}

#[test]
fn what_has_done_its_work_counts_as_ready_and_what_has_failed_does_not() {
    for (code, begun) in [(0, &["api"][..]), (1, &[])] {
        let mut s = Script::new();
        let job = Pod { restart_policy: RestartPolicy::Never, ..probed_pod("job") };
        s.want(&[&job, &on("api", &["job"])]);
        s.started(&run("job", "c", 0));
        assert_eq!(names(&starts(&s.ended(&run("job", "c", 0), code))), begun);
        assert_eq!(waits(&s, "api").is_empty(), code == 0);
    }
}

#[test]
fn what_was_found_running_waits_for_nobody_and_a_pod_that_waits_can_be_held() {
    let (etcd, api) = (probed_pod("etcd"), on("api", &["etcd"]));
    let mut s = Script::new();
    let saved = Saved { opened: true, since: Some(at(0)), initialized: true, ..Saved::default() };
    let mut living = found_run(0, Some(5), None);
    living.run = run("api", "c", 0);
    let found =
        Found { opened: true, addresses: vec![], pod: Rc::new(api.clone()), saved, runs: vec![living] };
    s.event(Event::Found(Box::new(found)));
    assert_eq!(names(&starts(&s.want(&[&etcd, &api]))), ["etcd"]);
    assert_eq!(waits(&s, "api"), []);
    assert_eq!(starts(&s.ended(&run("api", "c", 0), 1)), [run("api", "c", 1)]);

    let mut s = Script::new();
    s.want(&[&etcd, &api]);
    assert_eq!(s.event(Event::Hold { pods: BTreeSet::from([api.key.clone()]) }), []);
    assert_eq!(waits(&s, "api"), []);
    s.started(&run("etcd", "c", 0));
    assert_eq!(starts(&probed(&mut s, "etcd", Verdict::Success)), [], "it is held");
}

#[test]
fn time_does_not_run_against_a_pod_that_waits() {
    let mut s = Script::new();
    let api = Pod { active_deadline_seconds: Some(5), ..on("api", &["etcd"]) };
    s.want(&[&api]);
    assert_eq!(s.pass(60_000), []);
    s.want(&[&on("etcd", &[]), &api]);
    s.started(&run("etcd", "c", 0));
    assert_eq!(stop_of_pod(&s, "api"), None);
    assert_eq!(s.deadline(), Some(65_000));
}

fn stop_of_pod(s: &Script, name: &str) -> Option<StopReason> {
    s.world.slot(&key(name)).unwrap().life.as_ref().unwrap().stop.map(|stop| stop.why)
}

/// Starts Pods that are listed with each one's dependencies before it.
fn all_running(pods: &[&Pod]) -> Script {
    let mut s = running_pods(&pods[..1]);
    s.world.settings.parallel_starts = pods.len();
    for n in 1..pods.len() {
        s.want(&pods[..=n]);
        s.started(&run(pods[n].generation.as_str(), "c", 0));
    }
    s
}

#[test]
fn a_full_stop_ends_each_pod_when_all_that_depend_on_it_are_gone() {
    let pods = [on("base", &[]), on("mid", &["base"]), on("top", &["mid"]), on("other", &[])];
    let mut s = all_running(&pods.iter().collect::<Vec<_>>());
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["other", "top"], "nothing depends on these");
    assert_eq!(names(&terms(&s.ended(&run("top", "c", 0), 0))), ["mid"], "other runs still, and matters not");
    assert_eq!(names(&terms(&s.ended(&run("mid", "c", 0), 0))), ["base"]);

    // One in the middle that does not live any more is still in the way.
    let mut s = all_running(&pods.iter().collect::<Vec<_>>());
    s.event(Event::Hold { pods: BTreeSet::from([key("mid")]) });
    s.ended(&run("mid", "c", 0), 0);
    removed(&mut s, "mid");
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["other", "top"]);
    assert_eq!(names(&terms(&s.ended(&run("top", "c", 0), 0))), ["base"]);
}

#[test]
fn a_dependency_comes_before_priority_in_a_full_stop() {
    let net = Pod { priority: Some(-5), ..on("net", &[]) };
    let etcd = Pod { depends_on: vec![Dependency::on(key("net"))], ..critical("etcd") };
    let web = on("web", &[]);
    let mut s = all_running(&[&net, &etcd, &web]);
    let mut order = Vec::new();
    let mut actions = s.event(Event::Drain);
    while let [stopped] = terms(&actions).as_slice() {
        order.push(stopped.generation.to_string());
        actions = s.ended(stopped, 0);
    }
    assert_eq!(order, ["web", "etcd", "net"]);
}

#[test]
fn a_dependant_that_kill_does_not_end_holds_up_the_full_stop_for_half_a_minute() {
    let mut s = all_running(&[&on("etcd", &[]), &on("api", &["etcd"])]);
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["api"]);
    assert_eq!(names(&kills(&s.pass(30_000))), ["api"]);
    s.pass(29_900);
    assert_eq!(s.deadline(), Some(60_000));
    assert_eq!(names(&terms(&s.pass(100))), ["etcd"]);
}

#[test]
fn pods_that_run_in_a_circle_are_stopped_by_priority() {
    let mut s = Script::new();
    for (name, other, priority) in [("a", "b", 1), ("b", "a", 0)] {
        let p = Pod { priority: Some(priority), ..on(name, &[other]) };
        let saved = Saved { opened: true, initialized: true, ..Saved::default() };
        let living = FoundRun { run: run(name, "c", 0), ..found_run(0, Some(5), None) };
        let found = Found { opened: true, addresses: vec![], pod: Rc::new(p), saved, runs: vec![living] };
        s.event(Event::Found(Box::new(found)));
    }
    assert_eq!(names(&terms(&s.event(Event::Drain))), ["b"]);
    assert_eq!(names(&terms(&s.ended(&run("b", "c", 0), 0))), ["a"]);
}

#[test]
fn pods_that_are_named_to_be_stopped_end_before_what_they_depend_on() {
    let pods = [on("base", &[]), on("mid", &["base"]), on("top", &["mid"]), on("other", &[])];
    let mut s = all_running(&pods.iter().collect::<Vec<_>>());
    let held = BTreeSet::from(["base", "top", "other"].map(key));
    assert_eq!(names(&terms(&s.event(Event::Hold { pods: held }))), ["other", "top"]);
    assert_eq!(names(&terms(&s.ended(&run("top", "c", 0), 0))), ["base"], "mid was not asked to end");
    assert_eq!(stop_of_pod(&s, "mid"), None);

    let mut s = all_running(&[&pods[0], &pods[1]]);
    s.event(Event::Hold { pods: BTreeSet::from(["base", "mid"].map(key)) });
    s.pass(30_000);
    s.pass(29_900);
    assert_eq!(s.deadline(), Some(60_000));
    assert_eq!(names(&terms(&s.pass(100))), ["base"], "mid cannot be killed");
}

#[test]
fn what_waits_is_published_anew_when_what_it_waits_for_changes() {
    let mut s = Script::new();
    s.want(&[&on("etcd", &[]), &on("api", &["etcd"]), &on("other", &[])]);
    s.world.take_dirty();
    let (run, message) = (run("etcd", "c", 0), "no disk".to_owned());
    let ending = Ending::NotCreated { reason: "CreateContainerError".into(), message };
    s.event(Event::Ended { run, ending, at: at(0), message: None });
    assert_eq!(s.world.take_dirty(), BTreeSet::from(["api", "etcd"].map(key)));
}

#[test]
fn what_is_to_be_stopped_and_runs_not_holds_up_nobody() {
    let (base, mut top) = (on("base", &[]), on("top", &["base"]));
    top.containers[0].image = Reference { given: "missing".into(), full: "missing".into() };
    let mut s = running_pods(&[&base]);
    s.want(&[&base, &top]);
    let actions = s.event(Event::Hold { pods: BTreeSet::from(["base", "top"].map(key)) });
    assert_eq!((names(&terms(&actions)), removes(&actions)), (vec!["base"], 1));
}
