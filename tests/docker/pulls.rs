//! Pulls that the daemon lets a real docker make, from a registry of the test's own.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::stage::{docker, instance, the, until_restarted};
use crate::common::registry::{Registry, parts};
use crate::common::yaml::one;
use crate::common::{Instance, engine, image};

/// A container that says which image it is of, and runs until TERM.
const SAYS: &str =
    "trap 'exit 0' TERM; echo $VERSION >>/shared/versions; while :; do sleep 1000 & wait $!; done";

/// An instance, and a registry for it. What was pulled from there is removed in the end.
struct Stage {
    i: Instance,
    registry: Registry,
    config: Value,
    layer: Vec<u8>,
}

impl Stage {
    fn new() -> Option<Self> {
        let i = instance()?;
        let (config, layer) = parts(&image::busybox());
        let config = serde_json::from_slice(&config).unwrap();
        Some(Self { i, registry: Registry::start(), config, layer })
    }

    /// Puts a version of the image into the registry, one that docker has not got from anywhere else.
    fn put(&self, version: &str) {
        let mut config = self.config.clone();
        let name = self.registry.name();
        config["config"]["Env"] =
            serde_json::json!(["PATH=/bin", format!("VERSION={version}"), format!("FROM={name}")]);
        self.registry.put("1", config.to_string().as_bytes(), &self.layer);
    }

    fn image(&self) -> String {
        format!("{}:1", self.registry.name())
    }

    /// Writes the manifest of the Pod `web`.
    fn web(&self, policy: &str) {
        let (image, policy) = (format!("image: {}", self.image()), format!("imagePullPolicy: {policy}"));
        self.i.write_manifest("web.yaml", &one(&self.i, "web", SAYS, &[&image, &policy]));
    }

    /// What its container waits for: reason and message.
    fn waits(&self) -> Option<(String, String)> {
        let waiting = self.i.container("web", "main")?.state.waiting?;
        Some((waiting.reason, waiting.message.unwrap_or_default()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.i.daemon_log()).unwrap()
    }

    fn versions(&self) -> Vec<String> {
        self.i.lines("versions")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Its container may be of it still.
        let _ = engine::try_run(
            self.i.docker.as_ref().unwrap(),
            &["rmi", "-f", &self.image()],
            Duration::from_secs(20),
        );
    }
}

#[test]
fn an_image_that_is_missing_is_pulled_once_and_that_is_told_meanwhile() {
    let Some(mut s) = Stage::new() else { return };
    s.put("one");
    s.registry.hold(true);
    s.web("IfNotPresent");
    s.i.start();
    let told = format!("pulling image {}", s.image());
    s.i.until("the pull is under way", |_| s.registry.asked("1") > 0);
    s.i.until("it is told", |_| {
        s.waits().is_some_and(|(why, what)| why == "ContainerCreating" && what == told)
    });
    assert!(s.log().contains(&format!("pulling {}\n", s.image())), "{}", s.log());
    let shown = s.i.cli_ok("status", &["web"]);
    assert!(shown.contains(&told), "{shown}");
    // However long it takes.
    s.i.holds_for(Duration::from_secs(2), "it goes on", |_| s.waits().is_some_and(|(_, what)| what == told));
    s.registry.hold(false);
    s.i.until_ready("web");
    assert!(s.log().contains(&format!("pulled {}\n", s.image())), "{}", s.log());
    let asked = s.registry.asked("1");
    docker(&s.i, &["kill", &the(&s.i, "web", "main")]);
    until_restarted(&s.i, "web", 1);
    assert_eq!((s.registry.asked("1"), s.versions()), (asked, vec!["one".to_owned(), "one".to_owned()]));
}

#[test]
fn always_is_pulled_for_each_start_and_what_is_new_is_run() {
    let Some(mut s) = Stage::new() else { return };
    s.put("one");
    s.web("Always");
    s.i.start();
    s.i.until_ready("web");
    let first = (s.registry.asked("1"), s.i.container("web", "main").unwrap().image_id);
    s.put("two");
    docker(&s.i, &["kill", &the(&s.i, "web", "main")]);
    until_restarted(&s.i, "web", 1);
    s.i.until("the new one says so", |_| s.versions() == ["one", "two"]);
    let second = (s.registry.asked("1"), s.i.container("web", "main").unwrap().image_id);
    assert!(second.0 > first.0 && second.1 != first.1, "{first:?} {second:?}");
    // So is a new Pod's.
    s.put("three");
    s.i.remove("web.yaml");
    s.i.until("it is gone", |i| i.pod("web").is_none());
    s.web("Always");
    s.i.until("the newest one says so", |_| s.versions() == ["one", "two", "three"]);
    s.i.until_ready("web");
    assert!(s.registry.asked("1") > second.0);
}

#[test]
fn never_asks_no_registry_and_waits_for_the_image() {
    let Some(mut s) = Stage::new() else { return };
    s.put("one");
    s.web("Never");
    s.i.start();
    s.i.until("it is told", |_| {
        s.waits().is_some_and(|(why, what)| why == "ErrImageNeverPull" && what.contains(&s.image()))
    });
    s.i.holds_for(Duration::from_secs(1), "nobody is asked", |_| s.registry.asked("1") == 0);
    docker(&s.i, &["pull", &s.image()]);
    s.i.until_ready("web");
    assert_eq!(s.versions(), ["one"]);
}

#[test]
fn a_pull_that_fails_is_told_and_tried_again_later_and_later() {
    let Some(mut s) = Stage::new() else { return };
    s.web("IfNotPresent");
    s.i.start();
    let begun = Instant::now();
    let failed = |reason: &str| {
        s.waits().is_some_and(|(why, what)| {
            why == reason && what.contains(&s.image()) && what.contains("manifest unknown")
        })
    };
    s.i.until("the first failure is told", |_| failed("ErrImagePull"));
    let asked = s.registry.asked("1");
    assert!(asked > 0 && begun.elapsed() < Duration::from_secs(9), "{asked} after {:?}", begun.elapsed());
    // As the kubelet has it: again after 10 s, then after 20 s.
    s.i.until_within(Duration::from_secs(25), "the second is", |_| failed("ImagePullBackOff"));
    assert!(s.registry.asked("1") > asked && begun.elapsed() >= Duration::from_secs(10));
    let shown = s.i.cli("status", &["web"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("ImagePullBackOff") && shown.contains("manifest unknown"), "{shown}");
    // What comes in another way is not waited for.
    s.put("one");
    docker(&s.i, &["pull", &s.image()]);
    s.i.until_ready("web");
    assert_eq!(s.versions(), ["one"]);
}
