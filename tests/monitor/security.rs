//! Namespaces, confinement and limits, as containers find them.

use super::*;

/// A process that holds namespaces of its own, as a sandbox does; gone with its owner.
struct Keeper(Child);

impl Keeper {
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "sleep", "1000"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let keeper = Self(child);
        let end = Instant::now() + Duration::from_secs(10);
        // The child namespace has a first process when the link can be followed.
        while fs::metadata(keeper.file("pid_for_children")).is_err() || keeper.is_ours() {
            assert!(Instant::now() < end, "unshare makes no namespaces");
            std::thread::sleep(Duration::from_millis(5));
        }
        keeper
    }

    fn is_ours(&self) -> bool {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        fs::read_to_string(children).is_ok_and(|c| c.trim().is_empty())
    }

    fn file(&self, kind: &str) -> PathBuf {
        format!("/proc/{}/ns/{kind}", self.0.id()).into()
    }

    fn all(&self) -> Vec<(&'static str, PathBuf)> {
        ["net", "ipc", "uts"]
            .map(|k| (k, self.file(k)))
            .into_iter()
            .chain([("pid", self.file("pid_for_children"))])
            .collect()
    }

    fn identity(&self, kind: &str) -> String {
        fs::read_link(self.file(kind)).unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NAMESPACES: &str = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done";

#[test]
fn namespaces_of_the_pod_are_shared() {
    let mut stage = Stage::new(
        "shared",
        &format!("{NAMESPACES}; echo $$$$; cat /dev/shm/x 2>/dev/null; echo x >> /dev/shm/x; hostname"),
    );
    stage.pod.host_network = false;
    let keeper = Keeper::new();
    let shared = stage.roots.namespaces(&stage.pod.generation).join("shm");
    fs::create_dir_all(&shared).unwrap();
    let mut namespaces = keeper.all();
    namespaces.push(("shm", shared));
    stage.sandbox(&namespaces, Vec::new());
    let run = |stage: &mut Stage| {
        stage.start();
        let status = stage.monitors.pop().unwrap().wait().unwrap();
        assert!(status.success(), "{}", stage.stderr());
        assert!(matches!(stage.record().unwrap().end, Some(End::Exited { code: 0 })), "{:?}", stage.record());
        stage.lines()
    };
    let lines = run(&mut stage);
    let of_pod = ["net", "ipc", "uts"].map(|k| keeper.identity(k));
    assert_eq!(lines[..3], of_pod);
    assert_ne!(lines[3], keeper.identity("pid_for_children"), "each container has processes of its own");
    assert_eq!(lines[4], "1");
    assert_eq!(lines.last().unwrap(), "p-host1");
    // Another container of the Pod: the same shared memory, and now the same processes.
    stage.attempt = 1;
    stage.pod.share_process_namespace = true;
    let lines = run(&mut stage);
    assert_eq!(lines[..3], of_pod);
    assert_eq!(lines[3], keeper.identity("pid_for_children"));
    assert_ne!(lines[4], "1");
    assert_eq!(lines[5], "x");
    // What a container leaves running in the shared namespace goes with it all the same.
    stage.attempt = 2;
    stage.container().command[2] = "sleep 4244 & exit 0".into();
    run(&mut stage);
    assert!(
        !Cgroups::detect().unwrap().exists(Path::new(&stage.cgroup_root())) || {
            let root = PathBuf::from(stage.cgroup_root());
            Cgroups::detect().unwrap().processes(&root).unwrap().is_empty()
        }
    );
}

#[test]
fn host_namespaces_are_the_hosts() {
    let mut stage = Stage::new("hosts", &format!("{NAMESPACES}; cat /etc/hostname"));
    (stage.pod.host_pid, stage.pod.host_ipc) = (true, true);
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    let own = ["net", "ipc", "uts", "pid"].map(|k| fs::read_link(format!("/proc/self/ns/{k}")).unwrap());
    let own: Vec<_> = own.iter().map(|l| l.to_string_lossy().into_owned()).collect();
    let lines = stage.lines();
    assert_eq!(lines[..4], own);
    assert_eq!(lines[4], nix::unistd::gethostname().unwrap().to_string_lossy());
}

#[test]
fn sysctls_are_set_in_the_pods_namespaces() {
    let mut stage = Stage::new(
        "sysctls",
        "cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced",
    );
    stage.pod.host_network = false;
    stage.pod.sysctls = [
        ("net.ipv4.tcp_fin_timeout", "7"),
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("kernel.shm_rmid_forced", "1"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec();
    let keeper = Keeper::new();
    stage.sandbox(&[("net", keeper.file("net"))], Vec::new());
    let of_host = fs::read_to_string("/proc/sys/net/ipv4/tcp_fin_timeout").unwrap();
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    assert_eq!(stage.lines(), ["7", "80", "1"]);
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/tcp_fin_timeout").unwrap(), of_host);
}

#[test]
fn groups_are_only_those_asked_for_when_strict() {
    let mut stage = Stage::new("strict", "id -u; id -g; id -G");
    stage.pod.supplemental_groups = vec![500];
    stage.pod.security.run_as_user = Some(33);
    stage.pod.strict_supplemental_groups = true;
    assert_eq!(stage.run(), End::Exited { code: 0 });
    assert_eq!(stage.lines(), ["33", "34", "34 500"]);
    stage.attempt = 1;
    stage.pod.strict_supplemental_groups = false;
    stage.container().security.run_as_group = Some(9);
    assert_eq!(stage.run(), End::Exited { code: 0 });
    assert_eq!(stage.lines(), ["33", "9", "9 77 500"]);
}

#[test]
fn proc_is_masked_unless_it_is_asked_not_to_be() {
    let script = "head -c 1 /proc/sysrq-trigger 2>/dev/null; stat -c %F /proc/interrupts; [ -w /proc/sys/kernel/domainname ]; \
                  mount | grep -c ' /proc/'";
    let mut stage = Stage::new("procmount", script);
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    assert!(stage.lines().contains(&"character special file".to_owned()), "{:?}", stage.lines());
    stage.attempt = 1;
    stage.container().proc_unmasked = true;
    stage.run();
    let lines = stage.lines();
    assert!(!lines.contains(&"character special file".to_owned()), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "0");
}

#[test]
fn seccomp_profiles_of_the_operator() {
    let mut stage = Stage::new("localhost", "mkdir /tmp/d 2>&1; echo went on");
    stage.container().security.seccomp = Some(Seccomp::Localhost("team/no-mkdir.json".into()));
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "CreateContainerError");
    assert!(
        message.contains("cannot load seccomp profile") && message.contains("team/no-mkdir.json"),
        "{message}"
    );
    let file = stage.roots.seccomp().join("team/no-mkdir.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
                    { "architecture": "SCMP_ARCH_AARCH64" }],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [] }],
    });
    fs::write(&file, profile.to_string()).unwrap();
    stage.attempt = 1;
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    assert_eq!(stage.lines(), ["mkdir: can't create directory '/tmp/d': No space left on device", "went on"]);
    stage.attempt = 2;
    fs::write(&file, "{").unwrap();
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "CreateContainerError");
    assert!(message.contains("not a seccomp profile"), "{message}");
    stage.attempt = 3;
    stage.container().security.seccomp = Some(Seccomp::Localhost("../../etc/passwd".into()));
    assert!(stage.refusal().1.contains("without .."));
}

