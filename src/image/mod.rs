//! Images: archives in, layers and configurations out.
//!
//! Everything here runs in helper processes and in command-line verbs, never in the daemon's loop; the daemon reads only
//! the index ([`store::Index`]).

pub mod config;
pub mod store;
