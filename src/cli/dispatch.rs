//! The verbs whose work is done in other rooms: each is called from here and nowhere else.

use std::process::ExitCode;

use super::args::{DownArgs, ImageVerb, ValidateArgs};
use super::error::{Error, Exit};
use super::say;
use crate::config::RunConfig;
use crate::helper;

/// The programs of our own helper processes: they have no options, and are no verbs for people.
pub fn helper(name: &str) -> Option<fn() -> ExitCode> {
    match name {
        "probe" => Some(helper::probe::main),
        _ => None,
    }
}

/// `run`.
pub fn run(config: RunConfig) -> ExitCode {
    let _ = config;
    absent("run")
}

/// `validate`.
pub fn validate(args: ValidateArgs) -> ExitCode {
    let _ = args;
    absent("validate")
}

/// `image …`.
pub fn image(verb: ImageVerb) -> ExitCode {
    let name = match verb {
        ImageVerb::Load(_) => "image load",
        ImageVerb::Pull(_) => "image pull",
        ImageVerb::List(_) => "image list",
        ImageVerb::Prune(_) => "image prune",
    };
    absent(name)
}

/// `down` when no daemon lives.
pub fn down_without_daemon(args: &DownArgs) -> ExitCode {
    let error = Error::NoDaemon { run: args.run_dir.clone() };
    say(&error);
    error.exit().into()
}

fn absent(verb: &str) -> ExitCode {
    say(&format_args!("{verb}: this build does not contain it"));
    Exit::Failed.into()
}
