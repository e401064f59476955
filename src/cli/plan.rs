//! `podstrap plan [FILE|DIR…]`: what a `run` on these manifests would do now, against what runs.
//!
//! This file gathers and prints; `decide` decides. Manifests are read by the code of the daemon's own sources, so that what is
//! held back there is held back here. Nothing is changed, and no daemon is needed: what lives is told by the run directory.

mod decide;
pub mod differences;
mod sets;
mod urls;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use self::decide::{Facts, Living, RefusedDocument, Step, Wanted, decide, verdict};
use self::urls::Ask;
use super::args::{MANIFEST_DIR, PlanArgs};
use super::error::{Error, Exit};
use super::published::Published;
use super::settings;
use super::status::encode;
use super::values::{Format, Size};
use super::view::{View, label};
use super::{image_docker, say};
use crate::config::MissingDir;
use crate::daemon;
use crate::helper::text::{escape, first_line};
use crate::image::known::{Has, Known};
use crate::image::store::{Index, Store};
use crate::manifest::{self, Context, Limits, Runtime};
use crate::monitor::record;
use crate::paths::Roots;
use crate::pod::node::NodeFacts;
use crate::pod::objects::References;
use crate::pod::reference::Reference;
use crate::pod::{Generation, NodeName, Origin, Pod, PodKey, Volume};
use crate::report::ManifestState;
use crate::report::worked::Worked;
use crate::source::dir::{DirSource, Rules};
use crate::source::{self, Merged, Source};
use crate::sys::process;

/// So many characters of a problem are told.
const MOST_OF_PROBLEM: usize = 300;

/// Prints the plan. 0: nothing to do, 1: changes, 2: it cannot be told, 3: something is refused or cannot be read.
pub fn run(args: &PlanArgs) -> Result<Exit, Error> {
    let published = Published::read(&args.run_dir)?;
    let (facts, notes) = gather(args, &published, Ask::Now)?;
    let steps = decide(&facts);
    let out = match args.output {
        Format::Json | Format::Yaml => {
            let all = Document { steps: &steps, notes: &notes };
            encode(&serde_json::to_value(all).map_err(|e| Error::Encode(e.to_string()))?, args.output)?
        }
        Format::Table | Format::Wide => text(&steps, args.output == Format::Wide),
    };
    io::stdout().write_all(out.as_bytes()).map_err(Error::Output)?;
    for note in &notes {
        say(&format_args!("plan: {note}"));
    }
    if !published.is_current() {
        say(&"plan: the daemon is not running; this is what `podstrap run` would do");
    }
    Ok(match verdict(&steps) {
        (true, _) => Exit::Invalid,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Done,
    })
}

#[derive(Serialize)]
struct Document<'a> {
    steps: &'a [Step],
    /// What the plan does not know for certain.
    notes: &'a [String],
}

fn text(steps: &[Step], wide: bool) -> String {
    let mut out = String::new();
    let mut unchanged = 0;
    for step in steps {
        if step.action == decide::Action::Unchanged && !wide {
            unchanged += 1;
            continue;
        }
        let origin = step.origin.as_ref().map(|o| escape(&o.to_string()));
        let name = match (&step.namespace, &step.name) {
            (Some(namespace), Some(name)) => format!("{}/{}", escape(namespace), escape(name)),
            (_, _) => origin.clone().unwrap_or_default(),
        };
        out.push_str(&format!("{:9} {name}", step.action.as_str()));
        if let Some(reason) = &step.reason {
            out.push_str(&format!(": {}", escape(reason)));
        }
        if let (true, Some(origin), Some(_)) = (wide, origin, &step.name) {
            out.push_str(&format!(" ({origin})"));
        }
        out.push('\n');
        for change in &step.changes {
            out.push_str(&format!("            {change}\n"));
        }
    }
    match unchanged {
        0 if steps.is_empty() => out.push_str("nothing runs, and nothing is to run\n"),
        0 => {}
        n => out.push_str(&format!("{n} unchanged\n")),
    }
    out
}

/// What manifests are read by: as the daemon does it.
fn rules_of(published: &Published, node: Option<&str>, max_bytes: Option<Size>) -> Result<Rules, Error> {
    let daemon = published.daemon.as_ref();
    let reading = daemon.map(|d| d.reading.clone()).unwrap_or_default();
    let max_bytes = max_bytes.map_or(reading.max_bytes, |size| size.0);
    Ok(Rules {
        node: match (node, daemon) {
            (None, Some(daemon)) => NodeName::new(daemon.node_name.as_str()),
            (given, _) => settings::node_name(given)?,
        },
        limits: Limits { max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX), ..Limits::default() },
        runtime: match daemon.map(|d| d.runtime.as_str()) {
            Some("docker") => Runtime::Docker,
            Some(_) | None => Runtime::Runc,
        },
        rescan_ms: 0,
        on_missing: if reading.keep_missing { MissingDir::Keep } else { MissingDir::Remove },
        allow_foreign: reading.allow_foreign,
        keep_dir: published.roots().manifests(),
    })
}

