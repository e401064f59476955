//! A log that a real dockerd writes and rotates, followed to its end and beyond: nothing is lost, nothing comes twice.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::common::host;
use crate::fixture::{Fixture, container, pod, running};
use podstrap::monitor::json_log::convert;
use serde_json::json;

/// A container of an image made here, both removed in the end.
struct Docker {
    socket: String,
    name: String,
}

impl Docker {
    fn run(&self, args: &[&str], stdin: Stdio) -> Output {
        let docker = host::find("docker").expect("this test needs docker");
        Command::new(docker).args(["-H", &self.socket]).args(args).stdin(stdin).output().unwrap()
    }

    fn say(&self, args: &[&str]) -> String {
        let output = self.run(args, Stdio::null());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn import(&self, f: &Fixture) {
        let bin = f.root.join("image/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).expect("this test needs busybox-static");
        for tool in ["sh", "head", "tr", "usleep"] {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(f.root.join("image")).args(["-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let import = self.run(&["import", "-", &self.name], tar.stdout.take().unwrap().into());
        assert!(tar.wait().unwrap().success() && import.status.success(), "{import:?}");
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.run(&["rm", "--force", &self.name], Stdio::null());
        self.run(&["rmi", "--force", &self.name], Stdio::null());
    }
}

#[test]
fn a_log_of_dockers_is_followed_without_a_gap() {
    if let Some(reason) = host::engine::missing("docker") {
        return host::skip(&reason);
    }
    let socket = host::engine::docker_socket();
    let f = Fixture::new();
    let _lock = f.daemon();
    let entry = pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]);
    f.write(&entry);
    let dir = f.logs(&entry, "etcd");
    let name = format!("podstrap-log-{}", std::process::id());
    let docker = Docker { socket: format!("unix://{}", socket.display()), name: name.clone() };
    docker.import(&f);
    // To a file: a reader who does not keep up loses what is rotated away.
    let followed = f.root.join("followed");
    let mut follower = f.command(&["logs", "-f", "etcd"]);
    let mut follower = follower.stdout(File::create(&followed).unwrap()).spawn().unwrap();
    let script = "i=0; while [ $i -lt 3000 ]; do echo \"line $i <&> of many\"; i=$((i+1)); \
                  [ $((i % 10)) = 0 ] && usleep 2000; done; \
                  head -c 40000 /dev/zero | tr '\\0' y; echo; printf end";
    let limits = ["--log-driver", "json-file", "--log-opt", "max-size=60k", "--log-opt", "max-file=5"];
    let run = ["run", "--detach", "--network", "none", "--name", &name];
    docker.say(&[&run[..], &limits, &[&name, "sh", "-c", script]].concat());
    let json_log = PathBuf::from(docker.say(&["inspect", "-f", "{{.LogPath}}", &name]));
    let log = dir.join("0.log");
    symlink(&json_log, &log).unwrap();
    assert_eq!(docker.say(&["wait", &name]), "0");
    let theirs = f.run(&["logs", "etcd"]).out;
    let tail = f.run(&["logs", "etcd", "--timestamps", "--tail", "700"]).out;
    convert(&json_log, &log, 50_000, 20).unwrap();
    docker.say(&["rm", &name]);
    // The last line has got its end, and counts.
    assert_eq!(f.run(&["logs", "etcd"]).out, format!("{theirs}\n"));
    assert_eq!(f.run(&["logs", "etcd", "--timestamps", "--tail", "701"]).out, format!("{tail}\n"));
    assert!(fs::read_dir(&dir).unwrap().count() > 2);

    let mut expected: String = (0..3000).map(|i| format!("line {i} <&> of many\n")).collect();
    expected.push_str(&format!("{}\nend\n", "y".repeat(40_000)));
    f.remove(&entry);
    assert!(follower.wait().unwrap().success());
    let seen = fs::read_to_string(followed).unwrap();
    assert!(theirs.len() < expected.len(), "docker has rotated too little for this test");
    let differs = seen.lines().zip(expected.lines()).find(|(seen, expected)| seen != expected);
    assert!(seen == expected, "{} of {} bytes; {differs:?}", seen.len(), expected.len());
}
