//! A runc that fails, hangs, lies, or talks too much.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::host;
use crate::common::yaml::{canary, one};
use crate::inject::{assert_no_double, cpu_ms, fake_runc, guard, instance, until_guarded};

#[test]
fn a_hung_runc_holds_up_nobody_else() {
    let Some(mut i) = instance() else { return };
    fake_runc(
        &mut i,
        r#"case "$verb:$*" in run:*$(cat $dir/victim 2>/dev/null || echo none)*)
             echo $$ >>$dir/hung; exec sleep 1000;; esac
           exec "$real" "$@""#,
    );
    i.write_manifest("good.yaml", &one(&i, "good", &canary("good"), &[]));
    i.start();
    let pid = i.until_ready("good");
    let generation = i.pod("good").unwrap().generation.unwrap();
    // Every other generation's `runc run` hangs from now on: none of these names is that of the good Pod.
    fs::write(i.dir.join("victim"), "-stuck-").unwrap();
    for n in 0..3 {
        let manifest = one(&i, &format!("bad{n}"), &canary(&format!("bad{n}")), &[]);
        i.write_manifest(&format!("bad{n}.yaml"), &manifest.replace("name: main", "name: stuck"));
    }
    let hung = |i: &crate::common::Instance| {
        let pids = fs::read_to_string(i.dir.join("hung")).unwrap_or_default();
        pids.lines().map(|p| p.parse::<i32>().unwrap()).collect::<Vec<_>>()
    };
    i.until("runc hangs", |i| hung(i).len() == 3);
    // Restarts, starts and stops of others go on at once.
    let begun = Instant::now();
    host::signal(pid, Signal::SIGKILL);
    i.until("the good one is restarted", |i| i.restarts("good", "main") == 1 && i.ready("good"));
    i.write_manifest("more.yaml", &one(&i, "more", &canary("more"), &[]));
    i.until_ready("more");
    i.remove("more.yaml");
    i.until("it is gone", |i| i.pod("more").is_none());
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    assert_eq!(i.pod("good").unwrap().generation.unwrap(), generation);
    // What hangs is let go of by killing it: the test's own hand, in place of the deadline of two minutes.
    fs::write(i.dir.join("victim"), "none").unwrap();
    for pid in hung(&i) {
        host::signal(pid, Signal::SIGKILL);
    }
    for n in 0..3 {
        i.until("it comes up", |i| i.ready(&format!("bad{n}")));
    }
}

#[test]
fn a_runc_that_lies_about_success_and_failure_ends_in_one_container() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,200ms"]);
    // `run` in turn: nothing done but success; all done but failure; nothing done and a signal; garbage in the pid file;
    // then the truth. `kill`: success for nothing, at first.
    fake_runc(
        &mut i,
        r#"case $verb in
           run) echo x >>$dir/runs; case $(wc -l <$dir/runs) in
             1) exit 0;;
             2) "$real" "$@"; exit 1;;
             3) kill -9 $$;;
             4) for a in "$@"; do [ "$p" = --pid-file ] && echo garbage >$a; p=$a; done; exit 0;;
             5) exit 127;;
             esac;;
           kill) echo x >>$dir/kills; [ $(wc -l <$dir/kills) = 1 ] && exit 0;;
           delete) echo x >>$dir/deletes; [ $(($(wc -l <$dir/deletes) % 2)) = 1 ] && { echo cannot >&2; exit 1; };;
           --version) exit 3;;
           esac
           exec "$real" "$@""#,
    );
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "a"), &[]));
    i.start();
    until_guarded(&i, "web", "a");
    assert!(fs::read_to_string(i.dir.join("runs")).unwrap().lines().count() >= 6);
    // Its TERM gets lost; KILL comes after the grace period of 2 s.
    i.remove("web.yaml");
    i.until("it is gone", |i| i.pod("web").is_none());
    assert_no_double(&i);
}

