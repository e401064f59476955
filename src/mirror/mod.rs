//! `podstrap mirror`: shows the static Pods in an API server, as the kubelet does (`--kubeconfig`).
//!
//! A child of the daemon, and the only process that speaks to the API server. It learns from the published status files what
//! is to be shown, compares that with what the server has, and makes, patches and removes; it blocks as long as it likes,
//! because nobody waits for it. Nothing that the server says has an effect on what runs. What it refuses stands in
//! RUN/mirror.json, where `status` finds it.

mod act;
mod client;
pub mod kubeconfig;
mod node;
mod object;
mod plan;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::client::{ANSWER_MS, Client, Failure, Method};
use self::kubeconfig::Access;
use self::node::{Host, LEASES};
use self::object::{Key, Wanted};
use self::plan::{Memory, Mirror, Step, plan};
use crate::helper::text::first_line;
use crate::log::{rfc3339, rfc3339_ms};
use crate::paths::Roots;
use crate::pod::node::NodeFacts;
use crate::report::{DaemonStatus, MirrorStatus, PodStatusFile};
use crate::sys::atomic::{self, Durability};
use crate::sys::net::host_addresses;
use crate::sys::watch::Watcher;
use crate::sys::{clock, process};
use crate::{info, warning};

/// From one look at the server to the next, in milliseconds: a mirror that was deleted is back after that at the latest.
const PERIOD_MS: u64 = 4_000;
/// After a change of a Pod it is looked at once things have been quiet for so long …
const QUIET_MS: u64 = 50;
/// … and no sooner than so long after the last look.
const LEAST_MS: u64 = 500;
/// … or so long, where that has failed: the change may be the API server's own.
const LEAST_FAILING_MS: u64 = 1_000;
/// What fails is tried again after this many milliseconds, doubling …
const AGAIN_MS: u64 = 500;
/// … up to this many.
const AGAIN_MAX_MS: u64 = 10_000;
/// A Lease is renewed at the first look after so long: about every 10 s, as by the kubelet.
const RENEW_MS: u64 = 8_000;
/// A Node's status is sent at least this often, if nothing in it changes: the kubelet's.
const TELL_MS: u64 = 300_000;
/// A request to this process of more bytes is none of ours.
const MOST_SPEC: u64 = 1 << 20;

/// What is to be done; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorSpec {
    /// How to reach the server.
    pub kubeconfig: PathBuf,
    /// Make the Node, and keep it.
    pub register_node: bool,
    /// This node's name.
    pub node: String,
    /// Its labels and taints.
    pub facts: NodeFacts,
    /// Where the published files are.
    pub roots: Roots,
}

/// The helper: reads a [`MirrorSpec`] from standard input, and works until it is killed.
pub fn run() -> ExitCode {
    let mut bytes = Vec::new();
    let spec = io::stdin()
        .take(MOST_SPEC)
        .read_to_end(&mut bytes)
        .and_then(|_| serde_json::from_slice::<MirrorSpec>(&bytes).map_err(io::Error::from));
    match spec {
        Ok(spec) => Shower::new(spec).serve(),
        Err(e) => {
            warning!("mirror Pods: standard input: {e}");
            ExitCode::FAILURE
        }
    }
}

/// When something that fails is tried again.
#[derive(Clone, Copy, Debug, Default)]
struct Again {
    pause: u64,
    at: u64,
}

impl Again {
    /// It has failed. The pause is between half of it and all of it, so that many nodes do not come back as one.
    fn failed(&mut self, now: u64, dice: &mut Dice) {
        self.pause = (self.pause * 2).clamp(AGAIN_MS, AGAIN_MAX_MS);
        self.at = now.saturating_add(self.pause / 2 + dice.below(self.pause / 2));
    }
}

/// Numbers that are others on every host and at every time; nothing depends on their quality.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.max(1)
    }
}

