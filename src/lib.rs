//! podstrap: a directory of Pod manifests in, supervised containers out.
//!
//! # The house
//!
//! A pure core decides, an imperative shell acts. One process, one thread, one blocking `poll`; everything slow is a
//! child process with a deadline, and every completion is a `waitpid`.
//!
//! | room | what it knows | may import |
//! |---|---|---|
//! | [`pod`] | what a validated Pod is | nothing of ours |
//! | [`command`] | what a child process is to be given | nothing of ours |
//! | [`paths`] | where everything lies on disk | `pod` |
//! | [`config`] | what `run` was told, validated | `pod`, `paths` |
//! | [`manifest`] | text → validated Pods, or every problem in it | `pod` |
//! | [`core`] | (state, event, now) → state, actions; no clock, process or file | `pod` |
//! | [`report`] | the published status, shaped like `v1.Pod` | `pod`, `paths` |
//! | [`sys`] | system calls; the only `unsafe` | `command` |
//! | [`log`] | lines on standard error that never block | `sys` |
//! | [`image`] | archives → layers, and which image has which | `pod`, `paths`, `command`, `sys` |
//! | [`runtime`] | operations → command lines and bundles; output → facts; spawns nothing | `pod`, `command`, `image::config` |
//! | [`monitor`] | the process that owns one container | `pod`, `paths`, `command`, `sys`, `image`, `runtime` |
//! | [`helper`] | short-lived children: probes, hooks, URLs, namespaces and networks, projected files, removals | `pod`, `paths`, `config`, `command`, `sys`, `image::tar_out`, `runtime`, `monitor` |
//! | [`mirror`] | the process that shows Pods in an API server | `pod`, `paths`, `report`, `sys`, `log`, `helper`, `manifest` |
//! | [`source`] | directories and URLs → documents, settled and whole | `manifest`, `pod`, `paths`, `config`, `sys` |
//! | [`daemon`] | the loop; carries out actions | everything but `cli` |
//! | [`cli`] | one file per verb | everything |
//!
//! `.ci/imports` checks this table.

pub mod cli;
pub mod command;
pub mod config;
pub mod core;
pub mod daemon;
pub mod helper;
pub mod image;
pub mod log;
pub mod manifest;
pub mod mirror;
pub mod monitor;
pub mod paths;
pub mod pod;
pub mod report;
pub mod runtime;
pub mod source;
pub mod sys;
