//! The monitor on real runc: a busybox root, one container a test, each in roots of its own that are cleared away also
//! when the test fails. Needs root, runc, /bin/busybox (static) and control groups.

// A test ends at its first surprise; clippy knows that of the test functions, not of what they call.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use podstrap::helper::remove::Removal;
use podstrap::monitor::record::{End, MonitorSpec, Record, RecordPhase, VERSION};
use podstrap::paths::{AttemptDir, CniPaths, Roots, container_id};
use podstrap::pod::quantity::{Bytes, MilliCpu};
use podstrap::pod::reference::Reference;
use podstrap::pod::*;
use podstrap::sys::{cgroup::Cgroups, mount, process};
use sha2::{Digest, Sha256};

#[path = "monitor/inside.rs"]
mod inside;
#[path = "monitor/security.rs"]
mod security;
#[path = "monitor/volumes.rs"]
mod volumes;

const APPLETS: [&str; 27] = [
    "sh", "echo", "cat", "sleep", "true", "false", "id", "ls", "env", "kill", "touch", "mount", "unshare",
    "dd", "yes", "head", "seq", "mkdir", "tail", "hostname", "stat", "df", "chmod", "ln", "readlink", "tty",
    "grep",
];

/// A world of one container.
struct Stage {
    base: PathBuf,
    roots: Roots,
    pod: Pod,
    config: serde_json::Value,
    attempt: u32,
    runc: PathBuf,
    log_max_bytes: u64,
    log_max_files: u32,
    cluster_dns: Vec<String>,
    monitors: Vec<Child>,
}

impl Stage {
    fn new(name: &str, script: &str) -> Self {
        let unique = format!("{name}-{}", std::process::id());
        let base = PathBuf::from("/tmp/monitor").join(&unique);
        let roots = Roots { run: base.join("run"), state: base.join("state"), log: base.join("log/pods") };
        let hash = format!(
            "{:x}",
            Sha256::digest(unique.as_bytes()).as_slice()[..16]
                .iter()
                .fold(0_u128, |n, b| n << 8 | u128::from(*b),)
        );
        let pod = pod(&format!("{hash:0>32}"), script);
        let stage = Self {
            base,
            roots,
            pod,
            config: serde_json::json!({}),
            attempt: 0,
            runc: PathBuf::from("/usr/sbin/runc"),
            log_max_bytes: 10 << 20,
            log_max_files: 5,
            cluster_dns: Vec::new(),
            monitors: Vec::new(),
        };
        stage.make_image();
        fs::create_dir_all(&stage.roots.run).unwrap();
        nix::unistd::mkfifo(&stage.roots.notify(), nix::sys::stat::Mode::S_IRUSR).unwrap();
        stage
    }

    fn container(&mut self) -> &mut Container {
        &mut self.pod.containers[0]
    }

    /// Writes the one image that there is, in the store's layout.
    fn make_image(&self) {
        let images = self.roots.images();
        let layer = images.join("layers/base");
        for dir in ["bin", "etc", "tmp", "work"] {
            fs::create_dir_all(layer.join(dir)).unwrap();
        }
        fs::set_permissions(&layer, fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", layer.join("bin").join(applet)).unwrap();
        }
        fs::write(layer.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:34::/work:/bin/sh\n").unwrap();
        fs::write(layer.join("etc/group"), "root:x:0:\nwww:x:34:\nextra:x:77:web\n").unwrap();
        let config = serde_json::json!({ "os": "linux", "rootfs": { "diff_ids": ["sha256:base"] }, "config": self.config });
        let text = config.to_string();
        let id: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        fs::create_dir_all(images.join("configs")).unwrap();
        fs::write(images.join("configs").join(format!("{id}.json")), text).unwrap();
        let index = serde_json::json!({
            "version": 1,
            "references": { "docker.io/library/box:latest": format!("sha256:{id}") },
            "images": {
                format!("sha256:{id}"): { "layers": ["sha256:base"], "platform": "linux/amd64", "loaded_ms": 0 }
            },
            "layers": { "sha256:base": { "dir": "base", "size": 0 } },
        });
        fs::write(images.join("index.json"), index.to_string()).unwrap();
    }

    fn spec(&self) -> MonitorSpec {
        let container = &self.pod.containers[0].name;
        MonitorSpec {
            version: VERSION,
            boot_id: process::boot_id().unwrap(),
            id: container_id(&self.pod.generation, container, self.attempt),
            pod: self.pod.clone(),
            container: container.clone(),
            attempt: self.attempt,
            roots: self.roots.clone(),
            engine: podstrap::runtime::engine::Engine::Runc { binary: self.runc.clone() },
            image: None,
            cgroup_root: self.cgroup_root(),
            cgroups: Default::default(),
            log_max_bytes: self.log_max_bytes,
            log_max_files: self.log_max_files,
            cluster_dns: self.cluster_dns.clone(),
            cluster_domain: "cluster.local".into(),
        }
    }

    fn cgroup_root(&self) -> String {
        format!("podstrap-test-{}", self.pod.generation)
    }

    fn dir(&self) -> AttemptDir {
        self.roots.attempt(&self.pod.generation, &self.pod.containers[0].name, self.attempt)
    }

    /// Writes the spec and starts a monitor.
    fn start(&mut self) -> i32 {
        let dir = self.dir();
        fs::create_dir_all(&dir.0).unwrap();
        fs::write(dir.spec(), serde_json::to_vec(&self.spec()).unwrap()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
            .arg("monitor")
            .arg(&dir.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.base.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        self.monitors.push(child);
        pid
    }

    fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.dir().record()).ok()?).unwrap()
    }

