//! What cannot be got rid of, in words: for the log, which is told of it less and less often, and for the status, where it
//! stands all the time.

use crate::core::container::Stuck;
use crate::core::life::Life;

/// What is the matter with a run that cannot be cleared away.
pub const SWEEP: &str = "what its last run left cannot be cleared away";
/// What is the matter with a Pod that cannot be removed.
pub const REMOVAL: &str = "cannot be removed";

/// What to do about either.
const TO_DO: &str =
    "it is tried again by itself; end what keeps it (a process in state D, a mount, a full or dead disk)";

/// One line: what is the matter, how often it was tried, what was in the way, and what to do.
pub fn text(what: &str, times: u32, error: &str) -> String {
    let tries = if times == 1 { "1 try" } else { &format!("{times} tries") };
    format!("{what} ({tries}): {error}; {TO_DO}")
}

/// What the status tells of a run that is in the way of the next.
pub fn of_run(stuck: &Stuck) -> String {
    text(SWEEP, stuck.times, &stuck.error)
}

/// What there is of the kind in a life: the Pod's own removal first, then the first container with such a run.
pub fn of_life(life: &Life) -> Option<String> {
    if let Some(stuck) = &life.unremoved {
        return Some(text(REMOVAL, stuck.times, &stuck.error));
    }
    let mut all = life.each().filter_map(|(c, state)| Some((c, state.stuck.values().next_back()?)));
    all.next().map(|(container, stuck)| format!("{}: {}", container.name, of_run(stuck)))
}
