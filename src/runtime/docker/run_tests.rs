//! Whole command lines, as docker gets them.

use super::super::super::bundle::tests::pod;
use super::*;
use crate::pod::quantity::{Bytes, MilliCpu};
use crate::pod::{Mount, Port, VolumeName};
use crate::runtime::HostFiles;
use crate::runtime::docker::CgroupDriver;
use crate::runtime::docker::pause::PauseParts;

const HOST: Host = Host {
    capabilities: (1 << 41) - 1,
    open_files: 4096,
    oom_score_adj: 0,
    memory: 1 << 30,
    cgroup_v2: false,
    files: HostFiles { hosts: None, hostname: None, resolv_conf: None, termination_message: None, shm: None },
    devices: Vec::new(),
    page_sizes: Vec::new(),
    app_armor: None,
    selinux: false,
    kernel: (6, 1),
};

fn docker(flavour: Flavour) -> Docker {
    Docker { flavour, ..Docker::new("/usr/bin/docker".into()) }
}

fn made(
    docker: &Docker,
    pod: &Pod,
    host: &Host,
    variables: &[(String, String)],
    sources: &[Source],
) -> RunLine {
    try_made(docker, pod, host, variables, sources).unwrap()
}

fn try_made(
    docker: &Docker,
    pod: &Pod,
    host: &Host,
    variables: &[(String, String)],
    sources: &[Source],
) -> Result<RunLine, RunError> {
    let container = pod.containers.first().unwrap();
    let (id, name) = (ContainerId::new("g-c-0"), name(pod, "c", 2));
    let parts = RunParts {
        pod,
        container,
        attempt: 2,
        id: &id,
        name: &name,
        run_dir: Path::new("/r"),
        pause: (!pod.host_network).then_some("abc"),
        user: Some("5:6"),
        is_root: false,
        variables,
        host_name: "p-host1",
        profile: None,
        sources,
        host,
        processes: 100,
        cgroup_root: "podstrap",
        log: Path::new("/l/2.log"),
        log_max_bytes: 10,
        log_max_files: 3,
        id_file: Path::new("/a/id"),
        env_file: Path::new("/a/env"),
    };
    docker.run(&parts, "box")
}

