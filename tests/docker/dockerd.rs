//! dockerd ends, hangs and comes back; the daemon does.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podstrap::report::PodStatusFile;

use super::stage::{all, containers, inspect, instance, instance_and_dockerd, starts, the};
use crate::common::yaml::{canary, one};
use crate::common::{Instance, host};

const PODS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Half of them with a network of their own, so that there are pause containers.
fn write_pods(i: &Instance) {
    for (n, name) in PODS.iter().enumerate() {
        let text = one(i, name, &canary(name), &[]);
        let text = if n % 2 == 0 { text } else { text.replace("hostNetwork: true", "hostNetwork: false") };
        i.write_manifest(&format!("{name}.yaml"), &text);
    }
}

fn until_all_run_once(i: &Instance) {
    i.until_within(Duration::from_secs(60), "all Pods are ready, and each container is there once", |i| {
        PODS.iter().all(|name| {
            i.ready(name) && i.running_pid(name, "main").is_some() && containers(i, name, "main").len() == 1
        })
    });
    // Five containers and two pause containers.
    i.until("nothing else is left", |i| all(i).len() == 7);
    for name in PODS {
        let state = inspect(i, &the(i, name, "main"))["State"].clone();
        assert_eq!(state["Pid"], i.running_pid(name, "main").unwrap(), "{name}: {state}");
        let ends = i.lines(name).iter().filter(|l| l.starts_with("term ")).count();
        assert!(starts(i, name) >= ends, "{name}: {:?}", i.lines(name));
    }
}

#[test]
fn dockerd_stopped_and_started_under_pods_gives_all_of_them_back_once() {
    let Some((mut engine, mut i)) = instance_and_dockerd() else { return };
    write_pods(&i);
    i.start();
    until_all_run_once(&i);
    engine.stop();
    i.until("the daemon has seen it", |i| i.cli_ok("status", &[]).contains("docker"));
    engine.start_again();
    until_all_run_once(&i);
    for name in PODS {
        // dockerd ends its containers when it is stopped: once for every container, not once for every try.
        assert_eq!(i.restarts(name, "main"), 1, "{name}");
        assert_eq!(starts(&i, name), 2, "{name}");
    }
    i.holds_for(Duration::from_secs(3), "nothing more is restarted", |i| {
        PODS.iter().all(|p| starts(i, p) == 2)
    });
}

#[test]
fn dockerd_killed_under_pods_gives_all_of_them_back_once() {
    let Some((mut engine, mut i)) = instance_and_dockerd() else { return };
    write_pods(&i);
    i.start();
    until_all_run_once(&i);
    engine.kill();
    std::thread::sleep(Duration::from_secs(2));
    engine.start_again();
    until_all_run_once(&i);
    for name in PODS {
        assert!((0..=1).contains(&i.restarts(name, "main")), "{name}: {}", i.restarts(name, "main"));
        assert_eq!(starts(&i, name), 1 + i.restarts(name, "main") as usize, "{name}");
    }
}

