//! The Pod's network: the host's, its own, and one on a CNI bridge.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::bench::Bench;
use crate::case::{Case, case, part};

fn net(t: &Bench<'_>, container: &str) -> String {
    fs::read_link(format!("/proc/{}/ns/net", t.pid(container))).unwrap().to_string_lossy().into_owned()
}

fn own_net() -> String {
    fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned()
}

/// A GET, and the whole answer; empty where nobody answers.
fn get(address: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let mut answer = String::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let _ = stream.write_all(b"GET /word HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
    answer
}

/// Serves the word `hello` at port 80, or another one.
fn server(port: &str) -> String {
    format!("mkdir /www; echo hello >/www/word; say main; exec httpd -f -p {port} -h /www")
}

const ADDRESS: &str = "ip -o -4 addr show dev eth0 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.hostNetwork", "the host's network").main("say main; stay", "").then(|t| {
            t.event("main");
            assert_eq!(net(t, "main"), own_net());
        }),
        case("spec.hostNetwork", "absent: one of its own, with loopback")
            .own_network()
            .main("ip -o addr show dev lo | grep -o 'inet 127.0.0.1/8'; ip link show dev lo | grep -o '[<,]UP[,>]' | tr -d '<,>'; say main; stay", "")
            .then(|t| {
                t.event("main");
                assert_ne!(net(t, "main"), own_net());
                assert_eq!(t.logs("main").trim(), "inet 127.0.0.1/8\nUP");
            }),
        case("spec.hostNetwork", "absent: the containers of the Pod share it")
            .own_network()
            .container(part("server", &server("127.0.0.1:8080")))
            .container(part("client", "until wget -q -O - http://127.0.0.1:8080/word; do sleep 0.2; done"))
            .prints("client", "hello"),
        case("spec.hostNetwork", "absent: init containers share it, too")
            .own_network()
            .init(part("init", "readlink /proc/self/ns/net >/out/init"))
            .main("readlink /proc/self/ns/net", "")
            .output(|t, out| assert_eq!(out.trim(), t.content("init"))),
        case("spec.hostNetwork", "absent: it is kept over restarts of the containers")
            .own_network()
            .spec("restartPolicy: OnFailure")
            .main("say main; readlink /proc/self/ns/net >>/out/seen; [ $(grep -c main /out/events) -ge 3 ]", "")
            .phase("Succeeded")
            .then(|t| {
                let seen = t.file("seen");
                let lines: Vec<&str> = seen.lines().collect();
                assert!(lines.len() == 3 && lines.iter().all(|l| *l == lines[0]), "{seen}");
            }),
        case("spec.hostNetwork", "absent: two Pods with the same port do not meet")
            .own_network()
            .main(&server("127.0.0.1:8080"), "")
            .then(|t| {
                t.ready();
                assert_eq!(get("127.0.0.1:8080"), "", "not at the host's loopback");
            }),
        case("spec.containers.ports.hostPort", "refused when it is not the container's under hostNetwork")
            .main("true", "ports: [{containerPort: 80, hostPort: 81}]")
            .refused(&["hostPort"]),
        case("spec.containers.ports.hostPort", "refused, with what is missing, without a network to map it")
            .own_network()
            .main("say main", "ports: [{containerPort: 80, hostPort: @PORT@}]")
            .then(|t| {
                t.until_or_refused("it is told", || {
                    let text = t.status().map(|s| serde_json::to_string(&s).unwrap()).unwrap_or_default();
                    (text + &t.refusal().unwrap_or_default().join(" ")).contains("hostPort")
                });
                t.until_or_refused("with the plugin that maps ports", || {
                    let message = t.status().and_then(|s| s.message).unwrap_or_default();
                    (message + &t.refusal().unwrap_or_default().join(" ")).contains("portmap")
                        || t.status().is_some_and(|s| s.message.is_some_and(|m| m.contains("CNI")))
                });
                assert_eq!(t.count("main"), 0);
            }),
    ];
    cases.extend(bridge());
    cases
}

/// Whether the host can translate addresses, which the portmap plugin does.
fn translates() -> bool {
    Command::new("iptables").args(["-t", "nat", "-S"]).output().is_ok_and(|o| o.status.success())
}

