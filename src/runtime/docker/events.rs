//! `docker events`: which of them are asked for, and what one line of them tells.

use serde::Deserialize;
use serde_json::Value;

use super::{Docker, Flavour, ID_LABEL, RUN_DIR_LABEL};
use crate::command::CommandLine;

/// What has happened to containers and images, as far as anybody here wants to know. A probe that runs a command in its
/// container each second must not wake anybody.
const DOCKER: [&str; 11] =
    ["die", "kill", "update", "destroy", "load", "pull", "tag", "untag", "import", "delete", "prune"];
const PODMAN: [&str; 8] = ["died", "remove", "pull", "tag", "untag", "loadfromarchive", "import", "prune"];

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Something has become of a container.
    Container {
        /// Which instance's it is.
        run_dir: String,
        /// The run's name for us.
        id: String,
        /// docker's id of the container: one that was made of an image of a container of ours has our labels, too.
        container: String,
        /// What.
        fate: Fate,
    },
    /// Images have come or gone.
    Images,
}

/// What has become of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Somebody sends it a signal, by docker, or changes what docker does with it: its next end may not be one of its own,
    /// and docker may start it anew by itself. Of a signal docker tells before it tells of the end.
    Meddled,
    /// It has ended, and docker has closed its log.
    Ended(Verdict),
    /// It has ended or was removed; nothing is told of how.
    Over,
}

/// How a container ended, as docker's events have it. Whether the kernel killed it for want of memory does not stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The exit code; 128 + signal for a signal.
    pub code: i32,
    /// When docker told so, some 20 ms after the end: Unix time, in milliseconds.
    pub unix_ms: i64,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "Type")]
    kind: String,
    /// docker's.
    #[serde(rename = "Action")]
    action: Option<String>,
    #[serde(rename = "timeNano")]
    nanoseconds: Option<i64>,
    #[serde(rename = "Actor")]
    actor: Option<Actor>,
    /// podman's.
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Attributes")]
    attributes: Option<Value>,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Attributes")]
    attributes: Option<Value>,
}

impl Docker {
    /// Tells what happens from `since` (Unix time, milliseconds) on, one line of JSON each, for as long as docker's daemon
    /// lives; see [`parse`].
    pub fn events(&self, since: i64) -> CommandLine {
        let wanted: &[&str] = match self.flavour {
            Flavour::Docker | Flavour::Nerdctl => &DOCKER,
            Flavour::Podman => &PODMAN,
        };
        let line = self.command().args(["events", "--filter", "type=container", "--filter", "type=image"]);
        let line = wanted.iter().fold(line, |line, event| line.arg("--filter").arg(format!("event={event}")));
        let line = match self.flavour {
            // What happens until it has got through to docker's daemon is not missed.
            Flavour::Docker => {
                line.arg("--since").arg(format!("{}.{:03}", since.div_euclid(1000), since.rem_euclid(1000)))
            }
            Flavour::Nerdctl | Flavour::Podman => line,
        };
        line.args(["--format", "{{json .}}"]).tied()
    }
}

/// What a line tells; `None` where it is no event.
pub fn parse(line: &str) -> Option<Happening> {
    let line: Line = serde_json::from_str(line).ok()?;
    if line.kind != "container" {
        return Some(Happening::Images);
    }
    let (container, attributes) = line.actor.map_or((line.id, line.attributes), |a| (a.id, a.attributes));
    let attributes = attributes?;
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    let fate = match line.action.as_deref() {
        Some("kill" | "update") => Fate::Meddled,
        Some("die") => {
            let code = text("exitCode").and_then(|code| code.parse().ok());
            let verdict =
                code.zip(line.nanoseconds).map(|(code, ns)| Verdict { code, unix_ms: ns / 1_000_000 });
            verdict.map_or(Fate::Over, Fate::Ended)
        }
        Some(_) | None => Fate::Over,
    };
    let label = |name: &str| text(name).unwrap_or_default().to_owned();
    Some(Happening::Container {
        run_dir: label(RUN_DIR_LABEL),
        id: label(ID_LABEL),
        container: container.unwrap_or_default(),
        fate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ours(container: &str, fate: Fate) -> Option<Happening> {
        Some(Happening::Container {
            run_dir: "/r".into(),
            id: "qq".into(),
            container: container.into(),
            fate,
        })
    }

    fn of_docker(action: &str, attributes: &str, rest: &str) -> Option<Happening> {
        parse(&format!(
            r#"{{"status":"{action}","id":"57c5","from":"bb:1","Type":"container","Action":"{action}","Actor":{{"ID":"57c5","Attributes":{{{attributes}"image":"bb:1","io.podstrap.id":"qq","io.podstrap.run-dir":"/r","name":"x"}}}},"scope":"local","time":1795307978{rest}}}"#
        ))
    }

    #[test]
    fn lines_of_docker_and_podman() {
        let at = r#","timeNano":1795307978123456789"#;
        let verdict = |code| Fate::Ended(Verdict { code, unix_ms: 1_795_307_978_123 });
        assert_eq!(of_docker("die", r#""exitCode":"3","#, at), of_ours("57c5", verdict(3)));
        assert_eq!(
            of_docker("die", r#""execDuration":"1","exitCode":"137","#, at),
            of_ours("57c5", verdict(137))
        );
        assert_eq!(of_docker("kill", r#""signal":"15","#, at), of_ours("57c5", Fate::Meddled));
        assert_eq!(of_docker("update", "", at), of_ours("57c5", Fate::Meddled));
        assert_eq!(of_docker("destroy", "", at), of_ours("57c5", Fate::Over));
        let podman = r#"{"ID":"4924","Image":"localhost/bb:1","Name":"x","Status":"died","Time":"2026-11-22T00:39:38.25Z","Type":"container","Attributes":{"io.podstrap.id":"qq","io.podstrap.run-dir":"/r"}}"#;
        assert_eq!(parse(podman), of_ours("4924", Fate::Over));
        let image = r#"{"Name":"bb:1","Status":"pull","Time":"2026-11-22T00:39:38Z","Type":"image","Attributes":null}"#;
        assert_eq!(parse(image), Some(Happening::Images));
        let of_others =
            r#"{"Type":"container","Action":"kill","Actor":{"ID":"5","Attributes":{"name":"x"}}}"#;
        let nobodys = Happening::Container {
            run_dir: String::new(),
            id: String::new(),
            container: "5".into(),
            fate: Fate::Meddled,
        };
        assert_eq!(parse(of_others), Some(nobodys));
        assert_eq!(parse("Cannot connect to the Docker daemon"), None);
    }

    /// Without them an end would be taken for one of the container's own.
    #[test]
    fn docker_is_asked_for_what_makes_an_end_doubtful() {
        let line = Docker::new("/usr/bin/docker".into()).events(1_795_307_978_023);
        for wanted in ["event=kill", "event=update", "event=destroy", "event=die", "1795307978.023"] {
            assert!(line.args.iter().any(|a| a == wanted), "{wanted}: {line:?}");
        }
    }

    /// An end of which too little is told is still one.
    #[test]
    fn an_end_without_a_code_or_a_time() {
        assert_eq!(of_docker("die", "", r#","timeNano":1795307978123456789"#), of_ours("57c5", Fate::Over));
        assert_eq!(
            of_docker("die", r#""exitCode":"many","#, r#","timeNano":1"#),
            of_ours("57c5", Fate::Over)
        );
        assert_eq!(of_docker("die", r#""exitCode":"3","#, ""), of_ours("57c5", Fate::Over));
    }
}
