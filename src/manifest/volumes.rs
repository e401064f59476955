//! `spec.volumes` and `volumeMounts`: what of the host is seen where.

use std::collections::{BTreeMap, BTreeSet};

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::metadata::misfit;
use super::names;
use super::node::Value;
use super::spot::Spot;
use crate::pod::{HostPathType, Medium, Mount, Propagation, Volume, VolumeName};

/// Whoever reaches one of these on the host is root on it.
const POWERFUL: &[&str] = &[
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podstrap",
    "/var/lib/podstrap",
];

/// The volumes that were read.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// Those that can be used.
    pub usable: BTreeMap<VolumeName, Volume>,
    /// Every name that was declared, so that a mount of a refused volume is not reported a second time.
    declared: BTreeSet<String>,
}

/// Reads `spec.volumes`.
pub(super) fn read(spec: &Spot<'_>, findings: &mut Findings) -> Volumes {
    let mut out = Volumes::default();
    for item in spec.list("volumes") {
        if !matches!(item.node.value, Value::Map(_)) {
            continue;
        }
        let name = name(&item, &mut out.declared, findings);
        let volume = volume(&item, findings);
        if let (Some(name), Some(volume)) = (name, volume) {
            out.usable.insert(name, volume);
        }
    }
    out
}

fn name(item: &Spot<'_>, declared: &mut BTreeSet<String>, findings: &mut Findings) -> Option<VolumeName> {
    let Some(spot) = item.get("name") else {
        findings.error(item.id(), &item.path_of("name"), "is missing");
        return None;
    };
    let text = spot.text(findings)?;
    if let Err(reason) = names::label(text) {
        misfit(&spot, text, reason, findings);
        return None;
    }
    if !declared.insert(text.to_owned()) {
        spot.error(findings, format!("there are two volumes named {}", quoted(text)));
        return None;
    }
    Some(VolumeName::new(text))
}

fn volume(item: &Spot<'_>, findings: &mut Findings) -> Option<Volume> {
    let Value::Map(entries) = &item.node.value else { return None };
    let is_source = |key: &str| key != "name" && super::fields::VOLUME.iter().any(|f| f.name == key);
    let mut sources = entries.iter().filter(|e| is_source(&e.key) && e.value.value != Value::Null);
    let first = sources.next();
    if let (Some(first), Some(second)) = (first, sources.next()) {
        let message =
            format!("a volume has exactly one source, and this one has {} and {}", first.key, second.key);
        findings.error(second.id, &item.path_of(&second.key), message);
        return None;
    }
    // An empty directory in place of a misspelt or newer source could be an empty database.
    let is_unknown = |key: &str| super::fields::VOLUME.iter().all(|f| f.name != key);
    if first.is_none()
        && let Some(unknown) = entries.iter().find(|e| is_unknown(&e.key) && e.value.value != Value::Null)
    {
        let message = format!("the volume has no source that is known, only {}", quoted(&unknown.key));
        let finding = findings.error(unknown.id, &item.path_of(&unknown.key), message);
        if let Some(near) = nearest(&unknown.key, super::fields::VOLUME.iter().map(|f| f.name)) {
            finding.help(format!("did you mean {near}?"));
        }
        return None;
    }
    match first.map(|e| e.key.as_str()) {
        Some("hostPath") => host_path(&item.get("hostPath")?, findings),
        Some("emptyDir") => empty_dir(&item.get("emptyDir")?, findings),
        // Refused by the table of fields.
        Some(_) => None,
        None => Some(Volume::EmptyDir { medium: Medium::Disk, size_limit: None }),
    }
}

fn empty_dir(spot: &Spot<'_>, findings: &mut Findings) -> Option<Volume> {
    if let Some(medium) = spot.get("medium") {
        let text = medium.text(findings)?;
        if text == "Memory" || text.starts_with("HugePages") {
            medium.error(findings, format!("cannot be honoured: the medium {text} is not supported yet"));
            return None;
        }
        if !text.is_empty() {
            medium.error(findings, format!("{} is not one of \"\", Memory, HugePages", quoted(text)));
            return None;
        }
    }
    Some(Volume::EmptyDir { medium: Medium::Disk, size_limit: None })
}