    fn running(&self) -> Record {
        self.until("the container runs", || {
            let record = self.record()?;
            assert_eq!(record.end, None, "{}", self.stderr());
            Some(record).filter(|r| r.phase == RecordPhase::Running)
        })
    }

    fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < end,
                "waited in vain until {what}; log: {}; {}",
                self.log(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the monitor's end, which must be a good one and leave nothing.
    fn finish(&mut self) -> End {
        let status = self.monitors.pop().unwrap().wait().unwrap();
        assert!(status.success(), "{status}: {}", self.stderr());
        self.assert_nothing_left();
        let record = self.record().unwrap();
        assert_eq!(record.phase, RecordPhase::Ended);
        assert!(record.finished_unix_ms.is_some());
        record.end.unwrap()
    }

    fn run(&mut self) -> End {
        self.start();
        self.finish()
    }

    fn sweep(&self) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_podstrap")).arg("sweep").arg(&self.dir().0).output().unwrap()
    }

    fn assert_nothing_left(&self) {
        let mut left: Vec<_> = fs::read_dir(&self.dir().0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["lock", "record.json", "spec.json"]);
        assert!(mount::beneath(&self.base).unwrap().is_empty());
        let container =
            podstrap::runtime::bundle::container_cgroup(&self.cgroup_root(), &self.pod, &self.spec().id);
        assert!(!Cgroups::detect().unwrap().exists(&container), "{}", container.display());
        assert!(!self.roots.container_root(&self.spec().id).exists());
        assert!(!self.roots.runc().join(self.spec().id.as_str()).exists());
    }

    fn log_path(&self) -> PathBuf {
        self.roots.log_file(&self.pod, &self.pod.containers[0].name, self.attempt)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The text of the log's lines.
    fn lines(&self) -> Vec<String> {
        self.log().lines().map(|l| l.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.base.join("stderr")).unwrap_or_default()
    }

    fn volume(&mut self, name: &str, volume: Volume, path: &str, read_only: bool) {
        self.pod.volumes.insert(VolumeName::new(name), volume);
        self.container().mounts.push(Mount {
            volume: VolumeName::new(name),
            path: path.into(),
            read_only,
            recursive_read_only: false,
            propagation: Propagation::Private,
            sub_path: None,
        });
    }

    /// Writes what a sandbox helper would: namespaces by kind, and addresses.
    #[allow(clippy::needless_update)] // It may come to say more that monitors need not know.
    fn sandbox(&mut self, namespaces: &[(&str, PathBuf)], addresses: Vec<std::net::IpAddr>) {
        let of = |kind: &str| namespaces.iter().find(|(k, _)| *k == kind).map(|(_, path)| path.clone());
        let sandbox = podstrap::helper::sandbox::Sandbox {
            version: 1,
            boot_id: process::boot_id().unwrap(),
            net: of("net"),
            ipc: of("ipc"),
            uts: of("uts"),
            pid: of("pid"),
            addresses,
            shm: of("shm"),
            ..Default::default()
        };
        let path = self.roots.sandbox(&self.pod.generation);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, serde_json::to_vec(&sandbox).unwrap()).unwrap();
    }

