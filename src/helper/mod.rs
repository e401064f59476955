//! Short-lived children: whatever may block, wait, or touch hostile bytes.

pub mod fetch;
pub mod hook;
pub mod http;
pub mod look;
pub mod probe;
pub mod project;
pub mod remove;
pub mod resolver;
pub mod sandbox;
pub mod text;
pub mod url;
