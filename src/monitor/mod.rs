//! The process that owns one container.

pub mod record;