    fn refusal(&mut self) -> (String, String) {
        match self.run() {
            End::NotStarted { reason, message } => (reason, message),
            other => panic!("{other:?}: {}", self.log()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for monitor in &mut self.monitors {
            let _ = monitor.kill();
            let _ = monitor.wait();
        }
        if self.dir().spec().exists() {
            let _ = self.sweep();
        }
        let root = PathBuf::from(self.cgroup_root());
        if let Ok(cgroups) = Cgroups::detect() {
            while cgroups.kill_all(&root).is_ok_and(|n| n > 0) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = cgroups.remove(&root);
        }
        let _ = mount::unmount_all(&self.base);
        let _ = fs::remove_dir_all(&self.base);
    }
}

fn pod(generation: &str, script: &str) -> Pod {
    let image = Reference { given: "box".into(), full: "docker.io/library/box:latest".into() };
    let container = Container {
        pull_policy: PullPolicy::Never,
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        ..Container::new(ContainerName::new("c"), image)
    };
    let key = PodKey { namespace: Namespace::new("ns"), name: PodName::new("p-host1") };
    Pod::new(key, Generation::new(generation), NodeName::new("host1"), vec![container])
}

#[test]
fn output_and_exit_code_are_kept() {
    let mut stage = Stage::new("echo", "echo out; echo err >&2; printf tail; exit 7");
    let monitor = stage.start();
    assert_eq!(stage.finish(), End::Exited { code: 7 });
    let log = stage.log();
    let mut kinds: Vec<_> = log.lines().map(|l| l.split_once(' ').unwrap().1).collect();
    kinds.sort();
    assert_eq!(kinds, ["stderr F err", "stdout F out", "stdout F tail"]);
    assert!(log.lines().all(|l| l.as_bytes()[10] == b'T' && l.as_bytes()[29] == b'Z'), "{log}");
    let record = stage.record().unwrap();
    assert_eq!(record.monitor.pid, monitor);
    assert!(record.image_id.unwrap().starts_with("sha256:"));
    assert!(record.started_boot_ms.unwrap() <= record.finished_boot_ms.unwrap());
    assert!(record.init.unwrap().start_ticks > 0);
    let link = fs::read_dir(stage.roots.log_links()).unwrap().next().unwrap().unwrap();
    assert_eq!(
        link.file_name().to_str().unwrap(),
        format!("p-host1_ns_c-{}.log", container_id(&stage.pod.generation, &ContainerName::new("c"), 0))
    );
    assert_eq!(fs::read_to_string(link.path()).unwrap(), log);
    // One directory is one run: it is not begun a second time.
    stage.start();
    assert!(!stage.monitors.pop().unwrap().wait().unwrap().success());
    assert!(stage.stderr().contains("begun before"), "{}", stage.stderr());
}

#[test]
fn a_very_short_life_is_not_missed() {
    let mut stage = Stage::new("short", "");
    stage.container().command = vec!["/bin/true".into()];
    assert_eq!(stage.run(), End::Exited { code: 0 });
    assert!(stage.record().unwrap().init.unwrap().start_ticks > 0);
}

#[test]
fn a_signal_is_recorded_and_others_are_survived() {
    let mut stage = Stage::new("signal", "exec sleep 1000");
    let monitor = stage.start();
    let init = stage.running().init.unwrap();
    let mut descriptors: Vec<_> = fs::read_dir(format!("/proc/{}/fd", init.pid))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "1", "2"]);
    assert_eq!(fs::read_link(format!("/proc/{}/fd/0", init.pid)).unwrap(), Path::new("/dev/null"));
    for signal in ["-TERM", "-HUP", "-INT", "-PIPE", "-USR1"] {
        assert!(Command::new("kill").args([signal, &monitor.to_string()]).status().unwrap().success());
    }
    assert!(Command::new("kill").args(["-KILL", &init.pid.to_string()]).status().unwrap().success());
    assert_eq!(stage.finish(), End::Signaled { signal: 9, oom: false });
}

