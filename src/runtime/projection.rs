//! The files of a projected volume (downwardAPI, configMap, secret, projected) as they shall be; nothing is written here.

use std::collections::BTreeMap;
use std::fmt;

use super::environment::{Facts, Objects, ValueError, field};
use crate::pod::{Pod, ProjectedSource};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Files by their paths below the volume.
pub type Files = BTreeMap<String, File>;

/// Why a volume's files cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectionError {
    /// Something that the Pod refers to is not there.
    Value(ValueError),
    /// `items` names a key that the object does not have.
    NoKey(String),
    /// A path that would lead out of the volume, or into its own bookkeeping.
    Path(String),
    /// One file's path is the directory of another.
    Both(String),
}

impl fmt::Display for ProjectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(e) => e.fmt(f),
            Self::NoKey(key) => write!(f, "references non-existent config key: {key}"),
            Self::Path(path) => {
                write!(
                    f,
                    "{path:?} cannot be a file of a volume: it must be relative, without .. at a name's begin"
                )
            }
            Self::Both(path) => write!(f, "{path:?} is both a file and a directory"),
        }
    }
}

impl std::error::Error for ProjectionError {}

/// What a volume of these sources holds; a later source's file of the same path wins.
pub fn files(
    pod: &Pod,
    sources: &[ProjectedSource],
    default_mode: u32,
    objects: &Objects,
    facts: &Facts,
) -> Result<Files, ProjectionError> {
    let mut files = Files::new();
    let mut add = |path: &str, bytes: Vec<u8>, mode: Option<u32>| {
        if !safe(path) {
            return Err(ProjectionError::Path(path.to_owned()));
        }
        files.insert(path.to_owned(), File { bytes, mode: mode.unwrap_or(default_mode) & 0o777 });
        Ok(())
    };
    for source in sources {
        match source {
            ProjectedSource::DownwardApi(wanted) => {
                for file in wanted {
                    let text = field(pod, None, &file.field, facts).map_err(ProjectionError::Value)?;
                    add(&file.path, text.into_bytes(), file.mode)?;
                }
            }
            ProjectedSource::Object { object, items, optional } => {
                let Some(data) = objects.get(object) else {
                    if *optional {
                        continue;
                    }
                    return Err(ProjectionError::Value(ValueError::NoObject(object.clone())));
                };
                if items.is_empty() {
                    for (key, bytes) in data {
                        add(key, bytes.clone(), None)?;
                    }
                }
                for item in items {
                    match data.get(&item.key) {
                        Some(bytes) => add(&item.path, bytes.clone(), item.mode)?,
                        None if *optional => {}
                        None => return Err(ProjectionError::NoKey(item.key.clone())),
                    }
                }
            }
        }
    }
    // In order of the paths a directory's files follow it closely, but names such as `a.b` may lie between.
    for path in files.keys() {
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            if files.contains_key(above) {
                return Err(ProjectionError::Both(above.to_owned()));
            }
            parent = above;
        }
    }
    Ok(files)
}

/// The kubelet's rule for paths in volumes (atomic_writer.go, validatePath).
fn safe(path: &str) -> bool {
    path.len() <= 4096
        && !path.starts_with("..")
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
        && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::pod;
    use super::*;
    use crate::pod::{DownwardFile, FieldRef, KeyToPath, ObjectKind, ObjectRef};

    #[test]
    fn files_of_all_sources() {
        let object = |name: &str| ObjectRef { kind: ObjectKind::Secret, name: name.into() };
        let data = [("a", "1"), ("b.c", "2")].map(|(k, v)| (k.to_owned(), v.into()));
        let objects = Objects::from([(object("s"), data.into())]);
        let source = |name: &str, items: &[(&str, &str, Option<u32>)], optional| ProjectedSource::Object {
            object: object(name),
            items: items
                .iter()
                .map(|(k, p, m)| KeyToPath { key: k.to_string(), path: p.to_string(), mode: *m })
                .collect(),
            optional,
        };
        let name = DownwardFile { path: "d/name".into(), field: FieldRef::Name, mode: None };
        let of = |sources: &[ProjectedSource]| files(&pod(), sources, 0o644, &objects, &Facts::default());
        let made = of(&[
            ProjectedSource::DownwardApi(vec![name]),
            source("s", &[], false),
            source("s", &[("a", "b.c", Some(0o400)), ("no", "x", None)], true),
            source("none", &[], true),
        ])
        .unwrap();
        let file = |text: &str, mode| File { bytes: text.into(), mode };
        let wanted = [("a", file("1", 0o644)), ("b.c", file("1", 0o400)), ("d/name", file("p-host1", 0o644))];
        assert_eq!(made, wanted.map(|(k, v)| (k.to_owned(), v)).into());
        let refused = |sources: &[ProjectedSource]| of(sources).unwrap_err().to_string();
        assert_eq!(refused(&[source("none", &[], false)]), "secret \"none\" not found");
        assert_eq!(
            refused(&[source("s", &[("no", "x", None)], false)]),
            "references non-existent config key: no"
        );
        for path in ["../x", "/x", "a/../b", "..data", "", "a//b"] {
            assert!(
                matches!(of(&[source("s", &[("a", path, None)], false)]), Err(ProjectionError::Path(_))),
                "{path}"
            );
        }
        assert_eq!(
            refused(&[source("s", &[("a", "x/y/z", None), ("a", "x", None)], false)]),
            "\"x\" is both a file and a directory"
        );
    }
}
