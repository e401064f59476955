//! What docker cannot express: refused where the manifest says it, because a Pod without it would be another one.
//!
//! Held against docker-run(1) of docker 20.10. Whatever that can be told, or what podstrap does around docker itself
//! (files of names, volumes and what is mounted of them, limits of the Pod as a whole), is not here.

use super::escape::quoted;
use super::findings::Findings;
use super::node::Value;
use super::spot::Spot;
use crate::pod::quantity::Bytes;
use crate::pod::variables;

/// One field of the table of all fields that docker does not honour in full.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// The field, as the table has it (see [`super::fields::all`]).
    pub path: &'static str,
    /// What is refused, and why; the end of a sentence that begins with the field.
    pub note: &'static str,
}

const fn gap(path: &'static str, note: &'static str) -> Gap {
    Gap { path, note }
}

/// All gaps, in the order of the table of fields. podstrap-manifest(5) has them too.
pub const GAPS: &[Gap] = &[
    gap(
        "spec.containers[].command[]",
        "an empty text in the first place: docker takes it for no program at all and runs the next word",
    ),
    gap(
        "spec.containers[].env[].value",
        "a line break, or more than 60 KiB, in a variable that is a setting of the docker CLI itself (HOME, PATH, TERM, \
         DOCKER_*, SSL_*, *_PROXY and others): only a file of lines keeps it from the CLI",
    ),
    gap("spec.containers[].resources.limits", "hugepages-SIZE, and memory below 6Mi: docker takes neither"),
    gap("spec.containers[].resources.requests", "hugepages-SIZE: docker has no limit of huge pages"),
    gap(
        "spec.containers[].securityContext.capabilities.add[]",
        "BPF, PERFMON and CHECKPOINT_RESTORE in a container that is not privileged, and ALL where these three are not in drop: \
         docker 20.10 does not know them",
    ),
    gap("spec.volumes[].emptyDir.medium", "HugePages and HugePages-SIZE: docker has no limit of huge pages"),
    gap("spec.volumes[].image", "docker mounts no images before version 28"),
    gap(
        "spec.securityContext.supplementalGroupsPolicy",
        "Strict: docker always adds the groups that the image has for the user",
    ),
    gap("spec.resources", "hugepages-SIZE: docker has no limit of huge pages"),
];

/// The smallest limit of memory that docker takes, in bytes.
const MEMORY_MIN: u64 = 6 << 20;

/// Kubernetes' capabilities that docker 20.10 does not know.
const UNKNOWN_CAPABILITIES: [&str; 3] = ["BPF", "CHECKPOINT_RESTORE", "PERFMON"];

/// What to do about most of them.
const USE_RUNC: &str = "run it with --runtime runc";

/// Reports everything in the document that docker cannot express. What is wrong anyway is left to those who read the
/// single fields.
pub(super) fn check(document: &Spot<'_>, findings: &mut Findings) {
    let Some(spec) = document.get("spec") else { return };
    for container in spec.list("initContainers").chain(spec.list("containers")) {
        command(&container, findings);
        environment(&container, findings);
        if let Some(resources) = container.get("resources") {
            huge_pages(&resources, findings);
            memory(&resources, findings);
        }
        capabilities(&container, findings);
    }
    for volume in spec.list("volumes") {
        if let Some(image) = volume.get("image") {
            image
                .error(findings, "cannot be had with docker, which mounts no images before version 28")
                .help("unpack it on the node and use hostPath, copy its files in an initContainer, or run it with --runtime runc");
        }
        if let Some(medium) = volume.get("emptyDir").and_then(|e| e.get("medium"))
            && text(&medium).is_some_and(|t| t.starts_with("HugePages"))
        {
            medium
                .error(findings, "cannot be had with docker, which has no limit of huge pages")
                .help(USE_RUNC);
        }
    }
    if let Some(resources) = spec.get("resources") {
        huge_pages(&resources, findings);
    }
    if let Some(policy) = spec.get("securityContext").and_then(|s| s.get("supplementalGroupsPolicy"))
        && text(&policy) == Some("Strict")
    {
        policy
            .error(
                findings,
                "Strict cannot be had with docker, which always adds the groups that the image has for the user",
            )
            .help("Merge, if the image's /etc/group may be trusted, or run it with --runtime runc");
    }
}