#[test]
fn a_missing_program_is_named() {
    let mut stage = Stage::new("noexec", "");
    stage.container().command = vec!["/bin/nosuch".into()];
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "StartError");
    assert!(message.contains("/bin/nosuch") && message.contains("no such file"), "{message}");
    assert_eq!(stage.log(), "", "runc's complaint is not the container's output");
}

#[test]
fn what_cannot_be_made_is_refused_by_name() {
    let mut stage = Stage::new("refused", "true");
    stage.container().image.full = "docker.io/library/other:latest".into();
    stage.container().image.given = "other".into();
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "ImageNotPresent");
    assert!(message.contains("image other") && message.contains("podstrap image load"), "{message}");
    stage.container().image.full = "docker.io/library/box:latest".into();

    let mut next = |change: fn(&mut Stage), wanted: &str, words: &str| {
        stage.attempt += 1;
        change(&mut stage);
        let (reason, message) = stage.refusal();
        assert_eq!(reason, wanted, "{message}");
        assert!(message.contains(words), "{message}");
    };
    next(|s| s.container().security.run_as_non_root = Some(true), "CreateContainerConfigError", "user 0");
    next(
        |s| {
            s.container().security.run_as_non_root = None;
            s.volume(
                "data",
                Volume::HostPath { path: "/nosuch/x".into(), kind: HostPathType::File },
                "/d",
                false,
            );
        },
        "FailedMount",
        "volume \"data\": /nosuch/x: nothing is there",
    );
    next(
        |s| {
            s.pod.volumes.clear();
            s.container().mounts.clear();
            s.container().cap_add = vec!["FLY".into()];
        },
        "CreateContainerConfigError",
        "FLY",
    );
    next(
        |s| {
            s.container().cap_add.clear();
            fs::write(s.roots.container_root(&s.spec().id), "in the way").unwrap();
        },
        "CreateContainerError",
        "containers",
    );
    // After all these failures a good one still runs.
    stage.attempt += 1;
    assert_eq!(stage.run(), End::Exited { code: 0 });
}

