//! What the tests of the real binary share: an instance of podstrap with roots of its own, ways to wait for what it does,
//! and a hard look at what it leaves behind.
//!
//! Tests run in parallel, so nothing here is shared between instances but read-only archives: each has a temporary
//! directory for all roots, a node name, and a cgroup root named after the process and a counter.

pub mod host;
pub mod image;
pub mod kubernetes;
pub mod node;
pub mod registry;
pub mod yaml;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use host::engine::{self, runtime};
use podstrap::monitor::record::{Record, RecordPhase};
use podstrap::report::{ContainerStatus, DaemonStatus, PodStatusFile};

/// The binary under test: cargo's, or the one that `PODSTRAP_TEST_BINARY` names (a release build, an installed one).
pub fn podstrap() -> PathBuf {
    std::env::var_os("PODSTRAP_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_podstrap").into(), PathBuf::from)
}

/// The runtime under test as the daemon names it: `runc` or `docker`, which podman is a kind of.
pub fn runtime_name() -> &'static str {
    match runtime().as_str() {
        "runc" => "runc",
        _ => "docker",
    }
}

/// Whether the runtime under test is runc: some tests are about its monitors, or about our own image store.
pub fn with_runc() -> bool {
    runtime() == "runc"
}

/// The node's name of every instance that is given no other: the suffix of every Pod's name.
pub const NODE: &str = "node1";

/// How long a condition may take that takes well under a second on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// One podstrap with roots of its own.
pub struct Instance {
    /// Holds everything below.
    pub dir: PathBuf,
    /// `--run-dir`.
    pub run: PathBuf,
    /// `--state-dir`.
    pub state: PathBuf,
    /// `--log-dir`.
    pub log: PathBuf,
    /// `--manifest-dir`.
    pub manifests: PathBuf,
    /// Mounted at /shared in every container that `yaml` makes.
    pub shared: PathBuf,
    /// `--cgroup-root`.
    pub cgroup_root: String,
    /// `--node-name`.
    pub node: String,
    /// `--docker-binary`, where docker or podman is the runtime.
    pub docker: Option<PathBuf>,
    /// `--runtime`, where no `--docker-binary` is given.
    pub runtime: &'static str,
    /// What `run` is given beside the roots.
    args: Vec<String>,
    /// A program and its arguments that the daemon's command line is handed to, such as `env -i`.
    pub prefix: Vec<String>,
    /// What the daemon's environment has beside this process's own.
    pub env: Vec<(String, String)>,
    daemon: Option<Child>,
    /// A daemon was started at least once.
    used: bool,
}

/// An instance whose `images.d` holds the busybox image, or `None`, said aloud, where containers cannot run.
pub fn instance() -> Option<Instance> {
    let instance = bare_instance()?;
    image::provide_busybox(&instance.images_dir());
    Some(instance)
}

/// An instance without any image.
pub fn bare_instance() -> Option<Instance> {
    if let Some(reason) = host::cannot_run_containers() {
        host::skip(&reason);
        return None;
    }
    let runtime = runtime();
    Some(new_instance((runtime != "runc").then(|| engine::shared(&runtime).to_owned())))
}

/// An instance without any image and, where docker is the runtime, without one yet: [`Instance::with_docker`].
pub fn instance_without_engine() -> Option<Instance> {
    if let Some(reason) = host::cannot_run_containers() {
        host::skip(&reason);
        return None;
    }
    Some(new_instance(None))
}

/// An instance without any image, for the docker (or podman) that this command speaks to. Whether containers can run here
/// is not asked.
pub fn docker_instance(cli: &Path) -> Instance {
    new_instance(Some(cli.to_owned()))
}

fn new_instance(docker: Option<PathBuf>) -> Instance {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("podstrap-test-{}-{n}", std::process::id());
    let dir = std::env::temp_dir().join(&name);
    let instance = Instance {
        run: dir.join("run"),
        state: dir.join("state"),
        log: dir.join("log/pods"),
        manifests: dir.join("manifests"),
        shared: dir.join("shared"),
        cgroup_root: name,
        node: NODE.to_owned(),
        docker,
        runtime: "runc",
        args: Vec::new(),
        prefix: Vec::new(),
        env: Vec::new(),
        daemon: None,
        used: false,
        dir,
    };
    for dir in [&instance.manifests, &instance.shared, &instance.images_dir()] {
        fs::create_dir_all(dir).unwrap();
    }
    if let Some(cli) = &instance.docker {
        engine::belongs(&instance.run, cli);
    }
    instance
}