#[test]
fn what_the_host_cannot_confine_is_refused() {
    let mut stage = Stage::new("confine", "true");
    let mut refused = |change: &dyn Fn(&mut Stage), words: &str| {
        let before = stage.pod.clone();
        change(&mut stage);
        let (reason, message) = stage.refusal();
        assert_eq!(reason, "CreateContainerConfigError");
        assert!(message.contains(words), "{message}");
        stage.pod = before;
        stage.attempt += 1;
    };
    if !Path::new("/sys/module/apparmor").exists() {
        let words = "AppArmor is not enabled on the host";
        refused(&|s| s.pod.security.app_armor = Some(AppArmor::RuntimeDefault), words);
    }
    if !Path::new("/sys/fs/selinux").exists() {
        let options = SeLinux { level: "s0:c1".into(), ..SeLinux::default() };
        refused(
            &|s| s.container().security.selinux = Some(options.clone()),
            "SELinux is not enabled on the host",
        );
    }
    refused(&|s| s.pod.host_users = false, "hostUsers: false");
    stage.pod.security.app_armor = Some(AppArmor::Unconfined);
    assert_eq!(stage.run(), End::Exited { code: 0 });
}

#[test]
fn limits_stand_in_the_cgroups() {
    let mut stage = Stage::new("limits", "exec sleep 1000");
    stage.container().resources = Resources {
        cpu_request: Some(MilliCpu(250)),
        cpu_limit: Some(MilliCpu(500)),
        memory_request: Some(Bytes(32 << 20)),
        memory_limit: Some(Bytes(64 << 20)),
        ..Resources::default()
    };
    let mut init = stage.pod.containers[0].clone();
    init.name = ContainerName::new("init");
    init.resources.cpu_request = Some(MilliCpu(1000));
    init.resources.memory_limit = Some(Bytes(128 << 20));
    stage.pod.init_containers = vec![init];
    // Otherwise the two would share what only a daemon makes.
    stage.pod.host_ipc = true;
    let read = |stage: &Stage, of_pod: bool, v1: &str, v2: &str| {
        let spec = stage.spec();
        let path = if of_pod {
            podstrap::runtime::pod_group::PodGroup::of(&spec.cgroup_root, &stage.pod.generation, None).path()
        } else {
            podstrap::runtime::bundle::container_cgroup(&spec.cgroup_root, &stage.pod, &spec.id)
        };
        let (controller, file) = v1.split_once('/').unwrap();
        let v1 = Path::new("/sys/fs/cgroup").join(controller).join(&path).join(file);
        let v2 = Path::new("/sys/fs/cgroup").join(&path).join(v2);
        fs::read_to_string(v1).or_else(|_| fs::read_to_string(v2)).unwrap().trim().to_owned()
    };
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let one_of = |v1: &'static str, v2: &'static str| if is_v2 { v2 } else { v1 };
    stage.start();
    let init = stage.running().init.unwrap();
    assert_eq!(read(&stage, false, "memory/memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(read(&stage, true, "memory/memory.limit_in_bytes", "memory.max"), (128 << 20).to_string());
    assert_eq!(read(&stage, false, "cpu/cpu.shares", "cpu.weight"), one_of("256", "10"));
    assert_eq!(read(&stage, true, "cpu/cpu.shares", "cpu.weight"), one_of("1024", "39"));
    assert_eq!(read(&stage, false, "cpu/cpu.cfs_quota_us", "cpu.max"), one_of("50000", "50000 100000"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init.pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    stage.finish();
    // What the Pod says for itself wins.
    stage.attempt = 1;
    stage.pod.resources = Some(Resources {
        cpu_limit: Some(MilliCpu(2000)),
        memory_limit: Some(Bytes(96 << 20)),
        ..Resources::default()
    });
    stage.start();
    let init = stage.running().init.unwrap();
    assert_eq!(read(&stage, true, "memory/memory.limit_in_bytes", "memory.max"), (96 << 20).to_string());
    assert_eq!(read(&stage, true, "cpu/cpu.cfs_quota_us", "cpu.max"), one_of("200000", "200000 100000"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init.pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    stage.finish();
}
