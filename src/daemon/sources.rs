//! The sources: what they are made of, when they are looked at, and what they say together, which the core is told.

use std::rc::Rc;

use super::Daemon;
use crate::config::{ManifestUrl, RunConfig};
use crate::core::{Event, Refusal};
use crate::helper::fetch::MOST_BYTES;
use crate::manifest::{Limits, Runtime};
use crate::source::dir::{DirSource, Rules};
use crate::source::url::UrlSource;
use crate::source::{self, Refused, Source};
use crate::sys::clock;
use crate::sys::watch::Change;
use crate::warning;

pub(super) fn sources(config: &RunConfig, runtime: Runtime) -> Vec<Source> {
    let rules = Rc::new(Rules {
        node: config.node.clone(),
        limits: Limits {
            max_bytes: usize::try_from(config.max_manifest_bytes).unwrap_or(usize::MAX),
            ..Limits::default()
        },
        runtime,
        rescan_ms: config.rescan_ms,
        on_missing: config.missing_dir,
        allow_foreign: config.allow_foreign,
        keep_dir: config.roots.manifests(),
    });
    let dirs =
        config.manifest_dirs.iter().map(|d| Source::Dir(Box::new(DirSource::new(d.clone(), rules.clone()))));
    let most_bytes = usize::try_from(MOST_BYTES).unwrap_or(usize::MAX);
    let url = |u: &ManifestUrl| {
        let source =
            UrlSource::new(u.url.clone(), u.shown.clone(), config.asking.period_ms, most_bytes, &rules);
        Source::Url(Box::new(source))
    };
    dirs.chain(config.manifest_urls.iter().map(url)).collect()
}

impl Daemon {
    /// Looks at whatever is due in the sources and the image directory.
    pub(super) fn look_at_directories(&mut self, changes: &[Change]) {
        let now = clock::boot_ms();
        let mut changed = false;
        if self.sources.iter().filter_map(Source::deadline).any(|t| t <= now) {
            self.images_in_step(now);
        }
        for source in &mut self.sources {
            for change in changes {
                source.notice(change, now);
            }
            changed |= source.turn(now, &mut self.watcher);
            for line in source.standing_mut().take_news() {
                warning!("{line}");
            }
        }
        self.fetch_due(now);
        self.look_for_archives(changes, now);
        if changed {
            self.sources_say_otherwise();
        }
    }

    /// Takes in what all sources say together, after one of them has said something else.
    pub(super) fn sources_say_otherwise(&mut self) {
        let merged = source::merge(&self.sources);
        self.publisher.sources_changed();
        self.announce_problems(&merged);
        self.objects_changed(&merged);
        let refusal = |r: &Refused| Refusal { key: r.key.clone(), path: r.origin.path.clone() };
        self.events.push_back(Event::Refused(merged.refused.iter().map(refusal).collect()));
        self.sets.sources_changed(&merged);
        // Until it is said anew which Pods of sets are wanted, what was made for them counts.
        let former = std::mem::replace(&mut self.merged, merged);
        let of_sets = former.good.into_iter().filter(|(_, good)| good.pod.owner.is_some());
        for (key, good) in of_sets {
            self.merged.good.entry(key).or_insert(good);
        }
    }
}
