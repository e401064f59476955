//! What a newcomer does on a real host: a fresh Debian, `dist/cloud-init.yaml` as its user-data, and kubeadm's control
//! plane on it; then a reboot, and then a power cut in the middle of writes.
//!
//! It is one test with one machine, since a boot takes half a minute where it is emulated. This is also the only test of
//! runc on cgroup v2, with all capabilities, under a real systemd; what these change is looked at on the way. docker has
//! a machine of its own, and so has a clock that jumps: one after the other, beside the first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;
mod docker;
mod vm;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::image::{BUSYBOX, in_tree};
use common::{host, image, podstrap, text};
use serde_json::Value;
use vm::{ADDRESS, SERVER, Tool, Vm, run, say};

/// The Pods, in the order in which they can work.
const PODS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// How long a control plane may take: emulated, on a machine that does something else as well.
const LONG: Duration = Duration::from_secs(900);

/// As root on the machine, in every call.
const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 60s";

/// Writes ConfigMaps by several hands, as fast as they are acknowledged, and tells of each that is.
const WRITER: &str = r#"
import http.client, json, ssl, sys, threading
pki = '/etc/kubernetes/pki/'
context = ssl.create_default_context(cafile=pki + 'ca.crt')
context.load_cert_chain(pki + 'apiserver-kubelet-client.crt', pki + 'apiserver-kubelet-client.key')
acks = open('/dev/virtio-ports/podstrap.acks', 'wb', buffering=0)
def write(hand):
    connection = http.client.HTTPSConnection(sys.argv[1], 6443, context=context, timeout=120)
    for number in range(1000000):
        name = 'written-%d-%d' % (hand, number)
        body = {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': {'value': 'x' * 1000}}
        try:
            connection.request('POST', '/api/v1/namespaces/default/configmaps', json.dumps(body),
                               {'Content-Type': 'application/json'})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            print(name, error, flush=True)
            connection.close()
            continue
        if answer.status == 201:
            acks.write((name + '\n').encode())
        else:
            print(name, answer.status, flush=True)
for hand in range(4):
    threading.Thread(target=write, args=(hand,)).start()
"#;

/// The test's directory; it goes with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_fresh_host_becomes_a_control_plane_and_stays_one() {
    let Some((base, kubernetes)) = tools() else { return };
    let dir = std::env::temp_dir().join(format!("podstrap-fresh-host-{}", std::process::id()));
    let scratch = Scratch(dir.clone());
    fs::create_dir_all(&dir).unwrap();
    let began = Instant::now();
    let pin = bundle(&dir.join("bundle"), &kubernetes);
    seed(&dir, &user_data(&pin, kubernetes.value("version")));
    Vm::make_disk(&dir, &base);
    say(&format!("a machine with {}", base.value("accel")));

    let mut vm = Vm::start(&dir, &base);
    let first = vm.until_booted("");
    say(&format!("its shell answers after {:.0} s", began.elapsed().as_secs_f64()));
    vm.until("cloud-init is done", LONG, "test -e /run/cloud-init/result.json");
    cloud_init_is_content(&mut vm);
    says_how_long_it_took(&mut vm);
    all_is_ready(&mut vm);
    the_unit_is_well(&mut vm);
    critical_pods_have_their_place(&mut vm);
    vm.sh(&format!("{KUBECTL} create configmap kept --from-literal=value=yes"));
    it_can_be_run_again(&mut vm, &pin);

    say("it reboots");
    vm.sh("(sleep 1; systemctl reboot) >/dev/null 2>&1 &");
    let second = vm.until_booted(&first);
    say("it is back");
    is_ready_again(&mut vm, "a reboot");
    the_stop_was_in_order(&mut vm);
    limits_are_real(&mut vm);
    a_daemon_that_hangs_is_replaced(&mut vm);

    let acked = writes(&mut vm, &dir);
    vm.power_cut();
    say(&format!("its power is cut, with {} writes acknowledged", acknowledged(&dir).len()));
    let mut vm = Vm::start(&dir, &base);
    assert_ne!(vm.until_booted(""), second);
    is_ready_again(&mut vm, "a power cut");
    let names = vm.sh(&format!("{KUBECTL} get configmaps -o 'jsonpath={{.items[*].metadata.name}}'"));
    let there: BTreeSet<&str> = names.split(' ').collect();
    let acknowledged = acknowledged(&dir);
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !there.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    assert!(acknowledged.len() >= acked);
    say(&format!("nothing is lost; {:.0} s in all", began.elapsed().as_secs_f64()));
    drop(vm);
    drop(scratch);
    assert!(!dir.exists(), "{} is left", dir.display());
}