#[test]
fn the_inside_of_a_container() {
    let mut stage = Stage::new(
        "inside",
        "while read k v; do case $k in SigBlk:|NoNewPrivs:) echo $k $v;; esac; done < /proc/self/status; \
         echo id: $(id -u):$(id -g):$(id -G); echo env: $A $B $HOSTNAME; pwd; echo score $(cat /proc/self/oom_score_adj); \
         touch /x 2>&1; touch /ro/x 2>&1; touch /rw/x; ls -l /rw/x | head -c 10; echo; cat /etc/hosts > /rw/hosts; echo $0 $1",
    );
    let data = stage.base.join("data");
    fs::create_dir_all(&data).unwrap();
    let host = |path: &Path, kind| Volume::HostPath { path: path.to_string_lossy().into_owned(), kind };
    stage.volume("ro", host(&data, HostPathType::Directory), "/ro", true);
    stage.volume("rw", Volume::EmptyDir { medium: Medium::Disk, size_limit: None }, "/rw", false);
    let c = stage.container();
    c.env = vec![
        EnvVar { name: "A".into(), value: EnvValue::Text("one".into()) },
        EnvVar { name: "B".into(), value: EnvValue::Text("$(A)-$$(A)".into()) },
    ];
    c.args = vec!["zero".into(), "$(B)".into()];
    c.working_dir = Some("/work".into());
    c.security.run_as_user = Some(33);
    c.allow_privilege_escalation = false;
    c.security.seccomp = Some(Seccomp::RuntimeDefault);
    stage.pod.supplemental_groups = vec![500];
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    let lines = stage.lines();
    let host_name = "host1";
    assert!(lines.contains(&"SigBlk: 0000000000000000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"NoNewPrivs: 1".to_owned()), "{lines:?}");
    assert!(lines.contains(&"id: 33:34:34 77 500".to_owned()), "{lines:?}");
    assert!(lines.contains(&format!("env: one one-$(A) {host_name}")), "{lines:?}");
    assert!(lines.contains(&"/work".to_owned()), "{lines:?}");
    assert!(lines.contains(&"score 1000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"touch: /x: Permission denied".to_owned()), "{lines:?}");
    assert!(lines.contains(&"touch: /ro/x: Read-only file system".to_owned()), "{lines:?}");
    assert!(lines.contains(&"zero one-$(A)".to_owned()), "{lines:?}");
    let volume = stage.roots.pod_state(&stage.pod.generation).join("volumes/rw");
    let hosts = fs::read_to_string(volume.join("hosts")).unwrap();
    let of_host = fs::read_to_string("/etc/hosts").unwrap();
    assert_eq!(hosts, format!("# Kubernetes-managed hosts file (host network).\n{of_host}"));
}

#[test]
fn a_network_of_its_own_brings_names_of_its_own() {
    let mut stage = Stage::new("uts", "hostname; cat /etc/hostname; tail -n 1 /etc/hosts; touch /x");
    stage.pod.host_network = false;
    stage.container().read_only_root = true;
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "CreateContainerError");
    assert!(message.contains("own namespaces are not there"), "{message}");
    stage.attempt = 1;
    stage.sandbox(&[], Vec::new());
    assert_eq!(stage.run(), End::Exited { code: 1 });
    let lines = stage.lines();
    assert_eq!(lines[..3], ["p-host1", "p-host1", "127.0.0.1\tp-host1"]);
    assert_eq!(lines[3], "touch: /x: Read-only file system");
}

#[test]
fn host_paths_of_every_type() {
    let mut stage =
        Stage::new("paths", "ls -l /v | head -n 20; cat /f /s/../f; [ -S /s ] && [ -c /n ] && echo kinds");
    let base = stage.base.clone();
    let at = |name: &str| base.join(name).to_string_lossy().into_owned();
    let _socket = std::os::unix::net::UnixListener::bind(base.join("sock")).unwrap();
    let volumes = [
        ("a", at("made/deep"), HostPathType::DirectoryOrCreate, "/v/a"),
        ("b", at("unset"), HostPathType::Unset, "/v/b"),
        ("f", at("file"), HostPathType::FileOrCreate, "/f"),
        ("s", at("sock"), HostPathType::Socket, "/s"),
        ("n", "/dev/null".into(), HostPathType::CharDevice, "/n"),
    ];
    for (name, path, kind, target) in volumes {
        stage.volume(name, Volume::HostPath { path, kind }, target, false);
    }
    stage.run();
    assert!(stage.lines().contains(&"kinds".to_owned()), "{}", stage.log());
    let mode = |name: &str| fs::metadata(base.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("made"), mode("made/deep"), mode("unset"), mode("file")), (0o755, 0o755, 0o755, 0o644));
    assert!(fs::metadata(base.join("sock")).unwrap().file_type().is_socket());
}

#[test]
fn logs_are_rotated_without_loss() {
    let mut stage = Stage::new("rotate", "seq 1 20000; printf end");
    stage.log_max_bytes = 100_000;
    stage.log_max_files = 50;
    assert_eq!(stage.run(), End::Exited { code: 0 });
    let directory = stage.log_path().parent().unwrap().to_owned();
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path()).collect();
    assert!((8..=12).contains(&files.len()), "{files:?}");
    // The live file's name sorts first and its content comes last.
    files.sort();
    files.rotate_left(1);
    let text: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    assert!(files.iter().all(|f| fs::metadata(f).unwrap().len() <= 100_000));
    let numbers: Vec<_> = text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap()).collect();
    let wanted: Vec<_> = (1..=20_000).map(|n| n.to_string()).chain(["end".to_owned()]).collect();
    assert_eq!(numbers, wanted);
    // Later runs keep the files of the newest runs only.
    stage.container().command = vec!["/bin/true".into()];
    stage.attempt = 2;
    stage.log_max_files = 2;
    assert_eq!(stage.run(), End::Exited { code: 0 });
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_flood_of_output_is_taken() {
    let mut stage = Stage::new(
        "flood",
        "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 104857600",
    );
    stage.log_max_files = 3;
    let begun = Instant::now();
    let monitor = stage.start();
    let peak = stage.until("the flood is over", || {
        let status = fs::read_to_string(format!("/proc/{monitor}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).map(str::trim).map(str::to_owned);
        stage.record().filter(|r| r.end.is_some()).map(|_| peak)
    });
    assert_eq!(stage.finish(), End::Exited { code: 0 });
    println!("flood of 100 MiB: {:?}, peak {peak:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30));
    let directory = stage.log_path().parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(directory).unwrap().count(), 3);
}

#[test]
fn a_container_outlives_its_monitor_until_it_is_swept() {
    let mut stage = Stage::new("sweep", "trap '' TERM; while true; do sleep 1; done");
    let monitor = stage.start();
    let init = stage.running().init.unwrap();
    // A living monitor is not swept.
    assert_eq!(stage.sweep().status.code(), Some(i32::from(podstrap::monitor::HELD)));
    assert_eq!(process::start_ticks(init.pid).unwrap(), Some(init.start_ticks));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL).unwrap();
    stage.monitors.pop().unwrap().wait().unwrap();
    assert_eq!(process::start_ticks(init.pid).unwrap(), Some(init.start_ticks), "the container lives on");
    // runc loses its grip on a container whose state is cut off: our own record and the cgroup must do.
    fs::write(stage.roots.runc().join(stage.spec().id.as_str()).join("state.json"), "").unwrap();
    for _ in 0..2 {
        let swept = stage.sweep();
        assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stderr));
        assert!(!lives(init.pid));
        stage.assert_nothing_left();
        assert_eq!(stage.record().unwrap().end, Some(End::Lost));
    }
}

