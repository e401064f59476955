//! References of images, as they stand in manifests, archives and on the command line.

use podstrap::image::names::repository_and_tag;
use podstrap::pod::reference::Reference;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let reference = match Reference::parse(text) {
        Ok(reference) => reference,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    check(&reference);
    assert_eq!(reference.given, text);
    // What was made whole once stays as it is.
    let again = Reference::parse(&reference.full).expect("the full form is a reference");
    assert_eq!(again.full, reference.full);
    assert_eq!(again.digest(), reference.digest());
    assert_eq!(again.tag(), reference.tag());
    let _ = (reference.deciding(), reference.is_latest());
    let (repository, _) = repository_and_tag(&reference.full);
    assert!(reference.full.starts_with(repository));
}

/// What has to hold of a reference that becomes a word of a command line.
pub fn check(reference: &Reference) {
    for text in [&reference.given, &reference.full] {
        assert!(!text.is_empty() && !text.starts_with('-'), "{text:?}");
        assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text:?}");
        assert!(
            !text.contains(['$', '`', '\\', '"', '\'', ';', '&', '|', '<', '>', '*', '?', ',']),
            "{text:?}"
        );
    }
    assert!(reference.full.len() < 1024);
}
