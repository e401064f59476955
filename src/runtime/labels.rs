//! AppArmor profiles and SELinux labels, where the host has them.

use std::fmt;

use super::Host;
use crate::pod::{AppArmor, SeLinux, Security};

/// Why a container cannot be confined as it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelError {
    /// The host has no AppArmor (the kubelet's words).
    NoAppArmor,
    /// The profile is not loaded.
    NotLoaded(String),
    /// None of the container runtimes' default profiles is loaded.
    NoDefault,
    /// The host has no SELinux.
    NoSeLinux,
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAppArmor => f.write_str(
                "securityContext.appArmorProfile: Cannot enforce AppArmor: AppArmor is not enabled on the host; \
                 remove the profile or enable it",
            ),
            Self::NotLoaded(name) => {
                write!(f, "Cannot enforce AppArmor: profile {name:?} is not loaded; load it with apparmor_parser")
            }
            Self::NoDefault => write!(
                f,
                "Cannot enforce AppArmor: none of the default profiles {} is loaded; load one with apparmor_parser, \
                 or name one with appArmorProfile.type: Localhost",
                DEFAULTS.join(", ")
            ),
            Self::NoSeLinux => f.write_str(
                "securityContext.seLinuxOptions: SELinux is not enabled on the host; remove the options or enable it",
            ),
        }
    }
}

impl std::error::Error for LabelError {}

/// The default profiles of container runtimes.
const DEFAULTS: [&str; 3] = ["cri-containerd.apparmor.d", "docker-default", "crio-default"];

/// The AppArmor profile, if one is wanted.
pub fn app_armor(security: &Security, host: &Host) -> Result<Option<String>, LabelError> {
    let wanted = match &security.app_armor {
        None => return Ok(None),
        // Where there is none, all are unconfined.
        Some(AppArmor::Unconfined) if host.app_armor.is_none() => return Ok(None),
        Some(AppArmor::Unconfined) => return Ok(Some("unconfined".to_owned())),
        Some(AppArmor::RuntimeDefault) => None,
        Some(AppArmor::Localhost(name)) => Some(name),
    };
    let loaded = host.app_armor.as_ref().ok_or(LabelError::NoAppArmor)?;
    match wanted {
        Some(name) if loaded.contains(name) => Ok(Some(name.clone())),
        Some(name) => Err(LabelError::NotLoaded(name.clone())),
        None => match DEFAULTS.iter().find(|d| loaded.iter().any(|l| l == *d)) {
            Some(name) => Ok(Some((*name).to_owned())),
            None => Err(LabelError::NoDefault),
        },
    }
}

/// The SELinux labels of the process and of its root, if options are given. What they leave out is the usual policy's for
/// containers.
pub fn selinux(security: &Security, host: &Host) -> Result<Option<(String, String)>, LabelError> {
    let Some(SeLinux { user, role, kind, level }) = &security.selinux else { return Ok(None) };
    if [user, role, kind, level].iter().all(|part| part.is_empty()) {
        return Ok(None);
    }
    if !host.selinux {
        return Err(LabelError::NoSeLinux);
    }
    let or = |given: &str, other: &str| if given.is_empty() { other.to_owned() } else { given.to_owned() };
    let (user, level) = (or(user, "system_u"), or(level, "s0"));
    let process = format!("{user}:{}:{}:{level}", or(role, "system_r"), or(kind, "container_t"));
    Ok(Some((process, format!("{user}:object_r:container_file_t:{level}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_host_has() {
        let armor = |a| Security { app_armor: Some(a), ..Security::default() };
        let none = Host::default();
        let some = Host { app_armor: Some(vec!["docker-default".into(), "mine".into()]), ..Host::default() };
        assert_eq!(app_armor(&Security::default(), &none), Ok(None));
        assert_eq!(app_armor(&armor(AppArmor::Unconfined), &none), Ok(None));
        assert_eq!(app_armor(&armor(AppArmor::RuntimeDefault), &none), Err(LabelError::NoAppArmor));
        assert_eq!(app_armor(&armor(AppArmor::RuntimeDefault), &some), Ok(Some("docker-default".into())));
        assert_eq!(app_armor(&armor(AppArmor::Localhost("mine".into())), &some), Ok(Some("mine".into())));
        let no = armor(AppArmor::Localhost("no".into()));
        assert_eq!(app_armor(&no, &some), Err(LabelError::NotLoaded("no".into())));
        let empty = Host { app_armor: Some(vec![]), ..Host::default() };
        assert_eq!(app_armor(&armor(AppArmor::RuntimeDefault), &empty), Err(LabelError::NoDefault));

        let options = SeLinux { level: "s0:c1,c2".into(), ..SeLinux::default() };
        let security = Security { selinux: Some(options), ..Security::default() };
        assert_eq!(selinux(&security, &none), Err(LabelError::NoSeLinux));
        let host = Host { selinux: true, ..Host::default() };
        let wanted = (
            "system_u:system_r:container_t:s0:c1,c2".to_owned(),
            "system_u:object_r:container_file_t:s0:c1,c2".to_owned(),
        );
        assert_eq!(selinux(&security, &host), Ok(Some(wanted)));
        assert_eq!(selinux(&Security::default(), &none), Ok(None));
    }
}