/// The machine's base and the programs. `None`, said aloud, where they cannot be had.
fn tools() -> Option<(Tool, Tool)> {
    let found = machine(&[]).and_then(|base| Ok((base, Tool::run("control-plane", &[])?)));
    found.map_err(|reason| host::skip(&reason)).ok()
}

/// The machine's base, with these packages beside the usual ones, or why there is none.
fn machine(packages: &[&str]) -> Result<Tool, String> {
    let missing = match () {
        () if !nix::unistd::geteuid().is_root() => Some("not root".to_owned()),
        () if !cfg!(target_arch = "x86_64") => Some("the machine is an x86-64 one".to_owned()),
        () => ["qemu-system-x86_64", "qemu-img", "genisoimage", "busybox", "strip"]
            .iter()
            .find(|program| host::find(program).is_none())
            .map(|program| format!("no {program} on PATH")),
    };
    missing.map_or_else(|| Tool::run("vm", packages), Err)
}

/// Makes what the web server has, as podstrap-cloud-init(7) tells to; gives the number that vouches for it.
fn bundle(dir: &Path, kubernetes: &Tool) -> String {
    fs::create_dir_all(dir).unwrap();
    for pod in PODS {
        image::provide(Path::new(kubernetes.value(pod)), dir, &format!("{pod}.tar"));
    }
    // Not of a control plane: for the Pods with limits.
    image::provide_busybox(dir);
    for program in ["kubeadm", "kubectl"] {
        image::provide(&Path::new(kubernetes.value("bin")).join(program), dir, program);
    }
    for unit in ["podstrap.service", "podstrap-shutdown.service"] {
        fs::copy(in_tree("dist").join(unit), dir.join(unit)).unwrap();
    }
    run(Command::new("strip").arg("-o").arg(dir.join("podstrap")).arg(podstrap()));
    let list = run(Command::new("sh").arg("-c").arg("sha256sum -- *").current_dir(dir)).stdout;
    fs::write(dir.join("SHA256SUMS"), list).unwrap();
    let pin = text(&run(Command::new("sha256sum").arg(dir.join("SHA256SUMS"))).stdout);
    pin.split_whitespace().next().unwrap().to_owned()
}

/// The example, with what it leaves open filled in.
fn user_data(pin: &str, version: &str) -> String {
    let mut example = fs::read_to_string(in_tree("dist/cloud-init.yaml")).unwrap();
    let blank = "0".repeat(64);
    for (open, filled) in [
        ("SOURCE=https://files.example.com/control-plane\n", format!("SOURCE={SERVER}\n")),
        (&format!("SHA256={blank}\n"), format!("SHA256={pin}\n")),
        ("TIMEOUT=10m\n", "TIMEOUT=14m\n".to_owned()),
        ("timeoutForControlPlane: 4m}\n", "timeoutForControlPlane: 14m}\n".to_owned()),
        ("kubernetesVersion: v1.20.2\n", format!("kubernetesVersion: {version}\n")),
    ] {
        assert_eq!(example.matches(open).count(), 1, "{open}");
        example = example.replace(open, &filled);
    }
    example
}

/// Makes the medium on which cloud-init finds what it is to do: the NoCloud data source.
fn seed(dir: &Path, user_data: &str) {
    let seed = dir.join("seed");
    fs::create_dir_all(&seed).unwrap();
    fs::write(seed.join("user-data"), user_data).unwrap();
    fs::write(seed.join("meta-data"), "instance-id: fresh-host\nlocal-hostname: node1\n").unwrap();
    let network = format!(
        "version: 2\nethernets:\n  link0:\n    match: {{macaddress: '52:54:00:12:34:56'}}\n    \
         addresses: [{ADDRESS}/24]\n    gateway4: 10.0.2.2\n"
    );
    fs::write(seed.join("network-config"), network).unwrap();
    run(Command::new("genisoimage")
        .args(["-quiet", "-V", "cidata", "-J", "-r", "-o"])
        .arg(dir.join("seed.iso"))
        .arg(&seed));
}

