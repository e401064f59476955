//! Which network Pods join: the first configuration in byte order of its file name, read and checked as a whole before any
//! plugin runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::helper::sandbox::{SandboxError, SandboxSpec};

/// The versions of the specification that are spoken, the oldest first.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The largest configuration that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// A network: a chain of plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The version that plugins are spoken to in.
    pub version: String,
    /// `disableCheck`.
    pub disable_check: bool,
    /// The plugins in the order of ADD. Never empty.
    pub plugins: Vec<Plugin>,
}

/// One plugin of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// `type`: the name of the program.
    pub kind: String,
    /// Its part of the configuration as it was written.
    pub config: Map<String, Value>,
}

impl Network {
    /// The network that the Pod is to join; it must be able to do what the Pod wants of it.
    pub fn of(spec: &SandboxSpec) -> Result<Self, SandboxError> {
        let network = Self::load(&spec.cni.conf_dir)?;
        let mapped = network.plugins.iter().any(|p| p.has_capability("portMappings"));
        let wanted =
            spec.pod.all_containers().flat_map(|c| &c.ports).find_map(|p| p.host_port.filter(|p| *p != 0));
        match wanted {
            Some(port) if !mapped => Err(SandboxError::NoPortMapper { network: network.name, port }),
            Some(_) | None => Ok(network),
        }
    }

    /// The first network in byte order of the file names `*.conf`, `*.conflist`, `*.json` (libcni's `ConfFiles`; names
    /// that begin with a dot are passed over, as those of manifests).
    pub fn load(directory: &Path) -> Result<Self, SandboxError> {
        let path = first(directory, &["conf", "conflist", "json"])?
            .into_iter()
            .next()
            .ok_or_else(|| SandboxError::NoNetwork(directory.to_owned()))?;
        let bytes = read(&path)?;
        let mut network =
            parse(&bytes).map_err(|problem| SandboxError::Config { path: path.clone(), problem })?;
        if network.loads_more {
            // 1.1.0: further plugins may lie in a directory of the network's name.
            for path in first(&directory.join(&network.network.name), &["conf"])? {
                let bytes = read(&path)?;
                let plugin = object(&bytes).and_then(Plugin::of);
                network
                    .network
                    .plugins
                    .push(plugin.map_err(|problem| SandboxError::Config { path, problem })?);
            }
        }
        if network.network.plugins.is_empty() {
            let problem = "has no plugins".to_owned();
            return Err(SandboxError::Config { path, problem });
        }
        Ok(network.network)
    }

    /// Whether the version knows CHECK, and with it `prevResult` for DEL: 0.4.0 and later.
    pub fn has_check(&self) -> bool {
        !matches!(self.version.as_str(), "0.3.0" | "0.3.1")
    }

    /// What a plugin reads on standard input ("Deriving request configuration from plugin configuration").
    pub fn request(&self, plugin: &Plugin, port_mappings: &[Value], previous: Option<&Value>) -> Value {
        let mut config = plugin.config.clone();
        config.remove("capabilities");
        config.insert("name".to_owned(), self.name.clone().into());
        config.insert("cniVersion".to_owned(), self.version.clone().into());
        if plugin.has_capability("portMappings") && !port_mappings.is_empty() {
            let mut runtime = Map::new();
            runtime.insert("portMappings".to_owned(), port_mappings.into());
            config.insert("runtimeConfig".to_owned(), runtime.into());
        }
        if let Some(previous) = previous {
            config.insert("prevResult".to_owned(), previous.clone());
        }
        config.into()
    }
}

impl Plugin {
    fn of(config: Map<String, Value>) -> Result<Self, String> {
        let kind = config.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
            return Err(format!("a plugin's type must be the name of a program, and is {kind:?}"));
        }
        Ok(Self { kind: kind.to_owned(), config })
    }

    fn has_capability(&self, name: &str) -> bool {
        self.config.get("capabilities").and_then(|c| c.get(name)).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// A network, and whether more plugins may lie elsewhere.
struct Parsed {
    network: Network,
    loads_more: bool,
}

fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let fields = object(bytes)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let name = text("name").unwrap_or_default().to_owned();
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(rest) {
        return Err(format!(
            "name must be letters, digits and _.-, begin with a letter or digit, and is {name:?}"
        ));
    }
    let version = version(&fields)?;
    let flag = |name: &str| match fields.get(name) {
        // libcni takes these as text, too.
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(_) | None => false,
    };
    let is_list = fields.contains_key("plugins") || !fields.contains_key("type");
    let plugins = if is_list {
        let Some(plugins) = fields.get("plugins").and_then(Value::as_array) else {
            return Err("plugins must be a list".to_owned());
        };
        let plugin = |plugin: &Value| match plugin {
            Value::Object(config) => Plugin::of(config.clone()),
            _ => Err("each of plugins must be an object".to_owned()),
        };
        plugins.iter().map(plugin).collect::<Result<_, _>>()?
    } else {
        vec![Plugin::of(fields.clone())?]
    };
    let loads_more = is_list && version == "1.1.0" && !flag("loadOnlyInlinedPlugins");
    let network = Network { name, version, disable_check: flag("disableCheck"), plugins };
    Ok(Parsed { network, loads_more })
}

