//! What is published of a Pod in each of its states, made by driving the core with literal times.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;

use super::*;
use crate::core::{Action, BackoffRule, Event, ProbeKind, Refusal, RunKey, Settings, Time, Verdict, World};
use crate::core::{Ending, START_MS, Stamp};
use crate::manifest::{Accepted, Context, Limits, Runtime, read};
use crate::pod::{NodeName, Pod};

/// The Pod of a manifest, and its document.
fn accepted(command: &str, extra: &str) -> (Pod, Value) {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n  hostNetwork: true\n{extra}  \
         containers:\n  - name: c\n    image: img\n    command: [\"{command}\"]\n    readinessProbe: {{tcpSocket: {{port: 1}}, \
         periodSeconds: 1, failureThreshold: 1}}\n"
    );
    let node = NodeName::new("n");
    let context =
        Context { node: &node, path: "/m/web.yaml", limits: Limits::default(), runtime: Runtime::default() };
    match read(text.as_bytes(), &context).remove(0).outcome.unwrap() {
        Accepted::Pod { pod, canonical } => (*pod, canonical),
        Accepted::Object(_) | Accepted::Set(_) | Accepted::Nothing => panic!("not a Pod"),
    }
}

fn good((pod, canonical): &(Pod, Value)) -> Good {
    Good {
        pod: Rc::new(pod.clone()),
        canonical: canonical.to_string().into(),
        warnings: Rc::new([]),
        kept_for: None,
    }
}

/// One Pod in a world.
struct Case {
    world: World,
    good: Option<Good>,
    now: u64,
    refused: Vec<String>,
}

impl Case {
    fn new(extra: &str) -> Self {
        let backoff = BackoffRule { initial_ms: 1000, max_ms: 60_000 };
        let mut world = World::new(Settings { backoff, parallel_starts: 4, start_ms: START_MS });
        let index = BTreeMap::from([("docker.io/library/img:latest".to_owned(), "sha256:1".to_owned())]);
        world.step(Event::Images { index, loading: false, can_pull: false }, Stamp::default());
        let mut case = Self { world, good: None, now: 1_700_000_000_000, refused: Vec::new() };
        case.want(Some(good(&accepted("one", extra))));
        case
    }

    fn stamp(&self) -> Stamp {
        Stamp { boot: Time(self.now - 1_700_000_000_000), unix_ms: self.now as i64 }
    }

    fn event(&mut self, event: Event) {
        self.world.step(event, self.stamp());
        loop {
            let actions = self.world.plan(self.stamp());
            if actions.is_empty() {
                break;
            }
            for action in actions {
                if let Action::Open { pod } = action {
                    let generation = pod.generation.clone();
                    self.world.step(
                        Event::Opened { generation, first_attempts: BTreeMap::new(), addresses: vec![] },
                        self.stamp(),
                    );
                }
            }
        }
    }

    fn want(&mut self, good: Option<Good>) {
        let pods = good.iter().map(|g| (g.pod.key.clone(), g.pod.clone())).collect();
        self.good = good;
        self.event(Event::Desired { pods, complete: true });
    }

    fn life(&self) -> &Life {
        self.world.slots().next().unwrap().1.life.as_ref().unwrap()
    }

    fn run(&self, attempt: u32) -> RunKey {
        self.life().run_key(&crate::pod::ContainerName::new("c"), attempt)
    }

    fn started(&mut self, attempt: u32) {
        let (run, at) = (self.run(attempt), self.stamp());
        self.event(Event::Started { run, at, image_id: Some("sha256:1".to_owned()), container: None });
    }

    fn ended(&mut self, attempt: u32, ending: Ending) {
        let (run, at) = (self.run(attempt), self.stamp());
        self.event(Event::Ended { run: run.clone(), ending, at, message: None });
        self.event(Event::Cleared { run });
    }

    fn probed(&mut self, attempt: u32, verdict: Verdict, message: &str) {
        let run = self.run(attempt);
        let message = message.to_owned();
        self.event(Event::Probed { run, kind: ProbeKind::Readiness, verdict, message });
    }

    fn show(&self) -> PodStatusFile {
        let (key, slot) = self.world.slots().next().unwrap();
        let document = Some(serde_json::from_str(&good(&accepted("one", "")).canonical).unwrap());
        let waits = slot.waiting.as_ref().map(|w| crate::daemon::waits::tell(&self.world, w));
        pod_status(key, slot, waits.as_ref(), self.good.as_ref(), self.refused.clone(), document, &[])
    }

