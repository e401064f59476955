//! Security contexts, of the Pod and of containers.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::spot::Spot;
use crate::pod::{Seccomp, Security};

/// The largest id that Kubernetes accepts.
const ID_MAX: i64 = 2_147_483_647;

/// capabilities(7), without `CAP_`.
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
    "ALL",
];

/// A user or group id.
pub(super) fn id(spot: &Spot<'_>, findings: &mut Findings) -> Option<u32> {
    spot.int(findings, 0, ID_MAX).and_then(|v| u32::try_from(v).ok())
}

/// The part that Pod and container share.
pub(super) fn shared(context: Option<&Spot<'_>>, findings: &mut Findings) -> Security {
    let Some(context) = context else { return Security::default() };
    if let Some(profile) = context.get("appArmorProfile") {
        app_armor(&profile, findings);
    }
    Security {
        seccomp: context.get("seccompProfile").and_then(|profile| seccomp(&profile, findings)),
        run_as_user: context.get("runAsUser").and_then(|s| id(&s, findings)),
        run_as_group: context.get("runAsGroup").and_then(|s| id(&s, findings)),
        run_as_non_root: context.get("runAsNonRoot").and_then(|s| s.boolean(findings)),
        app_armor: None,
        selinux: None,
    }
}

fn seccomp(profile: &Spot<'_>, findings: &mut Findings) -> Option<Seccomp> {
    let Some(kind) = profile.get("type") else {
        profile.error(findings, "needs a type").help("type: RuntimeDefault or Unconfined");
        return None;
    };
    #[derive(Clone, Copy)]
    enum Type {
        RuntimeDefault,
        Unconfined,
        Localhost,
    }
    let choices = [
        ("RuntimeDefault", Type::RuntimeDefault),
        ("Unconfined", Type::Unconfined),
        ("Localhost", Type::Localhost),
    ];
    match kind.choice(findings, &choices)? {
        Type::RuntimeDefault => Some(Seccomp::RuntimeDefault),
        Type::Unconfined => Some(Seccomp::Unconfined),
        Type::Localhost => {
            kind.error(findings, "cannot be honoured: profiles of your own are not supported yet");
            None
        }
    }
}

fn app_armor(profile: &Spot<'_>, findings: &mut Findings) {
    match profile.get("type").and_then(|t| Some((t.text(findings)?, t))) {
        Some(("Unconfined", _)) | None => {}
        Some((_, spot)) => {
            spot.error(findings, "cannot be honoured: AppArmor profiles are not supported yet");
        }
    }
}

/// A container's own part.
#[derive(Debug)]
pub(super) struct ContainerSecurity {
    pub shared: Security,
    pub privileged: bool,
    pub allow_privilege_escalation: bool,
    pub read_only_root: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
}

/// A container's security context.
pub(super) fn container(context: Option<&Spot<'_>>, findings: &mut Findings) -> ContainerSecurity {
    let flag = |name: &str, findings: &mut Findings| {
        context.and_then(|c| c.get(name)).and_then(|s| Some((s.boolean(findings)?, s)))
    };
    let shared = shared(context, findings);
    let privileged = flag("privileged", findings).is_some_and(|(b, _)| b);
    let escalation = flag("allowPrivilegeEscalation", findings);
    let read_only_root = flag("readOnlyRootFilesystem", findings).is_some_and(|(b, _)| b);
    let capabilities = context.and_then(|c| c.get("capabilities"));
    let cap_add = names(capabilities.as_ref(), "add", findings);
    let cap_drop = names(capabilities.as_ref(), "drop", findings);
    if let Some((false, spot)) = &escalation {
        if privileged {
            spot.error(findings, "cannot be false in a privileged container");
        } else if cap_add.iter().any(|c| c == "SYS_ADMIN") {
            spot.error(findings, "cannot be false with the capability SYS_ADMIN");
        }
    }
    ContainerSecurity {
        shared,
        privileged,
        allow_privilege_escalation: escalation.is_none_or(|(b, _)| b),
        read_only_root,
        cap_add,
        cap_drop,
    }
}

fn names(capabilities: Option<&Spot<'_>>, field: &str, findings: &mut Findings) -> Vec<String> {
    let mut out = Vec::new();
    for item in capabilities.into_iter().flat_map(|c| c.list(field)) {
        let Some(text) = item.text(findings) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITIES.contains(&name) {
            if name.len() != text.len() {
                item.warning(findings, format!("{} is taken for {name}", quoted(text)))
                    .help("names of capabilities are written without CAP_");
            }
            out.push(name.to_owned());
        } else {
            let finding = item.error(findings, format!("{} is no capability", quoted(text)));
            if let Some(near) = nearest(name, CAPABILITIES.iter().copied()) {
                finding.help(format!("did you mean {near}?"));
            }
        }
    }
    out
}
