//! SIGKILL for the daemon, for monitors and for runc, at moments that nobody chose.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::one;
use crate::common::{Instance, SOON, host};
use crate::inject::{Dice, assert_no_double, fake_runc, guard, instance, until_guarded};
use crate::whole::{leases, networked, plain};

/// What the manifests say: for each Pod the tag of its script, or that there is none. Every edit has a tag of its own, so
/// each start tells which manifest it was made from.
struct Churn {
    dice: Dice,
    tags: Vec<Option<u32>>,
    next: u32,
    /// How often this test has killed the container of a tag: so many restarts of it are due.
    killed: BTreeMap<u32, usize>,
    /// Every second Pod has a network of its own.
    own_networks: bool,
}

fn name(n: usize) -> String {
    format!("p{n}")
}

impl Churn {
    fn new(i: &Instance, seed: u64, pods: usize, own_networks: bool) -> Self {
        let (tags, killed) = (vec![None; pods], BTreeMap::new());
        let mut churn = Self { dice: Dice(seed), tags, next: 0, killed, own_networks };
        for n in 0..pods {
            churn.write(i, n);
        }
        churn
    }

    fn write(&mut self, i: &Instance, n: usize) {
        self.next += 1;
        self.tags[n] = Some(self.next);
        let (name, script) = (name(n), guard(&name(n), &self.next.to_string()));
        let manifest = match self.own_networks && n % 2 == 1 {
            true => plain(i, &name, &script),
            false => one(i, &name, &script, &[]),
        };
        i.write_manifest(&format!("{name}.yaml"), &manifest);
    }

    /// One change of one manifest, or a killed container.
    fn stir(&mut self, i: &Instance) {
        let n = self.dice.below(self.tags.len() as u64) as usize;
        match (self.dice.below(4), self.tags[n]) {
            (0, Some(_)) => {
                i.remove(&format!("{}.yaml", name(n)));
                self.tags[n] = None;
            }
            (1, Some(_)) => self.kill(i, &name(n)),
            (_, _) => self.write(i, n),
        }
    }

    /// Kills what runs of a Pod, and notes of which tag it is; not before all starts of that one are written down.
    fn kill(&mut self, i: &Instance, name: &str) {
        let Some(pid) = i.running_pid(name, "main") else { return };
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let tag =
            arguments.split_once("echo start ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let Some(tag) = tag else { return };
        let killed = self.killed.entry(tag).or_default();
        if starts(i, name, tag) > *killed {
            *killed += 1;
            host::signal(pid, Signal::SIGKILL);
        }
    }

    /// Waits until what runs is what the manifests say.
    fn settle(&self, i: &Instance) {
        for (n, tag) in self.tags.iter().enumerate() {
            match tag {
                Some(tag) => until_guarded(i, &name(n), &tag.to_string()),
                None => i.until(&format!("{} is gone", name(n)), |i| i.pod(&name(n)).is_none()),
            }
        }
    }

    /// No container was started that was not due: once for each edit, and once more for each kill.
    fn account(&self, i: &Instance) {
        assert_no_double(i);
        for n in 0..self.tags.len() {
            for tag in 1..=self.next {
                let (started, killed) =
                    (starts(i, &name(n), tag), self.killed.get(&tag).copied().unwrap_or(0));
                assert!(started <= 1 + killed, "{} {tag}: {started} starts, {killed} kills", name(n));
                if self.tags[n] == Some(tag) {
                    i.until(&format!("{} {tag} was started after each kill", name(n)), |i| {
                        starts(i, &name(n), tag) == 1 + killed
                    });
                }
            }
        }
    }

    /// How many containers were started, and killed.
    fn figures(&self, i: &Instance) -> (usize, usize) {
        let lines = (0..self.tags.len()).flat_map(|n| i.lines(&name(n)));
        (lines.filter(|l| l.starts_with("start")).count(), self.killed.values().sum())
    }
}

fn starts(i: &Instance, name: &str, tag: u32) -> usize {
    let start = format!("start {tag}");
    i.lines(name).iter().filter(|l| **l == start).count()
}

/// The daemon is killed so many times, at random moments, while so many Pods come and go.
fn daemon_kills(mut i: Instance, seed: u64, pods: usize, kills: u32) {
    let begun = Instant::now();
    let mut churn = Churn::new(&i, seed, pods, pods > 5);
    for round in 0..kills {
        i.launch();
        for _ in 0..=churn.dice.below(3) {
            churn.stir(&i);
            std::thread::sleep(Duration::from_millis(churn.dice.below(150)));
        }
        assert_eq!(i.ended(), None, "it ended by itself");
        i.kill9();
        assert_no_double(&i);
        if round % 10 == 9 {
            i.start();
            churn.settle(&i);
            churn.account(&i);
            i.kill9();
        }
    }
    i.start();
    churn.settle(&i);
    // What runs now goes on through a last death: adopted, not started again.
    let before = churn.figures(&i);
    i.kill9();
    i.start();
    churn.settle(&i);
    churn.account(&i);
    assert_eq!(churn.figures(&i), before);
    i.cli_ok("down", &["--timeout", "60s"]);
    assert!(i.daemon_exit(SOON).success());
    let left = host::left_behind(&i.dir, &i.cgroup_root, None);
    assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    assert!(leases(&i).is_empty(), "addresses are still leased: {:?}", leases(&i));
    let (started, killed) = before;
    eprintln!(
        "{kills} kills of the daemon, {pods} Pods, {} manifests written, {started} starts, {killed} containers killed: no \
         start that was not due, nothing left; {:?}",
        churn.next,
        begun.elapsed()
    );
}

#[test]
fn the_daemon_is_killed_thirty_times_while_pods_come_and_go() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "100ms,1s"]);
    daemon_kills(i, 0x5eed_1234, 5, 30);
}

