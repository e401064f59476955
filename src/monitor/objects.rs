//! ConfigMaps and Secrets on their way from the daemon, which reads them in its sources, to monitors, which give them to
//! containers: one file each under RUN/objects, readable by root alone.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::paths::Roots;
use crate::pod::objects::Object;
use crate::pod::{Namespace, ObjectKind, ObjectRef};
use crate::sys::atomic::{self, Durability};

/// The file of one object. Its name and namespace have been validated: neither can hold a slash or an underscore.
pub fn file(roots: &Roots, namespace: &Namespace, object: &ObjectRef) -> PathBuf {
    let kind = match object.kind {
        ObjectKind::ConfigMap => "configmap",
        ObjectKind::Secret => "secret",
    };
    roots.objects().join(format!("{kind}_{namespace}_{}.json", object.name))
}

/// Writes one object.
pub fn write(roots: &Roots, object: &Object) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(roots.objects())?;
    let path = file(roots, &object.namespace, &object.reference);
    atomic::write(&path, &serde_json::to_vec(object)?, 0o600, Durability::Process)
}

/// Removes one object; one that is gone is fine.
pub fn remove(roots: &Roots, namespace: &Namespace, object: &ObjectRef) -> io::Result<()> {
    match fs::remove_file(file(roots, namespace, object)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The data of one object, if there is one.
pub fn read(
    roots: &Roots,
    namespace: &Namespace,
    object: &ObjectRef,
) -> io::Result<Option<BTreeMap<String, Vec<u8>>>> {
    match fs::read(file(roots, namespace, object)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice::<Object>(&bytes)?.data)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
