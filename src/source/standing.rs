//! How a source fares: what is told of every source alike, be it a directory or a URL.

use super::keep::Keep;

/// What `status` and the log tell of one source, and what the disk is to remember of it.
#[derive(Debug, Default)]
pub struct Standing {
    pub(super) shown: String,
    pub(super) synced: bool,
    pub(super) read_at: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) keeps: Vec<Keep>,
    pub(super) news: Vec<String>,
}

impl Standing {
    /// Of a source of that name, which has not been read yet.
    pub(super) fn new(shown: String) -> Self {
        Self { shown, ..Self::default() }
    }

    /// Its name, for display; nothing secret is in it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether what it says is known: it has been read completely, be it by an earlier daemon.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// When it was last read without an error (Unix time, milliseconds).
    pub fn read_at(&self) -> Option<i64> {
        self.read_at
    }

    /// Why it cannot be read now.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What the disk is to remember of this source; taken once.
    pub fn take_keeps(&mut self) -> Vec<Keep> {
        std::mem::take(&mut self.keeps)
    }

    /// Lines for the log; taken once.
    pub fn take_news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// It cannot be read, and `then` is what follows from that. Returns whether that is new; the same is told once.
    pub(super) fn fails(&mut self, error: String, then: &str) -> bool {
        if self.error.as_ref() == Some(&error) {
            return false;
        }
        self.news.push(format!("{}: {error}{then}", self.shown));
        self.error = Some(error);
        true
    }

    /// It was read without an error at that time (Unix, milliseconds). Returns whether it could not before.
    pub(super) fn is_read(&mut self, at: i64) -> bool {
        self.read_at = Some(at);
        let recovered = self.error.take().is_some();
        if recovered {
            self.news.push(format!("{}: can be read again", self.shown));
        }
        recovered
    }
}
