//! A seccomp profile of the operator's own (`seccompProfile.type: Localhost`): docker's and containerd's JSON form, of which
//! the OCI runtime specification's `linux.seccomp` is a part, becomes what runc takes.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::capabilities::Set;

/// Why a profile cannot be used.
#[derive(Debug)]
pub enum ProfileError {
    /// It is not JSON of the right shape.
    Json(serde_json::Error),
    /// It names no default action.
    NoDefault,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(e) => write!(f, "not a seccomp profile: {e}"),
            Self::NoDefault => f.write_str("not a seccomp profile: it has no defaultAction"),
        }
    }
}

impl std::error::Error for ProfileError {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Map<String, Value>>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// `linux.seccomp` for a container with these capabilities. `kernel` is the running kernel's (version, patch level).
pub fn localhost(text: &str, capabilities: Set, kernel: (u32, u32)) -> Result<Value, ProfileError> {
    let profile: Profile = serde_json::from_str(text).map_err(ProfileError::Json)?;
    if profile.default_action.is_empty() {
        return Err(ProfileError::NoDefault);
    }
    let (name, short) = architecture();
    let mut architectures = profile.architectures;
    for map in profile.arch_map.into_iter().filter(|m| m.architecture == name) {
        architectures.push(map.architecture);
        architectures.extend(map.sub_architectures.unwrap_or_default());
    }
    let has = |caps: &[String]| {
        caps.iter().map(|c| capabilities.has(c.strip_prefix("CAP_").unwrap_or(c))).collect::<Vec<_>>()
    };
    let included = |f: &Filter| {
        f.arches.as_ref().is_none_or(|a| a.is_empty() || a.iter().any(|a| a == short))
            && f.caps.as_ref().is_none_or(|c| has(c).iter().all(|h| *h))
            && f.min_kernel.as_deref().and_then(version).is_none_or(|least| kernel >= least)
    };
    let excluded = |f: &Filter| {
        f.arches.as_ref().is_some_and(|a| a.iter().any(|a| a == short))
            || f.caps.as_ref().is_some_and(|c| has(c).iter().any(|h| *h))
            || f.min_kernel.as_deref().and_then(version).is_some_and(|least| kernel >= least)
    };
    let rules: Vec<Value> = profile
        .syscalls
        .into_iter()
        .filter(|r| included(&r.includes) && !excluded(&r.excludes))
        .map(|r| {
            let names: Vec<String> = r.name.into_iter().chain(r.names.unwrap_or_default()).collect();
            let mut rule =
                Map::from_iter([("names".to_owned(), json!(names)), ("action".to_owned(), json!(r.action))]);
            if let Some(errno) = r.errno_ret {
                rule.insert("errnoRet".to_owned(), json!(errno));
            }
            if let Some(args) = r.args.filter(|a| !a.is_empty()) {
                rule.insert("args".to_owned(), json!(args));
            }
            Value::Object(rule)
        })
        .collect();
    let mut made = json!({ "defaultAction": profile.default_action, "syscalls": rules });
    if let Some(map) = made.as_object_mut() {
        if !architectures.is_empty() {
            map.insert("architectures".to_owned(), json!(architectures));
        }
        if !profile.flags.is_empty() {
            map.insert("flags".to_owned(), json!(profile.flags));
        }
        if let Some(errno) = profile.default_errno_ret {
            map.insert("defaultErrnoRet".to_owned(), json!(errno));
        }
    }
    Ok(made)
}

/// This machine's architecture in `archMap`, and in `includes` and `excludes`.
fn architecture() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("SCMP_ARCH_AARCH64", "arm64") } else { ("SCMP_ARCH_X86_64", "amd64") }
}

/// The first two numbers of a kernel's release: `6.1.0-13-amd64` is (6, 1).
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_profiles_become_runcs() {
        let text = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
                        { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }],
            "syscalls": [
              { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {} },
              { "name": "mount", "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
              { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": { "minKernel": "4.8" } },
              { "names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["s390"] } },
              { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1, "excludes": { "caps": ["CAP_SYS_ADMIN"] },
                "args": [{ "index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] } ] }"#;
        let names = |set, kernel| {
            let made = localhost(text, set, kernel).unwrap();
            let rules = made["syscalls"].as_array().unwrap();
            rules.iter().map(|r| r["names"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(Set(0), (6, 1)), ["read", "ptrace", "clone"]);
        assert_eq!(names(Set(1 << 21), (4, 7)), ["read", "mount"]);
        let made = localhost(text, Set(0), (6, 1)).unwrap();
        assert_eq!(made["architectures"].as_array().unwrap().len(), 2);
        assert_eq!(made["defaultErrnoRet"], 38);
        assert_eq!(made["syscalls"][0], json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW" }));
        assert_eq!(made["syscalls"][2]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
        assert!(localhost("{}", Set(0), (6, 1)).is_err());
        assert!(localhost("x", Set(0), (6, 1)).is_err());
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
    }
}
