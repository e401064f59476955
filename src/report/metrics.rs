//! How the daemon and its Pods fare, as Prometheus reads it (text format 0.0.4).

use std::fmt::Write;

/// Every phase that a Pod can have.
const PHASES: [&str; 4] = ["Pending", "Running", "Succeeded", "Failed"];

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// podstrap's version.
    pub version: String,
    /// `runc` or `docker`.
    pub runtime: String,
    /// When the daemon was started, in Unix milliseconds.
    pub started_unix_ms: i64,
    /// Every Pod.
    pub pods: Vec<PodMetrics>,
    /// So many documents are refused, those too of which an earlier version goes on.
    pub refused: usize,
    /// Ends of probes since the daemon was started: which probe, what it found, how often.
    pub verdicts: Vec<(&'static str, &'static str, u64)>,
    /// The sources, each with when it was last read without an error, in Unix milliseconds.
    pub sources: Vec<(String, Option<i64>)>,
}

/// What is told of one Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodMetrics {
    /// Its namespace.
    pub namespace: String,
    /// Its name with the node's suffix.
    pub name: String,
    /// `status.phase`.
    pub phase: &'static str,
    /// Its condition `Ready`.
    pub ready: bool,
    /// Its containers, init containers among them.
    pub containers: Vec<ContainerMetrics>,
}

/// What is told of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerMetrics {
    /// Its name.
    pub name: String,
    /// It runs.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u32,
}

/// The page. Every name is there also while it has nothing to count, but those that have a line per Pod or source.
pub fn render(metrics: &Metrics) -> String {
    let mut page = Page(String::new());
    let build = [("version", metrics.version.as_str()), ("runtime", metrics.runtime.as_str())];
    page.head("podstrap_build_info", "gauge", "Always 1; the labels tell what runs.");
    page.value("podstrap_build_info", &build, 1);
    page.head("podstrap_start_time_seconds", "gauge", "When the daemon was started, in Unix time.");
    page.value("podstrap_start_time_seconds", &[], seconds(metrics.started_unix_ms));
    page.head("podstrap_pods", "gauge", "Pods by phase.");
    for phase in PHASES {
        let count = metrics.pods.iter().filter(|p| p.phase == phase).count();
        page.value("podstrap_pods", &[("phase", phase)], count);
    }
    page.head("podstrap_pods_ready", "gauge", "Pods whose condition Ready is true.");
    page.value("podstrap_pods_ready", &[], metrics.pods.iter().filter(|p| p.ready).count());
    page.head("podstrap_manifests_refused", "gauge", "Documents of the sources that are refused.");
    page.value("podstrap_manifests_refused", &[], metrics.refused);
    let running = metrics.pods.iter().flat_map(|p| &p.containers).filter(|c| c.running).count();
    page.head("podstrap_containers_running", "gauge", "Containers that run.");
    page.value("podstrap_containers_running", &[], running);
    page.head(
        "podstrap_container_restarts_total",
        "counter",
        "How often a container was started again; begins anew with another generation of its Pod.",
    );
    for pod in &metrics.pods {
        for container in &pod.containers {
            let labels = [
                ("namespace", pod.namespace.as_str()),
                ("pod", pod.name.as_str()),
                ("container", container.name.as_str()),
            ];
            page.value("podstrap_container_restarts_total", &labels, container.restarts);
        }
    }
    page.head(
        "podstrap_probes_total",
        "counter",
        "Ends of probes by what they found, since the daemon's start.",
    );
    for (probe, verdict, count) in &metrics.verdicts {
        page.value("podstrap_probes_total", &[("probe", probe), ("verdict", verdict)], count);
    }
    page.head(
        "podstrap_source_last_read_timestamp_seconds",
        "gauge",
        "When a source was last read without an error, in Unix time.",
    );
    for (source, at) in &metrics.sources {
        if let Some(at) = at {
            page.value("podstrap_source_last_read_timestamp_seconds", &[("source", source)], seconds(*at));
        }
    }
    page.0
}

/// Milliseconds as seconds with three digits.
fn seconds(unix_ms: i64) -> String {
    format!("{}.{:03}", unix_ms.div_euclid(1000), unix_ms.rem_euclid(1000))
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if n == 0 { '{' } else { ',' });
            self.text(text);
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A label's value: three characters have a meaning in it.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metrics {
        let container =
            |name: &str, running, restarts| ContainerMetrics { name: name.into(), running, restarts };
        let pod = |name: &str, phase, ready, containers| PodMetrics {
            namespace: "kube-system".into(),
            name: name.into(),
            phase,
            ready,
            containers,
        };
        Metrics {
            version: "1.2.3".into(),
            runtime: "runc".into(),
            started_unix_ms: 1_700_000_000_042,
            pods: vec![
                pod("etcd-n", "Running", true, vec![container("etcd", true, 2)]),
                pod("api-n", "Running", false, vec![container("wait", false, 0), container("api", true, 0)]),
                pod("new-n", "Pending", false, vec![container("c", false, 0)]),
            ],
            refused: 1,
            verdicts: vec![("liveness", "success", 7), ("readiness", "failure", 1)],
            sources: vec![("/m \"x\"\\\n".into(), Some(1_700_000_001_500)), ("/never".into(), None)],
        }
    }

    #[test]
    fn the_page_is_what_it_was() {
        let page = render(&sample());
        let values: Vec<&str> = page.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                r#"podstrap_build_info{version="1.2.3",runtime="runc"} 1"#,
                "podstrap_start_time_seconds 1700000000.042",
                r#"podstrap_pods{phase="Pending"} 1"#,
                r#"podstrap_pods{phase="Running"} 2"#,
                r#"podstrap_pods{phase="Succeeded"} 0"#,
                r#"podstrap_pods{phase="Failed"} 0"#,
                "podstrap_pods_ready 1",
                "podstrap_manifests_refused 1",
                "podstrap_containers_running 2",
                r#"podstrap_container_restarts_total{namespace="kube-system",pod="etcd-n",container="etcd"} 2"#,
                r#"podstrap_container_restarts_total{namespace="kube-system",pod="api-n",container="wait"} 0"#,
                r#"podstrap_container_restarts_total{namespace="kube-system",pod="api-n",container="api"} 0"#,
                r#"podstrap_container_restarts_total{namespace="kube-system",pod="new-n",container="c"} 0"#,
                r#"podstrap_probes_total{probe="liveness",verdict="success"} 7"#,
                r#"podstrap_probes_total{probe="readiness",verdict="failure"} 1"#,
                r#"podstrap_source_last_read_timestamp_seconds{source="/m \"x\"\\\n"} 1700000001.500"#,
            ]
        );
    }

    #[test]
    fn every_name_has_its_help_and_type_before_its_first_value() {
        let page = render(&sample());
        let (mut helped, mut typed) = (Vec::new(), Vec::new());
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped.push(rest.split(' ').next().unwrap().to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let mut words = rest.split(' ');
                typed.push(words.next().unwrap().to_owned());
                assert!(["gauge", "counter"].contains(&words.next().unwrap()), "{line}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(name.starts_with("podstrap_"), "{line}");
                assert_eq!(helped.last().map(String::as_str), Some(name), "{line}");
                assert_eq!(typed.last().map(String::as_str), Some(name), "{line}");
                // A counter's name ends so, and no other's does.
                assert_eq!(page.contains(&format!("# TYPE {name} counter")), name.ends_with("_total"));
            }
        }
        let distinct: std::collections::BTreeSet<_> = helped.iter().collect();
        assert_eq!(distinct.len(), helped.len(), "{helped:?}");
        assert!(page.ends_with('\n'));
    }
}