/// All sources of the daemon, read now; URLs count with what they said last.
pub(super) fn read_sources(published: &Published) -> Result<Vec<Source>, Error> {
    let (mut sources, _) = sources_of(published, &rules_of(published, None, None)?, Ask::Never);
    source::read_once(&mut sources);
    Ok(sources)
}

fn gather(args: &PlanArgs, published: &Published, ask: Ask) -> Result<(Facts, Vec<String>), Error> {
    let rules = rules_of(published, args.node_name.as_deref(), args.max_manifest_bytes)?;
    let roots = published.roots();
    // Files that are named are planned against what URLs have said: that is for what they depend on, no more.
    let ask = if args.paths.is_empty() { ask } else { Ask::Never };
    let (mut sources, notes) = sources_of(published, &rules, ask);
    source::read_once(&mut sources);
    let mut all = source::merge(&sources);
    let (mut asked, unread) = match args.paths.as_slice() {
        [] => (all.clone(), unread(&sources)),
        paths => (named(paths, &rules)?, None),
    };
    let living = living(published, rules.runtime);
    let facts = published.daemon.as_ref().and_then(|d| d.node.clone());
    let known = sets::Known {
        rules: &rules,
        roots: &roots,
        facts: facts.unwrap_or_else(|| NodeFacts::new(rules.node.clone(), BTreeMap::new(), Vec::new())),
        records: daemon::set_records(&roots),
        living: &living,
    };
    known.expand(&mut all);
    known.expand(&mut asked);
    let images = Images::look(published, &roots);
    let wanted = asked
        .good
        .values()
        .map(|good| {
            let mut waits = images.missing(&good.pod);
            waits.extend(missing_objects(&good.pod, &[&asked, &all]));
            Wanted {
                key: good.pod.key.clone(),
                generation: good.pod.generation.clone(),
                document: serde_json::from_str(&good.canonical).unwrap_or_default(),
                origin: good.pod.origin.clone(),
                kept_for: good.kept_for.as_ref().map(|problems| headline(problems)),
                waits,
                depends_on: good.pod.depends_on.clone(),
                host_ports: good.pod.host_ports().collect(),
            }
        })
        .collect();
    let refused = asked.refused.iter().map(|r| RefusedDocument {
        key: r.key.clone(),
        origin: r.origin.clone(),
        problem: headline(&r.problems),
    });
    let is_held = |e: &&crate::report::PodStatusFile| e.manifest == ManifestState::Held;
    let held = published.entries.iter().filter(|_| published.is_current()).filter(is_held).filter_map(|e| {
        let key = PodKey { namespace: e.namespace.clone()?, name: e.name.clone()? };
        Some((key, e.generation.clone()?))
    });
    let facts = Facts {
        wanted,
        refused: refused.collect(),
        living,
        whole: args.paths.is_empty(),
        unread,
        others: all.good.keys().cloned().collect(),
        held: held.collect(),
    };
    Ok((facts, notes))
}

/// The sources of the daemon that runs, or of the last one; else the directory that it would read. And what is to be told of
/// them.
fn sources_of(published: &Published, rules: &Rules, ask: Ask) -> (Vec<Source>, Vec<String>) {
    let of_daemon = published.daemon.iter().flat_map(|d| &d.sources).map(|s| s.path.clone());
    let mut paths: Vec<String> = of_daemon.collect();
    if paths.is_empty() {
        paths.push(MANIFEST_DIR.to_owned());
    }
    let (mut specs, mut notes) = (urls::specs(published), Vec::new());
    let of = |path: String| match is_url(&path) {
        true => {
            let spec = urls::take(&mut specs, &path);
            let (source, note) = urls::source(path, spec, ask, published, rules);
            notes.extend(note);
            Source::Url(Box::new(source))
        }
        false => Source::Dir(Box::new(DirSource::new(path.into(), Rc::new(rules.clone())))),
    };
    let sources = paths.into_iter().map(of).collect();
    (sources, notes)
}

/// Whether a source is a URL, by its name.
pub(super) fn is_url(shown: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| shown.starts_with(scheme))
}

