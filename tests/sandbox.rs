//! `podstrap sandbox` as the daemon starts it: namespaces that live without a process, a real CNI network (the plugins of
//! Debian's containernetworking-plugins), and nothing left behind, whenever a helper is killed.
//!
//! Each test has a network namespace of its own that plays the host's, so bridges and packet filters go with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)] // `common` serves several test programs.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use podstrap::helper::sandbox::{self, Sandbox, SandboxError, SandboxSpec};
use podstrap::paths::{CniPaths, Roots};
use podstrap::pod::reference::Reference;
use podstrap::pod::{Container, ContainerName, Generation, Namespace, NodeName, Pod, PodKey, PodName, Port};
use podstrap::sys::cgroup::Cgroups;
use podstrap::sys::namespace::{self, Kind};
use podstrap::sys::process;
use serde_json::{Value, json};

use common::host::{entries, find, mounts_below, skip};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Roots, a CNI configuration and a network namespace that plays the host's.
struct Stage {
    dir: PathBuf,
    cgroup_root: String,
}

impl Stage {
    fn new(plugins: &Value) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("not root");
            return None;
        }
        if !Path::new("/usr/lib/cni/bridge").exists() {
            skip("no containernetworking-plugins");
            return None;
        }
        let name =
            format!("podstrap-sandbox-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        for sub in ["run", "net.d", "bin"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let stage = Self { dir, cgroup_root: name };
        namespace::make(Kind::Net, &stage.host(), namespace::raise_loopback).unwrap();
        stage.configure(plugins);
        Some(stage)
    }

    /// A bridge with addresses of its own book-keeping.
    fn bridge(&self) -> Value {
        json!({ "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
            "ipam": { "type": "host-local", "dataDir": self.dir.join("ipam"), "subnet": "10.77.0.0/24",
                "routes": [{ "dst": "0.0.0.0/0" }] } })
    }

    fn configure(&self, plugins: &Value) {
        let plugins: Vec<Value> = plugins
            .as_array()
            .unwrap()
            .iter()
            .map(|p| if p == "bridge" { self.bridge() } else { p.clone() })
            .collect();
        let list = json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": plugins });
        fs::write(self.dir.join("net.d/10-pods.conflist"), list.to_string()).unwrap();
    }

    fn host(&self) -> PathBuf {
        self.dir.join("host-net")
    }

    fn spec(&self, pod: Pod) -> SandboxSpec {
        SandboxSpec {
            roots: Roots {
                run: self.dir.join("run"),
                state: self.dir.join("state"),
                log: self.dir.join("log"),
            },
            boot_id: process::boot_id().unwrap(),
            pod,
            cni: CniPaths {
                conf_dir: self.dir.join("net.d"),
                bin_dirs: vec![self.dir.join("bin"), "/usr/lib/cni".into()],
            },
            docker: None,
            cluster_domain: "cluster.local".into(),
            cgroup_root: Some(self.cgroup_root.clone()),
        }
    }

    fn spawn(&self, verb: &str, spec: &SandboxSpec) -> Child {
        let mut request = tempfile(&self.dir);
        serde_json::to_writer(&mut request, spec).unwrap();
        std::io::Seek::rewind(&mut request).unwrap();
        Command::new("nsenter")
            .arg(format!("--net={}", self.host().display()))
            .args([env!("CARGO_BIN_EXE_podstrap"), "sandbox", verb])
            .stdin(request)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs nsenter")
    }

    fn run(&self, verb: &str, spec: &SandboxSpec) -> Output {
        self.spawn(verb, spec).wait_with_output().unwrap()
    }

    fn up(&self, spec: &SandboxSpec) -> Sandbox {
        let output = self.run("up", spec);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        serde_json::from_slice(&fs::read(spec.roots.sandbox(&spec.pod.generation)).unwrap()).unwrap()
    }

    /// The line of a failure.
    fn refused(&self, verb: &str, spec: &SandboxSpec) -> String {
        let output = self.run(verb, spec);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = String::from_utf8(output.stdout).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        line.trim_end().to_owned()
    }

    fn down(&self, spec: &SandboxSpec) {
        let output = self.run("down", spec);
        assert!(output.status.success(), "{output:?}");
        assert!(!spec.roots.sandbox(&spec.pod.generation).exists());
        assert!(!spec.roots.network(&spec.pod.generation).exists());
        assert!(!spec.roots.namespaces(&spec.pod.generation).exists());
    }

    /// Addresses that are given out, by the book-keeping of host-local.
    fn leased(&self) -> Vec<String> {
        let names = entries(&self.dir.join("ipam/pods")).into_iter();
        names
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|n| n.starts_with("10."))
            .collect()
    }

    /// What must be left after every `down`: the bridge, and nothing that belongs to a Pod.
    fn assert_clean(&self) {
        assert_eq!(self.leased(), Vec::<String>::new());
        assert_eq!(mounts_below(&self.dir), [self.host()]);
        let begin = Instant::now();
        // The kernel takes an interface away after its namespace, not with it.
        while interfaces(&self.host()).iter().any(|i| i.starts_with("veth")) {
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", interfaces(&self.host()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for file in entries(&self.dir.join("run/pods")).iter().map(|p| p.join("ns/pause.json")) {
            let pause = fs::read(&file).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
            if let Some(pid) = pause.and_then(|p| p["pid"].as_i64()) {
                common::host::signal(pid as i32, nix::sys::signal::Signal::SIGKILL);
            }
        }
        common::host::clean_up(&self.dir, &self.cgroup_root);
    }
}

