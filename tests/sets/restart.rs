//! `podstrap restart`: an orderly replacement by hand.

use super::{INDEX, MOUNTS, noting, set, set_status, wait_ready};
use crate::common::yaml::{canary, one};
use crate::common::{assert_exit, instance, text};

#[test]
fn a_plain_pod_ends_well_and_begins_anew() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("a.yaml", &one(&i, "a", &canary("a"), &[]));
    i.start();
    i.until_ready("a");
    let generation = i.pod("a").unwrap().generation;
    for n in 1..=2 {
        assert_eq!(i.cli_ok("restart", &["a"]), "default/a-node1: is started anew\n");
        assert_exit(&i.wait(&["--timeout", "60s", "a"]), 0);
        let words: Vec<String> =
            i.lines("a").iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(words, ["start", "term", "start", "term", "start"][..1 + 2 * n]);
    }
    assert_eq!(i.pod("a").unwrap().generation, generation);
    assert!(std::fs::read_dir(i.run.join("requests")).unwrap().next().is_none());
    let output = i.cli("restart", &["b"]);
    assert_exit(&output, 1);
    assert!(text(&output.stderr).contains("default/a-node1"), "{}", text(&output.stderr));
    // A Pod that is held stays so.
    assert_exit(&i.cli("down", &["a"]), 0);
    i.cli_ok("restart", &["a"]);
    assert_eq!(i.lines("a").len(), 6);
    i.kill9();
    assert_exit(&i.cli("restart", &["a"]), 6);
}

#[test]
fn a_set_replaces_all_of_its_pods_in_order_and_remembers_it() {
    let Some(mut i) = instance() else { return };
    let file = set(&i, "StatefulSet", "web", &["replicas: 2"], &noting("a"), &[MOUNTS, INDEX]);
    i.write_manifest("web.yaml", &file);
    i.start();
    wait_ready(&i, "statefulset/web");
    let before = set_status(&i, "web").unwrap().update_revision;
    assert_eq!(i.cli_ok("restart", &["sts/web"]), "default/statefulset/web: is started anew\n");
    wait_ready(&i, "statefulset/web");
    assert_eq!(i.lines("events")[2..], ["a 1 term", "a 1 start", "a 0 term", "a 0 start"]);
    let after = set_status(&i, "web").unwrap();
    assert_ne!(after.update_revision, before);
    // The next daemon knows of it, and touches nobody.
    i.kill9();
    i.start();
    wait_ready(&i, "statefulset/web");
    assert_eq!(i.lines("events").len(), 6);
    assert_exit(&i.cli("restart", &["statefulset/other"]), 1);
}
