//! The verbs whose work is done in other rooms: each is called from here and nowhere else.

use std::process::ExitCode;

use super::args::{DownArgs, ImageVerb, ValidateArgs};
use super::down;
use super::error::Exit;
use super::say;
use crate::config::RunConfig;
use crate::daemon::{self, Task};
use crate::paths::AttemptDir;
use crate::{helper, monitor};

/// The programs of our own helper processes: they have no options, and are no verbs for people.
pub fn helper(name: &str) -> Option<fn() -> ExitCode> {
    match name {
        "probe" => Some(helper::probe::main),
        "monitor" => Some(|| monitor::run(attempt_dir())),
        "sweep" => Some(|| monitor::sweep(attempt_dir())),
        "remove" => Some(helper::remove::run),
        "keep" => Some(crate::source::keep::run),
        _ => None,
    }
}

/// The directory that `monitor` and `sweep` are given.
fn attempt_dir() -> AttemptDir {
    AttemptDir(std::env::args_os().nth(2).unwrap_or_default().into())
}

/// `run`.
pub fn run(config: RunConfig) -> ExitCode {
    daemon::run(config, Task::Supervise)
}

/// `validate`.
pub fn validate(args: ValidateArgs) -> ExitCode {
    let _ = args;
    absent("validate")
}

/// `image …`.
pub fn image(verb: ImageVerb) -> ExitCode {
    let name = match verb {
        ImageVerb::Load(args) => {
            let store = crate::image::store::Store::new(&args.state_dir.join("images"));
            for file in &args.files {
                if let Err(e) = store.load_and_record(file, &mut |_| {}) {
                    say(&e);
                    return Exit::Failed.into();
                }
            }
            return Exit::Done.into();
        }
        ImageVerb::Pull(_) => "image pull",
        ImageVerb::List(_) => "image list",
        ImageVerb::Prune(_) => "image prune",
    };
    absent(name)
}

/// `down` when no daemon lives: this process does a daemon's work until the Pods are gone.
pub fn down_without_daemon(args: &DownArgs) -> ExitCode {
    match down::config_of(args) {
        Ok((config, pods)) => daemon::run(config, Task::Down(pods)),
        Err(error) => {
            say(&error);
            error.exit().into()
        }
    }
}

fn absent(verb: &str) -> ExitCode {
    say(&format_args!("{verb}: this build does not contain it"));
    Exit::Failed.into()
}