    /// The phase, kubectl's word, and the container's state: the one member that is set, with its reason.
    fn words(&self) -> (String, String, String) {
        let file = self.show();
        let status = &file.pod["status"];
        let state = status["containerStatuses"][0]["state"].as_object().unwrap();
        assert_eq!(state.len(), 1, "{state:?}");
        let (kind, inside) = state.iter().next().unwrap();
        let state = match inside["reason"].as_str() {
            Some(reason) => format!("{kind} {reason}"),
            None => kind.clone(),
        };
        (status["phase"].as_str().unwrap().to_owned(), file.summary, state)
    }

    fn condition(&self, kind: &str) -> Value {
        let file = self.show();
        let list = file.pod["status"]["conditions"].as_array().unwrap().clone();
        list.into_iter().find(|c| c["type"] == kind).unwrap()
    }
}

fn words(phase: &str, summary: &str, state: &str) -> (String, String, String) {
    (phase.to_owned(), summary.to_owned(), state.to_owned())
}

#[test]
fn a_life_from_its_start_to_its_back_off() {
    let mut case = Case::new("");
    assert_eq!(case.words(), words("Pending", "ContainerCreating", "waiting ContainerCreating"));
    case.started(0);
    assert_eq!(case.words(), words("Running", "Running", "running"));
    case.ended(0, Ending::Exited { code: 3 });
    case.started(1);
    let container = case.show().pod["status"]["containerStatuses"][0].clone();
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(container["lastState"]["terminated"]["reason"], "Error");
    case.ended(1, Ending::Signaled { signal: 9, oom: true });
    assert_eq!(case.words(), words("Running", "CrashLoopBackOff", "waiting CrashLoopBackOff"));
    let container = case.show().pod["status"]["containerStatuses"][0].clone();
    assert_eq!(container["restartCount"], 1, "the next run has not begun");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(container["lastState"]["terminated"]["reason"], "OOMKilled");
    assert_eq!(container["ready"], false);
}

#[test]
fn what_could_not_be_made_never_ran() {
    let mut case = Case::new("");
    let reason = "CreateContainerConfigError".to_owned();
    for _ in 0..2 {
        let ending = Ending::NotCreated { reason: reason.clone(), message: "no such directory".to_owned() };
        case.ended(0, ending);
    }
    assert_eq!(
        case.words(),
        words("Pending", "CreateContainerConfigError", "waiting CreateContainerConfigError")
    );
    let file = case.show();
    assert_eq!(file.message.as_deref(), Some("c: no such directory"));
    let container = &file.pod["status"]["containerStatuses"][0];
    assert_eq!(container["lastState"], json!({}));
    assert_eq!(container["restartCount"], 0);
    assert_eq!(container.get("containerID"), None);
}

#[test]
fn an_end_for_good() {
    for (code, phase, summary, state) in
        [(0, "Succeeded", "Completed", "terminated Completed"), (2, "Failed", "Error", "terminated Error")]
    {
        let mut case = Case::new("  restartPolicy: Never\n");
        case.started(0);
        case.ended(0, Ending::Exited { code });
        assert_eq!(case.words(), words(phase, summary, state));
    }
}

#[test]
fn a_deadline_that_passes_while_the_network_cannot_be_made() {
    let mut case = Case::new("  activeDeadlineSeconds: 40\n");
    let generation = case.life().pod.generation.clone();
    case.world.step(Event::OpenFailed { generation, message: "no network".to_owned() }, case.stamp());
    let file = case.show();
    assert_eq!((file.summary.as_str(), file.message.as_deref()), ("ContainerCreating", Some("no network")));
    case.now += 40_000;
    case.event(Event::Hold { pods: BTreeSet::new() });
    case.ended(0, Ending::Lost);
    let status = &case.show().pod["status"];
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert_eq!(case.show().summary, "DeadlineExceeded");
}

