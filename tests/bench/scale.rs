//! What grows with the number of Pods: time, memory, and what is done when nothing happens.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::one::seconds;
use crate::pods::{Bench, bench, cpu, memory, sleeps};
use crate::sample::{Bound, Curve, Line, Unit, quartiles};
use crate::stamp::now;
use crate::{Effort, Findings};

const MIB: f64 = 1024.0 * 1024.0;

/// How often a manifest is changed at each size.
const CHANGES: usize = 5;

/// What was measured with so many Pods.
struct Size {
    pods: f64,
    started: f64,
    rss: f64,
    pss: f64,
    monitor: f64,
    idle: Load,
    changed: f64,
    probed: f64,
}

/// What processes have done in a time in which nothing happened.
#[derive(Clone, Copy)]
struct Load {
    daemon: f64,
    monitors: f64,
    /// A minute.
    wakes: f64,
    monitors_wake: f64,
}

/// Everything at each size: lines for the budgets, and the curves.
pub fn curves(effort: &Effort) -> Findings {
    let sizes: Vec<Size> = effort.sizes.iter().map(|pods| at(*pods, effort)).collect();
    let mut lines = Vec::new();
    for size in &sizes {
        let budget = match size.pods as usize {
            20 => Some(5.0 * MIB),
            500 => Some(12.0 * MIB),
            _ => None,
        };
        if let Some(most) = budget {
            let what = format!("daemon, resident, {:.0} Pods", size.pods);
            lines.push(Line::of(what, Unit::Size, vec![size.rss]).bound(Bound::Most(most)));
            let what = format!("monitor, its share of memory (PSS), {:.0} Pods", size.pods);
            lines.push(Line::of(what, Unit::Size, vec![size.monitor]).bound(Bound::Most(0.7 * MIB)));
            let what = format!("idle, {:.0} Pods: daemon's wake-ups a minute", size.pods);
            lines.push(Line::of(what, Unit::Count, vec![size.idle.wakes]).bound(Bound::Most(3.0)));
            let what = format!("idle, {:.0} Pods: all monitors' wake-ups a minute", size.pods);
            lines.push(Line::of(what, Unit::Count, vec![size.idle.monitors_wake]).bound(Bound::Most(0.0)));
            let what = format!("idle, {:.0} Pods: daemon and monitors, of one processor", size.pods);
            let load = size.idle.daemon + size.idle.monitors;
            lines.push(Line::of(what, Unit::Load, vec![load]));
        }
    }
    let series = |name: &str, value: fn(&Size) -> f64| {
        (name.to_owned(), sizes.iter().map(|s| (s.pods, value(s))).collect())
    };
    let curve = |name, title: &str, unit, series| Curve { name, title: title.to_owned(), unit, series };
    let curves = vec![
        curve(
            "start",
            "From the start of the daemon to all running",
            Unit::Time,
            vec![series("all", |s| s.started)],
        ),
        curve(
            "memory",
            "Memory",
            Unit::Size,
            vec![
                series("daemon, RSS", |s| s.rss),
                series("daemon, PSS", |s| s.pss),
                series("each monitor, PSS", |s| s.monitor),
            ],
        ),
        curve(
            "load",
            "Processor time when nothing happens, of one processor",
            Unit::Load,
            vec![
                series("daemon, no probes", |s| s.idle.daemon),
                series("all monitors, no probes", |s| s.idle.monitors),
                series("one probe a second for each Pod", |s| s.probed),
            ],
        ),
        curve(
            "change",
            "From a changed manifest to the new process",
            Unit::Time,
            vec![series("the old one ends at once on TERM", |s| s.changed)],
        ),
    ];
    Findings { lines, curves }
}

fn at(pods: usize, effort: &Effort) -> Size {
    let (mut b, started) = running(pods, "");
    let (rss, pss) = memory(b.i.daemon_pid());
    let monitors = b.monitors();
    let monitor = monitors.iter().map(|pid| memory(*pid).1).sum::<f64>() / monitors.len() as f64;
    let idle = idle(&b, effort.idle);
    let changes: Vec<f64> = (1..=CHANGES).map(|n| change(&b, n)).collect();
    b.down();
    drop(b);

    // One that answers all of them.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let probe =
        format!("    livenessProbe: {{tcpSocket: {{host: 127.0.0.1, port: {port}}}, periodSeconds: 1}}\n");
    let (mut b, _) = running(pods, &probe);
    let probed = idle_load(&[b.i.daemon_pid()], effort.idle);
    b.down();
    Size { pods: pods as f64, started, rss, pss, monitor, idle, changed: quartiles(&changes)[0], probed }
}

/// So many Pods from cold, and how long that took; they have come to rest.
fn running(pods: usize, extra: &str) -> (Bench, f64) {
    let mut b = bench(None);
    b.start();
    assert!(b.i.terminate().success());
    for n in 0..pods {
        let name = format!("pod-{n}");
        b.i.write_manifest(&format!("{name}.yaml"), &b.manifest(&name, &[], extra));
    }
    b.stamps.clear();
    let began = now();
    b.i.launch();
    let started = seconds(began, b.stamps.count("start", pods));
    b.i.until("all are known to run", |_| b.inits().len() == pods);
    // What has been well for ten seconds is written down, once; then nothing is left to do.
    let worked = b.i.state.join("worked");
    b.i.until("what works is written down", |_| fs::read_dir(&worked).is_ok_and(|all| all.count() == pods));
    std::thread::sleep(Duration::from_secs(1));
    (b, started)
}

fn idle_load(pids: &[i32], time: u64) -> f64 {
    let sum = || pids.iter().map(|pid| cpu(*pid)).sum::<f64>();
    let before = sum();
    std::thread::sleep(Duration::from_secs(time));
    (sum() - before) / time as f64
}

fn idle(b: &Bench, time: u64) -> Load {
    let (daemon, monitors) = (b.i.daemon_pid(), b.monitors());
    let slept = |pids: &[i32]| pids.iter().map(|pid| sleeps(*pid)).sum::<f64>();
    let ran = |pids: &[i32]| pids.iter().map(|pid| cpu(*pid)).sum::<f64>();
    let before = (ran(&[daemon]), ran(&monitors), slept(&[daemon]), slept(&monitors));
    std::thread::sleep(Duration::from_secs(time));
    let a_second = |now: f64, before: f64| (now - before) / time as f64;
    Load {
        daemon: a_second(ran(&[daemon]), before.0),
        monitors: a_second(ran(&monitors), before.1),
        wakes: a_second(slept(&[daemon]), before.2) * 60.0,
        monitors_wake: a_second(slept(&monitors), before.3) * 60.0,
    }
}

/// Changes one manifest for the n-th time.
fn change(b: &Bench, n: usize) -> f64 {
    let manifest = b.manifest("pod-0", &[], &format!("    env: [{{name: CHANGE, value: \"{n}\"}}]\n"));
    let began = now();
    b.i.write_manifest("pod-0.yaml", &manifest);
    let took = seconds(began, b.stamps.nth("pod-0", "start", n + 1));
    b.i.until("the new one is known to run", |i| i.running_pid("pod-0", "main").is_some());
    took
}