/// The names that were acknowledged; a line that was cut off is none.
fn acknowledged(dir: &Path) -> Vec<String> {
    let acks = text(&fs::read(dir.join("acks")).unwrap_or_default());
    let whole = acks.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}

/// Held by each test with a small machine: with the large one, two at a time are enough for any host.
static SMALL: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A machine, switched on, on which podstrap stands but does not run: with busybox's image, and nothing of a control plane.
fn small(dir: &Path, base: &Tool) -> Vm {
    let bundle = dir.join("bundle");
    fs::create_dir_all(&bundle).unwrap();
    image::provide_busybox(&bundle);
    for unit in ["podstrap.service", "podstrap-shutdown.service"] {
        fs::copy(in_tree("dist").join(unit), bundle.join(unit)).unwrap();
    }
    run(Command::new("strip").arg("-o").arg(bundle.join("podstrap")).arg(podstrap()));
    seed(dir, "#cloud-config\nssh_deletekeys: false\n");
    Vm::make_disk(dir, base);
    let mut vm = Vm::start(dir, base);
    vm.until_booted("");
    vm.until("cloud-init is done", Duration::from_secs(300), "test -e /run/cloud-init/result.json");
    let get = |from: &str, to: &str| format!("curl -fsS -o {to} {SERVER}/{from}");
    vm.sh("mkdir -p /etc/kubernetes/manifests /var/lib/podstrap/images.d");
    vm.sh(&get("podstrap", "/usr/local/bin/podstrap"));
    vm.sh("chmod 755 /usr/local/bin/podstrap");
    vm.sh(&get("busybox.tar", "/var/lib/podstrap/images.d/busybox.tar"));
    for unit in ["podstrap.service", "podstrap-shutdown.service"] {
        vm.sh(&get(unit, &format!("/etc/systemd/system/{unit}")));
    }
    vm
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Every step of cloud-init went well, and it finds nothing wrong with the user-data.
fn cloud_init_is_content(vm: &mut Vm) {
    let (code, status) = vm.try_sh("cloud-init status --long", Duration::from_secs(120)).expect("an answer");
    assert!(code == 0 && status.contains("status: done"), "{status}\n{}", vm.story());
    let result = json(&vm.sh("cat /run/cloud-init/result.json"));
    assert_eq!(result["v1"]["errors"], serde_json::json!([]), "{}", vm.story());
    let schema = vm.sh("cloud-init schema --config-file /var/lib/cloud/instance/user-data.txt");
    assert!(schema.contains("Valid cloud-config"), "{schema}");
    let maps = vm.sh(&format!("{KUBECTL} -n kube-system get configmaps -o name"));
    assert!(maps.contains("configmap/kubeadm-config"), "what comes after the gate was done: {maps}");
}

/// From the start of cloud-init to /readyz.
fn says_how_long_it_took(vm: &mut Vm) {
    let status = json(&vm.sh("cat /run/cloud-init/status.json"));
    let start = status["v1"]["init-local"]["start"].as_f64().expect("when it was started");
    let pod = json(&vm.sh("podstrap status -o json kube-system/kube-apiserver"));
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
    let ready: jiff::Timestamp = ready["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    let daemon = vm.sh("date +%s.%N -d \"$(systemctl show -P ExecMainStartTimestamp podstrap)\"");
    let ready = ready.as_second() as f64;
    say(&format!(
        "from cloud-init's start to the apiserver's /readyz: {:.0} s, of which {:.0} s from podstrap's start",
        ready - start,
        ready - daemon.parse::<f64>().unwrap()
    ));
    assert!(ready > start);
}

/// All four Pods are ready, as podstrap, systemd and the apiserver tell it.
fn all_is_ready(vm: &mut Vm) {
    // One that has lost its lease to a slow apiserver comes back.
    let pods = PODS.map(|pod| format!("kube-system/{pod}")).join(" ");
    vm.sh_within(LONG, &format!("podstrap wait --for ready --timeout 14m {pods}"));
    let list = json(&vm.sh("podstrap status -o json"));
    for pod in PODS {
        let name = format!("{pod}-node1");
        let item = list["items"].as_array().unwrap().iter().find(|i| i["metadata"]["name"] == name.as_str());
        let status = &item.unwrap_or_else(|| panic!("{pod} is not in {list}"))["status"];
        let ready = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        assert!(ready, "{pod}: {status}");
    }
    let ready = vm.sh(&format!("{KUBECTL} get --raw '/readyz?verbose'"));
    assert!(ready.contains("[+]etcd ok") && ready.contains("readyz check passed"), "{ready}");
}

/// A property of the daemon's unit.
fn unit(vm: &mut Vm, property: &str) -> String {
    vm.sh(&format!("systemctl show -P {property} podstrap.service"))
}

/// systemd has nothing to say against the units, and tells how things are.
fn the_unit_is_well(vm: &mut Vm) {
    assert_eq!(unit(vm, "ActiveState"), "active");
    assert_eq!(unit(vm, "NRestarts"), "0");
    vm.until("the status line", LONG, "test \"$(systemctl show -P StatusText podstrap)\" = '4/4 ready'");
    assert_eq!(vm.sh("systemctl is-active podstrap-shutdown.service"), "active");
    assert_eq!(vm.sh("systemctl is-enabled podstrap.service podstrap-shutdown.service"), "enabled\nenabled");
    // The manual is not installed there.
    let said = vm.sh("systemd-analyze verify --man=no podstrap.service podstrap-shutdown.service");
    assert_eq!(said, "");
    assert_eq!(vm.sh("systemctl --failed --no-legend --plain"), "");
}

/// The first process of the container of each of these Pods, once all of them run.
fn pids(vm: &mut Vm, pods: &[&str]) -> Vec<u32> {
    let ask: Vec<String> = pods.iter().map(|pod| format!("pgrep -o -f '^{pod} '")).collect();
    let said = vm.until("all processes run", LONG, &ask.join(" && "));
    let pids: Vec<u32> = said.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(pids.len(), pods.len());
    pids
}

/// Those that are to stay: the other two end by themselves when a slow apiserver lets their leases run out.
fn steady(vm: &mut Vm) -> Vec<u32> {
    pids(vm, &PODS[..2])
}

/// On a host that refuses nothing, critical Pods are the last that the kernel kills, and all are where they belong.
fn critical_pods_have_their_place(vm: &mut Vm) {
    assert_eq!(vm.sh("stat -f -c %T /sys/fs/cgroup"), "cgroup2fs");
    for pod in PODS {
        // At one go: it may end by itself between two questions.
        let ask = format!(
            "p=$(pgrep -o -f '^{pod} ') && cat /proc/$p/oom_score_adj /proc/$p/cgroup && \
             cat /sys/fs/cgroup$(cut -c4- /proc/$p/cgroup)/cpu.weight"
        );
        let said = vm.until(&format!("{pod} runs"), LONG, &ask);
        let [score, cgroup, weight] = said.lines().collect::<Vec<_>>()[..] else { panic!("{pod}: {said}") };
        assert_eq!(score, "-997", "{pod}");
        assert!(cgroup.starts_with("0::/podstrap/"), "{pod}: {cgroup}");
        // The requests of kubeadm's manifests: 100m of etcd, 250m of the apiserver, and so on.
        assert_ne!(weight, "100", "{pod} has the weight of one that asks for nothing");
    }
    let daemon = unit(vm, "MainPID");
    assert_eq!(vm.sh(&format!("cat /proc/{daemon}/oom_score_adj")), "-999");
    let cgroup = vm.sh(&format!("cat /proc/{daemon}/cgroup"));
    assert_eq!(cgroup, "0::/podstrap.slice/podstrap.service");
    let log = vm.sh("journalctl -b -u podstrap -o cat --no-pager");
    assert!(!log.contains("oom_score_adj") && !log.contains("rlimit"), "this host refuses nothing: {log}");
}

/// The script of the user-data, by hand: what is there stays as it is, and what is not vouched for is not used.
fn it_can_be_run_again(vm: &mut Vm, pin: &str) {
    let before = steady(vm);
    let again = vm.sh_within(LONG, "control-plane-up");
    assert!(again.ends_with("control-plane-up: the control plane is ready"), "{again}");
    assert_eq!(steady(vm), before, "nothing is restarted: {again}");
    let command =
        format!("sed -i s/{pin}/{}/ /etc/control-plane/settings && control-plane-up", "1".repeat(64));
    let (code, said) = vm.try_sh(&command, LONG).expect("an answer");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("FAILED: http://10.0.2.100/SHA256SUMS is not what /etc/control-plane/settings says"),
        "{said}"
    );
    assert_eq!(steady(vm), before);
}