/// Everything that this process knows.
#[derive(Debug)]
struct Shower {
    spec: MirrorSpec,
    access: Option<Access>,
    client: Option<Client>,
    memory: BTreeMap<String, Memory>,
    /// Pods that the server has refused something of.
    again: BTreeMap<Key, Again>,
    /// The server itself.
    whole: Again,
    dice: Dice,
    /// What `status` shows.
    status: MirrorStatus,
    written: Option<MirrorStatus>,
    /// When the Lease is renewed (boot clock, milliseconds).
    renew_at: u64,
    /// When the Node's status was sent last.
    told: Option<u64>,
}

impl Shower {
    fn new(spec: MirrorSpec) -> Self {
        let (seconds, nanoseconds) = clock::unix();
        let seed =
            seconds.unsigned_abs() ^ nanoseconds.unsigned_abs() << 20 ^ u64::from(std::process::id()) << 40;
        Self {
            spec,
            access: None,
            client: None,
            memory: BTreeMap::new(),
            again: BTreeMap::new(),
            whole: Again::default(),
            dice: Dice(seed | 1),
            status: MirrorStatus::default(),
            written: None,
            renew_at: 0,
            told: None,
        }
    }

    fn serve(mut self) -> ExitCode {
        // The TLS library has no other way to say that a key is none, or not the certificate's; the next one of us tries again.
        let (roots, kubeconfig) = (self.spec.roots.clone(), self.spec.kubeconfig.display().to_string());
        std::panic::set_hook(Box::new(move |panic| {
            let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
            let why = match said.split_once("valid client auth certificate: ") {
                Some((_, why)) => format!("the client certificate and its key cannot be used: {why}"),
                None => panic.to_string(),
            };
            let error = first_line(&format!("{kubeconfig}: {}", why.replace('\n', " ")), 600);
            warning!("mirror Pods: {error}");
            // Nobody is left to try again.
            let _ = write_status(&roots, &MirrorStatus { error: Some(error), ..MirrorStatus::default() });
            std::process::exit(1);
        }));
        let mut watcher = Watcher::new().ok();
        loop {
            // Before the files are read, or a change in between would be missed. What cannot be watched is looked at after the
            // period.
            if let Some(watcher) = &mut watcher {
                let _ = watcher.add(&self.spec.roots.status());
            }
            let began = clock::boot_ms();
            let result = self.look();
            let now = clock::boot_ms();
            match &result {
                Ok(()) => self.whole = Again::default(),
                Err(_) => self.whole.failed(now, &mut self.dice),
            }
            self.tell(result.err());
            let soonest = self.again.values().map(|a| a.at).min().unwrap_or(u64::MAX);
            let (least, next) = match self.whole.pause {
                0 => (LEAST_MS, began.saturating_add(PERIOD_MS).min(soonest)),
                _ => (LEAST_FAILING_MS, self.whole.at),
            };
            wait(watcher.as_mut(), now.saturating_add(least), next);
        }
    }

    /// Looks at both sides once, and does what is to be done.
    fn look(&mut self) -> Result<(), String> {
        self.connect()?;
        let node = self.node().map_err(|e| e.to_string())?;
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", self.spec.node);
        let list = self.ask(&Method::Get, &path).map_err(|e| e.to_string())?;
        let has = Mirror::all(&list, &self.spec.node);
        self.memory.retain(|uid, _| has.iter().any(|m| m.uid == *uid));
        // In this order: a daemon that has read all sources has published all of their Pods before it says so.
        let synced = self.is_synced();
        let wanted = self.wanted();
        let steps = plan(&wanted, &has, &self.memory, node.as_deref(), synced);
        let key_of = |step: &Step| match step {
            Step::Create(w)
            | Step::Replace(w, _)
            | Step::Status(w, _)
            | Step::Mend(w, _)
            | Step::Taken(w) => wanted.get(*w).map(|w| &w.key),
            Step::Delete(m) => has.get(*m).map(|m| &m.key),
        };
        // Where nothing is to be done any more nothing is wrong either.
        self.again.retain(|key, _| steps.iter().any(|step| key_of(step) == Some(key)));
        let mut errors = std::mem::take(&mut self.status.pods);
        errors.retain(|label, _| self.again.keys().any(|key| label_of(key) == *label));
        for step in &steps {
            self.beat(node.as_deref());
            let Some(key) = key_of(step) else { continue };
            if self.again.get(key).is_some_and(|a| a.at > clock::boot_ms()) {
                continue;
            }
            match self.carry_out(step, &wanted, &has, node.as_deref()) {
                Ok(()) => {
                    self.again.remove(key);
                    errors.remove(&label_of(key));
                }
                Err(e) => {
                    self.again.entry(key.clone()).or_default().failed(clock::boot_ms(), &mut self.dice);
                    errors.insert(label_of(key), e);
                }
            }
        }
        self.status.pods = errors;
        self.beat(node.as_deref());
        match node {
            Some(_) => Ok(()),
            None => Err(format!(
                "node {} is not registered in the API server, and mirror Pods belong to it: --register-node makes it",
                self.spec.node
            )),
        }
    }

