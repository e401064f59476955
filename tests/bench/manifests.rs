//! A thousand manifests: reading them for the first time, and looking at them again when none has changed.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::common::podstrap;
use crate::pods::{bench, cpu};
use crate::sample::{Line, Unit};

const MANIFESTS: usize = 1000;

/// Both.
pub fn thousand(effort: &Effort) -> Vec<Line> {
    let mut b = bench(None);
    let pods = b.i.dir.join("thousand");
    fs::create_dir_all(&pods).unwrap();
    for n in 0..MANIFESTS {
        let name = format!("pod-{n}");
        fs::write(pods.join(format!("{name}.yaml")), b.manifest(&name, &[], "")).unwrap();
        // Without containers: they are to be read, and nothing else.
        let object =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map-{n}}}\ndata: {{key: \"{n}\"}}\n");
        fs::write(b.i.manifests.join(format!("map-{n}.yaml")), object).unwrap();
    }
    let validate = || {
        let began = Instant::now();
        let output = Command::new(podstrap()).arg("validate").arg(&pods).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        began.elapsed().as_secs_f64()
    };
    let validated: Vec<f64> = (0..effort.few).map(|_| validate()).collect();
    b.i.args(&["--rescan", "1"]).start();
    b.i.until("all are read", |i| i.daemon_status().is_some_and(|s| s.sources.iter().all(|s| s.synced)));
    std::thread::sleep(Duration::from_secs(2));
    let scan = || {
        let before = cpu(b.i.daemon_pid());
        std::thread::sleep(Duration::from_secs(5));
        (cpu(b.i.daemon_pid()) - before) / 5.0
    };
    let scanned = (0..effort.few).map(|_| scan()).collect();
    vec![
        Line::of(format!("{MANIFESTS} manifests of Pods: validate"), Unit::Time, validated),
        Line::of(format!("{MANIFESTS} manifests unchanged: processor time of a scan"), Unit::Time, scanned),
    ]
}
