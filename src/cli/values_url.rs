//! The values of `--manifest-url` and `--manifest-url-header`.

use std::str::FromStr;

use crate::config::{Header, HeaderValue, ManifestUrl};
use crate::helper::url::Url;

/// A manifest URL: `http://…` or `https://…`, and behind it, for one content only, `#sha256=DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlArg(pub ManifestUrl);

impl FromStr for UrlArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, sha256) = match text.split_once('#') {
            None => (text, None),
            Some((url, pin)) => {
                let digest = pin.strip_prefix("sha256=").map(str::to_ascii_lowercase);
                let digest = digest.filter(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
                (url, Some(digest.ok_or("expected #sha256= and 64 hexadecimal digits behind the URL")?))
            }
        };
        let parsed = Url::parse(url).ok_or(
            "expected http://HOST[:PORT]/PATH or https://…; a password goes into a header (--manifest-url-header)",
        )?;
        Ok(Self(ManifestUrl { url: url.to_owned(), shown: parsed.shown(), sha256 }))
    }
}

/// A header: `NAME: VALUE`, or `NAME: @FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderArg(pub Header);

impl FromStr for HeaderArg {
    type Err = String;

    // The text is not told in the error: it may be a secret.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE, or NAME: @FILE")?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err("a header's name is letters, digits and dashes (RFC 9110)".to_owned());
        }
        if value.bytes().any(|b| b.is_ascii_control()) {
            return Err("a header's value is one line of text".to_owned());
        }
        let value = match value.strip_prefix('@') {
            Some("") => return Err("a file's name is missing after @".to_owned()),
            Some(file) => HeaderValue::File(file.into()),
            None => HeaderValue::Text(value.to_owned()),
        };
        Ok(Self(Header { name: name.to_owned(), value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_or_pinned() {
        let read = |text: &str| text.parse::<UrlArg>().map(|u| (u.0.url, u.0.shown, u.0.sha256));
        let digest = "0A".repeat(32);
        assert_eq!(
            read("https://h/pods.yaml?token=1").unwrap(),
            ("https://h/pods.yaml?token=1".into(), "https://h/pods.yaml?…".into(), None)
        );
        let pinned = read(&format!("http://h/#sha256={digest}")).unwrap();
        assert_eq!(pinned.2, Some("0a".repeat(32)));
        assert!(read("http://h/#sha256=12").unwrap_err().contains("64"));
        assert!(read("http://u:p@h/").unwrap_err().contains("header"));
        assert!(read("/etc/x").is_err());
    }

    #[test]
    fn headers_have_a_value_or_a_file() {
        let read = |text: &str| text.parse::<HeaderArg>().map(|h| h.0.value);
        assert_eq!(read("Authorization: Bearer x:y").unwrap(), HeaderValue::Text("Bearer x:y".into()));
        assert_eq!(read("A:@/etc/token").unwrap(), HeaderValue::File("/etc/token".into()));
        for bad in ["secret", ": secret", "a b: secret", "A: @", "A: secret\r\nB: c"] {
            let error = read(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
