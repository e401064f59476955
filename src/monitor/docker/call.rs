//! What is asked of docker about one container, by whoever holds no more than its name: the answers are sorted into what is
//! known, what is no more, and what went wrong.

use std::io;

use crate::command::CommandLine;
use crate::monitor::child::{self, ChildError};
use crate::runtime::docker::{self, Docker, Inspected};

/// What is known of a container; `None` when there is none.
///
/// # Errors
///
/// docker could not be asked, or what it said is not understood.
pub fn inspect(docker: &Docker, container: &str) -> Result<Option<Inspected>, ChildError> {
    inspected(&docker.inspect(container))
}

/// The same, where nobody can wait for the answer longer than this, in milliseconds.
///
/// # Errors
///
/// As those of [`inspect`].
pub fn inspect_within(docker: &Docker, container: &str, ms: u64) -> Result<Option<Inspected>, ChildError> {
    inspected(&docker.inspect(container).deadline(ms))
}

fn inspected(line: &CommandLine) -> Result<Option<Inspected>, ChildError> {
    match child::run(line) {
        Ok(text) => match docker::parse_inspect(&text) {
            Some(found) => Ok(Some(found)),
            None => Err(ChildError::Spawn(io::Error::other("docker inspect: its answer is not understood"))),
        },
        Err(ChildError::Ended(_, text)) if docker::is_missing(&text) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes a container, alive or not. That there is none is well.
///
/// # Errors
///
/// docker could not be asked, or did not do it.
pub fn remove(docker: &Docker, container: &str) -> Result<(), ChildError> {
    removed(&docker.remove([container]), &docker.inspect(container))
}

/// The same, where nobody can wait for it longer than this, in milliseconds.
///
/// # Errors
///
/// As those of [`remove`].
pub fn remove_within(docker: &Docker, container: &str, ms: u64) -> Result<(), ChildError> {
    removed(&docker.remove([container]).deadline(ms), &docker.inspect(container).deadline(ms))
}

fn removed(line: &CommandLine, asking: &CommandLine) -> Result<(), ChildError> {
    match child::run(line) {
        Ok(_) => Ok(()),
        Err(ChildError::Ended(_, text)) if docker::is_missing(&text) => Ok(()),
        // Another is at it; whether it is gone will be seen.
        Err(ChildError::Ended(status, text)) if text.contains("is already in progress") => {
            match inspected(asking) {
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(_) => Err(ChildError::Ended(status, text)),
            }
        }
        Err(e) => Err(e),
    }
}

/// What is wrong with one of docker's verbs, for people: its own complaint where it made one.
pub fn failure(verb: &str, error: &ChildError) -> String {
    match error {
        ChildError::Ended(status, text) => format!("docker {verb}: {} ({status})", docker::complaint(text)),
        ChildError::Spawn(_) | ChildError::Deadline(_) | ChildError::TooLong => {
            format!("docker {verb} {error}")
        }
    }
}
