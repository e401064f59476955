//! `plan`: what is foretold is what happens.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::common::yaml::{canary, container, one, pod};
use crate::common::{Instance, assert_exit, bare_instance, describe, instance, podstrap, text};

fn said(output: &Output) -> String {
    text(&output.stdout)
}

/// Nothing is read but the daemon's sources.
fn plan(i: &Instance, code: i32) -> String {
    let output = i.cli("plan", &[]);
    assert_exit(&output, code);
    said(&output)
}

#[test]
fn each_change_of_the_directory_is_foretold_and_nothing_is_touched() {
    let Some(mut i) = instance() else { return };
    let web = one(
        &i,
        "web",
        &canary("web"),
        &["env: [{name: A, value: one}, {name: DB_PASSWORD, value: hunter2}]"],
    );
    i.write_manifest("web.yaml", &web);
    i.write_manifest("old.yaml", &one(&i, "old", &canary("old"), &[]));
    i.start();
    let pid = i.until_ready("web");
    i.until_ready("old");
    assert_eq!(plan(&i, 0), "2 unchanged\n");
    let wide = said(&i.cli("plan", &["-o", "wide"]));
    assert!(wide.contains("unchanged default/web-"), "{wide}");

    // The daemon is down, so that nothing of it happens before it is foretold.
    i.kill9();
    let edited = web.replace("value: one", "value: two").replace("hunter2", "hunter3");
    i.write_manifest("web.yaml", &edited);
    i.remove("old.yaml");
    i.write_manifest("new.yaml", &one(&i, "new", &canary("new"), &[]));
    i.write_manifest("pull.yaml", &one(&i, "pull", "true", &["image: nowhere.invalid/x:1"]));
    let output = i.cli("plan", &[]);
    assert_exit(&output, 1);
    let told = said(&output);
    let node = i.node.clone();
    for line in [
        format!("replace   default/web-{node}\n"),
        format!("stop      default/old-{node}: no source names it any more"),
        format!("start     default/new-{node}\n"),
        format!("wait      default/pull-{node}: image nowhere.invalid/x:1 is not in "),
        "            spec.containers[main].env[A].value: \"one\" → \"two\"\n".to_owned(),
        "            spec.containers[main].env[DB_PASSWORD].value: \"(hidden)\" → \"(hidden)\"\n".to_owned(),
    ] {
        assert!(told.contains(&line), "no {line:?} in {told}");
    }
    assert!(!told.contains("hunter"), "{told}");
    assert!(text(&output.stderr).contains("the daemon is not running"), "{}", describe(&output));
    let json: serde_json::Value = serde_json::from_slice(&i.cli("plan", &["-o", "json"]).stdout).unwrap();
    let steps = json["steps"].as_array().unwrap();
    let web = steps.iter().find(|s| s["name"] == format!("web-{node}")).unwrap();
    assert_eq!((&web["action"], &web["namespace"]), (&"replace".into(), &"default".into()), "{web:#}");
    assert_eq!(web["changes"][0]["path"], "spec.containers[main].env[A].value");
    assert_eq!((&web["changes"][0]["from"], &web["changes"][0]["to"]), (&"one".into(), &"two".into()));
    assert_eq!(i.running_pid("web", "main"), Some(pid), "it is only told");

    // And so it comes.
    i.remove("pull.yaml");
    i.start();
    i.until("what was foretold", |i| {
        i.pod("old").is_none() && i.ready("new") && i.running_pid("web", "main").is_some_and(|p| p != pid)
    });
    i.until("nothing is to be done any more", |i| i.cli("plan", &[]).status.code() == Some(0));
}

