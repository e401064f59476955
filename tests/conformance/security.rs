//! What the process may: capabilities, privileges, masks, system calls, kernel settings, the host's namespaces.

use std::fs;

use crate::case::{Case, case, part};

/// What a runtime gives by default: CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
/// NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE.
const DEFAULT_CAPS: u64 = 0xa804_25fb;

fn field(text: &str, name: &str) -> String {
    text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

fn host_status(name: &str) -> String {
    field(&fs::read_to_string("/proc/self/status").unwrap(), name)
}

fn caps(what: &'static str, context: &str, expected: fn() -> u64) -> Case {
    case("spec.containers.securityContext.capabilities", what).main("cat /proc/self/status", context).output(
        move |_, out| {
            for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
                let found = u64::from_str_radix(&field(out, set), 16).unwrap();
                assert_eq!(format!("{found:016x}"), format!("{:016x}", expected()), "{set}");
            }
        },
    )
}

fn namespace_of(t: &crate::bench::Bench<'_>, container: &str, kind: &str) -> String {
    fs::read_link(format!("/proc/{}/ns/{kind}", t.pid(container))).unwrap().to_string_lossy().into_owned()
}

fn own_namespace(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        caps("absent: the runtime's default set", "", || DEFAULT_CAPS),
        caps("add", "securityContext: {capabilities: {add: [NET_ADMIN]}}", || DEFAULT_CAPS | 1 << 12),
        caps("add, with CAP_ before the name", "securityContext: {capabilities: {add: [CAP_SYS_TIME]}}", || {
            DEFAULT_CAPS | 1 << 25
        }),
        caps("add ALL: all that the host has", "securityContext: {capabilities: {add: [ALL]}}", || {
            u64::from_str_radix(&host_status("CapBnd:"), 16).unwrap()
        })
        .refused_by("docker", "cannot be had with docker 20.10, which does not know BPF, CHECKPOINT_RESTORE, PERFMON"),
        caps(
            "add ALL, drop the newest three: all others",
            "securityContext: {capabilities: {add: [ALL], drop: [PERFMON, BPF, CAP_CHECKPOINT_RESTORE]}}",
            || u64::from_str_radix(&host_status("CapBnd:"), 16).unwrap() & !(7 << 38),
        ),
        caps("drop", "securityContext: {capabilities: {drop: [CHOWN, NET_RAW]}}", || DEFAULT_CAPS & !(1 | 1 << 13)),
        caps("drop ALL", "securityContext: {capabilities: {drop: [ALL]}}", || 0),
        caps("drop ALL, add one", "securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}", || 1 << 10),
        caps("privileged: all that the host has", "securityContext: {privileged: true}", || {
            u64::from_str_radix(&host_status("CapBnd:"), 16).unwrap()
        })
        .needs_all_capabilities("docker", "docker gives a privileged container every capability"),
        case("spec.containers.securityContext.capabilities.add", "refused when unknown")
            .main("true", "securityContext: {capabilities: {add: [FLY]}}")
            .refused(&["capabilities.add", "FLY"]),
        case("spec.containers.securityContext.privileged", "devices, no masks, no filter, a writable /sys")
            .needs_all_capabilities("docker", "docker gives a privileged container every capability")
            .main(
                "ls /dev/loop-control /dev/null; grep -c ' /proc/sys ' /proc/mounts; grep Seccomp: /proc/self/status; grep ' /sys ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1",
                "securityContext: {privileged: true}",
            )
            .says("/dev/loop-control\n/dev/null\n0\nSeccomp:\t0\nrw"),
        case("spec.containers.securityContext.privileged", "absent: the host's devices are not there")
            .main("ls /dev/loop-control 2>/dev/null; ls -d /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/shm /dev/pts | wc -l; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "")
            .says("8\n65536"),
        case("spec.containers.securityContext.allowPrivilegeEscalation=false", "sets no_new_privs")
            .main("grep NoNewPrivs /proc/self/status", "securityContext: {allowPrivilegeEscalation: false}")
            .says("NoNewPrivs:\t1"),
        case("spec.containers.securityContext.allowPrivilegeEscalation", "absent: does not")
            .main("grep NoNewPrivs /proc/self/status", "")
            .says("NoNewPrivs:\t0"),
        case("spec.containers.securityContext.readOnlyRootFilesystem", "the root cannot be written, volumes can")
            .volume("{name: work, emptyDir: {}}")
            .container(
                part("main", "touch /x 2>/dev/null || echo refused; touch /etc/x 2>/dev/null || echo refused; touch /space/x && echo written; echo m >/dev/termination-log && echo message")
                    .mount("{name: work, mountPath: /space}")
                    .with("securityContext: {readOnlyRootFilesystem: true}"),
            )
            .says("refused\nrefused\nwritten\nmessage"),
        case("spec.containers.securityContext.readOnlyRootFilesystem", "absent: it can")
            .main("touch /x /etc/x && echo written", "")
            .says("written"),
        case("spec.containers.securityContext.procMount=Default", "masked and read-only places")
            .main(
                "head -c1 /proc/kcore 2>/dev/null | wc -c; head -c1 /proc/timer_list 2>/dev/null | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | grep -vc '^$'; (echo 1 >/proc/sys/kernel/domainname) 2>/dev/null || echo sysctl refused; (echo h >/proc/sysrq-trigger) 2>/dev/null || echo sysrq refused; (mkdir /sys/fs/cgroup/pids/x || mkdir /sys/fs/cgroup/x/y) 2>/dev/null || echo cgroup refused",
                "",
            )
            .says("0\n0\n0\nsysctl refused\nsysrq refused\ncgroup refused"),
        case("spec.containers.securityContext.procMount=Unmasked", "no place is masked")
            .spec("hostUsers: false")
            .own_network()
            .main("grep -c ' /proc/' /proc/mounts", "securityContext: {procMount: Unmasked}")
            .then(|t| {
                // It takes a user namespace, which the host or the runtime may not be able to give: then it is refused.
                t.until_or_refused("it ends, or is refused", || {
                    t.refusal().is_some() || t.container("main")["state"]["terminated"].is_object()
                });
                match t.refusal() {
                    Some(problems) => assert!(problems.join("\n").contains("hostUsers"), "{problems:?}"),
                    None => assert_eq!(t.logs("main").trim(), "0"),
                }
            }),
        case("spec.containers.securityContext.allowPrivilegeEscalation", "refused as false beside privileged")
            .main("true", "securityContext: {privileged: true, allowPrivilegeEscalation: false}")
            .refused(&["allowPrivilegeEscalation"]),
    ];
    cases.extend(filters());
    cases.extend(sysctls());
    cases.extend(namespaces());
    cases
}

