//! What a container may do, in the words of `docker run`: as whom it runs, whether it may write to its own root, its capabilities,
//! and what seccomp, AppArmor and SELinux leave it.

use super::super::bundle::BundleError;
use super::super::{capabilities, labels, user};
use super::run::{RunParts, Words, option};
use super::{Docker, Flavour};
use crate::pod::Seccomp;

impl Docker {
    pub(super) fn security(
        &self,
        words: &mut Words,
        parts: &RunParts<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), BundleError> {
        let RunParts { pod, container, host, .. } = *parts;
        if container.read_only_root {
            words.add(["--read-only"]);
        }
        if let Some(user) = parts.user {
            words.pair("--user", user);
        }
        for group in pod.supplemental_groups.iter().chain(&pod.fs_group) {
            words.pair("--group-add", group.to_string());
        }
        if !container.allow_privilege_escalation {
            words.add(["--security-opt", "no-new-privileges"]);
        }
        if container.privileged {
            words.add(["--privileged"]);
            return Ok(());
        }
        let (given, refused) =
            capabilities::of(container, host.capabilities).map_err(BundleError::Capability)?;
        if !refused.names().is_empty() {
            warnings
                .push(format!("{} cannot be given: the host does not have it", refused.names().join(", ")));
        }
        if self.flavour == Flavour::Podman && !parts.is_root {
            // What is added by name would be such a user's at once, and not only within his reach.
            let asked = |name: &str| container.cap_add.iter().any(|c| c.eq_ignore_ascii_case(name));
            for name in PODMAN_DEFAULT.iter().filter(|name| !given.has(name)) {
                words.pair("--cap-drop", *name);
            }
            for name in given.names() {
                let name = name.strip_prefix("CAP_").unwrap_or(&name);
                if !PODMAN_DEFAULT.contains(&name) && asked(name) {
                    words.pair("--cap-add", name);
                }
            }
        } else {
            all_capabilities(words, given);
        }
        let security = user::security(pod, container);
        match (&security.seccomp, parts.profile) {
            (Some(Seccomp::RuntimeDefault), _) => {}
            (Some(Seccomp::Localhost(_)), Some(profile)) => {
                words.pair("--security-opt", option("seccomp=", profile));
            }
            (Some(Seccomp::Localhost(_) | Seccomp::Unconfined) | None, _) => {
                words.add(["--security-opt", "seccomp=unconfined"]);
            }
        }
        if container.proc_unmasked {
            let word = match self.flavour {
                Flavour::Docker | Flavour::Nerdctl => "systempaths=unconfined",
                Flavour::Podman => "unmask=ALL",
            };
            words.pair("--security-opt", word);
        }
        if let Some(profile) = labels::app_armor(&security, host).map_err(BundleError::Label)? {
            words.pair("--security-opt", format!("apparmor={profile}"));
        }
        if labels::selinux(&security, host).map_err(BundleError::Label)?.is_some()
            && let Some(label) = &security.selinux
        {
            let parts = [
                ("user", &label.user),
                ("role", &label.role),
                ("type", &label.kind),
                ("level", &label.level),
            ];
            for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
                words.pair("--security-opt", format!("label={name}:{value}"));
            }
        }
        Ok(())
    }
}

/// All that are given and no others, whatever the CLI's own default is. What docker 20.10 does not know of them is refused
/// in the manifest.
fn all_capabilities(words: &mut Words, given: capabilities::Set) {
    words.add(["--cap-drop", "ALL"]);
    for name in given.names() {
        words.pair("--cap-add", name.strip_prefix("CAP_").unwrap_or(&name));
    }
}

/// What podman gives a container that asks for nothing.
const PODMAN_DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
