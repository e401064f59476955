//! Whether an image is at hand, on its way, or missing, and when a pull is tried again.
//!
//! Pulls are spaced as the kubelet spaces them: 10 s doubling to 5 min for each image. An archive that appears needs no
//! pull: the index is asked first.

use std::collections::BTreeMap;

use super::Time;
use super::backoff::doubled;
use crate::pod::reference::Reference;
use crate::pod::{Container, PullPolicy};

const PULL_INITIAL_MS: u64 = 10_000;
const PULL_MAX_MS: u64 = 300_000;

/// What is known of images.
#[derive(Clone, Debug, Default)]
pub struct Images {
    index: BTreeMap<String, String>,
    loading: bool,
    can_pull: bool,
    pulls: BTreeMap<String, Pull>,
}

/// The state of pulling one image.
#[derive(Clone, Debug, Default)]
struct Pull {
    reference: Option<Reference>,
    wanted: bool,
    in_flight: bool,
    failures: u32,
    retry_at: Option<Time>,
    error: Option<String>,
    /// How many pulls of it have succeeded: a container with policy Always starts on a pull newer than its request.
    succeeded: u64,
}

/// What stands between a container and its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The waiting reason as Kubernetes names it.
    pub reason: &'static str,
    /// What an operator should know.
    pub message: String,
}

/// For policy Always: which pull the next start needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket(Option<u64>);

impl Images {
    /// Takes in what the store knows.
    pub fn update(&mut self, index: BTreeMap<String, String>, loading: bool, can_pull: bool) {
        self.index = index;
        self.loading = loading;
        self.can_pull = can_pull;
    }

    /// Takes in the end of a pull.
    pub fn pulled(&mut self, reference: &str, error: Option<String>, now: Time) {
        let Some(pull) = self.pulls.get_mut(reference) else { return };
        pull.in_flight = false;
        match error {
            None => {
                pull.succeeded += 1;
                pull.failures = 0;
                pull.error = None;
                pull.retry_at = None;
            }
            Some(error) => {
                pull.retry_at =
                    Some(now.plus(doubled(PULL_INITIAL_MS, pull.failures.min(16)).min(PULL_MAX_MS)));
                pull.failures = pull.failures.saturating_add(1);
                pull.error = Some(error);
            }
        }
    }

    /// Whether a container may start; if not, asks for what is missing and says what that is.
    pub fn ready(&mut self, container: &Container, ticket: &mut Ticket) -> Result<Option<String>, Missing> {
        self.image_ready(&container.image, container.pull_policy, ticket)
    }

    /// The same for any image: one that is used as a volume too.
    pub fn image_ready(
        &mut self,
        image: &Reference,
        policy: PullPolicy,
        ticket: &mut Ticket,
    ) -> Result<Option<String>, Missing> {
        // A tag beside a digest says nothing, and docker does not keep it.
        let here = self.index.get(&image.full).or_else(|| self.index.get(&image.deciding())).cloned();
        match policy {
            PullPolicy::Never => match here {
                Some(id) => Ok(Some(id)),
                None if self.loading => Err(loading(image)),
                None => Err(Missing {
                    reason: "ErrImageNeverPull",
                    message: format!(
                        "image {image} is not here and its imagePullPolicy is Never: load it with `podstrap image load FILE`"
                    ),
                }),
            },
            PullPolicy::IfNotPresent => match here {
                Some(id) => Ok(Some(id)),
                None => self.pull_or_wait(image),
            },
            // Without a program that could pull, the image that was loaded by hand is the newest there can be.
            PullPolicy::Always if !self.can_pull => match here {
                Some(id) => Ok(Some(id)),
                None => self.pull_or_wait(image),
            },
            PullPolicy::Always => {
                if self.loading {
                    return Err(loading(image));
                }
                let succeeded = self.pulls.get(&image.full).map_or(0, |p| p.succeeded);
                let needed = *ticket.0.get_or_insert(succeeded + 1);
                match here {
                    Some(id) if succeeded >= needed => Ok(Some(id)),
                    _ => self.pull_or_wait(image),
                }
            }
        }
    }

    fn pull_or_wait(&mut self, image: &Reference) -> Result<Option<String>, Missing> {
        if self.loading {
            return Err(loading(image));
        }
        let pull = self.pulls.entry(image.full.clone()).or_default();
        pull.reference = Some(image.clone());
        pull.wanted = true;
        Err(match (&pull.error, pull.in_flight) {
            (_, true) | (None, false) => {
                Missing { reason: "ContainerCreating", message: format!("pulling image {image}") }
            }
            (Some(error), false) => Missing {
                reason: if pull.failures > 1 { "ImagePullBackOff" } else { "ErrImagePull" },
                message: error.clone(),
            },
        })
    }

    /// The pulls to begin now; marks them.
    pub fn begin_due(&mut self, now: Time) -> Vec<Reference> {
        let mut due = Vec::new();
        for pull in self.pulls.values_mut() {
            let wanted = std::mem::take(&mut pull.wanted);
            if wanted && !pull.in_flight && pull.retry_at.is_none_or(|t| t <= now) {
                pull.in_flight = true;
                due.extend(pull.reference.clone());
            }
        }
        due
    }

    /// When a failed pull that is still wanted may be tried again. `waiting`: the images that containers wait for.
    pub fn deadline(&self, image: &Reference) -> Option<Time> {
        self.pulls.get(&image.full).filter(|p| !p.in_flight).and_then(|p| p.retry_at)
    }
}

fn loading(image: &Reference) -> Missing {
    Missing {
        reason: "ContainerCreating",
        message: format!("image {image} is not here yet; archives are being loaded"),
    }
}

impl Ticket {
    /// The start has happened: the next one needs a new pull.
    pub fn used(&mut self) {
        self.0 = None;
    }
}