/// After another boot: all is ready, what was written is there, and nothing is left of the boot before.
fn is_ready_again(vm: &mut Vm, after: &str) {
    let began = Instant::now();
    let pods = PODS.map(|pod| format!("kube-system/{pod}")).join(" ");
    vm.sh_within(LONG, &format!("podstrap wait --for ready --timeout 14m {pods}"));
    let uptime = vm.sh("cut -d. -f1 /proc/uptime");
    say(&format!(
        "ready {uptime} s after the boot that followed {after} ({:.0} s here)",
        began.elapsed().as_secs_f64()
    ));
    all_is_ready(vm);
    let kept = vm.sh(&format!("{KUBECTL} get configmap kept -o 'jsonpath={{.data.value}}'"));
    assert_eq!(kept, "yes");
    let boot: i64 = vm.sh("date +%s -d \"$(uptime -s)\"").parse().unwrap();
    // What has lost its lease to a slow apiserver is between two runs for a moment.
    let end = Instant::now() + LONG;
    let all_run = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        let mut containers = items.iter().flat_map(|i| i["status"]["containerStatuses"].as_array().unwrap());
        containers.all(|c| c["state"]["running"].is_object())
    };
    let mut list = json(&vm.sh("podstrap status -o json"));
    while !all_run(&list) {
        assert!(Instant::now() < end, "not all run: {list}");
        std::thread::sleep(Duration::from_millis(500));
        list = json(&vm.sh("podstrap status -o json"));
    }
    for item in list["items"].as_array().unwrap() {
        for container in item["status"]["containerStatuses"].as_array().unwrap() {
            let started = container["state"]["running"]["startedAt"].as_str().unwrap();
            let started: jiff::Timestamp = started.parse().unwrap();
            assert!(started.as_second() >= boot, "of the boot before: {item}");
        }
    }
    // One writable layer for each container that runs; those of the former boot are removed.
    let layers: usize = vm.sh("ls /var/lib/podstrap/containers | wc -l").parse().unwrap();
    let runs: usize = vm.sh("ls -d /run/podstrap/pods/*/c/*/* | wc -l").parse().unwrap();
    assert!(layers >= PODS.len() && layers <= runs, "{layers} layers, {runs} runs");
    assert_eq!(unit(vm, "ActiveState"), "active");
}

