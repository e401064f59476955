//! The daemon's view of images: which there are, which archives wait to be loaded, and pulls. All work is done by children;
//! the daemon reads the store's index, or what docker has answered ([`super::docker_images`]), and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::Daemon;
use super::boot::find_program;
use super::docker_images::DockerSide;
use super::jobs::Purpose;
use crate::command::{CommandLine, SELF};
use crate::core::Event;
use crate::image;
use crate::image::archive::Stamp;
use crate::image::pull;
use crate::image::store::{Index, Store};
use crate::paths::Roots;
use crate::pod::reference::Reference;
use crate::runtime::engine::Engine;
use crate::sys::clock;
use crate::sys::spawn::ExitStatus;
use crate::sys::watch::{Change, WatchId};
use crate::{error, info, warning};

/// An archive that appears is looked at when it has been quiet for this long, in milliseconds.
const ARCHIVE_SETTLES_MS: u64 = 300;
/// Loading may take this long, in milliseconds.
const LOAD_MS: u64 = 3_600_000;
/// An archive that could not be loaded is tried again at least this often, in milliseconds.
const LOAD_AGAIN_MS: u64 = 300_000;
/// A pull may take this long, in milliseconds.
const PULL_MS: u64 = 1_800_000;

/// What the daemon knows of images.
#[derive(Debug)]
pub struct ImageDesk {
    store: Store,
    watches: Vec<(PathBuf, WatchId)>,
    /// When to look for archives and at the index (boot clock, milliseconds).
    look_at: Option<u64>,
    next_scan: u64,
    /// Archives that could not be loaded. Those that are at fault themselves are known to the index; for the others the
    /// host was, and they are tried again less and less often.
    failed: BTreeMap<PathBuf, Failed>,
    loading: BTreeMap<PathBuf, Stamp>,
    pub(super) told: Option<Told>,
    /// What is known of docker's images, where docker keeps them.
    pub(super) docker: Option<DockerSide>,
}

/// What the core was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Full reference → image id.
    pub index: BTreeMap<String, String>,
    loading: bool,
    can_pull: bool,
}

/// An archive that could not be loaded.
#[derive(Debug)]
struct Failed {
    /// As it was then; when it has changed it is tried at once.
    stamp: Stamp,
    /// How long it waits for the next try, in milliseconds.
    pause: u64,
    /// When that is (boot clock, milliseconds).
    again: u64,
}

impl ImageDesk {
    /// Nothing is known yet.
    pub fn new(roots: &Roots, engine: &Engine) -> Self {
        Self {
            store: Store::new(&roots.images()),
            watches: Vec::new(),
            look_at: Some(0),
            next_scan: 0,
            failed: BTreeMap::new(),
            loading: BTreeMap::new(),
            told: None,
            docker: engine.docker().map(|docker| DockerSide::new(docker, roots)),
        }
    }

    /// The next moment at which something is due here.
    pub fn deadline(&self) -> Option<u64> {
        let ask = self.docker.as_ref().and_then(DockerSide::deadline);
        self.look_at.into_iter().chain(ask).chain([self.next_scan]).min()
    }

    /// Tries what could not be loaded anew at the next occasion.
    pub(super) fn retry_failed(&mut self) {
        for failed in self.failed.values_mut() {
            failed.again = 0;
        }
    }
}

impl Daemon {
    /// Watches the image directory and the index, and starts loading what is there.
    pub(super) fn images_at_boot(&mut self) {
        self.watch_images();
        let now = clock::boot_ms();
        // Before docker has answered this tells that all may be about to come: nothing is missing, and nothing is pulled.
        self.look_for_archives(&[], now);
        self.ask_docker();
    }

    fn watch_images(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let of_store = self.images.docker.is_none().then(|| self.config.roots.images());
        for dir in [self.config.image_dir.clone()].into_iter().chain(of_store) {
            match watcher.add(&dir) {
                Ok(id) => self.images.watches.push((dir, id)),
                Err(e) => warning!("{}: cannot be watched: {e}", dir.display()),
            }
        }
    }