/// The value, if it is text.
fn text<'n>(spot: &Spot<'n>) -> Option<&'n str> {
    match &spot.node.value {
        Value::Text(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
            None
        }
    }
}

fn command(container: &Spot<'_>, findings: &mut Findings) {
    if let Some(program) = container.list("command").next().filter(|p| text(p) == Some("")) {
        program
            .error(findings, "is no program, and docker would run the next word instead")
            .help("name the program; without command the image's is run");
    }
}

/// Values that come from elsewhere are known when the container starts only.
fn environment(container: &Spot<'_>, findings: &mut Findings) {
    let named: Vec<(&str, Spot<'_>)> = container
        .list("env")
        .filter_map(|variable| Some((text(&variable.get("name")?)?, variable)))
        .collect();
    for (at, (name, variable)) in named.iter().enumerate() {
        // Of several the last one counts.
        if !variables::is_of_docker_cli(name) || named.iter().skip(at + 1).any(|(other, _)| other == name) {
            continue;
        }
        let Some(value) = variable.get("value") else { continue };
        if text(&value).is_some_and(|text| !variables::fits_line(name, text)) {
            let why = "docker cannot be given this: the variable is a setting of its command line itself, and the value \
                       has a line break or is longer than 60 KiB";
            value.error(findings, why).help(
                "put the value into a ConfigMap that is mounted as a file, give the variable another name, or run it with --runtime runc",
            );
        }
    }
}

fn huge_pages(resources: &Spot<'_>, findings: &mut Findings) {
    for list in ["limits", "requests"] {
        for (name, id, value) in resources.get(list).iter().flat_map(Spot::pairs) {
            if name.starts_with("hugepages-") && value.node.value != Value::Null {
                findings
                    .error(id, &value.path, "cannot be had with docker, which has no limit of huge pages")
                    .help(USE_RUNC);
            }
        }
    }
}

fn memory(resources: &Spot<'_>, findings: &mut Findings) {
    let Some(limit) = resources.get("limits").and_then(|l| l.get("memory")) else { return };
    let amount = match &limit.node.value {
        Value::Text(text) => Bytes::parse(text).ok(),
        Value::Int(number) => Bytes::parse(&number.to_string()).ok(),
        Value::Float(number) => Bytes::parse(&number.to_string()).ok(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    };
    // 0 is no limit.
    if amount.is_some_and(|q| (1..MEMORY_MIN).contains(&q.0)) {
        limit
            .error(findings, "is less than docker takes")
            .help("at least 6Mi, or run it with --runtime runc");
    }
}

fn capabilities(container: &Spot<'_>, findings: &mut Findings) {
    let Some(context) = container.get("securityContext") else { return };
    // What is wrong with it is told by who reads it.
    if context.get("privileged").and_then(|p| p.boolean(&mut Findings::default())) == Some(true) {
        return;
    }
    let name_of = |given: &str| {
        let upper = given.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
    };
    let of =
        |list: &str| context.get("capabilities").into_iter().flat_map(|c| c.list(list)).collect::<Vec<_>>();
    let dropped: Vec<String> = of("drop").iter().filter_map(text).map(name_of).collect();
    for item in of("add") {
        let Some(given) = text(&item) else { continue };
        let name = name_of(given);
        let is_dropped = |unknown: &str| dropped.iter().any(|d| d == unknown);
        if name == "ALL" && !UNKNOWN_CAPABILITIES.iter().all(|unknown| is_dropped(unknown)) {
            item.error(
                findings,
                format!(
                    "cannot be had with docker 20.10, which does not know {}",
                    UNKNOWN_CAPABILITIES.join(", ")
                ),
            )
            .help("drop these by name, name those that are needed, or run it with --runtime runc");
        }
        if UNKNOWN_CAPABILITIES.contains(&name.as_str()) {
            item.error(
                findings,
                format!("{} is a capability that docker 20.10 does not know", quoted(given)),
            )
            .help("SYS_ADMIN has it, and much more; or run it with --runtime runc");
        }
    }
}
