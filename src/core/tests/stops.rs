//! Stops: of one Pod, of those that are named, of all.

use super::*;

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
    s.event(Event::Removed { generation: Generation::new("g1"), left: None });
    assert!(s.world.is_empty());
    assert_eq!(s.world.slots().count(), 0);
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
fn a_pod_is_removed_though_its_sandbox_is_still_being_made() {
    let mut world = World::new(settings(4));
    let p = Rc::new(pod("a", "g1", &["c"]));
    world.step(Event::Desired { pods: BTreeMap::from([(p.key.clone(), p.clone())]), complete: true }, at(0));
    assert_eq!(world.plan(at(0)), [Action::Open { pod: p.clone() }]);
    world.step(Event::Desired { pods: BTreeMap::new(), complete: true }, at(10));
    assert_eq!(world.plan(at(10)), [Action::Remove { pod: p.clone() }]);
    // The helper's end is told after that, whatever it was.
    let failed = Event::OpenFailed { generation: p.generation.clone(), message: "killed".into() };
    world.step(failed, at(20));
    assert_eq!(world.plan(at(20)), []);
    world.step(Event::Removed { generation: p.generation.clone(), left: None }, at(30));
    assert_eq!(world.plan(at(30)), []);
    assert!(world.is_empty());
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
    s.event(Event::Removed { generation: Generation::new("g1"), left: None });
    assert_eq!(s.want(&[&p]), []);
    assert_eq!(starts(&s.want(&[&pod("a", "g2", &["c"])])), [run("g2", "c", 0)]);
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
