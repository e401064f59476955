//! What a Pod's own fields, its ConfigMaps and its Secrets say: the manifest's part of a container's environment, by the
//! kubelet's rules (makeEnvironmentVariables in pkg/kubelet/kubelet_pods.go).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::process::expand;
use crate::pod::quantity::Bytes;
use crate::pod::{Container, EnvValue, FieldRef, ObjectKind, ObjectRef, Pod, Resources};

/// The data of the objects that were found.
pub type Objects = BTreeMap<ObjectRef, BTreeMap<String, Vec<u8>>>;

/// What is known of a Pod only where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `status.podIPs`; under hostNetwork the host's.
    pub pod_ips: Vec<IpAddr>,
    /// `status.hostIPs`.
    pub host_ips: Vec<IpAddr>,
    /// The host's cpus, in thousandths.
    pub cpu_milli: u64,
    /// The host's memory in bytes.
    pub memory: u64,
    /// Bytes of the disk that holds the containers' writable layers.
    pub storage: u64,
}

/// Why a value cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// There is no such object.
    NoObject(ObjectRef),
    /// The object has no such key.
    NoKey {
        /// The Pod's namespace.
        namespace: String,
        /// The object.
        object: ObjectRef,
        /// The key.
        key: String,
    },
    /// The value has a zero byte, which no environment can hold.
    Zero {
        /// The object.
        object: ObjectRef,
        /// The key.
        key: String,
    },
    /// `resourceFieldRef.containerName` names no container of the Pod.
    NoContainer(String),
    /// `resourceFieldRef.resource` names nothing that can be told.
    NoResource(String),
}

/// The kind as the API's messages have it.
fn lower(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::ConfigMap => "configmap",
        ObjectKind::Secret => "secret",
    }
}

fn upper(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::ConfigMap => "ConfigMap",
        ObjectKind::Secret => "Secret",
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject(object) => write!(f, "{} {:?} not found", lower(object.kind), object.name),
            Self::NoKey { namespace, object, key } => {
                write!(f, "couldn't find key {key} in {} {namespace}/{}", upper(object.kind), object.name)
            }
            Self::Zero { object, key } => write!(
                f,
                "key {key} of {} {:?} has a zero byte and cannot be an environment variable; use a volume",
                lower(object.kind),
                object.name
            ),
            Self::NoContainer(name) => {
                write!(f, "resourceFieldRef.containerName: the Pod has no container {name:?}")
            }
            Self::NoResource(name) => write!(
                f,
                "resourceFieldRef.resource: {name:?} is not limits. or requests. of cpu, memory, ephemeral-storage \
                 or hugepages-SIZE"
            ),
        }
    }
}

impl std::error::Error for ValueError {}

/// The manifest's variables in order, and warnings.
pub type Variables = (Vec<(String, String)>, Vec<String>);

/// The manifest's part of the environment: `envFrom` in order, then `env` in order, each expanded over those before it.
/// Each name stands once, with its last value.
pub fn own(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    objects: &Objects,
) -> Result<Variables, ValueError> {
    let mut known = BTreeMap::new();
    let mut order = Vec::new();
    let mut warnings = Vec::new();
    let mut set = |known: &mut BTreeMap<String, String>, name: String, value: String| {
        if known.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    };
    for from in &container.env_from {
        let Some(data) = objects.get(&from.object) else {
            if from.optional {
                continue;
            }
            return Err(ValueError::NoObject(from.object.clone()));
        };
        let mut skipped = Vec::new();
        for (key, value) in data {
            let name = format!("{}{key}", from.prefix);
            match std::str::from_utf8(value) {
                Ok(text) if is_name(&name) && !text.contains('\0') => set(&mut known, name, text.to_owned()),
                Ok(_) | Err(_) => skipped.push(name),
            }
        }
        if !skipped.is_empty() {
            warnings.push(format!(
                "keys [{}] from the envFrom {} {}/{} were skipped: not names of environment variables, or not text",
                skipped.join(", "),
                lower(from.object.kind),
                pod.key.namespace,
                from.object.name
            ));
        }
    }
    for variable in &container.env {
        let value = match &variable.value {
            EnvValue::Text(text) => expand(text, &known),
            EnvValue::Field(reference) => field(pod, Some(container), reference, facts)?,
            EnvValue::Key { object, key, optional } => match (of_key(pod, object, key, objects), optional) {
                (Ok(value), _) => value,
                (Err(ValueError::NoObject(_) | ValueError::NoKey { .. }), true) => continue,
                (Err(e), _) => return Err(e),
            },
        };
        set(&mut known, variable.name.clone(), value);
    }
    let values = order
        .into_iter()
        .filter_map(|name| {
            let value = known.remove(&name)?;
            Some((name, value))
        })
        .collect();
    Ok((values, warnings))
}

