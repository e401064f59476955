//! What belongs to Pods that run: hooks, the order of sidecars, ConfigMaps that change.

use super::*;

#[test]
fn hooks_that_hang_or_lose_their_container_hold_nothing_up() {
    let Some(mut i) = networked() else { return };
    let hook = |kind: &str, script: &str| {
        format!("lifecycle: {{{kind}: {{exec: {{command: [sh, -c, '{script}']}}}}}}")
    };
    let hangs = hook("preStop", "echo $$ >>/shared/hook; sleep 1000");
    i.write_manifest(
        "hangs.yaml",
        &own(&i, "hangs", &[], &[container("main", &guard("hangs", "1"), &[&hangs])], &[]),
    );
    let dies = hook("postStart", "echo hook >>/shared/dies.hook; sleep 1000");
    i.write_manifest(
        "dies.yaml",
        &own(&i, "dies", &[], &[container("main", &guard("dies", "1"), &[&dies])], &[]),
    );
    i.start();
    i.until("both have begun", |i| i.lines("hangs").len() == 1 && i.lines("dies.hook").len() == 1);
    // A container that dies takes its hook along; the next one gets a hook of its own.
    host::signal(i.running_pid("dies", "main").unwrap(), Signal::SIGKILL);
    i.until("it is started again", |i| i.lines("dies").len() == 2 && i.lines("dies.hook").len() == 2);
    let begun = Instant::now();
    for file in ["hangs.yaml", "dies.yaml"] {
        i.remove(file);
    }
    i.until("the hook hangs", |i| i.lines("hook").len() == 1);
    // A daemon that dies meanwhile begins the hook anew, within the same grace.
    i.kill9();
    i.start();
    i.until("both are gone", |i| i.pod("hangs").is_none() && i.pod("dies").is_none());
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert!(i.lines("hangs").contains(&"term 1".to_owned()), "its signal came after the hook");
    assert_no_double(&i);
}

#[test]
fn sidecars_end_last_and_in_order_though_the_daemon_dies() {
    let Some(mut i) = networked() else { return };
    let slow = |name: &str| {
        format!(
            "trap 'echo {name} ends >>/shared/order; sleep 0.7; echo {name} ended >>/shared/order; exit 0' TERM; echo {name} >>/shared/up; while :; do sleep 1000 & wait $!; done"
        )
    };
    let side = |name: &str| container(name, &slow(name), &["restartPolicy: Always"]);
    i.write_manifest(
        "web.yaml",
        &own(
            &i,
            "web",
            &["terminationGracePeriodSeconds: 20".into(), inits(&[side("s1"), side("s2")])],
            &[container("main", &slow("main"), &[])],
            &[],
        ),
    );
    i.start();
    i.until("all are up", |i| i.lines("up") == ["s1", "s2", "main"]);
    i.remove("web.yaml");
    for (n, line) in ["main ends", "s2 ends", "s1 ends"].iter().enumerate() {
        i.until(line, |i| i.lines("order").get(2 * n).map(String::as_str) == Some(line));
        i.kill9();
        i.start();
    }
    i.until("it is gone", |i| i.pod("web").is_none());
    let order = ["main ends", "main ended", "s2 ends", "s2 ended", "s1 ends", "s1 ended"];
    assert_eq!(i.lines("order"), order);
    assert_eq!(i.lines("up").len(), 3, "{:?}", i.lines("up"));
}

#[test]
fn a_config_map_that_changes_often_and_goes() {
    let Some(mut i) = networked() else { return };
    i.write_manifest("words.yaml", &config_map("words", "w0"));
    i.write_manifest("web.yaml", &everything(&i, "web", 1));
    i.start();
    until_up(&i, "web", 1);
    let word = |i: &Instance| {
        let pid = i.running_pid("web", "main")?;
        fs::read_to_string(format!("/proc/{pid}/root/config/word")).ok()
    };
    for n in 1..=50 {
        i.write_manifest("words.yaml", &config_map("words", &format!("w{n}")));
        // The pause between two changes is part of the fault: fifty in five seconds.
        std::thread::sleep(Duration::from_millis(90));
    }
    i.until_within(Duration::from_secs(5), "the last one is there", |i| word(i).as_deref() == Some("w50"));
    // It changes while no daemon lives; and then the helper that writes it is killed.
    i.kill9();
    i.write_manifest("words.yaml", &config_map("words", "unseen"));
    i.start();
    i.until_within(Duration::from_secs(5), "it is there", |i| word(i).as_deref() == Some("unseen"));
    i.until("a helper was killed", |i| {
        let next = word(i).map_or_else(String::new, |w| w + "x");
        i.write_manifest("words.yaml", &config_map("words", &next));
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end && word(i).as_ref() != Some(&next) {
            if let Some(pid) = helpers(i, &["project"]).first() {
                host::signal(*pid, Signal::SIGKILL);
                return word(i).as_ref() != Some(&next);
            }
        }
        false
    });
    i.write_manifest("other.yaml", &config_map("other", "is nothing to it"));
    i.until_within(Duration::from_secs(5), "it is written all the same", |i| {
        let wanted = fs::read_to_string(i.manifests.join("words.yaml")).unwrap();
        word(i).is_some_and(|w| wanted.contains(&format!("\"{w}\"")))
    });
    i.write_manifest("words.yaml", &config_map("words", "w50"));
    i.until("it is there", |i| word(i).as_deref() == Some("w50"));
    // It goes: what runs keeps it. An edited Pod waits, and says for what.
    i.remove("words.yaml");
    i.holds_for(Duration::from_millis(500), "it runs on", |i| {
        i.ready("web") && word(i).as_deref() == Some("w50")
    });
    assert_eq!((starts(&i, "web", 1), i.restarts("web", "main")), (1, 0));
    i.write_manifest("web.yaml", &everything(&i, "web", 2));
    i.until("it says what is missing", |i| {
        i.pod("web")
            .is_some_and(|p| serde_json::to_string(&p).unwrap().contains("configmap \\\"words\\\" not found"))
    });
    i.kill9();
    i.start();
    i.holds_for(Duration::from_millis(300), "it waits", |i| starts(i, "web", 2) == 0);
    i.write_manifest("words.yaml", &config_map("words", "back"));
    until_up(&i, "web", 2);
    assert_eq!(word(&i).as_deref(), Some("back"));
    assert_no_double(&i);
}