#[test]
fn readiness_with_the_time_of_its_last_change() {
    let mut case = Case::new("");
    case.now += 5_000;
    case.started(0);
    assert_eq!(case.condition("Ready")["status"], "False");
    assert_eq!(case.condition("Ready")["reason"], "ContainersNotReady");
    assert_eq!(case.show().message.as_deref(), Some("c: its readiness probe has not been tried yet"));
    case.now += 5_000;
    case.probed(0, Verdict::Success, "");
    for kind in ["Ready", "ContainersReady"] {
        let ready = case.condition(kind);
        assert_eq!((&ready["status"], ready.get("reason")), (&json!("True"), None));
        assert_eq!(ready["lastTransitionTime"], "2023-11-14T22:13:30Z");
    }
    assert_eq!(case.condition("PodScheduled")["lastTransitionTime"], "2023-11-14T22:13:20Z");
    case.now += 60_000;
    case.event(Event::Hold { pods: BTreeSet::new() });
    case.probed(0, Verdict::Success, "");
    assert_eq!(case.condition("Ready")["lastTransitionTime"], "2023-11-14T22:13:30Z", "no change");
    case.now += 1_000;
    case.event(Event::Hold { pods: BTreeSet::new() });
    case.probed(0, Verdict::Failure, "connection refused");
    assert_eq!(case.condition("Ready")["lastTransitionTime"], "2023-11-14T22:14:31Z");
    assert_eq!(case.show().message.as_deref(), Some("c: readiness probe: connection refused"));
}

#[test]
fn the_manifest_beside_what_runs() {
    let mut case = Case::new("");
    case.started(0);
    assert_eq!(case.show().manifest, ManifestState::Current { warnings: vec![] });
    let key = case.life().pod.key.clone();

    let mut next = accepted("two", "");
    next.0.containers[0].image.full = "other".to_owned();
    next.0.containers[0].pull_policy = crate::pod::PullPolicy::Never;
    case.want(Some(good(&next)));
    let file = case.show();
    assert!(
        matches!(&file.manifest, ManifestState::Replacing { waits_for: Some(w) } if w.starts_with("ErrImageNeverPull")),
        "{:?}",
        file.manifest
    );
    assert_eq!(file.pod["spec"]["containers"][0]["command"], json!(["one"]), "what lives is shown");

    // Refused, by a daemon that knows it only from its predecessor.
    case.refused = vec!["/m/web.yaml:1:1: error".to_owned()];
    case.world.step(
        Event::Refused(vec![Refusal { key: Some(key.clone()), path: "/m/web.yaml".to_owned() }]),
        case.stamp(),
    );
    case.want(None);
    assert_eq!(case.show().manifest, ManifestState::Kept { problems: case.refused.clone() });
    assert_eq!(case.show().summary, "Running");

    case.world.step(Event::Refused(vec![]), case.stamp());
    case.want(None);
    assert_eq!(case.show().manifest, ManifestState::Removed);
    assert_eq!(case.show().summary, "Terminating");
    let file = case.show();
    assert!(file.deletion_timestamp.is_some());
    assert_eq!(file.pod["metadata"]["deletionGracePeriodSeconds"], 30);
}

#[test]
fn what_cannot_be_got_rid_of_is_told_with_what_to_do() {
    let busy = || Some("unmount /x: busy".to_owned());
    // One that runs all the same, as far as anybody knows.
    let mut case = Case::new("");
    case.started(0);
    case.probed(0, Verdict::Success, "");
    let run = case.run(0);
    case.event(Event::MonitorLost { run: run.clone() });
    case.event(Event::SweepFailed { run: run.clone(), error: busy() });
    case.event(Event::SweepFailed { run: run.clone(), error: busy() });
    let file = case.show();
    let told = "what its last run left cannot be cleared away (2 tries): unmount /x: busy; it is tried again by itself";
    assert!(file.message.as_deref().is_some_and(|m| m.starts_with(&format!("c: {told}"))), "{file:?}");
    // One that is kept from being started by it.
    let mut case = Case::new("");
    let (run, at) = (case.run(0), case.stamp());
    let ending = Ending::NotCreated { reason: "CreateContainerError".to_owned(), message: "no".to_owned() };
    case.event(Event::Ended { run: run.clone(), ending, at, message: None });
    case.event(Event::MonitorLost { run: run.clone() });
    case.event(Event::SweepFailed { run: run.clone(), error: busy() });
    assert_eq!(case.words().2, "waiting KillContainerError");
    let file = case.show();
    assert_eq!(file.summary, "KillContainerError");
    assert!(file.message.is_some_and(|m| m.contains("(1 try): unmount /x: busy")));
    // One that is to go.
    case.want(None);
    let message = case.show().message.unwrap();
    assert!(message.starts_with("its manifest is gone; c: what its last run left"), "{message}");
    case.event(Event::Cleared { run });
    assert_eq!(case.show().message.as_deref(), Some("its manifest is gone"));
    let generation = case.life().pod.generation.clone();
    case.event(Event::Removed { generation, left: busy() });
    let message = case.show().message.unwrap();
    assert!(message.starts_with("its manifest is gone; cannot be removed (1 try): unmount"), "{message}");
}

