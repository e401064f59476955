//! Words as they are typed → words as argh knows them.

use argh::FromArgs;

use super::Top;

/// What every verb knows, and argh does not tell of.
const EVERYWHERE: [&str; 2] = ["--help", "--version"];

/// One option of a verb, by its own help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `manifest-dir`.
    pub name: String,
    /// It has no value.
    pub is_switch: bool,
}

/// The options of a verb, in the order of its help; none where there is no such verb.
pub fn options_of(words: &[&str]) -> Vec<Known> {
    let asked: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
    let help = Top::from_args(&["podstrap"], &asked).err().map(|e| e.output).unwrap_or_default();
    let usage = help.lines().next().unwrap_or_default();
    let mut known = Vec::new();
    for part in usage.split('[') {
        let end = part.find([' ', ']']).unwrap_or(part.len());
        let (word, rest) = part.split_at_checked(end).unwrap_or((part, ""));
        let name = match word.strip_prefix("--") {
            Some(name) => Some(name),
            // `[-w]` stands for what the list below tells as `-w, --watch`.
            None if word.starts_with('-') => {
                let long = help.lines().find_map(|l| l.trim_start().strip_prefix(word)?.strip_prefix(", --"));
                long.and_then(|line| line.split(' ').next())
            }
            None => None,
        };
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            known.push(Known { name: name.to_owned(), is_switch: rest.starts_with(']') });
        }
    }
    known
}

/// Options that take no value: `--watch=yes` must not become `--watch yes`.
fn switches(verb: &str) -> Vec<String> {
    let mut known = options_of(&[verb]);
    if verb == "image" {
        known.extend(["load", "pull", "list", "prune"].iter().flat_map(|sub| options_of(&[verb, sub])));
    }
    let own = known.into_iter().filter(|o| o.is_switch).map(|o| format!("--{}", o.name));
    own.chain(EVERYWHERE.map(str::to_owned)).collect()
}

/// Short options without a value.
const SHORT_SWITCHES: &[char] = &['a', 'f', 'i', 'p', 't', 'w'];
/// Short options with one.
const SHORT_VALUES: &[char] = &['c', 'o'];

/// `--name=value` → `--name value`, `-it` → `-i -t`, `-ojson` → `-o json`, `-h` → `--help`; nothing else is touched.
///
/// A lone `-`, which argh takes for an option, goes behind a `--` at the end.
pub fn split(args: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let mut standard_input = Vec::new();
    let switches = switches(args.first().map_or("", String::as_str));
    let has_end = args.iter().any(|arg| arg == "--");
    for arg in args {
        if arg == "-" && !has_end {
            standard_input
                .extend(["--".to_owned(), arg.clone()].into_iter().skip(standard_input.len().min(1)));
        } else if let Some((name, value)) = arg.split_once('=')
            && name.starts_with("--")
            && name.len() > 2
            && !switches.iter().any(|switch| switch == name)
        {
            out.extend([name.to_owned(), value.to_owned()]);
        } else if let Some(letters) = arg.strip_prefix('-').filter(|l| !l.starts_with('-') && l.len() > 1) {
            out.extend(short_options(letters).unwrap_or_else(|| vec![arg.clone()]));
        } else if arg == "-h" {
            out.push("--help".to_owned());
        } else {
            out.push(arg.clone());
        }
    }
    out.append(&mut standard_input);
    out
}

fn short_options(letters: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        if SHORT_SWITCHES.contains(&letter) {
            out.push(format!("-{letter}"));
        } else if SHORT_VALUES.contains(&letter) {
            out.push(format!("-{letter}"));
            let value = rest.as_str();
            if !value.is_empty() {
                out.push(value.trim_start_matches('=').to_owned());
            }
            return Some(out);
        } else {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_words(line: &str) -> String {
        split(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn what_argh_does_not_know_is_split() {
        assert_eq!(split_words("exec p -it"), "exec p -i -t");
        assert_eq!(split_words("logs -fpc etcd"), "logs -f -p -c etcd");
        assert_eq!(split_words("status -ojson"), "status -o json");
        assert_eq!(split_words("wait --timeout=5m --for=gone"), "wait --timeout 5m --for gone");
        assert_eq!(split_words("validate a - -ojson"), "validate a -o json -- -");
        assert_eq!(
            split_words("status --watch=yes -x -xy - -- --a=b"),
            "status --watch=yes -x -xy - -- --a b"
        );
    }

    #[test]
    fn no_switch_swallows_a_value() {
        for line in [
            "run --register-node=yes",
            "run --allow-foreign-manifests=yes",
            "status --watch=yes",
            "handover --force=yes",
            "image prune --dry-run=yes",
            "status --help=yes",
        ] {
            assert_eq!(split_words(line), line);
        }
        assert_eq!(split_words("run --kubeconfig=/k"), "run --kubeconfig /k");
        assert_eq!(split_words("status --output=json"), "status --output json");
    }

    #[test]
    fn wrong_values_are_told_apart_from_wrong_names() {
        let output = |args: &[&str]| Top::from_args(&["podstrap"], args).unwrap_err().output;
        assert!(output(&["run", "--restart-backoff", "5s,1s"]).contains("must not be shorter"));
        assert!(output(&["run", "--runtime", "lxc"]).contains("auto, runc or docker"));
        assert!(output(&["wait", "--timeout", "soon"]).contains("90s"));
        assert!(output(&["logs", "A/B"]).contains("lower-case"));
    }
}