impl Instance {
    /// Adds arguments to `podstrap run`, before it is started (again).
    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Gives it the docker (or podman) that this command speaks to.
    pub fn with_docker(&mut self, cli: &Path) {
        engine::belongs(&self.run, cli);
        self.docker = Some(cli.to_owned());
    }

    /// `--image-dir`, by its default.
    pub fn images_dir(&self) -> PathBuf {
        self.state.join("images.d")
    }

    /// `podstrap run` with this instance's roots, not yet started.
    pub fn run_command(&self, program: &Path) -> Command {
        let mut words = self.prefix.iter().map(PathBuf::from).chain([program.to_owned()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("run");
        for (flag, value) in [
            ("--manifest-dir", &self.manifests),
            ("--run-dir", &self.run),
            ("--state-dir", &self.state),
            ("--log-dir", &self.log),
        ] {
            command.arg(flag).arg(value);
        }
        command.args(["--node-name", &self.node, "--cgroup-root", &self.cgroup_root]);
        match &self.docker {
            Some(cli) => command.args(["--runtime", "docker", "--docker-binary"]).arg(cli),
            None => command.args(["--runtime", self.runtime]),
        };
        command.args(&self.args);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it publishes its status.
    pub fn start(&mut self) -> &mut Self {
        self.launch();
        let pid = self.daemon_pid();
        let end = Instant::now() + SOON;
        while self.daemon_status().is_none_or(|s| s.pid != pid) {
            let ended = self.daemon.as_mut().and_then(|d| d.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon ended at its start: {}", ended.unwrap_or_default());
            assert!(Instant::now() < end, "the daemon did not publish its status within {SOON:?}");
            pause();
        }
        self
    }

    /// Starts the daemon and does not wait for anything.
    pub fn launch(&mut self) {
        assert!(self.daemon.is_none(), "the daemon is started already");
        let log = OpenOptions::new().create(true).append(true).open(self.daemon_log()).unwrap();
        let mut command = self.run_command(&podstrap());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        // A terminal's Ctrl-C at `cargo test` must reach the tests' clean-up, not the daemon.
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", podstrap().display()));
        self.daemon = Some(child);
        self.used = true;
    }

    /// How the daemon has ended, if it has since this was asked last.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.daemon.as_mut()?.try_wait().unwrap()?;
        self.daemon = None;
        Some(status)
    }

    /// Whether a daemon was started whose end nobody has asked for yet.
    pub fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// The daemon's pid.
    pub fn daemon_pid(&self) -> i32 {
        self.daemon.as_ref().expect("the daemon was started").id() as i32
    }

    /// SIGKILLs the daemon.
    pub fn kill9(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon was started");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Sends the daemon SIGTERM and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        host::signal(self.daemon_pid(), nix::sys::signal::Signal::SIGTERM);
        self.daemon_exit(SOON)
    }

    /// Waits for the daemon's end.
    pub fn daemon_exit(&mut self, timeout: Duration) -> ExitStatus {
        self.ended_within(timeout).unwrap_or_else(|| panic!("the daemon did not end within {timeout:?}"))
    }

    fn ended_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let daemon = self.daemon.as_mut().expect("the daemon was started");
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                self.daemon = None;
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            pause();
        }
    }

    /// Where the daemon's standard output and error go.
    pub fn daemon_log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    // Manifests.

    /// Puts a manifest file into place by rename.
    pub fn write_manifest(&self, file: &str, content: &str) {
        let part = self.dir.join("manifest.part");
        fs::write(&part, content).unwrap();
        fs::rename(&part, self.manifests.join(file)).unwrap();
    }

    /// Writes a manifest file as an editor without manners does: truncate, write, close.
    pub fn write_in_place(&self, file: &str, content: &[u8]) {
        let mut file = File::create(self.manifests.join(file)).unwrap();
        file.write_all(content).unwrap();
    }

    /// Removes a manifest file.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.manifests.join(file)).unwrap();
    }

    // What is published.

    /// RUN/status/daemon.json.
    pub fn daemon_status(&self) -> Option<DaemonStatus> {
        serde_json::from_slice(&fs::read(self.run.join("status/daemon.json")).ok()?).ok()
    }

