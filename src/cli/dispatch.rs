//! The verbs whose work is done in other rooms: each is called from here and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::args::{DownArgs, ImageVerb, ValidateArgs};
use super::error::{Error, Exit};
use super::values::TextOrJson;
use super::{down, image, published, say, settings, validate};
use crate::config::{RunConfig, RuntimeChoice};
use crate::daemon::{self, Task};
use crate::image::store::Store;
use crate::manifest::{Limits, Runtime};
use crate::monitor::record::{self, MonitorSpec, Record};
use crate::paths::{AttemptDir, Roots};
use crate::pod::Volume;
use crate::sys::process;
use crate::{helper, monitor};

/// The programs of our own helper processes: they have no options, and are no verbs for people.
pub fn helper(name: &str) -> Option<fn() -> ExitCode> {
    match name {
        "probe" => Some(helper::probe::main),
        "hook" => Some(helper::hook::main),
        "monitor" => Some(|| monitor::run(attempt_dir())),
        "sweep" => Some(|| monitor::sweep(attempt_dir())),
        "remove" => Some(helper::remove::run),
        "project" => Some(helper::project::run),
        "keep" => Some(crate::source::keep::run),
        "load" => Some(load),
        "sandbox" => Some(sandbox),
        "pause" => Some(helper::sandbox::main_pause),
        _ => None,
    }
}

/// `sandbox up`, `sandbox down` and `sandbox check`.
fn sandbox() -> ExitCode {
    match std::env::args_os().nth(2) {
        Some(what) if what == "up" => helper::sandbox::main_up(),
        Some(what) if what == "down" => helper::sandbox::main_down(),
        Some(what) if what == "check" => helper::sandbox::main_check(),
        Some(_) | None => {
            say(&"sandbox: up, down or check is missing");
            Exit::Usage.into()
        }
    }
}

/// The directory that `monitor` and `sweep` are given.
fn attempt_dir() -> AttemptDir {
    AttemptDir(std::env::args_os().nth(2).unwrap_or_default().into())
}

/// Loads the new archives of an image directory: `load STATE DIRECTORY`.
fn load() -> ExitCode {
    let mut words = std::env::args_os().skip(2);
    let (state, directory) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let roots = Roots { state: state.into(), ..published::roots_of(Path::new("/")) };
    image::load_directory(Path::new(&directory), &roots, true).into()
}

/// `run`.
pub fn run(config: RunConfig) -> ExitCode {
    daemon::run(config, Task::Supervise)
}

/// `validate`.
pub fn validate(args: &ValidateArgs) -> ExitCode {
    let node = match settings::node_name(args.node_name.as_deref()) {
        Ok(node) => node,
        Err(error) => {
            say(&error);
            return Exit::Usage.into();
        }
    };
    let max_bytes = usize::try_from(args.max_manifest_bytes.0).unwrap_or(usize::MAX);
    let limits = Limits { max_bytes, ..Limits::default() };
    let runtime = match args.runtime {
        RuntimeChoice::Docker => Runtime::Docker,
        RuntimeChoice::Auto | RuntimeChoice::Runc => Runtime::Runc,
    };
    validate::run(&args.paths, &node, limits, runtime, args.output == TextOrJson::Json).into()
}

/// `image …`.
pub fn image(verb: &ImageVerb) -> ExitCode {
    match verb {
        ImageVerb::Load(a) => image::load(&a.files, &with_state(&a.run_dir, &a.state_dir), false),
        ImageVerb::Pull(a) => {
            image::pull(&a.images, &with_state(&a.run_dir, &a.state_dir), a.authfile.as_deref(), false)
        }
        ImageVerb::List(a) => {
            image::list(&with_state(&a.run_dir, &a.state_dir), a.output == TextOrJson::Json)
        }
        ImageVerb::Prune(a) => {
            let roots = with_state(&a.run_dir, &a.state_dir);
            image::prune(&roots, a.all, &images_in_use(&roots), a.dry_run)
        }
    }
    .into()
}

/// The roots of which a verb was told two.
fn with_state(run: &Path, state: &Path) -> Roots {
    Roots { state: state.to_owned(), ..published::roots_of(run) }
}

/// The images that runs have now, by their records, and those that Pods wait to run.
fn images_in_use(roots: &Roots) -> BTreeSet<String> {
    let boot_id = process::boot_id().unwrap_or_default();
    let index = Store::new(&roots.images()).index().unwrap_or_default();
    let mut used = BTreeSet::new();
    let all = record::generations(roots).into_iter().flat_map(|g| record::attempts(roots, &g));
    for dir in all.map(|a| a.dir) {
        if let Some(record) = Record::read(&dir, &boot_id) {
            used.extend(record.image_id);
        }
        if let Ok(spec) = fs::read(dir.spec())
            && let Ok(spec) = serde_json::from_slice::<MonitorSpec>(&spec)
        {
            let of_volumes = spec.pod.volumes.values().filter_map(|v| match v {
                Volume::Image { reference, .. } => Some(reference),
                Volume::HostPath { .. } | Volume::EmptyDir { .. } | Volume::Projected { .. } => None,
            });
            let wanted = spec.pod.all_containers().map(|c| &c.image).chain(of_volumes);
            used.extend(wanted.filter_map(|image| index.id(image).map(str::to_owned)));
        }
    }
    used
}

/// `down` when no daemon lives: this process does a daemon's work until the Pods are gone.
pub fn down_without_daemon(args: &DownArgs) -> ExitCode {
    match down::config_of(args) {
        Ok((config, _)) if record::generations(&config.roots).is_empty() => {
            let error = Error::NoDaemon { run: args.run_dir.clone() };
            say(&error);
            error.exit().into()
        }
        Ok((config, pods)) => daemon::run(config, Task::Down(pods)),
        Err(error) => {
            say(&error);
            error.exit().into()
        }
    }
}
