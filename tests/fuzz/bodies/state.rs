//! What an earlier daemon, a monitor or an image says, taken in by the core or by pure code: saved lives with their runs'
//! records, stored documents, status files, namespaces' records, accounts, resolvers and profiles.

use std::collections::BTreeMap;
use std::rc::Rc;

use podstrap::core::{
    BackoffRule, Ending, Event, Found, FoundRun, RunKey, START_MS, Saved, Settings, Stamp, Time, World,
};
use podstrap::helper::sandbox;
use podstrap::image::config::ImageConfig;
use podstrap::manifest::{Accepted, Context, Limits, Runtime, from_canonical, read};
use podstrap::monitor::record::{End, Record};
use podstrap::pod::objects::Object;
use podstrap::pod::quantity::{Bytes, MilliCpu};
use podstrap::pod::{NodeName, Pod, Security};
use podstrap::report::line::Brief;
use podstrap::report::{DaemonStatus, PodStatusFile};
use podstrap::runtime::{self, capabilities, etc, profile, user};

use super::{choice, manifest};

pub fn run(data: &[u8]) {
    let Some((format, bytes)) = choice(data, 9) else { return };
    let text = String::from_utf8_lossy(bytes);
    match format {
        0 => life(bytes),
        1 => stored(bytes),
        2 => {
            if let Ok(file) = serde_json::from_slice::<PodStatusFile>(bytes) {
                let _ = Brief::of(&file, "node1");
            }
            let _ = serde_json::from_slice::<DaemonStatus>(bytes);
        }
        3 => {
            let _ = serde_json::from_slice::<sandbox::Sandbox>(bytes).map(|s| s.is_for(None));
            let _ = serde_json::from_slice::<runtime::Sandbox>(bytes);
        }
        4 => accounts(&text),
        5 => {
            let _ = etc::Resolver::parse(&text);
        }
        6 => {
            if let Ok(profile) = profile::localhost(&text, capabilities::Set(u64::MAX), (6, 1)) {
                assert!(profile.is_object());
            }
            let _ = profile::version(&text);
        }
        7 => {
            let _ = serde_json::from_slice::<ImageConfig>(bytes);
            let _ = serde_json::from_slice::<Object>(bytes);
        }
        _ => {
            let _ = (MilliCpu::parse(&text), Bytes::parse(&text));
        }
    }
}