    /// The client for what the kubeconfig says now: its keys change now and then.
    fn connect(&mut self) -> Result<(), String> {
        let access = Access::read(&self.spec.kubeconfig)?;
        if self.access.as_ref() != Some(&access) {
            self.client = None;
            self.status.server = access.server.clone();
            let client = Client::new(&access, ANSWER_MS);
            self.client = Some(client.map_err(|why| format!("{}: {why}", self.spec.kubeconfig.display()))?);
            self.access = Some(access);
        }
        Ok(())
    }

    fn ask(&self, method: &Method<'_>, path: &str) -> Result<Value, Failure> {
        match &self.client {
            Some(client) => client.ask(method, path),
            None => Err(Failure::Silent("not connected".to_owned())),
        }
    }

    /// The Node's UID, if there is one that is not being deleted; made and told, where that is asked for.
    fn node(&mut self) -> Result<Option<String>, Failure> {
        let path = format!("/api/v1/nodes/{}", self.spec.node);
        let mut node = match self.ask(&Method::Get, &path) {
            Ok(node) => node,
            Err(e) if e.is(404) && !self.spec.register_node => return Ok(None),
            Err(e) if e.is(404) => {
                self.told = None;
                self.renew_at = 0;
                let node = self.ask(&Method::Post(&self.host().node()), "/api/v1/nodes")?;
                info!("mirror Pods: node {} is registered", self.spec.node);
                node
            }
            Err(e) => return Err(e),
        };
        if self.spec.register_node {
            let now = clock::boot_ms();
            let host = self.host();
            let had = node["status"].take();
            let pause = if host.is_told_by(&had) { TELL_MS } else { RENEW_MS };
            if self.told.is_none_or(|at| now.saturating_sub(at) >= pause) {
                let patch = host.status(&had, &rfc3339(clock::unix_ms()));
                self.ask(&Method::Merge(&patch), &format!("{path}/status"))?;
                self.told = Some(now);
            }
        }
        let metadata = &node["metadata"];
        let uid =
            metadata["uid"].as_str().filter(|_| metadata["deletionTimestamp"].is_null()).map(str::to_owned);
        self.beat(uid.as_deref());
        Ok(uid)
    }

    fn host(&self) -> Host {
        let runtime = self.daemon().map(|d| d.runtime).unwrap_or_default();
        Host::look(&self.spec.facts, &runtime, host_addresses())
    }

    /// Renews the Lease, if that is ours to do and due.
    fn beat(&mut self, node: Option<&str>) {
        let due = self.renew_at <= clock::boot_ms();
        let (true, true, Some(uid)) = (self.spec.register_node, due, node) else { return };
        let host = self.host();
        // Microseconds, by the API's own rule for this field.
        let now = rfc3339_ms(clock::unix_ms()).replace('Z', "000Z");
        let renewal = host.renewal(&now);
        let result = match self.ask(&Method::Merge(&renewal), &format!("{LEASES}/{}", self.spec.node)) {
            Err(e) if e.is(404) => self.ask(&Method::Post(&host.lease(uid, &now)), LEASES),
            other => other,
        };
        self.status.lease = result.err().map(|e| format!("the Node's Lease cannot be renewed: {e}"));
        let pause = if self.status.lease.is_some() { PERIOD_MS / 2 } else { RENEW_MS };
        self.renew_at = clock::boot_ms().saturating_add(pause);
    }

