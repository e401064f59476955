//! A last deadline for a helper process: calls that cannot be told a time limit (name look-ups) cannot outlive it.

use std::io;
use std::sync::OnceLock;

use nix::libc;

/// What the handler says and returns; set before the timer is.
static LAST_WORDS: OnceLock<(i32, Vec<u8>)> = OnceLock::new();

/// Ends this process with `code` when `after_ms` milliseconds have passed, printing `line` on standard output first. For
/// helper processes with nothing to clean up. Only the first call has an effect.
#[allow(unsafe_code)]
pub fn exit_after(after_ms: u64, code: i32, line: &str) -> io::Result<()> {
    if LAST_WORDS.set((code, format!("{line}\n").into_bytes())).is_err() {
        return Ok(());
    }
    let handler: extern "C" fn(libc::c_int) = on_alarm;
    // SAFETY: the handler calls only write and _exit, and reads a value that is never changed again once it is set.
    if unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    set_timer(after_ms.max(1))
}

/// The work is done: the alarm does not come any more, and this process has the last word.
pub fn cancel() -> io::Result<()> {
    set_timer(0)
}

/// 0 is never.
#[allow(unsafe_code)]
fn set_timer(after_ms: u64) -> io::Result<()> {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval {
            tv_sec: libc::time_t::try_from(after_ms / 1000).unwrap_or(libc::time_t::MAX),
            tv_usec: (after_ms % 1000) as libc::suseconds_t * 1000,
        },
    };
    // SAFETY: both pointers are a valid itimerval and null, as setitimer allows.
    if unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[allow(unsafe_code)]
extern "C" fn on_alarm(_: libc::c_int) {
    if let Some((code, line)) = LAST_WORDS.get() {
        // SAFETY: write and _exit are async-signal-safe, and the buffer lives as long as the process.
        unsafe {
            libc::write(1, line.as_ptr().cast(), line.len());
            libc::_exit(*code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    /// Run in a process of its own: the alarm ends all of it.
    #[test]
    fn a_process_that_hangs_says_why_and_ends() {
        if std::env::var_os("ALARM_TEST").is_some() {
            exit_after(50, 7, "late").unwrap();
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let begin = Instant::now();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::alarm::tests::a_process_that_hangs_says_why_and_ends", "--nocapture"])
            .env("ALARM_TEST", "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("late\n"));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
