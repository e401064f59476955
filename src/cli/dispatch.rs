//! The verbs whose work is done in other rooms: each is called from here and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::args::{DownArgs, HandoverArgs, ImageVerb, ValidateArgs};
use super::error::{Error, Exit};
use super::published::Published;
use super::values::TextOrJson;
use super::{down, handover, image, image_docker, published, say, settings, validate};
use crate::config::{RunConfig, RuntimeChoice};
use crate::daemon::{self, Task};
use crate::image::store::Store;
use crate::manifest::{Limits, Runtime};
use crate::monitor::record::{self, MonitorSpec, Record};
use crate::paths::{AttemptDir, Roots};
use crate::pod::Volume;
use crate::runtime::docker::Docker;
use crate::sys::process;
use crate::{helper, monitor};

/// The programs of our own helper processes: they have no options, and are no verbs for people.
pub fn helper(name: &str) -> Option<fn() -> ExitCode> {
    match name {
        "probe" => Some(helper::probe::main),
        "hook" => Some(helper::hook::main),
        "monitor" => Some(|| monitor::run(attempt_dir(), &std::env::args_os().skip(4).collect::<Vec<_>>())),
        "sweep" => Some(|| monitor::sweep(attempt_dir())),
        "remove" => Some(helper::remove::run),
        "project" => Some(helper::project::run),
        "fetch" => Some(helper::fetch::run),
        "mirror" => Some(crate::mirror::run),
        "keep" => Some(crate::source::keep::run),
        "look" => Some(helper::look::run),
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

/// Loads the new archives of an image directory: `load STATE DIRECTORY`; with `docker` after that, into the docker that
/// standard input describes (as JSON).
fn load() -> ExitCode {
    let mut words = std::env::args_os().skip(2);
    let (state, directory) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let roots = Roots { state: state.into(), ..published::roots_of(Path::new("/")) };
    if words.next().is_none_or(|word| word != "docker") {
        return image::load_directory(Path::new(&directory), &roots, true).into();
    }
    let docker = io::read_to_string(io::stdin()).and_then(|text| Ok(serde_json::from_str(&text)?));
    match docker {
        Ok(docker) => image_docker::load_directory(Path::new(&directory), &docker, &roots, true).into(),
        Err(e) => {
            say(&format!("load: standard input does not tell which docker: {e}"));
            Exit::Usage.into()
        }
    }
}

/// `run`.
pub fn run(config: RunConfig) -> ExitCode {
    Exit::from(daemon::run(config, Task::Supervise)).into()
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
    match image_of(verb) {
        Ok(code) => code.into(),
        Err(error) => {
            say(&error);
            Exit::Failed.into()
        }
    }
}

fn image_of(verb: &ImageVerb) -> Result<u8, String> {
    Ok(match verb {
        ImageVerb::Load(a) => {
            let roots = with_state(&a.run_dir, &a.state_dir);
            match keeper(a.runtime, a.docker_binary.as_deref(), &roots)? {
                Some(docker) => image_docker::load(&a.files, &docker, &roots, false),
                None => image::load(&a.files, &roots, false),
            }
        }
        ImageVerb::Pull(a) => {
            let roots = with_state(&a.run_dir, &a.state_dir);
            let authfile = a.authfile.as_deref();
            match keeper(a.runtime, a.docker_binary.as_deref(), &roots)? {
                Some(docker) => image_docker::pull(&a.images, &docker, &roots, authfile, false),
                None => image::pull(&a.images, &roots, authfile, false),
            }
        }
        ImageVerb::List(a) => {
            let roots = with_state(&a.run_dir, &a.state_dir);
            let json = a.output == TextOrJson::Json;
            match keeper(a.runtime, a.docker_binary.as_deref(), &roots)? {
                Some(docker) => image_docker::list(&docker, json),
                None => image::list(&roots, json),
            }
        }
        ImageVerb::Prune(a) => {
            let roots = with_state(&a.run_dir, &a.state_dir);
            match keeper(a.runtime, a.docker_binary.as_deref(), &roots)? {
                Some(docker) => image_docker::prune(&docker, a.all),
                None => image::prune(&roots, a.all, &images_in_use(&roots), a.dry_run),
            }
        }
    })
}

/// The docker that keeps the images; `None`: they are in our own store. What is not asked for is what the daemon uses, or
/// has used last.
fn keeper(asked: RuntimeChoice, binary: Option<&Path>, roots: &Roots) -> Result<Option<Docker>, String> {
    // Whoever may not read the run directory cannot do much with the store either, and is told so there.
    let published =
        || Published::read(&roots.run).ok().and_then(|p| p.daemon).filter(|d| d.runtime == "docker");
    let of_daemon = match (asked, binary) {
        (RuntimeChoice::Runc, _) => return Ok(None),
        (RuntimeChoice::Auto | RuntimeChoice::Docker, Some(_)) => None,
        (RuntimeChoice::Auto, None) => match published() {
            None => return Ok(None),
            Some(daemon) => Some(daemon.runtime_binary),
        },
        (RuntimeChoice::Docker, None) => published().map(|daemon| daemon.runtime_binary),
    };
    // The verb may be called from any directory, docker is not.
    let binary = binary.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    daemon::docker_cli(binary.or(of_daemon).as_deref()).map(Some)
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

/// `handover`: `down`, if a kubelet would run what runs here.
pub fn handover(args: &HandoverArgs) -> ExitCode {
    let facts = match handover::look(args) {
        Ok(facts) => facts,
        Err(error) => {
            say(&error);
            return error.exit().into();
        }
    };
    let judgement = handover::judge(&facts);
    for line in &judgement.warnings {
        say(&format_args!("handover: note: {line}"));
    }
    for line in &judgement.refusals {
        say(&format_args!("handover: {line}"));
    }
    if !judgement.refusals.is_empty() && !args.force {
        say(&"handover: refused: nothing was stopped; mend these, or give --force");
        return Exit::Invalid.into();
    }
    let count = handover::count(&facts);
    if args.dry_run {
        tell(&format!(
            "{count} Pods would be stopped in order, and the daemon; {} is left as it is\n",
            handover::names(&facts)
        ));
        return Exit::Done.into();
    }
    let down_args = handover::down_args(args);
    let stopped = match down::run(&down_args) {
        Ok(down::Outcome::Done) => true,
        Ok(down::Outcome::TimedOut) => {
            say(&format_args!("handover: not gone in time: {}", down::left(&down_args).join(", ")));
            return Exit::TimedOut.into();
        }
        Ok(down::Outcome::NoDaemon) => {
            let code = down_without_daemon(&down_args);
            if code != ExitCode::SUCCESS {
                return code;
            }
            false
        }
        Err(error) => {
            say(&error);
            return error.exit().into();
        }
    };
    let daemon = if stopped { "the daemon has ended" } else { "no daemon was running" };
    tell(&format!(
        "All Pods are stopped, in order, and {daemon}; the manifests of {count} Pods are left as they are: {}\n{}",
        handover::names(&facts),
        handover::next(&facts, args)
    ));
    Exit::Done.into()
}

/// A message on standard output; that nobody reads it changes nothing of what was done.
fn tell(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// `down` when no daemon lives: this process does a daemon's work until the Pods are gone.
pub fn down_without_daemon(args: &DownArgs) -> ExitCode {
    match down::config_of(args) {
        Ok((config, _)) if record::generations(&config.roots).is_empty() => {
            let error = Error::NoDaemon { run: args.run_dir.clone() };
            say(&error);
            error.exit().into()
        }
        Ok((config, task)) => {
            let exit = Exit::from(daemon::run(config, task));
            if exit == Exit::TimedOut {
                say(&format_args!("down: not gone in time: {}", down::left(args).join(", ")));
            }
            exit.into()
        }
        Err(error) => {
            say(&error);
            error.exit().into()
        }
    }
}