    /// Everything else in RUN/status: Pods, and documents that were refused.
    pub fn published(&self) -> Vec<PodStatusFile> {
        let mut files: Vec<_> = host::entries(&self.run.join("status"))
            .into_iter()
            .filter(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("daemon.json"))
            .collect();
        files.sort();
        files
            .iter()
            // A file may go between the listing and the reading.
            .filter_map(|p| fs::read(p).ok().map(|bytes| (p, bytes)))
            .map(|(p, bytes)| {
                serde_json::from_slice(&bytes)
                    .unwrap_or_else(|e| panic!("{} is not a status file: {e}", p.display()))
            })
            .collect()
    }

    /// The published status of the Pod with this name (without the node's suffix).
    pub fn pod(&self, name: &str) -> Option<PodStatusFile> {
        let full = format!("{name}-{}", self.node);
        self.published().into_iter().find(|p| p.name.as_ref().is_some_and(|n| n.as_str() == full))
    }

    /// The published status of a file's document that was refused or is otherwise without a Pod of its own.
    pub fn document(&self, file: &str) -> Option<PodStatusFile> {
        let tail = format!("/{file}");
        self.published().into_iter().find(|p| p.origin.path.ends_with(&tail))
    }

    /// One container of a Pod, as its status has it.
    pub fn container(&self, pod: &str, container: &str) -> Option<ContainerStatus> {
        let statuses = self.pod(pod)?.pod.pointer("/status/containerStatuses")?.as_array()?.clone();
        statuses
            .into_iter()
            .map(|s| serde_json::from_value::<ContainerStatus>(s).expect("a container status"))
            .find(|s| s.name == container)
    }

    /// The `Ready` condition of a Pod.
    pub fn ready(&self, pod: &str) -> bool {
        let Some(status) = self.pod(pod) else { return false };
        let conditions = status.pod.pointer("/status/conditions").and_then(|c| c.as_array()).cloned();
        conditions.unwrap_or_default().iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    }

    /// The restart count of a Pod's container.
    pub fn restarts(&self, pod: &str, container: &str) -> u32 {
        self.container(pod, container).map_or(0, |c| c.restart_count)
    }

    /// Waits until a Pod is ready, and gives the pid of its container `main`. Without a readiness probe, ready means that
    /// the process was started; a canary is waited for until it has said so itself.
    pub fn until_ready(&self, pod: &str) -> i32 {
        self.until(&format!("Pod {pod} is ready"), |i| i.ready(pod));
        if let Some(file) = self.canary_file(pod) {
            self.until(&format!("Pod {pod} has written to {file}"), |i| {
                i.lines(&file).last().is_some_and(|l| l.starts_with("start "))
            });
        }
        self.running_pid(pod, "main").unwrap_or_else(|| panic!("Pod {pod} is ready, but main has no process"))
    }

    /// The file that a Pod's canary (see `yaml::canary`) writes to, by its published spec.
    fn canary_file(&self, pod: &str) -> Option<String> {
        let status = self.pod(pod)?.pod;
        let containers = status.pointer("/spec/containers")?.as_array()?.clone();
        let main = containers.into_iter().find(|c| c["name"] == "main")?;
        let script = main.pointer("/command/2")?.as_str()?.to_owned();
        let (_, tail) = script.split_once(yaml::CANARY_WRITES)?;
        Some(tail.split(';').next()?.to_owned())
    }

    // What the monitors have recorded.

    /// All records of all runs of a Pod's container, by generation and attempt: path and content.
    pub fn records(&self, pod: &str, container: &str) -> Vec<(PathBuf, Record)> {
        let full = format!("{}/{pod}", self.node);
        let mut found = Vec::new();
        for generation in host::entries(&self.run.join("pods")) {
            for attempt in host::entries(&generation.join("c").join(container)) {
                let Ok(spec) = fs::read(attempt.join("spec.json")) else { continue };
                let Ok(spec) = serde_json::from_slice::<podstrap::monitor::record::MonitorSpec>(&spec) else {
                    continue;
                };
                if spec.pod.key.name.as_str() != format!("{pod}-{}", self.node) {
                    continue;
                }
                let Ok(bytes) = fs::read(attempt.join("record.json")) else { continue };
                let record = serde_json::from_slice(&bytes)
                    .unwrap_or_else(|e| panic!("{full}: {} is not a record: {e}", attempt.display()));
                found.push((attempt, record));
            }
        }
        found.sort_by_key(|(_, r): &(PathBuf, Record)| r.started_boot_ms);
        found
    }

    /// The pid of a container's init, while it runs.
    pub fn running_pid(&self, pod: &str, container: &str) -> Option<i32> {
        let records = self.records(pod, container);
        let (_, record) = records.iter().rfind(|(_, r)| r.phase == RecordPhase::Running)?;
        let pid = record.init?.pid;
        host::alive(pid).then_some(pid)
    }

