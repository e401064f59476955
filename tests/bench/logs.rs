//! The way of a log line: the same writer through a monitor, through dockerd into its json-file, and through podman's conmon;
//! how much comes through, and what that takes of processor time. All three rotate after 10 MiB.

use std::fs;
use std::path::Path;

use crate::Effort;
use crate::common::engine::{self, Engine};
use crate::common::host;
use crate::one::seconds;
use crate::pods::{Bench, bench, cpu};
use crate::sample::{Line, Unit};
use crate::stamp::{IMAGE, image};

/// How much each writes, in units of a million bytes.
const MEGABYTES: &str = "256";
const BYTES: f64 = 256e6;

/// Rate, and processor seconds for each byte.
type Flow = (f64, f64);

/// All three in turn.
pub fn three_ways(effort: &Effort) -> Vec<Line> {
    let (docker, podman) = (Engine::start("docker"), Engine::start("podman"));
    for engine in [&docker, &podman] {
        engine::ok(&engine.cli, &["load", "-i", image().to_str().unwrap()]);
    }
    let mut b = bench(None);
    b.start();
    let mut flows: [Vec<Flow>; 3] = Default::default();
    for n in 0..effort.few {
        for (way, flows) in flows.iter_mut().enumerate() {
            let name = format!("writer-{n}-{way}");
            let flow = match way {
                0 => by_podstrap(&b, &name),
                1 => by_engine(
                    &b,
                    &docker,
                    &name,
                    &["--log-driver=json-file", "--log-opt=max-size=10m", "--log-opt=max-file=5"],
                ),
                _ => by_engine(&b, &podman, &name, &["--log-driver=k8s-file", "--log-opt=max-size=10mb"]),
            };
            flows.push(flow);
        }
    }
    b.down();
    let rate = |way: usize| flows[way].iter().map(|f| f.0).collect::<Vec<_>>();
    let cost = |way: usize| flows[way].iter().map(|f| f.1 * 1e9).collect::<Vec<_>>();
    let lines = |what: &str, unit, ours: Vec<f64>, docker, conmon| {
        [
            Line::of(what, unit, ours.clone()).against("dockerd, json-file", docker),
            Line::of(what, unit, ours).against("conmon, k8s-file", conmon),
        ]
    };
    let rates = lines("log through a monitor", Unit::Rate, rate(0), rate(1), rate(2));
    let costs = lines("log: processor time for a GB", Unit::Time, cost(0), cost(1), cost(2));
    rates.into_iter().chain(costs).collect()
}

fn flow(b: &Bench, name: &str, ran: impl Fn() -> f64, before: f64) -> Flow {
    let began = b.stamps.nth(name, "start", 1);
    let took = seconds(began, b.stamps.nth(name, "written", 1));
    (BYTES / took, (ran() - before) / BYTES)
}

fn by_podstrap(b: &Bench, name: &str) -> Flow {
    b.i.write_manifest(&format!("{name}.yaml"), &b.manifest(name, &[MEGABYTES], ""));
    b.stamps.nth(name, "start", 1);
    let monitor = b.i.records(name, "main").pop().unwrap().1.monitor.pid;
    // What it took to start the container is as good as nothing beside this.
    let flow = flow(b, name, || cpu(monitor), 0.0);
    b.i.remove(&format!("{name}.yaml"));
    b.until_gone(name);
    flow
}

fn by_engine(b: &Bench, engine: &Engine, name: &str, log: &[&str]) -> Flow {
    let volume = format!("{}:/shared", b.i.shared.display());
    let before = ran(&engine.dir);
    let mut run = vec!["run", "-d", "--name", name, "--network", "host", "-v", &volume];
    run.extend(log);
    run.extend([IMAGE, "/stamp", name, MEGABYTES]);
    engine::ok(&engine.cli, &run);
    let flow = flow(b, name, || ran(&engine.dir), before);
    engine::ok(&engine.cli, &["rm", "-f", name]);
    flow
}

/// What an engine's own processes have taken, but for the containers and those that have ended.
fn ran(dir: &Path) -> f64 {
    let mut sum = 0.0;
    for proc in host::entries(Path::new("/proc")) {
        let pid = proc.file_name().and_then(|n| n.to_str()?.parse::<i32>().ok());
        let comm = fs::read_to_string(proc.join("comm")).unwrap_or_default();
        let is_engine = ["dockerd", "containerd", "conmon"].iter().any(|name| comm.starts_with(name));
        let Some(pid) = pid.filter(|_| is_engine) else { continue };
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy()) && host::alive(pid) {
            sum += cpu(pid);
        }
    }
    sum
}