/// passwd and group are the image's: three texts, set apart by zero bytes.
fn accounts(text: &str) {
    let mut parts = text.splitn(3, '\0');
    let (name, passwd, group) =
        (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let non_root = Security { run_as_non_root: Some(true), ..Security::default() };
    for security in [Security::default(), non_root] {
        match user::resolve(&security, &[5], false, name, passwd, group) {
            Ok(user) => assert!(security.run_as_non_root.is_none() || user.uid != 0),
            Err(error) => {
                let _ = error.to_string();
            }
        }
    }
}

/// A document that an earlier build accepted.
fn stored(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let node = NodeName::new("host1");
    let context =
        Context { node: &node, path: "/m/a.yaml", limits: Limits::default(), runtime: Runtime::Runc };
    match from_canonical(&document, &context) {
        Ok(pod) => manifest::check(&pod),
        Err(problems) => assert!(!problems.is_empty()),
    }
}

/// `[SAVED, RECORD, RECORD, …]`: a life with the records of its runs, taken over by the core. Nothing that they say may
/// stop it, and what it is told twice it does once.
fn life(bytes: &[u8]) {
    let Ok(mut values) = serde_json::from_slice::<Vec<serde_json::Value>>(bytes) else { return };
    if values.is_empty() || values.len() > 20 {
        return;
    }
    let Ok(saved) = serde_json::from_value::<Saved>(values.remove(0)) else { return };
    let pod = Rc::new(pod());
    let names: Vec<_> = pod.all_containers().map(|c| c.name.clone()).collect();
    let mut runs = Vec::new();
    for (n, value) in values.into_iter().enumerate() {
        let Ok(record) = serde_json::from_value::<Record>(value) else { return };
        let run = RunKey {
            generation: pod.generation.clone(),
            container: names[n % names.len()].clone(),
            attempt: (n / names.len()) as u32,
        };
        runs.push(FoundRun {
            run,
            monitored: record.monitor.pid % 2 == 0,
            started: record
                .started_boot_ms
                .zip(record.started_unix_ms)
                .map(|(boot, unix_ms)| Stamp { boot: Time(boot), unix_ms }),
            ended: record.end.as_ref().map(ending).zip(
                record
                    .finished_boot_ms
                    .zip(record.finished_unix_ms)
                    .map(|(boot, unix_ms)| Stamp { boot: Time(boot), unix_ms }),
            ),
            message: record.termination_message.clone(),
            image_id: record.image_id.clone(),
            container: record.container.clone(),
        });
    }
    let backoff = BackoffRule { initial_ms: 1000, max_ms: 60_000 };
    let mut world = World::new(Settings { backoff, parallel_starts: 4, start_ms: START_MS });
    let mut now = Stamp { boot: Time(1_000_000), unix_ms: 1_700_000_000_000 };
    let generation = pod.generation.clone();
    let index = pod.all_containers().map(|c| (c.image.full.clone(), "sha256:1".to_owned())).collect();
    world.step(Event::Images { index, loading: false, can_pull: false }, now);
    let found = Found {
        opened: saved.opened,
        addresses: Vec::new(),
        pod: Rc::clone(&pod),
        saved,
        runs: runs.clone(),
    };
    world.step(Event::Found(Box::new(found)), now);
    let pods = BTreeMap::from([(pod.key.clone(), Rc::clone(&pod))]);
    world.step(Event::Desired { pods, complete: true }, now);
    for turn in 0..30 {
        let actions = world.plan(now);
        assert!(actions.len() < 100);
        assert_eq!(world.plan(now), [], "planned twice");
        let _ = world.take_dirty();
        for (_, slot) in world.slots() {
            if let Some(life) = &slot.life {
                let text = serde_json::to_string(&life.saved()).expect("what is saved is JSON");
                let again: Saved = serde_json::from_str(&text).expect("what was saved can be read");
                assert_eq!(again, life.saved());
            }
        }
        match turn {
            3 => {
                let first_attempts = names.iter().map(|n| (n.clone(), u32::MAX - 1)).collect();
                let opened =
                    Event::Opened { generation: generation.clone(), first_attempts, addresses: vec![] };
                world.step(opened, now);
            }
            n => {
                if let Some(found) = runs.get(n % runs.len().max(1)) {
                    let run = found.run.clone();
                    world.step(
                        Event::Ended { run: run.clone(), ending: Ending::Lost, at: now, message: None },
                        now,
                    );
                    world.step(Event::Cleared { run }, now);
                }
            }
        }
        // As long as it wants to sleep.
        let wait = world.deadline(now.boot).map_or(1000, |d| d.since(now.boot)).clamp(1, 1 << 40);
        now.boot = now.boot.plus(wait);
    }
    world.step(Event::Drain, now);
    let _ = world.plan(now);
}

fn ending(end: &End) -> Ending {
    match end {
        End::Exited { code } => Ending::Exited { code: *code },
        End::Signaled { signal, oom } => Ending::Signaled { signal: *signal, oom: *oom },
        End::NotStarted { reason, message } => {
            Ending::NotStarted { reason: reason.clone(), message: message.clone() }
        }
        End::Lost => Ending::Lost,
    }
}

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  hostNetwork: true
  initContainers:
  - {name: init, image: a:1}
  - {name: side, image: a:1, restartPolicy: Always}
  containers:
  - name: main
    image: a:1
    lifecycle: {postStart: {exec: {command: [x]}}, preStop: {exec: {command: [y]}}}
    livenessProbe: {tcpSocket: {port: 1}}
    startupProbe: {tcpSocket: {port: 1}}
    readinessProbe: {tcpSocket: {port: 1}}
"#;

fn pod() -> Pod {
    let node = NodeName::new("host1");
    let context = Context { node: &node, path: "a.yaml", limits: Limits::default(), runtime: Runtime::Runc };
    let document = read(POD.as_bytes(), &context).remove(0);
    match document.outcome {
        Ok(Accepted::Pod { pod, .. }) => *pod,
        other => panic!("{other:?}"),
    }
}