#[test]
#[ignore = "minutes long; the short form of it is the test above"]
fn the_daemon_is_killed_two_hundred_times_while_twenty_pods_come_and_go() {
    let Some(i) = networked() else { return };
    daemon_kills(i, 0x2000_0020, 20, 200);
}

#[test]
fn monitors_are_killed_while_pods_come_and_go() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "100ms,500ms"]);
    let mut churn = Churn::new(&i, 0xdead_beef, 5, false);
    i.start();
    for _ in 0..20 {
        churn.stir(&i);
        std::thread::sleep(Duration::from_millis(churn.dice.below(120)));
        let name = name(churn.dice.below(5) as usize);
        for (_, record) in i.records(&name, "main") {
            if record.end.is_none() && record.monitor.pid > 1 {
                host::signal(record.monitor.pid, Signal::SIGKILL);
            }
        }
    }
    churn.settle(&i);
    assert_no_double(&i);
}

#[test]
fn runc_is_killed_in_the_middle_of_whatever_it_does() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,200ms"]);
    // Two of three calls of any verb are cut off within 30 ms of their beginning, for the first sixty calls.
    fake_runc(
        &mut i,
        r#"[ "$verb" = --version ] && exec "$real" "$@"
           echo $verb >>$dir/calls; n=$(wc -l <$dir/calls)
           if [ $n -lt 60 ] && [ $((n % 3)) -ne 0 ]; then
             "$real" "$@" & pid=$!
             sleep 0.0$((n % 4))$((n * 7 % 10)); kill -9 $pid; wait $pid; exit $?
           fi
           exec "$real" "$@""#,
    );
    let mut churn = Churn::new(&i, 0xcafe_f00d, 5, false);
    i.start();
    for _ in 0..12 {
        churn.stir(&i);
        std::thread::sleep(Duration::from_millis(churn.dice.below(200)));
    }
    churn.settle(&i);
    let calls = fs::read_to_string(i.dir.join("calls")).unwrap().lines().count();
    assert!(calls > 20, "runc was called {calls} times");
    assert_no_double(&i);
}
