//! docker as Debian has it, where systemd makes its control groups: a Pod's limits hold there, also when systemd has read
//! its files again, nothing of a Pod is left, and a container that is killed by hand comes back.

use std::sync::PoisonError;
use std::time::Duration;

use crate::common::host;
use crate::common::image::BUSYBOX;
use crate::vm::{Vm, say};
use crate::{SMALL, Scratch, machine, small};

/// How long anything may take, emulated and through docker.
const LONG: Duration = Duration::from_secs(240);

/// Two containers, each with limits, in namespaces of the Pod's own.
fn manifest() -> String {
    let container = |name: &str, number: u32| {
        format!(
            "  - name: {name}\n    image: {BUSYBOX}\n    imagePullPolicy: IfNotPresent\n    command: [sleep, \"{number}\"]\n    \
             resources: {{requests: {{cpu: 100m}}, limits: {{cpu: 250m, memory: 64Mi}}}}\n"
        )
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: bounded}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n{}{}",
        container("one", 1_000_001),
        container("two", 1_000_002)
    )
}

/// The Pod's own group, by one of its processes.
fn group(vm: &mut Vm, number: u32) -> String {
    let own = vm.until(
        "the container runs",
        LONG,
        &format!("pid=$(pgrep -x -f 'sleep {number}') && cat /proc/$pid/cgroup"),
    );
    let own = own.trim().strip_prefix("0::").expect("one hierarchy");
    let (pod, scope) = own.rsplit_once('/').unwrap();
    assert!(scope.starts_with("docker-") && scope.ends_with(".scope"), "{own}");
    assert!(pod.starts_with("/podstrap.slice/podstrap-pod") && pod.ends_with(".slice"), "{own}");
    format!("/sys/fs/cgroup{pod}")
}

fn limits(vm: &mut Vm, group: &str) -> String {
    vm.sh(&format!("cd {group} && cat cpu.weight cpu.max memory.max"))
}

#[test]
fn on_a_stock_debian_with_docker_the_limits_of_a_pod_hold_and_nothing_is_left() {
    let _one = SMALL.lock().unwrap_or_else(PoisonError::into_inner);
    // What a Debian has that was not made for a test: AppArmor is in the kernel, and docker then uses it.
    let base = match machine(&["docker.io", "apparmor"]) {
        Ok(base) => base,
        Err(reason) => return host::skip(&reason),
    };
    let dir = std::env::temp_dir().join(format!("podstrap-docker-host-{}", std::process::id()));
    let scratch = Scratch(dir.clone());
    let mut vm = small(&dir, &base);
    vm.until("docker answers", LONG, "docker info >/dev/null");
    assert_eq!(vm.sh("docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}'"), "systemd 2");
    vm.sh(
        "mkdir -p /etc/systemd/system/podstrap.service.d && printf '[Service]\\nExecStart=\\nExecStart=/usr/local/bin/podstrap \
         run --runtime docker --rescan 1s\\n' >/etc/systemd/system/podstrap.service.d/docker.conf",
    );
    vm.write("/etc/kubernetes/manifests/bounded.yaml", &manifest());
    vm.sh_within(LONG, "systemctl daemon-reload && systemctl start podstrap");
    vm.sh_within(LONG, "podstrap wait --for ready --timeout 3m bounded");

    // Of both containers together; what they ask for by shares is 204 of 1024.
    let pod = group(&mut vm, 1_000_001);
    assert_eq!(group(&mut vm, 1_000_002), pod);
    let wanted = "8\n50000 100000\n134217728";
    assert_eq!(limits(&mut vm, &pod), wanted);
    // systemd writes what it knows when it reads its files again, and when something comes into the slice.
    vm.sh("systemctl daemon-reload");
    assert_eq!(limits(&mut vm, &pod), wanted);

    let before = vm.sh("pgrep -x -f 'sleep 1000001'");
    vm.sh("docker kill $(docker ps -q --filter label=io.kubernetes.container.name=one)");
    let again = format!("pid=$(pgrep -x -f 'sleep 1000001') && test $pid != {before}");
    vm.until("what was killed by hand is back", LONG, &again);
    assert_eq!(group(&mut vm, 1_000_001), pod);
    assert_eq!(limits(&mut vm, &pod), wanted);
    assert!(!vm.sh("podstrap status bounded").contains("do not hold"));

    vm.sh("rm /etc/kubernetes/manifests/bounded.yaml");
    vm.sh_within(LONG, "podstrap wait --for gone --timeout 3m bounded");
    let nothing = format!(
        "test ! -e {pod} && test -z \"$(docker ps -aq)\" && test -z \"$(ls /run/systemd/system.control 2>/dev/null)\" && \
         test -z \"$(systemctl list-units --all --plain --no-legend 'podstrap-pod*')\""
    );
    vm.until("nothing of it is left", LONG, &nothing);
    vm.sh_within(LONG, "podstrap down --timeout 2m");
    vm.until("its slice is gone", LONG, "test ! -e /sys/fs/cgroup/podstrap && ! pgrep podstrap");
    say("docker under systemd: limits hold, and nothing is left");
    drop(vm);
    drop(scratch);
    assert!(!dir.exists(), "{} is left", dir.display());
}
