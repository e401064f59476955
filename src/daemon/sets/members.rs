//! The Pods of a StatefulSet find each other by name: NAME-ORDINAL.SERVICE, in the /etc/hosts of each of them.
//!
//! In a cluster a headless Service does this. Here the addresses of all members that live are a few lines, which monitors put
//! at the end of a container's own file when it starts, and which are written anew, in place, whenever they change.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use crate::core::sets::Members;
use crate::daemon::Daemon;
use crate::manifest::sets;
use crate::pod::set::{SetKey, SetKind};
use crate::runtime::etc::MEMBERS;
use crate::sys::atomic::{self, Durability};
use crate::sys::net::host_addresses;
use crate::warning;

impl Daemon {
    /// Writes the names of all members wherever they are not what they should be.
    pub(super) fn tell_members(&mut self, all_members: &BTreeMap<SetKey, Members>) {
        for (key, members) in all_members.iter().filter(|(key, _)| key.kind == SetKind::StatefulSet) {
            let Some(text) = self.member_lines(key, members) else { continue };
            // A run that has just begun may have read the lines before they were these.
            let mut runs = Vec::new();
            for member in members.values() {
                let of_pod = self.runs.iter().filter(|(_, info)| *info.pod() == member.key);
                runs.extend(of_pod.map(|(run, info)| (run.clone(), info.directory().join("bundle/hosts"))));
            }
            let started: Vec<String> =
                runs.iter().filter(|(_, path)| path.exists()).map(|(run, _)| run.to_string()).collect();
            let mark = format!("{text}\n{}", started.join("\n"));
            if self.sets.known.get(key).is_some_and(|k| k.hosts == mark) {
                continue;
            }
            let path = self.config.roots.members(key);
            let written = fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
                .and_then(|()| atomic::write(&path, text.as_bytes(), 0o600, Durability::Process));
            if let Err(e) = written {
                if self.is_new(format!("members {key}"), &e.to_string()) {
                    warning!("{key}: the names of its Pods cannot be written: {e}");
                }
                continue;
            }
            for (run, path) in runs {
                if let Err(e) = rewrite(&path, &text)
                    && e.kind() != io::ErrorKind::NotFound
                    && self.is_new(format!("hosts {run}"), &e.to_string())
                {
                    warning!("{}: cannot be written: {e}", path.display());
                }
            }
            self.sets.known.entry(key.clone()).or_default().hosts = mark;
        }
    }

    /// The lines of all members that have an address; `None` where there is no serviceName.
    fn member_lines(&self, key: &SetKey, members: &Members) -> Option<String> {
        let held = self.merged.sets.get(key)?;
        let service = held.set.template.service.as_ref()?;
        let domain = &self.config.cluster_domain;
        let mut text = format!("{MEMBERS}{key}.\n");
        for (ordinal, member) in members {
            let Some(life) = self.world.slot(&member.key).and_then(|s| s.life.as_ref()) else { continue };
            let addresses: Vec<String> = if life.pod.host_network {
                let first =
                    host_addresses().first().map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string);
                vec![first]
            } else {
                life.addresses.clone()
            };
            let name = format!("{}.{service}", sets::pod_name(key, *ordinal));
            let namespace = &key.namespace;
            for address in addresses {
                text.push_str(&format!(
                    "{address}\t{name}.{namespace}.svc.{domain}\t{name}.{namespace}.svc\t{name}.{namespace}\t{name}\n"
                ));
            }
        }
        Some(text)
    }

    pub(super) fn forget_members(&self, key: &SetKey) {
        // It lies in RUN, and is of no harm to anybody.
        let _ = fs::remove_file(self.config.roots.members(key));
    }
}

/// Puts the lines in the place of those that are there. The file is bound into the container: it must stay the same one.
fn rewrite(path: &Path, lines: &str) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let kept = text.find(MEMBERS).map_or(text.as_str(), |at| text.get(..at).unwrap_or(&text));
    let wanted = format!("{kept}{lines}");
    if wanted == text {
        return Ok(());
    }
    // A container could have put a link there only if it had the file's directory, which it has not.
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    // First all of it, then no more: who reads in between finds every name that stays.
    file.write_all(wanted.as_bytes())?;
    file.set_len(wanted.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_replace_lines_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("podstrap-members-{}", std::process::id()));
        fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        let lines = |n: u32| format!("{MEMBERS}x.\n10.0.0.{n}\tw-0.s\n");
        for n in [1, 200, 3] {
            rewrite(&path, &lines(n)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("127.0.0.1\tlocalhost\n{}", lines(n)));
        }
        fs::remove_file(&path).unwrap();
    }
}
