//! The container's program: ENTRYPOINT and CMD, `$(VAR)`, the environment and the working directory, by the kubelet's rules
//! (<https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>).

use std::collections::BTreeMap;

use crate::image::config::ImageConfig;
use crate::pod::Container;

/// What an image that names no PATH gets, as docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The argument vector. `command` replaces ENTRYPOINT and drops CMD; `args` replaces CMD. Empty when neither the manifest
/// nor the image names a program. `$(VAR)` is expanded in the manifest's words only, never in the image's, over `own`: the
/// manifest's variables.
pub fn argv(container: &Container, image: &ImageConfig, own: &[(String, String)]) -> Vec<String> {
    let variables: BTreeMap<String, String> = own.iter().cloned().collect();
    let expanded = |words: &[String]| words.iter().map(|w| expand(w, &variables)).collect::<Vec<_>>();
    let (mut argv, rest) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (expanded(&container.command), expanded(&container.args)),
        (true, false) => (image.entrypoint.clone(), expanded(&container.args)),
        (true, true) => (image.entrypoint.clone(), image.cmd.clone()),
    };
    argv.extend(rest);
    argv
}

/// The environment as `NAME=VALUE`: PATH and HOSTNAME first (and TERM where there is a terminal, as containerd has it),
/// then the image's, then `own`, the manifest's; each name once, at its first place, with its last value.
pub fn environment(
    container: &Container,
    image: &ImageConfig,
    own: &[(String, String)],
    hostname: &str,
) -> Vec<String> {
    let mut order: Vec<(&str, &str)> = vec![("PATH", DEFAULT_PATH), ("HOSTNAME", hostname)];
    if container.tty {
        order.push(("TERM", "xterm"));
    }
    let of_image = image.env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
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

/// Expands `$(NAME)`: one pass; `$$` is `$`; an unknown name, or a `$(` without its `)`, stays as it is; any other `$`
/// too (the kubelet's third_party/forked/golang/expansion).
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    expand_with(text, |name| variables.get(name).cloned())
}

/// The same, but gives the first unknown name as an error.
pub fn expand_known(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut unknown = None;
    let expanded = expand_with(text, |name| {
        let value = variables.get(name).cloned();
        if value.is_none() {
            unknown.get_or_insert_with(|| name.to_owned());
        }
        value
    });
    match unknown {
        Some(name) => Err(name),
        None => Ok(expanded),
    }
}

fn expand_with(text: &str, mut value_of: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match value_of(name) {
                Some(value) => out.push_str(&value),
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
    use super::super::bundle::tests::container;
    use super::*;

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
        assert_eq!(expand_known("$(B)/$$(NO)", &known), Ok("2/$(NO)".to_owned()));
        assert_eq!(expand_known("$(B)/$(NO)", &known), Err("NO".to_owned()));
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

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    #[test]
    fn entrypoint_and_cmd() {
        let image =
            ImageConfig { entrypoint: vec!["e".into()], cmd: vec!["$(A)".into()], ..ImageConfig::default() };
        let mut c = container();
        (c.command, c.args) = (vec![], vec![]);
        let own = pairs(&[("A", "1")]);
        assert_eq!(argv(&c, &image, &own), ["e", "$(A)"]);
        c.args = vec!["$(A)".into()];
        assert_eq!(argv(&c, &image, &own), ["e", "1"]);
        c.command = vec!["c$(A)".into()];
        assert_eq!(argv(&c, &image, &own), ["c1", "1"]);
        c.args.clear();
        assert_eq!(argv(&c, &image, &own), ["c1"]);
    }

    #[test]
    fn later_variables_win_in_place() {
        let image = ImageConfig { env: vec!["X=image".into(), "BARE".into()], ..ImageConfig::default() };
        let mut c = container();
        let own = pairs(&[("Y", "y"), ("X", "last"), ("W", "a=b")]);
        let wanted = [&format!("PATH={DEFAULT_PATH}"), "HOSTNAME=h", "X=last", "BARE=", "Y=y", "W=a=b"];
        assert_eq!(environment(&c, &image, &own, "h"), wanted);
        c.tty = true;
        assert_eq!(environment(&c, &image, &own, "h")[2], "TERM=xterm");
    }
}
