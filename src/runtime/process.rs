//! The container's program: ENTRYPOINT and CMD, `$(VAR)`, the environment and the working directory, by the kubelet's rules
//! (<https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>).

use std::collections::BTreeMap;

use crate::image::config::ImageConfig;
use crate::pod::{Container, EnvValue, Pod};

/// What an image that names no PATH gets, as docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The argument vector. `command` replaces ENTRYPOINT and drops CMD; `args` replaces CMD. Empty when neither the manifest
/// nor the image names a program. `$(VAR)` is expanded in the manifest's words only, never in the image's.
pub fn argv(container: &Container, image: &ImageConfig) -> Vec<String> {
    let variables = own_environment(container);
    let expanded = |words: &[String]| words.iter().map(|w| expand(w, &variables)).collect::<Vec<_>>();
    let (mut argv, rest) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (expanded(&container.command), expanded(&container.args)),
        (true, false) => (image.entrypoint.clone(), expanded(&container.args)),
        (true, true) => (image.entrypoint.clone(), image.cmd.clone()),
    };
    argv.extend(rest);
    argv
}

/// The environment as `NAME=VALUE`: PATH and HOSTNAME first, then the image's, then the manifest's; each name once, at its
/// first place, with its last value.
pub fn environment(container: &Container, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut order: Vec<(String, String)> =
        vec![("PATH".to_owned(), DEFAULT_PATH.to_owned()), ("HOSTNAME".to_owned(), hostname.to_owned())];
    let own = own_environment_in_order(container);
    let of_image = image.env.iter().map(|entry| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    });
    for (name, value) in of_image.chain(own) {
        match order.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => order.push((name, value)),
        }
    }
    order.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The working directory: the manifest's, else the image's, else the root.
pub fn working_directory<'a>(container: &'a Container, image: &'a ImageConfig) -> &'a str {
    match container.working_dir.as_deref() {
        Some(directory) if !directory.is_empty() => directory,
        Some(_) | None if image.working_dir.is_empty() => "/",
        Some(_) | None => &image.working_dir,
    }
}

/// The name of the container's own host: `spec.hostname`, else the Pod's name, cut to 63 bytes without a trailing dash or
/// dot (the kubelet's rule). Under hostNetwork it is the node's.
pub fn hostname(pod: &Pod) -> &str {
    if pod.host_network {
        return pod.node.as_str();
    }
    let name = pod.hostname.as_deref().unwrap_or(pod.key.name.as_str());
    super::runc::cut(name, 63).trim_end_matches(['-', '.'])
}

/// The manifest's variables, each expanded over those before it.
fn own_environment_in_order(container: &Container) -> Vec<(String, String)> {
    let mut known = BTreeMap::new();
    let mut order = Vec::with_capacity(container.env.len());
    for variable in &container.env {
        let EnvValue::Text(text) = &variable.value else { continue };
        let value = expand(text, &known);
        known.insert(variable.name.clone(), value.clone());
        order.push((variable.name.clone(), value));
    }
    order
}

fn own_environment(container: &Container) -> BTreeMap<String, String> {
    own_environment_in_order(container).into_iter().collect()
}

/// Expands `$(NAME)`: one pass; `$$` is `$`; an unknown name, or a `$(` without its `)`, stays as it is; any other `$`
/// too (the kubelet's third_party/forked/golang/expansion).
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// The number of the signal that an image's STOPSIGNAL names: `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`. `None` where it names
/// none that there is; then TERM is meant.
pub fn stop_signal(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        // The kernel's numbers: images are written for any C library, and all of them hide two or three of the first.
        let above = rest.strip_prefix('+').map_or(Some(0), |n| n.parse::<i32>().ok())?;
        return (0..=30).contains(&above).then_some(34 + above);
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|s| s as i32)
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::{container, pod};
    use super::*;
    use crate::pod::{EnvVar, PodName};

    #[test]
    fn expansion_is_the_kubelets() {
        let known = BTreeMap::from([("A".to_owned(), "1$(B)".to_owned()), ("B".to_owned(), "2".to_owned())]);
        for (text, wanted) in [
            ("$(A)-$(B)", "1$(B)-2"),
            ("$$(A) $$$(B)", "$(A) $2"),
            ("$(NO) $() $", "$(NO) $() $"),
            ("a$(B", "a$(B"),
            ("$B ${B} $(A$(B))", "$B ${B} $(A$(B))"),
            ("ä$(B)ö", "ä2ö"),
        ] {
            assert_eq!(expand(text, &known), wanted, "{text}");
        }
    }

    #[test]
    fn stop_signals() {
        for (text, number) in [
            ("SIGQUIT", Some(3)),
            ("quit", Some(3)),
            ("15", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN", Some(34)),
            ("", None),
            ("SIGNO", None),
            ("0", None),
            ("99", None),
        ] {
            assert_eq!(stop_signal(text), number, "{text}");
        }
    }

    #[test]
    fn entrypoint_and_cmd() {
        let image =
            ImageConfig { entrypoint: vec!["e".into()], cmd: vec!["$(A)".into()], ..ImageConfig::default() };
        let mut c = container();
        (c.command, c.args) = (vec![], vec![]);
        c.env = vec![EnvVar { name: "A".into(), value: EnvValue::Text("1".into()) }];
        assert_eq!(argv(&c, &image), ["e", "$(A)"]);
        c.args = vec!["$(A)".into()];
        assert_eq!(argv(&c, &image), ["e", "1"]);
        c.command = vec!["c$(A)".into()];
        assert_eq!(argv(&c, &image), ["c1", "1"]);
        c.args.clear();
        assert_eq!(argv(&c, &image), ["c1"]);
    }

    #[test]
    fn later_variables_win_in_place() {
        let image = ImageConfig { env: vec!["X=image".into(), "BARE".into()], ..ImageConfig::default() };
        let mut c = container();
        c.env = [("Y", "$(X)"), ("X", "own"), ("Z", "$(X)"), ("X", "last"), ("W", "a=b")]
            .map(|(n, v)| EnvVar { name: n.into(), value: EnvValue::Text(v.into()) })
            .to_vec();
        let environment = environment(&c, &image, "h");
        assert_eq!(
            environment,
            [&format!("PATH={DEFAULT_PATH}"), "HOSTNAME=h", "X=last", "BARE=", "Y=$(X)", "Z=own", "W=a=b"]
        );
    }

    #[test]
    fn host_names_are_cut() {
        let mut p = pod();
        p.host_network = true;
        assert_eq!(hostname(&p), "host1");
        p.host_network = false;
        p.key.name = PodName::new(format!("{}.-x", "a".repeat(61)));
        assert_eq!(hostname(&p), "a".repeat(61));
        p.hostname = Some("web".into());
        assert_eq!(hostname(&p), "web");
    }
}
