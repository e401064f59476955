//! Capabilities by name and number, and which of them a container gets.

use std::fmt;

use crate::pod::Container;

/// All names in the order of their numbers (capability.h of Linux 6.18).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has that asks for nothing: docker's and containerd's set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The number of CAP_SYS_RESOURCE.
pub const SYS_RESOURCE: u32 = 24;

/// A set of capabilities: bit N is capability N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(pub u64);

impl Set {
    /// Whether capability `name` (without `CAP_`) is in the set.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|b| self.0 & b != 0)
    }

    /// The names with `CAP_`, in the order of their numbers.
    pub fn names(self) -> Vec<String> {
        NAMES.iter().filter(|n| self.has(n)).map(|n| format!("CAP_{n}")).collect()
    }
}

/// A name that no kernel knows.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownCapability(pub String);

impl fmt::Display for UnknownCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "securityContext.capabilities: {:?} is not a capability; see capabilities(7)", self.0)
    }
}

impl std::error::Error for UnknownCapability {}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|n| *n == name).map(|i| 1 << i)
}

fn parse(name: &str) -> Result<u64, UnknownCapability> {
    let upper = name.to_ascii_uppercase();
    match upper.strip_prefix("CAP_").unwrap_or(&upper) {
        "ALL" => Ok(u64::MAX),
        plain => bit(plain).ok_or_else(|| UnknownCapability(name.to_owned())),
    }
}

fn union(names: &[String]) -> Result<u64, UnknownCapability> {
    names.iter().try_fold(0, |set, name| Ok(set | parse(name)?))
}

/// What a container gets, and what it asked for by name but the host cannot give. As docker has it: `add: ALL` and
/// `drop: ALL` come first, then single names, dropped after added, so `drop: [ALL], add: [X]` is X alone.
pub fn of(container: &Container, host: u64) -> Result<(Set, Set), UnknownCapability> {
    if container.privileged {
        return Ok((Set(host), Set::default()));
    }
    let is_all = |name: &String| matches!(parse(name), Ok(u64::MAX));
    let single = |names: &[String]| union(&names.iter().filter(|n| !is_all(n)).cloned().collect::<Vec<_>>());
    let (added, dropped) = (single(&container.cap_add)?, single(&container.cap_drop)?);
    let base = if container.cap_add.iter().any(is_all) {
        u64::MAX
    } else if container.cap_drop.iter().any(is_all) {
        0
    } else {
        DEFAULT.iter().filter_map(|n| bit(n)).fold(0, |set, b| set | b)
    };
    let wanted = (base | added) & !dropped;
    Ok((Set(wanted & host), Set(added & !dropped & !host)))
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::container;
    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    fn given(add: &[&str], drop: &[&str], host: u64) -> (Vec<String>, Vec<String>) {
        let mut c = container();
        c.cap_add = add.iter().map(|s| s.to_string()).collect();
        c.cap_drop = drop.iter().map(|s| s.to_string()).collect();
        let (set, refused) = of(&c, host).unwrap();
        (set.names(), refused.names())
    }

    #[test]
    fn added_and_dropped() {
        assert_eq!(given(&[], &[], ALL).0.len(), 14);
        assert_eq!(given(&["NET_ADMIN"], &["KILL"], ALL).0.len(), 14);
        assert_eq!(given(&["cap_sys_time"], &["ALL"], ALL).0, ["CAP_SYS_TIME"]);
        assert_eq!(given(&["ALL"], &["SYS_ADMIN"], ALL).0.len(), 40);
        assert_eq!(given(&["ALL"], &[], 0b11).0, ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
        let without = ALL & !(1 << SYS_RESOURCE);
        assert_eq!(
            given(&["SYS_RESOURCE"], &["ALL"], without),
            (vec![], vec!["CAP_SYS_RESOURCE".to_owned()])
        );
        assert_eq!(NAMES[SYS_RESOURCE as usize], "SYS_RESOURCE");
        let mut c = container();
        c.cap_add = vec!["FLY".into()];
        assert_eq!(of(&c, ALL), Err(UnknownCapability("FLY".into())));
        c.privileged = true;
        assert_eq!(of(&c, 5).unwrap().0, Set(5));
    }
}
