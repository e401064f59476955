//! Volumes, as containers find them.

use super::inside::object;
use super::*;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

impl Stage {
    /// Removes the Pod as the daemon would.
    fn remove_pod(&self) {
        let removal = Removal {
            roots: self.roots.clone(),
            pod: self.pod.clone(),
            cgroup_root: self.cgroup_root(),
            cni: CniPaths::default(),
            docker: None,
        };
        self.helper("remove", &serde_json::to_vec(&removal).unwrap());
    }

    /// Runs a helper process on this input; gives its standard output.
    fn helper(&self, name: &str, input: &[u8]) -> String {
        let mut child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn project(&self) -> String {
        let projection =
            podstrap::helper::project::Projection { roots: self.roots.clone(), pods: vec![self.pod.clone()] };
        self.helper("project", &serde_json::to_vec(&projection).unwrap())
    }

    fn mount(&mut self) -> &mut Mount {
        self.container().mounts.last_mut().unwrap()
    }

    /// The mounts that volumes keep while their Pod lives; `assert_nothing_left` is for Pods without.
    fn run_keeping_mounts(&mut self) -> End {
        self.start();
        let status = self.monitors.pop().unwrap().wait().unwrap();
        assert!(status.success(), "{status}: {}", self.stderr());
        assert!(mount::beneath(&self.roots.containers(&self.pod.generation)).unwrap().is_empty());
        self.record().unwrap().end.unwrap()
    }

    fn told_keeping_mounts(&mut self) -> Vec<String> {
        assert_eq!(self.run_keeping_mounts(), End::Exited { code: 0 }, "{}; {}", self.log(), self.stderr());
        self.lines()
    }
}

#[test]
fn memory_is_shared_limited_and_kept_over_restarts() {
    let mut stage =
        Stage::new("memory", "cat /m/count; echo x >> /m/count; df -k /m | tail -n 1; mount | grep ' /m '");
    let volume = Volume::EmptyDir { medium: Medium::Memory, size_limit: Some(Bytes(8 << 20)) };
    stage.volume("m", volume, "/m", false);
    stage.pod.fs_group = Some(4321);
    stage.start();
    stage.monitors.pop().unwrap().wait().unwrap();
    stage.attempt = 1;
    let lines = stage.told_keeping_mounts();
    assert_eq!(lines[0], "x");
    assert!(lines.iter().any(|l| l.contains(" 8192 ")), "{lines:?}");
    assert!(lines.iter().any(|l| l.contains("tmpfs")), "{lines:?}");
    let place = stage.roots.run_volumes(&stage.pod.generation);
    let metadata = fs::metadata(place.join("m")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o2777, 4321));
    assert_eq!(mount::beneath(&place).unwrap().len(), 1);
    stage.remove_pod();
    assert!(!place.exists());
    assert!(mount::beneath(&stage.base).unwrap().is_empty());
}

#[test]
fn huge_pages_are_mounted_or_refused() {
    let mut stage = Stage::new("huge", "mount | grep ' /h '");
    stage.volume("h", Volume::EmptyDir { medium: Medium::HugePages(3 << 20), size_limit: None }, "/h", false);
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "FailedMount");
    assert!(message.contains("no huge pages of 3072 KiB"), "{message}");
    if Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        stage.attempt = 1;
        let volume = Volume::EmptyDir { medium: Medium::HugePages(2 << 20), size_limit: None };
        stage.pod.volumes.insert(VolumeName::new("h"), volume);
        let lines = stage.told_keeping_mounts();
        assert!(lines[0].contains("hugetlbfs") && lines[0].contains("pagesize=2M"), "{lines:?}");
        stage.remove_pod();
    }
}

