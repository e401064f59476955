//! Arguments → a verb; one file per verb.

pub mod args;
mod changes;
pub mod claim;
pub mod config_file;
pub mod cri;
mod dispatch;
pub mod down;
pub mod error;
pub mod exec;
pub mod handover;
pub mod image;
pub mod image_docker;
mod logfiles;
mod logread;
pub mod logs;
pub mod plan;
mod published;
pub mod restart;
pub mod settings;
pub mod status;
mod table;
pub mod validate;
pub mod values;
mod values_node;
mod values_url;
pub mod version;
mod view;
pub mod wait;
pub mod why;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use argh::FromArgs;

use self::args::{Top, Verb};
use self::error::{Error, Exit};
use crate::config::RunConfig;
use crate::sys;

/// The program.
pub fn main() -> ExitCode {
    if let Err(error) = sys::process::sanitize_descriptors() {
        say(&format_args!("open /dev/null: {error}"));
        return Exit::Failed.into();
    }
    sys::process::take_name();
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(program) = words.first().and_then(|w| w.to_str()).and_then(dispatch::helper) {
        return program();
    }
    // What follows `exec … --` is the command's, in whatever encoding.
    let mut command = None;
    if words.first().is_some_and(|verb| verb == "exec")
        && let Some(at) = words.iter().position(|w| w == "--")
    {
        command = Some(words.split_off(at).into_iter().skip(1).collect::<Vec<_>>());
    }
    match parse(&words) {
        Ok(verb) => carry_out(verb, command),
        Err(exit) => exit,
    }
}

/// The typed-in verb, or the exit code of a command line that asks for help or is wrong.
fn parse(words: &[OsString]) -> Result<Verb, ExitCode> {
    let mut text = Vec::new();
    for word in words {
        match word.to_str() {
            Some(word) => text.push(word.to_owned()),
            None => {
                say(&format_args!("{word:?} is not UTF-8"));
                return Err(Exit::Usage.into());
            }
        }
    }
    if text.first().is_some_and(|w| w == "--version" || w == "-V") {
        text = vec!["version".into()];
    }
    let text = args::split(&text);
    let words: Vec<&str> = text.iter().map(String::as_str).collect();
    if words.is_empty() {
        // Help that nobody has asked for is for people, and no success.
        if let Err(help) = Top::from_args(&["podstrap"], &["--help"]) {
            let _ = writeln!(io::stderr(), "{}", help.output.trim_end());
        }
        return Err(Exit::Usage.into());
    }
    match Top::from_args(&["podstrap"], &words) {
        Ok(Top { verb: Verb::Run(args) }) if args.config.is_some() => with_config(&text),
        Ok(top) => Ok(top.verb),
        Err(exit) if exit.status.is_ok() => {
            let _ = writeln!(io::stdout(), "{}", exit.output.trim_end());
            Err(Exit::Done.into())
        }
        Err(exit) => Err(usage(exit.output.trim_end())),
    }
}

/// `run` with what its file adds; the command line alone is right.
fn with_config(text: &[String]) -> Result<Verb, ExitCode> {
    let (text, lines) = config_file::with_file(text.to_vec()).map_err(|why| {
        say(&format_args!("--config {why}"));
        ExitCode::from(Exit::Usage)
    })?;
    for line in lines {
        say(&format_args!("--config {line}"));
    }
    let words: Vec<&str> = text.iter().map(String::as_str).collect();
    match Top::from_args(&["podstrap"], &words) {
        Ok(top) => Ok(top.verb),
        Err(exit) => {
            say(&format_args!("--config: {}", exit.output.trim_end()));
            Err(Exit::Usage.into())
        }
    }
}

fn usage(message: &str) -> ExitCode {
    say(&format_args!("{message}\n`podstrap --help` and `podstrap VERB --help` tell more"));
    Exit::Usage.into()
}

fn carry_out(verb: Verb, command: Option<Vec<OsString>>) -> ExitCode {
    match verb {
        Verb::Run(args) => match RunConfig::from_args(args) {
            Ok(config) => dispatch::run(config),
            Err(error) => finish(Err(error.into())),
        },
        Verb::Status(args) => finish(status::run(&args)),
        Verb::Wait(args) => finish(wait::run(&args)),
        Verb::Logs(args) => finish(logs::run(&args)),
        Verb::Exec(args) => match command.filter(|c| !c.is_empty()) {
            Some(command) => finish(Err(exec::run(&args, &command))),
            None => usage("exec: the command is missing: podstrap exec POD -- COMMAND"),
        },
        Verb::Validate(args) if args.paths.is_empty() => usage("validate: a FILE or directory is missing"),
        Verb::Validate(args) => dispatch::validate(&args),
        Verb::Plan(args) => match plan::run(&args) {
            // As with diff, 1 says that there are differences; what comes in between is 2.
            Err(error) if !error.is_silent() => {
                say(&format_args!("plan: {error}"));
                Exit::Usage.into()
            }
            result => finish(result),
        },
        Verb::Why(args) => finish(why::run(&args)),
        Verb::Restart(args) if args.pods.is_empty() => {
            usage("restart: a POD, daemonset/NAME or statefulset/NAME is missing")
        }
        Verb::Restart(args) => finish(restart::run(&args)),
        Verb::Claim(args) => match &args.verb {
            args::ClaimVerb::Rm(rm) if rm.claims.is_empty() => usage("claim rm: a CLAIM is missing"),
            args::ClaimVerb::Rm(_) | args::ClaimVerb::List(_) => finish(claim::run(&args)),
        },
        Verb::Handover(args) => dispatch::handover(&args),
        Verb::Down(args) => match down::run(&args) {
            Ok(down::Outcome::Done) => Exit::Done.into(),
            Ok(down::Outcome::TimedOut) => {
                say(&format_args!("down: not gone in time: {}", down::left(&args).join(", ")));
                Exit::TimedOut.into()
            }
            Ok(down::Outcome::NoDaemon) => dispatch::down_without_daemon(&args),
            Err(error) => finish(Err(error)),
        },
        Verb::Image(args) => match &args.verb {
            args::ImageVerb::Load(load) if load.files.is_empty() => usage("image load: a FILE is missing"),
            args::ImageVerb::Pull(pull) if pull.images.is_empty() => usage("image pull: an IMAGE is missing"),
            args::ImageVerb::Load(_)
            | args::ImageVerb::Pull(_)
            | args::ImageVerb::List(_)
            | args::ImageVerb::Prune(_) => dispatch::image(&args.verb),
        },
        Verb::Version(args) => finish(version::run(&args)),
    }
}

fn finish(result: Result<Exit, Error>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.is_silent() {
                say(&error);
            }
            error.exit().into()
        }
    }
}

/// One message on standard error, under the program's name.
pub(crate) fn say(message: &dyn Display) {
    let _ = writeln!(io::stderr(), "podstrap: {message}");
}
