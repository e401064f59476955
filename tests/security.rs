//! What must not get through: from whoever starts the daemon into containers and helpers, from manifests and Secrets to
//! where others can read, from names into shells and terminals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests may fail as tests do.

#[path = "common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::yaml::{canary, container, one, pod};
use common::{Instance, host, instance, text, with_runc};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// Ignored signals, one of them a real-time one; descriptors; an open umask; variables.
const BAGGAGE: &str = "trap '' TERM HUP USR1 PIPE RTMIN+5; umask 000; exec 7<\"$0\" 9>>\"$0\"; \
                       export LEAKED=marker LD_BIND_NOW=1 BASH_ENV=/nope LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";

/// A field of a `/proc/PID/status`.
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}: {status}")).trim().to_owned()
}

/// The bit of a signal in the masks of `/proc/PID/status`.
fn bit(number: u32) -> u64 {
    1 << (number - 1)
}

fn mask(status: &str, name: &str) -> u64 {
    u64::from_str_radix(&field(status, name), 16).unwrap()
}

fn no_signals(status: &str, whose: &str) {
    // HUP, USR1, USR2, PIPE, TERM and RTMIN+5: in docker a container has what dockerd was begun with, by whoever did that.
    let baggage = bit(1) | bit(10) | bit(12) | bit(13) | bit(15) | bit(39);
    let ours = if with_runc() { u64::MAX } else { baggage };
    for name in ["SigBlk", "SigIgn"] {
        assert_eq!(mask(status, name) & ours, 0, "{name} of {whose}: {status}");
    }
}

