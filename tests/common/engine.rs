//! docker or podman for the tests. A private one, started by `tests/tools/private-engine`, which ends with this process
//! however it ends; or, for docker, the one whose socket `PODSTRAP_TEST_DOCKER_SOCKET` names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::{find, mounts_below};

/// The label of an instance's containers: its run directory.
pub const RUN_LABEL: &str = "io.podstrap.run-dir";

/// By the instance's run directory: the command that speaks to the engine which has its containers.
static CLIS: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The runtime under test: `runc`, unless `PODSTRAP_TEST_RUNTIME` says `docker` or `podman`.
pub fn runtime() -> String {
    let runtime = std::env::var("PODSTRAP_TEST_RUNTIME").unwrap_or_else(|_| "runc".to_owned());
    assert!(
        matches!(runtime.as_str(), "runc" | "docker" | "podman"),
        "PODSTRAP_TEST_RUNTIME={runtime}: runc, docker or podman"
    );
    runtime
}

/// Why this engine cannot be had here, if it cannot.
pub fn missing(kind: &str) -> Option<String> {
    let needed: &[&str] = match kind {
        "docker" if given_socket().is_some() => &["docker"],
        "docker" => &["docker", "dockerd", "ip"],
        _ => &["podman"],
    };
    needed.iter().find(|c| find(c).is_none()).map(|c| format!("no {c} on PATH"))
}

fn given_socket() -> Option<String> {
    std::env::var("PODSTRAP_TEST_DOCKER_SOCKET").ok().filter(|s| !s.is_empty())
}

/// The command that speaks to the engine which all tests of this process share, started when first asked for.
pub fn shared(kind: &str) -> &'static Path {
    static SHARED: OnceLock<(PathBuf, Option<Engine>)> = OnceLock::new();
    let (cli, _) = SHARED.get_or_init(|| match given_socket().filter(|_| kind == "docker") {
        Some(socket) => (wrapper(&socket), None),
        None => {
            let engine = Engine::start(kind);
            (engine.cli.clone(), Some(engine))
        }
    });
    cli
}

/// The socket of the docker that all tests of this process share.
pub fn docker_socket() -> PathBuf {
    match given_socket() {
        Some(socket) => socket.into(),
        None => shared("docker").with_file_name("docker.sock"),
    }
}

/// A command that speaks to the docker at a socket.
fn wrapper(socket: &str) -> PathBuf {
    let docker = Some(PathBuf::from("/usr/bin/docker")).filter(|p| p.exists());
    let docker = docker.or_else(|| find("docker")).expect("docker was looked for before");
    let name = format!("docker-at-{:016x}", podstrap::paths::fnv1a(socket.as_bytes()));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // By rename: another test may be running it.
    let part = path.with_extension(format!("{}", std::process::id()));
    fs::write(&part, format!("#!/bin/sh\nexec {} -H unix://{socket} \"$@\"\n", docker.display())).unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&part, &path).unwrap();
    path
}

/// A private engine. It is removed, with all of its containers, when this is dropped or the process ends.
#[derive(Debug)]
pub struct Engine {
    /// The command that speaks to it: `--docker-binary`.
    pub cli: PathBuf,
    /// Everything of it.
    pub dir: PathBuf,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    keeper: Child,
}

impl Engine {
    /// Starts one, `docker` or `podman`.
    pub fn start(kind: &str) -> Self {
        Self::start_by(Command::new("bash"), kind)
    }

