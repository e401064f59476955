//! Text → validated Pods, or every problem in it.
mod documents;
pub mod escape;
mod guard;
mod node;
mod problem;

pub use problem::{Problem, Severity};

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub max_bytes: usize,
    /// Keys and values of one file, aliases counted as often as they are used.
    pub max_nodes: usize,
    /// Bytes of text in keys and values of one file, aliases counted as often as they are used.
    pub max_text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 512 << 10, max_nodes: 100_000, max_text: 4 << 20 }
    }
}