fn filters() -> Vec<Case> {
    let profile = |t: &crate::bench::Bench<'_>| {
        let dir = t.instance.state.join("seccomp");
        fs::create_dir_all(&dir).unwrap();
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
        });
        fs::write(dir.join(t.fill("@NAME@.json")), profile.to_string()).unwrap();
    };
    const SHOW: &str = "grep Seccomp: /proc/self/status";
    vec![
        case("spec.containers.securityContext.seccompProfile", "absent: no filter")
            .main(SHOW, "")
            .says("Seccomp:\t0"),
        case("spec.containers.securityContext.seccompProfile.type=Unconfined", "no filter")
            .spec("securityContext: {seccompProfile: {type: RuntimeDefault}}")
            .main(SHOW, "securityContext: {seccompProfile: {type: Unconfined}}")
            .says("Seccomp:\t0"),
        case(
            "spec.containers.securityContext.seccompProfile.type=RuntimeDefault",
            "a filter: mounting is not allowed",
        )
        .main(
            &format!("{SHOW}; unshare -U true 2>/dev/null || echo refused"),
            "securityContext: {seccompProfile: {type: RuntimeDefault}}",
        )
        .differs("podman", "its filter lets user namespaces be made", |t| {
            t.ended("main");
            assert_eq!(t.logs("main").trim(), "Seccomp:\t2");
        })
        .says("Seccomp:\t2\nrefused"),
        case("spec.securityContext.seccompProfile", "of the Pod, for all containers")
            .spec("securityContext: {seccompProfile: {type: RuntimeDefault}}")
            .init(part("init", SHOW))
            .container(part("main", SHOW))
            .prints("main", "Seccomp:\t2")
            .prints("init", "Seccomp:\t2"),
        case("spec.containers.securityContext.seccompProfile.type=Localhost", "a profile of the host's")
            .before(profile)
            .main(
                &format!("{SHOW}; mkdir /x 2>/dev/null || echo refused; touch /y && echo touched"),
                "securityContext: {seccompProfile: {type: Localhost, localhostProfile: '@NAME@.json'}}",
            )
            .says("Seccomp:\t2\nrefused\ntouched"),
        case(
            "spec.containers.securityContext.seccompProfile.localhostProfile",
            "a missing one is a start error",
        )
        .main(
            "say main",
            "securityContext: {seccompProfile: {type: Localhost, localhostProfile: '@NAME@-absent.json'}}",
        )
        .then(|t| {
            t.until("it is named", || {
                t.status()
                    .is_some_and(|s| s.message.is_some_and(|m| m.contains(&t.fill("@NAME@-absent.json"))))
                    || t.refusal().is_some_and(|p| p.join("\n").contains(&t.fill("@NAME@-absent.json")))
            });
            assert_eq!(t.count("main"), 0);
        }),
        case("spec.containers.securityContext.seccompProfile.localhostProfile", "refused with `..`")
            .main("true", "securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x.json}}")
            .refused(&["localhostProfile"]),
        lsm(
            "spec.containers.securityContext.appArmorProfile",
            "appArmorProfile: {type: RuntimeDefault}",
            "/sys/module/apparmor/parameters/enabled",
            "appArmorProfile",
        ),
        lsm(
            "spec.containers.securityContext.seLinuxOptions",
            "seLinuxOptions: {level: 's0:c1,c2'}",
            "/sys/fs/selinux/enforce",
            "seLinuxOptions",
        ),
    ]
}

