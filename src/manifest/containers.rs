//! `spec.initContainers` and `spec.containers`.

use std::collections::BTreeSet;

use super::escape::quoted;
use super::findings::Findings;
use super::lifecycle::{self, Restart};
use super::metadata::item_name;
use super::node::Value;
use super::spot::Spot;
use super::volumes::{Volumes, clean};
use super::{env, mounts, ports, probes, resources, security};
use crate::pod::reference::Reference;
use crate::pod::{Container, ContainerName, Lifecycle, PullPolicy, RestartPolicy};

/// What the containers of a Pod share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub volumes: &'a Volumes,
    /// The names of all containers.
    pub names: &'a BTreeSet<&'a str>,
    pub host_network: bool,
    /// `terminationGracePeriodSeconds`, if it is usable.
    pub grace: Option<u32>,
}

/// Reads the init containers and the others. What could not be read is left out, and has been reported.
pub(super) fn read(
    spec: &Spot<'_>,
    shared: &Shared<'_>,
    findings: &mut Findings,
) -> (Vec<Container>, Vec<Container>) {
    let mut taken_names = BTreeSet::new();
    let (mut inits, mut others) = (Vec::new(), Vec::new());
    for item in spec.list("initContainers").filter(|i| matches!(i.node.value, Value::Map(_))) {
        // They run at different times: only their own ports can clash.
        let ports = ports::read(&item, shared.host_network, &mut BTreeSet::new(), findings);
        inits.extend(container(&item, shared, true, &mut taken_names, ports, findings));
    }
    let mut taken_ports = BTreeSet::new();
    for item in spec.list("containers").filter(|i| matches!(i.node.value, Value::Map(_))) {
        let ports = ports::read(&item, shared.host_network, &mut taken_ports, findings);
        others.extend(container(&item, shared, false, &mut taken_names, ports, findings));
    }
    let not_a_list = spec.get("containers").is_some_and(|c| !matches!(c.node.value, Value::List(_)));
    if spec.list("containers").next().is_none() && !not_a_list {
        findings.error(spec.id(), &spec.path_of("containers"), "must have at least one container");
    }
    (inits, others)
}

fn container(
    item: &Spot<'_>,
    shared: &Shared<'_>,
    init: bool,
    taken: &mut BTreeSet<String>,
    ports: Vec<crate::pod::Port>,
    findings: &mut Findings,
) -> Option<Container> {
    let name = item_name(item, "containers", taken, findings).map(ContainerName::new);
    let image = image(item, "image", findings);
    let pull_policy = pull_policy(item, "imagePullPolicy", image.as_ref(), findings);
    let security = security::container(item.get("securityContext").as_ref(), findings);
    let mounts = mounts::read(item, shared.volumes, security.privileged, findings);
    let texts =
        |field: &str, findings: &mut Findings| item.get(field).map(|s| s.texts(findings)).unwrap_or_default();
    let command = texts("command", findings);
    let args = texts("args", findings);
    let flag = |name: &str, findings: &mut Findings| {
        item.get(name).and_then(|s| s.boolean(findings)).unwrap_or(false)
    };
    let stdin = flag("stdin", findings);
    let tty = flag("tty", findings);
    let working_dir = working_dir(item, findings);
    let env_from = env::sources(item, findings);
    let env = env::variables(item, shared.names, findings);
    let resources = resources::read(item, findings);
    let liveness = probes::read(item, "livenessProbe", &ports, findings);
    let readiness = probes::read(item, "readinessProbe", &ports, findings);
    let startup = probes::read(item, "startupProbe", &ports, findings);
    let lifecycle = lifecycle::read(item, &ports, shared.grace, findings);
    let Restart { policy, rules: restart_rules } = lifecycle::restart(item, findings);
    let sidecar = init && policy == Some(RestartPolicy::Always);
    let plain = init && !sidecar;
    if plain {
        plain_init(item, findings);
    }
    let (termination_message_path, termination_message_from_logs) = termination_message(item, findings)?;
    Some(Container {
        pull_policy: pull_policy?,
        sidecar,
        restart: policy.filter(|_| !sidecar),
        restart_rules,
        lifecycle: if plain { Lifecycle::default() } else { lifecycle },
        stdin,
        tty,
        termination_message_path,
        termination_message_from_logs,
        command,
        args,
        working_dir,
        env_from,
        env,
        ports,
        resources,
        mounts,
        liveness,
        readiness,
        startup,
        security: security.shared,
        privileged: security.privileged,
        allow_privilege_escalation: security.allow_privilege_escalation,
        read_only_root: security.read_only_root,
        cap_add: security.cap_add,
        cap_drop: security.cap_drop,
        proc_unmasked: security.proc_unmasked,
        ..Container::new(name?, image?)
    })
}

