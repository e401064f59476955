//! `handover`: all is stopped in order and the manifests stay, or nothing is touched and the reason is told.

use std::fs;

use crate::common::yaml::{canary, container, one, pod};
use crate::common::{assert_exit, bare_instance, describe, host, instance, text};

#[test]
fn pods_and_daemon_end_and_the_manifests_stay() {
    let Some(mut i) = instance() else { return };
    let web = one(&i, "web", &canary("web"), &[]);
    i.write_manifest("web.yaml", &web);
    let critical = pod(
        &i,
        "etcd",
        &["priorityClassName: system-node-critical"],
        &[container("main", &canary("etcd"), &[])],
    );
    i.write_manifest("etcd.yaml", &critical);
    i.start();
    let pids = [i.until_ready("web"), i.until_ready("etcd")];
    let dry = i.cli("handover", &["--dry-run"]);
    assert_exit(&dry, 0);
    assert!(text(&dry.stdout).contains("2 Pods would be stopped"), "{}", describe(&dry));
    assert!(pids.iter().all(|p| host::alive(*p)), "it is only told");

    let output = i.cli("handover", &["--to-kubelet"]);
    assert_exit(&output, 0);
    let said = text(&output.stdout);
    assert!(said.contains("the daemon has ended") && said.contains("systemctl disable podstrap"), "{said}");
    assert!(said.contains("staticPodPath: ") && said.contains("images import"), "{said}");
    assert!(i.daemon_exit(std::time::Duration::from_secs(10)).success(), "systemd does not start it again");
    assert!(!pids.iter().any(|p| host::alive(*p)));
    let term = |name: &str| -> f64 {
        let line = i.lines(name).into_iter().find(|l| l.starts_with("term")).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    assert!(term("web") < term("etcd"), "the critical one last");
    assert_eq!(fs::read_to_string(i.manifests.join("web.yaml")).unwrap(), web);
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
}

#[test]
fn what_a_kubelet_would_not_run_is_told_and_nothing_is_stopped() {
    let Some(mut i) = instance() else { return };
    let both = format!("{}---\n{}", one(&i, "a", &canary("a"), &[]), one(&i, "b", &canary("b"), &[]));
    i.write_manifest("both.yaml", &both);
    let item = one(&i, "c", &canary("c"), &[]).replace('\n', "\n  ");
    i.write_manifest("list.yaml", &format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", item.trim_end()));
    i.write_manifest("a.yaml.bak", "old");
    i.start();
    let pids = ["a", "b", "c"].map(|name| i.until_ready(name));
    let output = i.cli("handover", &[]);
    assert_exit(&output, 3);
    let said = text(&output.stderr);
    for line in [
        "both.yaml: holds 2 documents",
        "list.yaml: is a list",
        "a.yaml.bak: is passed over here",
        "nothing was stopped",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(pids.iter().all(|p| host::alive(*p)));
    // The daemon may be down, too.
    i.kill9();
    let output = i.cli("handover", &["--force"]);
    assert_exit(&output, 0);
    assert!(text(&output.stdout).contains("no daemon was running"), "{}", describe(&output));
    assert!(!pids.iter().any(|p| host::alive(*p)));
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
}

#[test]
fn nothing_is_handed_over_where_nothing_runs() {
    let Some(i) = bare_instance() else { return };
    assert_exit(&i.cli("handover", &[]), 6);
}
