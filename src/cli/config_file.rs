//! `--config FILE`: the options of `run` from a file. What is also on the command line counts from there.
//!
//! The file is YAML or JSON, and either ours, with the options' names in camelCase, or a KubeletConfiguration, of which the
//! fields about static Pods are used and the others named. Either is turned into words as they would be typed, so that an
//! option has one meaning and one set of errors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use argh::FromArgs;
use serde::Deserialize;
use serde_yaml::{Deserializer, Value};

use super::args::{Known, Top, options_of};
use crate::manifest::nearest;

/// A larger file is not read, in bytes.
const MOST_BYTES: u64 = 512 * 1024;

/// Our own kind of file.
const OWN: (&str, &str) = ("podstrap.io/v1", "PodstrapConfiguration");
/// The kubelet's (<https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>).
const KUBELET: (&str, &str) = ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration");

/// One value of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As it is typed, without dashes.
    pub option: String,
    /// Its value.
    pub value: String,
    /// What it is called in the file.
    pub field: String,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// Options with their values; one with several values stands several times.
    pub options: Vec<Setting>,
    /// Fields that mean nothing here.
    pub unused: Vec<String>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, for people, with its name and the line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let fail = |why: String| format!("{}: {why}", path.display());
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
            .map_err(|e| fail(format!("cannot be read: {e}")))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(fail(format!("is larger than {} KiB", MOST_BYTES >> 10)));
        }
        Self::parse(&text).and_then(Self::checked).map_err(|why| match line_of(&text, &why) {
            Some(line) => format!("{}:{line}: {why}", path.display()),
            None => fail(why),
        })
    }

    /// Whether `run` takes each value, by what it says of it where it is typed.
    fn checked(self) -> Result<Self, String> {
        for Setting { option, value, field } in &self.options {
            let typed = format!("--{option}");
            let words = [typed.as_str(), value.as_str()];
            let is_switch = known().iter().any(|o| o.is_switch && o.name == *option);
            let wrong = match (is_switch, value.as_str()) {
                (true, "true" | "false") => None,
                (true, _) => Some("must be true or false".to_owned()),
                (false, _) => {
                    Top::from_args(&["podstrap"], &["run", words[0], words[1]]).err().map(|e| e.output)
                }
            };
            if let Some(why) = wrong {
                let why = why.trim_end();
                let told = why.split_once(&format!("with value '{value}': ")).map_or(why, |(_, told)| told);
                return Err(format!("{field}: {value:?}: {told}"));
            }
        }
        Ok(self)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let documents: Result<Vec<Value>, _> = Deserializer::from_str(text).map(Value::deserialize).collect();
        let mut documents = documents.map_err(|e| e.to_string())?;
        documents.retain(|document| !document.is_null());
        let [Value::Mapping(fields)] = documents.as_slice() else {
            return Err("must hold one object, with apiVersion and kind".to_owned());
        };
        let mut named = BTreeMap::new();
        for (key, value) in fields {
            let Value::String(key) = key else { return Err("the name of a field must be text".to_owned()) };
            if !value.is_null() {
                named.insert(key.as_str(), value);
            }
        }
        let word = |name: &str| named.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        match (word("apiVersion"), word("kind")) {
            kind if kind == OWN => own(&named),
            kind if kind == KUBELET => kubelet(&named),
            (version, kind) => Err(format!(
                "apiVersion: {version:?}, kind: {kind:?} is neither {}, {} nor {}, {}",
                OWN.0, OWN.1, KUBELET.0, KUBELET.1
            )),
        }
    }
}

/// The options that a file may name: all of `run` but the file itself.
fn known() -> Vec<Known> {
    options_of(&["run"]).into_iter().filter(|option| option.name != "config").collect()
}

/// `manifest-dir` → `manifestDir`.
fn camel(option: &str) -> String {
    let mut parts = option.split('-');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        out.push_str(&first.to_ascii_uppercase());
        out.push_str(rest);
    }
    out
}

fn own(fields: &BTreeMap<&str, &Value>) -> Result<ConfigFile, String> {
    let known: BTreeMap<String, String> = known().into_iter().map(|o| (camel(&o.name), o.name)).collect();
    let mut file = ConfigFile::default();
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(**name, "apiVersion" | "kind")) {
        let Some(option) = known.get(*name) else {
            let hint = nearest(name, known.keys().map(String::as_str));
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return Err(format!("{name}: there is no such option{hint}"));
        };
        file.add(option, name, value)?;
    }
    Ok(file)
}

