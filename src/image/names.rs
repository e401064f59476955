//! Names that archives give to their images.

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
    fn tables_show_repository_and_tag() {
        assert_eq!(repository_and_tag("r.example:5000/x:v1"), ("r.example:5000/x", "v1"));
        assert_eq!(repository_and_tag("r.example:5000/x"), ("r.example:5000/x", "<none>"));
        assert_eq!(repository_and_tag("a/b:t@sha256:00"), ("a/b", "sha256:00"));
    }
}
