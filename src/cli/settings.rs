//! `run`'s arguments → [`RunConfig`]: what must fit together is checked here, before anything is touched.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::args::{MANIFEST_DIR, RunArgs};
use super::values_node::{LabelArg, TaintArg};
use super::values_url::{HeaderArg, UrlArg};
use crate::config::{Asking, Header, HeaderValue, ManifestUrl, MirrorConfig, RunConfig};
use crate::paths::{CniPaths, Roots};
use crate::pod::NodeName;
use crate::pod::node::NodeFacts;
use crate::sys;

/// Why a configuration cannot be.
#[derive(Debug)]
pub enum SettingsError {
    /// An option has a value that cannot be used.
    Option {
        /// `--node-name`.
        name: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The host has no usable name, and none was given.
    HostName {
        /// Its name, or why it could not be read.
        found: String,
    },
    /// The working directory is gone, so a relative path means nothing.
    Relative {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { name, value, rule } => write!(f, "{name} {value:?}: {rule}"),
            Self::HostName { found } => {
                write!(f, "the host's name cannot be a node's name ({found}); give one with --node-name")
            }
            Self::Relative { path, error } => {
                write!(f, "make {} absolute: {error}; give an absolute path", path.display())
            }
        }
    }
}

/// The rule of Kubernetes for node names.
const NODE_RULE: &str = "must be a DNS-1123 subdomain: at most 253 lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit";

impl RunConfig {
    /// Fills in the defaults and checks what belongs together. Nothing on disk is looked at but the host's name.
    pub fn from_args(args: RunArgs) -> Result<Self, SettingsError> {
        let state = absolute(&args.state_dir)?;
        let mut manifest_dirs = Vec::new();
        for dir in &args.manifest_dir {
            let dir = absolute(dir)?;
            if manifest_dirs.contains(&dir) {
                let value = dir.display().to_string();
                return Err(SettingsError::Option { name: "--manifest-dir", value, rule: "is given twice" });
            }
            manifest_dirs.push(dir);
        }
        if manifest_dirs.is_empty() && args.manifest_url.is_empty() {
            manifest_dirs.push(MANIFEST_DIR.into());
        }
        if args.rescan.0 < 1000 {
            let value = args.rescan.to_string();
            return Err(SettingsError::Option { name: "--rescan", value, rule: "must be at least 1s" });
        }
        if args.manifest_url_period.0 < 1000 {
            let value = args.manifest_url_period.to_string();
            let name = "--manifest-url-period";
            return Err(SettingsError::Option { name, value, rule: "must be at least 1s" });
        }
        let mut manifest_urls: Vec<ManifestUrl> = Vec::new();
        for UrlArg(url) in args.manifest_url {
            if manifest_urls.iter().any(|other| other.url == url.url) {
                let name = "--manifest-url";
                return Err(SettingsError::Option { name, value: url.shown, rule: "is given twice" });
            }
            manifest_urls.push(url);
        }
        let headers = args.manifest_url_header.into_iter().map(|HeaderArg(header)| {
            Ok(match header.value {
                HeaderValue::File(file) => Header { value: HeaderValue::File(absolute(&file)?), ..header },
                HeaderValue::Text(_) => header,
            })
        });
        let asking = Asking {
            headers: headers.collect::<Result<_, _>>()?,
            ca: args.manifest_url_ca.as_deref().map(absolute).transpose()?,
            period_ms: args.manifest_url_period.0,
        };
        if args.log_max_files == 0 {
            let value = "0".to_owned();
            return Err(SettingsError::Option { name: "--log-max-files", value, rule: "must be at least 1" });
        }
        let node = node_name(args.node_name.as_deref())?;
        let mut labels = BTreeMap::new();
        for LabelArg { key, value } in args.node_label {
            if let Some(other) = labels.insert(key.clone(), value.clone())
                && other != value
            {
                let value = format!("{key}={value}");
                return Err(SettingsError::Option {
                    name: "--node-label",
                    value,
                    rule: "has been given another value",
                });
            }
        }
        let taints = args.node_taint.into_iter().map(|TaintArg(taint)| taint).collect();
        Ok(Self {
            facts: NodeFacts::new(node.clone(), labels, taints),
            manifest_dirs,
            manifest_urls,
            asking,
            image_dir: match &args.image_dir {
                Some(dir) => absolute(dir)?,
                None => state.join("images.d"),
            },
            roots: Roots { run: absolute(&args.run_dir)?, state, log: absolute(&args.log_dir)? },
            runtime: args.runtime,
            docker_binary: args.docker_binary.as_deref().map(absolute).transpose()?,
            node,
            on_exit: args.on_exit,
            rescan_ms: args.rescan.0,
            backoff: args.restart_backoff,
            cgroup_root: cgroup_root(&args.cgroup_root)?,
            max_manifest_bytes: args.max_manifest_bytes.0,
            missing_dir: args.on_missing_dir,
            allow_foreign: args.allow_foreign_manifests,
            authfile: args.authfile.as_deref().map(absolute).transpose()?,
            log_max_bytes: args.log_max_size.0,
            log_max_files: args.log_max_files,
            cni: cni_paths(args.cni_conf_dir.as_deref(), &args.cni_bin_dir)?,
            cluster_dns: args.cluster_dns,
            cluster_domain: cluster_domain(&args.cluster_domain)?,
            healthz: args.healthz_address.0,
            mirror: mirror(args.kubeconfig.as_deref(), args.register_node)?,
        })
    }
}