    /// Takes in directory events, and looks for archives and at the index when that is due.
    pub(super) fn look_for_archives(&mut self, changes: &[Change], now: u64) {
        let mine = |change: &Change| match change {
            Change::Name(id, name) => {
                let hidden = name.as_encoded_bytes().first() == Some(&b'.');
                !hidden && self.images.watches.iter().any(|(_, w)| w == id)
            }
            Change::Gone(id) => self.images.watches.iter().any(|(_, w)| w == id),
            Change::Overflow => true,
        };
        if changes.iter().any(mine) {
            self.images.look_at = Some(now + ARCHIVE_SETTLES_MS);
            if self.images.docker.is_some() {
                // It may be an archive: until that is known, what it may hold is not pulled.
                self.tell_images();
            }
        }
        self.ask_docker_if_due(now);
        if self.images.next_scan <= now {
            self.images_changed();
        }
        let due = self.images.look_at.is_some_and(|t| t <= now) || self.images.next_scan <= now;
        if due {
            self.images.look_at = None;
            self.images.next_scan = now + self.config.rescan_ms;
            self.load_archives();
            self.tell_images();
        }
    }

    /// Manifests are looked at now: then archives are, too, if that is about due. Who sleeps is woken once for both.
    pub(super) fn images_in_step(&mut self, now: u64) {
        if self.images.next_scan <= now.saturating_add(self.config.rescan_ms / 2) {
            self.images.next_scan = now;
        }
    }

    /// The archives that wait; `None` when that cannot be known now.
    fn waiting_archives(&self) -> Option<io::Result<Vec<PathBuf>>> {
        if let Some(side) = &self.images.docker {
            return side.knows().map(|(known, has)| known.waiting(&self.config.image_dir, has));
        }
        let index = match self.images.store.index() {
            Ok(index) => index,
            Err(e) => {
                error!("{}: the image index cannot be read: {e}", self.config.roots.images().display());
                // Who loads an archive sets a damaged index aside, and begins a new one.
                Index::default()
            }
        };
        Some(image::archives(&self.config.image_dir, &index))
    }

    pub(super) fn load_archives(&mut self) {
        if self.jobs.any(|p| *p == Purpose::Load) {
            return;
        }
        let waiting = match self.waiting_archives() {
            Some(Ok(list)) => list,
            Some(Err(e)) => return warning!("{}: cannot be read: {e}", self.config.image_dir.display()),
            None => return,
        };
        // One that has gone meanwhile needs no loading.
        let mut waiting: BTreeMap<PathBuf, Stamp> = waiting
            .into_iter()
            .filter_map(|path| fs::metadata(&path).ok().map(|m| (path, Stamp::of(&m))))
            .collect();
        let now = clock::boot_ms();
        waiting.retain(|path, stamp| {
            self.images.failed.get(path).is_none_or(|f| f.stamp != *stamp || f.again <= now)
        });
        if waiting.is_empty() {
            return;
        }
        let mut line = CommandLine::new(SELF)
            .arg("load")
            .arg(&self.config.roots.state)
            .arg(&self.config.image_dir)
            .deadline(LOAD_MS);
        if let Some(side) = &self.images.docker {
            match serde_json::to_vec(&side.docker) {
                Ok(docker) => line = line.arg("docker").stdin(docker),
                Err(e) => return error!("archives cannot be loaded: {e}"),
            }
        }
        let names: Vec<String> = waiting.keys().map(|p| p.display().to_string()).collect();
        info!("loading {}", names.join(", "));
        match self.jobs.start(Purpose::Load, &line, true) {
            Ok(_) => self.images.loading = waiting,
            Err(e) => error!("archives cannot be loaded: {e}"),
        }
    }