#[test]
fn a_refused_edit_keeps_what_runs_and_a_refused_file_is_named() {
    let Some(mut i) = instance() else { return };
    let web = one(&i, "web", &canary("web"), &[]);
    i.write_manifest("web.yaml", &web);
    i.start();
    i.until_ready("web");
    i.write_manifest("web.yaml", &web.replace("hostNetwork: true", "hostNetwork: maybe"));
    i.write_manifest("bad.yaml", "apiVersion: v1\nkind: Deployment\nmetadata: {name: x}\n");
    let told = plan(&i, 3);
    assert!(told.contains("keep      default/web-") && told.contains("spec.hostNetwork"), "{told}");
    assert!(told.contains("refuse    ") && told.contains("bad.yaml"), "{told}");
    // Also where the daemon is down, and a Pod waits for one that is nowhere.
    i.kill9();
    i.remove("bad.yaml");
    i.write_manifest("web.yaml", &web);
    let depends = one(&i, "dep", &canary("dep"), &[]).replace(
        "metadata: {name: dep}",
        "metadata: {name: dep, annotations: {podstrap.io/depends-on: gone}}",
    );
    i.write_manifest("dep.yaml", &depends);
    let map = container("main", "sleep 1000", &["envFrom: [{configMapRef: {name: settings}}]"]);
    i.write_manifest("map.yaml", &pod(&i, "map", &[], &[map]));
    let told = plan(&i, 1);
    assert!(
        told.contains("wait      default/dep-") && told.contains("of which there is no manifest"),
        "{told}"
    );
    assert!(told.contains("ConfigMap default/settings is in no manifest"), "{told}");
    assert!(told.contains("1 unchanged"), "{told}");
    // A directory that is moved aside ends its Pods, and one that cannot be read does not.
    let aside = i.dir.join("aside");
    fs::rename(&i.manifests, &aside).unwrap();
    assert!(plan(&i, 1).starts_with("stop      default/web-"));
    // A link to itself.
    std::os::unix::fs::symlink(&i.manifests, &i.manifests).unwrap();
    let told = plan(&i, 3);
    assert!(told.contains("keep      default/web-"), "{told}");
    fs::remove_file(&i.manifests).unwrap();
    fs::rename(&aside, &i.manifests).unwrap();
}

#[test]
fn files_that_are_named_are_planned_against_the_pods_of_their_names() {
    let Some(mut i) = instance() else { return };
    let web = one(&i, "web", &canary("web"), &[]);
    i.write_manifest("web.yaml", &web);
    i.write_manifest("other.yaml", &one(&i, "other", &canary("other"), &[]));
    i.start();
    i.until_ready("web");
    i.until_ready("other");
    let new = i.dir.join("shared/web-new.yaml");
    let edited = web.replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never");
    fs::write(&new, &edited).unwrap();
    let output = i.cli("plan", &[new.to_str().unwrap()]);
    assert_exit(&output, 1);
    let told = said(&output);
    assert!(told.contains("what runs is of ") && told.contains("web.yaml"), "{told}");
    assert!(told.contains("spec.containers[main].imagePullPolicy: \"IfNotPresent\" → \"Never\""), "{told}");
    assert!(!told.contains("other"), "Pods that are not named are left out: {told}");

    // Two documents on standard input.
    let mut child = Command::new(podstrap())
        .args(["plan", "-", "--run-dir"])
        .arg(&i.run)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let both = format!("{web}---\n{}", one(&i, "third", &canary("third"), &[]));
    child.stdin.take().unwrap().write_all(both.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 1);
    assert!(said(&output).contains("start     default/third-"), "{}", describe(&output));
    assert!(said(&output).contains("1 unchanged"), "{}", describe(&output));

    fs::write(&new, &web).unwrap();
    assert_exit(&i.cli("plan", &[new.to_str().unwrap()]), 0);
    assert_exit(&i.cli("plan", &["/nowhere.yaml"]), 2);
}

#[test]
fn manifests_are_read_by_the_rules_of_the_daemon_that_runs() {
    let Some(mut i) = instance() else { return };
    i.args(&["--on-missing-dir", "keep", "--max-manifest-bytes", "2Ki"]);
    let web = one(&i, "web", &canary("web"), &[]);
    i.write_manifest("web.yaml", &web);
    i.start();
    i.until_ready("web");
    i.write_manifest("large.yaml", &format!("# {}\n{}", "x".repeat(2048), one(&i, "large", "true", &[])));
    let told = plan(&i, 3);
    assert!(told.contains("large.yaml") && told.contains("the bound is 2048"), "{told}");
    i.remove("large.yaml");
    let aside = i.dir.join("aside");
    fs::rename(&i.manifests, &aside).unwrap();
    let told = plan(&i, 3);
    assert!(told.contains("keep      default/web-") && told.contains("does not exist"), "{told}");
    fs::rename(&aside, &i.manifests).unwrap();
}

#[test]
fn without_a_daemon_files_can_be_planned_for_a_fresh_host() {
    let Some(i) = bare_instance() else { return };
    let file = i.dir.join("shared/a.yaml");
    fs::write(&file, one(&i, "a", "true", &["image: nowhere.invalid/x:1"])).unwrap();
    let output = i.cli("plan", &[file.to_str().unwrap(), "--node-name", "n1"]);
    assert_exit(&output, 1);
    assert!(
        said(&output).contains("wait      default/a-n1: image nowhere.invalid/x:1"),
        "{}",
        describe(&output)
    );
    assert!(!i.run.exists(), "looking makes nothing");
}