/// Has the daemon begin with more than it needs, and everything that it starts be looked at: each call of runc writes what
/// it finds to DIR/calls.
fn with_baggage(i: &mut Instance) -> PathBuf {
    let leak = i.dir.join("leak");
    fs::write(&leak, "").unwrap();
    let mut prefix = Vec::new();
    if with_runc() {
        let (real, fake) = (i.dir.join("runc.real"), i.dir.join("runc.fake"));
        let system = host::find("runc").unwrap();
        fs::copy(&system, &real).unwrap();
        // By perl: shells change the mask and what is ignored.
        let script = r#"#!/usr/bin/perl
open(my $in, '<', '/proc/self/status'); my @seen = grep { /^Sig[BI]/ } <$in>; close($in);
opendir(my $fds, '/proc/self/fd');
for my $fd (readdir $fds) { my $to = readlink("/proc/self/fd/$fd") // next; push @seen, "fd $fd $to\n"; }
closedir($fds);
push @seen, map { "env $_=$ENV{$_}\n" } keys %ENV;
open(my $out, '>', "DIR/part.$$"); print $out "== @ARGV\n", @seen; close($out);
rename("DIR/part.$$", "DIR/call.$$");
exec('REAL', @ARGV);
"#;
        let script =
            script.replace("DIR", &i.dir.display().to_string()).replace("REAL", &real.display().to_string());
        fs::write(&fake, script).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let bind = format!("mount --bind {} {} && exec \"$@\"", fake.display(), system.display());
        // Not by sh: dash begins with an empty mask.
        prefix.extend(["unshare", "--mount", "bash", "-c", &bind, "bash"].map(str::to_owned));
    }
    prefix.extend(["bash".to_owned(), "-c".to_owned(), BAGGAGE.to_owned(), leak.display().to_string()]);
    i.prefix = prefix;
    leak
}

#[test]
fn nothing_of_the_daemons_baggage_reaches_what_it_starts() {
    let Some(mut i) = instance() else { return };
    let leak = with_baggage(&mut i);
    let copy = |to: &str| format!("{{exec: {{command: [cp, /proc/self/status, /shared/{to}]}}}}");
    let init = |name: &str, command: &str| {
        let command = format!("command: {command}");
        let base = container(name, "", &[]);
        let kept: Vec<&str> = base.lines().filter(|l| !l.trim_start().starts_with("command:")).collect();
        format!("{}\n    {command}", kept.join("\n"))
    };
    let main = container(
        "main",
        &canary("main"),
        &[
            "startupProbe: {exec: {command: [cp, /proc/self/status, /shared/probe]}, periodSeconds: 1}",
            &format!("lifecycle: {{postStart: {}, preStop: {}}}", copy("post-start"), copy("pre-stop")),
        ],
    );
    let inits = [
        init("signals", "[cp, /proc/self/status, /shared/init]"),
        init("files", "[ls, -l, /proc/self/fd]"),
        init("variables", "[env]"),
        init("limits", "[sh, -c, 'umask; ulimit -n; touch /shared/made']"),
    ];
    let inits = format!("initContainers:\n{}", inits.join("\n"));
    // With a process of ours in it that holds the namespace.
    i.write_manifest("a.yaml", &pod(&i, "a", &["shareProcessNamespace: true", &inits], &[main]));

    // What std's spawning hands on to the daemon.
    let mut before = SigSet::empty();
    let blocked: SigSet = [Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGPIPE].into_iter().collect();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before)).unwrap();
    i.start();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();

    // The daemon has it all, or this test shows nothing.
    let own = fs::read_to_string(format!("/proc/{}/status", i.daemon_pid())).unwrap();
    assert!(mask(&own, "SigBlk") & bit(12) != 0, "{own}");
    assert_eq!(mask(&own, "SigIgn") & (bit(10) | bit(39)), bit(10) | bit(39), "{own}");
    let of_daemon = host::entries(Path::new(&format!("/proc/{}/fd", i.daemon_pid())));
    assert_eq!(of_daemon.iter().filter(|fd| fs::read_link(fd).is_ok_and(|t| t == leak)).count(), 2);

    i.until_ready("a");
    for seen in ["init", "probe", "post-start"] {
        i.until(seen, |i| !i.lines(seen).is_empty());
        no_signals(&fs::read_to_string(i.shared.join(seen)).unwrap(), seen);
    }
    let said = |c: &str| i.cli_ok("logs", &["-c", c, "a"]);
    let files = said("files");
    let numbers: Vec<&str> = files
        .lines()
        .filter_map(|l| l.split_once(" -> "))
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .map(|(l, _)| l.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(numbers, ["0", "1", "2"], "{files}");
    let names: BTreeSet<String> =
        said("variables").lines().map(|l| l.split('=').next().unwrap().to_owned()).collect();
    let allowed = ["PATH", "HOSTNAME", "HOME", "SHLVL", "PWD"].map(str::to_owned);
    assert!(names.is_subset(&allowed.into()), "{names:?}");
    let limits = said("limits");
    assert_eq!(limits.lines().next(), Some("0022"));
    let made = fs::metadata(i.shared.join("made")).unwrap().permissions().mode();
    assert_eq!(made & 0o777, 0o644);

    // Every process of ours.
    let ours = host::processes_of(&i.dir, &i.cgroup_root).into_iter();
    let ours: Vec<_> = ours.filter(|(pid, l)| *pid != i.daemon_pid() && l.starts_with("podstrap ")).collect();
    assert!(!with_runc() || ours.iter().any(|(_, line)| line.starts_with("podstrap pause")), "{ours:?}");
    for (pid, line) in ours {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!text(&environ).contains("LEAKED"), "{line}: {}", text(&environ));
        for fd in host::entries(Path::new(&format!("/proc/{pid}/fd"))) {
            assert!(fs::read_link(&fd).map_or(true, |target| target != leak), "{line}: {}", fd.display());
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if !status.is_empty() {
            // Rust has every program of its own ignore SIGPIPE; by ignoring CHLD the pause process leaves no zombies.
            let own = if line.starts_with("podstrap pause") { bit(13) | bit(17) } else { bit(13) };
            assert_eq!(mask(&status, "SigIgn"), own, "{line}");
        }
    }
    if with_runc() {
        calls_are_clean(&i);
    }
    // One that is killed by an ignored signal is not ignored by it.
    i.remove("a.yaml");
    i.until("the Pod is gone", |i| i.pod("a").is_none());
    assert!(i.lines("main").last().unwrap().starts_with("term "));
    no_signals(&fs::read_to_string(i.shared.join("pre-stop")).unwrap(), "pre-stop");
}