/// The newest version that both sides speak, of `cniVersions` and `cniVersion`.
fn version(fields: &Map<String, Value>) -> Result<String, String> {
    let one = fields.get("cniVersion").into_iter();
    let many = fields.get("cniVersions").and_then(Value::as_array).into_iter().flatten();
    let offered: Vec<&str> = one.chain(many).filter_map(Value::as_str).collect();
    match VERSIONS.into_iter().rfind(|v| offered.contains(v)) {
        Some(version) => Ok(version.to_owned()),
        None => Err(format!(
            "cniVersion must be one of {}, and is {}",
            VERSIONS.join(", "),
            if offered.is_empty() { "missing".to_owned() } else { offered.join(", ") }
        )),
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(e) => Err(format!("is not JSON: {e}")),
    }
}

/// The files of a directory with one of these endings, in byte order; none when it is not there.
fn first(directory: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, SandboxError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SandboxError::file("read", directory, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| SandboxError::file("read", directory, e))?.file_name();
        let ending = Path::new(&name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && endings.contains(&ending) && !directory.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|n| directory.join(n)).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, SandboxError> {
    let failed = |e| SandboxError::file("read", path, e);
    if fs::metadata(path).map_err(failed)?.len() > LARGEST {
        let problem = format!("is larger than {LARGEST} bytes");
        return Err(SandboxError::Config { path: path.to_owned(), problem });
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn network(text: &str) -> Result<Network, String> {
        parse(text.as_bytes()).map(|p| p.network)
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let v = |text: &str| {
            network(&format!("{{ \"name\": \"n\", \"plugins\": [], {text} }}")).map(|n| n.version)
        };
        assert_eq!(v(r#""cniVersion": "0.3.1""#).unwrap(), "0.3.1");
        assert_eq!(v(r#""cniVersion": "0.4.0", "cniVersions": ["1.0.0", "7.0.0"]"#).unwrap(), "1.0.0");
        assert!(v(r#""cniVersion": "0.2.0""#).unwrap_err().contains("is 0.2.0"));
        assert!(v(r#""x": 1"#).unwrap_err().contains("is missing"));
    }

    #[test]
    fn what_cannot_be_a_network_is_refused() {
        for (text, word) in [
            ("{", "not JSON"),
            ("[]", "object"),
            (r#"{ "cniVersion": "1.0.0", "plugins": [] }"#, "name"),
            (r#"{ "cniVersion": "1.0.0", "name": "../x", "plugins": [] }"#, "name"),
            (r#"{ "cniVersion": "1.0.0", "name": "n" }"#, "plugins"),
            (r#"{ "cniVersion": "1.0.0", "name": "n", "plugins": [1] }"#, "object"),
            (r#"{ "cniVersion": "1.0.0", "name": "n", "plugins": [{}] }"#, "type"),
            (r#"{ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "../sh" }] }"#, "../sh"),
        ] {
            let error = network(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_plugin_reads_its_own_part_and_what_it_can_use() {
        let text = r#"{ "cniVersion": "1.0.0", "name": "n", "plugins": [
            { "type": "bridge", "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.0.0.0/8" }]] } },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }
        ] }"#;
        let n = network(text).unwrap();
        let mapping = json!({ "hostPort": 80, "containerPort": 8080, "protocol": "tcp" });
        let previous = json!({ "ips": [] });
        let requests: Vec<Value> =
            n.plugins.iter().map(|p| n.request(p, std::slice::from_ref(&mapping), Some(&previous))).collect();
        assert_eq!(
            requests[0],
            json!({ "cniVersion": "1.0.0", "name": "n", "type": "bridge", "prevResult": previous,
                "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.0.0.0/8" }]] } })
        );
        assert_eq!(
            requests[1],
            json!({ "cniVersion": "1.0.0", "name": "n", "type": "portmap", "snat": true, "prevResult": previous,
                "runtimeConfig": { "portMappings": [mapping] } })
        );
        let single = network(r#"{ "cniVersion": "0.3.1", "name": "n", "type": "ptp" }"#).unwrap();
        assert_eq!(single.plugins[0].kind, "ptp");
    }

    #[test]
    fn the_first_file_in_byte_order_counts() {
        let dir = std::env::temp_dir().join(format!("podstrap-cni-config-{}", std::process::id()));
        fs::create_dir_all(dir.join("00-dir.conf")).unwrap();
        assert!(matches!(Network::load(&dir), Err(SandboxError::NoNetwork(_))));
        let conf = |name: &str| {
            format!(r#"{{ "cniVersion": "1.1.0", "name": "{name}", "type": "x", "plugins": [] }}"#)
        };
        for (file, name) in
            [("20-b.conf", "b"), ("10-a.conflist", "a"), ("00-x.txt", "x"), (".0.conf", "dot")]
        {
            fs::write(dir.join(file), conf(name)).unwrap();
        }
        // A list of 1.1.0 without plugins of its own gets those of its directory.
        let error = Network::load(&dir).unwrap_err().to_string();
        assert!(error.contains("10-a.conflist: has no plugins"), "{error}");
        fs::create_dir(dir.join("a")).unwrap();
        fs::write(dir.join("a/5.conf"), r#"{ "type": "later" }"#).unwrap();
        let network = Network::load(&dir).unwrap();
        assert_eq!((network.name.as_str(), network.plugins[0].kind.as_str()), ("a", "later"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