/// In the journal of the boot before: each ended by itself, and etcd last.
fn the_stop_was_in_order(vm: &mut Vm) {
    let journal = vm.sh("journalctl -b -1 -o cat --no-pager -u podstrap -u podstrap-shutdown");
    let tail: Vec<&str> =
        journal.lines().skip_while(|l| !l.starts_with("Stopping podstrap-shutdown")).collect();
    let tail = tail.join("\n");
    let at = |pod: &str| {
        tail.find(&format!("{pod}: ended "))
            .unwrap_or_else(|| panic!("{pod} did not end in order: {journal}"))
    };
    let places = PODS.map(at);
    assert!(places.is_sorted_by(|a, b| a > b), "what needs another ends before it: {tail}");
    // As in the control plane's own test: these two do not listen, and end as a Go program does at a TERM.
    for (pod, how) in
        PODS.iter().zip(["(exit code 0)", "(exit code 0)", "with exit code 2", "with exit code 2"])
    {
        assert!(tail.contains(&format!("{pod}: ended {how}\n")), "{pod}: {tail}");
    }
    assert!(tail.contains("podstrap-shutdown.service: Deactivated successfully."), "{tail}");
    assert!(!tail.contains("timed out"), "{tail}");
    say("the stop before it was in order: scheduler, controller-manager, apiserver, etcd");
}