/// The node's name: the one given, or the host's, in lower case and checked. `validate` needs it too.
pub fn node_name(given: Option<&str>) -> Result<NodeName, SettingsError> {
    if let Some(given) = given {
        let name = given.to_lowercase();
        return if is_subdomain(&name) {
            Ok(NodeName::new(name))
        } else {
            Err(SettingsError::Option { name: "--node-name", value: given.to_owned(), rule: NODE_RULE })
        };
    }
    match sys::process::host_name() {
        Ok(name) if is_subdomain(&name) => Ok(NodeName::new(name)),
        Ok(name) => Err(SettingsError::HostName { found: format!("{name:?}") }),
        Err(error) => Err(SettingsError::HostName { found: error.to_string() }),
    }
}

fn cni_paths(conf_dir: Option<&Path>, bin_dirs: &[PathBuf]) -> Result<CniPaths, SettingsError> {
    let mut paths = CniPaths::default();
    if let Some(conf_dir) = conf_dir {
        paths.conf_dir = absolute(conf_dir)?;
    }
    if !bin_dirs.is_empty() {
        paths.bin_dirs = bin_dirs.iter().map(|d| absolute(d)).collect::<Result<_, _>>()?;
    }
    // Plugins are told these directories as one list.
    match paths.bin_dirs.iter().find(|d| d.as_os_str().as_encoded_bytes().contains(&b':')) {
        Some(bad) => {
            let value = bad.display().to_string();
            Err(SettingsError::Option { name: "--cni-bin-dir", value, rule: "must not have a colon in it" })
        }
        None => Ok(paths),
    }
}

fn mirror(kubeconfig: Option<&Path>, register_node: bool) -> Result<Option<MirrorConfig>, SettingsError> {
    match kubeconfig {
        Some(path) => Ok(Some(MirrorConfig { kubeconfig: absolute(path)?, register_node })),
        None if register_node => Err(SettingsError::Option {
            name: "--register-node",
            value: "true".to_owned(),
            rule: "needs --kubeconfig",
        }),
        None => Ok(None),
    }
}

fn cluster_domain(given: &str) -> Result<String, SettingsError> {
    let name = given.trim_end_matches('.').to_lowercase();
    if is_subdomain(&name) {
        return Ok(name);
    }
    let rule = "must be a DNS-1123 subdomain, such as cluster.local";
    Err(SettingsError::Option { name: "--cluster-domain", value: given.to_owned(), rule })
}

