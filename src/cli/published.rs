//! What the daemon has published, read back, and the Pods in it that a command line means.
//!
//! The files outlive the daemon, so reading verbs work without it; whether it lives is a matter of its lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::values::PodArg;
use super::view::label;
use crate::helper::text::escape;
use crate::paths::Roots;
use crate::pod::set::{OWNER, Owner};
use crate::report::{DaemonStatus, MirrorStatus, PodStatusFile, SetStatus};
use crate::sys::lock;

/// Everything under RUN/status, and whether the daemon lives.
#[derive(Clone, Debug)]
pub struct Published {
    /// RUN.
    pub run: PathBuf,
    /// What the daemon, or the last one, says of itself.
    pub daemon: Option<DaemonStatus>,
    /// How mirror Pods fare, where they are asked for.
    pub mirror: Option<MirrorStatus>,
    /// The pid of the daemon that holds the lock now; 0 if it has not written it yet.
    pub alive: Option<i32>,
    /// Pods and refused documents, by namespace and name.
    pub entries: Vec<PodStatusFile>,
    /// Files that could not be understood, with the reason.
    pub unreadable: Vec<String>,
}

/// The roots of which only RUN is known; the others are the defaults, for as long as the daemon has not told.
pub fn roots_of(run: &Path) -> Roots {
    // runc and others are given paths below it, from whatever directory they work in.
    let run = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
    Roots { run, state: super::args::STATE_DIR.into(), log: super::args::LOG_DIR.into() }
}

impl Published {
    /// Reads what is there. Nothing there is no error.
    pub fn read(run: &Path) -> Result<Self, Error> {
        let roots = roots_of(run);
        // The lock first: a daemon that starts in between then counts as not there, not its old files as fresh.
        let alive = holder(&roots).map_err(Error::file("read", roots.lock()))?;
        let mirror =
            fs::read(roots.mirror_status()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut found = Self {
            run: roots.run.clone(),
            daemon: None,
            mirror,
            alive,
            entries: Vec::new(),
            unreadable: Vec::new(),
        };
        let directory = roots.status();
        let names = match fs::read_dir(&directory) {
            Ok(names) => names,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(Error::file("read", directory)(e)),
        };
        for name in names {
            let path = name.map_err(Error::file("read", &directory))?.path();
            found.take(&roots, &path);
        }
        found
            .entries
            .sort_by(|a, b| (&a.namespace, &a.name, &a.origin).cmp(&(&b.namespace, &b.name, &b.origin)));
        found.unreadable.sort();
        Ok(found)
    }

    fn take(&mut self, roots: &Roots, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || !name.ends_with(".json") {
            return;
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            // Removed since it was listed: the Pod is gone.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(e) => return self.unreadable.push(format!("{}: {e}", escape(&path.to_string_lossy()))),
        };
        let result = if path == roots.daemon_status() {
            serde_json::from_slice(&bytes).map(|daemon| self.daemon = Some(daemon))
        } else {
            serde_json::from_slice(&bytes).map(|entry| self.entries.push(entry))
        };
        if let Err(e) = result {
            let shown = escape(&path.to_string_lossy());
            self.unreadable.push(format!("{shown}: {e}; another version of podstrap may have written it"));
        }
    }

    /// Whether daemon.json is from the daemon that lives now, not from a former one.
    pub fn is_current(&self) -> bool {
        match (self.alive, &self.daemon) {
            (Some(pid), Some(daemon)) => pid == 0 || pid == daemon.pid,
            _ => false,
        }
    }

    /// The roots as the daemon has told them; only RUN is as it was given to us.
    pub fn roots(&self) -> Roots {
        let mut roots = self.daemon.as_ref().map_or_else(|| roots_of(&self.run), |d| d.roots.clone());
        roots.run.clone_from(&self.run);
        roots
    }

    /// All entries with that name: one Pod and perhaps refused documents of the same name. An empty list if there is none;
    /// an error if it can mean several names.
    pub fn find(&self, asked: &PodArg) -> Result<Vec<&PodStatusFile>, Error> {
        if asked.kind.is_some() {
            let key = self.set(asked)?.map(|set| set.namespace.clone());
            let is_it = |e: &&PodStatusFile| {
                let owner = owner_of(e);
                let namespace = e.namespace.as_ref();
                owner.is_some_and(|o| Some(o.kind) == asked.kind && o.name == asked.name)
                    && key.as_ref().is_none_or(|n| Some(n) == namespace)
                    && asked.namespace.as_deref().is_none_or(|n| namespace.is_some_and(|ns| ns.as_str() == n))
            };
            return Ok(self.entries.iter().filter(is_it).collect());
        }
        let node = self.daemon.as_ref().map(|d| d.node_name.as_str());
        let fits = |exact: bool| -> Vec<&PodStatusFile> {
            let found = self.entries.iter().filter(|e| matches(e, asked, node, exact));
            found.collect()
        };
        let mut found = fits(true);
        if found.is_empty() {
            found = fits(false);
        }
        let mut labels: Vec<String> = found.iter().map(|e| label(e)).collect();
        labels.dedup();
        if labels.len() > 1 {
            return Err(Error::Ambiguous { asked: asked.clone(), matches: labels });
        }
        Ok(found)
    }

    /// The DaemonSet or StatefulSet of that name; an error where it can mean several.
    pub fn set(&self, asked: &PodArg) -> Result<Option<&SetStatus>, Error> {
        let all = self.daemon.iter().flat_map(|d| &d.sets);
        let is_it = |s: &&SetStatus| {
            asked.kind.is_some_and(|k| k.as_str() == s.kind)
                && s.name == asked.name
                && asked.namespace.as_deref().is_none_or(|n| n == s.namespace.as_str())
        };
        let found: Vec<&SetStatus> = all.filter(is_it).collect();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            several => Err(Error::Ambiguous {
                asked: asked.clone(),
                matches: several.iter().map(|s| set_label(s)).collect(),
            }),
        }
    }