/// Limits are in the control groups, and the kernel's kill is told by its name.
fn limits_are_real(vm: &mut Vm) {
    let pod = |name: &str, rest: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
             hostNetwork: true\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: {BUSYBOX}\n    {rest}\n"
        )
    };
    vm.write(
        "/etc/kubernetes/manifests/bounded.yaml",
        &pod(
            "bounded",
            "command: [sleep, infinity]\n    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 250m, memory: 64Mi}}",
        ),
    );
    vm.write(
        "/etc/kubernetes/manifests/greedy.yaml",
        &pod("greedy", "command: [tail, /dev/zero]\n    resources: {limits: {memory: 24Mi}}"),
    );
    vm.sh_within(LONG, "podstrap wait --for running --timeout 5m bounded");
    let group = vm.sh("cat /proc/$(pgrep -x -f 'sleep infinity')/cgroup");
    let group = format!("/sys/fs/cgroup{}", group.strip_prefix("0::").expect("one hierarchy"));
    assert!(group.starts_with("/sys/fs/cgroup/podstrap/"), "{group}");
    assert_eq!(vm.sh(&format!("cat {group}/cpu.max")), "25000 100000");
    assert_eq!(vm.sh(&format!("cat {group}/memory.max")), "67108864");
    vm.until(
        "the one that takes too much is killed",
        LONG,
        "podstrap status greedy -o json | grep -q '\"reason\": *\"OOMKilled\"'",
    );
    let greedy = json(&vm.sh("podstrap status greedy -o json"));
    assert_eq!(greedy["status"]["phase"], "Failed", "{greedy}");
    let ended = &greedy["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&"OOMKilled".into(), &137.into()), "{greedy}");
    vm.sh("rm /etc/kubernetes/manifests/bounded.yaml /etc/kubernetes/manifests/greedy.yaml");
    vm.sh_within(LONG, "podstrap wait --for gone --timeout 2m bounded greedy");
    assert!(!vm.sh(&format!("ls -d {group} || true")).starts_with(&group), "{group} is left");
}

/// systemd's watchdog ends a daemon whose loop does not turn; its Pods do not notice, and the next one adopts them.
fn a_daemon_that_hangs_is_replaced(vm: &mut Vm) {
    let before = steady(vm);
    vm.sh("mkdir -p /run/systemd/system/podstrap.service.d");
    vm.write("/run/systemd/system/podstrap.service.d/sooner.conf", "[Service]\nWatchdogSec=20s\n");
    // An upgrade is a restart.
    vm.sh("systemctl daemon-reload && systemctl restart podstrap");
    assert_eq!(steady(vm), before, "a restart of the daemon is none of the containers");
    let daemon = unit(vm, "MainPID");
    vm.sh(&format!("kill -STOP {daemon}"));
    let is = |property: &str, value: &str| {
        format!("test \"$(systemctl show -P {property} podstrap)\" = '{value}'")
    };
    let again = [is("NRestarts", "1"), is("ActiveState", "active"), is("StatusText", "4/4 ready")];
    vm.until("systemd starts another daemon", LONG, &again.join(" && "));
    assert_ne!(unit(vm, "MainPID"), daemon);
    assert!(
        vm.sh("journalctl -b -u podstrap -o cat --no-pager").contains("Watchdog timeout"),
        "it was the watchdog"
    );
    assert_eq!(steady(vm), before);
    vm.sh("rm -r /run/systemd/system/podstrap.service.d && systemctl daemon-reload && systemctl restart podstrap");
    assert_eq!(steady(vm), before);
}

/// Lets the machine write until it has written enough, and goes on with writing.
fn writes(vm: &mut Vm, dir: &Path) -> usize {
    vm.write("/root/writer.py", WRITER);
    vm.sh(&format!("setsid python3 /root/writer.py {ADDRESS} >/root/writer.log 2>&1 &"));
    let end = Instant::now() + LONG;
    loop {
        let acked = acknowledged(dir).len();
        if acked >= 200 {
            return acked;
        }
        if Instant::now() > end {
            panic!("{acked} writes only: {}", vm.sh("tail /root/writer.log"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the user-data's script promises by its variables: that each of them is to be filled in.
#[test]
fn the_example_names_no_place_of_its_own() {
    let example = fs::read_to_string(in_tree("dist/cloud-init.yaml")).unwrap();
    assert!(example.starts_with("#cloud-config\n"));
    let filled = user_data("f", "v1");
    assert!(!filled.contains("example.com"), "one variable is the only place to be filled in");
    let yaml: Value = serde_yaml::from_str(&example).unwrap();
    let files = yaml["write_files"].as_array().unwrap();
    let dir = std::env::temp_dir().join(format!("podstrap-example-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let _scratch = Scratch(dir.clone());
    let script = dir.join("control-plane-up");
    fs::write(&script, files[2]["content"].as_str().unwrap()).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(files[2]["permissions"], "0755");
    run(Command::new("sh").arg("-n").arg(&script));
}
