//! When a container that ended is started again: pure arithmetic.
//!
//! The schedule is the newer one of Kubernetes (KEP-4603, KEP-5593): the first restart is immediate, then the delay starts
//! at `initial` and doubles to `max`; a run that lasted ten minutes forgives everything. Delays count from the end of the
//! run, so a slow clean-up does not lengthen them.

use serde::{Deserialize, Serialize};

use super::Time;

/// A run of at least this many milliseconds resets the back-off.
pub const RESET_MS: u64 = 600_000;

/// The two ends of the schedule, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffRule {
    /// The second restart's delay.
    pub initial_ms: u64,
    /// No delay is longer.
    pub max_ms: u64,
}

/// How often in a row a container has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Takes in one end of a run that lasted `uptime_ms` and ended at `at`; gives the moment of the next start.
    pub fn next(&mut self, rule: BackoffRule, uptime_ms: u64, at: Time) -> Time {
        if uptime_ms >= RESET_MS {
            self.failures = 0;
        }
        let delay = match self.failures {
            0 => 0,
            n => doubled(rule.initial_ms, n - 1).min(rule.max_ms),
        };
        self.failures = self.failures.saturating_add(1);
        at.plus(delay)
    }
}

/// `initial` doubled `times` times, without overflow.
pub fn doubled(initial: u64, times: u32) -> u64 {
    initial.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BackoffRule = BackoffRule { initial_ms: 1000, max_ms: 60_000 };

    #[test]
    fn immediate_then_doubling_to_the_cap() {
        let mut b = Backoff::default();
        let delays: Vec<u64> = (0..10).map(|_| b.next(RULE, 5, Time(100)).since(Time(100))).collect();
        assert_eq!(delays, [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn ten_good_minutes_forgive() {
        let mut b = Backoff::default();
        for _ in 0..5 {
            b.next(RULE, 0, Time(0));
        }
        assert_eq!(b.next(RULE, RESET_MS - 1, Time(0)), Time(16_000));
        assert_eq!(b.next(RULE, RESET_MS, Time(7)), Time(7));
        assert_eq!(b.next(RULE, 0, Time(7)), Time(1007));
    }

    #[test]
    fn never_overflows() {
        let mut b = Backoff { failures: u32::MAX };
        let rule = BackoffRule { initial_ms: u64::MAX, max_ms: u64::MAX };
        assert_eq!(b.next(rule, 0, Time(u64::MAX)), Time(u64::MAX));
    }
}