fn bridge() -> Vec<Case> {
    vec![
        case("status.podIP", "on a bridge: the address that the container has")
            .bridge()
            .main(ADDRESS, "")
            .output(|t, out| {
                assert!(out.starts_with("198.18."), "{out}");
                assert_eq!(t.at("/status/podIP"), out.trim());
                assert_eq!(t.at("/status/podIPs/0/ip"), out.trim());
                assert_ne!(t.at("/status/hostIP"), out.trim());
            }),
        case("spec.containers.env.valueFrom.fieldRef", "status.podIP on a bridge, and in /etc/hosts")
            .bridge()
            .main(
                &format!("[ \"$IP\" = \"$({ADDRESS})\" ] && echo same; grep -F \"$IP\" /etc/hosts | cut -f2-"),
                "env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]",
            )
            .says("same\n@NAME@-node1"),
        case("spec.hostNetwork", "on a bridge: the host reaches the Pod").bridge().main(&server("80"), "").then(|t| {
            t.ready();
            let ip = t.at("/status/podIP").as_str().unwrap_or_default().to_owned();
            t.until("it answers", || get(&format!("{ip}:80")).ends_with("hello\n"));
        }),
        case("spec.hostNetwork", "on a bridge: two Pods reach each other")
            .bridge()
            .main(&format!("{ADDRESS} >/out/.ip; mv /out/.ip /out/ip; {}", server("80")), "")
            .document(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: '@NAME@-client'}\nspec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: localhost/busybox:test\n    imagePullPolicy: IfNotPresent\n    command: [sh, -c, 'while ! [ -e /out/ip ]; do sleep 0.1; done; until wget -q -O /out/got http://$$(cat /out/ip)/word; do sleep 0.2; done']\n    volumeMounts: [{name: out, mountPath: /out}]\n  volumes:\n  - {name: out, hostPath: {path: '@DIR@'}}",
            )
            .then(|t| t.until("the other Pod has it", || t.file("got") == "hello\n")),
        case("spec.containers.readinessProbe.httpGet.host", "absent, on a bridge: the Pod's address")
            .bridge()
            .main(&server("8080"), "readinessProbe: {httpGet: {port: 8080, path: /word}, periodSeconds: 1}")
            .then(|t| t.ready()),
        case("spec.containers.readinessProbe.tcpSocket", "on a bridge: loopback alone is not reached")
            .bridge()
            .main(
                &server("127.0.0.1:8080"),
                "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 1}",
            )
            .then(|t| {
                t.event("main");
                t.holds(2.5, "it is not ready", || !t.is_ready());
            }),
        case("spec.containers.ports.hostPort", "leads to the Pod; where the host cannot map it, that is told")
            .bridge()
            .main(&server("80"), "ports: [{containerPort: 80, hostPort: @PORT@}]")
            .then(|t| {
                if translates() {
                    t.ready();
                    let ip = t.at("/status/hostIP").as_str().unwrap_or_default().to_owned();
                    t.until("it answers", || get(&format!("{ip}:{}", t.port)).ends_with("hello\n"));
                    t.remove();
                    t.gone();
                    t.until("the port is closed", || get(&format!("{ip}:{}", t.port)).is_empty());
                } else {
                    t.until("the plugin's words are told", || {
                        t.status().and_then(|s| s.message).is_some_and(|m| m.contains("portmap") || m.contains("iptables"))
                    });
                    assert_eq!(t.count("main"), 0);
                }
            }),
        case("spec.hostNetwork", "on a bridge: the address is given back with the Pod")
            .bridge()
            .main("trap 'exit 0' TERM; say main; stay", "")
            .then(|t| {
                t.event("main");
                t.ready();
                let ip = t.at("/status/podIP").as_str().unwrap_or_default().to_owned();
                let lease = t.instance.dir.join("cni/leases/conformance").join(&ip);
                assert!(lease.exists(), "{} is leased", lease.display());
                t.remove();
                t.gone();
                t.until("it is given back", || !lease.exists());
            }),
        case("spec.hostNetwork", "on a bridge: a Pod of the host's network is not on it")
            .host_beside_bridge()
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                assert_eq!(net(t, "main"), own_net());
                assert_eq!(t.at("/status/podIP"), t.at("/status/hostIP"));
            }),
    ]
}
