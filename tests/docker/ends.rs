//! How the daemon comes to know how a container ended: by docker's events where they tell enough, else by asking, and what is
//! left of it goes only when the next one runs.

use std::fs;
use std::time::Duration;

use super::stage::{before_docker, docker, instance, starts, the, until_restarted};
use crate::common::{Instance, host, yaml};

/// Writes down each call when it begins and when it is done; `docker events` tells nothing while there is a file `deaf`.
const WRITES: &str = r#"echo "begin $*" >>$dir/calls
if [ "$1" = events ] && [ -e $dir/deaf ]; then exec sleep 1000; fi
case $1 in events) exec $real "$@";; esac
$real "$@"; status=$?
echo "done $*" >>$dir/calls
exit $status"#;

/// Runs until a file /shared/end is there, or until TERM, and ends with 7 then.
const SCRIPT: &str =
    "trap 'exit 7' TERM; read up _ </proc/uptime; echo \"start $up\" >>/shared/web; echo at work
while [ ! -e /shared/end ]; do sleep 0.05; done; rm /shared/end; echo last words; exit 7";

/// An instance that runs it; the calls of docker until now are forgotten.
fn running(deaf: bool) -> Option<Instance> {
    let mut i = instance()?;
    before_docker(&mut i, WRITES);
    if deaf {
        fs::write(i.dir.join("deaf"), "").unwrap();
    }
    i.write_manifest("web.yaml", &yaml::one(&i, "web", SCRIPT, &[]));
    i.start();
    i.until_ready("web");
    fs::write(i.dir.join("calls"), "").unwrap();
    Some(i)
}

fn calls(i: &Instance) -> Vec<String> {
    fs::read_to_string(i.dir.join("calls")).unwrap().lines().map(str::to_owned).collect()
}

/// Where a call stands that begins so and names the container; how many were made before it.
fn at(calls: &[String], begin: &str, container: &str) -> Option<usize> {
    calls.iter().position(|call| call.starts_with(begin) && call.contains(container))
}

fn ends(i: &Instance) {
    fs::write(i.shared.join("end"), "").unwrap();
    until_restarted(i, "web", 1);
    i.until("it has begun again", |i| starts(i, "web") == 2);
}

fn assert_told(i: &Instance, code: i32) {
    let last = i.container("web", "main").unwrap().last_state.terminated.unwrap();
    assert_eq!(last.exit_code, code, "{last:?}");
    let previous = i.cli_ok("logs", &["web", "--previous"]);
    assert!(previous.contains("at work"), "{previous:?}");
}

/// One call to start the next, one to look at it, one to remove the old: in this order. Where docker takes half a second to
/// tell of the end it is asked, but a machine that is busy is not so three times in a row.
#[test]
fn what_ends_by_itself_is_started_again_before_anything_is_asked_or_removed() {
    let mut asked = Vec::new();
    for _ in 0..3 {
        let Some(i) = running(false) else { return };
        let old = the(&i, "web", "main");
        fs::write(i.dir.join("calls"), "").unwrap();
        ends(&i);
        assert_told(&i, 7);
        assert!(i.cli_ok("logs", &["web", "--previous"]).contains("last words"));
        i.until("the old one is removed", |i| at(&calls(i), "done rm ", &old).is_some());
        let calls = calls(&i);
        let (runs, goes) = (at(&calls, "done run ", "main"), at(&calls, "begin rm ", &old));
        assert!(runs.is_some() && runs < goes, "{calls:#?}");
        if at(&calls, "begin wait ", &old).is_none() && at(&calls, "begin inspect ", &old).is_none() {
            return;
        }
        asked = calls;
    }
    panic!("docker was asked: {asked:#?}");
}

/// It may be `docker restart` or a want of memory.
#[test]
fn of_what_was_killed_docker_is_asked_how_it_ended() {
    for (signal, code) in [(Some("TERM"), 7), (Some("KILL"), 137), (None, 137)] {
        let Some(i) = running(false) else { return };
        let old = the(&i, "web", "main");
        let pid = i.running_pid("web", "main").unwrap();
        match signal {
            Some(signal) => _ = docker(&i, &["kill", "-s", signal, &old]),
            None => host::signal(pid, nix::sys::signal::Signal::SIGKILL),
        }
        until_restarted(&i, "web", 1);
        assert_told(&i, code);
        assert!(at(&calls(&i), "begin inspect ", &old).is_some(), "{signal:?}: {:#?}", calls(&i));
    }
}

/// `docker commit` hands labels on.
#[test]
fn the_end_of_a_copy_with_the_same_labels_is_not_the_containers() {
    let Some(i) = running(false) else { return };
    let old = the(&i, "web", "main");
    docker(&i, &["commit", &old, "localhost/copy:test"]);
    let copy =
        docker(&i, &["run", "-d", "--network", "none", "--entrypoint", "false", "localhost/copy:test"]);
    assert_eq!(docker(&i, &["wait", copy.trim()]).trim(), "1");
    ends(&i);
    assert_told(&i, 7);
    docker(&i, &["rm", "-f", copy.trim()]);
}

/// A docker whose events tell nothing, and do not end: ends are seen without them.
#[test]
fn where_no_event_comes_docker_is_asked() {
    let Some(i) = running(true) else { return };
    let old = the(&i, "web", "main");
    ends(&i);
    assert_told(&i, 7);
    assert!(at(&calls(&i), "begin inspect ", &old).is_some(), "{:#?}", calls(&i));
}

/// A daemon that begins to listen when a container runs already cannot know what was asked of docker before.
#[test]
fn of_what_an_earlier_daemon_began_docker_is_asked() {
    let Some(mut i) = running(false) else { return };
    let old = the(&i, "web", "main");
    i.kill9();
    i.start();
    i.until_within(Duration::from_secs(20), "it listens", |i| {
        calls(i).iter().any(|c| c.starts_with("begin events"))
    });
    ends(&i);
    assert_told(&i, 7);
    assert!(at(&calls(&i), "begin inspect ", &old).is_some(), "{:#?}", calls(&i));
}
