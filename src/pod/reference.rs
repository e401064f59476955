//! Image references: the grammar that registries and docker share, and its one normal form.
//!
//! Grammar: <https://github.com/distribution/reference/blob/main/reference.go>. The grammar is also what keeps a
//! reference from being taken for an option: it cannot begin with a dash.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An image reference in its full form, `docker.io/library/etcd:latest` for `etcd`; the original is kept for display.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// As the manifest wrote it.
    pub given: String,
    /// `DOMAIN/PATH:TAG`, `DOMAIN/PATH@DIGEST` or `DOMAIN/PATH:TAG@DIGEST`.
    pub full: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

/// Why text is no image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing, or nothing before the tag or digest.
    Empty,
    /// Begins with a dash.
    Dash,
    /// Contains a blank.
    Blank,
    /// Begins with `http://` or the like.
    Scheme,
    /// The name has capital letters.
    UpperCase,
    /// The domain is malformed.
    Domain,
    /// The path is malformed.
    Path,
    /// The tag is malformed.
    Tag,
    /// The digest is malformed.
    Digest,
    /// The name is longer than 255 characters.
    TooLong,
    /// 64 hex digits: an image id, which registries do not know.
    ImageId,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an image reference must not be empty",
            Self::Dash => "an image reference cannot begin with '-'",
            Self::Blank => "an image reference cannot contain blanks",
            Self::Scheme => "an image reference has no scheme such as https://",
            Self::UpperCase => "the name in an image reference must be lower case",
            Self::Domain => "the registry must be HOST or HOST:PORT",
            Self::Path => {
                "the name must consist of a-z and 0-9, with '.', '_', '__' or dashes between, in parts set apart by '/'"
            }
            Self::Tag => "a tag must be at most 128 letters, digits, '_', '.' and '-', and not begin with '.' or '-'",
            Self::Digest => "a digest must be sha256: and 64 hex digits in lower case",
            Self::TooLong => "the name in an image reference is limited to 255 characters",
            Self::ImageId => "an image id cannot stand for an image reference",
        })
    }
}

impl std::error::Error for ReferenceError {}

impl Reference {
    /// Reads a reference and completes it: `docker.io` for the registry, `library/` for a single name there, `:latest`
    /// where neither tag nor digest is given.
    ///
    /// # Errors
    /// The text does not fit the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.starts_with('-') {
            return Err(ReferenceError::Dash);
        }
        if text.contains(char::is_whitespace) {
            return Err(ReferenceError::Blank);
        }
        if text.contains("://") {
            return Err(ReferenceError::Scheme);
        }
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(ReferenceError::ImageId);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|d| !is_digest(d)) {
            return Err(ReferenceError::Digest);
        }
        // A colon after the last slash begins a tag, one before it a port.
        let name_start = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest.get(name_start..).and_then(|last| last.find(':')) {
            Some(i) => (rest.get(..name_start + i).unwrap_or(""), rest.get(name_start + i + 1..)),
            None => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(ReferenceError::Tag);
        }
        let (domain, path) = split_domain(name);
        if path.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if !is_domain(domain) {
            return Err(ReferenceError::Domain);
        }
        if path.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase);
        }
        if !path.split('/').all(is_component) {
            return Err(ReferenceError::Path);
        }
        let library = if domain == "docker.io" && !path.contains('/') { "library/" } else { "" };
        let mut full = format!("{domain}/{library}{path}");
        if full.len() > 255 {
            return Err(ReferenceError::TooLong);
        }
        match (tag, digest) {
            (Some(tag), _) => full.push_str(&format!(":{tag}")),
            (None, None) => full.push_str(":latest"),
            (None, Some(_)) => {}
        }
        if let Some(digest) = digest {
            full.push_str(&format!("@{digest}"));
        }
        Ok(Self { given: text.to_owned(), full })
    }

    /// The digest, `sha256:…`, if the reference names one.
    pub fn digest(&self) -> Option<&str> {
        self.full.split_once('@').map(|(_, digest)| digest)
    }

    /// The tag, if the full form names one.
    pub fn tag(&self) -> Option<&str> {
        let name = self.full.split('@').next().unwrap_or("");
        let last = name.rsplit('/').next().unwrap_or("");
        last.split_once(':').map(|(_, tag)| tag)
    }

    /// What decides which image is meant: `DOMAIN/PATH@DIGEST` where there is a digest, and the tag beside it says nothing;
    /// else the full form.
    pub fn deciding(&self) -> String {
        match (self.full.split_once('@'), self.tag()) {
            (Some((name, digest)), Some(tag)) => {
                let name = name.strip_suffix(tag).and_then(|n| n.strip_suffix(':')).unwrap_or(name);
                format!("{name}@{digest}")
            }
            (Some(_), None) | (None, _) => self.full.clone(),
        }
    }

    /// Whether `imagePullPolicy` defaults to `Always`: the tag is `latest` and there is no digest.
    pub fn is_latest(&self) -> bool {
        self.digest().is_none() && self.tag() == Some("latest")
    }
}

