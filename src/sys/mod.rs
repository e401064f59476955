//! System calls, wrapped so that the rest of the house needs no `unsafe`. Knows neither Pods nor the core.

pub mod alarm;
pub mod atomic;
pub mod cgroup;
pub mod clock;
pub mod detached;
pub mod doom;
pub mod feed;
pub mod fifo;
pub mod files;
pub mod finish;
pub mod lease;
pub mod lock;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod notify;
pub mod process;
pub mod signals;
pub mod spawn;
pub mod stderr;
pub mod terminal;
pub mod tree;
pub mod watch;
