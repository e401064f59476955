//! One case: a Pod, named after the field it proves, and what must be seen of it.
//!
//! Manifests are written as pieces of YAML. In all of them, and in what is expected, these words are replaced: `@NAME@`
//! (the Pod's name without the node's), `@DIR@` (the case's own directory on the host, mounted at /out in every
//! container), `@PORT@` (a port of the host's that is the case's own) and `@STATE@` (the daemon's state directory).

use std::time::Duration;

use crate::bench::Bench;
use crate::common::image::BUSYBOX;

/// What is done and looked at, once the manifest lies in the directory.
pub type Step = Box<dyn Fn(&Bench<'_>) + Send + Sync>;

/// Which daemon runs the Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Without a network configured: Pods have the host's network, or nothing but loopback.
    Plain,
    /// With a CNI bridge.
    Bridge,
}

/// A Pod and what must be seen of it.
pub struct Case {
    /// The field, as the manifest's path without indices, perhaps with a value.
    pub field: &'static str,
    /// What of it is proved.
    pub what: &'static str,
    /// Which daemon runs it.
    pub host: Host,
    /// How long all of its steps may take.
    pub timeout: Duration,
    /// Runtimes that cannot do it, each with what its refusal says: `docker` is podman, too.
    pub refusals: Vec<(&'static str, &'static str)>,
    /// Runtimes that do it in another way, which is documented.
    pub differences: Vec<Difference>,
    /// Runtimes that cannot do it on this very host, each with what is said when the container is to be started.
    pub not_here: Vec<(&'static str, &'static str)>,
    /// An HTTP server of the test's own listens on `@PORT@`.
    pub web: bool,
    /// Before the manifest is written.
    pub before: Vec<Step>,
    /// After it.
    pub steps: Vec<Step>,
    pod: PodText,
}

/// How one runtime does it in another way.
pub struct Difference {
    /// Which one.
    pub runtime: &'static str,
    /// How, in words.
    pub how: &'static str,
    /// What is looked at in place of the case's steps.
    pub step: Step,
}

/// A container of the Pod under test.
#[derive(Clone, Debug, Default)]
pub struct Part {
    name: String,
    script: Option<String>,
    fields: Vec<String>,
    mounts: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct PodText {
    metadata: Vec<String>,
    spec: Vec<String>,
    init: Vec<Part>,
    containers: Vec<Part>,
    volumes: Vec<String>,
    documents: Vec<String>,
}

/// A container that runs a shell script. The script knows `say WORD`, which adds the word and the time since boot to
/// /out/events, and `stay`, which does not end by itself.
pub fn part(name: &str, script: &str) -> Part {
    Part { name: name.to_owned(), script: Some(script.to_owned()), ..Part::default() }
}

impl Part {
    /// Without a command: the image's own is run.
    pub fn of_image(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// A further field, one line.
    pub fn with(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    /// A further mount, in flow style.
    pub fn mount(mut self, mount: &str) -> Self {
        self.mounts.push(mount.to_owned());
        self
    }

    fn yaml(&self) -> String {
        let has = |field: &str| self.fields.iter().any(|f| f.starts_with(field));
        let mut lines = vec![format!("  - name: {}", self.name)];
        if let Some(script) = &self.script {
            // The first line marks the process, so that it is found among the host's.
            let script = format!(
                ": @NAME@.{}.\nsay() {{ read -r up _ </proc/uptime; echo \"$1 $up\" >>/out/events; }}\n\
                 stay() {{ while :; do sleep 1000 & wait $!; done; }}\n{script}",
                self.name
            );
            // A JSON string is a YAML string.
            let script = serde_json::to_string(&script).unwrap();
            // The shell's own variables are not for the expansion of the manifest's: `$(` and `$$` mean something there.
            lines.push(format!("    command: [sh, -c, {}]", script.replace('$', "$$")));
        }
        if !has("image:") {
            lines.push(format!("    image: {BUSYBOX}"));
        }
        if !has("imagePullPolicy:") {
            lines.push("    imagePullPolicy: IfNotPresent".to_owned());
        }
        let mut mounts = vec!["{name: out, mountPath: /out}".to_owned()];
        mounts.extend(self.mounts.iter().cloned());
        lines.push(format!("    volumeMounts: [{}]", mounts.join(", ")));
        lines.extend(self.fields.iter().map(|f| format!("    {f}")));
        lines.join("\n") + "\n"
    }
}

/// A case with a Pod that, unless told otherwise, uses the host's network, is not restarted, and gets one second to end.
pub fn case(field: &'static str, what: &'static str) -> Case {
    Case {
        field,
        what,
        host: Host::Plain,
        timeout: Duration::from_secs(40),
        refusals: Vec::new(),
        not_here: Vec::new(),
        differences: Vec::new(),
        web: false,
        before: Vec::new(),
        steps: Vec::new(),
        pod: PodText::default(),
    }
}

impl Case {
    /// A container `main` that runs a script; `fields` holds further fields, one a line.
    pub fn main(self, script: &str, fields: &str) -> Self {
        let part =
            fields.lines().map(str::trim).filter(|l| !l.is_empty()).fold(part("main", script), Part::with);
        self.container(part)
    }

    /// A further container.
    pub fn container(mut self, part: Part) -> Self {
        self.pod.containers.push(part);
        self
    }

    /// A further init container.
    pub fn init(mut self, part: Part) -> Self {
        self.pod.init.push(part);
        self
    }

    /// A further line of the spec.
    pub fn spec(mut self, line: &str) -> Self {
        self.pod.spec.push(line.to_owned());
        self
    }

    /// A further line of the metadata.
    pub fn metadata(mut self, line: &str) -> Self {
        self.pod.metadata.push(line.to_owned());
        self
    }

    /// A further volume, in flow style.
    pub fn volume(mut self, volume: &str) -> Self {
        self.pod.volumes.push(volume.to_owned());
        self
    }

    /// A further document in the same file.
    pub fn document(mut self, yaml: &str) -> Self {
        self.pod.documents.push(yaml.to_owned());
        self
    }

    /// The Pod has a network namespace of its own, with nothing but loopback.
    pub fn own_network(self) -> Self {
        self.spec("hostNetwork: false")
    }

    /// The Pod has a network of its own, on a CNI bridge.
    pub fn bridge(mut self) -> Self {
        self.host = Host::Bridge;
        self.own_network()
    }

    /// The Pod has the host's network, where others are on a bridge.
    pub fn host_beside_bridge(mut self) -> Self {
        self.host = Host::Bridge;
        self
    }

    /// An HTTP server of the test's own listens on `@PORT@`, on all addresses of the host.
    pub fn web(mut self) -> Self {
        self.web = true;
        self
    }

    /// What the refusal by this runtime says: its own, or that of the kind it belongs to.
    pub fn refusal(&self, runtime: &str, kind: &str) -> Option<&'static str> {
        let of = |wanted: &str| self.refusals.iter().find(|(name, _)| *name == wanted).map(|(_, says)| *says);
        of(runtime).or_else(|| of(kind))
    }

    /// What that runtime cannot do, with what its refusal says.
    pub fn refused_by(mut self, runtime: &'static str, says: &'static str) -> Self {
        self.refusals.push((runtime, says));
        self
    }

    /// What that runtime can do only where it may give every capability, as on any host but those of some builders.
    pub fn needs_all_capabilities(mut self, runtime: &'static str, says: &'static str) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap();
        let last: u32 =
            std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
        if u64::from_str_radix(bounding.trim(), 16).unwrap() != (1 << (last + 1)) - 1 {
            self.not_here.push((runtime, says));
        }
        self
    }

