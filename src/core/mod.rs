//! Decides. Cannot act: no clock, no process, no file.