    // The command line.

    /// `podstrap VERB --run-dir RUN ARGS…`, run to its end.
    pub fn cli(&self, verb: &str, args: &[&str]) -> Output {
        Command::new(podstrap())
            .arg(verb)
            .arg("--run-dir")
            .arg(&self.run)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same, and what it wrote on standard output, when it exits 0; the test fails otherwise.
    pub fn cli_ok(&self, verb: &str, args: &[&str]) -> String {
        let output = self.cli(verb, args);
        assert!(output.status.success(), "podstrap {verb} {args:?}: {}", describe(&output));
        text(&output.stdout)
    }

    /// `podstrap wait`, with a deadline that a broken one does not get past.
    pub fn wait(&self, args: &[&str]) -> Output {
        self.cli("wait", args)
    }

    /// `podstrap status -o json`, parsed.
    pub fn status(&self) -> serde_json::Value {
        let out = self.cli_ok("status", &["-o", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("`status -o json` is not JSON: {e}\n{out}"))
    }

    // Waiting.

    /// Polls a condition for up to [`SOON`].
    pub fn until(&self, what: &str, condition: impl FnMut(&Self) -> bool) {
        self.until_within(SOON, what, condition);
    }

    /// Polls a condition; the test fails when it does not hold in time.
    pub fn until_within(&self, timeout: Duration, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + timeout;
        while !condition(self) {
            assert!(Instant::now() < end, "not within {timeout:?}: {what}");
            pause();
        }
    }

    /// Checks for a while that a condition goes on to hold.
    pub fn holds_for(&self, span: Duration, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            assert!(condition(self), "does not hold any more: {what}");
            pause();
        }
    }

    /// The lines of a file in the shared directory; none while it does not exist.
    pub fn lines(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.shared.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    // The end.

    /// Everything that helps to understand a failure, on standard error.
    fn dump(&self) {
        eprintln!("==== {}", self.dir.display());
        eprintln!("---- podstrap status -o wide\n{}", describe(&self.cli("status", &["-o", "wide"])));
        for status in host::entries(&self.run.join("status")) {
            eprintln!("---- {}\n{}", status.display(), fs::read_to_string(&status).unwrap_or_default());
        }
        eprintln!("---- daemon\n{}", fs::read_to_string(self.daemon_log()).unwrap_or_default());
        for log in host::files_below(&self.log) {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
            eprintln!("---- {}\n{}", log.display(), tail.join("\n"));
        }
    }

    /// `podstrap down`, which ends the daemon, too; everything that is left then is told.
    fn shut_down(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let dead = self.daemon.as_mut().is_none_or(|d| !matches!(d.try_wait(), Ok(None)));
        if dead
            && self.used
            && (!host::processes_of(&self.dir, &self.cgroup_root).is_empty()
                || !engine::left_behind(&self.run).is_empty())
        {
            self.daemon = None;
            self.start();
        }
        let lives = self.daemon.as_mut().is_some_and(|d| matches!(d.try_wait(), Ok(None)));
        if lives {
            let down = self.cli("down", &["--timeout", "60s"]);
            if !down.status.success() {
                left.push(format!("`podstrap down`: {}", describe(&down)));
            }
            match self.ended_within(SOON) {
                Some(status) if status.success() => {}
                Some(status) => left.push(format!("the daemon ended with {status} after `podstrap down`")),
                None => left.push("the daemon did not end after `podstrap down`".to_owned()),
            }
        }
        left.extend(host::left_behind(&self.dir, &self.cgroup_root, None));
        left
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.dump();
        }
        // A second panic while one is under way would end the whole test process.
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.shut_down()))
            .unwrap_or_else(|_| vec!["the daemon could not be shut down".to_owned()]);
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if !failed && !left.is_empty() {
            self.dump();
        }
        host::clean_up(&self.dir, &self.cgroup_root);
        if !failed {
            assert!(left.is_empty(), "left behind after `podstrap down`:\n  {}", left.join("\n  "));
        }
    }
}

/// The pause between two looks at a condition.
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Bytes as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An exit and both outputs, for messages.
pub fn describe(output: &Output) -> String {
    let how = match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("signal {signal:?}"),
    };
    format!("{how}\nstdout: {}\nstderr: {}", text(&output.stdout), text(&output.stderr))
}

/// Fails the test unless the exit code is this one.
pub fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", describe(output));
}