fn of_key(pod: &Pod, object: &ObjectRef, key: &str, objects: &Objects) -> Result<String, ValueError> {
    let data = objects.get(object).ok_or_else(|| ValueError::NoObject(object.clone()))?;
    let value = data.get(key).ok_or_else(|| ValueError::NoKey {
        namespace: pod.key.namespace.as_str().to_owned(),
        object: object.clone(),
        key: key.to_owned(),
    })?;
    if value.contains(&0) {
        return Err(ValueError::Zero { object: object.clone(), key: key.to_owned() });
    }
    Ok(String::from_utf8_lossy(value).into_owned())
}

/// `validation.IsEnvVarName`: letters, digits, `-`, `_` and `.`, not beginning with a digit.
fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// What a field of the Pod says. `own` is the container that asks, if one does.
pub fn field(
    pod: &Pod,
    own: Option<&Container>,
    field: &FieldRef,
    facts: &Facts,
) -> Result<String, ValueError> {
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    let all = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    Ok(match field {
        FieldRef::Name => pod.key.name.as_str().to_owned(),
        FieldRef::Namespace => pod.key.namespace.as_str().to_owned(),
        FieldRef::Uid => pod.uid.as_str().to_owned(),
        FieldRef::Labels => lines(&pod.labels),
        FieldRef::Annotations => lines(&pod.annotations),
        FieldRef::Label(key) => pod.labels.get(key).cloned().unwrap_or_default(),
        FieldRef::Annotation(key) => pod.annotations.get(key).cloned().unwrap_or_default(),
        FieldRef::NodeName => pod.node.as_str().to_owned(),
        FieldRef::ServiceAccountName => String::new(),
        FieldRef::HostIp => first(&facts.host_ips),
        FieldRef::HostIps => all(&facts.host_ips),
        FieldRef::PodIp => first(&facts.pod_ips),
        FieldRef::PodIps => all(&facts.pod_ips),
        FieldRef::Resource { container, resource, divisor_milli } => {
            let asked = match container {
                Some(name) => {
                    pod.container(name).ok_or_else(|| ValueError::NoContainer(name.as_str().to_owned()))?
                }
                None => own.ok_or_else(|| ValueError::NoContainer(String::new()))?,
            };
            resource_value(pod, &asked.resources, resource, *divisor_milli, facts)?.to_string()
        }
    })
}

/// A value in the divisor's unit, rounded up. A limit that is not set is the Pod's, else what the node has; a request that
/// is not set is 0 (pkg/api/v1/resource/helpers.go).
fn resource_value(
    pod: &Pod,
    own: &Resources,
    resource: &str,
    divisor_milli: u64,
    facts: &Facts,
) -> Result<u64, ValueError> {
    let unknown = || ValueError::NoResource(resource.to_owned());
    let (kind, name) = resource.split_once('.').ok_or_else(unknown)?;
    let limit = match kind {
        "limits" => true,
        "requests" => false,
        _ => return Err(unknown()),
    };
    let pods = pod.resources.as_ref();
    let milli: u128 = match name {
        "cpu" => {
            let value = if limit { own.cpu_limit } else { own.cpu_request };
            let node = pods.and_then(|r| r.cpu_limit).map_or(facts.cpu_milli, |m| m.0);
            value.map_or(if limit { node } else { 0 }, |m| m.0).into()
        }
        _ => {
            let bytes = match name {
                "memory" => {
                    let value = if limit { own.memory_limit } else { own.memory_request };
                    let node = pods.and_then(|r| r.memory_limit).map_or(facts.memory, |b| b.0);
                    value.map_or(if limit { node } else { 0 }, |b| b.0)
                }
                "ephemeral-storage" => {
                    let value =
                        if limit { own.ephemeral_storage_limit } else { own.ephemeral_storage_request };
                    value.map_or(if limit { facts.storage } else { 0 }, |b| b.0)
                }
                _ => {
                    let size = name.strip_prefix("hugepages-").ok_or_else(unknown)?;
                    let size = Bytes::parse(size).map_err(|_| unknown())?;
                    own.huge_pages.get(&size.0).map_or(0, |b| b.0)
                }
            };
            u128::from(bytes).saturating_mul(1000)
        }
    };
    let divisor = if divisor_milli == 0 { 1000 } else { u128::from(divisor_milli) };
    Ok(u64::try_from(milli.div_ceil(divisor)).unwrap_or(u64::MAX))
}