#[test]
fn the_group_of_volumes() {
    let mut stage = Stage::new(
        "fsgroup",
        "id -G; stat -c '%a %g' /d; touch /d/new; stat -c %g /d/new; stat -c '%a %g' /p/..data/a; cat /p/a",
    );
    stage.pod.fs_group = Some(4321);
    stage.container().security.run_as_user = Some(33);
    stage.volume("d", Volume::EmptyDir { medium: Medium::Disk, size_limit: None }, "/d", false);
    let map = object(ObjectKind::Secret, "s");
    stage.write_object(map.clone(), &[("a", "text")]);
    let sources = vec![ProjectedSource::Object { object: map, items: vec![], optional: false }];
    stage.volume("p", Volume::Projected { sources, default_mode: 0o400 }, "/p", false);
    let lines = stage.told();
    assert_eq!(lines, ["34 77 4321", "2777 4321", "4321", "440 4321", "text"]);
    // A file of another group is given back only where the root does not fit.
    let volume = stage.roots.pod_state(&stage.pod.generation).join("volumes/d");
    let strange = volume.join("strange");
    fs::write(&strange, "").unwrap();
    std::os::unix::fs::chown(&strange, None, Some(1)).unwrap();
    let mark = stage.roots.run_volumes(&stage.pod.generation).join(".group-d");
    let mut again = |mismatch| {
        stage.attempt += 1;
        stage.pod.fs_group_on_root_mismatch = mismatch;
        // As after a reboot.
        fs::remove_file(&mark).unwrap();
        stage.told();
        fs::metadata(&strange).unwrap().gid()
    };
    assert_eq!(again(true), 1);
    assert_eq!(again(false), 4321);
}

#[test]
fn projected_files_and_their_updates() {
    let script = "cat /p/a; cat /p/dir/b; cat /p/labels; echo; stat -c %a /p/..data/dir/b; readlink /p/a; touch /p/x 2>&1; \
                  echo ready > /sync/ready; while ! grep -q new /p/a; do sleep 0.05; done; cat /p/a; ls /p";
    let mut stage = Stage::new("projected", script);
    stage.pod.labels.insert("app".into(), "web".into());
    let map = object(ObjectKind::ConfigMap, "m");
    let sources = vec![
        ProjectedSource::Object { object: map.clone(), items: vec![], optional: false },
        ProjectedSource::Object {
            object: object(ObjectKind::Secret, "s"),
            items: vec![KeyToPath { key: "k".into(), path: "dir/b".into(), mode: Some(0o400) }],
            optional: false,
        },
        ProjectedSource::DownwardApi(vec![DownwardFile {
            path: "labels".into(),
            field: FieldRef::Labels,
            mode: None,
        }]),
    ];
    stage.volume("p", Volume::Projected { sources, default_mode: 0o644 }, "/p", false);
    stage.volume("sync", Volume::EmptyDir { medium: Medium::Disk, size_limit: None }, "/sync", false);
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "FailedMount");
    assert_eq!(message, "MountVolume.SetUp failed for volume \"p\": configmap \"m\" not found");
    stage.attempt = 1;
    stage.write_object(map.clone(), &[("a", "old\n"), ("gone", "")]);
    stage.write_object(object(ObjectKind::Secret, "s"), &[("k", "key\n")]);
    stage.start();
    let ready = stage.roots.pod_state(&stage.pod.generation).join("volumes/sync/ready");
    stage.until("the container is ready", || ready.exists().then_some(()));
    assert_eq!(stage.project(), "", "nothing differs");
    stage.write_object(map, &[("a", "new\n")]);
    assert_eq!(stage.project(), "ns/p-host1: p\n");
    assert_eq!(stage.finish(), End::Exited { code: 0 });
    let lines = stage.lines();
    let wanted = [
        "old",
        "key",
        "app=\"web\"",
        "400",
        "..data/a",
        "touch: /p/x: Read-only file system",
        "new",
        "a",
        "dir",
        "labels",
    ];
    assert_eq!(lines, wanted);
}

