//! For tests of this program's own death: a build with debug assertions kills itself after the n-th thing that it has done,
//! counted over the daemon, its monitors and its helpers together. A release build has nothing of it.
//!
//! `PODSTRAP_TEST_DIE_AT=N:FILE` in the environment of `podstrap run`: each thing done adds a line of [`LINE`] bytes to FILE,
//! which names it, and whoever has written the N-th line gets SIGKILL by its own hand. N = 0 only counts.

/// How long each line of the file is, its end included: by its place in the file each process knows its number.
pub const LINE: usize = 64;

/// The variable. Children of our own program get it too.
pub const VARIABLE: &str = "PODSTRAP_TEST_DIE_AT";

/// Something has been done.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn done(_what: &str) {}

/// Something has been done: the last thing ever, perhaps.
#[cfg(debug_assertions)]
pub fn done(what: &str) {
    use std::io::{Seek, Write};

    let Some(order) = std::env::var_os(VARIABLE) else { return };
    let Some((at, path)) = order.to_str().and_then(|o| o.split_once(':')) else { return };
    let Ok(at) = at.parse::<u64>() else { return };
    let mut line = format!("{} {}", std::env::args().nth(1).unwrap_or_default(), what);
    line.truncate(LINE - 1);
    let line = format!("{line:<width$}\n", width = LINE - 1);
    let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) else { return };
    // An append is one write, wherever the file's end is; the position after it is this line's own end.
    if file.write_all(line.as_bytes()).is_ok()
        && file.stream_position().is_ok_and(|end| end == at.saturating_mul(LINE as u64))
    {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
