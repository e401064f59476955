//! The little of URLs that is needed here: reading one, building one from a probe's parts, and following a `Location`.
//!
//! Go's `net/url` does this for the kubelet; the outcomes are the same for every input that a probe or a sane server gives.

use std::fmt::{self, Write};

/// An absolute http or https URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    https: bool,
    /// A name or an address, without brackets.
    host: String,
    port: Option<u16>,
    /// Starts with `/`, already escaped, with the query.
    path: String,
}

impl Url {
    /// A probe's URL. `path` may hold a query and characters that a request line may not.
    pub fn new(https: bool, host: &str, port: u16, path: &str) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { https, host, port: Some(port), path: request_target(path) }
    }

    /// `http://HOST[:PORT][/PATH][?QUERY]`, or https. `None`: it is none, or it has user information or a fragment.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = rest.split(['/', '?']).next().unwrap_or("");
        if text.contains('#') || authority.contains('@') || text.contains(|c: char| c.is_whitespace()) {
            return None;
        }
        Self::with_authority(https, rest)
    }

    /// Without its query, which may hold a secret: for people.
    pub fn shown(&self) -> String {
        let whole = self.to_string();
        match whole.split_once('?') {
            Some((path, _)) => format!("{path}?…"),
            None => whole,
        }
    }

    /// The host without port and brackets: redirects are followed only within it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The same over plain http, at the same port.
    pub fn without_tls(&self) -> Self {
        Self { https: false, ..self.clone() }
    }

    /// What a `Location` header means here (RFC 3986 §5.2), and whether it named a host itself. `None`: not http(s), or
    /// not a URL.
    pub fn join(&self, location: &str) -> Option<(Self, Absolute)> {
        let location = location.split('#').next().unwrap_or("").trim();
        if let Some((scheme, rest)) = location.split_once("://")
            && scheme.chars().all(|c| c.is_ascii_alphanumeric())
        {
            let https = match scheme.to_ascii_lowercase().as_str() {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            return Some((Self::with_authority(https, rest)?, Absolute::Yes));
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Some((Self::with_authority(self.https, rest)?, Absolute::Yes));
        }
        let (own_path, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let path = if location.is_empty() {
            self.path.clone()
        } else if location.starts_with('?') {
            format!("{own_path}{location}")
        } else if location.starts_with('/') {
            location.to_owned()
        } else {
            let (directory, _) = own_path.rsplit_once('/').unwrap_or(("", ""));
            format!("{directory}/{location}")
        };
        let path = request_target(&without_dots(&path));
        Some((Self { path, ..self.clone() }, Absolute::No))
    }

    /// `HOST[:PORT][/PATH][?QUERY]`.
    fn with_authority(https: bool, text: &str) -> Option<Self> {
        let end = text.find(['/', '?']).unwrap_or(text.len());
        let (authority, path) = text.split_at_checked(end)?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, tail) = rest.split_once(']')?;
            (host, tail.strip_prefix(':'))
        } else {
            match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) => Some(digits.parse().ok()?),
        };
        // A request's lines and what is shown to people have no place for such.
        if host.is_empty() || host.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return None;
        }
        Some(Self { https, host: host.to_owned(), port, path: request_target(&without_dots(path)) })
    }
}

/// Whether a `Location` named a host itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absolute {
    /// It did, though it may be the same one.
    Yes,
    /// It gave a path only.
    No,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.https { "https://" } else { "http://" })?;
        // A zone (`fe80::1%eth0`) stays as it is: it is for the resolver, not for the server.
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

/// Path and query as they may stand in a request line: a leading slash, no fragment, and every byte that may not stand
/// there percent-encoded (Go's `net/url` does the same).
fn request_target(path: &str) -> String {
    let path = path.split('#').next().unwrap_or("");
    let mut out = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        out.push('/');
    }
    let bytes = path.as_bytes();
    for (i, b) in bytes.iter().enumerate() {
        let hex = |offset: usize| bytes.get(i + offset).is_some_and(u8::is_ascii_hexdigit);
        let plain = match b {
            b'%' => hex(1) && hex(2),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            b => b.is_ascii_graphic(),
        };
        if plain {
            out.push(char::from(*b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Removes `.` and `..` from a path (RFC 3986 §5.2.4); the query is left alone.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(usize::from(path.starts_with('/'))) {
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let mut out = format!("/{}", kept.join("/"));
    if (path.ends_with("/.") || path.ends_with("/..")) && !out.ends_with('/') {
        out.push('/');
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probes_parts_make_a_url() {
        let url = |host: &str, path: &str| Url::new(false, host, 80, path).to_string();
        assert_eq!(url("127.0.0.1", "/healthz?verbose=1"), "http://127.0.0.1:80/healthz?verbose=1");
        assert_eq!(url("::1", ""), "http://[::1]:80/");
        assert_eq!(url("[::1]", "x"), "http://[::1]:80/x");
        assert_eq!(
            url("h", "/a b/ü{}%zz%41?q=\"1\"#gone"),
            "http://h:80/a%20b/%C3%BC%7B%7D%25zz%41?q=%221%22"
        );
        assert_eq!(Url::new(true, "h", 6443, "/livez").to_string(), "https://h:6443/livez");
    }

    #[test]
    fn a_host_has_no_control_characters() {
        for bad in ["http://h\0/", "http://\u{7f}h/", "http://h\u{9b}2J:80/"] {
            assert_eq!(Url::parse(bad), None, "{bad:?}");
        }
        let url = Url::parse("http://h/").unwrap();
        for bad in ["http://h\0/", "//h\x1b[2J/", "https://a b/"] {
            assert_eq!(url.join(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_plain_urls_are_read() {
        let read = |text: &str| Url::parse(text).map(|url| (url.to_string(), url.shown()));
        let same = |text: &str| Some((text.to_owned(), text.to_owned()));
        assert_eq!(read("https://h:8443/a/b.yaml"), same("https://h:8443/a/b.yaml"));
        assert_eq!(read("http://[::1]:80/"), same("http://[::1]:80/"));
        assert_eq!(read("http://h"), same("http://h/"));
        assert_eq!(read("http://h/p?t=1"), Some(("http://h/p?t=1".into(), "http://h/p?…".into())));
        for bad in
            ["h/x", "ftp://h/x", "http://", "http://u:p@h/", "http://h/#x", "http://h:x/", "http://h/a b"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn locations_are_followed_as_rfc_3986_says() {
        let base = Url::new(false, "h", 81, "/a/b/c?q=1");
        let to = |location: &str| base.join(location).map(|(u, _)| u.to_string());
        assert_eq!(to("/x?y"), Some("http://h:81/x?y".into()));
        assert_eq!(to("x"), Some("http://h:81/a/b/x".into()));
        assert_eq!(to("../x/./y/.."), Some("http://h:81/a/x/".into()));
        assert_eq!(to("?z=2"), Some("http://h:81/a/b/c?z=2".into()));
        assert_eq!(to("//o:8/x"), Some("http://o:8/x".into()));
        assert_eq!(to("https://h/x#f"), Some("https://h/x".into()));
        assert_eq!(to("HTTP://u:p@[::1]:9"), Some("http://[::1]:9/".into()));
        assert_eq!(to("/r?to=http://o/"), Some("http://h:81/r?to=http://o/".into()));
        assert_eq!(to("ftp://h/x"), None);
        assert_eq!(to("http://h:99999/x"), None);
        assert_eq!(base.join("/x").unwrap().1, Absolute::No);
        assert_eq!(base.join("http://h:81/x").unwrap().1, Absolute::Yes);
    }
}
