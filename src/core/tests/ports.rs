//! One port of the host for two Pods: the first one has it, the second waits, and nobody is stopped for it.

use super::*;
use crate::core::depends::Wait;
use crate::pod::host_ports::HostPort;

/// A Pod of the host's network whose one container declares these ports.
fn with(name: &str, generation: &str, ports: &[u16]) -> Pod {
    let mut p = Pod { host_network: true, ..pod(name, generation, &["c"]) };
    p.containers[0].ports = ports.iter().map(|port| port_of(*port, None)).collect();
    p
}

fn port_of(port: u16, ip: Option<&str>) -> Port {
    let (protocol, host_ip) = ("TCP".to_owned(), ip.map(str::to_owned));
    Port { name: None, container_port: port, host_port: Some(port), protocol, host_ip }
}

fn key(name: &str) -> PodKey {
    pod(name, name, &[]).key
}

fn taken(port: u16, holder: &str) -> Wait {
    let port = HostPort { port, protocol: "TCP".into(), address: None };
    Wait::HostPort { port, holder: key(holder) }
}

fn waits(s: &Script, name: &str) -> Vec<Wait> {
    s.world.slot(&key(name)).and_then(|slot| slot.waiting.as_ref()).map_or(vec![], |w| w.on.clone())
}

/// Started as this generation, and running.
fn runs(s: &mut Script, generation: &str) {
    s.started(&run(generation, "c", 0));
}

/// It ends, and is removed; gives what follows from both.
fn goes(s: &mut Script, generation: &str) -> Vec<Action> {
    let mut actions = s.ended(&run(generation, "c", 0), 0);
    actions.extend(removed(s, generation));
    actions
}

#[test]
fn the_second_waits_and_begins_when_the_first_has_gone() {
    let mut s = Script::new();
    let (a, b) = (with("a", "a1", &[80, 443]), with("b", "b1", &[443]));
    assert_eq!(names(&starts(&s.want(&[&b]))), ["b1"]);
    runs(&mut s, "b1");
    assert_eq!(s.want(&[&a, &b]), [], "first come, first served, whatever the names are");
    assert_eq!(waits(&s, "a"), [taken(443, "b")]);
    assert!(s.world.slot(&key("a")).unwrap().life.is_none(), "no directory, no namespace");
    assert_eq!(s.deadline(), None, "nothing is tried again and again");
    assert_eq!(terms(&s.want(&[&a])), [run("b1", "c", 0)]);
    assert_eq!(waits(&s, "a"), [taken(443, "b")], "as long as anything of it is there");
    assert_eq!(names(&starts(&s.ended(&run("b1", "c", 0), 0))), Vec::<&str>::new());
    assert_eq!(names(&starts(&removed(&mut s, "b1"))), ["a1"]);
    assert_eq!(waits(&s, "a"), []);
}

#[test]
fn of_two_that_come_together_the_first_by_name_has_it() {
    let mut s = Script::new();
    let (a, b, c) = (with("a", "a1", &[80]), with("b", "b1", &[80]), with("c", "c1", &[81]));
    assert_eq!(names(&starts(&s.want(&[&c, &b, &a]))), ["a1", "c1"]);
    assert_eq!(waits(&s, "b"), [taken(80, "a")]);
}

#[test]
fn a_pod_is_no_obstacle_to_its_own_next_version() {
    let mut s = Script::new();
    let (old, new) = (with("b", "b1", &[80]), with("b", "b2", &[80, 81]));
    s.want(&[&old]);
    runs(&mut s, "b1");
    // Others want the port it has, and the one that it is to have; one has the better name.
    let (a, c) = (with("a", "a1", &[80]), with("c", "c1", &[81]));
    assert_eq!(terms(&s.want(&[&a, &new, &c])), [run("b1", "c", 0)]);
    assert_eq!((waits(&s, "a"), waits(&s, "b")), (vec![taken(80, "b")], vec![]));
    assert_eq!(waits(&s, "c"), [taken(81, "b")], "it was there first, and is only being replaced");
    assert_eq!(names(&starts(&goes(&mut s, "b1"))), ["b2"]);
    assert_eq!(waits(&s, "a"), [taken(80, "b")]);
}

#[test]
fn a_manifest_that_goes_and_comes_back_during_the_stop_keeps_its_port() {
    let mut s = Script::new();
    let (a, b) = (with("a", "a1", &[80]), with("b", "b1", &[80]));
    s.want(&[&b]);
    runs(&mut s, "b1");
    s.want(&[&a]);
    s.want(&[&a, &b]);
    assert_eq!(names(&starts(&goes(&mut s, "b1"))), ["b1"]);
    // But one that is held has let it go.
    runs(&mut s, "b1");
    s.event(Event::Hold { pods: BTreeSet::from([key("b")]) });
    let b1 = run("b1", "c", 0);
    s.ended(&b1, 0);
    assert_eq!(names(&starts(&removed(&mut s, "b1"))), ["a1"]);
}

