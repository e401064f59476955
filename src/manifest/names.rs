//! The grammars of names, and what to say when one does not fit.
//!
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/> and
//! <https://github.com/kubernetes/apimachinery/blob/master/pkg/util/validation/validation.go>.

/// The longest DNS-1123 label, label value and name part of a qualified name.
const LABEL_MAX: usize = 63;

/// The longest DNS-1123 subdomain.
pub(super) const SUBDOMAIN_MAX: usize = 253;

/// Why a name does not fit, and the nearest that would, if one can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub reason: String,
    pub suggestion: Option<String>,
}

impl Misfit {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), suggestion: None }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Lower case, with anything else as a dash; `None` when nothing is left of it.
fn repaired(text: &str, max: usize, fits: impl Fn(&str) -> bool) -> Option<String> {
    let out: String = text
        .chars()
        .take(max)
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let out = out.trim_matches(['-', '.']);
    (text.is_ascii() && fits(out)).then(|| out.to_owned())
}

/// A DNS-1123 label: namespaces, containers, volumes.
pub(super) fn label(text: &str) -> Result<(), Misfit> {
    if is_label(text) && text.len() <= LABEL_MAX {
        return Ok(());
    }
    let reason = if text.is_empty() {
        "must not be empty".to_owned()
    } else if text.len() > LABEL_MAX {
        format!("must be at most {LABEL_MAX} characters long, and has {}", text.chars().count())
    } else {
        "must consist of a-z, 0-9 and '-', and begin and end with a letter or digit".to_owned()
    };
    let dotless = text.replace('.', "-");
    let suggestion = repaired(&dotless, LABEL_MAX, is_label);
    Err(Misfit { reason, suggestion })
}

/// A DNS-1123 subdomain: Pod names, key prefixes.
pub(super) fn subdomain(text: &str) -> Result<(), Misfit> {
    let fits = |t: &str| t.split('.').all(is_label);
    if fits(text) && text.len() <= SUBDOMAIN_MAX {
        return Ok(());
    }
    let reason = if text.is_empty() {
        "must not be empty".to_owned()
    } else if text.len() > SUBDOMAIN_MAX {
        format!("must be at most {SUBDOMAIN_MAX} characters long, and has {}", text.chars().count())
    } else {
        "must consist of a-z, 0-9, '-' and '.', and begin and end with a letter or digit".to_owned()
    };
    Err(Misfit { reason, suggestion: repaired(text, SUBDOMAIN_MAX, fits) })
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LABEL_MAX
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A qualified name, `[PREFIX/]NAME`: keys of labels and annotations.
pub(super) fn qualified(text: &str) -> Result<(), Misfit> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_some_and(|p| subdomain(p).is_err()) {
        return Err(Misfit::new("the part before '/' must be a DNS name in lower case"));
    }
    if !is_name_part(name) {
        return Err(Misfit::new(
            "must be [PREFIX/]NAME, NAME of at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends",
        ));
    }
    Ok(())
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Result<(), Misfit> {
    if text.is_empty() || is_name_part(text) {
        return Ok(());
    }
    Err(Misfit::new(
        "must be at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    ))
}

/// An IANA service name: names of ports.
pub(super) fn port_name(text: &str) -> Result<(), Misfit> {
    if text.len() <= 15
        && is_label(text)
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
    {
        return Ok(());
    }
    Err(Misfit::new(
        "must be at most 15 of a-z, 0-9 and '-', with a letter, and no '-' at an end or beside another",
    ))
}

/// The name of an environment variable.
pub(super) fn env_name(text: &str) -> Result<(), Misfit> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.chars().all(inner) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    Err(Misfit::new("must consist of letters, digits, '_', '-' and '.', and not begin with a digit"))
}

/// A key of a ConfigMap or Secret: it becomes a file's name.
pub(super) fn data_key(text: &str) -> Result<(), Misfit> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() {
        return Err(Misfit::new("must not be empty"));
    }
    if text.len() > SUBDOMAIN_MAX {
        return Err(Misfit::new(format!("must be at most {SUBDOMAIN_MAX} characters long")));
    }
    if !text.chars().all(inner) {
        return Err(Misfit::new("must consist of letters, digits, '-', '_' and '.'"));
    }
    if text == "." || text.starts_with("..") {
        return Err(Misfit::new("must not be '.' or begin with '..'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        for good in ["a", "kube-system", "0", "a9", &"a".repeat(63)] {
            assert_eq!(label(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "..", "a ", "a\n", "pöd", &"a".repeat(64)] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
        assert_eq!(label("My_App").unwrap_err().suggestion.as_deref(), Some("my-app"));
        assert_eq!(label("pöd").unwrap_err().suggestion, None);
        assert_eq!(subdomain("a.b"), Ok(()));
        for bad in ["a..b", ".a", "../../etc", "a/b", "Abc", &"a".repeat(254)] {
            assert!(subdomain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_values_ports_and_variables() {
        assert_eq!(qualified("kubeadm.kubernetes.io/etcd.advertise-client-urls"), Ok(()));
        assert!(qualified("A/b").is_err() && qualified("a/").is_err() && qualified("a/b/c").is_err());
        assert!(qualified("-a").is_err());
        assert!(label_value("").is_ok() && label_value("a b").is_err() && label_value("é").is_err());
        assert!(port_name("probe-port").is_ok());
        for bad in ["", "8080", "a--b", "Http", "a-name-that-is-long"] {
            assert!(port_name(bad).is_err(), "{bad}");
        }
        assert!(env_name("A.b-c_1").is_ok());
        for bad in ["", "1A", "A=B", "A B"] {
            assert!(env_name(bad).is_err(), "{bad}");
        }
        assert!(data_key("ca.crt_1-x").is_ok() && data_key(".x").is_ok());
        for bad in ["", ".", "..", "..a", "a/b", "a b", "é", &"a".repeat(254)] {
            assert!(data_key(bad).is_err(), "{bad}");
        }
    }
}