/// Why it cannot be told what is wanted, where that is so: nothing is stopped then.
pub(super) fn unread(sources: &[Source]) -> Option<String> {
    sources.iter().find_map(|s| match (s.standing().error(), s.standing().is_synced(), s) {
        // A directory that is absent says, in the end, that there is nothing.
        (_, true, _) => None,
        (Some(error), ..) => Some(format!("{}: {error}", s.standing().shown())),
        (None, false, Source::Url(_)) => {
            Some(format!("{}: what it said last is not known here", s.standing().shown()))
        }
        (None, false, Source::Dir(_)) => {
            Some(format!("{}: a file in it is being written", s.standing().shown()))
        }
    })
}

/// What the files say that were named.
fn named(paths: &[PathBuf], rules: &Rules) -> Result<Merged, Error> {
    // What a file said before, and whose it is before it is put into its place, is nobody's concern.
    let keep_dir = PathBuf::from("/dev/null");
    let rules = Rc::new(Rules { keep_dir, allow_foreign: true, ..rules.clone() });
    let mut sources = Vec::new();
    let mut text = None;
    for path in paths {
        if path.as_os_str() == "-" {
            let most = u64::try_from(rules.limits.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
            let mut bytes = Vec::new();
            let read = io::stdin().lock().take(most).read_to_end(&mut bytes);
            read.map_err(Error::file("read", "standard input"))?;
            text = Some(bytes);
        } else {
            fs::metadata(path).map_err(Error::file("read", path))?;
            let path = std::path::absolute(path).map_err(Error::file("read", path))?;
            sources.push(Source::Dir(Box::new(DirSource::new(path, rules.clone()))));
        }
    }
    source::read_once(&mut sources);
    if let Some(why) = unread(&sources) {
        return Err(Error::Encode(why));
    }
    let context =
        Context { node: &rules.node, path: "standard input", limits: rules.limits, runtime: rules.runtime };
    Ok(source::merge_with(&sources, text.as_deref().map(|text| (text, &context))))
}

/// RUN/pods/GENERATION/pod.json, as far as it is needed here.
struct Stored {
    node: String,
    origin: Origin,
    document: Value,
}

fn read_stored(roots: &Roots, generation: &Generation, boot_id: &str) -> Option<Stored> {
    let bytes = fs::read(roots.pod(generation).join("pod.json")).ok()?;
    let mut all: Value = serde_json::from_slice(&bytes).ok()?;
    if all["boot_id"] != boot_id {
        return None;
    }
    let origin = Origin {
        path: all["origin"]["path"].as_str()?.to_owned(),
        document: u32::try_from(all["origin"]["document"].as_u64()?).ok()?,
    };
    Some(Stored { node: all["node"].as_str()?.to_owned(), origin, document: all["document"].take() })
}

/// What lives, by the run directory; what has been published tells how it fares.
fn living(published: &Published, runtime: Runtime) -> Vec<Living> {
    let roots = published.roots();
    let boot_id = process::boot_id().unwrap_or_default();
    let mut found: Vec<Living> = Vec::new();
    for generation in record::generations(&roots) {
        let Some(stored) = read_stored(&roots, &generation, &boot_id) else { continue };
        let node = NodeName::new(stored.node.as_str());
        let context = Context { node: &node, path: &stored.origin.path, limits: Limits::default(), runtime };
        let Ok(pod) = manifest::from_canonical(&stored.document, &context) else { continue };
        let entry = published.entries.iter().find(|e| e.generation.as_ref() == Some(&generation));
        // Of two with one name, the one that is told of is the one that counts.
        match found.iter().position(|l| l.key == pod.key) {
            Some(_) if entry.is_none() => continue,
            Some(place) => drop(found.remove(place)),
            None => {}
        }
        let view = entry.map(View::of);
        found.push(Living {
            host_ports: pod.host_ports().collect(),
            key: pod.key,
            generation,
            document: Some(stored.document),
            origin: entry.map_or(stored.origin, |e| e.origin.clone()),
            ready: view.is_some_and(|v| v.ready || v.phase == "Succeeded"),
            leaving: entry.is_some_and(|e| e.deletion_timestamp.is_some()),
        });
    }
    found
}

/// Which images are at hand.
enum Images {
    Store(Index, PathBuf),
    Docker(BTreeMap<String, String>, PathBuf),
    /// docker has not answered.
    Unknown,
}

impl Images {
    fn look(published: &Published, roots: &Roots) -> Self {
        match published.daemon.as_ref().filter(|d| d.runtime == "docker") {
            None => Self::Store(Store::new(&roots.images()).index().unwrap_or_default(), roots.images()),
            Some(daemon) => Self::of_docker(&daemon.runtime_binary, roots).unwrap_or_else(|why| {
                say(&format_args!("plan: images are not looked at: {why}"));
                Self::Unknown
            }),
        }
    }

    fn of_docker(binary: &Path, roots: &Roots) -> Result<Self, String> {
        let docker = daemon::docker_cli(Some(binary))?;
        let listing = image_docker::listing(&docker).map_err(|e| e.to_string())?;
        let known = Known::read(&roots.docker()).map_err(|e| e.to_string())?;
        let has = Has { references: &listing.references, ids: &listing.ids };
        Ok(Self::Docker(known.index(has), docker.binary))
    }

    fn has(&self, image: &Reference) -> bool {
        match self {
            Self::Store(index, _) => index.id(image).is_some(),
            Self::Docker(index, _) => {
                index.contains_key(&image.full) || index.contains_key(&image.deciding())
            }
            Self::Unknown => true,
        }
    }

    /// One line for each image that a Pod would wait for.
    fn missing(&self, pod: &Pod) -> Vec<String> {
        let of_volumes = pod.volumes.values().filter_map(|v| match v {
            Volume::Image { reference, .. } => Some(reference),
            Volume::HostPath { .. } | Volume::EmptyDir { .. } | Volume::Projected { .. } => None,
        });
        let all = pod.all_containers().map(|c| &c.image).chain(of_volumes);
        let missing: BTreeSet<String> = all.filter(|i| !self.has(i)).map(ToString::to_string).collect();
        let place = match self {
            Self::Store(_, place) | Self::Docker(_, place) => place.display().to_string(),
            Self::Unknown => String::new(),
        };
        missing
            .into_iter()
            .map(|image| format!("image {image} is not in {place}: it must be loaded or pulled"))
            .collect()
    }
}

/// One line for each ConfigMap or Secret that a Pod would wait for.
fn missing_objects(pod: &Pod, merged: &[&Merged]) -> Vec<String> {
    let is_here = |reference: &crate::pod::ObjectRef| {
        let key = (pod.key.namespace.clone(), reference.clone());
        merged.iter().any(|m| m.objects.contains_key(&key))
    };
    let required = References::of(pod).required;
    let missing = required.iter().filter(|r| !is_here(r));
    missing
        .map(|r| format!("{} {}/{} is in no manifest", r.kind.as_str(), pod.key.namespace, r.name))
        .collect()
}

fn headline(problems: &[String]) -> String {
    let more = problems.len().saturating_sub(1);
    let first = first_line(problems.first().map_or("", String::as_str), MOST_OF_PROBLEM);
    if more == 0 { first } else { format!("{first} (and {more} more)") }
}

/// What the file of a Pod says differently from what runs, for `why`.
pub(super) fn pending_changes(
    published: &Published,
    entry: &crate::report::PodStatusFile,
) -> Vec<differences::Change> {
    let args = PlanArgs {
        paths: Vec::new(),
        node_name: None,
        max_manifest_bytes: None,
        output: Format::Table,
        run_dir: published.run.clone(),
    };
    let facts = gather(&args, published, Ask::Never);
    let steps = facts.map(|(facts, _)| decide(&facts)).unwrap_or_default();
    let full = label(entry);
    let is_it = |s: &Step| {
        s.namespace.as_ref().zip(s.name.as_ref()).is_some_and(|(ns, name)| format!("{ns}/{name}") == full)
    };
    steps.into_iter().find(is_it).map(|s| s.changes).unwrap_or_default()
}

/// Since when an earlier version of a Pod worked, and what the present one says differently; `None` where it is the present
/// one that worked last, or where that is not known.
pub(super) fn since_worked(
    roots: &Roots,
    entry: &crate::report::PodStatusFile,
) -> Option<(String, Vec<differences::Change>)> {
    let key = PodKey { namespace: entry.namespace.clone()?, name: entry.name.clone()? };
    let key = key.to_string();
    let bytes = fs::read(roots.worked(&key)).ok()?;
    let worked = serde_json::from_slice::<Worked>(&bytes).ok().filter(|worked| worked.key == key)?;
    let generation = entry.generation.as_ref().filter(|g| **g != worked.generation)?;
    let now = read_stored(roots, generation, &process::boot_id().unwrap_or_default())?;
    Some((worked.since, differences::between(&worked.document, &now.document)))
}