    /// The Pod of that name, not a refused document.
    pub fn pod(&self, asked: &PodArg) -> Result<&PodStatusFile, Error> {
        let found = self.find(asked)?;
        match (found.iter().find(|e| e.generation.is_some()), found.first()) {
            (Some(entry), _) => Ok(entry),
            (None, Some(_)) => Err(Error::Refused { asked: asked.clone() }),
            (None, None) => Err(self.no_such_pod(asked)),
        }
    }

    /// The error for a name that nothing has.
    pub fn no_such_pod(&self, asked: &PodArg) -> Error {
        let sets = self.daemon.iter().flat_map(|d| &d.sets).map(set_label);
        let mut known: Vec<String> = match asked.kind {
            Some(_) => sets.collect(),
            None => self.entries.iter().filter(|e| e.name.is_some()).map(label).collect(),
        };
        known.dedup();
        Error::NoSuchPod { asked: asked.clone(), known }
    }
}

/// `NAMESPACE/statefulset/NAME`.
pub fn set_label(set: &SetStatus) -> String {
    format!("{}/{}/{}", set.namespace, set.kind.to_lowercase(), escape(&set.name))
}

/// The set that a Pod was made for.
pub fn owner_of(entry: &PodStatusFile) -> Option<Owner> {
    let annotations = entry.pod.pointer("/metadata/annotations")?;
    Owner::parse(annotations.get(OWNER)?.as_str()?)
}

fn matches(entry: &PodStatusFile, asked: &PodArg, node: Option<&str>, exact: bool) -> bool {
    let Some(name) = entry.name.as_ref().map(|n| n.as_str()) else { return false };
    // A document that does not tell its namespace is in `default`.
    let namespace = entry.namespace.as_ref().map_or("default", |n| n.as_str());
    if asked.namespace.as_deref().is_some_and(|n| n != namespace) {
        return false;
    }
    if exact {
        return name == asked.name;
    }
    let node = node.or_else(|| entry.pod.pointer("/spec/nodeName").and_then(|n| n.as_str()));
    let stem = node.and_then(|n| name.strip_suffix(n)).and_then(|n| n.strip_suffix('-'));
    stem == Some(asked.name.as_str())
}

/// Who holds the daemon's lock. The lock is tried only if the pid in it is a living process, because trying takes it for
/// a moment, and a daemon that starts in that moment would believe that another one lives.
fn holder(roots: &Roots) -> io::Result<Option<i32>> {
    let path = roots.lock();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match text.trim().parse::<u32>() {
        Ok(pid) if Path::new(&format!("/proc/{pid}")).exists() => lock::holder(&path),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_run_directory_is_made_absolute() {
        assert!(
            roots_of(Path::new("run")).run.ends_with("run") && roots_of(Path::new("run")).run.is_absolute()
        );
    }
}