fn host_path(spot: &Spot<'_>, findings: &mut Findings) -> Option<Volume> {
    let kind = match spot.get("type") {
        None => HostPathType::Unset,
        Some(kind) => kind.choice(
            findings,
            &[
                ("", HostPathType::Unset),
                ("DirectoryOrCreate", HostPathType::DirectoryOrCreate),
                ("Directory", HostPathType::Directory),
                ("FileOrCreate", HostPathType::FileOrCreate),
                ("File", HostPathType::File),
                ("Socket", HostPathType::Socket),
                ("CharDevice", HostPathType::CharDevice),
                ("BlockDevice", HostPathType::BlockDevice),
            ],
        )?,
    };
    let Some(path) = spot.get("path") else {
        findings.error(spot.id(), &spot.path_of("path"), "is missing");
        return None;
    };
    let text = path.text(findings)?;
    if text.is_empty() {
        path.error(findings, "must not be empty");
        return None;
    }
    if !text.starts_with('/') {
        path.error(findings, format!("{} is not absolute", quoted(text)))
            .help(format!("did you mean /{text}?"));
        return None;
    }
    if text.split('/').any(|part| part == "..") {
        path.error(findings, "must not contain '..'");
        return None;
    }
    let clean = clean(text);
    if clean == "/" {
        path.warning(findings, "gives the container the whole file system of the host");
    }
    if POWERFUL.iter().any(|p| clean == *p || clean.strip_prefix(p).is_some_and(|r| r.starts_with('/'))) {
        path.warning(findings, "gives the container control over all containers of this host");
    }
    Some(Volume::HostPath { path: clean, kind })
}

/// Without doubled and trailing slashes and single dots.
pub(super) fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    format!("/{}", parts.join("/"))
}

/// Reads the `volumeMounts` of one container.
pub(super) fn mounts(
    container: &Spot<'_>,
    volumes: &Volumes,
    privileged: bool,
    findings: &mut Findings,
) -> Vec<Mount> {
    let mut out: Vec<Mount> = Vec::new();
    let mut taken = BTreeSet::new();
    for item in container.list("volumeMounts") {
        if !matches!(item.node.value, Value::Map(_)) {
            continue;
        }
        let volume = mounted(&item, volumes, findings);
        let path = mount_path(&item, &mut taken, findings);
        let read_only = item.get("readOnly").and_then(|s| s.boolean(findings)).unwrap_or(false);
        let propagation = propagation(&item, privileged, findings);
        if let (Some(volume), Some(path), Some(propagation)) = (volume, path, propagation) {
            out.push(Mount {
                volume,
                path,
                read_only,
                propagation,
                recursive_read_only: false,
                sub_path: None,
            });
        }
    }
    out
}

fn mounted(item: &Spot<'_>, volumes: &Volumes, findings: &mut Findings) -> Option<VolumeName> {
    let Some(spot) = item.get("name") else {
        findings.error(item.id(), &item.path_of("name"), "is missing");
        return None;
    };
    let text = spot.text(findings)?;
    if volumes.declared.contains(text) {
        return Some(VolumeName::new(text));
    }
    let finding = spot.error(findings, format!("there is no volume {}", quoted(text)));
    match nearest(text, volumes.declared.iter().map(String::as_str)) {
        Some(near) => finding.help(format!("did you mean {near}?")),
        None if volumes.declared.is_empty() => finding.help("spec.volumes is empty"),
        None => {
            let names: Vec<&str> = volumes.declared.iter().take(10).map(String::as_str).collect();
            finding.help(format!("spec.volumes has {}", names.join(", ")))
        }
    };
    None
}

fn mount_path(item: &Spot<'_>, taken: &mut BTreeSet<String>, findings: &mut Findings) -> Option<String> {
    let Some(spot) = item.get("mountPath") else {
        findings.error(item.id(), &item.path_of("mountPath"), "is missing");
        return None;
    };
    let text = spot.text(findings)?;
    if text.is_empty() {
        spot.error(findings, "must not be empty");
        return None;
    }
    if text.split('/').any(|part| part == "..") {
        spot.error(findings, "must not contain '..'");
        return None;
    }
    if !text.starts_with('/') {
        spot.warning(findings, format!("{} is not absolute, taken for /{text}", quoted(text)));
    }
    let path = clean(text);
    if matches!(path.as_str(), "/" | "/proc" | "/sys" | "/dev") || path.starts_with("/proc/") {
        spot.error(findings, format!("a volume must not be mounted over {path}"));
        return None;
    }
    if !taken.insert(path.clone()) {
        spot.error(findings, format!("two volumes are mounted at {}", quoted(&path)));
        return None;
    }
    Some(path)
}

fn propagation(item: &Spot<'_>, privileged: bool, findings: &mut Findings) -> Option<Propagation> {
    let Some(spot) = item.get("mountPropagation") else { return Some(Propagation::Private) };
    let choices = [
        ("None", Propagation::Private),
        ("HostToContainer", Propagation::HostToContainer),
        ("Bidirectional", Propagation::Bidirectional),
    ];
    let choice = spot.choice(findings, &choices)?;
    if choice == Propagation::Bidirectional && !privileged {
        spot.error(findings, "Bidirectional is only allowed in a privileged container");
        return None;
    }
    Some(choice)
}
