//! A clock that is set by an hour, forward and back, as by the first answer of a time server: stamps follow it, and no deadline
//! does. On a machine of its own, since a clock is everybody's.

use std::sync::PoisonError;

use crate::common::host;
use crate::common::image::BUSYBOX;
use crate::vm::{Vm, say};
use crate::{SMALL, Scratch, machine, small};

/// How long the Pods have that do not listen to TERM, in seconds.
const GRACE: f64 = 8.0;

/// How late a busy machine may be, in seconds: nothing to an hour.
const LATE: f64 = 30.0;

/// A Pod of one container, `main`, whose script can write to /shared.
fn pod(name: &str, script: &str, more: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  \
         terminationGracePeriodSeconds: {GRACE}\n  containers:\n  - name: main\n    image: {BUSYBOX}\n    imagePullPolicy: \
         IfNotPresent\n    command: [sh, -c, {script}]\n    volumeMounts: [{{name: shared, mountPath: /shared}}]\n{more}  \
         volumes:\n  - {{name: shared, hostPath: {{path: /root/shared, type: DirectoryOrCreate}}}}\n"
    )
}

fn exec(command: &str) -> String {
    format!("exec: {{command: [sh, -c, {}]}}", serde_json::to_string(command).unwrap())
}

/// Seconds since the boot.
fn uptime(vm: &mut Vm) -> f64 {
    vm.sh("cut -d' ' -f1 /proc/uptime").trim().parse().unwrap()
}

/// What was written to a file in /shared: a moment a line, in seconds since the boot.
fn moments(vm: &mut Vm, file: &str) -> Vec<f64> {
    vm.sh(&format!("cat /root/shared/{file}")).lines().map(|l| l.parse().unwrap()).collect()
}

fn gaps(moments: &[f64]) -> Vec<f64> {
    moments.windows(2).map(|w| w[1] - w[0]).collect()
}

/// In the middle of the grace period of this Pod the clock is set. Its KILL comes when it would have come anyway.
fn jumps(vm: &mut Vm, by: &str, deaf: &str) {
    let begun = uptime(vm);
    vm.sh(&format!("rm /etc/kubernetes/manifests/{deaf}.yaml"));
    vm.sh(&format!("sleep 2; date -s '{by}' >/dev/null"));
    vm.sh(&format!("podstrap wait --for gone --timeout 60s {deaf}"));
    let took = uptime(vm) - begun;
    assert!((GRACE..GRACE + LATE).contains(&took), "{by}: a grace period of {GRACE} s took {took} s");
    // A line that was written after that has a stamp of the new time.
    let log = "tail -n 1 /var/log/pods/default_steady-node1_*/main/0.log | cut -d' ' -f1";
    let late = vm.sh(&format!("sleep 2; echo $(( $(date +%s) - $(date -d \"$({log})\" +%s) ))"));
    let late: i64 = late.trim().parse().unwrap();
    // A second is the least that can be told, and the log may be read after the clock was.
    let is_new = (-2..=30).contains(&late);
    assert!(is_new, "{by}: the log's last stamp is {late} s old: {}", vm.sh("podstrap status"));
    // Its container began before, by either clock.
    vm.sh("podstrap wait --timeout 60s plain");
    say(&format!(
        "{by}: a grace period of {GRACE} s took {took:.1} s, and the log's stamps are of the new time"
    ));
}

#[test]
fn a_clock_that_jumps_moves_stamps_and_no_deadline() {
    let _one = SMALL.lock().unwrap_or_else(PoisonError::into_inner);
    let base = match machine(&[]) {
        Ok(base) => base,
        Err(reason) => return host::skip(&reason),
    };
    let dir = std::env::temp_dir().join(format!("podstrap-clock-{}", std::process::id()));
    let scratch = Scratch(dir.clone());
    let mut vm = small(&dir, &base);
    let stamp = "read up _ </proc/uptime; echo $up >>/shared/";
    let probe = format!(
        "    livenessProbe: {{{}, periodSeconds: 1, timeoutSeconds: 5}}\n",
        exec(&format!("{stamp}probes"))
    );
    let never = format!(
        "    startupProbe: {{{}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 10}}\n",
        exec("exit 1")
    );
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    for (name, script, more) in [
        ("steady", "trap 'exit 0' TERM; while :; do echo tick; sleep 1; done", probe.as_str()),
        ("plain", "trap 'exit 0' TERM; while :; do sleep 1; done", ""),
        ("crash", &format!("{stamp}crash; exit 1"), ""),
        ("slow", &format!("{stamp}slow; trap 'exit 0' TERM; while :; do sleep 0.2; done"), never.as_str()),
        ("deaf1", deaf, ""),
        ("deaf2", deaf, ""),
    ] {
        vm.write(&format!("/etc/kubernetes/manifests/{name}.yaml"), &pod(name, script, more));
    }
    vm.sh("systemctl daemon-reload && systemctl start podstrap");
    vm.sh("podstrap wait --timeout 60s steady plain deaf1 deaf2");
    let before = vm.sh("pgrep -f '[e]cho tick'");
    jumps(&mut vm, "+1 hour", "deaf1");
    jumps(&mut vm, "-2 hours", "deaf2");
    jumps_no_more(&mut vm);
    assert_eq!(vm.sh("pgrep -f '[e]cho tick'"), before, "who does nothing wrong runs on");
    assert_eq!(vm.sh("systemctl show -P NRestarts podstrap.service"), "0");
    drop(vm);
    drop(scratch);
    assert!(!dir.exists(), "{} is left", dir.display());
}

/// What went on meanwhile, by the clock that does not jump.
fn jumps_no_more(vm: &mut Vm) {
    let probes = gaps(&moments(vm, "probes"));
    let longest = probes.iter().copied().fold(0.0, f64::max);
    assert!(probes.len() > 5 && longest < LATE, "probes of every second: {probes:?}");
    // None, 1, 2, 4, 8 … seconds after the end of the last run.
    let crashes = gaps(&moments(vm, "crash"));
    assert!(crashes.len() >= 4, "{crashes:?}");
    for (gap, wait) in crashes.iter().zip([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]) {
        assert!((wait - 0.05..wait + LATE).contains(gap), "the schedule of restarts: {crashes:?}");
    }
    // Nine seconds and a bit to the tenth failure (and one more for each try that a busy machine lets time out), and then the
    // same schedule.
    let slow = gaps(&moments(vm, "slow"));
    assert!(!slow.is_empty(), "{slow:?}");
    for (gap, wait) in slow.iter().zip([0.0, 1.0, 2.0, 4.0]) {
        assert!((9.0 + wait..21.0 + wait + LATE).contains(gap), "a startup probe's time: {slow:?}");
    }
    say(&format!(
        "probes at most {longest:.1} s apart; restarts after {crashes:.1?} s; startup probes end it after {slow:.1?} s"
    ));
}
