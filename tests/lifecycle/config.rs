//! `--config`: options from a file, ours or a kubelet's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::common::yaml::{canary, one};
use crate::common::{assert_exit, host, instance, podstrap, text};

#[test]
fn a_kubelet_configuration_tells_where_the_manifests_are() {
    let Some(mut i) = instance() else { return };
    let port = host::free_port();
    let other = i.dir.join("static");
    std::fs::create_dir(&other).unwrap();
    let config = i.dir.join("kubelet.yaml");
    let text = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {{}}\n\
         fileCheckFrequency: 0s\nstaticPodPath: {}\nhealthzPort: {port}\n",
        other.display()
    );
    std::fs::write(&config, text).unwrap();
    i.args(&["--config", config.to_str().unwrap()]);
    // The command line, which names another directory, counts more.
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    std::fs::write(other.join("not.yaml"), one(&i, "not", &canary("not"), &[])).unwrap();
    i.start();
    i.until_ready("web");
    assert!(i.pod("not").is_none());
    let log = std::fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.contains("kubelet.yaml: not used here: authentication\n"), "{log}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[test]
fn a_bad_file_is_a_usage_error_that_names_it() {
    let Some(i) = instance() else { return };
    let config = i.dir.join("podstrap.yaml");
    let head = "apiVersion: podstrap.io/v1\nkind: PodstrapConfiguration\n";
    for (lines, words) in [
        ("rescan: soon\n", "podstrap.yaml:3: rescan: \"soon\": expected a duration"),
        (
            "nodeName: n\nreskan: 1s\n",
            "podstrap.yaml:4: reskan: there is no such option; did you mean rescan?",
        ),
        ("rescan: 0.1\n", "--rescan"),
        ("rescan: [\n", "podstrap.yaml: "),
    ] {
        std::fs::write(&config, format!("{head}{lines}")).unwrap();
        let output = Command::new(podstrap()).args(["run", "--config"]).arg(&config).output().unwrap();
        assert_exit(&output, 2);
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    let output = Command::new(podstrap()).args(["run", "--config", "/no/such"]).output().unwrap();
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("/no/such: cannot be read"), "{}", text(&output.stderr));
}