/// What each call of runc has found.
fn calls_are_clean(i: &Instance) {
    let calls: Vec<PathBuf> = host::entries(&i.dir)
        .into_iter()
        .filter(|p| p.file_name().unwrap().as_bytes().starts_with(b"call."))
        .collect();
    assert!(calls.len() > 6, "{calls:?}");
    for call in calls {
        let seen = fs::read_to_string(&call).unwrap();
        assert_eq!(field(&seen, "SigBlk"), "0000000000000000", "{seen}");
        // perl itself ignores SIGFPE.
        assert_eq!(field(&seen, "SigIgn"), "0000000000000080", "{seen}");
        // Beside the three, perl has its script open, and the directory that it reads.
        let is_own = |l: &str| {
            ["fd 0 ", "fd 1 ", "fd 2 "].iter().any(|own| l.starts_with(own))
                || l.ends_with("/runc")
                || l.contains(" /proc/")
        };
        let more: Vec<&str> = seen.lines().filter(|l| l.starts_with("fd ") && !is_own(l)).collect();
        assert!(more.is_empty(), "{more:?} in {seen}");
        let variables: Vec<&str> = seen.lines().filter_map(|l| l.strip_prefix("env ")).collect();
        assert!(variables.iter().all(|v| v.starts_with("PATH=/usr/local/sbin:")), "{variables:?}");
    }
}

#[test]
fn run_and_state_are_for_root_alone_whatever_stood_there() {
    let Some(mut i) = instance() else { return };
    let bash = ["bash", "-c", "umask 000; exec \"$@\"", "bash"];
    i.prefix = bash.map(str::to_owned).to_vec();
    let before = [
        (&i.run, ["", "pods", "status", "requests", "runc"]),
        (&i.state, ["", "pods", "images", "manifests", "images.d"]),
    ];
    for (root, names) in before {
        for name in names {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o777)).unwrap();
        }
    }
    for file in ["lock", "status/daemon.json", "boot_id"] {
        fs::write(i.run.join(file), "").unwrap();
        fs::set_permissions(i.run.join(file), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let env = "env: [{name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}]";
    let volumes =
        "    volumeMounts: [{name: s, mountPath: /s}, {name: e, mountPath: /e}, {name: d, mountPath: /d}]";
    let made = i.dir.join("made/below");
    let yaml = format!(
        "{}  - {{name: s, secret: {{secretName: s}}}}\n  - {{name: e, emptyDir: {{}}}}\n  - {{name: d, hostPath: {{path: \
         {}, type: DirectoryOrCreate}}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: v}}\n",
        one(&i, "a", &canary("a"), &[env]).replace(
            "    volumeMounts: [{name: shared, mountPath: /shared}]",
            &volumes.replace("[{name: s,", "[{name: shared, mountPath: /shared}, {name: s,")
        ),
        made.display()
    );
    i.write_manifest("a.yaml", &yaml);
    i.start();
    i.until_ready("a");
    i.until("the content is kept", |i| !host::entries(&i.state.join("manifests")).is_empty());
    for again in [false, true] {
        if again {
            i.terminate();
            fs::set_permissions(&i.run, fs::Permissions::from_mode(0o755)).unwrap();
            i.start();
        }
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&i.run), mode(&i.state)), (0o700, 0o700));
        let is_open = |path: &Path| mode(path) & 0o077 != 0;
        let mut open: Vec<PathBuf> = Vec::new();
        for root in [&i.run, &i.state] {
            // Whoever cannot pass these reaches nothing below them, where volumes have the modes that Pods gave them.
            open.extend(host::entries(root).into_iter().filter(|p| is_open(p)));
            let is_ours = |p: &Path| p.extension().is_some_and(|e| e == "json") || p.ends_with("lock");
            let files = host::files_below(root)
                .into_iter()
                .filter(|p| is_ours(p) && !p.starts_with(root.join("runc")));
            open.extend(files.filter(|p| is_open(p)));
        }
        assert!(open.is_empty(), "others may read or write: {open:?}");
        if with_runc() {
            let (attempt, _) = i.records("a", "main").pop().unwrap();
            assert_eq!(mode(&attempt.join("bundle/config.json")), 0o600, "it has the Secret's value");
        }
        assert_eq!(mode(&made), 0o755);
    }
}