    fn daemon(&self) -> Option<DaemonStatus> {
        serde_json::from_slice(&fs::read(self.spec.roots.daemon_status()).ok()?).ok()
    }

    /// Whether the daemon that is our parent has read all of its sources: nobody else's word counts.
    fn is_synced(&self) -> bool {
        self.daemon().is_some_and(|d| {
            d.pid == process::parent() && !d.sources.is_empty() && d.sources.iter().all(|s| s.synced)
        })
    }

    /// What is to be shown, by the published files.
    fn wanted(&self) -> Vec<Wanted> {
        let daemon = self.spec.roots.daemon_status();
        let paths = fs::read_dir(self.spec.roots.status()).into_iter().flatten().filter_map(Result::ok);
        let paths =
            paths.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json") && *p != daemon);
        paths.filter_map(|path| Wanted::of(&read(&path)?)).collect()
    }

    /// Says how it stands, when that has changed.
    fn tell(&mut self, error: Option<String>) {
        self.status.error = error;
        let former = self.written.clone().unwrap_or_default();
        if self.written.as_ref() == Some(&self.status) {
            return;
        }
        let status = &self.status;
        if self.written.is_none() && status.error.is_none() {
            info!("mirror Pods are shown in {}", status.server);
        }
        match (&former.error, &status.error) {
            (a, b) if a == b => {}
            (_, Some(why)) => warning!("mirror Pods: {why}; the Pods go on"),
            (_, None) => info!("mirror Pods: {} answers again", status.server),
        }
        if let Some(why) = status.lease.as_ref().filter(|_| status.lease != former.lease) {
            warning!("mirror Pods: {why}");
        }
        for (pod, why) in status.pods.iter().filter(|(pod, why)| former.pods.get(*pod) != Some(why)) {
            warning!("mirror Pod {pod}: {why}");
        }
        // Tried again at the next look.
        if write_status(&self.spec.roots, status).is_ok() {
            self.written = Some(status.clone());
        }
    }
}

fn write_status(roots: &Roots, status: &MirrorStatus) -> io::Result<()> {
    atomic::write(&roots.mirror_status(), &serde_json::to_vec(status)?, 0o600, Durability::Process)
}

fn read(path: &std::path::Path) -> Option<PodStatusFile> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn label_of((namespace, name): &Key) -> String {
    format!("{namespace}/{name}")
}

/// Waits until `next`; once something has changed, only until it has had time to be quiet and `least` has come. All on the
/// boot clock.
fn wait(watcher: Option<&mut Watcher>, least: u64, next: u64) {
    let Some(watcher) = watcher else {
        let left = next.saturating_sub(clock::boot_ms()).min(PERIOD_MS);
        return std::thread::sleep(Duration::from_millis(left));
    };
    let (mut until, mut changed) = (next, false);
    loop {
        let now = clock::boot_ms();
        if until <= now {
            return;
        }
        if poll_for(watcher, until.saturating_sub(now)) {
            watcher.drain();
            if !std::mem::replace(&mut changed, true) {
                until = next.min(least.max(clock::boot_ms().saturating_add(QUIET_MS)));
            }
        }
    }
}

fn poll_for(watcher: &Watcher, milliseconds: u64) -> bool {
    let timeout = PollTimeout::try_from(milliseconds.min(600_000)).unwrap_or(PollTimeout::ZERO);
    poll(&mut [PollFd::new(watcher.as_fd(), PollFlags::POLLIN)], timeout).is_ok_and(|n| n > 0)
}
