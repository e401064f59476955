//! What a manifest URL answers, one answer after the other; what the child that asked tells of it; and where it is redirected to.

use std::path::PathBuf;
use std::rc::Rc;

use podstrap::config::MissingDir;
use podstrap::helper::fetch::Fetched;
use podstrap::helper::url::Url;
use podstrap::manifest::{Limits, Runtime};
use podstrap::pod::{Generation, NodeName, PodKey};
use podstrap::source::dir::Rules;
use podstrap::source::url::UrlSource;
use podstrap::source::{self, Source};

use super::choice;

/// Between two answers.
const END: u8 = 0x1e;

pub fn run(data: &[u8]) {
    let Some((format, bytes)) = choice(data, 3) else { return };
    match format {
        0 => answers(bytes),
        1 => {
            if let Ok(fetched) = serde_json::from_slice::<Fetched>(bytes) {
                let text = serde_json::to_vec(&fetched).expect("what was read can be written");
                assert_eq!(serde_json::from_slice::<Fetched>(&text).expect("and read again"), fetched);
            }
        }
        _ => redirected(&String::from_utf8_lossy(bytes)),
    }
}

fn answers(bytes: &[u8]) {
    let rules = Rules {
        node: NodeName::new("node1"),
        limits: Limits::default(),
        runtime: Runtime::Runc,
        rescan_ms: 20_000,
        on_missing: MissingDir::Keep,
        allow_foreign: false,
        keep_dir: PathBuf::from("/nowhere"),
    };
    let mut source =
        UrlSource::new("http://h/".to_owned(), "http://h/".to_owned(), 20_000, 512 * 1024, &Rc::new(rules));
    let mut known: Vec<(PodKey, Generation)> = Vec::new();
    for (turn, answer) in bytes.split(|b| *b == END).take(6).enumerate() {
        let now = 20_000 * turn as u64;
        assert!(source.ask(now) && !source.ask(now), "once at a time");
        let (told, is_body) = match answer.split_first() {
            Some((b'!', why)) => (Err(String::from_utf8_lossy(why).into_owned()), false),
            Some((b'=', _)) => (Ok(None), false),
            Some(_) | None => (Ok(Some(answer)), true),
        };
        let is_error = told.is_err();
        let _ = source.answered(told, now);
        assert_eq!(source.deadline(), Some(now + 20_000));
        assert_eq!(source.standing().error().is_some(), is_error);
        let (mine, pods) = pods_of(source);
        source = mine;
        // No body: what it said last goes on.
        assert!(is_body || pods == known, "{pods:?} after {known:?}");
        known = pods;
        let _ = (source.standing_mut().take_news(), source.standing_mut().take_keeps(), source.is_settled());
    }
}

/// What it says, and itself again.
fn pods_of(source: UrlSource) -> (UrlSource, Vec<(PodKey, Generation)>) {
    let sources = [Source::Url(Box::new(source))];
    let merged = source::merge(&sources);
    let pods = merged.good.values().map(|g| (g.pod.key.clone(), g.pod.generation.clone())).collect();
    let [Source::Url(source)] = sources else { unreachable!() };
    (*source, pods)
}

/// The first line is where it was asked, each other one a `Location`.
fn redirected(text: &str) {
    let mut lines = text.lines();
    let Some(mut url) = lines.next().and_then(Url::parse) else { return };
    for location in lines.take(10) {
        let Some((next, _)) = url.join(location) else { continue };
        let written = next.to_string();
        // One line of a request, and one host.
        assert!(!written.contains(|c: char| c.is_control() || c == ' '), "{written:?}");
        assert!(!next.host().is_empty());
        assert!(!next.shown().contains('=') || !written.contains('?') || next.shown().contains("?…"));
        url = next;
    }
}
