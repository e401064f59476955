//! docker's images as the daemon knows them: by asking. A child lists them at boot, after each load and pull, when docker
//! tells of a change, and at each rescan; nothing waits for it. What was heard last counts for as long as docker is silent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Daemon;
use super::jobs::Purpose;
use crate::core::Event;
use crate::image::known::{Has, Known};
use crate::paths::Roots;
use crate::pod::{ContainerName, Pod};
use crate::runtime::docker::Docker;
use crate::runtime::docker::images::{LIST_BYTES, Listing};
use crate::sys::clock;
use crate::sys::spawn::ExitStatus;
use crate::{error, info, warning};

/// docker is asked when its images have been at rest for this long, in milliseconds: one load is several changes.
const SETTLES_MS: u64 = 100;
/// When docker has not answered it is asked again after this long, in milliseconds; twice as long each time up to the rescan.
const AGAIN_MS: u64 = 1_000;

/// What is known of docker's images.
#[derive(Debug)]
pub struct DockerSide {
    pub(super) docker: Docker,
    /// STATE/docker.
    root: PathBuf,
    /// What docker has said last.
    listed: Option<Listing>,
    /// A child is asking.
    asking: bool,
    /// What it brings is old already: docker has to be asked once more.
    again: bool,
    /// When to ask (boot clock, milliseconds).
    ask_at: Option<u64>,
    /// Archives were loaded, and their images have not been listed yet.
    unlisted: bool,
    /// The last answer was none: how long to wait until the next question, in milliseconds.
    silent: Option<u64>,
    /// Images that were pulled and have not been listed yet: full references.
    pulled: Vec<String>,
}

impl DockerSide {
    /// Nothing is known yet.
    pub fn new(docker: &Docker, roots: &Roots) -> Self {
        Self {
            docker: docker.clone(),
            root: roots.docker(),
            listed: None,
            asking: false,
            again: false,
            ask_at: None,
            unlisted: false,
            silent: None,
            pulled: Vec::new(),
        }
    }

    /// The next moment at which docker is to be asked.
    pub fn deadline(&self) -> Option<u64> {
        self.ask_at.filter(|_| !self.asking)
    }

    /// What docker has, and what is remembered beside it; `None` when docker has not answered: then nothing can be told.
    pub fn knows(&self) -> Option<(Known, Has<'_>)> {
        let listed = self.listed.as_ref().filter(|_| self.silent.is_none())?;
        match Known::read(&self.root) {
            Ok(known) => Some((known, Has { references: &listed.references, ids: &listed.ids })),
            Err(e) => {
                error!("{}: cannot be read: {e}", self.root.display());
                None
            }
        }
    }

    /// Whether images are there, or may be, that are not listed yet.
    pub fn is_behind(&self) -> bool {
        self.unlisted
    }

    /// Takes in that archives were loaded.
    pub fn loaded(&mut self) {
        self.unlisted = true;
    }
}

impl Daemon {
    /// The id of a container's image, where its reference has a digest: what an archive says of digests docker does not know.
    /// By any other name docker knows it too, and shows it.
    pub(super) fn image_for_docker(&self, pod: &Pod, container: &ContainerName) -> Option<String> {
        self.docker()?;
        let image = &pod.container(container)?.image;
        image.digest()?;
        let index = &self.images.told.as_ref()?.index;
        index.get(&image.full).or_else(|| index.get(&image.deciding())).cloned()
    }

    /// docker's images have changed, or may have: they are listed soon.
    pub(super) fn images_changed(&mut self) {
        if let Some(side) = &mut self.images.docker {
            let soon = clock::boot_ms().saturating_add(SETTLES_MS);
            side.ask_at = Some(side.ask_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Asks docker if that is due.
    pub(super) fn ask_docker_if_due(&mut self, now: u64) {
        if self.images.docker.as_ref().is_some_and(|side| side.deadline().is_some_and(|t| t <= now)) {
            self.ask_docker();
        }
    }

    /// Asks docker now; if that is under way, once more when it is done.
    pub(super) fn ask_docker(&mut self) {
        let Some(side) = &mut self.images.docker else { return };
        if side.asking {
            side.again = true;
            return;
        }
        (side.asking, side.again, side.ask_at) = (true, false, None);
        if let Err(e) = self.jobs.start_list(Purpose::Images, &side.docker.list_images(), LIST_BYTES) {
            self.docker_silent(&format!("cannot be started: {e}"));
        }
    }

    /// The child that asked has ended; `cut`: it has said more than was read.
    pub(super) fn images_listed(&mut self, status: ExitStatus, output: &str, cut: bool) {
        let listing = if cut {
            Err(format!("it has more images than {LIST_BYTES} bytes can tell"))
        } else if status.success() {
            Listing::parse(output).map_err(|e| e.to_string())
        } else if output.is_empty() {
            Err(format!("it gave no answer ({status})"))
        } else {
            Err(format!("{output} ({status})"))
        };
        match listing {
            Ok(listing) => self.docker_told(listing),
            Err(why) => self.docker_silent(&why),
        }
    }

    fn docker_silent(&mut self, why: &str) {
        let most = self.config.rescan_ms.max(AGAIN_MS);
        let Some(side) = &mut self.images.docker else { return };
        let pause = side.silent.map_or(AGAIN_MS, |pause| pause.saturating_mul(2).min(most));
        side.asking = false;
        side.silent = Some(pause);
        side.ask_at = Some(clock::boot_ms().saturating_add(pause));
        let name = side.docker.binary.display().to_string();
        if self.is_new("images".to_owned(), why) {
            warning!("{name} does not tell its images: {why}");
        }
    }

    fn docker_told(&mut self, listing: Listing) {
        let Some(side) = &mut self.images.docker else { return };
        side.asking = false;
        side.listed = Some(listing);
        if side.silent.take().is_some() {
            info!("{} tells its images", side.docker.binary.display());
            self.said.remove("images");
            // What could not be loaded was hardly at fault itself.
            self.images.retry_failed();
        }
        let Some(side) = &mut self.images.docker else { return };
        if std::mem::take(&mut side.again) {
            self.ask_docker();
        } else {
            side.unlisted = false;
        }
        self.load_archives();
        self.tell_images();
        self.tell_pulled();
    }

    /// A pull has ended well. Its image must be known before that is: otherwise it would be pulled again.
    pub(super) fn pulled_by_docker(&mut self, reference: String) {
        if let Some(side) = &mut self.images.docker {
            side.pulled.push(reference);
        }
        self.ask_docker();
    }

    fn tell_pulled(&mut self) {
        let Some(side) = &mut self.images.docker else { return };
        if side.again || side.asking {
            return;
        }
        let known = self.images.told.as_ref().map(|told| &told.index);
        for reference in std::mem::take(&mut side.pulled) {
            // Without an error it would be pulled again at once, and for ever.
            let error = (!known.is_some_and(|index| names(index, &reference)))
                .then(|| format!("{reference} was pulled, but is not among docker's images"));
            if let Some(error) = &error {
                error!("{error}");
            }
            self.events.push_back(Event::Pulled { reference, error });
        }
    }
}

/// Whether a full reference, or what decides in it, is in an index.
fn names(index: &BTreeMap<String, String>, full: &str) -> bool {
    index.contains_key(full)
        || crate::pod::reference::Reference::parse(full).is_ok_and(|r| index.contains_key(&r.deciding()))
}