fn tempfile(dir: &Path) -> File {
    let path = dir.join(format!("request-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file
}

fn pod(name: &str) -> Pod {
    let key = PodKey { namespace: Namespace::new("ns"), name: PodName::new(format!("{name}-node1")) };
    let image: Reference = Reference::parse("busybox").unwrap();
    let container = Container::new(ContainerName::new("c"), image);
    let digits: String = name.bytes().cycle().take(16).map(|b| format!("{b:02x}")).collect();
    let mut pod = Pod::new(key, Generation::new(digits), NodeName::new("node1"), vec![container]);
    pod.host_network = false;
    pod
}

/// Runs `work` in a network namespace, in a thread of its own.
fn inside<T: Send + 'static>(net: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = File::open(net).unwrap();
    let thread = std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}

fn interfaces(net: &Path) -> Vec<String> {
    let table = inside(net, || fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    table.lines().skip(2).map(|l| l.split(':').next().unwrap().trim().to_owned()).collect()
}

/// What `to` answers to a connection from `net`.
fn ask(net: &Path, to: SocketAddr) -> std::io::Result<String> {
    inside(net, move || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

/// A server in `net` that says `word` to the first who connects.
fn serve(net: &Path, port: u16, word: &'static str) {
    let listener = inside(net, move || TcpListener::bind(("0.0.0.0", port)).unwrap());
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(word.as_bytes()));
}

#[test]
fn two_pods_reach_each_other_and_leave_nothing() {
    let Some(stage) = Stage::new(&json!(["bridge"])) else { return };
    let mut b = pod("b");
    b.hostname = Some("bee".into());
    b.subdomain = Some("hive".into());
    b.fqdn_as_hostname = true;
    let (a, b) = (stage.spec(pod("a")), stage.spec(b));
    let (sa, sb) = (stage.up(&a), stage.up(&b));
    let (na, nb) = (sa.net.clone().unwrap(), sb.net.clone().unwrap());
    assert_eq!(interfaces(&na), ["lo", "eth0"]);
    assert_ne!(sa.addresses[0], sb.addresses[0]);
    let mut leased = stage.leased();
    leased.sort();
    assert_eq!(leased, [sa.addresses[0].to_string(), sb.addresses[0].to_string()]);
    serve(&nb, 80, "hello from b");
    assert_eq!(ask(&na, SocketAddr::new(sb.addresses[0], 80)).unwrap(), "hello from b");
    serve(&na, 81, "own loopback");
    assert_eq!(ask(&na, "127.0.0.1:81".parse().unwrap()).unwrap(), "own loopback");
    serve(&na, 82, "from the host");
    assert_eq!(ask(&stage.host(), SocketAddr::new(sa.addresses[0], 82)).unwrap(), "from the host");
    // Host names, System V IPC and /dev/shm are the Pod's own.
    let hostname = |uts: &Option<PathBuf>| {
        let file = format!("--uts={}", uts.as_ref().unwrap().display());
        let output =
            Command::new("nsenter").args([&file, "cat", "/proc/sys/kernel/hostname"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(hostname(&sa.uts), "a-node1");
    assert_eq!(hostname(&sb.uts), "bee.hive.ns.svc.cluster.local");
    let ipc = |s: &Sandbox| fs::metadata(s.ipc.as_ref().unwrap()).unwrap().ino();
    assert!(ipc(&sa) != ipc(&sb) && ipc(&sa) != fs::metadata("/proc/self/ns/ipc").unwrap().ino());
    assert_eq!(fs::metadata(sa.shm.as_ref().unwrap()).unwrap().mode() & 0o7777, 0o1777);
    assert!(sa.pid.is_none() && sa.pause.is_none());
    let output = stage.run("check", &a);
    assert!(output.status.success(), "{output:?}");

    // Once more is no more.
    assert_eq!(stage.up(&a), sa);
    assert_eq!(stage.leased().len(), 2);
    stage.down(&a);
    assert_eq!(stage.leased(), [sb.addresses[0].to_string()]);
    // The network's configuration may be gone by then.
    fs::remove_dir_all(stage.dir.join("net.d")).unwrap();
    stage.down(&b);
    stage.down(&b);
    stage.assert_clean();
}

#[test]
fn a_shared_pid_namespace_has_a_first_process_that_reaps_and_goes() {
    let Some(stage) = Stage::new(&json!(["bridge"])) else { return };
    let mut p = pod("p");
    p.host_network = true;
    p.share_process_namespace = true;
    let spec = stage.spec(p);
    let s = stage.up(&spec);
    assert!(s.net.is_none() && s.uts.is_none() && s.addresses.is_empty() && s.ipc.is_some());
    let pause = s.pause.unwrap();
    let group = Path::new(&stage.cgroup_root).join(format!("pod{}", spec.pod.generation)).join("pause");
    assert!(Cgroups::detect().unwrap().processes(&group).unwrap().contains(&pause.pid));
    let proc = PathBuf::from(format!("/proc/{}", pause.pid));
    let descriptors = || -> Vec<PathBuf> {
        entries(&proc.join("fd")).iter().filter_map(|f| fs::read_link(f).ok()).collect()
    };
    let begin = Instant::now();
    while descriptors() != [Path::new("/dev/null"); 3] {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", descriptors());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read(proc.join("cmdline")).unwrap(), b"podstrap\0pause\0");
    let status = fs::read_to_string(proc.join("status")).unwrap();
    assert!(status.lines().any(|l| l.starts_with("NSpid:") && l.ends_with("\t1")), "{status}");
    assert!(fs::read(proc.join("environ")).unwrap().is_empty());
    // Containers see this process, and some may trace it: there is nothing to be had from it.
    assert_eq!(entries(&proc.join("root")), Vec::<PathBuf>::new());
    for line in
        ["Uid:\t65535\t65535\t65535\t65535", "Groups:\t ", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.lines().any(|l| l == line), "{line}: {status}");
    }
    let flags = nix::sys::statvfs::statvfs(&proc.join("exe")).unwrap().flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "{flags:?}");
    let ns = |kind: &str| fs::metadata(proc.join("ns").join(kind)).unwrap().ino();
    assert_eq!(ns("ipc"), fs::metadata(s.ipc.as_ref().unwrap()).unwrap().ino());

    // An orphan in there is reaped, and TERM does nothing to the reaper.
    let nsenter = |script: &str| {
        let pid = format!("--pid={}", s.pid.as_ref().unwrap().display());
        Command::new("nsenter").args([&pid, "sh", "-c", script]).output().unwrap()
    };
    let output = nsenter("sleep 0.05 & kill -TERM 1; echo $!");
    assert!(output.status.success(), "{output:?}");
    let children = proc.join(format!("task/{}/children", pause.pid));
    let begin = Instant::now();
    while !fs::read_to_string(&children).unwrap().trim().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", fs::read_to_string(&children).unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    common::host::signal(pause.pid, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(stage.up(&spec), s);

    // When it is killed, a new one is made.
    common::host::signal(pause.pid, nix::sys::signal::Signal::SIGKILL);
    let begin = Instant::now();
    while process::is_running(pause.pid) {
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
    let again = stage.up(&spec);
    assert_ne!(again.pause.unwrap(), pause);
    assert!(nsenter("true").status.success());
    stage.down(&spec);
    assert!(!process::is_running(again.pause.unwrap().pid));
    stage.assert_clean();
}

/// A helper killed at any moment leaves nothing that the next one does not find.
#[test]
fn a_helper_may_be_killed_at_any_moment() {
    let Some(stage) = Stage::new(&json!(["bridge"])) else { return };
    let mut p = pod("k");
    p.share_process_namespace = true;
    let spec = stage.spec(p);
    let begin = Instant::now();
    stage.up(&spec);
    let whole = begin.elapsed().as_micros() as u64;
    stage.down(&spec);
    let pauses = || {
        let me = |proc: &&PathBuf| {
            let pid = proc.file_name().unwrap().to_str().and_then(|n| n.parse().ok()).unwrap_or(0);
            fs::read(proc.join("cgroup"))
                .is_ok_and(|c| String::from_utf8_lossy(&c).contains(&format!("/{}/", stage.cgroup_root)))
                && process::is_running(pid)
        };
        entries(Path::new("/proc")).iter().filter(me).count()
    };
    let kill = |verb: &str, after: u64| {
        let mut child = stage.spawn(verb, &spec);
        std::thread::sleep(Duration::from_micros(after));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    for step in 0..12 {
        kill("up", whole * step / 12);
        match step % 3 {
            0 => {
                let s = stage.up(&spec);
                assert_eq!(stage.leased(), [s.addresses[0].to_string()]);
                assert_eq!(interfaces(s.net.as_ref().unwrap()), ["lo", "eth0"]);
                assert_eq!(pauses(), 1);
                kill("down", whole * step / 12);
            }
            1 => kill("up", whole * (12 - step) / 12),
            _ => {}
        }
        stage.down(&spec);
        stage.assert_clean();
        assert_eq!(pauses(), 0, "step {step}");
    }
}

#[test]
fn a_network_is_left_when_its_namespace_is_gone() {
    let Some(stage) = Stage::new(&json!(["bridge"])) else { return };
    let spec = stage.spec(pod("g"));
    let first = stage.up(&spec);
    // As after a reboot with a run directory that survives: the mounts are gone, the records are of another boot.
    for mount in mounts_below(&stage.dir).iter().filter(|m| **m != stage.host()) {
        nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
    let later = SandboxSpec { boot_id: "later".into(), ..spec.clone() };
    let second = stage.up(&later);
    assert_eq!((stage.leased().len(), second.boot_id.as_str()), (1, "later"));
    assert_ne!(first.boot_id, second.boot_id);
    // And with one that does not: the plugin's book-keeping alone remembers.
    for mount in mounts_below(&stage.dir).iter().filter(|m| **m != stage.host()) {
        nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
    fs::remove_dir_all(spec.roots.pods()).unwrap();
    stage.up(&spec);
    assert_eq!(stage.leased().len(), 1);
    stage.down(&spec);
    stage.assert_clean();
}

/// A plugin of the test's own making: a script that notes its call, then does as told.
fn script(stage: &Stage, name: &str, body: &str) {
    let path = stage.dir.join("bin").join(name);
    let log = stage.dir.join("calls");
    let text = format!(
        "#!/bin/sh\nread -r config\necho \"$CNI_COMMAND {name} $CNI_NETNS $CNI_ARGS\" >>{0}\necho \"$config\" >>{0}.{name}\n{body}\n",
        log.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn calls(stage: &Stage) -> Vec<String> {
    let text = fs::read_to_string(stage.dir.join("calls")).unwrap_or_default();
    text.lines().map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

const ANSWER: &str =
    r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.8.7/24"},{"address":"fd00::7/64"}]}'"#;

#[test]
fn a_chain_is_told_what_it_must_know_and_left_in_reverse() {
    let portmap = json!({ "type": "two", "capabilities": { "portMappings": true } });
    let Some(stage) = Stage::new(&json!([{ "type": "one" }, portmap])) else { return };
    script(&stage, "one", ANSWER);
    script(&stage, "two", ANSWER);
    let mut p = pod("c");
    p.containers[0].ports = vec![Port {
        name: None,
        container_port: 80,
        host_port: Some(8080),
        protocol: "TCP".into(),
        host_ip: Some("127.0.0.1".into()),
    }];
    let spec = stage.spec(p);
    let s = stage.up(&spec);
    let expected: [IpAddr; 2] = ["10.9.8.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    assert_eq!(s.addresses, expected);
    stage.down(&spec);
    assert_eq!(calls(&stage), ["ADD one", "ADD two", "DEL two", "DEL one"]);
    let log = fs::read_to_string(stage.dir.join("calls")).unwrap();
    let first = log.lines().next().unwrap();
    assert!(first.contains(s.net.unwrap().to_str().unwrap()), "{first}");
    assert!(first.contains("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=c-node1;"), "{first}");
    let told = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(stage.dir.join(format!("calls.{name}"))).unwrap();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let (one, two) = (told("one"), told("two"));
    assert!(one[0].get("prevResult").is_none() && one[0].get("runtimeConfig").is_none());
    assert_eq!(two[0]["prevResult"]["ips"][0]["address"], "10.9.8.7/24");
    let mapping =
        json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" }]);
    assert_eq!(two[0]["runtimeConfig"]["portMappings"], mapping);
    assert_eq!(two[1]["runtimeConfig"]["portMappings"], mapping);
    assert_eq!(one[1]["prevResult"]["ips"][1]["address"], "fd00::7/64");
}

#[test]
fn what_is_wrong_with_a_network_is_told_with_the_remedy() {
    let Some(stage) = Stage::new(&json!([{ "type": "absent" }])) else { return };
    let spec = stage.spec(pod("w"));
    let line = stage.refused("up", &spec);
    assert!(
        line.starts_with("the CNI plugin absent is not in ") && line.contains("apt-get install"),
        "{line}"
    );

    script(&stage, "angry", r#"echo '{"code":7,"msg":"bad subnet","details":"10.0.0.0/99"}'; exit 1"#);
    stage.configure(&json!([{ "type": "angry" }]));
    let line = stage.refused("up", &spec);
    assert_eq!(line, "CNI plugin angry, ADD: bad subnet: 10.0.0.0/99 (code 7)");
    assert_eq!(calls(&stage).iter().filter(|c| *c == "ADD angry").count(), 2);
    // A network that cannot be left keeps its record until it can be.
    assert!(spec.roots.network(&spec.pod.generation).exists());
    let line = stage.refused("down", &spec);
    assert_eq!(line, "leave the Pod's network: CNI plugin angry, DEL: bad subnet: 10.0.0.0/99 (code 7)");
    script(&stage, "angry", ANSWER);
    stage.down(&spec);

    let mut p = pod("w");
    p.containers[0].ports = vec![Port {
        name: None,
        container_port: 80,
        host_port: Some(80),
        protocol: "TCP".into(),
        host_ip: None,
    }];
    let line = stage.refused("up", &stage.spec(p));
    assert!(line.contains("port 80 of the host") && line.contains("portmap"), "{line}");

    fs::write(stage.dir.join("net.d/05-bad.conf"), "{").unwrap();
    let line = stage.refused("up", &spec);
    assert!(line.contains("05-bad.conf: is not JSON"), "{line}");
    fs::remove_dir_all(stage.dir.join("net.d")).unwrap();
    let line = stage.refused("up", &spec);
    assert!(
        line.starts_with("no CNI network is configured in ") && line.contains("hostNetwork: true"),
        "{line}"
    );
    assert!(matches!(sandbox::up(&spec), Err(SandboxError::NoNetwork(_))));
    stage.assert_clean();
}

#[test]
fn a_port_of_the_host_leads_to_the_pod() {
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let Some(stage) = Stage::new(&json!(["bridge", portmap])) else { return };
    if find("iptables").is_none() {
        skip("no iptables");
        return;
    }
    let mut p = pod("m");
    p.containers[0].ports = vec![Port {
        name: None,
        container_port: 80,
        host_port: Some(8080),
        protocol: "TCP".into(),
        host_ip: None,
    }];
    let spec = stage.spec(p);
    let s = stage.up(&spec);
    serve(s.net.as_ref().unwrap(), 80, "through the host");
    let gateway = "10.77.0.1:8080".parse().unwrap();
    assert_eq!(ask(&stage.host(), gateway).unwrap(), "through the host");
    stage.down(&spec);
    assert!(ask(&stage.host(), gateway).is_err());
    stage.assert_clean();
}

/// `remove` takes a Pod out of its network before it removes anything.
#[test]
fn removal_ends_the_sandbox_first() {
    let Some(stage) = Stage::new(&json!([{ "type": "one" }])) else { return };
    script(&stage, "one", ANSWER);
    let mut p = pod("r");
    p.share_process_namespace = true;
    let spec = stage.spec(p);
    let s = stage.up(&spec);
    fs::create_dir_all(&spec.roots.log).unwrap();
    let removal = podstrap::helper::remove::Removal {
        roots: spec.roots.clone(),
        pod: spec.pod.clone(),
        cgroup_root: stage.cgroup_root.clone(),
        // Who removes may not know where the plugins were when the network was joined.
        cni: CniPaths::default(),
        docker: None,
    };
    let remove = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
            .arg("remove")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), &removal).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = remove();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(calls(&stage), ["ADD one", "DEL one"]);
    assert!(!process::is_running(s.pause.unwrap().pid));
    assert_eq!(common::host::cgroups_of(&format!("pod{}", spec.pod.generation)), Vec::<PathBuf>::new());
    assert!(remove().status.success());
    stage.assert_clean();
}

/// runc's containers join what was made: the same network, host name, IPC and processes for all of them.
#[test]
fn containers_of_runc_live_in_the_sandbox() {
    let Some(stage) = Stage::new(&json!([{ "type": "one" }])) else { return };
    if let Some(reason) = common::host::cannot_run_containers() {
        skip(&reason);
        return;
    }
    script(&stage, "one", ANSWER);
    let mut p = pod("j");
    p.share_process_namespace = true;
    let spec = stage.spec(p);
    let s = stage.up(&spec);
    let root = stage.dir.join("root");
    for sub in ["bin", "proc", "dev"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::copy(find("busybox").unwrap(), root.join("bin/busybox")).unwrap();
    let runc = |name: &str, script: &str, args: &[&str]| {
        let bundle = stage.dir.join(name);
        fs::create_dir_all(&bundle).unwrap();
        let joined =
            |kind: &str, file: &Option<PathBuf>| json!({ "type": kind, "path": file.as_ref().unwrap() });
        let config = json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["/bin/busybox", "sh", "-c", script] },
            "root": { "path": root, "readonly": true },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
                { "destination": "/dev/shm", "type": "bind", "source": s.shm, "options": ["rbind", "rw"] },
            ],
            "linux": {
                "sysctl": { "net.ipv4.ip_unprivileged_port_start": "0" },
                "namespaces": [{ "type": "mount" }, joined("network", &s.net), joined("uts", &s.uts),
                    joined("ipc", &s.ipc), joined("pid", &s.pid)],
                "cgroupsPath": format!("/{}/pod{}/{name}", stage.cgroup_root, spec.pod.generation),
            },
        });
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        Command::new(find("runc").unwrap())
            .args(["--root", stage.dir.join("runc").to_str().unwrap(), "run", "--bundle"])
            .arg(&bundle)
            .args(args)
            .arg(format!("{}-{name}", stage.cgroup_root))
            .stdin(Stdio::null())
            .stdout(if args.is_empty() { Stdio::piped() } else { Stdio::null() })
            .stderr(if args.is_empty() { Stdio::piped() } else { Stdio::null() })
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    };
    // Within this container: a file in shared memory, a server on the loopback, a process to be seen.
    let server =
        "b=/bin/busybox; $b echo word >/dev/shm/first; while :; do $b nc -l -p 80 -e $b echo heard; done";
    assert!(runc("first", server, &["--detach"]).status.success());
    let begin = Instant::now();
    let text = loop {
        let output = runc(
            "second",
            "b=/bin/busybox; $b hostname; $b cat /dev/shm/first; $b nc 127.0.0.1 80; $b cat /proc/1/cmdline; \
             $b cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            &[],
        );
        let text = String::from_utf8(output.stdout).unwrap();
        if text.contains("heard") {
            break text;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    assert_eq!(text, "j-node1\nword\nheard\npodstrap\0pause\x000\n");
    // The end of the first process is the end of all.
    stage.down(&spec);
    let root = stage.dir.join("runc");
    for name in ["first", "second"] {
        let id = format!("{}-{name}", stage.cgroup_root);
        let _ = Command::new(find("runc").unwrap())
            .args(["--root", root.to_str().unwrap(), "delete", "--force", &id])
            .stderr(Stdio::null())
            .status();
    }
    assert_eq!(common::host::processes_of(&stage.dir, &stage.cgroup_root), []);
    stage.assert_clean();
}

/// A helper is killed, and its plugin goes on: what comes next waits for it, or ends it.
#[test]
fn plugins_of_a_killed_helper_are_waited_for() {
    let Some(stage) = Stage::new(&json!([{ "type": "slow" }])) else { return };
    let log = stage.dir.join("calls").display().to_string();
    let spec = stage.spec(pod("o"));
    let interrupted = |body: &str| {
        script(
            &stage,
            "slow",
            &format!("if [ $CNI_COMMAND = ADD ]; then {body}; fi; echo \"$CNI_COMMAND end\" >>{log}"),
        );
        let mut child = stage.spawn("up", &spec);
        let begin = Instant::now();
        while calls(&stage).last().is_none_or(|c| c != "ADD slow") {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        stage.down(&spec);
        let seen = calls(&stage);
        fs::remove_file(stage.dir.join("calls")).unwrap();
        seen
    };
    assert_eq!(interrupted("sleep 0.5"), ["ADD slow", "ADD end", "DEL slow", "DEL end"]);
    // One that does not end is killed after some seconds, with what it has started.
    assert_eq!(interrupted("sleep 778; sleep 778"), ["ADD slow", "DEL slow", "DEL end"]);
    let mine = format!("CNI_NETNS={}", stage.dir.display());
    let environment = |p: &PathBuf| fs::read(p.join("environ")).unwrap_or_default();
    let left = entries(Path::new("/proc")).into_iter().map(|p| environment(&p));
    assert_eq!(left.filter(|e| String::from_utf8_lossy(e).contains(&mine)).count(), 0);
    stage.assert_clean();
}
