//! Short-lived children: whatever may block, wait, or touch hostile bytes.

pub mod remove;