fn words(line: &CommandLine) -> String {
    line.args.iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_container_of_a_pod_with_a_network_of_its_own() {
    let mut pod = pod();
    pod.labels.insert("app".into(), "x".into());
    let c = pod.containers.first_mut().unwrap();
    c.command = vec!["sh".into(), "-c".into()];
    c.args = vec!["echo $(V)".into()];
    c.read_only_root = true;
    c.allow_privilege_escalation = false;
    c.cap_drop = vec!["ALL".into()];
    c.cap_add = vec!["NET_ADMIN".into()];
    c.resources.cpu_limit = Some(MilliCpu(500));
    c.resources.memory_limit = Some(Bytes(8 << 20));
    c.mounts = vec![Mount {
        volume: VolumeName::new("v"),
        path: "/a,b".into(),
        read_only: true,
        propagation: Propagation::HostToContainer,
        recursive_read_only: false,
        sub_path: None,
    }];
    let variables = [("V".to_owned(), "1".to_owned()), ("LINES".to_owned(), "a\nb".to_owned())];
    let source = Source { path: "/host/\"v\"".into(), ..Source::default() };
    let made = made(&docker(Flavour::Docker), &pod, &HOST, &variables, &[source]);
    assert_eq!(
        words(&made.line),
        "run --detach --pull never --restart no --no-healthcheck --name k8s_c_p-host1_ns_u1_2 --cidfile /a/id \
         --label io.kubernetes.pod.namespace=ns --label io.kubernetes.pod.name=p-host1 --label io.kubernetes.pod.uid=u1 \
         --label io.podstrap.run-dir=/r --label io.podstrap.generation=0123456789abcdef0123456789abcdef \
         --label io.podstrap.id=g-c-0 --label io.kubernetes.docker.type=container --label io.kubernetes.container.name=c \
         --label io.kubernetes.container.logpath=/l/2.log --label io.kubernetes.sandbox.id=abc \
         --label annotation.io.kubernetes.container.restartCount=2 \
         --label annotation.io.kubernetes.container.terminationMessagePath=/dev/termination-log \
         --label annotation.io.kubernetes.container.terminationMessagePolicy=File \
         --label annotation.io.kubernetes.pod.terminationGracePeriod=30 \
         --log-driver json-file --log-opt max-size=10 --log-opt max-file=3 --log-opt compress=false \
         --network container:abc --ipc container:abc --read-only --user 5:6 --security-opt no-new-privileges \
         --cap-drop ALL --cap-add NET_ADMIN --security-opt seccomp=unconfined --cpu-shares 512 --cpu-period 100000 \
         --cpu-quota 50000 --memory 8388608 --memory-swap 8388608 \
         --cgroup-parent /podstrap/pod0123456789abcdef0123456789abcdef --ulimit nofile=1048576:1048576 \
         --oom-score-adj 999 \
         --mount type=bind,\"source=/host/\"\"v\"\"\",\"target=/a,b\",bind-propagation=rslave,readonly \
         --env-file /a/env --env LINES --entrypoint sh -- box -c echo 1"
    );
    assert_eq!(made.env_file, "HOSTNAME=p-host1\nV=1\n");
    assert_eq!(made.line.env, [("HOME".into(), "/root".into()), ("LINES".into(), "a\nb".into())]);
    assert_eq!(made.line.deadline_ms, Some(180_000));
}

#[test]
fn hosts_namespaces_users_of_podman_and_systemds_slices() {
    let mut pod = pod();
    pod.host_network = true;
    pod.host_pid = true;
    let mut podman = docker(Flavour::Podman);
    podman.cgroups = CgroupDriver::Systemd;
    let text = words(&made(&podman, &pod, &HOST, &[], &[]).line);
    assert!(text.contains("--network host --uts host --shm-size 67108864 --pid host"), "{text}");
    assert!(text.contains("--cgroup-parent podstrap-pod0123456789abcdef0123456789abcdef.slice"), "{text}");
    assert!(text.contains("--log-driver k8s-file --log-opt path=/l/2.log"), "{text}");
    pod.sysctls = vec![("kernel.shm_rmid_forced".into(), "1".into())];
    let text = words(&made(&podman, &pod, &HOST, &[], &[]).line);
    assert!(text.contains("--shm-size 67108864 --sysctl kernel.shm_rmid_forced=1 --pid host"), "{text}");
    // What is added by name would be this user's at once.
    assert!(!text.contains("--cap-add") && !text.contains("--cap-drop"), "{text}");
    pod.containers.first_mut().unwrap().cap_drop = vec!["KILL".into()];
    pod.containers.first_mut().unwrap().cap_add = vec!["NET_RAW".into(), "SYS_TIME".into()];
    let text = words(&made(&podman, &pod, &HOST, &[], &[]).line);
    assert!(text.contains("--cap-drop KILL --cap-add NET_RAW --cap-add SYS_TIME --security"), "{text}");
}

#[test]
fn what_the_cli_would_take_for_its_own_goes_by_file_or_not_at_all() {
    let pod = pod();
    let line = |name: &str, value: &str| {
        let container = pod.containers.first().unwrap();
        let (id, all) = (ContainerId::new("i"), [(name.to_owned(), value.to_owned())]);
        let parts = RunParts {
            pod: &pod,
            container,
            attempt: 0,
            id: &id,
            name: "n",
            run_dir: Path::new("/r"),
            pause: None,
            user: None,
            is_root: true,
            variables: &all,
            host_name: "h",
            profile: None,
            sources: &[],
            host: &HOST,
            processes: 1,
            cgroup_root: "p",
            log: Path::new("/l"),
            log_max_bytes: 1,
            log_max_files: 1,
            id_file: Path::new("/i"),
            env_file: Path::new("/e"),
        };
        docker(Flavour::Docker).run(&parts, "box")
    };
    let made = line("DOCKER_HOST", "tcp://x").unwrap();
    assert_eq!(made.env_file, "HOSTNAME=h\nDOCKER_HOST=tcp://x\n");
    assert_eq!(made.line.env.len(), 1);
    let error = line("LD_PRELOAD", "a\nb").unwrap_err().to_string();
    assert!(error.contains("\"LD_PRELOAD\" is a setting of the docker CLI itself"), "{error}");
}

#[test]
fn the_pause_container_and_its_ports() {
    let mut pod = pod();
    pod.labels.insert("io.podstrap.id".into(), "not mine".into());
    pod.sysctls = vec![("net.ipv4.tcp_fin_timeout".into(), "5".into())];
    let port = |host_port, ip: Option<&str>, protocol: &str| Port {
        name: None,
        container_port: 80,
        host_port: Some(host_port),
        host_ip: ip.map(str::to_owned),
        protocol: protocol.to_owned(),
    };
    pod.containers.first_mut().unwrap().ports =
        vec![port(8080, None, "TCP"), port(8081, Some("::1"), "UDP"), port(0, None, "TCP")];
    let parts = PauseParts {
        name: "k",
        run_dir: Path::new("/r"),
        host_name: "h",
        own_network: true,
        cgroup_root: "podstrap",
        open_files: 4096,
        processes: 50,
        oom_score_adj: -998,
        id_file: Path::new("/i"),
    };
    let text = words(&docker(Flavour::Docker).run_pause(&pod, &parts, "podstrap-pause:1"));
    assert!(
        text.find("io.podstrap.id=not mine") < text.find("io.podstrap.id=0123456789abcdef"),
        "ours is the last"
    );
    assert!(
        text.contains("--network bridge --hostname h --publish 8080:80/tcp --publish [::1]:8081:80/udp"),
        "{text}"
    );
    assert!(
        text.contains("--ipc shareable --shm-size 67108864 --sysctl net.ipv4.tcp_fin_timeout=5"),
        "{text}"
    );
    assert!(text.ends_with("--entrypoint /podstrap -- podstrap-pause:1 pause container"), "{text}");
}

/// `--entrypoint ""` has docker run the arguments, or what the image names.
#[test]
fn a_program_of_which_its_variables_leave_nothing_is_refused() {
    let mut pod = pod();
    pod.containers.first_mut().unwrap().command = vec!["$(W)".into(), "/bin/app".into()];
    let run =
        |value: &str| try_made(&docker(Flavour::Docker), &pod, &HOST, &[("W".into(), value.into())], &[]);
    let refused = run("").unwrap_err().to_string();
    assert!(
        refused.starts_with("command: the program is \"$(W)\", and nothing is left of that"),
        "{refused}"
    );
    assert!(words(&run("nice").unwrap().line).contains("--entrypoint nice -- box /bin/app"));
}