/// An init container that is no sidecar ends before anything could probe or stop it.
fn plain_init(item: &Spot<'_>, findings: &mut Findings) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
        if let Some(spot) = item.get(field).filter(|s| s.node.value != Value::Map(Vec::new())) {
            spot.error(findings, "must not be set for an init container that runs to its end")
                .help("a sidecar has restartPolicy: Always");
        }
    }
}

fn termination_message(item: &Spot<'_>, findings: &mut Findings) -> Option<(String, bool)> {
    let from_logs =
        item.get("terminationMessagePolicy").filter(|s| s.node.value != Value::Text(String::new()));
    let from_logs = match from_logs {
        None => Some(false),
        Some(spot) => spot.choice(findings, &[("File", false), ("FallbackToLogsOnError", true)]),
    };
    let path = match item.get("terminationMessagePath") {
        None => Some("/dev/termination-log".to_owned()),
        Some(spot) => match spot.text(findings)? {
            "" => Some("/dev/termination-log".to_owned()),
            text if text.split('/').any(|part| part == "..") => {
                spot.error(findings, "must not contain '..'");
                None
            }
            text if !text.starts_with('/') => {
                spot.error(findings, format!("{} is not absolute", quoted(text)))
                    .help(format!("did you mean /{text}?"));
                None
            }
            text => {
                let path = clean(text);
                let forbidden = matches!(path.as_str(), "/" | "/proc" | "/sys" | "/dev");
                if forbidden || path.starts_with("/proc/") || path.starts_with("/sys/") {
                    spot.error(findings, format!("a file must not be mounted over {path}"));
                }
                Some(path)
            }
        },
    };
    Some((path?, from_logs?))
}

fn working_dir(item: &Spot<'_>, findings: &mut Findings) -> Option<String> {
    let spot = item.get("workingDir")?;
    let text = spot.filled(findings)?;
    // The OCI runtime would refuse it at every start.
    if !text.starts_with('/') {
        spot.error(findings, format!("{} is not absolute", quoted(text)))
            .help(format!("did you mean /{text}?"));
    }
    Some(text.to_owned())
}

/// An image, of a container or a volume.
pub(super) fn image(item: &Spot<'_>, field: &str, findings: &mut Findings) -> Option<Reference> {
    let Some(spot) = item.get(field) else {
        findings.error(item.id(), &item.path_of(field), "is missing");
        return None;
    };
    let text = spot.text(findings)?;
    match Reference::parse(text) {
        Ok(reference) => Some(reference),
        Err(error) => {
            let finding = spot.error(findings, format!("{}: {error}", quoted(text)));
            let lower = text.trim().to_lowercase();
            let lower = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
            if lower != text && Reference::parse(lower).is_ok() {
                finding.help(format!("did you mean {lower}?"));
            }
            None
        }
    }
}

/// When to pull it.
pub(super) fn pull_policy(
    item: &Spot<'_>,
    field: &str,
    image: Option<&Reference>,
    findings: &mut Findings,
) -> Option<PullPolicy> {
    let default = match image {
        Some(image) if image.is_latest() => PullPolicy::Always,
        Some(_) | None => PullPolicy::IfNotPresent,
    };
    match item.get(field) {
        None => Some(default),
        Some(spot) => spot.choice(
            findings,
            &[
                ("Always", PullPolicy::Always),
                ("IfNotPresent", PullPolicy::IfNotPresent),
                ("Never", PullPolicy::Never),
            ],
        ),
    }
}