#[test]
fn a_runc_that_talks_for_megabytes_is_cut_short() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,200ms"]);
    fake_runc(
        &mut i,
        r#"case $verb in
           --version) yes version | head -c 5000000; exit 0;;
           kill) yes talk | head -c 3000000 >&2;;
           run) if [ -e $dir/talk ]; then yes complaint | head -c 50000 >&2; exit 1; fi;;
           esac
           exec "$real" "$@""#,
    );
    fs::write(i.dir.join("talk"), "").unwrap();
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "a"), &[]));
    i.start();
    i.until("its complaint is shown", |i| {
        i.container("web", "main")
            .and_then(|c| c.state.waiting?.message)
            .is_some_and(|m| m.contains("complaint"))
    });
    let shown = fs::metadata(i.run.join("status")).unwrap();
    assert!(shown.is_dir());
    for file in host::entries(&i.run.join("status")) {
        assert!(fs::metadata(&file).unwrap().len() < 16 * 1024, "{} is large", file.display());
    }
    fs::remove_file(i.dir.join("talk")).unwrap();
    until_guarded(&i, "web", "a");
    i.remove("web.yaml");
    i.until("it is gone", |i| i.pod("web").is_none());
    assert!(i.lines("web").contains(&"term a".to_owned()), "the signal was sent all the same");
    assert_no_double(&i);
}

#[test]
fn a_runc_that_is_gone_for_a_while_costs_only_that_while() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms"]);
    fake_runc(&mut i, r#"[ -e $dir/gone ] && exit 127; exec "$real" "$@""#);
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "a"), &[]));
    i.start();
    until_guarded(&i, "web", "a");
    fs::write(i.dir.join("gone"), "").unwrap();
    let pid = i.running_pid("web", "main").unwrap();
    host::signal(pid, Signal::SIGKILL);
    i.until("it is waiting", |i| i.container("web", "main").is_some_and(|c| c.state.waiting.is_some()));
    let cpu = cpu_ms(i.daemon_pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_ms(i.daemon_pid()) - cpu;
    assert!(used < 500, "the daemon used {used} ms of processor time in 2 s");
    fs::remove_file(i.dir.join("gone")).unwrap();
    i.until("it is back", |i| i.ready("web"));
    // And the other way about: it cannot be stopped by runc, so it is stopped without.
    fs::write(i.dir.join("gone"), "").unwrap();
    i.remove("web.yaml");
    i.until("it is gone", |i| i.pod("web").is_none());
    assert!(i.lines("web").contains(&"term a".to_owned()));
    assert_no_double(&i);
}

#[test]
fn a_runc_that_has_lost_its_own_state_costs_no_container_its_end() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,200ms"]);
    for name in ["a", "b", "c"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &guard(name, "1"), &[]));
    }
    i.start();
    let mut pids = Vec::new();
    for name in ["a", "b", "c"] {
        until_guarded(&i, name, "1");
        pids.push(i.running_pid(name, "main").unwrap());
    }
    // With an empty state.json, `runc kill` and `runc delete` fail; the container runs.
    for state in host::files_below(&i.run.join("runc")) {
        fs::write(state, "").unwrap();
    }
    i.remove("a.yaml");
    i.write_manifest("b.yaml", &one(&i, "b", &guard("b", "2"), &[]));
    host::signal(pids[2], Signal::SIGKILL);
    i.until("it is gone", |i| i.pod("a").is_none());
    until_guarded(&i, "b", "2");
    i.until("it is restarted", |i| i.lines("c").len() == 2 && i.ready("c"));
    assert!(pids.iter().all(|pid| !host::alive(*pid)));
    assert_no_double(&i);
}

#[test]
fn what_a_killed_runc_has_left_mounted_in_its_own_directory_is_no_obstacle() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    i.start();
    let pid = i.until_ready("web");
    // As in the moment in which it makes sure that nobody can write to its own binary.
    let directory = host::entries(&i.run.join("runc")).pop().unwrap();
    let left = directory.join("runc.left");
    fs::write(&left, "").unwrap();
    let (none, bind) = (None::<&str>, nix::mount::MsFlags::MS_BIND);
    nix::mount::mount(Some("/proc/self/exe"), &left, none, bind, none).unwrap();
    host::signal(pid, Signal::SIGKILL);
    i.until("it runs again", |i| i.running_pid("web", "main").is_some_and(|p| p != pid));
    i.until("nothing is left of it", |_| !directory.exists());
    assert_no_double(&i);
}