/// `KEY="VALUE"` lines in the keys' order, quoted as Go does (fieldpath.FormatMap).
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(k, v)| format!("{k}={}", quote(v))).collect::<Vec<_>>().join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if u32::from(c) < 0x80 && c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::{container, pod};
    use super::*;
    use crate::pod::quantity::MilliCpu;
    use crate::pod::{ContainerName, EnvFrom, EnvVar};

    fn object(name: &str) -> ObjectRef {
        ObjectRef { kind: ObjectKind::ConfigMap, name: name.into() }
    }

    fn text(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: EnvValue::Text(value.into()) }
    }

    #[test]
    fn objects_come_first_and_what_is_missing_is_named() {
        let data = [("A", "1"), ("1bad", "x"), ("b.c", "$(A)")].map(|(k, v)| (k.to_owned(), v.into()));
        let objects = Objects::from([(object("m"), data.into())]);
        let from = |name: &str, prefix: &str, optional| EnvFrom {
            prefix: prefix.into(),
            object: object(name),
            optional,
        };
        let key = |name: &str, object_name: &str, key: &str, optional| EnvVar {
            name: name.into(),
            value: EnvValue::Key { object: object(object_name), key: key.into(), optional },
        };
        let mut c = container();
        c.env_from = vec![from("m", "", false), from("m", "P_", false), from("none", "", true)];
        c.env = vec![
            text("X", "$(A)$(b.c)"),
            text("A", "own"),
            text("Y", "$(A)"),
            key("K", "m", "A", false),
            key("gone", "m", "no", true),
            key("gone2", "no", "no", true),
        ];
        let (values, warnings) = own(&pod(), &c, &Facts::default(), &objects).unwrap();
        let wanted = [
            ("A", "own"),
            ("b.c", "$(A)"),
            ("P_1bad", "x"),
            ("P_A", "1"),
            ("P_b.c", "$(A)"),
            ("X", "1$(A)"),
            ("Y", "own"),
            ("K", "1"),
        ];
        assert_eq!(values, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(warnings.len() == 1 && warnings[0].contains("[1bad]"), "{warnings:?}");
        let refused = |c: &Container| own(&pod(), c, &Facts::default(), &objects).unwrap_err().to_string();
        c.env_from = vec![from("none", "", false)];
        assert_eq!(refused(&c), "configmap \"none\" not found");
        c.env_from.clear();
        c.env = vec![key("K", "m", "no", false)];
        assert_eq!(refused(&c), "couldn't find key no in ConfigMap ns/m");
        c.env = vec![key("K", "s", "no", false)];
        assert_eq!(refused(&c), "configmap \"s\" not found");
    }

    #[test]
    fn fields_and_resources() {
        let mut p = pod();
        p.labels = BTreeMap::from([("b".into(), "x\"\n\u{1}ä".into()), ("a".into(), "1".into())]);
        p.containers[0].resources = Resources {
            cpu_request: Some(MilliCpu(1250)),
            memory_limit: Some(Bytes(1_500_000)),
            huge_pages: BTreeMap::from([(2 << 20, Bytes(4 << 20))]),
            ..Resources::default()
        };
        let facts = Facts {
            pod_ips: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            host_ips: vec!["192.0.2.1".parse().unwrap()],
            cpu_milli: 2000,
            memory: 1 << 30,
            storage: 5000,
        };
        let of = |f: FieldRef| field(&p, p.containers.first(), &f, &facts);
        let resource = |name: &str, divisor_milli| {
            of(FieldRef::Resource { container: None, resource: name.into(), divisor_milli })
        };
        assert_eq!(of(FieldRef::Name).unwrap(), "p-host1");
        assert_eq!(of(FieldRef::Labels).unwrap(), "a=\"1\"\nb=\"x\\\"\\n\\x01ä\"");
        assert_eq!(of(FieldRef::Label("no".into())).unwrap(), "");
        assert_eq!(of(FieldRef::PodIps).unwrap(), "10.0.0.2,fd00::2");
        assert_eq!(of(FieldRef::HostIp).unwrap(), "192.0.2.1");
        for (name, divisor, value) in [
            ("requests.cpu", 1000, "2"),
            ("requests.cpu", 1, "1250"),
            ("limits.cpu", 1000, "2"),
            ("limits.memory", 1_000_000_000, "2"),
            ("limits.memory", 0, "1500000"),
            ("requests.memory", 1000, "0"),
            ("limits.ephemeral-storage", 1000, "5000"),
            ("limits.hugepages-2Mi", 1000, "4194304"),
            ("requests.hugepages-1Gi", 1000, "0"),
        ] {
            assert_eq!(resource(name, divisor).unwrap(), value, "{name}");
        }
        assert!(resource("limits.gpu", 1000).is_err());
        let other = FieldRef::Resource {
            container: Some(ContainerName::new("no")),
            resource: "limits.cpu".into(),
            divisor_milli: 1000,
        };
        assert!(of(other).unwrap_err().to_string().contains("\"no\""));
    }
}
