//! The two clocks: one that only goes forward and counts suspended time (for every deadline), one for people.

use nix::time::{ClockId, clock_gettime};

/// Milliseconds on CLOCK_BOOTTIME.
pub fn boot_ms() -> u64 {
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_default_time();
    t.0.unsigned_abs() * 1000 + t.1.unsigned_abs() / 1_000_000
}

/// Microseconds on CLOCK_MONOTONIC, by which systemd reckons.
pub fn monotonic_us() -> u64 {
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or_default_time();
    t.0.unsigned_abs() * 1_000_000 + t.1.unsigned_abs() / 1000
}

/// Unix time in milliseconds. May jump either way.
pub fn unix_ms() -> i64 {
    let (s, n) = unix();
    s.saturating_mul(1000).saturating_add(n / 1_000_000)
}

/// Unix time as seconds and nanoseconds. May jump either way.
pub fn unix() -> (i64, i64) {
    clock_gettime(ClockId::CLOCK_REALTIME).unwrap_or_default_time()
}

trait OrZero {
    fn unwrap_or_default_time(self) -> (i64, i64);
}

impl OrZero for nix::Result<nix::sys::time::TimeSpec> {
    /// `clock_gettime` fails only for a clock that the kernel does not have; both of ours are older than any kernel
    /// that can run containers, so zero stands for "cannot happen".
    fn unwrap_or_default_time(self) -> (i64, i64) {
        self.map_or((0, 0), |t| (t.tv_sec(), t.tv_nsec()))
    }
}