/// What takes a security module: without it, it is refused by name.
fn lsm(name: &'static str, context: &str, sign: &'static str, word: &'static str) -> Case {
    case(name, "where the host has it; else refused by name")
        .main("cat /proc/self/attr/current; echo", &format!("securityContext: {{{context}}}"))
        .then(move |t| {
            if fs::read_to_string(sign).is_ok_and(|s| s.starts_with(['Y', '1', '0'])) {
                t.ended("main");
                let label = t.logs("main");
                assert!(!label.trim().is_empty() && !label.contains("unconfined"), "{label}");
            } else {
                t.until("it is refused by name", || {
                    t.status().and_then(|s| s.message).is_some_and(|m| m.contains(word))
                });
            }
        })
}

fn sysctls() -> Vec<Case> {
    vec![
        case("spec.securityContext.sysctls", "of the network")
            .own_network()
            .spec("securityContext: {sysctls: [{name: net.ipv4.ip_local_port_range, value: '40000 40100'}, {name: net.ipv4.ip_unprivileged_port_start, value: '80'}]}")
            .main("cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/ipv4/ip_unprivileged_port_start | tr '\\t' ' '", "")
            .says("40000 40100\n80"),
        case("spec.securityContext.sysctls", "of IPC")
            .own_network()
            .spec("securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '1'}]}")
            .main("cat /proc/sys/kernel/shm_rmid_forced", "")
            .says("1")
            .then(|_| assert_eq!(fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap().trim(), "0")),
        case("spec.securityContext.sysctls", "of IPC, under hostNetwork")
            .spec("securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '1'}]}")
            .main("cat /proc/sys/kernel/shm_rmid_forced", "")
            .says("1")
            .then(|_| assert_eq!(fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap().trim(), "0")),
        case("spec.securityContext.sysctls", "what is not on the list is refused")
            .own_network()
            .spec("securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}")
            .main("true", "")
            .refused(&["sysctls", "kernel.msgmax"]),
        case("spec.securityContext.sysctls", "of the network, refused under hostNetwork")
            .spec("securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]}")
            .main("true", "")
            .refused(&["sysctls", "hostNetwork"]),
    ]
}

