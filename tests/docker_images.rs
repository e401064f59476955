//! Images in a real docker: every form of archive, archives that lie, what is remembered of them, pulls; and the daemon
//! beside a docker that is silent at first.
//!
//! The docker is the tests' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podstrap::image::bounds::Bounds;
use podstrap::image::digest::Digest;
use podstrap::image::hand_over::{HandOverError, hand_over};
use podstrap::runtime::docker::Docker;

use common::host::{self, skip};
use common::registry::{Registry, gzip, parts};
use common::{describe, podstrap, text};

/// One test's directory, and its docker.
struct Place {
    dir: PathBuf,
    /// Begins the names of all its images; no other test has it.
    prefix: String,
    /// Whether `docker` is a real one.
    real: bool,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("podstrap-docker-{name}-{}", std::process::id()));
        for sub in ["run", "state/images.d", "manifests", "root"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        Self { dir, prefix: format!("test{}.example/{name}", std::process::id()), real: false }
    }

    /// One with the real docker, where there is one.
    fn with_docker(name: &str) -> Option<Self> {
        if let Some(reason) = host::engine::missing("docker") {
            skip(&reason);
            return None;
        }
        let socket = host::engine::docker_socket();
        let Some(docker) = host::find("docker") else {
            skip("no docker on PATH");
            return None;
        };
        let mut place = Self::new(name);
        place.real = true;
        place.script(&format!("exec {} -H unix://{} \"$@\"", docker.display(), socket.display()));
        Some(place)
    }

    fn docker_path(&self) -> PathBuf {
        self.dir.join("docker")
    }

    /// What stands for docker's command line.
    fn script(&self, script: &str) {
        let part = self.dir.join("docker.part");
        fs::write(&part, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(part, self.docker_path()).unwrap();
    }

    fn name(&self, image: &str) -> String {
        format!("{}-{image}", self.prefix)
    }

    fn docker(&self, args: &[&str]) -> Output {
        Command::new(self.docker_path()).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Whether docker has an image.
    fn has(&self, image: &str) -> bool {
        self.docker(&["image", "inspect", image]).status.success()
    }

    fn image(&self, verb: &str, args: &[&str]) -> Output {
        let mut command = Command::new(podstrap());
        command.args(["image", verb, "--run-dir"]).arg(self.dir.join("run"));
        command.arg("--state-dir").arg(self.dir.join("state"));
        command.arg("--docker-binary").arg(self.docker_path()).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What the daemon runs to load the image directory.
    fn load_directory(&self) -> Output {
        let docker = Docker::new(self.docker_path());
        let mut child = Command::new(podstrap())
            .arg("load")
            .args([self.dir.join("state"), self.dir.join("state/images.d")])
            .arg("docker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(&docker).unwrap()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// An archive of one image with a file `hello` of this content.
    fn pack(&self, file: &str, name: &str, content: &str) -> PathBuf {
        let root = self.dir.join("root");
        fs::write(root.join("hello"), content).unwrap();
        let out = self.dir.join(file);
        let tool = common::image::in_tree("tests/tools/pack-image");
        let args = ["--cmd", r#"["/hello"]"#];
        let done = Command::new("sh").arg(tool).arg(&out).arg(name).arg(&root).args(args).output().unwrap();
        assert!(done.status.success(), "{}", describe(&done));
        out
    }

    /// What an image in docker has in its file `hello`.
    fn hello(&self, image: &str) -> String {
        let made = self.docker(&["create", image]);
        assert!(made.status.success(), "{}", describe(&made));
        let id = text(&made.stdout).trim().to_owned();
        let to = self.dir.join("hello.out");
        let copied = self.docker(&["cp", &format!("{id}:/hello"), to.to_str().unwrap()]);
        let removed = self.docker(&["rm", "-f", &id]);
        assert!(copied.status.success() && removed.status.success(), "{}", describe(&copied));
        fs::read_to_string(to).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.real {
            let all = self.docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
            let all = text(&all.stdout);
            let mine = |line: &&str| line.starts_with(&self.prefix);
            for line in all.lines().filter(mine) {
                let _ = self.docker(&["rmi", "-f", line.split(' ').next().unwrap()]);
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A compression.
type Codec = fn(&[u8]) -> Vec<u8>;

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An OCI archive of an image, with its layer stored as it is given, under these names.
fn oci(place: &Place, file: &str, config: &[u8], layer: &[u8], names: &[String]) -> PathBuf {
    let layout = place.dir.join(format!("{file}.d"));
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": blob("application/vnd.oci.image.config.v1+json", config),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    let manifest = blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    let named = names.iter().map(|name| {
        let mut manifest = manifest.clone();
        manifest["annotations"] = serde_json::json!({"io.containerd.image.name": name});
        manifest
    });
    let index = serde_json::json!({"schemaVersion": 2, "manifests": named.collect::<Vec<_>>()});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let out = place.dir.join(file);
    let done = Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&out).arg(".").output().unwrap();
    assert!(done.status.success(), "{}", describe(&done));
    out
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_form_of_archive_comes_to_be_in_docker() {
    let Some(place) = Place::with_docker("forms") else { return };
    for (form, codec) in [("plain", None), ("gzip", Some(gzip as Codec)), ("zstd", Some(zstd))] {
        let name = place.name(&format!("{form}:1"));
        let archive = place.pack(&format!("{form}.tar"), &name, form);
        if let Some(codec) = codec {
            fs::write(&archive, codec(&fs::read(&archive).unwrap())).unwrap();
        }
        let output = place.image("load", &[path(&archive)]);
        assert!(output.status.success(), "{}", describe(&output));
        assert!(
            text(&output.stdout).contains(&format!("Loaded image: {name} (sha256:")),
            "{}",
            describe(&output)
        );
        assert_eq!(place.hello(&name), form);
    }
    let codecs: [(&str, Codec); 3] =
        [("oci-plain", |bytes| bytes.to_vec()), ("oci-gzip", gzip), ("oci-zstd", zstd)];
    for (form, codec) in codecs {
        let (config, layer) = parts(&place.pack("parts.tar", "", form));
        let names = [place.name(&format!("{form}:1")), place.name(&format!("{form}:2"))];
        let archive = oci(&place, &format!("{form}.tar"), &config, &codec(&layer), &names);
        let output = place.image("load", &[path(&archive)]);
        assert!(output.status.success(), "{}", describe(&output));
        for name in &names {
            assert_eq!(place.hello(name), form, "{name}");
        }
        let ids = place.docker(&["image", "inspect", "--format", "{{.Id}}", &names[0], &names[1]]);
        let id = Digest::of(&config).to_string();
        assert_eq!(
            text(&ids.stdout).lines().collect::<Vec<_>>(),
            [&id, &id],
            "the same image under both names"
        );
        let list = place.image("list", &["-o", "json"]);
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list.stdout).unwrap();
        let ours = list.iter().find(|image| image["id"] == id.as_str()).unwrap();
        assert_eq!(ours["references"], serde_json::json!(names));
        assert_eq!(ours["layers"], 1);
    }
    let list = place.image("list", &[]);
    let gzip_line = text(&list.stdout).lines().find(|l| l.contains("-gzip ")).map(str::to_owned).unwrap();
    assert!(gzip_line.starts_with(&place.prefix), "{gzip_line}");
    let pruned = place.image("prune", &[]);
    assert!(
        !pruned.status.success() && text(&pruned.stderr).contains("docker image prune"),
        "{}",
        describe(&pruned)
    );
}

/// The same bytes at the same place, so that no header of the tar file is wrong.
fn tampered(archive: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(archive).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(archive, bytes).unwrap();
}

#[test]
fn of_an_archive_that_lies_docker_gets_nothing() {
    let Some(place) = Place::with_docker("lies") else { return };
    let name = place.name("bad:1");
    let big = "0123456789abcdef".repeat(20_000);
    let digest = place.pack("digest.tar", &name, &format!("hello-there{big}"));
    tampered(&digest, "hello-there", "hello-their");
    let cut = place.pack("cut.tar", &name, &big);
    let whole = fs::read(&cut).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let damaged = place.pack("damaged.tar", &name, "x");
    let mut bytes = gzip(&fs::read(&damaged).unwrap());
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    fs::write(&damaged, bytes).unwrap();
    let (config, layer) = parts(&place.pack("good.tar", "", "evil"));
    let evil = String::from_utf8(config).unwrap();
    let mut outside = layer.clone();
    // The name of the file in the layer, and the checksum of its header: 'h' and 'e' become dots, 'l' a slash.
    let header = outside.windows(7).position(|w| w == b"./hello").unwrap();
    outside[header..header + 7].copy_from_slice(b"../ello");
    let block = header / 512 * 512;
    outside[block + 148..block + 156].fill(b' ');
    let sum: u32 = outside[block..block + 512].iter().map(|b| u32::from(*b)).sum();
    outside[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let evil = evil.replace(&Digest::of(&layer).to_string(), &Digest::of(&outside).to_string());
    let outside = oci(&place, "outside.tar", evil.as_bytes(), &zstd(&outside), std::slice::from_ref(&name));
    let none = place.dir.join("none.tar");
    fs::write(&none, "no archive at all").unwrap();
    for (archive, part) in [
        (&digest, "digest mismatch"),
        (&cut, "cut off"),
        (&damaged, "damaged"),
        (&outside, "leaves the layer"),
        (&none, "cut off"),
    ] {
        let output = place.image("load", &[path(archive)]);
        assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
        assert!(text(&output.stderr).contains(part), "{part}: {}", describe(&output));
        assert!(!place.has(&name), "{}: docker has something of it", archive.display());
    }
    // One that is good goes in, whatever stands beside it on the command line.
    let good = place.pack("good.tar", &name, "good");
    let output = place.image("load", &[path(&digest), path(&good)]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(place.hello(&name), "good");
}

#[test]
fn an_image_directory_is_loaded_once_and_again_after_rmi() {
    let Some(place) = Place::with_docker("once") else { return };
    let (one, two) = (place.name("one:1"), place.name("two:1"));
    place.pack("state/images.d/1.tar", &one, "one");
    place.pack("state/images.d/2.tar", &two, "two");
    fs::write(place.dir.join("state/images.d/3.tar"), "no archive at all").unwrap();
    let said = |output: &Output| {
        let text = text(&output.stdout);
        text.lines()
            .filter_map(|l| l.strip_prefix("Loaded image: ")?.split(' ').next().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let first = place.load_directory();
    assert_eq!(said(&first), [one.clone(), two.clone()]);
    assert!(!first.status.success() && text(&first.stderr).contains("3.tar"), "{}", describe(&first));
    let second = place.load_directory();
    assert!(
        second.status.success() && second.stderr.is_empty() && said(&second).is_empty(),
        "{}",
        describe(&second)
    );
    assert!(place.docker(&["rmi", &one]).status.success());
    let third = place.load_directory();
    assert_eq!(said(&third), [one.as_str()]);
    assert_eq!((place.hello(&one), place.hello(&two)), ("one".to_owned(), "two".to_owned()));
    // Nobody answers: that is no fault of an archive.
    let real = fs::read(place.docker_path()).unwrap();
    place.script("echo 'Cannot connect to the Docker daemon' >&2; exit 1");
    place.pack("state/images.d/4.tar", &place.name("four:1"), "four");
    let silent = place.load_directory();
    assert!(
        !silent.status.success() && text(&silent.stderr).contains("Cannot connect"),
        "{}",
        describe(&silent)
    );
    // It answers, and cannot load.
    place.script(&format!(
        "[ \"$1\" != load ] || {{ head -c 100 >/dev/null; echo 'no space left on device' >&2; exit 1; }}\n{}",
        String::from_utf8(real.clone()).unwrap().replace("#!/bin/sh\n", "")
    ));
    let full = place.load_directory();
    assert!(
        !full.status.success() && text(&full.stderr).contains("no space left on device"),
        "{}",
        describe(&full)
    );
    fs::write(place.docker_path(), real).unwrap();
    let fourth = place.load_directory();
    assert_eq!(said(&fourth), [place.name("four:1")]);
}

#[test]
fn a_docker_that_hangs_or_fails_is_told_by_its_own_words() {
    let place = Place::new("fails");
    // More than a pipe holds, so that writing meets its end.
    let archive = place.pack("big.tar", "big:1", &"x".repeat(1 << 20));
    let load = |script: &str, deadline_ms: u64| {
        place.script(script);
        let docker = Docker::new(place.docker_path());
        let line = docker.load_images().deadline(deadline_ms);
        hand_over(&line, &archive, &place.dir.join("spool"), &Bounds::default(), &mut |_| {})
    };
    let (_, images) = load("exec cat > $(dirname \"$0\")/got.tar", 20_000).unwrap();
    assert_eq!(images[0].references[0].full, "docker.io/library/big:1");
    let list = Command::new("tar").arg("-tf").arg(place.dir.join("got.tar")).output().unwrap();
    assert!(text(&list.stdout).ends_with("manifest.json\n"), "{}", describe(&list));
    for script in
        ["echo one >&2; echo two >&2; exit 3", "head -c 5000 >/dev/null; echo one; echo two; exit 3"]
    {
        let error = load(script, 20_000).unwrap_err();
        assert!(matches!(error, HandOverError::Failed { .. }) && !error.is_permanent());
        assert!(error.to_string().contains("exit code 3: one; two"), "{error}");
    }
    let error = load("exit 0", 20_000).unwrap_err();
    assert!(error.to_string().contains("before it had read"), "{error}");
    for script in ["exec sleep 1000", "cat >/dev/null; exec sleep 1000"] {
        let begun = Instant::now();
        let error = load(script, 300).unwrap_err();
        assert!(matches!(error, HandOverError::Deadline { deadline_ms: 300, .. }), "{error}");
        assert!(!error.is_permanent() && begun.elapsed() < Duration::from_secs(10));
    }
    fs::remove_file(place.docker_path()).unwrap();
    let docker = Docker::new(place.docker_path());
    let gone = hand_over(&docker.load_images(), &archive, &place.dir, &Bounds::default(), &mut |_| {});
    assert!(matches!(gone, Err(HandOverError::Run { .. })), "{gone:?}");
    assert_eq!(fs::read_dir(place.dir.join("spool")).unwrap().count(), 0);
}

#[test]
fn docker_pulls_and_says_why_it_cannot() {
    let Some(mut place) = Place::with_docker("pull") else { return };
    let (config, layer) = parts(&place.pack("parts.tar", "", "pulled"));
    let registry = Registry::start();
    let manifest = registry.put("1", &config, &layer);
    let name = registry.name();
    // What is to be removed in the end.
    place.prefix = name.clone();
    let credentials = place.dir.join("auth.json");
    fs::write(&credentials, r#"{"auths":{}}"#).unwrap();
    let output = place.image("pull", &["--authfile", path(&credentials), &format!("{name}:1")]);
    assert!(output.status.success(), "{}", describe(&output));
    assert!(
        text(&output.stdout).contains(&format!("Loaded image: {name}:1 (sha256:")),
        "{}",
        describe(&output)
    );
    assert_eq!(place.hello(&format!("{name}:1")), "pulled");
    assert_eq!(fs::read_dir(place.dir.join("run/docker")).unwrap().count(), 0, "no credentials are left");
    // Both a tag and a digest: only the digest counts, and the name as it was asked for is remembered.
    let both = format!("{name}:other@{manifest}");
    let output = place.image("pull", &[&both]);
    assert!(output.status.success(), "{}", describe(&output));
    let known = fs::read_to_string(place.dir.join("state/docker/archives.json")).unwrap();
    let known: serde_json::Value = serde_json::from_str(&known).unwrap();
    assert_eq!(known["names"][&both], Digest::of(&config).to_string());
    let output = place.image("pull", &[&format!("{name}:missing")]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("cannot pull {name}:missing: docker: exit code 1: ")), "{said}");
    assert!(said.contains("manifest unknown"), "{said}");
}

/// A daemon of podstrap beside a docker of our own making.
struct Daemon {
    place: Place,
    child: Child,
    cgroup_root: String,
}

impl Daemon {
    fn start(place: Place) -> Self {
        let cgroup_root = place.dir.file_name().unwrap().to_str().unwrap().to_owned();
        let log = fs::File::create(place.dir.join("daemon.log")).unwrap();
        let mut command = Command::new(podstrap());
        command.args(["run", "--runtime", "docker", "--rescan", "1s", "--node-name", "node1"]);
        command.args(["--cgroup-root", &cgroup_root]);
        for (flag, value) in [
            ("--docker-binary", "docker"),
            ("--manifest-dir", "manifests"),
            ("--run-dir", "run"),
            ("--state-dir", "state"),
            ("--log-dir", "log"),
        ] {
            command.arg(flag).arg(place.dir.join(value));
        }
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { place, child, cgroup_root }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.dir.join("daemon.log")).unwrap_or_default()
    }

    /// How often docker was told this.
    fn calls(&self, word: &str) -> usize {
        let calls = fs::read_to_string(self.place.dir.join("calls")).unwrap_or_default();
        calls.lines().filter(|l| l.split(' ').next() == Some(word)).count()
    }

    /// What a Pod's container waits for.
    fn waits(&self, pod: &str) -> Option<(String, String)> {
        let path = host::entries(&self.place.dir.join("run/status"));
        let all =
            path.iter().filter_map(|p| serde_json::from_slice::<serde_json::Value>(&fs::read(p).ok()?).ok());
        let pod = all.into_iter().find(|s| s["name"] == format!("{pod}-node1"))?;
        let waiting = pod.pointer("/pod/status/containerStatuses/0/state/waiting")?;
        let word = |key: &str| waiting[key].as_str().unwrap_or_default().to_owned();
        Some((word("reason"), word("message")))
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + common::SOON;
        while !condition(self) {
            assert!(Instant::now() < end, "not within {:?}: {what}\n{}", common::SOON, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        host::signal(self.child.id() as i32, Signal::SIGTERM);
        let _ = self.child.wait();
        host::clean_up(&self.place.dir, &self.cgroup_root);
    }
}

fn pod(name: &str, image: &str, policy: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  containers:\n  - name: main\n    \
         image: {image}\n    imagePullPolicy: {policy}\n    command: [/hello]\n"
    )
}

#[test]
fn while_docker_is_silent_nothing_is_missing_and_what_it_loses_is_loaded_again() {
    if let Some(reason) = host::cannot_run_containers() {
        return skip(&reason);
    }
    let place = Place::new("daemon");
    // A docker whose images are the lines of a file, and that writes down what it is told.
    place.script(
        r#"cd "$(dirname "$0")" || exit 1
echo "$@" >>calls
case $1 in
--version) echo 'Docker version 20.10.24, build 0' ;;
events) exec sleep 1000 ;;
pull) echo 'Error response from daemon: pull access denied' >&2; exit 1 ;;
images)
	[ ! -e silent ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; }
	[ ! -e list ] || cat list ;;
load)
	cat >got.tar
	id=$(tar -tf got.tar | sed -n 's/^\([0-9a-f]*\)\.json$/\1/p')
	printf 'r.example/loaded\t1\t<none>\tsha256:%s\n' "$id" >list.part
	mv list.part list ;;
esac"#,
    );
    let dir = place.dir.clone();
    fs::write(dir.join("silent"), "").unwrap();
    let archive = place.pack("state/images.d/loaded.tar", "r.example/loaded:1", "hello");
    let id = Digest::of(&parts(&archive).0);
    fs::write(dir.join("manifests/never.yaml"), pod("never", "r.example/absent:1", "Never")).unwrap();
    fs::write(dir.join("manifests/pull.yaml"), pod("pull", "r.example/pulled:1", "IfNotPresent")).unwrap();
    let daemon = Daemon::start(place);
    daemon.until("docker is asked", |d| d.calls("images") >= 2);
    daemon.until("the Pods are there", |d| d.waits("never").is_some() && d.waits("pull").is_some());
    for pod in ["never", "pull"] {
        assert_eq!(daemon.waits(pod).unwrap().0, "ContainerCreating", "{:?}", daemon.waits(pod));
    }
    assert_eq!((daemon.calls("pull"), daemon.calls("load")), (0, 0), "{}", daemon.log());
    assert!(daemon.log().contains("Cannot connect to the Docker daemon"), "{}", daemon.log());

    fs::remove_file(dir.join("silent")).unwrap();
    daemon.until("the archive is loaded", |d| d.calls("load") == 1);
    daemon.until("what is missing is told", |d| d.waits("never").is_some_and(|w| w.0 == "ErrImageNeverPull"));
    daemon.until("the pull fails", |d| {
        d.waits("pull").is_some_and(|w| w.0.contains("Pull") && w.1.contains("pull access denied"))
    });
    let calls = fs::read_to_string(dir.join("calls")).unwrap();
    let place_of = |word: &str| calls.lines().position(|l| l.starts_with(word)).unwrap();
    assert!(place_of("load") < place_of("pull"), "the archive might have held it:\n{calls}");
    let asked = daemon.calls("images");
    daemon.until("two rescans", |d| d.calls("images") >= asked + 2);
    assert_eq!(daemon.calls("load"), 1, "once is enough");
    assert!(fs::read_to_string(dir.join("list")).unwrap().contains(&id.hex()));

    // Somebody removes the image.
    fs::write(dir.join("list"), "").unwrap();
    daemon.until("it is loaded again", |d| d.calls("load") == 2);
    let asked = daemon.calls("images");
    daemon.until("its images are listed", |d| {
        d.calls("images") >= asked + 2 && d.waits("never").is_some_and(|w| w.0 == "ErrImageNeverPull")
    });
    // docker falls silent: what was known stays so.
    let known = daemon.waits("never");
    fs::write(dir.join("silent"), "").unwrap();
    let asked = daemon.calls("images");
    daemon.until("docker is asked in vain", |d| d.calls("images") >= asked + 2);
    assert_eq!(daemon.waits("never"), known);
    // And what comes meanwhile waits until it answers.
    daemon.place.pack("late.tar", "r.example/late:1", "late");
    fs::rename(dir.join("late.tar"), dir.join("state/images.d/late.tar")).unwrap();
    let asked = daemon.calls("images");
    daemon.until("docker is asked in vain", |d| d.calls("images") >= asked + 2);
    assert!(daemon.calls("load") == 2 && !daemon.log().contains("late.tar"), "{}", daemon.log());
    fs::remove_file(dir.join("silent")).unwrap();
    daemon.until("it is loaded", |d| d.calls("load") >= 3);
}

#[test]
fn without_docker_the_verbs_say_what_is_wrong() {
    let place = Place::new("verbs");
    let refused = place.image("list", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("docker"), "{}", describe(&refused));
    place.script("[ \"$1\" = --version ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; }");
    let archive = place.pack("a.tar", "a:1", "x");
    for (verb, args) in [("list", vec![]), ("load", vec![path(&archive)]), ("pull", vec!["a:1"])] {
        let output = place.image(verb, &args);
        assert_eq!(output.status.code(), Some(1), "{verb}: {}", describe(&output));
        assert!(
            text(&output.stderr).contains("Cannot connect to the Docker daemon"),
            "{verb}: {}",
            describe(&output)
        );
        assert!(output.stdout.is_empty());
    }
    // --runtime runc asks nobody.
    let ours = place.image("list", &["--runtime", "runc"]);
    assert!(ours.status.success() && text(&ours.stdout).starts_with("REPOSITORY"), "{}", describe(&ours));
    fs::set_permissions(place.docker_path(), fs::Permissions::from_mode(0o777)).unwrap();
    let unsafe_ = place.image("list", &[]);
    assert!(text(&unsafe_.stderr).contains("others may write to it"), "{}", describe(&unsafe_));
}
