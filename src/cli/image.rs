//! `podstrap image load|pull|list|prune`.
//!
//! Each verb returns its exit code: 0 done, 1 failed (at least one of several), 2 usage. What was done goes to standard
//! output, all else to standard error.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::table::{Cell, Colour, render};
use crate::image::discover;
use crate::image::load::{Loaded, Progress, Stage};
use crate::image::names::repository_and_tag;
use crate::image::prune::Pruned;
use crate::image::pull::{self, PullError};
use crate::image::store::{Listed, Store};
use crate::paths::Roots;
use crate::pod::reference::Reference;
use crate::sys::clock;

pub(super) const DONE: u8 = 0;
pub(super) const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Loads archives into the store of `roots`.
pub fn load(files: &[PathBuf], roots: &Roots, quiet: bool) -> u8 {
    if files.is_empty() {
        complain("image load: no archive given; usage: podstrap image load FILE...");
        return USAGE;
    }
    let store = Store::new(&roots.images());
    mend(&store);
    let each = files.iter().map(|file| {
        let mut meter = Meter::new(file.display().to_string(), quiet);
        let result = store.load(file, &mut |progress| meter.show(progress));
        meter.end();
        told(file, result)
    });
    // Every file is tried, whatever became of those before it.
    each.fold(DONE, u8::max)
}

/// Loads the archives of an image directory that are new there, and records what came of each in the index.
pub fn load_directory(directory: &Path, roots: &Roots, quiet: bool) -> u8 {
    let store = Store::new(&roots.images());
    mend(&store);
    let archives = store.index().and_then(|index| discover::archives(directory, &index));
    let archives = match archives {
        Ok(archives) => archives,
        Err(e) => {
            complain(&format!("image load: cannot look through {}: {e}", directory.display()));
            return FAILED;
        }
    };
    let each = archives.iter().map(|file| {
        let mut meter = Meter::new(file.display().to_string(), quiet);
        let result = store.load_and_record(file, &mut |progress| meter.show(progress));
        meter.end();
        told(file, result)
    });
    each.fold(DONE, u8::max)
}

/// A damaged index is set aside, and that is told; what else may be wrong with it is met again right afterwards.
fn mend(store: &Store) {
    if let Ok(Some(aside)) = store.mend() {
        complain(&format!(
            "image load: the image index was damaged: a new one is begun ({} is the old one)",
            aside.display()
        ));
    }
}

pub(super) fn told<E: fmt::Display>(file: &Path, result: Result<Vec<Loaded>, E>) -> u8 {
    match result {
        Ok(images) => {
            for image in &images {
                report(image);
            }
            DONE
        }
        Err(e) => {
            let (file, text) = (file.display().to_string(), e.to_string());
            // Some errors are about the archive as such and name it already.
            let about =
                if text.contains(&file) { String::new() } else { format!("{}: ", file.escape_debug()) };
            complain(&format!("image load: {about}{text}"));
            FAILED
        }
    }
}

/// Pulls images with skopeo; `authfile` holds registry credentials.
pub fn pull(references: &[String], roots: &Roots, authfile: Option<&Path>, quiet: bool) -> u8 {
    let wanted = match parsed(references) {
        Ok(wanted) => wanted,
        Err(code) => return code,
    };
    let store = Store::new(&roots.images());
    let options = pull::Options {
        authfile: authfile.map(Path::to_owned),
        show: !quiet && io::stderr().is_terminal(),
        env: pull::proxy_settings(),
        ..pull::Options::default()
    };
    let mut code = DONE;
    for reference in &wanted {
        let mut meter = Meter::new(reference.given.clone(), quiet);
        let result = pull::run(&store, reference, &options, &mut |progress| meter.show(progress));
        meter.end();
        match result {
            Ok(image) => report(&image),
            Err(e) => {
                complain(&format!("image pull: {e}"));
                code = FAILED;
                if matches!(e, PullError::Interrupted { .. }) {
                    break;
                }
            }
        }
    }
    code
}

/// The references of a command line, or the exit code after what is wrong with them was told.
pub(super) fn parsed(references: &[String]) -> Result<Vec<Reference>, u8> {
    if references.is_empty() {
        complain("image pull: no image given; usage: podstrap image pull IMAGE...");
        return Err(USAGE);
    }
    let parse = |text: &String| {
        Reference::parse(text).map_err(|error| {
            complain(&format!("image pull: '{}': {error}", text.escape_debug()));
            USAGE
        })
    };
    references.iter().map(parse).collect()
}

