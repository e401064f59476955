//! Where a case stands while it is tried: its Pod's status, its containers' output and files, its process on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podstrap::paths::fnv1a;
use podstrap::report::{ManifestState, PodStatusFile};
use serde_json::Value;

use crate::common::{Instance, NODE, describe, host, text};
use crate::web::Web;

/// One case under way.
pub struct Bench<'a> {
    /// Its daemon.
    pub instance: &'a Instance,
    /// The Pod's name without the node's.
    pub name: String,
    /// The case's own directory: /out in its containers.
    pub dir: PathBuf,
    /// `@PORT@`.
    pub port: u16,
    /// The server on that port, if there is one.
    pub web: Option<Web>,
    /// The manifest, filled in.
    pub manifest: String,
    /// When the case has taken too long.
    pub end: Instant,
    mounts: Mutex<Vec<PathBuf>>,
    children: Mutex<Vec<Child>>,
}

/// Seconds since boot, as containers' `say` tells them.
pub fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

impl<'a> Bench<'a> {
    /// A bench for one case, with its directory made.
    pub fn new(instance: &'a Instance, name: String, web: bool, timeout: Duration) -> Self {
        let dir = instance.shared.join(&name);
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let web = web.then(Web::start);
        let port = web.as_ref().map_or_else(host::free_port, |w| w.port);
        Self {
            instance,
            name,
            dir,
            port,
            web,
            manifest: String::new(),
            end: Instant::now() + timeout,
            mounts: Mutex::new(Vec::new()),
            children: Mutex::new(Vec::new()),
        }
    }

    /// Puts the case's own words in.
    pub fn fill(&self, text: &str) -> String {
        text.replace("@NAME@", &self.name)
            .replace("@DIR@", &self.dir.to_string_lossy())
            .replace("@PORT@", &self.port.to_string())
            .replace("@STATE@", &self.instance.state.to_string_lossy())
    }

    // The manifest.

    /// Puts the case's manifest into the directory.
    pub fn submit(&self) {
        self.write_file("", &self.manifest);
    }

    /// The same with a text of it replaced.
    pub fn edit(&self, from: &str, to: &str) {
        let changed = self.manifest.replace(&self.fill(from), &self.fill(to));
        assert_ne!(changed, self.manifest, "the edit changes something");
        self.write_file("", &changed);
    }

    /// Writes another file of the case's into the manifest directory.
    pub fn write_file(&self, suffix: &str, content: &str) {
        let part = self.dir.with_extension("part");
        fs::write(&part, self.fill(content)).unwrap();
        fs::rename(&part, self.instance.manifests.join(format!("{}{suffix}.yaml", self.name))).unwrap();
    }

    /// Removes the case's manifest.
    pub fn remove(&self) {
        fs::remove_file(self.instance.manifests.join(format!("{}.yaml", self.name))).unwrap();
    }

    // The status.

    /// What is published of the Pod.
    pub fn status(&self) -> Option<PodStatusFile> {
        self.published(&format!("{:016x}", fnv1a(format!("default/{}-{NODE}", self.name).as_bytes())))
    }

    fn published(&self, file: &str) -> Option<PodStatusFile> {
        let path = self.instance.run.join("status").join(format!("{file}.json"));
        let bytes = fs::read(&path).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// What is published of the file's first document where it was refused.
    pub fn refusal(&self) -> Option<Vec<String>> {
        let path = self.instance.manifests.join(format!("{}.yaml", self.name));
        let file = format!("refused-{:016x}", fnv1a(path.to_string_lossy().as_bytes()));
        match self.published(&file).or_else(|| self.status())?.manifest {
            ManifestState::Refused { problems } | ManifestState::Kept { problems } => Some(problems),
            ManifestState::Current { .. }
            | ManifestState::Replacing { .. }
            | ManifestState::Removed
            | ManifestState::Held => None,
        }
    }

    /// A value of the published v1.Pod; null where there is none.
    pub fn at(&self, pointer: &str) -> Value {
        self.status().and_then(|s| s.pod.pointer(pointer).cloned()).unwrap_or_default()
    }

    /// The published status of a container of either kind; null where there is none.
    pub fn container(&self, name: &str) -> Value {
        let Some(status) = self.status() else { return Value::Null };
        for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
            let found = status.pod.pointer(list).and_then(Value::as_array);
            if let Some(found) = found.and_then(|l| l.iter().find(|c| c["name"] == name)) {
                return found.clone();
            }
        }
        Value::Null
    }

    /// A condition of the Pod; null where there is none.
    pub fn condition(&self, kind: &str) -> Value {
        let conditions = self.at("/status/conditions");
        let found = conditions.as_array().and_then(|c| c.iter().find(|c| c["type"] == kind));
        found.cloned().unwrap_or_default()
    }

