//! Images: archives in, layers and configurations out.
//!
//! Everything here runs in helper processes and in command-line verbs, never in the daemon's loop; the daemon reads only
//! the index ([`store::Index`]).

pub mod archive;
pub mod bounds;
mod check;
pub mod codec;
pub mod config;
pub mod credentials;
pub mod digest;
pub mod discover;
mod docker;
pub mod error;
pub mod export;
pub mod hand_over;
pub mod known;
pub mod load;
pub mod names;
mod oci;
pub mod pax;
pub mod plan;
pub mod prune;
pub mod pull;
pub mod refusal;
pub mod store;
mod tar_header;
pub mod tar_out;
mod tar_source;
pub mod tarball;
pub mod unpack;

pub use discover::archives;

#[cfg(test)]
#[allow(clippy::unwrap_used, missing_docs, missing_debug_implementations)] // Helpers of tests are tests too.
mod testing;
