//! Security contexts, of the Pod and of containers.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use crate::pod::{AppArmor, SeLinux, Seccomp, Security};

/// The largest id that Kubernetes accepts.
const ID_MAX: i64 = 2_147_483_647;

/// The longest name of an AppArmor profile, as the API has it.
const APPARMOR_MAX: usize = 4095;

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
    Security {
        seccomp: context.get("seccompProfile").and_then(|profile| seccomp(&profile, findings)),
        run_as_user: context.get("runAsUser").and_then(|s| id(&s, findings)),
        run_as_group: context.get("runAsGroup").and_then(|s| id(&s, findings)),
        run_as_non_root: context.get("runAsNonRoot").and_then(|s| s.boolean(findings)),
        app_armor: context.get("appArmorProfile").and_then(|profile| app_armor(&profile, findings)),
        selinux: context.get("seLinuxOptions").and_then(|options| selinux(&options, findings)),
    }
}

/// `type` of a seccomp or AppArmor profile.
#[derive(Clone, Copy, Debug)]
enum Type<'n> {
    RuntimeDefault,
    Unconfined,
    Localhost(&'n str),
}

/// Reads `type` and `localhostProfile`, which go together.
fn profile<'n>(spot: &Spot<'n>, findings: &mut Findings) -> Option<Type<'n>> {
    let Value::Map(_) = spot.node.value else { return None };
    let local = spot.get("localhostProfile").and_then(|s| Some((s.filled(findings)?, s)));
    let Some(kind) = spot.get("type") else {
        spot.error(findings, "needs a type").help("type: RuntimeDefault, Localhost or Unconfined");
        return None;
    };
    #[derive(Clone, Copy)]
    enum Name {
        RuntimeDefault,
        Unconfined,
        Localhost,
    }
    let choices = [
        ("RuntimeDefault", Name::RuntimeDefault),
        ("Localhost", Name::Localhost),
        ("Unconfined", Name::Unconfined),
    ];
    let chosen = kind.choice(findings, &choices)?;
    match (chosen, local) {
        (Name::Localhost, Some((text, _))) => Some(Type::Localhost(text)),
        (Name::Localhost, None) => {
            if spot.get("localhostProfile").is_none_or(|s| s.node.value == Value::Text(String::new())) {
                kind.error(findings, "needs a localhostProfile");
            }
            None
        }
        (Name::RuntimeDefault | Name::Unconfined, Some((_, spot))) => {
            spot.error(findings, "is only for type: Localhost");
            None
        }
        (Name::RuntimeDefault, None) => Some(Type::RuntimeDefault),
        (Name::Unconfined, None) => Some(Type::Unconfined),
    }
}

fn seccomp(spot: &Spot<'_>, findings: &mut Findings) -> Option<Seccomp> {
    match profile(spot, findings)? {
        Type::RuntimeDefault => Some(Seccomp::RuntimeDefault),
        Type::Unconfined => Some(Seccomp::Unconfined),
        Type::Localhost(path) => {
            let why = if path.starts_with('/') {
                "must be relative to the directory of profiles"
            } else if path.split('/').any(|part| part == "..") {
                "must not contain '..'"
            } else {
                return Some(Seccomp::Localhost(path.to_owned()));
            };
            if let Some(spot) = spot.get("localhostProfile") {
                spot.error(findings, why);
            }
            None
        }
    }
}

fn app_armor(spot: &Spot<'_>, findings: &mut Findings) -> Option<AppArmor> {
    match profile(spot, findings)? {
        Type::RuntimeDefault => Some(AppArmor::RuntimeDefault),
        Type::Unconfined => Some(AppArmor::Unconfined),
        Type::Localhost(name) => {
            let bad = name.trim() != name || name.len() > APPARMOR_MAX || name.contains(char::is_control);
            if let Some(spot) = spot.get("localhostProfile").filter(|_| bad) {
                spot.error(findings, format!("{} is no name of a profile", quoted(name)));
            }
            Some(AppArmor::Localhost(name.to_owned()))
        }
    }
}

/// The profile that an annotation of kubelets before 1.30 names.
pub(super) fn app_armor_annotation(text: &str) -> Option<AppArmor> {
    match text {
        "unconfined" => Some(AppArmor::Unconfined),
        "runtime/default" => Some(AppArmor::RuntimeDefault),
        _ => text
            .strip_prefix("localhost/")
            .filter(|n| !n.is_empty())
            .map(|n| AppArmor::Localhost(n.to_owned())),
    }
}

fn selinux(spot: &Spot<'_>, findings: &mut Findings) -> Option<SeLinux> {
    let Value::Map(_) = spot.node.value else { return None };
    let mut part = |name: &str| {
        let part = spot.get(name)?;
        let text = part.text(findings)?;
        // The parts are put together with colons; only the level has some of its own.
        if text.contains(|c: char| c.is_control() || c.is_whitespace())
            || (name != "level" && text.contains(':'))
        {
            part.error(findings, format!("{} is no {name} of a label", quoted(text)));
        }
        Some(text.to_owned())
    };
    let options = SeLinux {
        user: part("user").unwrap_or_default(),
        role: part("role").unwrap_or_default(),
        kind: part("type").unwrap_or_default(),
        level: part("level").unwrap_or_default(),
    };
    Some(options).filter(|o| *o != SeLinux::default())
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
    pub proc_unmasked: bool,
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
    let proc_mount =
        context.and_then(|c| c.get("procMount")).filter(|s| s.node.value != Value::Text(String::new()));
    let proc_unmasked = proc_mount.is_some_and(|spot| {
        let unmasked = spot.choice(findings, &[("Default", false), ("Unmasked", true)]).unwrap_or(false);
        if unmasked {
            spot.warning(findings, "shows the container all of the host's /proc; newer kubelets allow it only with hostUsers: false");
        }
        unmasked
    });
    ContainerSecurity {
        shared,
        privileged,
        allow_privilege_escalation: escalation.is_none_or(|(b, _)| b),
        read_only_root,
        cap_add,
        cap_drop,
        proc_unmasked,
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