#[test]
fn a_monitor_killed_at_any_moment_leaves_nothing_after_a_sweep() {
    let mut stage = Stage::new("anytime", "exec sleep 4243");
    for round in 0..24 {
        stage.attempt = round;
        let monitor = stage.start();
        std::thread::sleep(Duration::from_millis(u64::from(round) * 3));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        stage.monitors.pop().unwrap().wait().unwrap();
        let swept = stage.sweep();
        assert!(swept.status.success(), "{round}: {}", String::from_utf8_lossy(&swept.stderr));
        assert_eq!(stage.record().unwrap().end, Some(End::Lost));
    }
    // A runc that went on behind the sweep's back would have made its container by now.
    std::thread::sleep(Duration::from_millis(300));
    let root = PathBuf::from(stage.cgroup_root());
    assert_eq!(Cgroups::detect().unwrap().processes(&root).unwrap(), Default::default());
    for round in 0..24 {
        stage.attempt = round;
        stage.assert_nothing_left();
    }
}

#[test]
fn a_runc_that_fails_is_quoted() {
    let mut stage = Stage::new("badrunc", "true");
    stage.runc = stage.base.join("runc");
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "RunContainerError");
    assert!(message.contains("cannot execute") && message.contains("install runc"), "{message}");
    stage.attempt = 1;
    fs::write(&stage.runc, "#!/bin/sh\nyes 'no such luck' | head -c 100000 >&2\nexit 9\n").unwrap();
    fs::set_permissions(&stage.runc, fs::Permissions::from_mode(0o755)).unwrap();
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "RunContainerError");
    assert!(message.starts_with("runc: exit code 9: no such luck") && message.len() <= 2048, "{message}");
}

#[test]
fn leftovers_of_another_boot_kill_nobody() {
    let stage = Stage::new("boot", "");
    let dir = stage.dir();
    fs::create_dir_all(dir.rootfs()).unwrap();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = bystander.id() as i32;
    let mut spec = stage.spec();
    spec.boot_id = "other".into();
    fs::write(dir.spec(), serde_json::to_vec(&spec).unwrap()).unwrap();
    let record = serde_json::json!({
        "version": VERSION, "boot_id": "other", "phase": "Running",
        "monitor": { "pid": 1, "start_ticks": 1 },
        "init": { "pid": pid, "start_ticks": process::start_ticks(pid).unwrap().unwrap() },
    });
    fs::write(dir.record(), record.to_string()).unwrap();
    let own = stage.roots.runc().join(spec.id.as_str());
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("state.json"), "{}").unwrap();
    let swept = stage.sweep();
    let alive = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stderr));
    assert!(alive);
    stage.assert_nothing_left();
    assert_eq!(stage.record().unwrap().end, Some(End::Lost));
}