#[test]
fn a_start_that_hangs_is_told_as_long_as_its_monitor_does_not_end() {
    let mut case = Case::new("");
    assert_eq!(case.words().2, "waiting ContainerCreating");
    case.now += i64::try_from(START_MS).unwrap() as u64;
    case.event(Event::Refused(vec![]));
    assert_eq!(case.words().2, "waiting CreateContainerError");
    assert!(case.show().message.is_some_and(|m| m.starts_with("c: its start hung and was given up")));
}

#[test]
fn a_held_pod_says_so() {
    let mut case = Case::new("");
    case.started(0);
    let key = case.life().pod.key.clone();
    case.event(Event::Hold { pods: BTreeSet::from([key]) });
    assert_eq!(case.show().manifest, ManifestState::Held);
    assert_eq!(case.show().summary, "Terminating");
    let generation = case.life().pod.generation.clone();
    case.ended(0, Ending::Exited { code: 0 });
    case.event(Event::Removed { generation, left: None });
    let file = case.show();
    assert_eq!((file.summary.as_str(), file.manifest), ("Stopped", ManifestState::Held));
    assert_eq!(file.pod["metadata"]["name"], "web-n");
    assert_eq!(file.pod["metadata"]["labels"]["app"], "web");
}

#[test]
fn what_a_pod_waits_for_is_told_with_the_reason_of_each() {
    let mut case = Case::new("");
    let mut api = accepted("api", "").0;
    api.key.name = crate::pod::PodName::new("api-n");
    api.generation = crate::pod::Generation::new("api");
    api.depends_on = crate::pod::depends::listed("web,gone,x/y,z", &api.key, &api.node);
    let key = api.key.clone();
    let web = case.good.clone().unwrap().pod;
    let pods = |list: &[&Rc<Pod>]| list.iter().map(|p| (p.key.clone(), (*p).clone())).collect();
    let api = Rc::new(api);
    case.event(Event::Desired { pods: pods(&[&web, &api]), complete: true });
    let show = |case: &Case| {
        let slot = case.world.slot(&key).unwrap();
        let waits = slot.waiting.as_ref().map(|w| crate::daemon::waits::tell(&case.world, w));
        pod_status(&key, slot, waits.as_ref(), None, vec![], Some(json!({"spec": {}})), &[])
    };
    let file = show(&case);
    assert_eq!(file.summary, "DependencyNotFound");
    assert_eq!(
        file.message.unwrap(),
        "waits for default/gone-n, of which there is no manifest; waits for x/y-n, of which there is no manifest; \
         waits for default/z-n, of which there is no manifest; waits for 1 more"
    );
    let waiting = &file.pod["status"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(
        (&waiting["reason"], &file.pod["status"]["phase"]),
        (&json!("DependencyNotFound"), &json!("Pending"))
    );
    assert_eq!(file.pod["metadata"]["creationTimestamp"], json!(file.created_at.unwrap()));

    let mut api = (*api).clone();
    api.depends_on.truncate(1);
    let api = Rc::new(api);
    case.event(Event::Desired { pods: pods(&[&web, &api]), complete: true });
    let told = |case: &Case| show(case).message.unwrap();
    assert_eq!(told(&case), "waits for default/web-n, which is not ready: ContainerCreating");
    let run = case.world.slot(&web.key).unwrap().life.as_ref().unwrap().run_key(&web.containers[0].name, 0);
    let at = case.stamp();
    case.event(Event::Started { run: run.clone(), at, image_id: None, container: None });
    let (kind, message) = (ProbeKind::Readiness, "refused".to_owned());
    case.event(Event::Probed { run: run.clone(), kind, verdict: Verdict::Failure, message });
    assert_eq!(
        told(&case),
        "waits for default/web-n, which is not ready: Running: c: readiness probe: refused"
    );
    assert_eq!(show(&case).summary, "DependencyNotReady");
    case.event(Event::Hold { pods: BTreeSet::from([web.key.clone()]) });
    case.event(Event::Ended { run: run.clone(), ending: Ending::Exited { code: 0 }, at, message: None });
    case.event(Event::Cleared { run });
    case.event(Event::Removed { generation: web.generation.clone(), left: None });
    assert_eq!(told(&case), "waits for default/web-n, which is not ready: stopped by `podstrap down`");
}
