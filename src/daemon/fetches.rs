//! The manifest URLs: each is asked by a child when it is due, and its answer is a file.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::Daemon;
use super::jobs::Purpose;
use crate::config::RunConfig;
use crate::helper::fetch::{FetchSpec, Fetched, Validators};
use crate::source::Source;
use crate::sys::atomic::{self, Durability};
use crate::sys::clock;
use crate::sys::spawn::ExitStatus;
use crate::warning;

/// How long a server has for a whole answer, in milliseconds: the kubelet's (`pkg/kubelet/config/http.go`).
const ANSWER_MS: u64 = 10_000;

/// How each URL is asked, by the number of its source: URLs come after directories.
pub fn of(config: &RunConfig) -> BTreeMap<usize, FetchSpec> {
    let first = config.manifest_dirs.len();
    let spec = |(number, url): (usize, &crate::config::ManifestUrl)| {
        let number = first.saturating_add(number);
        let spec = FetchSpec {
            url: url.url.clone(),
            headers: config.asking.headers.clone(),
            ca: config.asking.ca.clone(),
            validators: Validators::default(),
            sha256: url.sha256.clone(),
            file: config.roots.fetched(number),
            timeout_ms: ANSWER_MS,
        };
        (number, spec)
    };
    config.manifest_urls.iter().enumerate().map(spec).collect()
}

impl Daemon {
    /// Writes down how URLs are asked, for verbs that ask them, too. It may hold secrets, as RUN/pods does.
    pub(super) fn tell_how_urls_are_asked(&self) {
        let path = self.config.roots.urls();
        if self.fetches.is_empty() {
            // A former daemon's.
            let _ = fs::remove_file(path);
            return;
        }
        let specs: Vec<&FetchSpec> = self.fetches.values().collect();
        let written = serde_json::to_vec(&specs)
            .map_err(io::Error::from)
            .and_then(|bytes| atomic::write(&path, &bytes, 0o600, Durability::Process));
        if let Err(e) = written {
            warning!("cannot write {}: {e}; `plan` asks no URL", path.display());
        }
    }

    /// Asks every URL that is due.
    pub(super) fn fetch_due(&mut self, now: u64) {
        for (number, spec) in &self.fetches {
            let Some(Source::Url(source)) = self.sources.get_mut(*number) else { continue };
            if !source.ask(now) {
                continue;
            }
            let started =
                spec.command().and_then(|line| self.jobs.start(Purpose::Fetch(*number), &line, true));
            if let Err(e) = started {
                warning!("{}: cannot be asked: {e}", source.standing().shown());
                source.answered(Err(e.to_string()), now);
            }
        }
    }

    /// Takes in what came of asking one.
    pub(super) fn fetched(&mut self, number: usize, status: ExitStatus, output: &str, overdue: bool) {
        let now = clock::boot_ms();
        let Some(spec) = self.fetches.get_mut(&number) else { return };
        let Some(Source::Url(source)) = self.sources.get_mut(number) else { return };
        let fetched = match (overdue, status.success()) {
            (true, _) => Err(format!("no answer within {} s", ANSWER_MS / 1000)),
            (false, true) => serde_json::from_slice::<Fetched>(output.as_bytes()).map_err(|e| e.to_string()),
            (false, false) if output.is_empty() => {
                Err(format!("the child that asks it has ended ({status})"))
            }
            (false, false) => Err(output.to_owned()),
        };
        let changed = match fetched {
            Ok(Fetched::Same) => source.answered(Ok(None), now),
            Ok(Fetched::Body(validators)) => match fs::read(&spec.file) {
                Ok(body) => {
                    let changed = source.answered(Ok(Some(&body)), now);
                    spec.validators = if source.is_settled() { validators } else { Validators::default() };
                    changed
                }
                Err(e) => source.answered(Err(format!("read {}: {e}", spec.file.display())), now),
            },
            Err(why) => source.answered(Err(why), now),
        };
        // It is in memory, and the next one has another.
        let _ = fs::remove_file(&spec.file);
        for line in source.standing_mut().take_news() {
            warning!("{line}");
        }
        if changed {
            self.sources_say_otherwise();
        }
    }
}
