//! What probes ask, and how: the four kinds.

use std::process::Command;
use std::time::Duration;

use crate::bench::{Bench, host_command};
use crate::case::{Case, case};

fn asked(t: &Bench<'_>) -> Vec<(f64, String)> {
    t.web.as_ref().unwrap().asked()
}

/// The first request, once there is one.
fn request(t: &Bench<'_>) -> String {
    t.until("the probe asks", || !asked(t).is_empty());
    asked(t)[0].1.clone()
}

pub fn cases() -> Vec<Case> {
    let mut cases = http();
    cases.extend(others());
    cases
}

fn http() -> Vec<Case> {
    vec![
        case("spec.containers.readinessProbe.httpGet", "GET, with the headers of a kubelet")
            .web()
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@, path: '/health?x=1&y=2'}, periodSeconds: 1}")
            .then(|t| {
                let request = request(t);
                assert!(request.starts_with("GET /health?x=1&y=2 HTTP/1.1\r\n"), "{request}");
                let lower = request.to_lowercase();
                assert!(lower.contains("\r\nuser-agent: kube-probe/"), "{request}");
                assert!(lower.contains("\r\naccept: */*\r\n"), "{request}");
                assert!(!lower.contains("accept-encoding: gzip"), "{request}");
                t.ready();
            }),
        case("spec.containers.readinessProbe.httpGet.path", "is / when absent")
            .web()
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@}, periodSeconds: 1}")
            .then(|t| {
                let request = request(t);
                assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
            }),
        case("spec.containers.readinessProbe.httpGet.httpHeaders", "are sent, and win over the kubelet's own")
            .web()
            .main(
                "stay",
                "readinessProbe: {httpGet: {port: @PORT@, httpHeaders: [{name: X-One, value: a b}, {name: User-Agent, value: mine}, {name: Host, value: example.org}]}, periodSeconds: 1}",
            )
            .then(|t| {
                let request = request(t);
                let lower = request.to_lowercase();
                for header in ["x-one: a b", "user-agent: mine", "host: example.org"] {
                    assert!(lower.contains(&format!("\r\n{header}\r\n")), "{request}");
                }
                assert_eq!(lower.matches("\r\nuser-agent:").count(), 1, "{request}");
                t.ready();
            }),
        case("spec.containers.readinessProbe.httpGet.host", "is where it connects")
            .web()
            .main("stay", "readinessProbe: {httpGet: {host: 127.0.0.2, port: @PORT@}, periodSeconds: 1}")
            .then(|t| {
                let request = request(t);
                assert!(request.to_lowercase().contains("\r\nhost: 127.0.0.2"), "{request}");
                t.ready();
            }),
        case("spec.containers.readinessProbe.httpGet.port", "by the name of the container's port")
            .web()
            .main(
                "stay",
                "ports: [{name: other, containerPort: 1}, {name: web, containerPort: @PORT@}]
                 readinessProbe: {httpGet: {port: web}, periodSeconds: 1}",
            )
            .then(|t| t.ready()),
        case("spec.containers.readinessProbe.httpGet.port", "a name that no port has is refused")
            .main(
                "stay",
                "ports: [{name: web, containerPort: 8080}]
                 readinessProbe: {httpGet: {port: wbe}}",
            )
            .refused(&["readinessProbe.httpGet.port", "wbe"]),
        case("spec.containers.readinessProbe.httpGet", "200 to 399 are good, 400 is not")
            .web()
            .before(|t| t.web.as_ref().unwrap().reply(400, "no", &[]))
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@}, periodSeconds: 1, failureThreshold: 1}")
            .then(|t| {
                t.until("it has been asked twice", || asked(t).len() >= 2);
                assert!(!t.is_ready());
                t.web.as_ref().unwrap().reply(399, "yes", &[]);
                t.ready();
                t.web.as_ref().unwrap().reply(500, "no", &[]);
                t.until("it is not ready any more", || !t.is_ready());
            }),
        case("spec.containers.readinessProbe.httpGet", "follows a redirect to the same host")
            .web()
            .before(|t| {
                t.web.as_ref().unwrap().reply(302, "", &["Location: /elsewhere".to_owned()]);
            })
            .main("stay", "readinessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /first}, periodSeconds: 1, failureThreshold: 1}")
            .then(|t| {
                t.until("it follows", || asked(t).iter().any(|(_, r)| r.starts_with("GET /elsewhere ")));
                t.holds(1.2, "an endless redirect is a failure", || !t.is_ready());
                t.web.as_ref().unwrap().reply(200, "", &[]);
                t.ready();
            }),
        case("spec.containers.readinessProbe.httpGet", "a redirect to another host is good, and not followed")
            .web()
            .before(|t| {
                let web = t.web.as_ref().unwrap();
                let location = format!("Location: http://127.0.0.3:{}/elsewhere", web.port);
                web.reply(302, "", &[location]);
            })
            .main("stay", "readinessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /first}, periodSeconds: 1}")
            .then(|t| {
                t.ready();
                assert!(!asked(t).iter().any(|(_, r)| r.starts_with("GET /elsewhere ")), "{:?}", asked(t));
            }),
        case("spec.containers.readinessProbe.httpGet.scheme=HTTPS", "with a certificate that nobody has signed")
            .before(|t| {
                let file = |name: &str| t.dir.join(name).to_string_lossy().into_owned();
                let (key, cert) = (file("key.pem"), file("cert.pem"));
                host_command(
                    "openssl",
                    &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", &key, "-out", &cert, "-subj", "/CN=nobody", "-days", "1"],
                );
                let port = t.port.to_string();
                t.run_beside(Command::new("openssl").args(["s_server", "-quiet", "-www", "-accept", &port, "-key", &key, "-cert", &cert]));
            })
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@, scheme: HTTPS, host: 127.0.0.1}, periodSeconds: 1}")
            .then(|t| t.ready()),
        case("spec.containers.readinessProbe.timeoutSeconds", "a reply that takes longer is a failure")
            .web()
            .before(|t| t.web.as_ref().unwrap().delay(Duration::from_millis(2500)))
            .main("stay", "readinessProbe: {httpGet: {port: @PORT@}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}")
            .then(|t| {
                t.until("it is asked", || asked(t).len() >= 2);
                t.holds(2.0, "it is not ready", || !t.is_ready());
                t.web.as_ref().unwrap().delay(Duration::ZERO);
                t.ready();
            }),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case("spec.containers.readinessProbe.tcpSocket", "connecting is good")
            .web()
            .main("stay", "readinessProbe: {tcpSocket: {port: @PORT@}, periodSeconds: 1}")
            .then(|t| t.ready()),
        case("spec.containers.readinessProbe.tcpSocket", "a refused connection is not; the port may open later")
            .main(
                "while ! [ -e /out/go ]; do sleep 0.1; done; exec nc -ll -p @PORT@ -e true",
                "readinessProbe: {tcpSocket: {port: @PORT@}, periodSeconds: 1, failureThreshold: 1}",
            )
            .then(|t| {
                t.phase("Running");
                t.holds(2.0, "it is not ready", || !t.is_ready());
                t.write("go", "");
                t.ready();
            }),
        case("spec.containers.readinessProbe.exec", "with the container's user, variables, directory and files")
            .main(
                "echo of the container >/dev/shm/mark; stay",
                "env: [{name: WORD, value: hello}]
                 workingDir: /dev/shm
                 securityContext: {runAsUser: 1234}
                 readinessProbe: {exec: {command: [sh, -c, 'echo $(id -u) $WORD $PWD $(cat mark) >/out/seen; test -e mark']}, periodSeconds: 1}",
            )
            .then(|t| {
                t.ready();
                assert_eq!(t.content("seen"), "1234 hello /dev/shm of the container");
            }),
        case("spec.containers.readinessProbe.exec", "one that takes too long has failed, and is ended")
            .main(
                "stay",
                "readinessProbe: {exec: {command: [sh, -c, 'echo x >>/out/asked; exec sleep 987']}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}",
            )
            .then(|t| {
                t.until("it is asked again", || t.file("asked").lines().count() >= 3);
                assert!(!t.is_ready());
            }),
        case("spec.containers.readinessProbe.exec.command", "$(VAR) is expanded from the variables with a value")
            .main(
                "stay",
                "env: [{name: WORD, value: hello}]
                 readinessProbe: {exec: {command: [sh, -c, 'echo \"$1\" >/out/seen', sh, '<$(WORD)> $$(WORD)']}, periodSeconds: 1}",
            )
            .then(|t| assert_eq!(t.content("seen"), "<hello> $(WORD)")),
        case("spec.containers.readinessProbe.grpc", "SERVING is good")
            .web()
            .before(|t| t.web.as_ref().unwrap().serves(Some("")))
            .main("stay", "readinessProbe: {grpc: {port: @PORT@}, periodSeconds: 1}")
            .then(|t| {
                t.ready();
                assert_eq!(asked(t)[0].1, "");
            }),
        case("spec.containers.readinessProbe.grpc", "NOT_SERVING is not")
            .web()
            .main("stay", "readinessProbe: {grpc: {port: @PORT@}, periodSeconds: 1, failureThreshold: 1}")
            .then(|t| {
                t.until("it is asked", || asked(t).len() >= 2);
                assert!(!t.is_ready());
                t.web.as_ref().unwrap().serves(Some(""));
                t.ready();
            }),
        case("spec.containers.readinessProbe.grpc.service", "is asked for by name")
            .web()
            .before(|t| t.web.as_ref().unwrap().serves(Some("liveness")))
            .main("stay", "readinessProbe: {grpc: {port: @PORT@, service: liveness}, periodSeconds: 1}")
            .then(|t| {
                t.ready();
                assert_eq!(asked(t)[0].1, "liveness");
            }),
        case("spec.containers.livenessProbe.grpc", "a server that speaks something else is a failure")
            .spec("restartPolicy: Always")
            .main(
                "trap 'say term; exit 0' TERM; say main; exec_nc() { nc -ll -p @PORT@ -e echo nonsense & wait $!; }; exec_nc",
                "livenessProbe: {grpc: {port: @PORT@}, periodSeconds: 1, failureThreshold: 1}",
            )
            .then(|t| {
                t.nth("main", 2);
            }),
        case("spec.containers.readinessProbe", "two handlers are refused")
            .main("stay", "readinessProbe: {tcpSocket: {port: 80}, exec: {command: ['true']}}")
            .refused(&["readinessProbe"]),
        case("spec.containers.readinessProbe", "no handler is refused")
            .main("stay", "readinessProbe: {periodSeconds: 1}")
            .refused(&["readinessProbe"]),
    ]
}