#[test]
fn running_out_of_memory_is_recognised() {
    let mut stage = Stage::new("oom", "");
    stage.container().command =
        ["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"].map(String::from).to_vec();
    stage.container().resources = Resources {
        memory_request: Some(Bytes(20 << 20)),
        memory_limit: Some(Bytes(20 << 20)),
        cpu_request: Some(MilliCpu(100)),
        cpu_limit: None,
        ..Resources::default()
    };
    assert_eq!(stage.run(), End::Signaled { signal: 9, oom: true });
}

#[test]
fn the_default_seccomp_profile_works_and_bites() {
    let script = "unshare -m true 2>&1; mount -t tmpfs t /tmp 2>&1; \
        echo $(seq 1 3 | tail -n 1); (sleep 0 & wait); mkdir /tmp/d && echo made; \
        while read k v; do case $k in Seccomp:) echo $k $v;; esac; done < /proc/self/status";
    let mut stage = Stage::new("seccomp", script);
    stage.pod.security.seccomp = Some(Seccomp::RuntimeDefault);
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    let lines = stage.lines();
    assert_eq!(
        lines,
        [
            "unshare: unshare(0x20000): Operation not permitted",
            "mount: permission denied (are you root?)",
            "3",
            "made",
            "Seccomp: 2"
        ]
    );
    // With the capability the same calls are open.
    stage.attempt = 1;
    stage.container().cap_add = vec!["SYS_ADMIN".into()];
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    assert_eq!(stage.lines(), ["3", "made", "Seccomp: 2"]);
}

#[test]
fn processes_in_the_hosts_pid_namespace_go_with_the_container() {
    let mut stage = Stage::new("hostpid", "sleep 4242 & echo $!; exit 3");
    stage.pod.host_pid = true;
    stage.start();
    assert_eq!(stage.finish(), End::Exited { code: 3 });
    let orphan: i32 = stage.lines()[0].parse().unwrap();
    assert!(!lives(orphan));
}

#[test]
fn privileged_containers_see_the_hosts_devices() {
    let mut stage = Stage::new(
        "privileged",
        "ls /dev; touch /sys/fs/cgroup/x 2>/dev/null; mount -t tmpfs t /tmp && echo mounted",
    );
    stage.container().privileged = true;
    assert_eq!(stage.run(), End::Exited { code: 0 }, "{}", stage.log());
    let lines = stage.lines();
    assert!(lines.iter().any(|l| l == "kmsg") && lines.iter().any(|l| l == "mounted"), "{lines:?}");
}

#[test]
fn the_daemon_is_nudged() {
    let mut stage = Stage::new("nudge", "true");
    let mut fifo = podstrap::sys::fifo::Fifo::open(&stage.roots.notify()).unwrap();
    stage.run();
    let line = format!("{} c 0", stage.pod.generation);
    let heard = fifo.drain().0;
    assert!(heard.len() >= 2 && heard.iter().all(|l| *l == line), "{heard:?}");
}