    /// The same by a command of a bash elsewhere, in other namespaces for example.
    pub fn start_by(mut command: Command, kind: &str) -> Self {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("podstrap-engine-{}-{n}", std::process::id()));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/private-engine")).arg(kind).arg(&dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A terminal's Ctrl-C ends the tests; the end of their pipe ends this.
        command.process_group(0);
        let mut keeper = command.spawn().expect("bash can be run");
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().expect("a pipe was asked for"));
        let mut engine = Self { cli: dir.join("cli"), dir, orders, answers, keeper };
        engine.expect_ok();
        engine
    }

    fn expect_ok(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "ok", "{}", self.log());
    }

    fn order(&mut self, word: &str) {
        let orders = self.orders.as_mut().expect("it was not dropped");
        writeln!(orders, "{word}").unwrap();
        self.expect_ok();
    }

    /// Ends dockerd as `systemctl stop` does: its containers end, too.
    pub fn stop(&mut self) {
        self.order("stop");
    }

    /// Ends dockerd by SIGKILL.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Starts dockerd again, and waits until it answers.
    pub fn start_again(&mut self) {
        self.order("start");
    }

    /// dockerd's pid.
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.dir.join("dockerd.pid")).unwrap().trim().parse().unwrap()
    }

    /// What dockerd has written last.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.keeper.wait();
        let left = self.dir.exists() || !mounts_below(&self.dir).is_empty();
        if left && !std::thread::panicking() {
            panic!("{} was not removed", self.dir.display());
        }
    }
}

/// A docker command, run to its end; one that takes longer than half a minute is killed, and fails the test.
pub fn run(cli: &Path, args: &[&str]) -> Output {
    try_run(cli, args, Duration::from_secs(30)).unwrap_or_else(|e| panic!("docker {args:?}: {e}"))
}

/// What it wrote on standard output, when it exits 0; the test fails otherwise.
pub fn ok(cli: &Path, args: &[&str]) -> String {
    let output = run(cli, args);
    assert!(output.status.success(), "docker {args:?}: {}", describe(&output));
    text(&output.stdout).trim_end().to_owned()
}

/// The same with a time limit; an error when it is not kept.
pub fn try_run(cli: &Path, args: &[&str], limit: Duration) -> Result<Output, String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", &format!("{}", limit.as_secs_f64())]).arg(cli).args(args);
    let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    match output.status.code() {
        Some(124 | 137) | None => Err(format!("no answer within {limit:?}")),
        Some(_) => Ok(output),
    }
}

/// The ids of an instance's containers in one engine, those that have ended included.
pub fn containers_of(cli: &Path, run: &Path) -> Result<Vec<String>, String> {
    let label = format!("label={RUN_LABEL}={}", run.display());
    let output = try_run(cli, &["ps", "-aq", "--no-trunc", "--filter", &label], Duration::from_secs(20))?;
    match output.status.success() {
        true => Ok(text(&output.stdout).split_whitespace().map(str::to_owned).collect()),
        false => Err(describe(&output)),
    }
}

/// What an instance has left in its engine; nothing if it has none.
pub fn left_behind(run: &Path) -> Vec<String> {
    let Some(cli) = cli_of(run) else { return Vec::new() };
    // The last removal may be under way.
    let end = Instant::now() + Duration::from_secs(1);
    let containers = loop {
        let found = containers_of(&cli, run);
        if found.as_ref().is_ok_and(Vec::is_empty) || Instant::now() > end {
            break found;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let named = |id: &String| {
        let filter = format!("id={id}");
        let shown =
            run_quietly(&cli, &["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"]);
        format!("container {id}: {}", shown.trim())
    };
    match containers {
        Ok(ids) => ids.iter().map(named).collect(),
        Err(e) => vec![format!("{} does not tell its containers: {e}", cli.display())],
    }
}

/// Removes an instance's containers from its engine.
pub fn clean_up(run: &Path) {
    if let Some(cli) = cli_of(run) {
        for id in containers_of(&cli, run).unwrap_or_default() {
            run_quietly(&cli, &["rm", "-f", "-v", &id]);
        }
    }
}

/// Says where an instance's containers will be.
pub fn belongs(run: &Path, cli: &Path) {
    CLIS.lock().unwrap().insert(run.to_owned(), cli.to_owned());
}

fn cli_of(run: &Path) -> Option<PathBuf> {
    CLIS.lock().unwrap().get(run).cloned()
}

fn run_quietly(cli: &Path, args: &[&str]) -> String {
    try_run(cli, args, Duration::from_secs(30)).map(|o| text(&o.stdout)).unwrap_or_default()
}

/// An exit and both outputs, for messages.
fn describe(output: &Output) -> String {
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
