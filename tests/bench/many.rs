//! Two hundred Pods: from nothing, beside the same bundles through `xargs`; and all of them dying at once.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Effort;
use crate::bare::Bare;
use crate::common::host::{self, find};
use crate::one::seconds;
use crate::pods::{Bench, bench};
use crate::sample::{Bound, Line, Unit};
use crate::stamp::now;

const PODS: usize = 200;

/// ext4 gives no inode away that it has freed in the last 35 seconds, and looks at each of them for every new file: after
/// hundreds of Pods have gone, as after each round here and on hardly any host, that was two fifths of podstrap's own work. Both
/// sides begin after such a pause: a virtual machine that has been idle is slower at first than one that was at work.
const FORGETS: Duration = Duration::from_secs(36);

/// Cold start and restart storm.
pub fn two_hundred(effort: &Effort) -> Vec<Line> {
    let mut b = bench(None);
    b.start();
    b.add("lender");
    b.stamps.nth("lender", "start", 1);
    let bare = Bare::like(&b, "lender");
    let names: Vec<String> = (0..PODS).map(|n| format!("pod-{n}")).collect();
    names.iter().for_each(|name| drop(bare.bundle(name)));
    let (mut cold, mut storm, mut by_xargs) = (vec![], vec![], vec![]);
    for n in 0..effort.few {
        for turn in [n, n + 1] {
            thread::sleep(FORGETS);
            b.stamps.clear();
            if turn % 2 == 0 {
                cold.push(start_all(&mut b, &names));
                storm.push(restart_all(&b));
                remove_all(&b, &names);
            } else {
                by_xargs.push(xargs(&b, &bare));
                bare.kill(&names);
            }
        }
    }
    b.down();
    vec![
        Line::of(format!("{PODS} Pods from cold, runc"), Unit::Time, cold)
            .against("xargs -P2 runc run -d", by_xargs)
            .bound(Bound::Times(1.2)),
        Line::of(format!("{PODS} Pods die at once → all restarted"), Unit::Time, storm),
    ]
}

/// From the start of the daemon to the last of its Pods.
fn start_all(b: &mut Bench, names: &[String]) -> f64 {
    assert!(b.i.terminate().success());
    names.iter().for_each(|name| b.add(name));
    let began = now();
    b.i.launch();
    seconds(began, b.stamps.count("start", names.len()))
}

/// From the signal to all to the last restart.
fn restart_all(b: &Bench) -> f64 {
    b.i.until("all are known to run", |_| b.inits().len() == PODS + 1);
    let lender = b.i.running_pid("lender", "main").unwrap();
    let began = now();
    for pid in b.inits().into_iter().filter(|pid| *pid != lender) {
        host::signal(pid, Signal::SIGUSR1);
    }
    seconds(began, b.stamps.count("start", 2 * PODS))
}

fn remove_all(b: &Bench, names: &[String]) {
    names.iter().for_each(|name| b.i.remove(&format!("{name}.yaml")));
    names.iter().for_each(|name| b.until_gone(name));
}

fn xargs(b: &Bench, bare: &Bare) -> f64 {
    let list = bare.dir().join("names");
    fs::write(&list, (0..PODS).map(|n| format!("pod-{n}\n")).collect::<String>()).unwrap();
    let at = |rest: &str| format!("{}/@{rest}", bare.dir().display());
    let mut command = Command::new("xargs");
    command.arg("-a").arg(&list).args(["-P2", "-I@"]).arg(find("runc").unwrap());
    command.arg("--root").arg(bare.dir().join("root"));
    command.args(["run", "-d", "--bundle", &at(""), "--pid-file", &at("/pid"), "@"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = now();
    assert!(command.status().unwrap().success());
    seconds(began, b.stamps.count("start", PODS))
}