    pub(super) fn load_ended(&mut self, status: ExitStatus, output: &str) {
        for line in output.lines() {
            if status.success() { info!("{line}") } else { error!("{line}") }
        }
        let tried = std::mem::take(&mut self.images.loading);
        if status.success() {
            self.images.failed.retain(|path, _| !tried.contains_key(path));
        } else {
            error!(
                "an image archive could not be loaded ({status}); it is tried again when it changes, or later if it is not \
                 at fault itself"
            );
            let (now, least) = (clock::boot_ms(), self.config.rescan_ms.max(1_000));
            for (path, stamp) in tried {
                let former = self.images.failed.get(&path).filter(|f| f.stamp == stamp).map(|f| f.pause);
                let pause = former.map_or(least, |p| p.saturating_mul(2).min(LOAD_AGAIN_MS.max(least)));
                let again = now.saturating_add(pause);
                self.images.failed.insert(path, Failed { stamp, pause, again });
            }
        }
        if let Some(side) = &mut self.images.docker {
            side.loaded();
            // Its answer tells what there is, and what is still to be loaded.
            return self.ask_docker();
        }
        // More may have appeared meanwhile.
        self.load_archives();
        self.tell_images();
    }

    pub(super) fn tell_images(&mut self) {
        let loading = self.jobs.any(|p| *p == Purpose::Load);
        if let Some(side) = &self.images.docker {
            let loading = loading || side.is_behind() || self.images.look_at.is_some();
            let told = self.images.told.as_ref();
            let news = match side.knows() {
                Some((known, has)) => Told { index: known.index(has), loading, can_pull: true },
                // What it had it has, for all we know; and what was awaited is not called missing by its silence.
                None => Told {
                    index: told.map(|told| told.index.clone()).unwrap_or_default(),
                    loading: loading || told.is_none_or(|told| told.loading),
                    can_pull: true,
                },
            };
            return self.tell(news);
        }
        // An index that cannot be read just now says nothing; an error is told where archives are looked for.
        let index = match self.images.store.index() {
            Ok(index) => index.references,
            Err(_) => self.images.told.as_ref().map(|told| told.index.clone()).unwrap_or_default(),
        };
        self.tell(Told { index, loading, can_pull: find_program("skopeo").is_some() });
    }

    fn tell(&mut self, news: Told) {
        if self.images.told.as_ref() == Some(&news) {
            return;
        }
        let Told { index, loading, can_pull } = news.clone();
        self.events.push_back(Event::Images { index, loading, can_pull });
        self.images.told = Some(news);
    }

    pub(super) fn pull(&mut self, reference: &Reference) {
        let roots = &self.config.roots;
        let mut line = CommandLine::new(SELF).args(["image", "pull", "--run-dir"]).arg(&roots.run);
        line = line.arg("--state-dir").arg(&roots.state).args(["--runtime", self.engine.name()]);
        if let Some(docker) = self.engine.docker() {
            line = line.arg("--docker-binary").arg(&docker.binary);
        }
        // A child's environment is empty but for what it is given.
        line.env.extend(pull::proxy_settings());
        if let Some(authfile) = &self.config.authfile {
            line = line.arg("--authfile").arg(authfile);
        }
        let line = line.arg("--").arg(&reference.given).deadline(PULL_MS);
        info!("pulling {reference}");
        if let Err(e) = self.jobs.start(Purpose::Pull(reference.full.clone()), &line, true) {
            self.pull_ended(reference.full.clone(), ExitStatus::Code(1), format!("cannot be started: {e}"));
        }
    }

    pub(super) fn pull_ended(&mut self, reference: String, status: ExitStatus, output: String) {
        let error = if status.success() {
            info!("pulled {reference}");
            if self.images.docker.is_some() {
                return self.pulled_by_docker(reference);
            }
            None
        } else {
            let said = output.lines().last().unwrap_or_default();
            error!("{said}");
            Some(said.strip_prefix("podstrap: ").unwrap_or(said).to_owned())
        };
        // The image must be known before the pull's end is: otherwise it would be pulled again.
        self.tell_images();
        self.events.push_back(Event::Pulled { reference, error });
    }
}