/// Lists the images, as a table or as JSON.
pub fn list(roots: &Roots, json: bool) -> u8 {
    let images = match Store::new(&roots.images()).list() {
        Ok(images) => images,
        Err(e) => {
            complain(&format!("image list: {e}"));
            return FAILED;
        }
    };
    print(&images, json)
}

/// Prints images as a table or as JSON.
pub(super) fn print(images: &[Listed], json: bool) -> u8 {
    if json {
        let items: Vec<Item> = images.iter().map(Item::of).collect();
        return match serde_json::to_string_pretty(&items) {
            Ok(text) => say(&text),
            Err(e) => {
                complain(&format!("image list: {e}"));
                FAILED
            }
        };
    }
    say(&table(images).join("\n"))
}

/// Removes images that nobody needs; `in_use` holds the ids of images of living Pods.
pub fn prune(roots: &Roots, all: bool, in_use: &BTreeSet<String>, dry_run: bool) -> u8 {
    let store = Store::new(&roots.images());
    let result = if dry_run { store.plan_prune(in_use, all) } else { store.prune(in_use, all) };
    match result {
        Ok(pruned) => say(&prune_text(&pruned, dry_run)),
        Err(e) => {
            complain(&format!("image prune: {e}"));
            FAILED
        }
    }
}

fn prune_text(pruned: &Pruned, dry_run: bool) -> String {
    let verb = if dry_run { "Would remove" } else { "Removed" };
    let mut lines: Vec<String> = pruned.references.iter().map(|name| format!("{verb} name {name}")).collect();
    lines.extend(pruned.images.iter().map(|id| format!("{verb} image {}", short(id))));
    lines.push(format!(
        "{verb} {}, {}, {}",
        counted(pruned.images.len(), "image"),
        counted(pruned.layers.len(), "layer"),
        size(pruned.size)
    ));
    lines.join("\n")
}

/// One image of `image list -o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    id: &'a str,
    references: &'a [String],
    layers: usize,
    size_bytes: u64,
    platform: &'a str,
    loaded_at: Option<String>,
}

impl<'a> Item<'a> {
    fn of(image: &'a Listed) -> Self {
        Self {
            id: &image.id,
            references: &image.references,
            layers: image.layers,
            size_bytes: image.size,
            platform: &image.platform,
            loaded_at: image.loaded_ms.map(time),
        }
    }
}

fn table(images: &[Listed]) -> Vec<String> {
    let headers = ["REPOSITORY", "TAG", "IMAGE ID", "LAYERS", "SIZE", "LOADED"];
    let mut rows: Vec<Vec<Cell>> = vec![headers.into_iter().map(Cell::from).collect()];
    for image in images {
        let nameless = [("<none>", "<none>")];
        let named: Vec<_> = image.references.iter().map(|name| repository_and_tag(name)).collect();
        for (repository, tag) in if named.is_empty() { nameless.to_vec() } else { named } {
            rows.push(vec![
                repository.into(),
                // A digest is as long as the rest of the line; its beginning tells it from others.
                if tag.starts_with("sha256:") { format!("@{}", short(tag)).into() } else { tag.into() },
                short(&image.id).into(),
                image.layers.to_string().into(),
                size(image.size).into(),
                image.loaded_ms.map_or_else(|| "unknown".to_owned(), time).into(),
            ]);
        }
    }
    render(&rows, Colour::Off)
}

pub(super) fn report(image: &Loaded) {
    let name = match &image.references[..] {
        [] => "<none>".to_owned(),
        names => names.iter().map(|name| name.full.as_str()).collect::<Vec<_>>().join(", "),
    };
    let _ = say(&format!(
        "Loaded image: {name} (sha256:{}, {}, {})",
        short(&image.id),
        counted(image.layers, "layer"),
        size(image.size)
    ));
    if !image.fits {
        complain(&format!(
            "warning: {name} is for {}; its programs may not run on this machine",
            image.platform
        ));
    }
}

/// The first twelve digits of an id.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Bytes for people: `23.1 MiB`.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{bytes} B")
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}

/// Standard output may be closed; that is a failure of its own.
fn say(text: &str) -> u8 {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => DONE,
        Err(_) => FAILED,
    }
}

pub(super) fn complain(text: &str) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(io::stderr(), "podstrap: {text}");
}

/// Shows how far a load is once it has lasted a second: one line that is written over on a terminal, elsewhere a single
/// line to say that it goes on.
pub(super) struct Meter {
    name: String,
    quiet: bool,
    terminal: bool,
    started_ms: u64,
    shown_ms: u64,
    on_line: bool,
}