fn kubelet(fields: &BTreeMap<&str, &Value>) -> Result<ConfigFile, String> {
    let mut file = ConfigFile::default();
    let mut health = BTreeMap::new();
    for (name, value) in fields {
        match *name {
            "apiVersion" | "kind" => {}
            "staticPodPath" => file.add_given("manifest-dir", name, value)?,
            "staticPodURL" => file.add_given("manifest-url", name, value)?,
            "staticPodURLHeader" => {
                let Value::Mapping(headers) = value else { return Err(format!("{name}: must be an object")) };
                for (header, values) in headers {
                    let header = header
                        .as_str()
                        .ok_or_else(|| format!("{name}: the name of a header must be text"))?;
                    for value in texts(name, values)? {
                        file.push("manifest-url-header", name, format!("{header}: {value}"));
                    }
                }
            }
            "fileCheckFrequency" => file.add_time("rescan", name, value)?,
            "httpCheckFrequency" => file.add_time("manifest-url-period", name, value)?,
            "clusterDNS" => file.add("cluster-dns", name, value)?,
            "clusterDomain" => file.add_given("cluster-domain", name, value)?,
            "podLogsDir" => file.add_given("log-dir", name, value)?,
            "containerLogMaxSize" => file.add_given("log-max-size", name, value)?,
            "containerLogMaxFiles" => file.add("log-max-files", name, value)?,
            "healthzBindAddress" | "healthzPort" => {
                health.insert(*name, texts(name, value)?.concat());
            }
            other => file.unused.push(other.to_owned()),
        }
    }
    // The kubelet's default is 127.0.0.1:10248; here nothing listens that was not asked for.
    let address = health.get("healthzBindAddress").map_or("127.0.0.1", String::as_str);
    match health.get("healthzPort").map(String::as_str) {
        None => file.unused.extend(health.keys().map(|name| (*name).to_owned())),
        Some("0") => file.push("healthz-address", "healthzPort", "off".to_owned()),
        Some(port) => {
            let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            file.push("healthz-address", "healthzPort", format!("{host}:{port}"));
        }
    }
    Ok(file)
}

impl ConfigFile {
    fn push(&mut self, option: &str, field: &str, value: String) {
        self.options.push(Setting { option: option.to_owned(), value, field: field.to_owned() });
    }

    fn add(&mut self, option: &str, field: &str, value: &Value) -> Result<(), String> {
        for value in texts(field, value)? {
            self.push(option, field, value);
        }
        Ok(())
    }

    /// The same, where an empty text means that nothing is said, as in Go.
    fn add_given(&mut self, option: &str, field: &str, value: &Value) -> Result<(), String> {
        if value.as_str() == Some("") { Ok(()) } else { self.add(option, field, value) }
    }

    /// The same, where a time of zero means the default: `0s`, as kubeadm writes it.
    fn add_time(&mut self, option: &str, field: &str, value: &Value) -> Result<(), String> {
        let values = texts(field, value)?;
        let is_zero = values.iter().all(|text| text.chars().all(|c| !matches!(c, '1'..='9')));
        if is_zero { Ok(()) } else { self.add(option, field, value) }
    }
}

/// A scalar, or a list of them, as text.
fn texts(field: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Bool(flag) => Ok(vec![flag.to_string()]),
        Value::Sequence(list) => {
            let items = list.iter().map(|item| match item {
                Value::Sequence(_) => Err(format!("{field}: a list in a list")),
                item => texts(field, item),
            });
            Ok(items.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Value::Null | Value::Mapping(_) | Value::Tagged(_) => {
            Err(format!("{field}: must be text, a number, or a list of them"))
        }
    }
}

/// The line, from 1, of the field that a message begins with. The parser tells no places; but a field of the outermost level
/// begins a line, unless the file is JSON in one piece.
fn line_of(text: &str, why: &str) -> Option<usize> {
    let (field, _) = why.split_once(':')?;
    let begins = |line: &str| {
        let rest = line.trim_start().trim_start_matches(['"', '{', ' ']).strip_prefix(field);
        rest.is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(':'))
    };
    text.lines().position(begins).map(|at| at + 1)
}

