//! Runs the cases: many at a time, against two daemons that live as long as the suite.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::bench::Bench;
use crate::case::{Case, Host};
use crate::common::{self, Instance, image};
use crate::images;
use crate::report::{self, Outcome, Report, Verdict};

/// The directory of CNI network lists of an instance.
pub fn cni_dir(instance: &Instance) -> std::path::PathBuf {
    instance.dir.join("cni/net.d")
}

/// How the bridges of all suites begin; the rest is the process.
const BRIDGE: &str = "cnf";

/// The suite's bridge, which its plugin makes and nobody removes.
struct Bridge;

impl Bridge {
    /// Removes those of suites that were killed: of two bridges with one network the older gets all packets.
    fn new() -> Self {
        for link in common::host::entries(std::path::Path::new("/sys/class/net")) {
            let name = link.file_name().unwrap().to_string_lossy().into_owned();
            let pid = name.strip_prefix(BRIDGE).and_then(|n| n.parse::<i32>().ok());
            if pid.is_some_and(|pid| !common::host::alive(pid)) {
                Self::remove(&name);
            }
        }
        Self
    }

    fn name() -> String {
        format!("{BRIDGE}{}", std::process::id())
    }

    fn remove(name: &str) {
        let _ = std::process::Command::new("ip").args(["link", "delete", name]).output();
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        Self::remove(&Self::name());
    }
}

/// A daemon, started. With a network, if it is to have one; its addresses and the bridge are the instance's own.
fn daemon(host: Host, archives: &[std::path::PathBuf]) -> Option<Instance> {
    let mut instance = common::instance()?;
    for archive in archives {
        image::provide(archive, &instance.images_dir(), &archive.file_name().unwrap().to_string_lossy());
    }
    let cni = cni_dir(&instance);
    fs::create_dir_all(&cni).unwrap();
    if host == Host::Bridge {
        // 198.18.0.0/15 is for tests of networks (RFC 2544). A second suite at the same time has another third byte.
        let third = std::process::id() % 250;
        let list = serde_json::json!({
            "cniVersion": "1.0.0",
            "name": "conformance",
            "plugins": [
                {
                    "type": "bridge", "bridge": Bridge::name(),
                    "isGateway": true, "ipMasq": false, "hairpinMode": true,
                    "ipam": {
                        "type": "host-local", "dataDir": instance.dir.join("cni/leases"),
                        "ranges": [[{"subnet": format!("198.18.{third}.0/24")}]],
                        "routes": [{"dst": "0.0.0.0/0"}]
                    }
                },
                {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
            ]
        });
        fs::write(cni.join("10-conformance.conflist"), list.to_string()).unwrap();
    }
    if host == Host::Plain {
        // The least network there is: loopback alone.
        let list = serde_json::json!({
            "cniVersion": "1.0.0", "name": "loopback", "plugins": [{"type": "loopback"}]
        });
        fs::write(cni.join("10-loopback.conflist"), list.to_string()).unwrap();
    }
    let cni = cni.to_string_lossy().into_owned();
    instance.args(&["--restart-backoff", "1s,1s", "--cni-conf-dir", &cni]);
    // A daemon whose first scan lists the images has them before the first case asks.
    instance.start();
    Some(instance)
}

struct Job {
    area: usize,
    case: Case,
}

/// Runs all cases, shows the report, and fails unless every one has passed.
pub fn all(areas: Vec<(&'static str, Vec<Case>)>) {
    let filter = std::env::var("PODSTRAP_TEST_CASES").unwrap_or_default();
    let chosen = |area: &str, case: &Case| {
        let name = format!("{area} {} {}", case.field, case.what);
        filter.split(',').any(|part| name.contains(part))
    };
    let names: Vec<&'static str> = areas.iter().map(|(name, _)| *name).collect();
    let jobs: Vec<Job> = areas
        .into_iter()
        .enumerate()
        .flat_map(|(area, (_, cases))| cases.into_iter().map(move |case| Job { area, case }))
        .filter(|job| chosen(names[job.area], &job.case))
        .collect();
    assert!(!jobs.is_empty(), "no case contains `{filter}`");

    let began = Instant::now();
    // Also where nothing can be run: no report is better than that of an earlier run.
    report::forget();
    let packed = std::env::temp_dir().join(format!("podstrap-conformance-{}", std::process::id()));
    if let Some(reason) = common::host::cannot_run_containers() {
        return common::host::skip(&reason);
    }
    let _bridge = Bridge::new();
    let archives = images::pack(&packed);
    let wanted = |host: Host| jobs.iter().any(|j| j.case.host == host);
    let start = |host: Host| if wanted(host) { daemon(host, &archives) } else { None };
    let plain = start(Host::Plain);
    let bridge = start(Host::Bridge);
    fs::remove_dir_all(&packed).unwrap();

    let report = Mutex::new(Report::new(&names));
    let next = AtomicUsize::new(0);
    let workers = std::env::var("PODSTRAP_TEST_JOBS").ok().and_then(|n| n.parse().ok());
    // A start through docker takes ten times the work.
    let workers = workers.unwrap_or(match common::runtime().as_str() {
        "runc" => 16,
        "docker" => 8,
        _ => 5,
    });
    // Failures are told in the report, with what belongs to them.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let instance = match job.case.host {
                        Host::Plain => plain.as_ref(),
                        Host::Bridge => bridge.as_ref(),
                    };
                    let outcome = one(number, &job.case, instance.expect("a daemon for each host"));
                    report.lock().unwrap().add(number, job.area, &job.case, outcome);
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let report = report.into_inner().unwrap();
    report.close(began.elapsed());
    // Whatever a daemon leaves behind fails the test here. The report stands by then.
    let ends = [bridge, plain].map(|daemon| catch_unwind(AssertUnwindSafe(|| drop(daemon))));
    for end in ends {
        if let Err(panic) = end {
            std::panic::resume_unwind(panic);
        }
    }
    assert_eq!(report.failed(), 0, "cases have failed; see the report");
}

/// Runs one case.
fn one(number: usize, case: &Case, instance: &Instance) -> Outcome {
    let began = Instant::now();
    let mut bench = Bench::new(instance, format!("p{number:03}"), case.web, case.timeout);
    bench.manifest = bench.fill(&case.yaml());
    let refusal = case.refusal(&common::runtime(), common::runtime_name());
    let stuck = case.stuck(&common::runtime());
    let difference = case.difference(&common::runtime());
    let result = catch_unwind(AssertUnwindSafe(|| {
        case.before.iter().for_each(|step| step(&bench));
        bench.submit();
        match (refusal, stuck, difference) {
            (Some(says), ..) => {
                bench.refused(&[says]);
                Verdict::Refused(says)
            }
            (None, Some(says), _) => {
                bench.waits("main", "CreateContainerConfigError", &[says]);
                Verdict::NotHere(says)
            }
            (None, None, Some(difference)) => {
                (difference.step)(&bench);
                Verdict::Differs(difference.how)
            }
            (None, None, None) => {
                case.steps.iter().for_each(|step| step(&bench));
                Verdict::Ok
            }
        }
    }));
    let failed =
        |panic: Box<dyn Any + Send>| Verdict::Failed { why: words(panic.as_ref()), dump: bench.dump() };
    let verdict = result.unwrap_or_else(failed);
    bench.finish();
    Outcome { verdict, took: began.elapsed() }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "panic".to_owned())
}