    /// What that runtime does in another way, as podstrap(8) says, and what must be seen of that instead.
    pub fn differs(
        mut self,
        runtime: &'static str,
        how: &'static str,
        step: impl Fn(&Bench<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.differences.push(Difference { runtime, how, step: Box::new(step) });
        self
    }

    /// How that runtime does it, if it does it in another way.
    pub fn difference(&self, runtime: &str) -> Option<&Difference> {
        self.differences.iter().find(|d| d.runtime == runtime)
    }

    /// What is said instead of a start on this host.
    pub fn stuck(&self, runtime: &str) -> Option<&'static str> {
        self.not_here.iter().find(|(name, _)| *name == runtime).map(|(_, says)| *says)
    }

    /// Something to be done before the manifest is written.
    pub fn before(mut self, step: impl Fn(&Bench<'_>) + Send + Sync + 'static) -> Self {
        self.before.push(Box::new(step));
        self
    }

    /// Something to be done and looked at.
    pub fn then(mut self, step: impl Fn(&Bench<'_>) + Send + Sync + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    // What is often expected.

    /// The container ends, and has written exactly these lines.
    pub fn prints(self, container: &'static str, expected: &'static str) -> Self {
        self.then(move |t| {
            t.ended(container);
            let expected = t.fill(expected);
            let output = t.logs(container);
            assert_eq!(output.trim_end(), expected.trim_end(), "output of {container}");
        })
    }

    /// The container `main` ends, and has written exactly these lines.
    pub fn says(self, expected: &'static str) -> Self {
        self.prints("main", expected)
    }

    /// The container `main` ends, and what it has written passes this check.
    pub fn output(self, check: impl Fn(&Bench<'_>, &str) + Send + Sync + 'static) -> Self {
        self.then(move |t| {
            t.ended("main");
            check(t, &t.logs("main"));
        })
    }

    /// `status.phase` becomes this.
    pub fn phase(self, phase: &'static str) -> Self {
        self.then(move |t| t.phase(phase))
    }

    /// The document is refused, in words that contain these.
    pub fn refused(self, words: &'static [&'static str]) -> Self {
        self.then(move |t| t.refused(words))
    }

    /// The container goes on waiting with this reason, and a message that contains these words.
    pub fn waits(
        self,
        container: &'static str,
        reason: &'static str,
        words: &'static [&'static str],
    ) -> Self {
        self.then(move |t| t.waits(container, reason, words))
    }

    /// The manifest.
    pub fn yaml(&self) -> String {
        let pod = &self.pod;
        let has = |field: &str| pod.spec.iter().any(|f| f.starts_with(field));
        let mut text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"@NAME@\"\n".to_owned();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        pod.metadata.iter().for_each(|m| line(format!("  {m}")));
        line("spec:".to_owned());
        for (field, default) in
            [("hostNetwork:", "true"), ("restartPolicy:", "Never"), ("terminationGracePeriodSeconds:", "1")]
        {
            if !has(field) {
                line(format!("  {field} {default}"));
            }
        }
        pod.spec.iter().for_each(|s| line(format!("  {s}")));
        for (field, parts) in [("initContainers", &pod.init), ("containers", &pod.containers)] {
            if !parts.is_empty() {
                line(format!("  {field}:"));
                parts.iter().for_each(|p| line(p.yaml().trim_end().to_owned()));
            }
        }
        line("  volumes:".to_owned());
        line("  - {name: out, hostPath: {path: \"@DIR@\", type: Directory}}".to_owned());
        pod.volumes.iter().for_each(|v| line(format!("  - {v}")));
        pod.documents.iter().for_each(|d| line(format!("---\n{d}")));
        text
    }
}
