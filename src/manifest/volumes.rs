//! `spec.volumes`: what containers may see beside their images.

use std::collections::{BTreeMap, BTreeSet};

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::metadata::item_name;
use super::node::Value;
use super::spot::Spot;
use super::{containers, projected, resources};
use crate::pod::quantity::Bytes;
use crate::pod::{Container, HostPathType, Medium, Volume, VolumeName};

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
    pub declared: BTreeSet<String>,
}

/// Reads `spec.volumes`.
pub(super) fn read(spec: &Spot<'_>, containers: &BTreeSet<&str>, findings: &mut Findings) -> Volumes {
    let mut out = Volumes::default();
    for item in spec.list("volumes") {
        if !matches!(item.node.value, Value::Map(_)) {
            continue;
        }
        let name = item_name(&item, "volumes", &mut out.declared, findings).map(VolumeName::new);
        let volume = volume(&item, containers, findings);
        if let (Some(name), Some(volume)) = (name, volume) {
            out.usable.insert(name, volume);
        }
    }
    out
}

fn volume(item: &Spot<'_>, containers: &BTreeSet<&str>, findings: &mut Findings) -> Option<Volume> {
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
        Some("image") => image(&item.get("image")?, findings),
        Some(name @ ("downwardAPI" | "configMap" | "secret" | "projected")) => {
            projected::read(name, &item.get(name)?, containers, findings)
        }
        // Refused by the table of fields.
        Some(_) => None,
        None => Some(Volume::EmptyDir { medium: Medium::Disk, size_limit: None }),
    }
}

fn image(spot: &Spot<'_>, findings: &mut Findings) -> Option<Volume> {
    let Value::Map(_) = spot.node.value else { return None };
    let reference = containers::image(spot, "reference", findings);
    let pull_policy = containers::pull_policy(spot, "pullPolicy", reference.as_ref(), findings);
    Some(Volume::Image { reference: reference?, pull_policy: pull_policy? })
}

fn empty_dir(spot: &Spot<'_>, findings: &mut Findings) -> Option<Volume> {
    let Value::Map(_) = spot.node.value else { return None };
    let medium = match spot.get("medium") {
        None => Some(Medium::Disk),
        Some(medium) => self::medium(&medium, findings),
    };
    let size_limit = spot.get("sizeLimit").and_then(|limit| {
        // 0 is what Go cannot tell from absent.
        let size = resources::quantity(&limit, Bytes::parse, findings).filter(|size| size.0 > 0);
        if size.is_some() && medium == Some(Medium::Disk) {
            limit.warning(findings, "is not enforced on disk").help("medium: Memory has a size");
        }
        size
    });
    Some(Volume::EmptyDir { medium: medium?, size_limit })
}

fn medium(spot: &Spot<'_>, findings: &mut Findings) -> Option<Medium> {
    let text = spot.text(findings)?;
    let size = match text {
        "" => return Some(Medium::Disk),
        "Memory" => return Some(Medium::Memory),
        "HugePages" => return Some(Medium::HugePages(0)),
        _ => text.strip_prefix("HugePages-"),
    };
    match size.map(Bytes::parse) {
        Some(Ok(size)) if size.0.is_power_of_two() => Some(Medium::HugePages(size.0)),
        Some(_) => {
            spot.error(findings, format!("{} has no size of a page", quoted(text)))
                .help("for example HugePages-2Mi");
            None
        }
        None => {
            let choices = ["Memory", "HugePages"];
            let message = format!("{} is not one of \"\", Memory, HugePages, HugePages-SIZE", quoted(text));
            let finding = spot.error(findings, message);
            if let Some(near) = nearest(text, choices) {
                finding.help(format!("did you mean {near}?"));
            }
            None
        }
    }
}

/// Huge pages are those that the containers have limits for: fills in the size where a volume names none, as the kubelet
/// does (`pkg/volume/emptydir/empty_dir.go`).
pub(super) fn settle_huge_pages<'c>(
    spec: &Spot<'_>,
    volumes: &mut BTreeMap<VolumeName, Volume>,
    containers: impl Iterator<Item = &'c Container>,
    findings: &mut Findings,
) {
    let sizes: BTreeSet<u64> = containers.flat_map(|c| c.resources.huge_pages.keys().copied()).collect();
    for item in spec.list("volumes") {
        let medium = item.get("emptyDir").and_then(|e| e.get("medium"));
        let name = item.get("name").and_then(|n| match &n.node.value {
            Value::Text(text) => Some(VolumeName::new(text.as_str())),
            _ => None,
        });
        let (Some(spot), Some(Volume::EmptyDir { medium: Medium::HugePages(size), .. })) =
            (medium, name.and_then(|n| volumes.get_mut(&n)))
        else {
            continue;
        };
        let only = sizes.first().copied().filter(|_| sizes.len() == 1);
        match (*size, only) {
            (0, Some(only)) => *size = only,
            (0, None) if sizes.is_empty() => {
                spot.error(findings, "needs a container with a limit of huge pages")
                    .help("limits: {hugepages-2Mi: 64Mi}");
            }
            (0, None) => {
                spot.error(findings, "does not say which: the containers have limits of several sizes")
                    .help("name the size: HugePages-2Mi");
            }
            (size, _) if !sizes.contains(&size) => {
                spot.error(findings, "needs a container with a limit of huge pages of this size");
            }
            (_, _) => {}
        }
    }
}

fn host_path(spot: &Spot<'_>, findings: &mut Findings) -> Option<Volume> {
    let Value::Map(_) = spot.node.value else { return None };
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
