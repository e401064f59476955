//! Names that archives give to their images.

use crate::pod::reference::Reference;

/// The reference that a name in an archive or on the command line means, in docker's full form; `None` when the text is
/// no reference.
pub fn reference_of(text: &str) -> Option<Reference> {
    if text.is_empty() || text.len() > 1024 {
        return None;
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    if digest.is_some_and(|digest| super::digest::Digest::parse(digest).is_none()) {
        return None;
    }
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let tag_ok = |tag: &str| {
        !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    if !tag.is_none_or(tag_ok) {
        return None;
    }
    // The first part is a registry when it cannot be a path: a dot, a port, or localhost.
    let (domain, path) = match path.split_once('/') {
        Some((domain, rest)) if domain.contains(['.', ':']) || domain == "localhost" => (domain, rest),
        _ => ("docker.io", path),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    let path = if domain == "docker.io" && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    let domain_ok = domain.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let part_ok = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
    };
    if !domain_ok || !path.split('/').all(part_ok) {
        return None;
    }
    let mut full = format!("{domain}/{path}");
    match (tag, digest) {
        (Some(tag), _) => full.push_str(&format!(":{tag}")),
        (None, None) => full.push_str(":latest"),
        (None, Some(_)) => {}
    }
    if let Some(digest) = digest {
        full.push_str(&format!("@{digest}"));
    }
    Some(Reference { given: text.to_owned(), full })
}

/// Repository and tag of a full reference, as tables show them; a digest stands in the place of a tag.
pub fn repository_and_tag(full: &str) -> (&str, &str) {
    if let Some((name, digest)) = full.split_once('@') {
        return (repository_and_tag(name).0, digest);
    }
    match full.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (full, "<none>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_whole_as_docker_does() {
        let full = |text: &str| reference_of(text).map(|r| r.full);
        assert_eq!(full("etcd").as_deref(), Some("docker.io/library/etcd:latest"));
        assert_eq!(full("a/b:1").as_deref(), Some("docker.io/a/b:1"));
        assert_eq!(full("localhost/b").as_deref(), Some("localhost/b:latest"));
        assert_eq!(full("r.example:5000/x/y:v1").as_deref(), Some("r.example:5000/x/y:v1"));
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(full(&format!("a@{digest}")), Some(format!("docker.io/library/a@{digest}")));
        for bad in ["", "--privileged", " a", "A", "a:", "a/../b", "a@sha256:0", "a\nb", "r.example/"] {
            assert_eq!(full(bad), None, "{bad}");
        }
    }

    #[test]
    fn tables_show_repository_and_tag() {
        assert_eq!(repository_and_tag("r.example:5000/x:v1"), ("r.example:5000/x", "v1"));
        assert_eq!(repository_and_tag("r.example:5000/x"), ("r.example:5000/x", "<none>"));
        assert_eq!(repository_and_tag("a/b:t@sha256:00"), ("a/b", "sha256:00"));
    }
}
