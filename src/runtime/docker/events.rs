//! `docker events`: which of them are asked for, and what one line of them tells.

use serde::Deserialize;
use serde_json::Value;

use super::{Docker, Flavour, ID_LABEL, RUN_DIR_LABEL};
use crate::command::CommandLine;

/// What has happened to containers and images, as far as anybody here wants to know. A probe that runs a command in its
/// container each second must not wake anybody.
const DOCKER: [&str; 9] = ["die", "destroy", "load", "pull", "tag", "untag", "import", "delete", "prune"];
const PODMAN: [&str; 8] = ["died", "remove", "pull", "tag", "untag", "loadfromarchive", "import", "prune"];

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A container has ended, or was removed.
    Container {
        /// Which instance's it was.
        run_dir: String,
        /// The run's name for us.
        id: String,
    },
    /// Images have come or gone.
    Images,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "Type")]
    kind: String,
    /// docker's.
    #[serde(rename = "Actor")]
    actor: Option<Actor>,
    /// podman's.
    #[serde(rename = "Attributes")]
    attributes: Option<Value>,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "Attributes")]
    attributes: Option<Value>,
}

impl Docker {
    /// Tells what happens, one line of JSON each, for as long as docker's daemon lives; see [`parse`].
    pub fn events(&self) -> CommandLine {
        let wanted: &[&str] = match self.flavour {
            Flavour::Docker | Flavour::Nerdctl => &DOCKER,
            Flavour::Podman => &PODMAN,
        };
        let line = self.command().args(["events", "--filter", "type=container", "--filter", "type=image"]);
        let line = wanted.iter().fold(line, |line, event| line.arg("--filter").arg(format!("event={event}")));
        line.args(["--format", "{{json .}}"]).tied()
    }
}

/// What a line tells; `None` where it is no event.
pub fn parse(line: &str) -> Option<Happening> {
    let line: Line = serde_json::from_str(line).ok()?;
    if line.kind != "container" {
        return Some(Happening::Images);
    }
    let attributes = line.actor.and_then(|a| a.attributes).or(line.attributes)?;
    let label = |name: &str| attributes.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Happening::Container { run_dir: label(RUN_DIR_LABEL), id: label(ID_LABEL) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_docker_and_podman() {
        let docker = r#"{"status":"die","id":"57c5","from":"bb:1","Type":"container","Action":"die","Actor":{"ID":"57c5","Attributes":{"exitCode":"0","image":"bb:1","io.podstrap.id":"qq","io.podstrap.run-dir":"/r","name":"x"}},"scope":"local","time":1795307978}"#;
        let podman = r#"{"ID":"4924","Image":"localhost/bb:1","Name":"x","Status":"died","Time":"2026-11-22T00:39:38.25Z","Type":"container","Attributes":{"io.podstrap.id":"qq","io.podstrap.run-dir":"/r"}}"#;
        for line in [docker, podman] {
            assert_eq!(parse(line), Some(Happening::Container { run_dir: "/r".into(), id: "qq".into() }));
        }
        let image = r#"{"Name":"bb:1","Status":"pull","Time":"2026-11-22T00:39:38Z","Type":"image","Attributes":null}"#;
        assert_eq!(parse(image), Some(Happening::Images));
        let of_others = r#"{"Type":"container","Action":"die","Actor":{"ID":"5","Attributes":{"name":"x"}}}"#;
        assert_eq!(
            parse(of_others),
            Some(Happening::Container { run_dir: String::new(), id: String::new() })
        );
        assert_eq!(parse("Cannot connect to the Docker daemon"), None);
    }
}
