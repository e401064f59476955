//! Network plugins that hang or refuse, and Pods that never came up for it.

use super::*;

#[test]
fn a_plugin_that_hangs_holds_up_nobody_else_and_not_the_end() {
    let Some(mut i) = networked() else { return };
    fs::write(i.dir.join("hang"), "slow").unwrap();
    i.write_manifest("slow.yaml", &plain(&i, "slow", &guard("slow", "1")));
    i.start();
    i.until("the plugin hangs", |i| leases(i).len() == 1);
    i.write_manifest("other.yaml", &plain(&i, "other", &guard("other", "1")));
    i.until_within(Duration::from_secs(5), "the other is up", |i| {
        i.ready("other") && i.lines("other").len() == 1
    });
    // Its end does not wait for the minute that a plugin may take.
    let begun = Instant::now();
    i.remove("slow.yaml");
    i.until("it is gone", |i| i.pod("slow").is_none());
    assert!(begun.elapsed() < Duration::from_secs(12), "it took {:?}", begun.elapsed());
    assert_eq!(leases(&i).len(), 1);
    // Nor for the helper of a daemon that is no more.
    i.write_manifest("slow.yaml", &plain(&i, "slow", &guard("slow", "2")));
    i.until("the plugin hangs", |i| leases(i).len() == 2);
    i.kill9();
    i.remove("slow.yaml");
    let begun = Instant::now();
    i.start();
    i.until("it is gone", |i| i.pod("slow").is_none());
    assert!(begun.elapsed() < Duration::from_secs(12), "it took {:?}", begun.elapsed());
    // A plugin that works again is used again.
    i.write_manifest("slow.yaml", &plain(&i, "slow", &guard("slow", "3")));
    i.until("the plugin hangs", |i| leases(i).len() == 2);
    fs::remove_file(i.dir.join("hang")).unwrap();
    let killed = helpers(&i, &["sandbox"]);
    assert_eq!(killed.len(), 1, "one helper: {killed:?}");
    host::signal(killed[0], Signal::SIGKILL);
    i.until("it comes up all the same", |i| i.ready("slow") && i.lines("slow") == ["start 3"]);
    assert_no_double(&i);
}

#[test]
fn down_ends_pods_that_never_came_up() {
    never_came_up(true);
}

#[test]
fn down_without_a_daemon_ends_pods_that_never_came_up() {
    never_came_up(false);
}

fn never_came_up(with_daemon: bool) {
    let Some(mut i) = networked() else { return };
    fs::write(i.dir.join("hang"), "slow").unwrap();
    let first = container("first", "echo ran >>/shared/waits; sleep 1000", &[]);
    i.write_manifest("a.yaml", &own(&i, "waits", &[inits(&[first])], &[container("main", "true", &[])], &[]));
    i.write_manifest("b.yaml", &plain(&i, "slow", "sleep 1000"));
    i.start();
    i.until("its init container runs", |i| i.lines("waits").len() == 1);
    i.until("a plugin hangs", |i| leases(i).len() == 2);
    fs::write(i.dir.join("refuse"), "").unwrap();
    i.write_manifest("c.yaml", &plain(&i, "refused", "sleep 1000"));
    i.until("what the plugin says is told", |i| {
        i.pod("refused").and_then(|p| p.message).is_some_and(|m| m.contains("no address is free"))
    });
    if !with_daemon {
        i.kill9();
    }
    let begun = Instant::now();
    assert_exit(&i.cli("down", &["--timeout", "25s"]), 0);
    if with_daemon {
        assert!(i.daemon_exit(Duration::from_secs(5)).success());
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert_none(&leases(&i));
    assert_none(&mounts(&i));
}
