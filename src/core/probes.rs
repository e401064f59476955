//! What a container's probes have found so far, and when each is due (spec: Kubernetes' prober worker).
//!
//! The first try comes `initialDelaySeconds` after the container's start, then one each `periodSeconds`. Liveness and
//! readiness wait until the startup probe (if there is one) has succeeded. A verdict flips after a threshold of tries in a
//! row. A failed liveness or startup probe has spoken: it is not tried again in this run.

use serde::{Deserialize, Serialize};

use super::{ProbeKind, Time, Verdict};
use crate::pod::{Container, Probe};

/// A prober that fails is asked again at once this many times before the try is given up (as the kubelet does).
const ERRORS_RETRIED: u32 = 2;

/// One probe of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    rule: Probe,
    due: Time,
    in_flight: bool,
    successes: u32,
    failures: u32,
    errors: u32,
    verdict: Option<bool>,
    message: String,
}

impl ProbeState {
    fn new(rule: &Probe, due: Time) -> Self {
        Self {
            rule: rule.clone(),
            due,
            in_flight: false,
            successes: 0,
            failures: 0,
            errors: 0,
            verdict: None,
            message: String::new(),
        }
    }

    /// What stands after enough tries in a row; `None` before.
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// What the last try said.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn take(&mut self, verdict: Verdict, message: String, now: Time) {
        self.in_flight = false;
        self.message = message;
        let next = self.due.plus(u64::from(self.rule.period) * 1000).max(now);
        match verdict {
            Verdict::Success => {
                self.errors = 0;
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= self.rule.success_threshold {
                    self.verdict = Some(true);
                }
                self.due = next;
            }
            Verdict::Failure => {
                self.errors = 0;
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.rule.failure_threshold {
                    self.verdict = Some(false);
                }
                self.due = next;
            }
            Verdict::Unknown if self.errors < ERRORS_RETRIED => {
                self.errors += 1;
                self.due = now;
            }
            Verdict::Unknown => {
                self.errors = 0;
                self.due = next;
            }
        }
    }
}

/// How often each probe of a run has failed in a row: what a later daemon needs, or each of its predecessors' ends would give
/// a container that hangs the whole threshold anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    startup: u32,
    liveness: u32,
    readiness: u32,
}

impl Failures {
    /// Those of one probe.
    pub fn of(&self, kind: ProbeKind) -> u32 {
        match kind {
            ProbeKind::Startup => self.startup,
            ProbeKind::Liveness => self.liveness,
            ProbeKind::Readiness => self.readiness,
        }
    }
}

/// The probes of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    started: Time,
    startup: Option<ProbeState>,
    liveness: Option<ProbeState>,
    readiness: Option<ProbeState>,
}

impl Probes {
    /// The probes of a container that has just been started (or was found running, with the same rules).
    pub fn new(container: &Container, started: Time, now: Time) -> Self {
        let state = |rule: &Option<Probe>| {
            rule.as_ref()
                .map(|r| ProbeState::new(r, started.plus(u64::from(r.initial_delay) * 1000).max(now)))
        };
        Self {
            started,
            startup: state(&container.startup),
            liveness: state(&container.liveness),
            readiness: state(&container.readiness),
        }
    }

    /// Takes over what an earlier daemon had found, so that an adopted container does not flap: a probe that had
    /// succeeded goes on as succeeded.
    pub fn assume(&mut self, started: bool, ready: bool) {
        if started && let Some(p) = &mut self.startup {
            p.verdict = Some(true);
        }
        if ready && let Some(p) = &mut self.readiness {
            p.verdict = Some(true);
        }
    }

    /// How often each has failed in a row, up to its threshold: more than that says nothing more.
    pub fn failures(&self) -> Failures {
        let of = |kind| self.get(kind).map_or(0, |p| p.failures.min(p.rule.failure_threshold));
        Failures {
            startup: of(ProbeKind::Startup),
            liveness: of(ProbeKind::Liveness),
            readiness: of(ProbeKind::Readiness),
        }
    }

    /// Takes over the failures that an earlier daemon had counted. When it tried last is not known: one that had failed is
    /// tried a whole period from now, so that no threshold is reached sooner than it should be.
    pub fn assume_failures(&mut self, failures: Failures, now: Time) {
        for kind in ProbeKind::ALL {
            let count = failures.of(kind);
            let Some(probe) = self.get_mut(kind).filter(|_| count > 0) else { continue };
            probe.failures = count;
            probe.due = probe.due.max(now.plus(u64::from(probe.rule.period) * 1000));
            if count >= probe.rule.failure_threshold {
                probe.verdict = Some(false);
            }
        }
    }

    /// The state of one probe, if the container has it.
    pub fn get(&self, kind: ProbeKind) -> Option<&ProbeState> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    fn get_mut(&mut self, kind: ProbeKind) -> Option<&mut ProbeState> {
        match kind {
            ProbeKind::Startup => self.startup.as_mut(),
            ProbeKind::Liveness => self.liveness.as_mut(),
            ProbeKind::Readiness => self.readiness.as_mut(),
        }
    }

    /// No startup probe, or it has succeeded: `status.containerStatuses[].started`.
    pub fn started(&self) -> bool {
        self.startup.as_ref().is_none_or(|p| p.verdict == Some(true))
    }

    /// Started, and no readiness probe or one that stands at success.
    pub fn ready(&self) -> bool {
        self.started() && self.readiness.as_ref().is_none_or(|p| p.verdict == Some(true))
    }

    /// The startup or liveness probe that has failed, if one has.
    pub fn failed(&self) -> Option<ProbeKind> {
        [ProbeKind::Startup, ProbeKind::Liveness]
            .into_iter()
            .find(|k| self.get(*k).is_some_and(|p| p.verdict == Some(false)))
    }

    /// Takes in one try's result.
    pub fn take(&mut self, kind: ProbeKind, verdict: Verdict, message: String, now: Time) {
        let was_started = self.started();
        if let Some(probe) = self.get_mut(kind) {
            probe.take(verdict, message, now);
        }
        if !was_started && self.started() {
            let started = self.started;
            for probe in [&mut self.liveness, &mut self.readiness].into_iter().flatten() {
                probe.due = started.plus(u64::from(probe.rule.initial_delay) * 1000).max(now);
            }
        }
    }

    /// Whether a try of this probe makes sense now, whenever it is due. `stopping`: only readiness goes on.
    fn wanted(&self, kind: ProbeKind, stopping: bool) -> bool {
        let Some(probe) = self.get(kind) else { return false };
        if probe.in_flight {
            return false;
        }
        match kind {
            ProbeKind::Startup => !stopping && probe.verdict.is_none(),
            ProbeKind::Liveness => !stopping && self.started() && probe.verdict != Some(false),
            ProbeKind::Readiness => self.started(),
        }
    }

    /// Marks one probe as being tried if it is due.
    pub fn begin_due(&mut self, kind: ProbeKind, stopping: bool, now: Time) -> bool {
        if !self.wanted(kind, stopping) {
            return false;
        }
        match self.get_mut(kind) {
            Some(probe) if probe.due <= now => {
                probe.in_flight = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The next moment at which a probe is due.
    pub fn deadline(&self, stopping: bool) -> Option<Time> {
        ProbeKind::ALL
            .into_iter()
            .filter(|k| self.wanted(*k, stopping))
            .filter_map(|k| self.get(k).map(|p| p.due))
            .min()
    }
}
