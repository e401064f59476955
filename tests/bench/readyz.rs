//! The control plane of kubeadm: how long until its apiserver is ready, by podstrap and with the same programs started by hand.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::common::{SOON, assert_exit, host, podstrap, runtime_name};
use crate::plane::{ADDRESS, PODS, Plane, START, plane};
use crate::sample::{Bound, Line, Unit};

/// In turn.
pub fn readyz(effort: &Effort) -> Vec<Line> {
    let mut plane = plane().expect("it can be had");
    plane.load();
    let (mut ours, mut by_hand) = (vec![], vec![]);
    for n in 0..effort.few {
        for turn in [n, n + 1] {
            match turn % 2 {
                0 => ours.push(plane.readyz_by_podstrap().as_secs_f64()),
                _ => by_hand.push(plane.readyz_by_hand().as_secs_f64()),
            }
        }
    }
    let line = Line::of("podstrap run → kube-apiserver's /readyz", Unit::Time, ours);
    vec![line.against("the four programs by hand", by_hand).bound(Bound::Times(1.10))]
}

impl Plane {
    /// Loads the images, so that nothing is unpacked while the clock runs.
    fn load(&self) {
        for pod in PODS {
            let output = Command::new(podstrap())
                .args(["image", "load", "--runtime", runtime_name()])
                .args(self.i.docker.iter().flat_map(|cli| ["--docker-binary".into(), cli.clone()]))
                .arg("--state-dir")
                .arg(&self.i.state)
                .arg("--run-dir")
                .arg(&self.i.run)
                .arg(self.i.images_dir().join(format!("{pod}.tar")))
                .output()
                .unwrap();
            assert_exit(&output, 0);
        }
    }

    /// With the commands of the manifests started by hand, as processes of the node.
    fn readyz_by_hand(&self) -> Duration {
        self.forget();
        let began = Instant::now();
        let ready = self.watch_readyz(began);
        let mut started: Vec<_> = PODS
            .iter()
            .map(|pod| {
                let manifest: serde_json::Value = serde_yaml::from_str(&self.manifest(pod)).unwrap();
                let words = manifest["spec"]["containers"][0]["command"].as_array().unwrap().clone();
                let mut command = self.node.command(&self.kubernetes.program(words[0].as_str().unwrap()));
                command.args(words[1..].iter().map(|w| w.as_str().unwrap()));
                command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
            })
            .collect();
        let took = ready.join().unwrap();
        for child in started.iter_mut().rev() {
            let _ = child.kill();
            child.wait().unwrap();
        }
        took.unwrap_or_else(|| panic!("started by hand, not ready within {START:?}"))
    }

    /// With podstrap, from the start of its daemon.
    fn readyz_by_podstrap(&mut self) -> Duration {
        self.forget();
        let began = Instant::now();
        let ready = self.watch_readyz(began);
        self.i.start();
        let took = ready.join().unwrap();
        self.i.cli_ok("down", &["--timeout", "120s"]);
        self.i.daemon_exit(SOON);
        took.unwrap_or_else(|| panic!("with podstrap, not ready within {START:?}"))
    }

    /// Makes etcd a new one.
    fn forget(&self) {
        for path in host::entries(&self.i.dir.join("etcd")) {
            fs::remove_dir_all(path).unwrap();
        }
    }

    /// Asks for /readyz every 20 ms, in a thread of its own. `None` when it is never ok.
    fn watch_readyz(&self, since: Instant) -> JoinHandle<Option<Duration>> {
        self.node.in_thread(move |agent| {
            let url = format!("https://{ADDRESS}:6443/readyz");
            while since.elapsed() < START {
                // Anybody may ask, and any answer but 200 is an error.
                if agent.get(&url).call().is_ok() {
                    return Some(since.elapsed());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            None
        })
    }
}
