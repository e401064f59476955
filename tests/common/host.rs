//! What the host has and shows: whether containers can run here, which processes, mounts and cgroups belong to an
//! instance, and how to be rid of them whatever state it is in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

// Below this module, so that test programs which take it alone have that too.
#[path = "engine.rs"]
pub mod engine;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Why containers cannot run here, if they cannot.
pub fn cannot_run_containers() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    if find("busybox").is_none() {
        return Some("no busybox on PATH".to_owned());
    }
    match engine::runtime().as_str() {
        "runc" => find("runc").is_none().then(|| "no runc on PATH".to_owned()),
        engine => engine::missing(engine),
    }
}

/// A program on PATH, or where Debian keeps those of root.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    dirs.map(|d| Path::new(d).join(program)).find(|p| p.is_file())
}

/// Says that the current test is skipped: on standard error, and in the file that `tests/run` shows in the end. Where
/// nothing may be skipped (`PODSTRAP_TEST_NO_SKIP`), the test fails instead.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}", thread.name().unwrap_or("?"));
    assert!(std::env::var_os("PODSTRAP_TEST_NO_SKIP").is_none(), "may not be skipped: {line}");
    eprintln!("SKIP {line}");
    if let Some(path) = std::env::var_os("PODSTRAP_TEST_SKIPS")
        && let Ok(mut file) = fs::OpenOptions::new().append(true).open(path)
    {
        let _ = writeln!(file, "{line}");
    }
}

/// The paths in a directory, sorted; none if it cannot be read.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = read.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths
}

/// All plain files below a directory.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(dir) {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => found.extend(files_below(&path)),
            Ok(meta) if meta.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

/// Whether a process lives (a zombie does not).
pub fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|s| s.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(pid: i32, signal: Signal) {
    assert!(pid > 1, "signal to pid {pid}");
    let _ = kill(Pid::from_raw(pid), signal);
}

/// A loopback TCP port that nothing uses now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The processes that belong to an instance, each with its command line: those in its cgroups, and those whose command
/// line, working directory, root or open files lie below its directory. This process is not one of them.
pub fn processes_of(dir: &Path, cgroup_root: &str) -> Vec<(i32, String)> {
    // With the slash: instance 1 must not take what belongs to instance 12 for its own.
    let needle = format!("{}/", dir.display());
    let me = std::process::id() as i32;
    let mut found = Vec::new();
    for proc in entries(Path::new("/proc")) {
        let Some(pid) = proc.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        if pid == me || !alive(pid) {
            continue;
        }
        let cmdline = fs::read(proc.join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        let in_cgroup = fs::read_to_string(proc.join("cgroup")).unwrap_or_default().lines().any(|l| {
            l.splitn(3, ':').nth(2).is_some_and(|path| path.split('/').any(|part| part == cgroup_root))
        });
        let points_into = |link: &Path| {
            fs::read_link(link).is_ok_and(|target| target.to_string_lossy().starts_with(&needle))
        };
        if in_cgroup
            || cmdline.contains(&needle)
            || points_into(&proc.join("cwd"))
            || points_into(&proc.join("root"))
            || entries(&proc.join("fd")).iter().any(|fd| points_into(fd))
        {
            found.push((pid, cmdline));
        }
    }
    found
}

/// The mount points below a directory, deepest first.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ")))
        .filter(|p| p.starts_with(dir))
        .collect();
    found.sort();
    found.reverse();
    found
}

/// Where the cgroup hierarchies are mounted.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = table.lines().map(|l| l.split(' ').collect::<Vec<_>>());
    fields
        .filter(|f| matches!(f.get(2), Some(&("cgroup" | "cgroup2"))))
        .map(|f| PathBuf::from(f[1]))
        .collect()
}

/// The directories of a cgroup root and all below it, in every hierarchy, deepest first.
pub fn cgroups_of(cgroup_root: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in cgroup_mounts() {
        collect_named(&hierarchy, cgroup_root, 3, &mut found);
    }
    found.sort();
    found.reverse();
    found
}

/// Directories named `name` at most `depth` levels down, with everything below them.
fn collect_named(dir: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    for path in entries(dir).into_iter().filter(|p| p.is_dir()) {
        if path.file_name().is_some_and(|n| n == name) {
            collect_all(path, found);
        } else if depth > 1 {
            collect_named(&path, name, depth - 1, found);
        }
    }
}

fn collect_all(dir: PathBuf, found: &mut Vec<PathBuf>) {
    for path in entries(&dir).into_iter().filter(|p| p.is_dir()) {
        collect_all(path, found);
    }
    found.push(dir);
}

/// What an instance has left behind after `podstrap down`: processes (but the daemon, while it may live), docker's
/// containers, mounts, and cgroups of Pods. The cgroup root itself, and directories of quality-of-service classes in it, may stay while the
/// daemon lives.
pub fn left_behind(dir: &Path, cgroup_root: &str, daemon: Option<i32>) -> Vec<String> {
    let mut left = Vec::new();
    // A process that was reported as ended may need a moment to be gone from /proc.
    let end = Instant::now() + Duration::from_secs(1);
    let mut processes;
    loop {
        processes = processes_of(dir, cgroup_root);
        processes.retain(|(pid, _)| Some(*pid) != daemon);
        if processes.is_empty() || Instant::now() > end {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    left.extend(processes.iter().map(|(pid, cmdline)| format!("process {pid}: {cmdline}")));
    left.extend(engine::left_behind(&dir.join("run")));
    left.extend(mounts_below(dir).iter().map(|m| format!("mount {}", m.display())));
    let of_a_pod = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Names of Pods' and containers' cgroups hold the generation: 32 hex digits (the `d` of `pod` may count in).
        name.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= 32)
    };
    left.extend(cgroups_of(cgroup_root).iter().filter(of_a_pod).map(|c| format!("cgroup {}", c.display())));
    left
}

/// Removes all of an instance by force.
pub fn clean_up(dir: &Path, cgroup_root: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let processes = processes_of(dir, cgroup_root);
        if processes.is_empty() || Instant::now() > end {
            break;
        }
        for (pid, _) in processes {
            signal(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // After its daemon, which would start others in their place.
    engine::clean_up(&dir.join("run"));
    for mount in mounts_below(dir) {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    for cgroup in cgroups_of(cgroup_root) {
        let _ = fs::remove_dir(cgroup);
    }
    // Never across a mount that could not be taken away: what lies below it is not ours.
    if mounts_below(dir).is_empty() {
        let _ = fs::remove_dir_all(dir);
    }
}

/// The inode of a path, for checks that a directory is still the same one.
pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).ino()
}
