//! A URL of manifests: when it is asked, and what its answers mean. It is asked by a child (`podstrap fetch`); nothing here
//! touches the network.
//!
//! An error, an empty answer and one that cannot be read leave everything as it was; the last good answer is on disk, so
//! that a host boots while the server is down.

use std::path::Path;
use std::rc::Rc;

use super::dir::Rules;
use super::file::FileState;
use super::keep::{self, Keep};
use super::standing::Standing;
use crate::manifest::{Context, Limits};
use crate::sys::clock;

/// One URL.
#[derive(Debug)]
pub struct UrlSource {
    /// As it is asked, with everything secret in it.
    url: String,
    standing: Standing,
    period_ms: u64,
    rules: Rc<Rules>,
    state: FileState,
    /// When it is asked next (boot clock, milliseconds); `None` while it is being asked.
    next: Option<u64>,
    /// What was kept on disk has been read.
    recalled: bool,
}

impl UrlSource {
    /// The source at `url`, named `shown`, which is asked every `period_ms` milliseconds; not read yet.
    pub fn new(url: String, shown: String, period_ms: u64, most_bytes: usize, rules: &Rules) -> Self {
        let limits = Limits { max_bytes: most_bytes, ..rules.limits };
        Self {
            url,
            standing: Standing::new(shown),
            period_ms,
            rules: Rc::new(Rules { limits, ..rules.clone() }),
            state: FileState::default(),
            next: Some(0),
            recalled: false,
        }
    }

    /// How it fares. It counts as read where its last answer is known, be it from an earlier life of the daemon.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The same, to take from.
    pub fn standing_mut(&mut self) -> &mut Standing {
        &mut self.standing
    }

    /// What it says.
    pub(super) fn state(&self) -> &FileState {
        &self.state
    }

    /// The last answer in which nothing was refused.
    pub fn content(&self) -> Option<&[u8]> {
        self.state.good_content()
    }

    /// When it is to be asked (boot clock, milliseconds); `None` while it is.
    pub fn deadline(&self) -> Option<u64> {
        self.next
    }

    /// It is to be asked at once.
    pub fn reload(&mut self, now: u64) {
        self.next = self.next.map(|_| now);
    }

    /// Recalls what was kept, the first time. Returns whether what this source says has changed.
    pub fn turn(&mut self) -> bool {
        if std::mem::replace(&mut self.recalled, true) {
            return false;
        }
        let Some(kept) = keep::load(&self.rules.keep_dir, Path::new(&self.url)) else { return false };
        self.standing.synced = true;
        let rules = self.rules.clone();
        self.state.take(&kept, 0, &context(&rules, &self.standing.shown))
    }

    /// Whether it is to be asked now; if so it counts as being asked until [`Self::answered`].
    pub fn ask(&mut self, now: u64) -> bool {
        let is_due = self.next.is_some_and(|at| at <= now);
        if is_due {
            self.next = None;
        }
        is_due
    }

    /// Takes in what came of it: a new answer, `None` where nothing has changed, or why there is none. Returns whether what this
    /// source says has changed.
    pub fn answered(&mut self, answer: Result<Option<&[u8]>, String>, now: u64) -> bool {
        self.next = Some(now.saturating_add(self.period_ms));
        let body = match answer {
            Ok(body) => body,
            Err(why) => return self.failed(&why),
        };
        let at = clock::unix_ms();
        let mut changed = self.standing.is_read(at);
        changed |= !std::mem::replace(&mut self.standing.synced, true);
        let Some(body) = body else { return changed };
        let rules = self.rules.clone();
        let before = self.state.good_content().map(<[u8]>::to_vec);
        // A mere beginning of the last answer is believed when it is given twice.
        changed |= self.state.take(body, at.into(), &context(&rules, &self.standing.shown));
        if let Some(good) = self.state.good_content()
            && before.as_deref() != Some(good)
        {
            self.standing.keeps.push(Keep::content(&rules.keep_dir, Path::new(&self.url), good));
        }
        changed
    }

    /// Whether the last answer is in use as it was given: then the server need not give it again.
    pub fn is_settled(&self) -> bool {
        !self.state.is_suspect()
    }

    fn failed(&mut self, why: &str) -> bool {
        let then = if self.standing.synced { "; what it said goes on" } else { "; it has never been read" };
        self.standing.fails(format!("cannot be read: {why}"), then)
    }
}

fn context<'a>(rules: &'a Rules, shown: &'a str) -> Context<'a> {
    Context { node: &rules.node, path: shown, limits: rules.limits, runtime: rules.runtime }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
