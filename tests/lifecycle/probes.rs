//! Liveness, readiness and startup probes.

use std::fs;
use std::time::Duration;

use crate::common::yaml::{canary, one};
use crate::common::{host, instance};

fn touch(i: &crate::common::Instance, file: &str) {
    fs::write(i.shared.join(file), "").unwrap();
}

#[test]
fn a_failing_exec_liveness_probe_restarts_the_container() {
    let Some(mut i) = instance() else { return };
    touch(&i, "alive");
    let probe =
        "livenessProbe: {exec: {command: [test, -f, /shared/alive]}, periodSeconds: 1, failureThreshold: 2}";
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[probe]));
    i.start();
    let first = i.until_ready("web");
    i.holds_for(Duration::from_secs(3), "a good probe restarts nothing", |i| i.lines("web").len() == 1);
    fs::remove_file(i.shared.join("alive")).unwrap();
    i.until("it is told to end, and started again", |i| i.lines("web").len() >= 3);
    touch(&i, "alive");
    assert!(!host::alive(first));
    i.until("the restart is counted", |i| i.restarts("web", "main") >= 1 && i.ready("web"));
    let words: Vec<_> = i.lines("web").iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(words[..3], ["start", "term", "start"], "TERM first, with its grace");
}

#[test]
fn a_failing_http_liveness_probe_restarts_the_container() {
    let Some(mut i) = instance() else { return };
    let port = host::free_port();
    fs::create_dir(i.shared.join("www")).unwrap();
    fs::write(i.shared.join("www/ok.html"), "fine\n").unwrap();
    let script = format!("echo start >>/shared/web; exec httpd -f -p 127.0.0.1:{port} -h /shared/www");
    let extra = [
        format!("ports: [{{name: web, containerPort: {port}}}]"),
        "livenessProbe: {httpGet: {host: 127.0.0.1, path: /ok.html, port: web}, periodSeconds: 1, failureThreshold: 2}"
            .to_owned(),
        format!("readinessProbe: {{tcpSocket: {{host: 127.0.0.1, port: {port}}}, periodSeconds: 1}}"),
    ];
    let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
    i.write_manifest("web.yaml", &one(&i, "web", &script, &extra));
    i.start();
    i.until_ready("web");
    i.holds_for(Duration::from_secs(3), "a good probe restarts nothing", |i| i.lines("web").len() == 1);
    // httpd answers 404 from now on.
    fs::rename(i.shared.join("www/ok.html"), i.shared.join("ok.html")).unwrap();
    i.until("it is started again", |i| i.lines("web").len() >= 2);
    fs::rename(i.shared.join("ok.html"), i.shared.join("www/ok.html")).unwrap();
    i.until("the restart is counted", |i| i.restarts("web", "main") >= 1 && i.ready("web"));
}

#[test]
fn a_probe_that_takes_too_long_has_failed() {
    let Some(mut i) = instance() else { return };
    let probe = "livenessProbe: {exec: {command: [sleep, '100']}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}";
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[probe]));
    i.start();
    i.until("it is started again", |i| i.lines("web").iter().filter(|l| l.starts_with("start")).count() >= 2);
}

#[test]
fn readiness_follows_its_probe_and_restarts_nothing() {
    let Some(mut i) = instance() else { return };
    let probe =
        "readinessProbe: {exec: {command: [test, -f, /shared/ready]}, periodSeconds: 1, failureThreshold: 1}";
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[probe]));
    i.start();
    i.until("it runs", |i| i.running_pid("web", "main").is_some());
    i.holds_for(Duration::from_secs(3), "it is not ready", |i| !i.ready("web"));
    let row = |i: &crate::common::Instance| {
        let table = i.cli_ok("status", &[]);
        table
            .lines()
            .find(|l| l.contains("web"))
            .unwrap_or_else(|| panic!("no row for web:\n{table}"))
            .to_owned()
    };
    assert!(row(&i).contains("0/1"), "{}", row(&i));
    touch(&i, "ready");
    i.until("it is ready", |i| i.ready("web"));
    assert!(row(&i).contains("1/1"), "{}", row(&i));
    fs::remove_file(i.shared.join("ready")).unwrap();
    i.until("it is not ready any more", |i| !i.ready("web"));
    assert_eq!(i.restarts("web", "main"), 0);
    assert_eq!(i.lines("web").len(), 1);
}

#[test]
fn startup_gates_liveness_and_readiness() {
    let Some(mut i) = instance() else { return };
    let extra = [
        "startupProbe: {exec: {command: [test, -f, /shared/started]}, periodSeconds: 1, failureThreshold: 100}",
        "livenessProbe: {exec: {command: [test, -f, /shared/alive]}, periodSeconds: 1, failureThreshold: 1}",
    ];
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &extra));
    i.start();
    i.until("it runs", |i| i.running_pid("web", "main").is_some());
    i.holds_for(Duration::from_secs(4), "liveness is not asked yet", |i| i.lines("web").len() == 1);
    let main = i.container("web", "main").unwrap();
    assert_eq!((main.started, main.ready), (Some(false), false));
    touch(&i, "started");
    i.until("liveness is asked, and fails", |i| i.lines("web").iter().any(|l| l.starts_with("term")));
    touch(&i, "alive");
    i.until("it is ready", |i| i.restarts("web", "main") >= 1 && i.ready("web"));
    assert_eq!(i.container("web", "main").unwrap().started, Some(true));
}

#[test]
fn a_failing_startup_probe_restarts_the_container() {
    let Some(mut i) = instance() else { return };
    let probe = "startupProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 2}";
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[probe]));
    i.start();
    i.until("it is told to end, and started again", |i| i.lines("web").len() >= 3);
    assert!(!i.ready("web"));
}

#[test]
fn probe_state_survives_the_daemon() {
    let Some(mut i) = instance() else { return };
    touch(&i, "started");
    let extra = [
        "startupProbe: {exec: {command: [test, -f, /shared/started]}, periodSeconds: 1, failureThreshold: 1}",
        "readinessProbe: {exec: {command: [test, -f, /shared/started]}, periodSeconds: 1, failureThreshold: 1}",
    ];
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &extra));
    i.start();
    let pid = i.until_ready("web");
    i.kill9();
    i.start();
    assert_eq!(i.until_ready("web"), pid);
    // Startup has succeeded once; were it asked again, it would fail now and the container would be killed.
    fs::remove_file(i.shared.join("started")).unwrap();
    i.until("readiness is asked", |i| !i.ready("web"));
    i.holds_for(Duration::from_secs(3), "startup is not asked again", |_| host::alive(pid));
}
