//! `volumeMounts`: what of the volumes a container sees where.

use std::collections::BTreeSet;

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use super::volumes::{Volumes, clean};
use crate::pod::{Mount, Propagation, SubPath, Volume, VolumeName};

/// Reads the `volumeMounts` of one container.
pub(super) fn read(
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
        let recursive_read_only = recursive(&item, read_only, propagation, findings);
        let sub_path = sub_path(&item, findings);
        // The layers of an image belong to all who use it.
        let is_image =
            volume.as_ref().is_some_and(|v| matches!(volumes.usable.get(v), Some(Volume::Image { .. })));
        if let (Some(volume), Some(path), Some(propagation)) = (volume, path, propagation) {
            out.push(Mount {
                volume,
                path,
                read_only: read_only || is_image,
                recursive_read_only,
                propagation,
                sub_path,
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

/// `recursiveReadOnly`; with `IfPossible` it is tried, too.
fn recursive(
    item: &Spot<'_>,
    read_only: bool,
    propagation: Option<Propagation>,
    findings: &mut Findings,
) -> bool {
    let Some(spot) = item.get("recursiveReadOnly") else { return false };
    if spot.node.value == Value::Text(String::new()) {
        return false;
    }
    let choices = [("Disabled", false), ("IfPossible", true), ("Enabled", true)];
    let wanted = spot.choice(findings, &choices).unwrap_or(false);
    if wanted && !read_only {
        spot.error(findings, "needs readOnly: true");
    }
    if wanted && propagation.is_some_and(|p| p != Propagation::Private) {
        spot.error(findings, "needs mountPropagation: None, or none");
    }
    wanted
}

fn sub_path(item: &Spot<'_>, findings: &mut Findings) -> Option<SubPath> {
    let mut read = |field: &str| {
        let spot = item.get(field)?;
        let text = spot.filled(findings)?;
        if text.starts_with('/') {
            spot.error(findings, "must be relative to the volume");
        } else if text.split('/').any(|part| part == "..") {
            spot.error(findings, "must not contain '..'");
        }
        Some((text.to_owned(), spot))
    };
    let (plain, expression) = (read("subPath"), read("subPathExpr"));
    match (plain, expression) {
        (Some(_), Some((_, spot))) => {
            spot.error(findings, "a mount has subPath or subPathExpr, and this one has both");
            None
        }
        (Some((text, _)), None) => Some(SubPath::Plain(text)),
        (None, Some((text, _))) => Some(SubPath::Expression(text)),
        (None, None) => None,
    }
}