#[test]
fn a_removed_pod_leaves_only_its_newest_logs() {
    let mut stage = Stage::new("remove", "echo x > /rw/f; echo x");
    stage.volume("rw", Volume::EmptyDir { medium: Medium::Disk, size_limit: None }, "/rw", false);
    assert_eq!(stage.run(), End::Exited { code: 0 });
    let state = stage.roots.pod_state(&stage.pod.generation);
    let volume = state.join("volumes/rw");
    assert!(volume.join("f").exists());
    // A link and a mount that a container might have left: neither is followed.
    let outside = stage.base.join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    fs::create_dir(volume.join("mounted")).unwrap();
    nix::mount::mount(
        Some(&outside),
        &volume.join("mounted"),
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    // Deeper than a process may have descriptors.
    make_deep(&volume, 1500);
    for (n, uid) in ["old1", "old2"].iter().enumerate() {
        let path = stage.roots.log.join(format!("ns_p-host1_{uid}"));
        fs::create_dir_all(&path).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(1000 - n as u64);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
    fs::create_dir_all(stage.roots.log.join("ns_p-host1-other_u")).unwrap();
    symlink("/nowhere", stage.roots.log_links().join("p-host1_ns_c-gone.log")).unwrap();
    symlink("/nowhere", stage.roots.log_links().join("other_ns_c-gone.log")).unwrap();
    let removal = Removal {
        roots: stage.roots.clone(),
        pod: stage.pod.clone(),
        cgroup_root: stage.cgroup_root(),
        cni: CniPaths::default(),
        docker: None,
    };
    for _ in 0..2 {
        let mut child = Command::new("prlimit")
            .args(["--nofile=256", env!("CARGO_BIN_EXE_podstrap"), "remove"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), &removal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!state.exists());
        assert!(outside.join("kept").exists());
        assert!(
            !Cgroups::detect().unwrap().exists(
                Path::new(&stage.cgroup_root())
                    .join("x")
                    .parent()
                    .unwrap()
                    .join(format!("pod{}", stage.pod.generation))
                    .as_path()
            )
        );
    }
    let names = |path: &Path| {
        let mut all: Vec<_> =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    let own = format!("ns_p-host1_{}", stage.pod.uid);
    let mut wanted = [own, "ns_p-host1_old2".into(), "ns_p-host1-other_u".into()];
    wanted.sort();
    assert_eq!(names(&stage.roots.log), wanted);
    assert_eq!(names(&stage.roots.log_links()).len(), 2);
}

/// Whether a process runs; a zombie that its new parent has not reaped yet does not.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A chain of directories, longer than a path may be.
fn make_deep(start: &Path, depth: usize) {
    let script = format!(
        "cd {} && i=0; while [ $i -lt {depth} ]; do mkdir d; cd -P ./d; i=$((i+1)); done",
        start.display()
    );
    assert!(Command::new("/bin/busybox").args(["sh", "-c", &script]).status().unwrap().success());
}

/// Prints how long it takes from a start to the container's first act (a byte into a fifo): a bare `runc run` of the same
/// bundle, and the monitor from its spawn on. Run it alone: `cargo test --test monitor -- --ignored --nocapture latency`.
#[test]
#[ignore = "a measurement, not a check"]
fn start_latency() {
    let mut stage = Stage::new("latency", "echo x > /fifo; exec sleep 1000");
    let fifo = stage.base.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let path = fifo.to_string_lossy().into_owned();
    stage.volume("f", Volume::HostPath { path, kind: HostPathType::Unset }, "/fifo", false);
    if std::env::var_os("SECCOMP").is_some() {
        stage.pod.security.seccomp = Some(Seccomp::RuntimeDefault);
    }
    let mut fifo = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut byte = [0; 2];
    let (mut bare, mut monitored, mut memory) = (Vec::new(), Vec::new(), String::new());
    for attempt in 0..30 {
        stage.attempt = attempt;
        let begun = Instant::now();
        let monitor = stage.start();
        std::io::Read::read_exact(&mut fifo, &mut byte).unwrap();
        monitored.push(begun.elapsed());
        let init = stage.running().init.unwrap();
        memory = fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
        // The same bundle by hand, with a root that is a plain directory.
        let copy = stage.base.join("bare");
        fs::create_dir_all(&copy).unwrap();
        if attempt == 0 {
            let status = Command::new("cp")
                .arg("-a")
                .arg(stage.roots.images().join("layers/base"))
                .arg(copy.join("rootfs"))
                .status()
                .unwrap();
            assert!(status.success());
        }
        let config = fs::read_to_string(stage.dir().bundle().join("config.json")).unwrap();
        let name = format!("bare-{}-{attempt}", std::process::id());
        fs::write(copy.join("config.json"), config.replace(stage.spec().id.as_str(), &name)).unwrap();
        let runc = |args: &[&str]| {
            let mut command = Command::new("/usr/sbin/runc");
            command.arg("--root").arg(stage.base.join("bare-runc")).args(args).current_dir(&copy);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let begun = Instant::now();
        let mut child = runc(&["run", "--detach", &name]).spawn().unwrap();
        std::io::Read::read_exact(&mut fifo, &mut byte).unwrap();
        bare.push(begun.elapsed());
        child.wait().unwrap();
        assert!(runc(&["delete", "--force", &name]).status().unwrap().success());
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(init.pid), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        stage.finish();
    }
    bare.sort();
    monitored.sort();
    println!("median of {}: bare {:?}, monitored {:?}", bare.len(), bare[15], monitored[15]);
    println!("least: bare {:?}, monitored {:?}\n{memory}", bare[0], monitored[0]);
}