/// Looks at the arguments of every process again and again until it is told to stop, and gives those that hold a word.
fn watch_arguments(
    words: [&'static str; 2],
) -> (Arc<AtomicBool>, std::thread::JoinHandle<(u64, Vec<String>)>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let (mut rounds, mut found) = (0, BTreeSet::new());
        while !stopped.load(Ordering::Relaxed) {
            rounds += 1;
            for proc in host::entries(Path::new("/proc")) {
                let line = fs::read(proc.join("cmdline")).unwrap_or_default();
                let has = |word: &str| line.windows(word.len()).any(|w| w == word.as_bytes());
                if words.into_iter().any(has) {
                    found.insert(text(&line).replace('\0', " "));
                }
            }
        }
        (rounds, found.into_iter().collect())
    });
    (stop, thread)
}

#[test]
fn what_is_secret_is_in_no_argument_log_or_status() {
    const MARKER: &str = "hunter2marker";
    const HEADER: &str = "hunter3header";
    let Some(mut i) = instance() else { return };
    let main = container(
        "main",
        &canary("main"),
        &[
            "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: a}}}, {name: LINES, valueFrom: {secretKeyRef: {name: s, key: lines}}}]",
            "envFrom: [{secretRef: {name: s}, prefix: P_}]",
            "livenessProbe: {exec: {command: [sh, -c, 'test -n \"$A\"']}, periodSeconds: 1}",
            "readinessProbe: {exec: {command: [sh, -c, 'grep -q . /s/a']}, periodSeconds: 1}",
            "lifecycle: {preStop: {exec: {command: [sh, -c, 'cp /s/a /shared/copy']}}}",
        ],
    );
    let yaml = pod(&i, "a", &[], &[main]).replace(
        "volumeMounts: [{name: shared, mountPath: /shared}]",
        "volumeMounts: [{name: shared, mountPath: /shared}, {name: s, mountPath: /s}]",
    );
    // Broken where values stand, too: what is said of that must not repeat them.
    let broken = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bad}}\ndata: {{k: \"{MARKER}!\"}}\nstringData: {{n: [{MARKER}]}}\n"
    );
    // Of a manifest's own words `status` tells root; but no probe may show them to everybody, well or failing.
    let asks = format!(
        "readinessProbe: {{httpGet: {{host: 127.0.0.1, port: 1, path: /x, httpHeaders: [{{name: X-Token, value: {HEADER}}}]}}, \
         periodSeconds: 1}}"
    );
    let asking = one(&i, "asking", &canary("asking"), &[&asks]);
    let (stop, watcher) = watch_arguments([MARKER, HEADER]);
    i.write_manifest("asking.yaml", &asking);
    i.write_manifest(
        "a.yaml",
        &format!(
            "{yaml}  - {{name: s, secret: {{secretName: s}}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n\
             stringData: {{a: {MARKER}-a, lines: \"{MARKER}\\nx={MARKER}\"}}\n"
        ),
    );
    i.write_manifest("bad.yaml", &broken);
    i.start();
    i.until_ready("a");
    i.until("the broken one is refused", |i| i.document("bad.yaml").is_some());
    // What the container does with it is its own business; that it has it shows that the test tests something.
    i.until("the probes have run", |i| i.ready("a"));
    i.until("a probe has failed", |i| {
        i.pod("asking").is_some_and(|p| p.message.is_some_and(|m| m.contains("Connection refused")))
    });
    let mut said: Vec<(String, String)> = Vec::new();
    for verb in [&["status", "-o", "json"][..], &["status"], &["why", "a"], &["plan"], &["logs", "a"]] {
        let output = i.cli(verb[0], &verb[1..]);
        said.push((verb.join(" "), text(&output.stdout) + &text(&output.stderr)));
    }
    for file in host::files_below(&i.run.join("status")) {
        said.push((file.display().to_string(), fs::read_to_string(&file).unwrap_or_default()));
    }
    i.remove("a.yaml");
    i.remove("asking.yaml");
    i.until("the Pods are gone", |i| i.pod("a").is_none() && i.pod("asking").is_none());
    assert_eq!(i.lines("copy"), [format!("{MARKER}-a")]);
    said.push(("the daemon's log".to_owned(), fs::read_to_string(i.daemon_log()).unwrap()));
    stop.store(true, Ordering::Relaxed);
    let (rounds, found) = watcher.join().unwrap();
    assert!(rounds > 10, "{rounds}");
    assert!(found.is_empty(), "{found:#?}");
    for (what, text) in said {
        assert!(!text.contains(MARKER), "{what}:\n{text}");
        assert!(what != "the daemon's log" || !text.contains(HEADER), "{what}:\n{text}");
    }
    // Its last good content and its objects lie where only root can read, and go with their file.
    let holds = |dir: &Path| {
        let of = host::files_below(dir);
        of.into_iter().filter(|f| text(&fs::read(f).unwrap_or_default()).contains(MARKER)).collect::<Vec<_>>()
    };
    i.until("nothing is left of it", |i| holds(&i.run).is_empty() && holds(&i.state).is_empty());
}

