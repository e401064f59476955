//! Manifests that change, and what a new version waits for: images, ConfigMaps and Secrets.

use super::*;

#[test]
fn a_replacement_starts_the_moment_the_old_one_is_gone() {
    let mut s = Script::new();
    s.want(&[&pod("a", "g1", &["c"])]);
    s.started(&run("g1", "c", 0));
    let actions = s.want(&[&pod("a", "g2", &["c"])]);
    assert_eq!(terms(&actions), [run("g1", "c", 0)]);
    assert_eq!(starts(&actions), []);
    assert_eq!(starts(&s.ended(&run("g1", "c", 0), 0)), []);
    let actions = s.event(Event::Removed { generation: Generation::new("g1"), left: None });
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
    let actions = s.event(Event::Removed { generation: Generation::new("g1"), left: None });
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
fn a_replacement_waits_for_the_images_of_init_containers_and_volumes_too() {
    let new = Reference { given: "new".into(), full: "new".into() };
    let mut of_main = with_init(&[("i", false)], &["c"]);
    of_main.containers[0].image = new.clone();
    let mut of_volume = pod("a", "g1", &["c"]);
    let volume = Volume::Image { reference: new, pull_policy: PullPolicy::IfNotPresent };
    of_volume.volumes.insert(VolumeName::new("v"), volume);
    for next in [of_main, of_volume] {
        let mut s = Script::new();
        s.want(&[&pod("a", "g0", &["c"])]);
        s.started(&run("g0", "c", 0));
        let actions = s.want(&[&next]);
        assert!(matches!(actions.as_slice(), [Action::Pull { .. }]), "the old one lives on: {actions:?}");
        assert_eq!(s.event(Event::Pulled { reference: "new".into(), error: Some("no".into()) }), []);
        assert_eq!(s.deadline(), Some(10_000));
        assert!(matches!(s.pass(10_000).as_slice(), [Action::Pull { .. }]));
        let actions = s.event(images(&["new", "docker.io/library/img:latest"]));
        assert_eq!(terms(&actions), [run("g0", "c", 0)]);
    }
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
