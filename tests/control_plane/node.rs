//! A host of the test's own, as far as kubeadm and its Pods see: a network namespace with an address on a link, and a
//! mount namespace whose /etc/kubernetes and /var/lib/etcd lie in the test's directory.
//!
//! Its namespaces have no names and live as long as one process that waits for the end of the test: nothing is left of
//! them, however the test ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::common::{host, text};

/// The node's address: of a network that is set aside for documentation.
pub const ADDRESS: &str = "192.0.2.10";

/// Makes the host; `$1` is the test's directory. What the manifests' volumes would make on the real host, such as
/// /usr/libexec/kubernetes, goes to a layer in memory above it.
const MAKE: &str = r#"
set -eu
cd /
mkdir -p "$1/etcd" "$1/kubernetes" "$1/above"
mount -t tmpfs -o mode=0755 tmpfs "$1/above"
for dir in etc var/lib usr; do
	mkdir -p "$1/above/$dir/upper" "$1/above/$dir/work"
	mount -t overlay -o "lowerdir=/$dir,upperdir=$1/above/$dir/upper,workdir=$1/above/$dir/work" overlay "/$dir"
done
mkdir -p /etc/kubernetes /var/lib/etcd
chmod 0700 /var/lib/etcd
mount --bind "$1/kubernetes" /etc/kubernetes
mount --bind "$1/etcd" /var/lib/etcd
ip link set lo up
ip link add link0 type veth peer name wire0
ip address add "$2/24" dev link0
ip link set link0 up
ip link set wire0 up
ip route add default dev link0
echo made
exec cat >/dev/null
"#;

/// A host of the test's own.
#[derive(Debug)]
pub struct Node {
    holder: Child,
    /// Its end is the end of the host.
    _lives: ChildStdin,
}

impl Node {
    /// Makes one; `dir` is the directory of the test.
    pub fn new(dir: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", MAKE, "sh"]);
        command.arg(dir).arg(ADDRESS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().expect("unshare can be run");
        let lives = holder.stdin.take().expect("a pipe was asked for");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe was asked for")).read_line(&mut said).unwrap();
        if said != "made\n" {
            drop(lives);
            panic!("no host can be made: {}", text(&holder.wait_with_output().unwrap().stderr));
        }
        Self { holder, _lives: lives }
    }

    /// The words before a command that is to run there. The command keeps the pid of what was started.
    pub fn prefix(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        ["nsenter", "--target", &target, "--net", "--mount", "--"].map(str::to_owned).to_vec()
    }

    /// A command that is to run there.
    pub fn command(&self, program: &Path) -> Command {
        let words = self.prefix();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs something in a thread whose network is the node's, with a client that takes every certificate.
    pub fn in_thread<T: Send + 'static>(
        &self,
        job: impl FnOnce(Agent) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            let tls = TlsConfig::builder().disable_verification(true).build();
            let timeout = Some(Duration::from_secs(5));
            job(Agent::config_builder().proxy(None).tls_config(tls).timeout_global(timeout).build().into())
        })
    }

    /// What is answered to a GET, when the status is 200.
    pub fn ask(&self, url: &str) -> Result<String, String> {
        let url = url.to_owned();
        let answer = self.in_thread(move |agent| agent.get(&url).call()?.body_mut().read_to_string());
        answer.join().unwrap().map_err(|e: ureq::Error| e.to_string())
    }

    /// The processes there, with their command lines; not the one that holds it.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let holder = self.holder.id() as i32;
        let net = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let here = net(holder);
        let pids = host::entries(Path::new("/proc")).into_iter();
        let pids = pids.filter_map(|p| p.file_name()?.to_str()?.parse::<i32>().ok());
        pids.filter(|p| *p != holder && host::alive(*p) && here.is_some() && net(*p) == here)
            .map(|p| {
                (p, text(&fs::read(format!("/proc/{p}/cmdline")).unwrap_or_default()).replace('\0', " "))
            })
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What was told to end may need a moment.
        let end = Instant::now() + Duration::from_secs(1);
        while !self.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = self.processes();
        for (pid, _) in &left {
            host::signal(*pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        assert!(left.is_empty() || std::thread::panicking(), "still running on the node: {left:?}");
    }
}
