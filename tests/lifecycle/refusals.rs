//! What is refused, and that the refusal says where and why: manifests, a second daemon, a host that cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use podstrap::report::ManifestState;

use crate::common::yaml::{canary, one};
use crate::common::{Instance, assert_exit, bare_instance, describe, host, instance, podstrap, text};

/// A good manifest with one thing spoilt: (name, from, to, a word of the complaint).
const SPOILT: &[(&str, &str, &str, &str)] = &[
    ("tab", "  hostNetwork: true", "\thostNetwork: true", ""),
    ("quote", "apiVersion: v1", "apiVersion: \"v1", ""),
    ("flow", "kind: Pod", "kind: [Pod", ""),
    ("kind-case", "kind: Pod", "kind: pod", "Pod"),
    ("deployment", "kind: Pod", "kind: Deployment", "Deployment"),
    ("version", "apiVersion: v1", "apiVersion: v2", "v2"),
    ("no-version", "apiVersion: v1\n", "", "apiVersion"),
    ("name-slash", "{name: web}", "{name: ../../etc}", "name"),
    ("name-capital", "{name: web}", "{name: Web}", "Web"),
    ("namespace", "{name: web}", "{name: web, namespace: a_b}", "namespace"),
    ("container-name", "- name: main", "- name: a.b", "a.b"),
    ("env-number", "    image:", "    env: [{name: A, value: 1}]\n    image:", "value"),
    ("env-name", "    image:", "    env: [{name: A=B, value: x}]\n    image:", "A=B"),
    ("args-number", "    image:", "    args: [--port, 8080]\n    image:", "args"),
    ("image-flag", "image: localhost/busybox:test", "image: --privileged", "--privileged"),
    ("policy-case", "  hostNetwork: true", "  hostNetwork: true\n  restartPolicy: always", "always"),
    ("port", "    image:", "    ports: [{containerPort: 70000}]\n    image:", "70000"),
    ("probe", "    image:", "    livenessProbe: {periodSeconds: 1}\n    image:", "livenessProbe"),
    ("path", "mountPath: /shared", "mountPath: /x/../../y", ".."),
    ("no-volume", "[{name: shared,", "[{name: other,", "other"),
    (
        "claim",
        "  volumes:\n",
        "  volumes:\n  - {name: s, persistentVolumeClaim: {claimName: x}}\n",
        "persistentVolumeClaim",
    ),
    ("bool", "hostNetwork: true", "hostNetwork: maybe", "hostNetwork"),
    ("quantity", "    image:", "    resources: {limits: {cpu: 1x}}\n    image:", "1x"),
];

/// Files that are bad as a whole: (name, content).
const BAD: &[(&str, &str)] = &[
    ("empty", ""),
    ("comment", "# nothing\n"),
    ("null", "null\n"),
    ("scalar", "hello\n"),
    ("list", "[1, 2, 3]\n"),
];

