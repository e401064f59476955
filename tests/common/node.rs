//! A host of the test's own, as far as kubeadm and its Pods see: a network namespace with an address on a link, and a
//! mount namespace whose /etc/kubernetes and /var/lib/etcd lie in the test's directory. Several of them may be wired to one
//! network, and each may lose its power.
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
use nix::sys::signal::Signal;
use ureq::Agent;
use ureq::tls::TlsConfig;

use super::{host, text};

/// Makes the host: `$1` is its directory, `$2` its address, `$3` the process that holds the network, if it is to be in one,
/// and `$4` the name of its wire. What the manifests' volumes would make on the real host, such as /usr/libexec/kubernetes,
/// goes to a layer in memory above it. The link's own address comes from the last number of the other: a host that comes
/// back has the one that its neighbours remember. In a network it has boots of its own, too.
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
link="link0 address $(printf '02:00:00:00:00:%02x' "${2##*.}")"
if [ -n "$3" ]; then
	cat /proc/sys/kernel/random/uuid >"$1/above/boot_id"
	mount --bind "$1/above/boot_id" /proc/sys/kernel/random/boot_id
	ip link add $link type veth peer name "$4" netns "$3"
	nsenter --target "$3" --net ip link set "$4" master bridge0 up
else
	ip link add $link type veth peer name "$4"
	ip link set "$4" up
fi
ip address add "$2/24" dev link0
ip link set link0 up
ip route add default dev link0
echo made
exec cat >/dev/null
"#;

/// Makes a network: a switch that the wires of its hosts come together in. `$1` is the address of whoever runs a command
/// there.
const MAKE_NETWORK: &str = r#"
set -eu
ip link set lo up
ip link add bridge0 type bridge
ip address add "$1/24" dev bridge0
ip link set bridge0 up
echo made
exec cat >/dev/null
"#;

/// A process that holds namespaces, and ends with whatever holds this.
#[derive(Debug)]
struct Holder {
    process: Child,
    /// Its end is the end of the process.
    _lives: ChildStdin,
}

impl Holder {
    /// In new namespaces of these kinds, prepared by a script.
    fn new(namespaces: &[&str], script: &str, args: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-c", script, "sh"]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("unshare can be run");
        let lives = process.stdin.take().expect("a pipe was asked for");
        let mut said = String::new();
        BufReader::new(process.stdout.take().expect("a pipe was asked for")).read_line(&mut said).unwrap();
        if said != "made\n" {
            drop(lives);
            panic!("no namespaces can be made: {}", text(&process.wait_with_output().unwrap().stderr));
        }
        Self { process, _lives: lives }
    }

    /// Its pid, by which others come to its namespaces.
    fn pid(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What joins hosts.
#[derive(Debug)]
pub struct Network {
    holder: Holder,
}

impl Network {
    /// Makes one, without a host yet; commands in it have this address.
    pub fn new(address: &str) -> Self {
        Self { holder: Holder::new(&["--net"], MAKE_NETWORK, &[address]) }
    }

    /// A command that is to run beside the hosts.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.pid(), "--net", "--"]).arg(program).stdin(Stdio::null());
        command
    }

    /// Pulls a host's wire out. It takes both ends: nothing comes out of the host any more, and what it sends into its own
    /// network has nowhere to go.
    pub fn unplug(&self, node: &Node) {
        let status = self.command(Path::new("ip")).args(["link", "delete", &node.wire]).status().unwrap();
        assert!(status.success(), "{} cannot be taken away", node.wire);
    }
}

/// A host of the test's own.
#[derive(Debug)]
pub struct Node {
    holder: Holder,
    wire: String,
}

impl Node {
    /// Makes one; `dir` is the directory of the test.
    pub fn new(dir: &Path, address: &str) -> Self {
        Self::made(dir, address, "", "wire0".to_owned())
    }

    /// Makes one in a network; `dir` is its own, and what is in it outlives the host.
    pub fn wired(dir: &Path, address: &str, network: &Network) -> Self {
        let number = address.rsplit('.').next().unwrap();
        Self::made(dir, address, &network.holder.pid(), format!("wire{number}"))
    }

    fn made(dir: &Path, address: &str, network: &str, wire: String) -> Self {
        let dir = dir.to_str().expect("a plain path");
        let namespaces = ["--net", "--mount", "--propagation", "private"];
        let holder = Holder::new(&namespaces, MAKE, &[dir, address, network, &wire]);
        Self { holder, wire }
    }

    /// The words before a command that is to run there. The command keeps the pid of what was started.
    pub fn prefix(&self) -> Vec<String> {
        ["nsenter", "--target", &self.holder.pid(), "--net", "--mount", "--"].map(str::to_owned).to_vec()
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
        let network = fs::File::open(format!("/proc/{}/ns/net", self.holder.pid())).unwrap();
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
        let holder = self.holder.process.id() as i32;
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
            host::signal(*pid, Signal::SIGKILL);
        }
        assert!(left.is_empty() || std::thread::panicking(), "still running on the node: {left:?}");
    }
}
