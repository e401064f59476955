//! volumeMounts: parts of volumes, read-only ones, propagation.

use std::fs;
use std::os::unix::fs::symlink;

use nix::mount::MsFlags;

use crate::bench::Bench;
use crate::case::{Case, case, part};

/// Makes `@DIR@/it`, a mount that hands on what is mounted below.
fn shared_mount(t: &Bench<'_>) {
    let it = t.dir.join("it");
    fs::create_dir(&it).unwrap();
    t.mount(Some(&it), "it", "none", MsFlags::MS_BIND);
    nix::mount::mount(None::<&str>, &it, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::create_dir(it.join("sub")).unwrap();
}

fn mounts_it(field: &'static str, what: &'static str, script: &str, mount: &str) -> Case {
    case(field, what)
        .volume("{name: it, hostPath: {path: '@DIR@/it'}}")
        .container(part("main", script).mount(&format!("{{name: it, mountPath: /it{mount}}}")))
}

/// Waits until the Pod says that the path leads out; nothing of the host was shown.
fn escape_is_seen(t: &Bench<'_>) {
    t.until("the sub-path is named", || {
        let text = t.status().map(|s| serde_json::to_string(&s).unwrap()).unwrap_or_default();
        text.contains("subPath")
            || text.contains("outside")
            || text.contains("escape")
            || text.contains("symbolic link")
    });
    t.holds(1.0, "nothing is started", || t.file("seen").is_empty() && t.at("/status/phase") != "Running");
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        mounts_it("spec.containers.volumeMounts.readOnly", "cannot be written", "cat /it/file; touch /it/x 2>/dev/null || echo refused", ", readOnly: true")
            .before(|t| {
                fs::create_dir(t.dir.join("it")).unwrap();
                t.write("it/file", "text\n");
            })
            .says("text\nrefused"),
        case("spec.containers.volumeMounts.readOnly", "of one mount only; the same volume elsewhere is not")
            .volume("{name: work, emptyDir: {}}")
            .container(
                part("main", "touch /ro/x 2>/dev/null || echo refused; echo y >/rw/x && cat /ro/x")
                    .mount("{name: work, mountPath: /ro, readOnly: true}")
                    .mount("{name: work, mountPath: /rw}"),
            )
            .says("refused\ny"),
        mounts_it("spec.containers.volumeMounts.recursiveReadOnly=Enabled", "what is mounted below cannot be written either",
            "touch /it/sub/x 2>/dev/null || echo refused; grep -c ' /it/sub ' /proc/mounts", ", readOnly: true, recursiveReadOnly: Enabled")
            .before(|t| {
                shared_mount(t);
                t.mount(None, "it/sub", "tmpfs", MsFlags::empty());
            })
            .says("refused\n1"),
        mounts_it("spec.containers.volumeMounts.recursiveReadOnly=Disabled", "what is mounted below can be",
            "touch /it/x 2>/dev/null || echo refused; touch /it/sub/x && echo written", ", readOnly: true, recursiveReadOnly: Disabled")
            .before(|t| {
                shared_mount(t);
                t.mount(None, "it/sub", "tmpfs", MsFlags::empty());
            })
            .says("refused\nwritten"),
        mounts_it("spec.containers.volumeMounts.recursiveReadOnly", "refused without readOnly", "true", ", recursiveReadOnly: Enabled")
            .refused(&["recursiveReadOnly"]),
        mounts_it("spec.containers.volumeMounts.mountPropagation=None", "what the host mounts later is not seen", "say main; stay", "")
            .before(shared_mount)
            .then(|t| {
                t.event("main");
                let before = propagated(t);
                t.mount(None, "it/sub", "tmpfs", MsFlags::empty());
                t.holds(1.0, "it is not seen", || propagated(t) == before);
            }),
        mounts_it("spec.containers.volumeMounts.mountPropagation=HostToContainer", "what the host mounts later is seen", "say main; stay", ", mountPropagation: HostToContainer")
            .before(shared_mount)
            .then(|t| {
                t.event("main");
                let before = propagated(t);
                t.mount(None, "it/sub", "tmpfs", MsFlags::empty());
                t.until("it is seen", || propagated(t) == before + 1);
            }),
        mounts_it("spec.containers.volumeMounts.mountPropagation=HostToContainer", "what the container mounts stays there",
            "mount -t tmpfs none /it/sub && echo mounted >/out/mounted; stay", ", mountPropagation: HostToContainer")
            .before(shared_mount)
            .spec("securityContext: {}")
            .then(|t| {
                // Without privileges it cannot mount; with or without, the host sees nothing.
                t.ready();
                t.holds(1.0, "the host sees nothing", || !on_host(t));
            }),
        case("spec.containers.volumeMounts.mountPropagation=Bidirectional", "what the container mounts is seen by the host")
            .needs_all_capabilities("docker", "docker gives a privileged container every capability")
            .before(shared_mount)
            .volume("{name: it, hostPath: {path: '@DIR@/it'}}")
            .container(
                // Busy for a moment where another container begins, whose mounts are a copy of the host's.
                part("main", "trap 'until umount /it/sub; do sleep 0.05; done; exit 0' TERM; mount -t tmpfs none /it/sub && echo mounted >/out/mounted; stay")
                    .mount("{name: it, mountPath: /it, mountPropagation: Bidirectional}")
                    .with("securityContext: {privileged: true}"),
            )
            .then(|t| {
                assert_eq!(t.content("mounted"), "mounted");
                t.until("the host sees it", || on_host(t));
                t.remove();
                t.gone();
                assert!(!on_host(t), "unmounted again");
            }),
        mounts_it("spec.containers.volumeMounts.mountPropagation=Bidirectional", "refused unless privileged", "true", ", mountPropagation: Bidirectional")
            .refused(&["mountPropagation"]),
        mounts_it("spec.containers.volumeMounts.name", "refused when there is no such volume", "true", "")
            .container(part("other", "true").mount("{name: itt, mountPath: /it}"))
            .refused(&["itt"]),
        mounts_it("spec.containers.volumeMounts.mountPath", "refused twice in one container", "true", "")
            .container(part("other", "true").mount("{name: it, mountPath: /it}").mount("{name: out, mountPath: /it}"))
            .refused(&["mountPath", "/it"]),
    ];
    cases.extend(sub_paths());
    cases
}