    /// Whether the Pod is ready.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready")["status"] == "True"
    }

    /// How often a container was started again.
    pub fn restarts(&self, container: &str) -> u64 {
        self.container(container)["restartCount"].as_u64().unwrap_or(0)
    }

    // Waiting.

    /// Polls a condition until the case's time is up. A refusal of the document ends the case at once.
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let mut tries = 0_u32;
        self.until_or_refused(what, || {
            tries += 1;
            if tries.is_multiple_of(16)
                && let Some(problems) = self.refusal()
            {
                let first = problems.first().and_then(|p| p.lines().next()).unwrap_or_default();
                panic!("{what}: the document is refused: {first}");
            }
            condition()
        });
    }

    /// The same for what may end in a refusal.
    pub fn until_or_refused(&self, what: &str, mut condition: impl FnMut() -> bool) {
        while !condition() {
            assert!(Instant::now() < self.end, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Checks for so many seconds that a condition goes on to hold.
    pub fn holds(&self, seconds: f64, what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            assert!(condition(), "does not hold any more: {what}");
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Waits for the phase.
    pub fn phase(&self, phase: &str) {
        self.until(&format!("phase {phase}"), || self.at("/status/phase") == phase);
    }

    /// Waits until the Pod is ready.
    pub fn ready(&self) {
        self.until("the Pod is ready", || self.is_ready());
    }

    /// Waits until a container is running, and has been started (by its startup probe, too).
    pub fn started(&self, container: &str) {
        self.until(&format!("{container} has started"), || self.container(container)["started"] == true);
    }

    /// Waits for a container's end that is not followed by a restart, and gives its `terminated`.
    pub fn ended(&self, container: &str) -> Value {
        self.until(&format!("{container} has ended"), || {
            self.container(container)["state"]["terminated"].is_object()
        });
        self.container(container)["state"]["terminated"].clone()
    }

    /// Waits for a container's end that may be followed by a restart, and gives the `terminated` of that life.
    pub fn former(&self, container: &str) -> Value {
        self.until(&format!("{container} has a former life"), || {
            self.container(container)["lastState"]["terminated"].is_object()
        });
        self.container(container)["lastState"]["terminated"].clone()
    }

    /// Waits until a container waits with this reason, and a message that contains these words.
    pub fn waits(&self, container: &str, reason: &str, words: &[&str]) {
        self.until(&format!("{container} waits: {reason} {words:?}"), || {
            let status = self.container(container);
            let message = self.status().and_then(|s| s.message).unwrap_or_default();
            let waiting = &status["state"]["waiting"];
            waiting["reason"] == reason
                && words.iter().map(|w| self.fill(w)).all(|w| {
                    waiting["message"].as_str().is_some_and(|m| m.contains(&w)) || message.contains(&w)
                })
        });
    }

    /// Waits for the refusal of the document, in words that contain these.
    pub fn refused(&self, words: &[&str]) {
        self.until_or_refused("the document is refused", || self.refusal().is_some());
        let problems = self.refusal().unwrap_or_default().join("\n");
        for word in words {
            assert!(problems.contains(word), "the refusal does not name `{word}`: {problems}");
        }
        assert!(!self.dir.join("events").exists(), "nothing was started");
    }

    /// Waits until nothing of the Pod is published any more.
    pub fn gone(&self) {
        self.until("the Pod is gone", || self.status().is_none());
    }

    // What containers leave behind.

    /// A file in the case's directory; empty where there is none.
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// Waits until a file in the case's directory has content, and gives it without the last newline.
    pub fn content(&self, name: &str) -> String {
        self.until(&format!("/out/{name} has been written"), || self.file(name).ends_with('\n'));
        self.file(name).trim_end().to_owned()
    }

    /// Writes a file in the case's directory.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.join(name), content).unwrap();
    }

    /// What the containers have said, with the times since boot.
    pub fn events(&self) -> Vec<(String, f64)> {
        let line = |l: &str| l.rsplit_once(' ').map(|(w, t)| (w.to_owned(), t.parse().unwrap_or(f64::NAN)));
        self.file("events").lines().filter_map(line).collect()
    }

    /// The words of the events.
    pub fn words(&self) -> Vec<String> {
        self.events().into_iter().map(|(word, _)| word).collect()
    }

    /// How often a word was said.
    pub fn count(&self, word: &str) -> usize {
        self.words().iter().filter(|w| *w == word).count()
    }

    /// Waits for a word, and gives the time when it was said first.
    pub fn event(&self, word: &str) -> f64 {
        self.nth(word, 1)
    }

    /// Waits until a word was said so many times, and gives the time of that.
    pub fn nth(&self, word: &str, n: usize) -> f64 {
        self.until(&format!("`{word}` was said {n} times"), || self.count(word) >= n);
        self.events().into_iter().filter(|(w, _)| w == word).nth(n - 1).unwrap().1
    }

    /// What a container has written, by `podstrap logs`.
    pub fn logs(&self, container: &str) -> String {
        // With docker the log has its name a moment after the container was started.
        self.until(&format!("{container} has been started"), || {
            self.instance.cli("logs", &["-c", container, &self.name]).status.success()
        });
        self.instance.cli_ok("logs", &["-c", container, &self.name])
    }

    // The host's view.

    /// The process of a container's script on the host.
    pub fn pid(&self, container: &str) -> i32 {
        let mark = format!(": {}.{container}.\n", self.name);
        let mut found = None;
        self.until(&format!("{container} has a process"), || {
            found = scripts(&mark).into_iter().min();
            found.is_some()
        });
        found.unwrap()
    }

    /// A value in the host's cgroup tree: of the container, or of its Pod.
    pub fn cgroup(&self, container: &str, level: Level, v1: (&str, &str), v2: &str) -> String {
        let own = fs::read_to_string(format!("/proc/{}/cgroup", self.pid(container))).unwrap();
        let (path, file) = match host_hierarchy(v1.0) {
            Some(mount) => {
                let line = own
                    .lines()
                    .find(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == v1.0)));
                (mount.join(of_line(line.expect("its controller"))), v1.1)
            }
            None => {
                let line = own.lines().find(|l| l.starts_with("0::")).expect("a cgroup v2 line");
                (Path::new("/sys/fs/cgroup").join(of_line(line)), v2)
            }
        };
        let dir = match level {
            Level::Container => path.as_path(),
            Level::Pod => path.parent().unwrap(),
        };
        let file = dir.join(file);
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
    }

    /// Mounts something on a directory below the case's; it is unmounted at the end.
    pub fn mount(&self, source: Option<&Path>, at: &str, kind: &str, flags: MsFlags) {
        let point = self.dir.join(at);
        fs::create_dir_all(&point).unwrap();
        mount(source, &point, Some(kind), flags, None::<&str>).unwrap();
        self.mounts.lock().unwrap().push(point);
    }

    /// Starts a program of the host's for the time of the case.
    pub fn run_beside(&self, command: &mut Command) {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.children.lock().unwrap().push(child);
    }

    // The end.

    /// Everything that helps to understand a failure.
    pub fn dump(&self) -> String {
        let mut out = format!("---- manifest\n{}\n", self.manifest);
        let status = self.status().map(|s| serde_json::to_string_pretty(&s).unwrap());
        out += &format!("---- status\n{}\n", status.unwrap_or_else(|| "none".to_owned()));
        if let Some(problems) = self.refusal() {
            out += &format!("---- refused\n{}\n", problems.join("\n"));
        }
        out += &format!("---- events\n{}\n", self.file("events"));
        for log in host::files_below(&self.instance.log) {
            if log.to_string_lossy().contains(&format!("_{}-{NODE}_", self.name)) {
                let content = text(&fs::read(&log).unwrap_or_default());
                out +=
                    &format!("---- {}\n{}\n", log.display(), &content.chars().take(4000).collect::<String>());
            }
        }
        let daemon = fs::read_to_string(self.instance.daemon_log()).unwrap_or_default();
        let about =
            daemon.lines().filter(|l| l.contains(&format!("{}-{NODE}", self.name)) || l.contains("panic"));
        out + &format!("---- daemon\n{}\n", about.collect::<Vec<_>>().join("\n"))
    }

    /// Takes the case's manifests away, what it has mounted, and what it has started.
    pub fn finish(&self) {
        for path in host::entries(&self.instance.manifests) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(&format!("{}.", self.name)) || name.starts_with(&format!("{}-", self.name)) {
                let _ = fs::remove_file(path);
            }
        }
        for child in self.children.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let mounts = std::mem::take(&mut *self.mounts.lock().unwrap());
        if !mounts.is_empty() {
            // The Pod first: its containers may hold copies.
            let end = Instant::now() + Duration::from_secs(15);
            while self.status().is_some() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        for mount in mounts.iter().rev() {
            let _ = umount2(mount, MntFlags::MNT_DETACH);
        }
    }
}

/// Whose cgroup.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// The container's.
    Container,
    /// The Pod's: one up.
    Pod,
}

fn of_line(line: &str) -> &str {
    line.splitn(3, ':').nth(2).unwrap_or_default().trim_start_matches('/')
}

/// Where a v1 controller is mounted; `None` where the host has cgroup v2 alone for it.
pub fn host_hierarchy(controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>()).find(|f| {
        f.get(2) == Some(&"cgroup") && f.get(3).is_some_and(|o| o.split(',').any(|o| o == controller))
    })?;
    Some(PathBuf::from(line[1]))
}

/// The processes whose command line holds a script with this mark.
fn scripts(mark: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // The runtime and the monitor may name the script, too; the container's process begins with it.
        let args: Vec<&[u8]> = cmdline.split(|b| *b == 0).collect();
        if args.len() > 2 && args[0] == b"sh" && args[2].starts_with(mark.as_bytes()) && host::alive(pid) {
            found.push(pid);
        }
    }
    found
}

/// A command of the host's, that must succeed; gives its output.
pub fn host_command(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", describe(&output));
    text(&output.stdout)
}