#[test]
fn a_good_manifest_runs_beside_bad_ones_and_each_is_named_with_place_and_cause() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("good.yaml", &one(&i, "good", &canary("good"), &[]));
    let base = one(&i, "web", &canary("web"), &[]);
    let mut cases: Vec<(String, &str)> = Vec::new();
    for (name, from, to, word) in SPOILT {
        let content = base.replacen(from, to, 1);
        assert_ne!(content, base, "{name} spoils nothing");
        i.write_manifest(&format!("bad-{name}.yaml"), &content);
        cases.push((format!("bad-{name}.yaml"), word));
    }
    for (name, content) in BAD {
        i.write_manifest(&format!("bad-{name}.yaml"), content);
        cases.push((format!("bad-{name}.yaml"), ""));
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='i')
            .map(|c| {
                let before = char::from(c as u8 - 1);
                format!("{c}: &{c} [*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before}]\n")
            })
            .collect::<String>();
    i.write_manifest("bad-bomb.yaml", &bomb);
    cases.push(("bad-bomb.yaml".to_owned(), ""));
    i.write_manifest("bad-braces.yaml", &"{a: ".repeat(80_000));
    cases.push(("bad-braces.yaml".to_owned(), ""));

    i.start();
    i.until_ready("good");
    for (file, word) in &cases {
        i.until(&format!("{file} is refused"), |i| {
            i.document(file).is_some_and(|d| matches!(d.manifest, ManifestState::Refused { .. }))
        });
        let ManifestState::Refused { problems } = i.document(file).unwrap().manifest else { unreachable!() };
        assert!(!problems.is_empty(), "{file}: no problem told");
        for problem in &problems {
            assert!(names_a_place(problem, file), "{file}: no FILE:LINE:COLUMN in\n{problem}");
        }
        assert!(
            problems.iter().any(|p| p.contains(word)),
            "{file}: no word of {word:?} in\n{}",
            problems.join("\n")
        );
    }
    assert!(i.lines("web").is_empty(), "none of the bad ones ran");
    assert!(i.ready("good"));
    assert_eq!(i.lines("good").len(), 1);
    // The same by the command line.
    let output = Command::new(podstrap()).arg("validate").arg(&i.manifests).output().unwrap();
    assert_exit(&output, 3);
    let said = text(&output.stdout) + &text(&output.stderr);
    for (file, _) in &cases {
        assert!(said.contains(file.as_str()), "validate does not name {file}:\n{said}");
    }
    assert!(said.contains("good.yaml: Pod default/good-"), "validate says nothing of the good one:\n{said}");
    assert!(!text(&output.stderr).contains("good.yaml:"), "validate complains about the good one:\n{said}");
}

/// Whether a problem says `FILE:LINE:COLUMN`, both numbers from 1.
fn names_a_place(problem: &str, file: &str) -> bool {
    problem.match_indices(&format!("{file}:")).any(|(at, found)| {
        let mut numbers = problem[at + found.len()..].splitn(3, ':');
        let mut number = || -> Option<u32> {
            let digits: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        matches!((number(), number()), (Some(1..), Some(1..)))
    })
}

#[test]
fn all_problems_of_a_file_are_told_at_once_with_the_exact_place() {
    let Some(i) = bare_instance() else { return };
    let manifest = one(&i, "web", &canary("web"), &[])
        .replace("hostNetwork: true", "hostNetwork: maybe")
        .replace("  - name: main", "  - name: Main");
    i.write_manifest("web.yaml", &manifest);
    let path = i.manifests.join("web.yaml");
    let output = Command::new(podstrap()).arg("validate").arg(&path).output().unwrap();
    assert_exit(&output, 3);
    let said = text(&output.stdout) + &text(&output.stderr);
    for bad in ["maybe", "Main"] {
        let (line, column) =
            manifest.lines().enumerate().find_map(|(n, l)| Some((n + 1, l.find(bad)? + 1))).unwrap();
        let place = format!("{}:{line}:{column}", path.display());
        assert!(said.contains(&place), "no `{place}`:\n{said}");
    }
    assert!(said.lines().any(|l| l.trim_start_matches([' ', '|']).starts_with('^')), "no caret:\n{said}");
}

#[test]
fn an_unknown_field_is_a_warning_and_the_pod_runs() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &["livenesProbe: {exec: {command: [x]}}"]));
    i.start();
    i.until_ready("web");
    let ManifestState::Current { warnings } = i.pod("web").unwrap().manifest else { panic!("not current") };
    assert!(
        warnings.iter().any(|w| w.contains("livenesProbe") && w.contains("livenessProbe")),
        "{warnings:#?}"
    );
    let output = Command::new(podstrap()).arg("validate").arg(i.manifests.join("web.yaml")).output().unwrap();
    assert_exit(&output, 0);
    assert!(
        (text(&output.stdout) + &text(&output.stderr)).contains("livenessProbe"),
        "{}",
        describe(&output)
    );
}