/// How many mounts the container sees at and below /it.
fn propagated(t: &Bench<'_>) -> usize {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", t.pid("main"))).unwrap();
    table.lines().filter(|l| l.split(' ').nth(4).is_some_and(|p| p.starts_with("/it"))).count()
}

fn on_host(t: &Bench<'_>) -> bool {
    let sub = t.dir.join("it/sub").to_string_lossy().into_owned();
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|l| l.split(' ').nth(4) == Some(&sub))
}

fn sub_paths() -> Vec<Case> {
    let make = |t: &Bench<'_>| {
        fs::create_dir_all(t.dir.join("it/a/b")).unwrap();
        t.write("it/a/b/file", "deep\n");
        t.write("it/top", "top\n");
        symlink("a/b", t.dir.join("it/inside")).unwrap();
        symlink("/etc", t.dir.join("it/absolute")).unwrap();
        symlink("../../../../../../../../etc", t.dir.join("it/upwards")).unwrap();
        symlink("/etc/passwd", t.dir.join("it/passwd")).unwrap();
    };
    let sub = move |what, path: &str, script: &str| {
        mounts_it("spec.containers.volumeMounts.subPath", what, script, &format!(", subPath: {path}"))
            .before(make)
    };
    vec![
        sub("a directory of the volume", "a/b", "ls /it").says("file"),
        sub("a file of the volume", "top", "stat -c %F /it; cat /it").says("regular file\ntop"),
        sub("a missing one is made", "made/for/it", "touch /it/x; stat -c %F /it")
            .says("directory")
            .then(|t| assert!(t.dir.join("it/made/for/it/x").exists())),
        sub("a symbolic link that stays in the volume", "inside", "ls /it").says("file"),
        sub("an absolute symbolic link does not lead out", "absolute", "ls /it >/out/seen; stay")
            .then(escape_is_seen),
        sub("a symbolic link upwards does not lead out", "upwards", "ls /it >/out/seen; stay")
            .then(escape_is_seen),
        sub("nor does one in the middle of the path", "absolute/apt", "ls /it >/out/seen; stay")
            .then(escape_is_seen),
        sub("nor one to a file", "passwd", "cat /it >/out/seen; stay").then(escape_is_seen),
        sub("refused with `..`", "a/../../x", "true").refused(&["subPath"]),
        sub("refused when absolute", "/etc", "true").refused(&["subPath"]),
        case(
            "spec.containers.volumeMounts.subPath",
            "one that another container of the Pod has turned into a link",
        )
        .volume("{name: work, emptyDir: {}}")
        .init(part("evil", "ln -s /etc /space/sub").mount("{name: work, mountPath: /space}"))
        .container(
            part("main", "ls /it >/out/seen; stay").mount("{name: work, mountPath: /it, subPath: sub}"),
        )
        .then(escape_is_seen),
        case("spec.containers.volumeMounts.subPath", "of an emptyDir, shared with another container")
            .volume("{name: work, emptyDir: {}}")
            .init(
                part("one", "mkdir -p /space/sub; echo hello >/space/sub/file")
                    .mount("{name: work, mountPath: /space}"),
            )
            .container(part("main", "cat /it/file").mount("{name: work, mountPath: /it, subPath: sub}"))
            .says("hello"),
        case(
            "spec.containers.volumeMounts.subPathExpr",
            "is expanded from the environment; a variable that is not there is an error",
        )
        .volume("{name: it, hostPath: {path: '@DIR@/it'}}")
        .container(
            part("main", "touch /it/y")
                .mount("{name: it, mountPath: /it, subPathExpr: logs/$(POD)}")
                .with("env: [{name: POD, value: one}]"),
        )
        .container(part("other", "say other").mount("{name: it, mountPath: /it, subPathExpr: logs/$(NONE)}"))
        .then(|t| {
            t.ended("main");
            assert!(t.dir.join("it/logs/one/y").exists());
            t.until("the variable is named", || {
                t.status().is_some_and(|s| serde_json::to_string(&s).unwrap().contains("NONE)"))
            });
            t.until("as the cause", || {
                t.status().and_then(|s| s.message).is_some_and(|m| m.contains("NONE"))
            });
            assert_eq!(t.count("other"), 0);
        }),
        case("spec.containers.volumeMounts.subPathExpr", "with a field of the Pod")
            .volume("{name: it, hostPath: {path: '@DIR@/it'}}")
            .container(
                part("main", "touch /it/x")
                    .mount("{name: it, mountPath: /it, subPathExpr: $(POD)}")
                    .with("env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
            )
            .phase("Succeeded")
            .then(|t| assert!(t.dir.join(t.fill("it/@NAME@-node1/x")).exists())),
        mounts_it(
            "spec.containers.volumeMounts.subPathExpr",
            "refused beside subPath",
            "true",
            ", subPath: a, subPathExpr: b",
        )
        .refused(&["subPathExpr"]),
    ]
}