#[test]
fn odd_names_of_files_are_names_and_nothing_else() {
    let Some(mut i) = instance() else { return };
    let long = format!("{}.yaml", "n".repeat(250));
    let names: [&[u8]; 7] = [
        b"a\nforged: line.yaml",
        b"'\"$(touch FILE)`touch FILE`;touch FILE.yaml",
        b"-rf.yaml",
        b"--help.yaml",
        b"not\xfftext.yaml",
        "right\u{202e}left\u{1b}[31m.yaml".as_bytes(),
        long.as_bytes(),
    ];
    let names = names.map(|name| {
        let name = text(name).replace("FILE", "pwned").into_bytes();
        Path::new(std::ffi::OsStr::from_bytes(&name)).to_owned()
    });
    let part = i.dir.join("part");
    for (n, name) in names.iter().enumerate() {
        let shell = "annotations: {a: \"$(touch pwned) `touch pwned`\"}";
        let yaml = one(&i, &format!("p{n}"), &canary(&format!("p{n}")), &[]);
        fs::write(&part, yaml.replace("metadata: {", &format!("metadata: {{{shell}, "))).unwrap();
        fs::rename(&part, i.manifests.join(name)).unwrap();
    }
    i.start();
    for n in 0..names.len() {
        i.until_ready(&format!("p{n}"));
    }
    // One that is refused is named.
    for name in &names {
        fs::write(i.manifests.join(name), "kind: [").unwrap();
    }
    i.until("all are refused, and run on", |i| {
        let log = fs::read_to_string(i.daemon_log()).unwrap();
        log.matches("error: ").count() >= names.len() && (0..names.len()).all(|n| i.ready(&format!("p{n}")))
    });
    let mut shown = fs::read_to_string(i.daemon_log()).unwrap();
    for verb in [&["status"][..], &["status", "-o", "wide"]] {
        shown += &text(&i.cli(verb[0], &verb[1..]).stdout);
    }
    for name in &names {
        let output = std::process::Command::new(common::podstrap())
            .args(["validate", "--"])
            .arg(i.manifests.join(name))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", common::describe(&output));
        shown += &text(&output.stderr);
        shown += &text(&output.stdout);
    }
    assert!(!shown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
    assert!(shown.lines().all(|l| !l.starts_with("forged")), "{shown}");
    assert!(shown.contains("\\nforged") && shown.contains("\\u{202e}"), "{shown}");
    let made = |dir: &Path| dir.join("pwned").exists();
    assert!(
        ![Path::new("/"), Path::new("."), &i.dir, &i.manifests, Path::new("/root")].into_iter().any(made)
    );
}
