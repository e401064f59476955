//! What is wrong with manifests, in the log: each problem once, when it appears.

use super::Daemon;
use crate::source::Merged;
use crate::{error, warning};

impl Daemon {
    /// Each problem is told once, when it appears.
    pub(super) fn announce_problems(&self, merged: &Merged) {
        for refused in &merged.refused {
            if !self.merged.refused.contains(refused) {
                for problem in refused.problems.iter() {
                    announce(problem);
                }
            }
        }
        for held in merged.sets.values() {
            let former = self.merged.sets.get(&held.set.key);
            let is_told = former.is_some_and(|f| f.kept_for == held.kept_for);
            for problem in held.kept_for.iter().filter(|_| !is_told).flat_map(|p| p.iter()) {
                announce(problem);
            }
            for text in held.warnings.iter() {
                if former.is_none_or(|f| !f.warnings.contains(text)) {
                    announce(text);
                }
            }
        }
        for (key, good) in &merged.good {
            let former = self.merged.good.get(key);
            if let Some(problems) = &good.kept_for
                && former.and_then(|f| f.kept_for.as_ref()) != Some(problems)
            {
                for problem in problems.iter() {
                    announce(problem);
                }
                error!("{key}: the manifest is refused; the last good version goes on");
            }
            for text in good.warnings.iter() {
                if former.is_none_or(|f| !f.warnings.contains(text)) {
                    announce(text);
                }
            }
        }
    }
}

/// Tells of a problem without its source line, which may hold a secret: the log is read by more people than the status is.
/// How grave the problem is, the log says in its own way.
fn announce(problem: &str) {
    let line = problem.lines().next().unwrap_or_default();
    let place_of = |word: &str| line.find(word).unwrap_or(usize::MAX);
    if place_of(": warning: ") < place_of(": error: ") {
        warning!("{}", line.replacen(": warning: ", ": ", 1));
    } else {
        error!("{}", line.replacen(": error: ", ": ", 1));
    }
}