#[test]
fn what_runs_is_not_stopped_for_a_version_whose_port_another_has() {
    let mut s = Script::new();
    let (a, b) = (with("a", "a1", &[80]), with("b", "b1", &[81]));
    s.want(&[&a, &b]);
    runs(&mut s, "a1");
    runs(&mut s, "b1");
    let new = with("b", "b2", &[80]);
    assert_eq!(s.want(&[&a, &new]), [], "the old one goes on");
    assert_eq!(waits(&s, "b"), [taken(80, "a")]);
    // A restart of the daemon changes nothing about that.
    let saved = |s: &Script, n: usize| saved_of(&s.world).remove(n).1;
    let of = |generation: &str| FoundRun { run: run(generation, "c", 0), ..found_run(0, Some(0), None) };
    let found = [(&a, saved(&s, 0), vec![of("a1")]), (&b, saved(&s, 1), vec![of("b1")])];
    let mut s = find(&s, &found);
    assert_eq!(s.want(&[&a, &new]), []);
    // The port is free: now it is replaced.
    s.want(&[&new]);
    assert_eq!(terms(&goes(&mut s, "a1")), [run("b1", "c", 0)]);
    assert_eq!(names(&starts(&goes(&mut s, "b1"))), ["b2"]);
}

#[test]
fn two_new_versions_do_not_both_end_for_one_port() {
    let mut s = Script::new();
    let (a, b) = (with("a", "a1", &[80]), with("b", "b1", &[81]));
    s.want(&[&a, &b]);
    runs(&mut s, "a1");
    runs(&mut s, "b1");
    let (a, b) = (with("a", "a2", &[90]), with("b", "b2", &[90]));
    assert_eq!(terms(&s.want(&[&a, &b])), [run("a1", "c", 0)]);
    assert_eq!(waits(&s, "b"), [taken(90, "a")]);
    assert_eq!(names(&starts(&goes(&mut s, "a1"))), ["a2"]);
    runs(&mut s, "a2");
    assert_eq!(waits(&s, "b"), [taken(90, "a")]);
}

#[test]
fn two_that_an_earlier_version_let_run_beside_each_other_go_on() {
    let (a, b) = (with("a", "a1", &[80]), with("b", "b1", &[80]));
    let saved = Saved { opened: true, ..Saved::default() };
    let of =
        |generation: &str| vec![FoundRun { run: run(generation, "c", 0), ..found_run(0, Some(0), None) }];
    let found = [(&a, saved.clone(), of("a1")), (&b, saved, of("b1"))];
    let mut s = find(&Script::new(), &found);
    assert_eq!(s.want(&[&a, &b]), []);
    // A restart of a container is no new beginning.
    assert_eq!(starts(&s.ended(&run("b1", "c", 0), 1)), [run("b1", "c", 1)]);
    assert_eq!(
        s.want(&[&a, &with("b", "b2", &[80])]),
        [],
        "but a new version waits, and the old one goes on"
    );
    assert_eq!(waits(&s, "b"), [taken(80, "a")]);
}

#[test]
fn addresses_and_protocols_tell_ports_apart_and_init_containers_have_none() {
    let mut s = Script::new();
    let mut a = with("a", "a1", &[]);
    a.containers[0].ports = vec![port_of(80, Some("127.0.0.1"))];
    let mut b = with("b", "b1", &[]);
    b.containers[0].ports = vec![port_of(80, Some("127.0.0.2"))];
    let mut c = with("c", "c1", &[]);
    c.containers[0].ports = vec![Port { protocol: "UDP".into(), ..port_of(80, None) }];
    let mut d = with("d", "d1", &[]);
    d.init_containers = vec![container("i")];
    d.init_containers[0].ports = vec![port_of(80, None)];
    let actions = s.want(&[&a, &b, &c, &d]);
    assert_eq!(names(&starts(&actions)), ["a1", "b1", "c1", "d1"]);
    let mut e = with("e", "e1", &[]);
    e.init_containers = vec![Container { sidecar: true, ports: vec![port_of(80, None)], ..container("s") }];
    s.want(&[&a, &b, &c, &d, &e]);
    assert_eq!(waits(&s, "e").len(), 1, "a sidecar runs on");
}

#[test]
fn a_pod_that_has_ended_for_good_gives_its_ports_back() {
    for (host_network, begins) in [(true, vec!["b1"]), (false, vec![])] {
        let mut s = Script::new();
        let a = Pod { restart_policy: RestartPolicy::Never, host_network, ..with("a", "a1", &[80]) };
        let b = with("b", "b1", &[80]);
        s.want(&[&a, &b]);
        runs(&mut s, "a1");
        // A network of its own has the port as long as it lasts: until the Pod is removed.
        assert_eq!(names(&starts(&s.ended(&run("a1", "c", 0), 0))), begins, "{host_network}");
    }
}

#[test]
fn one_that_waits_for_another_pod_takes_no_port_meanwhile() {
    let mut s = Script::new();
    let a = Pod { depends_on: vec![Dependency::on(key("z"))], ..with("a", "a1", &[80]) };
    let b = with("b", "b1", &[80]);
    assert_eq!(names(&starts(&s.want(&[&a, &b]))), ["b1"]);
    assert_eq!(waits(&s, "a").len(), 2, "both things that it waits for are told");
}