impl Meter {
    pub(super) fn new(name: String, quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { name, quiet, terminal, started_ms: clock::boot_ms(), shown_ms: 0, on_line: false }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let now = clock::boot_ms();
        let due = now.saturating_sub(self.started_ms) >= 1000 && now.saturating_sub(self.shown_ms) >= 200;
        if self.quiet || !due || (!self.terminal && self.shown_ms > 0) {
            return;
        }
        self.shown_ms = now;
        let text = line(&self.name, progress);
        let mut stderr = io::stderr();
        let shown = if self.terminal {
            self.on_line = true;
            write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
        // A meter that cannot be seen stops nothing.
        drop(shown);
    }

    pub(super) fn end(&mut self) {
        if self.on_line {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(name: &str, progress: Progress) -> String {
    let doing = match progress.stage {
        Stage::Decompress => "decompressing",
        Stage::Unpack => "unpacking",
        Stage::Send => "handing over to docker",
    };
    let percent = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
    let (done, total) = (size(progress.done), size(progress.total));
    format!("{}: {doing}: {done} of {total} ({} %)", name.escape_debug(), percent.min(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(references: &[&str]) -> Listed {
        Listed {
            id: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            references: references.iter().map(|name| (*name).to_owned()).collect(),
            layers: 3,
            size: 24_222_105,
            platform: "linux/amd64".into(),
            loaded_ms: Some(1_700_000_000_123),
        }
    }

    #[test]
    fn a_list_shows_every_name_and_those_without() {
        let digest = format!("registry.example:5000/x@sha256:{}", "f".repeat(64));
        let images = [listed(&["docker.io/library/etcd:3.5", &digest]), listed(&[])];
        let expected = [
            "REPOSITORY                TAG             IMAGE ID       LAYERS   SIZE       LOADED",
            "docker.io/library/etcd    3.5             0123456789ab   3        23.1 MiB   2023-11-14T22:13:20Z",
            "registry.example:5000/x   @ffffffffffff   0123456789ab   3        23.1 MiB   2023-11-14T22:13:20Z",
            "<none>                    <none>          0123456789ab   3        23.1 MiB   2023-11-14T22:13:20Z",
        ];
        assert_eq!(table(&images), expected);
        let json = serde_json::to_value(Item::of(&images[1])).unwrap();
        assert_eq!(
            (&json["sizeBytes"], &json["loadedAt"]),
            (&24_222_105.into(), &"2023-11-14T22:13:20Z".into())
        );
        assert_eq!(json["references"], serde_json::json!([]));
    }

    #[test]
    fn sizes_and_progress_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (24_222_105, "23.1 MiB"),
            (u64::MAX, "17179869184.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        let progress = Progress { stage: Stage::Unpack, done: 512 << 20, total: 1 << 30 };
        assert_eq!(line("a.tar", progress), "a.tar: unpacking: 512.0 MiB of 1.0 GiB (50 %)");
        let nothing = Progress { stage: Stage::Decompress, done: 0, total: 0 };
        assert_eq!(line("a\n", nothing), "a\\n: decompressing: 0 B of 0 B (0 %)");
    }

    #[test]
    fn a_prune_says_what_went() {
        let pruned = Pruned {
            images: vec![listed(&[]).id],
            references: vec!["docker.io/library/a:latest".into()],
            layers: vec!["sha256:0".into(), "sha256:1".into()],
            size: 2048,
        };
        let expected = "Would remove name docker.io/library/a:latest\nWould remove image 0123456789ab\nWould remove 1 image, 2 layers, 2.0 KiB";
        assert_eq!(prune_text(&pruned, true), expected);
        assert_eq!(prune_text(&Pruned::default(), false), "Removed 0 images, 0 layers, 0 B");
    }

    #[test]
    fn exit_codes_tell_usage_from_failure() {
        let root = std::env::temp_dir().join(format!("podstrap-cli-image-{}", std::process::id()));
        let roots = Roots { run: root.join("run"), state: root.join("state"), log: root.join("log") };
        assert_eq!(load(&[], &roots, true), USAGE);
        assert_eq!(load(&[root.join("missing.tar")], &roots, true), FAILED);
        assert_eq!(pull(&[], &roots, None, true), USAGE);
        assert_eq!(pull(&["--privileged".into()], &roots, None, true), USAGE);
        assert_eq!(load_directory(&root.join("missing"), &roots, true), DONE);
        assert_eq!(prune(&roots, true, &BTreeSet::new(), false), DONE);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