#[test]
fn image_volumes_are_read_only_and_cannot_be_run() {
    let mut stage =
        Stage::new("imagevolume", "cat /i/etc/group; touch /i/x 2>&1; /i/bin/busybox true 2>&1; ls /part");
    let reference = stage.pod.containers[0].image.clone();
    let volume = Volume::Image { reference, pull_policy: PullPolicy::Never };
    stage.volume("i", volume.clone(), "/i", false);
    stage.volume("i", volume, "/part", false);
    stage.mount().sub_path = Some(SubPath::Plain("etc".into()));
    let lines = stage.told_keeping_mounts();
    let wanted = [
        "root:x:0:",
        "www:x:34:",
        "extra:x:77:web",
        "touch: /i/x: Read-only file system",
        "/bin/sh: /i/bin/busybox: Permission denied",
        "group",
        "passwd",
    ];
    assert_eq!(lines, wanted);
    stage.remove_pod();
    assert!(mount::beneath(&stage.base).unwrap().is_empty());
    stage.attempt = 1;
    let other = Reference { given: "no".into(), full: "docker.io/library/no:latest".into() };
    stage
        .pod
        .volumes
        .insert(VolumeName::new("i"), Volume::Image { reference: other, pull_policy: PullPolicy::Never });
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "ImageNotPresent");
    assert!(message.contains("image no "), "{message}");
}

#[test]
fn parts_of_volumes_cannot_lead_out_of_them() {
    let mut stage =
        Stage::new("subpath", "ls /s; echo hi > /s/new; cat /f; stat -c %a /made; touch /r/x 2>&1; true");
    stage.container().env = vec![EnvVar { name: "WHO".into(), value: EnvValue::Text("me".into()) }];
    let data = stage.base.join("data");
    fs::create_dir_all(data.join("a/me")).unwrap();
    fs::write(data.join("a/me/here"), "").unwrap();
    fs::write(data.join("file"), "content\n").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    symlink("/etc", data.join("out")).unwrap();
    symlink("../data2", data.join("up")).unwrap();
    let volume =
        Volume::HostPath { path: data.to_string_lossy().into_owned(), kind: HostPathType::Directory };
    for (target, sub) in [
        ("/s", SubPath::Expression("a/$(WHO)".into())),
        ("/f", SubPath::Plain("file".into())),
        ("/made", SubPath::Plain("x/y".into())),
        ("/r", SubPath::Plain("a".into())),
    ] {
        stage.volume("v", volume.clone(), target, target == "/r");
        stage.mount().sub_path = Some(sub);
    }
    let lines = stage.told();
    assert_eq!(lines, ["here", "content", "750", "touch: /r/x: Read-only file system"]);
    assert_eq!(fs::read_to_string(data.join("a/me/new")).unwrap(), "hi\n", "and it is there after the end");
    for (number, sub, words) in [
        (1, SubPath::Plain("out/passwd".into()), "leads out of its volume"),
        (2, SubPath::Plain("up".into()), "leads out of its volume"),
        (3, SubPath::Expression("$(NOBODY)".into()), "missing value for \"NOBODY\""),
    ] {
        stage.attempt = number;
        stage.mount().sub_path = Some(sub);
        let (reason, message) = stage.refusal();
        assert_eq!(reason, "CreateContainerConfigError");
        assert!(message.contains(words), "{message}");
    }
    assert!(data.join("file").exists() && !stage.base.join("data2").exists());
}

#[test]
fn read_only_to_the_depth() {
    let mut stage = Stage::new("rro", "touch /v/below/x 2>&1; touch /v/x 2>&1; ls /v/below");
    let data = stage.base.join("data");
    fs::create_dir_all(data.join("below")).unwrap();
    mount::tmpfs(&data.join("below"), None, 0o755).unwrap();
    let volume =
        Volume::HostPath { path: data.to_string_lossy().into_owned(), kind: HostPathType::Directory };
    stage.volume("v", volume, "/v", true);
    // Only the uppermost mount is read-only.
    assert_eq!(stage.run_keeping_mounts(), End::Exited { code: 0 });
    assert_eq!(stage.lines(), ["touch: /v/x: Read-only file system", "x"]);
    stage.attempt = 1;
    stage.mount().recursive_read_only = true;
    assert_eq!(stage.run_keeping_mounts(), End::Exited { code: 0 });
    assert_eq!(
        stage.lines(),
        ["touch: /v/below/x: Read-only file system", "touch: /v/x: Read-only file system", "x"]
    );
    assert!(data.join("below/x").exists(), "what is mounted below the source stays mounted");
}

fn volume_of(path: &Path) -> Volume {
    Volume::HostPath { path: path.to_string_lossy().into_owned(), kind: HostPathType::Directory }
}