/// Everything that is said of docker, in warnings of the daemon and messages of Pods.
fn said(i: &Instance) -> String {
    let of_pods = i.published().into_iter().filter_map(|p: PodStatusFile| p.message);
    let of_daemon = i.daemon_status().into_iter().flat_map(|d| d.warnings);
    of_pods.chain(of_daemon).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_dockerd_that_hangs_costs_nothing_and_is_told() {
    let Some((engine, mut i)) = instance_and_dockerd() else { return };
    write_pods(&i);
    let probe = "livenessProbe: {exec: {command: [\"true\"]}, periodSeconds: 1, failureThreshold: 1}";
    i.write_manifest("c.yaml", &one(&i, "c", &canary("c"), &[probe]));
    i.start();
    until_all_run_once(&i);
    let pids = PODS.map(|p| i.running_pid(p, "main").unwrap());
    host::signal(engine.pid(), Signal::SIGSTOP);
    let began = Instant::now();
    // Something is to be done meanwhile: an end, which the daemon sees without docker, and a new Pod.
    host::signal(pids[0], Signal::SIGKILL);
    i.write_manifest("late.yaml", &one(&i, "late", &canary("late"), &[]));
    while began.elapsed() < Duration::from_secs(10) {
        assert!(host::alive(i.daemon_pid()));
        let status = i.cli("status", &[]);
        assert!(status.status.success(), "the daemon answers: {}", crate::common::describe(&status));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(
        pids[1..].iter().all(|p| host::alive(*p)),
        "what runs goes on, whatever its probes cannot find out"
    );
    i.until_within(Duration::from_secs(60), "status says that docker does not answer", |i| {
        said(i).contains("docker does not answer")
    });
    host::signal(engine.pid(), Signal::SIGCONT);
    i.until_within(Duration::from_secs(60), "all is well again", |i| {
        i.ready("late") && PODS.iter().all(|p| i.ready(p)) && !said(i).contains("does not answer")
    });
    for (name, pid) in PODS.iter().zip(&pids).skip(1) {
        assert_eq!(i.running_pid(name, "main"), Some(*pid), "{name} was not touched");
    }
    assert_eq!(i.restarts("a", "main"), 1);
    assert_eq!((starts(&i, "a"), starts(&i, "late")), (2, 1));
    i.until("each container is there once", |i| all(i).len() == 8);
}

#[test]
fn a_daemon_that_begins_while_dockerd_is_away_waits_for_it() {
    let Some((mut engine, mut i)) = instance_and_dockerd() else { return };
    engine.stop();
    write_pods(&i);
    i.start();
    i.until("status says that docker does not answer", |i| said(i).contains("docker"));
    engine.start_again();
    until_all_run_once(&i);
    for name in PODS {
        assert_eq!((i.restarts(name, "main"), starts(&i, name)), (0, 1), "{name}: no back-off was burnt");
    }
}

#[test]
fn a_daemon_killed_and_started_again_restarts_no_container() {
    let Some(mut i) = instance() else { return };
    write_pods(&i);
    i.start();
    until_all_run_once(&i);
    let before = PODS.map(|p| (i.running_pid(p, "main").unwrap(), the(&i, p, "main")));
    for _ in 0..3 {
        i.kill9();
        assert!(before.iter().all(|(pid, _)| host::alive(*pid)), "containers live without the daemon");
        i.start();
        until_all_run_once(&i);
    }
    let after = PODS.map(|p| (i.running_pid(p, "main").unwrap(), the(&i, p, "main")));
    assert_eq!(before, after);
    for name in PODS {
        assert_eq!((i.restarts(name, "main"), starts(&i, name)), (0, 1), "{name}");
    }
}

#[test]
fn an_end_while_the_daemon_is_away_is_counted_with_its_code() {
    let Some(mut i) = instance() else { return };
    let script = canary("web").replace("exit 0", "exit 42");
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[]));
    i.start();
    let pid = i.until_ready("web");
    i.kill9();
    host::signal(pid, Signal::SIGTERM);
    i.until("it has ended", |_| !host::alive(pid));
    i.start();
    i.until("it was started again", |i| i.restarts("web", "main") == 1 && i.ready("web"));
    assert_eq!(i.container("web", "main").unwrap().last_state.terminated.unwrap().exit_code, 42);
    i.until("it has begun again", |i| starts(i, "web") == 2);
}

#[test]
fn a_daemon_killed_at_any_moment_of_a_start_starts_each_container_once() {
    let Some(mut i) = instance() else { return };
    i.start();
    for n in 0..8 {
        let name = format!("p{n}");
        i.write_manifest(&format!("{name}.yaml"), &one(&i, &name, &canary(&name), &[]));
        std::thread::sleep(Duration::from_millis(60 * n));
        i.kill9();
        i.start();
    }
    for n in 0..8 {
        let name = format!("p{n}");
        i.until_ready(&name);
        i.until(&format!("{name} is there once"), |i| containers(i, &name, "main").len() == 1);
        let ends = i.lines(&name).iter().filter(|l| l.starts_with("term ")).count();
        // A start that was cut off half-way may be undone and made again; two at a time may never be.
        assert_eq!(starts(&i, &name), ends + 1, "{name}: {:?}", i.lines(&name));
    }
}