fn is_subdomain(name: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn cgroup_root(given: &str) -> Result<String, SettingsError> {
    let root = given.trim_matches('/');
    let part = |p: &str| {
        !p.is_empty()
            && p != "."
            && p != ".."
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:".contains(&b))
    };
    if root.split('/').all(part) {
        return Ok(root.to_owned());
    }
    let rule = "must be a relative cgroup path of letters, digits and -_.@:, such as podstrap or system.slice/podstrap";
    Err(SettingsError::Option { name: "--cgroup-root", value: given.to_owned(), rule })
}

/// The daemon works in `/`, so a relative path must be resolved before.
fn absolute(path: &Path) -> Result<PathBuf, SettingsError> {
    std::path::absolute(path).map_err(|error| SettingsError::Relative { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Top, Verb};
    use argh::FromArgs;

    fn config(args: &[&str]) -> Result<RunConfig, String> {
        let mut all = vec!["run", "--node-name", "Host1"];
        all.extend(args);
        match Top::from_args(&["podstrap"], &all).map_err(|e| e.output)?.verb {
            Verb::Run(args) => RunConfig::from_args(args).map_err(|e| e.to_string()),
            _ => Err("not run".into()),
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let c = config(&[]).unwrap();
        assert_eq!(c.manifest_dirs, [PathBuf::from("/etc/kubernetes/manifests")]);
        assert_eq!(c.roots.run, Path::new("/run/podstrap"));
        assert_eq!(c.image_dir, Path::new("/var/lib/podstrap/images.d"));
        assert_eq!((c.rescan_ms, c.backoff.initial_ms, c.backoff.max_ms), (20_000, 1000, 60_000));
        assert_eq!((c.max_manifest_bytes, c.log_max_bytes, c.log_max_files), (524_288, 10_485_760, 5));
        assert_eq!((c.node.as_str(), c.cgroup_root.as_str()), ("host1", "podstrap"));
        assert_eq!(c.cni.conf_dir, Path::new("/etc/cni/net.d"));
        assert_eq!(c.cni.bin_dirs, [Path::new("/opt/cni/bin"), Path::new("/usr/lib/cni")]);
        assert!(c.cluster_dns.is_empty() && c.cluster_domain == "cluster.local");
        assert_eq!((c.healthz, c.mirror), (None, None));
        let c = config(&["--node-label", "disk=ssd", "--node-taint", "gpu=yes:NoSchedule"]).unwrap();
        assert_eq!(
            (c.facts.labels["disk"].as_str(), c.facts.labels["kubernetes.io/hostname"].as_str()),
            ("ssd", "host1")
        );
        assert_eq!(c.facts.taints[0].to_string(), "gpu=yes:NoSchedule");
        let c = config(&["--kubeconfig", "/k", "--register-node"]).unwrap();
        assert_eq!(c.mirror, Some(MirrorConfig { kubeconfig: "/k".into(), register_node: true }));
        let c = config(&[]).unwrap();
        assert!(c.manifest_urls.is_empty() && c.asking.headers.is_empty() && c.asking.period_ms == 20_000);
        let c = config(&["--manifest-url", "http://h/", "--manifest-url-header", "A: @b"]).unwrap();
        assert!(c.manifest_dirs.is_empty() && c.has_sources());
        let here = std::env::current_dir().unwrap();
        assert_eq!(c.asking.headers[0].value, HeaderValue::File(here.join("b")));
    }

    #[test]
    fn relative_paths_become_absolute_and_directories_repeat() {
        let c = config(&["--manifest-dir", "a", "--manifest-dir", "/b", "--state-dir", "s"]).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(c.manifest_dirs, [here.join("a"), PathBuf::from("/b")]);
        assert_eq!(c.image_dir, here.join("s/images.d"));
        let c = config(&["--cni-conf-dir", "n", "--cni-bin-dir", "/x", "--cni-bin-dir", "y"]).unwrap();
        assert_eq!((c.cni.conf_dir, c.cni.bin_dirs), (here.join("n"), vec!["/x".into(), here.join("y")]));
        let c = config(&[
            "--cluster-dns",
            "10.96.0.10",
            "--cluster-dns",
            "fd00::a",
            "--cluster-domain",
            "K8s.X.",
        ]);
        let c = c.unwrap();
        assert_eq!((c.cluster_dns.len(), c.cluster_domain.as_str()), (2, "k8s.x"));
        assert_eq!(config(&["--cgroup-root", "/a.slice/b/"]).unwrap().cgroup_root, "a.slice/b");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (args, word) in [
            (&["--cgroup-root", "../x"][..], "--cgroup-root"),
            (&["--manifest-url", "http://h/", "--manifest-url", "http://h/#sha256="], "64"),
            (&["--manifest-url", "http://h/", "--manifest-url", "http://h/"], "twice"),
            (&["--manifest-url-period", "0.5"], "--manifest-url-period"),
            (&["--cgroup-root", ""], "--cgroup-root"),
            (&["--rescan", "0.5"], "--rescan"),
            (&["--node-label", "a=b", "--node-label", "a=c"], "another value"),
            (&["--node-label", "a"], "KEY=VALUE"),
            (&["--node-taint", "a=b"], "NoSchedule"),
            (&["--register-node"], "--kubeconfig"),
            (&["--log-max-files", "0"], "--log-max-files"),
            (&["--manifest-dir", "/a", "--manifest-dir", "/a"], "twice"),
            (&["--cni-bin-dir", "/a:b"], "--cni-bin-dir"),
            (&["--cluster-domain", "a_b"], "--cluster-domain"),
            (&["--cluster-dns", "dns.example"], "cluster-dns"),
            (&["--healthz-address", "10248"], "127.0.0.1:10248"),
        ] {
            let error = config(args).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(
            node_name(Some("a_b")).is_err() && node_name(Some("-a")).is_err() && node_name(Some("")).is_err()
        );
    }
}