#[test]
fn a_pod_that_wants_a_network_where_none_is_configured_waits_and_says_what_to_do() {
    if !crate::common::with_runc() {
        return;
    }
    let Some(mut i) = instance() else { return };
    let none = i.dir.join("no-networks");
    i.args(&["--cni-conf-dir", none.to_str().unwrap()]);
    i.write_manifest("net.yaml", &one(&i, "net", &canary("net"), &[]).replace("  hostNetwork: true\n", ""));
    i.start();
    i.until("it says what to do", |i| {
        let message = i.pod("net").and_then(|p| p.message).unwrap_or_default();
        message.contains("hostNetwork: true") && message.contains("containernetworking-plugins")
    });
    assert!(i.lines("net").is_empty(), "nothing of it was started");
    i.remove("net.yaml");
    i.until("it is gone", |i| i.pod("net").is_none());
}

#[test]
fn a_second_daemon_is_refused_and_told_the_pid_of_the_first() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    let second = i.run_command(&podstrap()).output().unwrap();
    assert_exit(&second, 1);
    assert!(text(&second.stderr).contains(&i.daemon_pid().to_string()), "{}", describe(&second));
    assert!(host::alive(pid) && i.lines("web").len() == 1, "the first one's Pod was touched");
}

/// What `run` says and how it ends where it cannot run; nothing of it may stay.
fn refused(i: &Instance, mut command: Command) -> String {
    let mut guarded = Command::new("timeout");
    guarded.arg("20").arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(key, value),
            None => guarded.env_remove(key),
        };
    }
    command = guarded;
    let output = command.output().unwrap();
    assert_exit(&output, 1);
    let said = text(&output.stderr);
    assert!(said.lines().count() <= 3, "more than a clear line: {said}");
    assert!(said.contains("podstrap"), "the program's name is missing: {said}");
    assert!(host::processes_of(&i.dir, &i.cgroup_root).is_empty());
    said
}

#[test]
fn without_root_it_says_so() {
    let Some(i) = bare_instance() else { return };
    // The target directory may not be open to everybody.
    let program = i.dir.join("podstrap");
    fs::copy(podstrap(), &program).unwrap();
    fs::set_permissions(&i.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let run = i.run_command(&program);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(run.get_program())
        .args(run.get_args());
    let said = refused(&i, command);
    assert!(said.contains("root"), "{said}");
}

#[test]
fn a_directory_of_somebody_else_is_not_worked_in() {
    let Some(i) = instance() else { return };
    for directory in [&i.run, &i.state] {
        fs::create_dir_all(directory).unwrap();
        std::os::unix::fs::chown(directory, Some(65534), None).unwrap();
        let error = refused(&i, i.run_command(&podstrap()));
        let path = directory.to_str().unwrap();
        assert!(error.contains(path) && error.contains("belongs to user 65534"), "{error}");
        std::os::unix::fs::chown(directory, Some(0), None).unwrap();
    }
}

#[test]
fn without_runc_it_says_so() {
    if !crate::common::with_runc() {
        return;
    }
    let Some(i) = bare_instance() else { return };
    // Wherever it is looked for, it is not there: in a mount namespace of the command's own.
    let hide = "for p in /usr/local/sbin/runc /usr/local/bin/runc /usr/sbin/runc /usr/bin/runc /sbin/runc /bin/runc; do \
                [ ! -e \"$p\" ] || mount --bind /dev/null \"$p\"; done; exec \"$@\"";
    let run = i.run_command(&podstrap());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", hide, "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let said = refused(&i, command);
    assert!(said.contains("runc"), "{said}");
}

#[test]
fn without_cgroups_it_says_so() {
    if !crate::common::with_runc() {
        return;
    }
    let Some(i) = bare_instance() else { return };
    let hide = "umount --recursive --lazy /sys/fs/cgroup; exec \"$@\"";
    let run = i.run_command(&podstrap());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", hide, "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    let said = refused(&i, command);
    assert!(said.contains("cgroup"), "{said}");
}

#[test]
fn bad_usage_ends_with_two() {
    for args in
        [&["frobnicate"][..], &["run", "--no-such-flag"], &["run", "--restart-backoff", "soon"], &["logs"]]
    {
        let output = Command::new(podstrap()).args(args).output().unwrap();
        assert_exit(&output, 2);
        assert!(!output.stderr.is_empty(), "{args:?}: nothing is said");
    }
}