#[test]
fn a_killed_monitor_costs_no_volume_anything() {
    let mut stage = Stage::new("killedpart", "exec sleep 1000");
    let data = stage.base.join("data");
    fs::create_dir(&data).unwrap();
    mount::tmpfs(&data, None, 0o755).unwrap();
    let shared = nix::mount::MsFlags::MS_SHARED;
    nix::mount::mount(None::<&str>, &data, None::<&str>, shared, None::<&str>).unwrap();
    fs::create_dir_all(data.join("part/below")).unwrap();
    mount::tmpfs(&data.join("part/below"), None, 0o755).unwrap();
    fs::write(data.join("part/below/f"), "").unwrap();
    stage.volume("v", volume_of(&data), "/v", false);
    stage.mount().sub_path = Some(SubPath::Plain("part".into()));
    for round in 0..12 {
        stage.attempt = round;
        let monitor = stage.start();
        std::thread::sleep(Duration::from_millis(u64::from(round) * 4));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        stage.monitors.pop().unwrap().wait().unwrap();
        let swept = stage.sweep();
        assert!(swept.status.success(), "{round}: {}", String::from_utf8_lossy(&swept.stderr));
        assert!(data.join("part/below/f").exists(), "{round}");
        assert!(mount::beneath(&stage.roots.containers(&stage.pod.generation)).unwrap().is_empty());
    }
}

#[test]
fn mounts_propagate_as_far_as_they_are_asked_to() {
    let script = "echo ready > /sync/ready; while [ ! -e /sync/go ]; do sleep 0.05; done; \
                  for d in none slave shared partnone partslave partshared; do [ -e /$d/sub/f ] && echo $d; done; \
                  mount -t tmpfs t /shared/mine && echo > /sync/mounted; while [ ! -e /sync/end ]; do sleep 0.05; done";
    let mut stage = Stage::new("propagation", script);
    stage.container().privileged = true;
    let data = stage.base.join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::create_dir_all(data.join("mine")).unwrap();
    mount::tmpfs(&data, None, 0o755).unwrap();
    let shared = nix::mount::MsFlags::MS_SHARED;
    nix::mount::mount(None::<&str>, &data, None::<&str>, shared, None::<&str>).unwrap();
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::create_dir_all(data.join("mine")).unwrap();
    let volume =
        Volume::HostPath { path: data.to_string_lossy().into_owned(), kind: HostPathType::Directory };
    for (target, propagation) in [
        ("/none", Propagation::Private),
        ("/slave", Propagation::HostToContainer),
        ("/shared", Propagation::Bidirectional),
    ] {
        stage.volume("v", volume.clone(), target, false);
        stage.mount().propagation = propagation;
    }
    for (target, propagation) in [
        ("/partnone", Propagation::Private),
        ("/partslave", Propagation::HostToContainer),
        ("/partshared", Propagation::Bidirectional),
    ] {
        stage.volume("parts", volume_of(&stage.base), target, false);
        stage.mount().sub_path = Some(SubPath::Plain("data".into()));
        stage.mount().propagation = propagation;
    }
    stage.volume("sync", Volume::EmptyDir { medium: Medium::Disk, size_limit: None }, "/sync", false);
    stage.start();
    let sync = stage.roots.pod_state(&stage.pod.generation).join("volumes/sync");
    stage.until("the container is ready", || sync.join("ready").exists().then_some(()));
    mount::tmpfs(&data.join("sub"), None, 0o755).unwrap();
    fs::write(data.join("sub/f"), "").unwrap();
    fs::write(sync.join("go"), "").unwrap();
    stage.until("the container has mounted", || sync.join("mounted").exists().then_some(()));
    let seen = mount::list().unwrap().iter().any(|m| m.path == data.join("mine"));
    fs::write(sync.join("end"), "").unwrap();
    let status = stage.monitors.pop().unwrap().wait().unwrap();
    assert!(status.success(), "{}", stage.stderr());
    assert_eq!(stage.lines(), ["slave", "shared", "partslave", "partshared"]);
    assert!(data.join("sub/f").exists(), "what is mounted at the source stays mounted");
    assert!(seen, "what the container mounts is seen by the host");
}
