//! A daemon that is killed in the middle of a roll-out is followed by one that ends it in the same way.

use super::{INDEX, MOUNTS, noting, set, set_status, wait_ready};
use crate::common::instance;

#[test]
fn a_roll_out_ends_the_same_wherever_the_daemon_is_killed() {
    let Some(mut i) = instance() else { return };
    let file =
        |version: &str| set(&i, "StatefulSet", "web", &["replicas: 3"], &noting(version), &[MOUNTS, INDEX]);
    let (a, b) = (file("a"), file("b"));
    i.write_manifest("web.yaml", &a);
    i.start();
    wait_ready(&i, "statefulset/web");
    let wanted = ["2 term", "2 start", "1 term", "1 start", "0 term", "0 start"];
    for (round, (old, new, text)) in
        [("a", "b", &b), ("b", "a", &a), ("a", "b", &b), ("b", "a", &a), ("a", "b", &b), ("b", "a", &a)]
            .into_iter()
            .enumerate()
    {
        let before = i.lines("events").len();
        i.write_manifest("web.yaml", text);
        // Killed after the first, the second, … step of the roll-out that can be seen.
        i.until("that step is done", |i| i.lines("events").len() > before + round);
        i.kill9();
        i.start();
        i.until("the roll-out is done", |i| {
            set_status(i, "web")
                .is_some_and(|s| s.is_complete() && s.updated == 3 && s.current_revision == s.update_revision)
        });
        let steps: Vec<String> = i.lines("events")[before..].to_vec();
        let told = |(n, step): (usize, &&str)| {
            let version = if n % 2 == 0 { old } else { new };
            format!("{version} {step}")
        };
        assert_eq!(steps, wanted.iter().enumerate().map(told).collect::<Vec<_>>(), "round {round}");
    }
}
