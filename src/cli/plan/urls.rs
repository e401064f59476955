//! The URLs among the daemon's sources. Each is asked as the daemon asks it, by the same child and with the same time limit;
//! one that does not answer, or of which it is not known how it is asked, counts with what it said last, as it does there.

use std::fs;

use crate::cli::published::Published;
use crate::helper::fetch::{FetchSpec, Fetched, Validators};
use crate::helper::url::Url;
use crate::monitor::child::{self, ChildError};
use crate::source::dir::Rules;
use crate::source::url::UrlSource;
use crate::sys::clock;

/// Whether URLs are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// They are, and whoever asks waits for them.
    Now,
    /// What they said last will do.
    Never,
}

/// How the daemon, or the last one of this boot, asks its URLs.
pub fn specs(published: &Published) -> Vec<FetchSpec> {
    let read = fs::read(published.roots().urls()).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Takes the one of the URL that is shown as `shown` out of them.
pub fn take(specs: &mut Vec<FetchSpec>, shown: &str) -> Option<FetchSpec> {
    let is_it = |spec: &FetchSpec| Url::parse(&spec.url).is_some_and(|url| url.shown() == shown);
    specs.iter().position(is_it).map(|place| specs.remove(place))
}

/// The source at a URL, with what it said last; and what is to be told of it.
pub fn source(
    shown: String,
    spec: Option<FetchSpec>,
    ask: Ask,
    published: &Published,
    rules: &Rules,
) -> (UrlSource, Option<String>) {
    let most_bytes = usize::try_from(crate::helper::fetch::MOST_BYTES).unwrap_or(usize::MAX);
    let url = spec.as_ref().map_or_else(|| shown.clone(), |s| s.url.clone());
    let mut source = UrlSource::new(url, shown.clone(), 0, most_bytes, rules);
    // What it said last comes first, as in the daemon.
    source.turn();
    let note = match (ask, spec) {
        (Ask::Never, _) => None,
        (Ask::Now, None) => {
            Some(format!("{shown} is not asked, only the daemon knows how: it counts with what it said last"))
        }
        (Ask::Now, Some(spec)) => {
            let file = published.roots().fetched_by(std::process::id());
            let spec = FetchSpec { file, validators: Validators::default(), ..spec };
            let answer = asked(&spec);
            // It is in memory.
            let _ = fs::remove_file(&spec.file);
            let note = answer
                .as_ref()
                .err()
                .map(|why| format!("{shown} cannot be read now ({why}): it counts with what it said last"));
            source.answered(
                answer.as_ref().map(|body| Some(body.as_slice())).map_err(Clone::clone),
                clock::boot_ms(),
            );
            note
        }
    };
    (source, note)
}

/// What the child brings.
fn asked(spec: &FetchSpec) -> Result<Vec<u8>, String> {
    let line = spec.command().map_err(|e| e.to_string())?;
    let said = child::run(&line).map_err(|e| match e {
        // The child says it in one line, for people.
        ChildError::Ended(_, said) if !said.is_empty() => said,
        e => e.to_string(),
    })?;
    match serde_json::from_str::<Fetched>(&said).map_err(|e| e.to_string())? {
        Fetched::Body(_) => fs::read(&spec.file).map_err(|e| format!("read {}: {e}", spec.file.display())),
        Fetched::Same => Err("it says that nothing has changed, and was not asked that".to_owned()),
    }
}