fn namespaces() -> Vec<Case> {
    vec![
        case("spec.hostPID", "the host's processes are seen")
            .spec("hostPID: true")
            .main("say main; ls -d /proc/$(cat /out/pid) && echo seen >/out/seen; stay", "")
            .before(|t| t.write("pid", &std::process::id().to_string()))
            .then(|t| {
                assert_eq!(t.content("seen"), "seen");
                assert_eq!(namespace_of(t, "main", "pid"), own_namespace("pid"));
            }),
        case("spec.hostPID", "absent: they are not").main("say main; stay", "").then(|t| {
            t.event("main");
            assert_ne!(namespace_of(t, "main", "pid"), own_namespace("pid"));
        }),
        case("spec.hostIPC", "the host's IPC namespace")
            .spec("hostIPC: true")
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                assert_eq!(namespace_of(t, "main", "ipc"), own_namespace("ipc"));
            }),
        case("spec.hostIPC", "absent: one that the Pod's containers share")
            .own_network()
            .container(part("one", "say one; stay"))
            .container(part("two", "say two; stay"))
            .then(|t| {
                t.event("one");
                t.event("two");
                assert_ne!(namespace_of(t, "one", "ipc"), own_namespace("ipc"));
                assert_eq!(namespace_of(t, "one", "ipc"), namespace_of(t, "two", "ipc"));
            }),
        case("spec.hostIPC", "absent: they share it under hostNetwork, too, with init containers and over restarts")
            .spec("restartPolicy: OnFailure")
            .init(part("init", "echo of-init >/dev/shm/init; readlink /proc/self/ns/ipc >/out/init"))
            .container(part(
                "one",
                "cat /dev/shm/init; readlink /proc/self/ns/ipc >>/out/seen; [ -e /dev/shm/again ] || { touch /dev/shm/again; exit 1; }",
            ))
            .container(part("two", "until [ -e /dev/shm/again ]; do sleep 0.1; done; readlink /proc/self/ns/ipc >/out/two"))
            .phase("Succeeded")
            .then(|t| {
                let (init, seen) = (t.content("init"), t.file("seen"));
                assert_ne!(init, own_namespace("ipc"));
                assert_eq!(seen.lines().collect::<Vec<_>>(), [init.as_str(), &init]);
                assert_eq!(t.content("two"), init);
                assert_eq!(t.logs("one").trim(), "of-init");
                assert_eq!(t.restarts("one"), 1);
            }),
        case("spec.hostIPC", "absent: one container under hostNetwork has one of its own")
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                assert_ne!(namespace_of(t, "main", "ipc"), own_namespace("ipc"));
            }),
        case("spec.shareProcessNamespace", "the containers see each other's processes")
            .own_network()
            .spec("shareProcessNamespace: true")
            .container(part("one", "say one; exec sleep 98765"))
            .container(part(
                "two",
                "say two; while ! ps | grep -q '[s]leep 98765'; do sleep 0.1; done; echo $$ >/out/seen; stay",
            ))
            .then(|t| {
                let pid: u32 = t.content("seen").parse().unwrap();
                assert!(pid > 1, "the second container's process is not the first of its namespace");
            }),
        case("spec.shareProcessNamespace", "absent: they do not")
            .container(part("one", "say one; stay"))
            .container(part("two", "say two; stay"))
            .then(|t| {
                t.event("one");
                t.event("two");
                assert_ne!(namespace_of(t, "one", "pid"), namespace_of(t, "two", "pid"));
            }),
        case("spec.shareProcessNamespace", "a container's end does not end the others")
            .own_network()
            .spec("shareProcessNamespace: true")
            .spec("restartPolicy: Always")
            .container(part("one", "say one; sleep 0.5; exit 1"))
            .container(part("two", "say two; stay"))
            .then(|t| {
                t.nth("one", 3);
                assert_eq!((t.count("two"), t.restarts("two")), (1, 0));
            }),
        case("spec.shareProcessNamespace", "refused beside hostPID")
            .spec("shareProcessNamespace: true")
            .spec("hostPID: true")
            .main("true", "")
            .refused(&["shareProcessNamespace"]),
        case("spec.hostUsers=false", "a user namespace; where that cannot be, refused by name")
            .own_network()
            .spec("hostUsers: false")
            .main("id -u; tr -s ' ' </proc/self/uid_map", "")
            .then(|t| {
                t.until_or_refused("it ends, or is refused", || {
                    t.refusal().is_some() || t.container("main")["state"]["terminated"].is_object()
                });
                match t.refusal() {
                    Some(problems) => assert!(problems.join("\n").contains("hostUsers"), "{problems:?}"),
                    None => {
                        let out = t.logs("main");
                        let map: Vec<&str> =
                            out.lines().nth(1).unwrap_or_default().split_whitespace().collect();
                        assert!(out.starts_with("0\n") && map[0] == "0" && map[1] != "0", "{out}");
                    }
                }
            }),
    ]
}
