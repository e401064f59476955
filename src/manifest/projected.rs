//! Volumes of files that podstrap writes: `downwardAPI`, `configMap`, `secret` and `projected`.

use std::collections::BTreeSet;

use super::escape::quoted;
use super::fields;
use super::findings::Findings;
use super::node::Value;
use super::references::{self, Place, required};
use super::spot::Spot;
use crate::pod::{DownwardFile, KeyToPath, ObjectKind, ProjectedSource, Volume};

/// 0644.
const DEFAULT_MODE: u32 = 0o644;

/// What the readers of one volume share: the Pod's containers, and the paths that are taken.
struct Reader<'a> {
    containers: &'a BTreeSet<&'a str>,
    taken: BTreeSet<String>,
}

/// Reads the volume source of that name.
pub(super) fn read(
    name: &str,
    spot: &Spot<'_>,
    containers: &BTreeSet<&str>,
    findings: &mut Findings,
) -> Option<Volume> {
    let Value::Map(_) = spot.node.value else { return None };
    let default_mode = match spot.get("defaultMode") {
        None => Some(DEFAULT_MODE),
        Some(mode) => self::mode(&mode, findings),
    };
    let mut reader = Reader { containers, taken: BTreeSet::new() };
    let sources = match name {
        "downwardAPI" => vec![reader.downward(spot, findings)],
        "configMap" => vec![reader.object(spot, "name", ObjectKind::ConfigMap, findings)],
        "secret" => vec![reader.object(spot, "secretName", ObjectKind::Secret, findings)],
        _ => {
            let maps = spot.list("sources").filter(|i| matches!(i.node.value, Value::Map(_)));
            maps.map(|source| reader.source(&source, findings)).collect()
        }
    };
    Some(Volume::Projected {
        sources: sources.into_iter().collect::<Option<_>>()?,
        default_mode: default_mode?,
    })
}

impl Reader<'_> {
    fn source(&mut self, item: &Spot<'_>, findings: &mut Findings) -> Option<ProjectedSource> {
        let (name, spot) = references::only(item, "an item of sources", fields::PROJECTION, findings)?;
        let Value::Map(_) = spot.node.value else { return None };
        match name {
            "downwardAPI" => self.downward(&spot, findings),
            "configMap" => self.object(&spot, "name", ObjectKind::ConfigMap, findings),
            "secret" => self.object(&spot, "name", ObjectKind::Secret, findings),
            // Refused by the table of fields.
            _ => None,
        }
    }

    fn downward(&mut self, spot: &Spot<'_>, findings: &mut Findings) -> Option<ProjectedSource> {
        let maps = spot.list("items").filter(|i| matches!(i.node.value, Value::Map(_)));
        let files: Vec<_> = maps.map(|item| self.downward_file(&item, findings)).collect();
        files.into_iter().collect::<Option<_>>().map(ProjectedSource::DownwardApi)
    }

    fn downward_file(&mut self, item: &Spot<'_>, findings: &mut Findings) -> Option<DownwardFile> {
        let path = self.path(item, findings);
        let mode = own_mode(item, findings);
        let field = match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(_), Some(resource)) => {
                resource
                    .error(findings, "a file has one source, and this one has fieldRef and resourceFieldRef");
                None
            }
            (Some(field), None) if matches!(field.node.value, Value::Map(_)) => {
                references::field(&field, Place::Volume, findings)
            }
            (None, Some(resource)) if matches!(resource.node.value, Value::Map(_)) => {
                references::resource(&resource, Place::Volume, self.containers, findings)
            }
            (Some(_), None) | (None, Some(_)) => None,
            (None, None) => {
                item.error(findings, "has neither fieldRef nor resourceFieldRef");
                None
            }
        };
        Some(DownwardFile { path: path?, field: field?, mode: mode? })
    }

    fn object(
        &mut self,
        spot: &Spot<'_>,
        name: &str,
        kind: ObjectKind,
        findings: &mut Findings,
    ) -> Option<ProjectedSource> {
        let object = references::object(spot, name, kind, findings);
        let optional = references::optional(spot, findings);
        let maps = spot.list("items").filter(|i| matches!(i.node.value, Value::Map(_)));
        let items: Vec<_> = maps
            .map(|item| {
                let key = references::key(&item, findings);
                let path = self.path(&item, findings);
                let mode = own_mode(&item, findings);
                Some(KeyToPath { key: key?, path: path?, mode: mode? })
            })
            .collect();
        Some(ProjectedSource::Object {
            object: object?,
            items: items.into_iter().collect::<Option<_>>()?,
            optional,
        })
    }

    /// Where in the volume the file lies.
    fn path(&mut self, item: &Spot<'_>, findings: &mut Findings) -> Option<String> {
        let spot = required(item, "path", findings)?;
        let text = spot.text(findings)?;
        let mut parts = text.split('/').filter(|p| !p.is_empty() && *p != ".").peekable();
        let why = if parts.peek().is_none() {
            "must not be empty"
        } else if text.starts_with('/') {
            "must be relative to the volume"
        } else if text.split('/').any(|part| part == "..") {
            "must not contain '..'"
        } else if text.starts_with("..") {
            // What begins so is for the switch from one version of the files to the next.
            "must not begin with '..'"
        } else {
            let clean = parts.collect::<Vec<_>>().join("/");
            // A file at `a` and another at `a/b` cannot both be.
            let clash = self.taken.iter().find(|t| {
                let below =
                    |long: &str, short: &str| long.strip_prefix(short).is_some_and(|r| r.starts_with('/'));
                **t == clean || below(t, &clean) || below(&clean, t)
            });
            if let Some(clash) = clash {
                spot.error(findings, format!("{} clashes with the file {}", quoted(text), quoted(clash)));
                return None;
            }
            self.taken.insert(clean.clone());
            return Some(clean);
        };
        spot.error(findings, why);
        None
    }
}

/// The outer `None` is a refused mode, the inner one no mode.
#[allow(clippy::option_option)]
fn own_mode(item: &Spot<'_>, findings: &mut Findings) -> Option<Option<u32>> {
    match item.get("mode") {
        None => Some(None),
        Some(mode) => self::mode(&mode, findings).map(Some),
    }
}

/// A file's permissions.
fn mode(spot: &Spot<'_>, findings: &mut Findings) -> Option<u32> {
    let value = spot.int(findings, i64::MIN, i64::MAX)?;
    if let Some(mode) = u32::try_from(value).ok().filter(|m| *m <= 0o777) {
        return Some(mode);
    }
    spot.error(findings, format!("{value} is not within 0 to 0777"))
        .help("permissions are written in octal, with a 0 before them, such as 0644");
    None
}
