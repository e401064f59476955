//! The command line over containers that docker holds.

use super::stage::{docker, instance, starts, the};
use crate::common::yaml::{canary, one};
use crate::common::{assert_exit, describe, text};

#[test]
fn logs_are_readable_while_it_runs_after_its_end_and_after_a_restart() {
    let Some(mut i) = instance() else { return };
    let script =
        format!("echo life $(cat /shared/web 2>/dev/null | wc -l); echo oops >&2; {}", canary("web"));
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[]));
    i.start();
    i.until("it has begun", |i| starts(i, "web") == 1 && i.ready("web"));
    i.until("its lines are there", |i| i.cli_ok("logs", &["web"]).lines().count() == 2);
    let first = i.cli_ok("logs", &["web"]);
    assert!(first.contains("life 0\n") && first.contains("oops\n"), "{first}");
    let stamped = i.cli_ok("logs", &["web", "--timestamps"]);
    assert!(stamped.lines().all(|l| l.starts_with("20") && l.contains('T')), "{stamped}");

    docker(&i, &["kill", &the(&i, "web", "main")]);
    i.until("it has begun again", |i| starts(i, "web") == 2 && i.ready("web"));
    i.until("the second life's line is there", |i| i.cli_ok("logs", &["web"]).contains("life 1"));
    let previous = i.cli_ok("logs", &["web", "--previous"]);
    assert!(previous.contains("life 0\n") && !previous.contains("life 1"), "{previous}");
    // What is left of the first life is a file like any other's of Kubernetes.
    let (path, _) = i.records("web", "main").first().cloned().unwrap();
    let uid = i.pod("web").unwrap().uid.unwrap();
    let file = i.log.join(format!("default_web-node1_{uid}/main/0.log"));
    let kept = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert!(!file.is_symlink(), "{} ({})", file.display(), path.display());
    let is_cri = |l: &str| {
        let words: Vec<&str> = l.splitn(4, ' ').collect();
        words.len() == 4
            && words[0].contains('T')
            && ["stdout", "stderr"].contains(&words[1])
            && words[2] == "F"
    };
    assert!(kept.lines().count() == 2 && kept.lines().all(is_cri), "{kept}");
}

#[test]
fn exec_runs_beside_the_container_and_gives_its_code() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &["env: [{name: GREETING, value: hello}]"]));
    i.start();
    i.until_ready("web");
    let out = i.cli("exec", &["web", "--", "sh", "-c", "echo $GREETING; cat /proc/1/comm; exit 7"]);
    assert_exit(&out, 7);
    assert_eq!(text(&out.stdout), "hello\nsh\n");
}

#[test]
fn status_and_wait_tell_of_docker() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let wait = i.wait(&["--for", "ready", "--timeout", "60s", "web"]);
    assert!(wait.status.success(), "{}", describe(&wait));
    assert_eq!(i.daemon_status().unwrap().runtime, "docker");
    let main = i.container("web", "main").unwrap();
    assert_eq!(main.container_id, Some(format!("docker://{}", the(&i, "web", "main"))));
    assert!(i.cli_ok("status", &[]).contains("Running"));
    i.remove("web.yaml");
    let wait = i.wait(&["--for", "gone", "--timeout", "60s", "web"]);
    assert!(wait.status.success(), "{}", describe(&wait));
}

#[test]
fn a_program_that_is_not_there_is_told_in_few_words() {
    let Some(mut i) = instance() else { return };
    let text = one(&i, "web", "true", &[]);
    let (head, tail) = text.split_once("    command: ").unwrap();
    let (_, tail) = tail.split_once('\n').unwrap();
    i.write_manifest("web.yaml", &format!("{head}    command: [no-such-program]\n{tail}"));
    i.start();
    i.until("the program is named", |i| {
        i.container("web", "main").is_some_and(|c| format!("{c:?}").contains("no-such-program"))
    });
    // docker has made the container by then; it does not stay.
    i.until("nothing is left of the try", |i| super::stage::containers(i, "web", "main").len() <= 1);
}
