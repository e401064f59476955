//! Arguments → a verb; one file per verb.

use std::process::ExitCode;

use crate::paths::AttemptDir;
use crate::{helper, monitor};

/// The program.
pub fn main() -> ExitCode {
    if let Err(e) = crate::sys::process::sanitize_descriptors() {
        eprintln!("podstrap: {e}");
        return ExitCode::FAILURE;
    }
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_default();
    let mut directory = || AttemptDir(args.next().unwrap_or_default().into());
    match verb.to_str() {
        Some("monitor") => monitor::run(directory()),
        Some("sweep") => monitor::sweep(directory()),
        Some("remove") => helper::remove::run(),
        _ => ExitCode::from(2),
    }
}