/// The words of `run` with what its `--config` file adds, and lines to tell. Without that option they are as they were.
///
/// # Errors
/// What is wrong with the file, for people.
pub fn with_file(words: Vec<String>) -> Result<(Vec<String>, Vec<String>), String> {
    let given = |name: &str| words.iter().any(|word| word == &format!("--{name}"));
    let at = words.iter().position(|word| word == "--config");
    let path =
        at.filter(|_| words.first().is_some_and(|verb| verb == "run")).and_then(|at| words.get(at + 1));
    let Some(path) = path else { return Ok((words, Vec::new())) };
    let file = ConfigFile::read(Path::new(path))?;
    let mut all = words.clone();
    for Setting { option, value, .. } in file.options.into_iter().filter(|s| !given(&s.option)) {
        // What has no value where it is typed is true or false in a file.
        match known().iter().any(|o| o.is_switch && o.name == option) {
            true if value == "true" => all.push(format!("--{option}")),
            true => {}
            false => all.extend([format!("--{option}"), value]),
        }
    }
    let mut lines = Vec::new();
    if !file.unused.is_empty() {
        lines.push(format!("{path}: not used here: {}", file.unused.join(", ")));
    }
    Ok((all, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        let file = ConfigFile::parse(text).unwrap();
        file.options.into_iter().map(|s| format!("{}={}", s.option, s.value)).collect()
    }

    #[test]
    fn our_own_file_has_the_options_in_camel_case() {
        let text = "apiVersion: podstrap.io/v1\nkind: PodstrapConfiguration\nmanifestDir: [/a, /b]\nlogMaxFiles: 3\n\
                    restartBackoff: 10s,300s\nrunDir: null\nnodeLabel: [disk=ssd]\nnodeTaint: gpu:NoSchedule\n";
        assert_eq!(
            options(text),
            [
                "log-max-files=3",
                "manifest-dir=/a",
                "manifest-dir=/b",
                "node-label=disk=ssd",
                "node-taint=gpu:NoSchedule",
                "restart-backoff=10s,300s"
            ]
        );
        let wrong = |line: &str| {
            let text = format!("apiVersion: podstrap.io/v1\nkind: PodstrapConfiguration\n{line}\n");
            ConfigFile::parse(&text).unwrap_err()
        };
        assert_eq!(
            wrong("manifestdir: /a"),
            "manifestdir: there is no such option; did you mean manifestDir?"
        );
        assert!(wrong("config: /x").contains("no such option"));
        assert!(wrong("runDir: {a: b}").contains("must be text"));
    }

    #[test]
    fn every_option_has_a_name_in_the_file() {
        let known = known();
        let switches: Vec<&str> = known.iter().filter(|o| o.is_switch).map(|o| o.name.as_str()).collect();
        assert_eq!(switches, ["allow-foreign-manifests", "register-node"]);
        let names: Vec<&str> = known.iter().map(|o| o.name.as_str()).collect();
        assert!(names.len() >= 25 && names.contains(&"manifest-dir"), "{names:?}");
        assert!(!names.contains(&"config") && !names.contains(&"help"));
        assert_eq!(camel("max-manifest-bytes"), "maxManifestBytes");
    }

    /// As kubeadm 1.20 writes it.
    #[test]
    fn of_a_kubelet_configuration_the_fields_about_static_pods_are_used() {
        let text = "apiVersion: kubelet.config.k8s.io/v1beta1\nauthentication: {anonymous: {enabled: false}}\n\
                    clusterDNS: [10.96.0.10]\nclusterDomain: cluster.local\ncpuManagerReconcilePeriod: 0s\n\
                    fileCheckFrequency: 0s\nhealthzBindAddress: 127.0.0.1\nhealthzPort: 10248\nhttpCheckFrequency: 1m0s\n\
                    kind: KubeletConfiguration\nlogging: {}\nstaticPodPath: /etc/kubernetes/manifests\nstaticPodURL: \"\"\n\
                    staticPodURLHeader: {A: [b, c]}\n";
        assert_eq!(
            options(text),
            [
                "cluster-dns=10.96.0.10",
                "cluster-domain=cluster.local",
                "manifest-url-period=1m0s",
                "manifest-dir=/etc/kubernetes/manifests",
                "manifest-url-header=A: b",
                "manifest-url-header=A: c",
                "healthz-address=127.0.0.1:10248",
            ]
        );
        let unused = ConfigFile::parse(text).unwrap().unused;
        assert_eq!(unused, ["authentication", "cpuManagerReconcilePeriod", "logging"]);
        let only_address = text.replace("healthzPort: 10248\n", "");
        assert!(ConfigFile::parse(&only_address).unwrap().unused.contains(&"healthzBindAddress".to_owned()));
    }

    #[test]
    fn a_switch_is_true_or_false() {
        let path = std::env::temp_dir().join(format!("podstrap-switch-{}", std::process::id()));
        let words = ["run", "--config", path.to_str().unwrap()].map(str::to_owned).to_vec();
        let with = |value: &str| {
            std::fs::write(
                &path,
                format!(
                    "apiVersion: {}\nkind: {}\nkubeconfig: /k\nregisterNode: {value}\nallowForeignManifests: {value}\n",
                    OWN.0, OWN.1
                ),
            )
            .unwrap();
            with_file(words.clone()).map(|(words, _)| words.get(3..).unwrap().join(" "))
        };
        assert_eq!(with("true").unwrap(), "--allow-foreign-manifests --kubeconfig /k --register-node");
        assert_eq!(with("false").unwrap(), "--kubeconfig /k");
        assert!(
            with("maybe")
                .unwrap_err()
                .contains(":5: allowForeignManifests: \"maybe\": must be true or false")
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn other_files_are_refused() {
        for (text, word) in [
            ("", "one object"),
            ("- a\n", "one object"),
            ("a: b\n---\nc: d\n", "one object"),
            ("kind: Pod\napiVersion: v1\n", "neither"),
            ("a: [\n", "line"),
            ("1: a\n", "must be text"),
        ] {
            let error = ConfigFile::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