/// The first part is a domain when it has a dot or a port, a capital letter, or is `localhost`.
fn split_domain(name: &str) -> (&str, &str) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        Some(_) | None => ("docker.io", name),
    };
    (if domain == "index.docker.io" { "docker.io" } else { domain }, path)
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

fn is_digest(text: &str) -> bool {
    match text.split_once(':') {
        Some(("sha256", hex)) => hex.len() == 64 && hex.bytes().all(is_lower_hex),
        Some(("sha512", hex)) => hex.len() == 128 && hex.bytes().all(is_lower_hex),
        Some(_) | None => false,
    }
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !text.starts_with(['.', '-'])
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((address, rest)) => {
            let good = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !good {
                return false;
            }
            return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators =
        text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|s| !s.is_empty());
    text.bytes().next().is_some_and(is_word) && text.bytes().next_back().is_some_and(is_word) && {
        separators
    }
    .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (given, full) in [
            ("etcd", "docker.io/library/etcd:latest"),
            ("etcd:3.5", "docker.io/library/etcd:3.5"),
            ("registry.example/coreos/etcd", "registry.example/coreos/etcd:latest"),
            ("coreos/etcd:v3", "docker.io/coreos/etcd:v3"),
            ("index.docker.io/etcd", "docker.io/library/etcd:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("host:5000/a/b:1", "host:5000/a/b:1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("registry.example/etcd:3.5.16-0", "registry.example/etcd:3.5.16-0"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
            ("HOST/a", "HOST/a:latest"),
        ] {
            let reference = Reference::parse(given).unwrap();
            assert_eq!((reference.full.as_str(), reference.given.as_str()), (full, given));
        }
        let pinned = Reference::parse(&format!("etcd@{digest}")).unwrap();
        assert_eq!(pinned.full, format!("docker.io/library/etcd@{digest}"));
        assert_eq!((pinned.digest(), pinned.tag()), (Some(digest.as_str()), None));
        assert!(!pinned.is_latest());
        let both = Reference::parse(&format!("etcd:latest@{digest}")).unwrap();
        assert_eq!((both.tag(), both.is_latest()), (Some("latest"), false));
        assert_eq!(both.deciding(), pinned.full);
        assert_eq!(pinned.deciding(), pinned.full);
        assert_eq!(Reference::parse("host:5000/etcd:3").unwrap().deciding(), "host:5000/etcd:3");
        let ported = Reference::parse(&format!("host:5000/etcd:5000@{digest}")).unwrap();
        assert_eq!(ported.deciding(), format!("host:5000/etcd@{digest}"));
        assert!(Reference::parse("host:5000/etcd").unwrap().is_latest());
    }

    #[test]
    fn what_is_no_reference() {
        use ReferenceError as E;
        for (text, error) in [
            ("", E::Empty),
            (":tag", E::Empty),
            ("--privileged", E::Dash),
            ("-v", E::Dash),
            (" nginx", E::Blank),
            ("a\nb", E::Blank),
            ("https://example.test/a", E::Scheme),
            ("Nginx", E::UpperCase),
            ("registry.example/Foo", E::UpperCase),
            ("@sha256:0", E::Digest),
            ("a@sha256:ABC", E::Digest),
            ("a@sha256:0@b", E::Digest),
            ("a:", E::Tag),
            ("a:b:c", E::Tag),
            ("a:.b", E::Tag),
            ("a//b", E::Path),
            ("a..b", E::Path),
            ("a___b", E::Path),
            ("a/", E::Path),
            ("é", E::Path),
            ("a$(id)", E::Path),
            ("a,b", E::Path),
            ("host:x/a", E::Domain),
            ("-a.b/c", E::Dash),
            ("a.-b/c", E::Domain),
            ("host:99999/a", E::Domain),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Reference::parse(&"a".repeat(300)), Err(E::TooLong));
        assert_eq!(Reference::parse(&"a".repeat(64)), Err(E::ImageId));
        assert!(Reference::parse(&"x".repeat(3000)).is_err());
    }
}
