//! The corpus of good, odd and hostile manifests: each file's verdict, the place and the words of its first problem.
//!
//! `tests/corpus/expected` has one line per file. Inputs that are large or must not lie in a repository are made here.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail as tests do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use podstrap::manifest::sets::pod_of;
use podstrap::manifest::{Accepted, Context, Document, Limits, Problem, Runtime, from_canonical, read};
use podstrap::pod::{NodeName, Pod};

/// The budget of one file is 0.5 s as released; without optimisation the same work takes several times as long.
const TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 5000 } else { 500 });

/// Processor time of this thread: what a busy machine takes away does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn documents(bytes: &[u8]) -> Vec<Document> {
    let node = NodeName::new("host1");
    let begin = cpu_time();
    let context =
        Context { node: &node, path: "f.yaml", limits: Limits::default(), runtime: Runtime::default() };
    let documents = read(bytes, &context);
    let taken = cpu_time() - begin;
    assert!(taken < TIME, "took {taken:?}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    let is_list = String::from_utf8_lossy(bytes).contains("items:");
    assert!(!documents.is_empty() || is_list, "nothing is said of it");
    for document in &documents {
        match &document.outcome {
            Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
            Ok(Accepted::Pod { pod, canonical }) => {
                // A later daemon, which has only the stored form, gets the same Pod.
                let stored: serde_json::Value = serde_json::from_str(&canonical.to_string()).unwrap();
                let mut again = from_canonical(&stored, &context).unwrap();
                again.origin.document = document.number;
                assert_eq!(again, **pod);
            }
            Ok(Accepted::Nothing) => assert!(!document.warnings.is_empty()),
            Ok(Accepted::Set(set)) => {
                assert_eq!(document.set.as_ref(), Some(&set.key));
                let claims = Path::new("/claims");
                let made = pod_of((&set.key, &set.origin), &set.template, set.start, claims, &context);
                made.unwrap_or_else(|problems| panic!("no Pod can be made of it: {problems:?}"));
            }
            Ok(Accepted::Object(object)) => {
                assert_eq!(
                    document.object.as_ref(),
                    Some(&(object.namespace.clone(), object.reference.clone()))
                );
            }
        }
        for problem in problems(document) {
            let shown = problem.to_string();
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
            assert!(shown.lines().count() <= 4, "{shown}");
        }
    }
    documents
}

fn pod(document: &Document) -> &Pod {
    match &document.outcome {
        Ok(Accepted::Pod { pod, .. }) => pod,
        other => panic!("{other:?}"),
    }
}

fn problems(document: &Document) -> Vec<&Problem> {
    document.outcome.as_ref().err().into_iter().flatten().chain(&document.warnings).collect()
}

fn verdict(document: &Document) -> &'static str {
    match (&document.outcome, document.warnings.is_empty()) {
        (Ok(_), true) => "accept",
        (Ok(_), false) => "warn",
        (Err(_), _) => "refuse",
    }
}

/// What is expected of one file, against what came out; `None` when they agree.
fn disagreement(line: &str, folder: &Path) -> Option<String> {
    let mut columns = line.splitn(4, '|').map(str::trim);
    let (Some(name), Some(verdicts)) = (columns.next(), columns.next()) else { return Some(line.to_owned()) };
    let (place, words) = (columns.next().unwrap_or(""), columns.next().unwrap_or(""));
    let documents = documents(&fs::read(folder.join(name)).unwrap());
    let got: Vec<&str> = documents.iter().map(verdict).collect();
    let shown: Vec<String> = documents.iter().flat_map(problems).map(ToString::to_string).collect();
    let first = documents.iter().flat_map(problems).next();
    let at = first.map_or(String::new(), |p| format!("{}:{}", p.line, p.column));
    let agreed = got.join(" ") == verdicts
        && (if place.ends_with(':') { at.starts_with(place) } else { place.is_empty() || at == place })
        && (words.is_empty() || shown.first().is_some_and(|s| s.contains(words)));
    (!agreed).then(|| format!("{line}\n  got {got:?}\n  {}", shown.join("\n  ")))
}

#[test]
fn every_file_of_the_corpus_is_judged_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let expected = fs::read_to_string(folder.join("expected")).unwrap();
    let lines: Vec<&str> = expected.lines().filter(|l| !l.starts_with('#')).collect();
    assert!(lines.len() >= 90);
    let listed: BTreeSet<String> =
        lines.iter().map(|l| l.split('|').next().unwrap().trim().to_owned()).collect();
    let present: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n != "expected")
        .collect();
    assert_eq!(listed, present);
    let wrong: Vec<String> = lines.iter().filter_map(|line| disagreement(line, &folder)).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}

#[test]
fn an_item_of_a_list_is_the_same_generation_as_a_document() {
    let pod = "metadata: {name: a}, spec: {containers: [{name: c, image: etcd}]}";
    let alone = documents(format!("{{apiVersion: v1, kind: Pod, {pod}}}").as_bytes());
    let listed = documents(format!("{{apiVersion: v1, kind: PodList, items: [{{{pod}}}]}}").as_bytes());
    assert_eq!(self::pod(&alone[0]).generation, self::pod(&listed[0]).generation);
}

#[test]
fn what_kubeadm_writes_is_clean() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeadm");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let documents = documents(&fs::read(&path).unwrap());
        let [document] = documents.as_slice() else { panic!("{}", path.display()) };
        let shown: Vec<String> = problems(document).iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "{}:\n{}", path.display(), shown.join("\n"));
        let pod = pod(document);
        assert!(pod.host_network && pod.priority_class.as_deref() == Some("system-node-critical"));
        assert!(pod.key.to_string().starts_with("kube-system/") && pod.key.name.as_str().ends_with("-host1"));
        let startup = pod.containers[0].startup.as_ref().unwrap();
        assert_eq!((startup.failure_threshold, startup.timeout, startup.period), (24, 15, 10));
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn no_prefix_of_a_good_manifest_is_a_panic() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeadm/1.34-etcd.yaml");
    let whole = fs::read(path).unwrap();
    assert!(whole.len() > 1500);
    let mut accepted = 0;
    for end in 0..=whole.len() {
        accepted += usize::from(documents(&whole[..end]).iter().all(|d| d.outcome.is_ok()));
    }
    // Few torn files look whole: the reason why a strict prefix of the last good content is held back.
    assert!((1..whole.len() / 10).contains(&accepted), "{accepted}");
    // Also with one byte gone or changed anywhere.
    for at in (0..whole.len()).step_by(7) {
        let mut torn = whole.clone();
        torn.remove(at);
        documents(&torn);
        let mut odd = whole.clone();
        odd[at] = b"\"'{}[]:#&*!|>%@`\t\n\0\x80- ?~<"[at % 25];
        documents(&odd);
    }
}

fn refused(name: &str, bytes: &[u8], words: &str) {
    let documents = documents(bytes);
    let shown: Vec<String> = documents.iter().flat_map(problems).map(ToString::to_string).collect();
    assert!(documents.iter().all(|d| d.outcome.is_err()), "{name}");
    assert!(shown.iter().any(|s| s.contains(words)), "{name}: {}", shown.join("\n"));
}

fn hostile_shapes() -> Vec<(&'static str, String, &'static str)> {
    let mut out = Vec::new();
    let mut refused =
        |name, text: &[u8], words| out.push((name, String::from_utf8(text.to_vec()).unwrap(), words));
    let big = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), ["*a"; 5000].join(","));
    refused("H2 big scalar", big.as_bytes(), "too much text");
    let list = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(1000), ["*a"; 5000].join(","));
    refused("H3 big list", list.as_bytes(), "too many values");
    refused("H8 {a:", "{a: ".repeat(80_000).as_bytes(), "brackets");
    refused("H8 {?", "{?".repeat(80_000).as_bytes(), "brackets");
    refused("H8 {? within the rule", format!("{}{}", "{? ".repeat(5000), "a,".repeat(1000)).as_bytes(), "");
    refused("H8 [ within the rule", "[".repeat(10_000).as_bytes(), "");
    refused("H8 {a: within the rule", "{a: ".repeat(5_000).as_bytes(), "");
    refused("H8 ?", "? ".repeat(250_000).as_bytes(), "nested");
    refused("H8 -", "- ".repeat(250_000).as_bytes(), "nested");
    let stairs: String = (0..1000).map(|i| format!("{}-\n", " ".repeat(i))).collect();
    refused("H8 stairs", stairs.as_bytes(), "");
    refused("many items", "-\n".repeat(260_000).as_bytes(), "too many values");
    refused("many documents", "--- a\n".repeat(80_000).as_bytes(), "more than 1000 documents");
    refused("H9 size", &vec![b'a'; (512 << 10) + 1], "larger than");
    refused("H11 comment", format!("#{}\n", "x".repeat(10 << 20)).as_bytes(), "larger than");
    let anchors: String = (0..50_000).map(|i| format!("- &a{i}\n")).collect();
    refused("H10 anchors", anchors.as_bytes(), "");
    let keys: String = (0..40_000).map(|i| format!("k{i}: 1\n")).collect();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: true, containers: [{}]}\n";
    refused("many unknown keys", format!("{keys}{pod}").as_bytes(), "more problems are not shown");
    let same = "k: 1\n".repeat(45_000);
    refused("many equal keys", format!("{same}{pod}").as_bytes(), "stands twice");
    let ports = "{containerPort: 0},".repeat(200);
    let many = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - ports: [{ports}]\n"
    );
    let wide = format!("{}{}", "{? ".repeat(180), "a,".repeat(250_000));
    refused("H8 {? wide", wide.as_bytes(), "a key must be text");
    let padded = format!("{many}#{}\n", "x".repeat(100_000));
    refused("many problems in a large file", padded.as_bytes(), "from 1 to 65535");
    out
}

/// Each in a process of its own, so that the peak of memory is its own.
#[test]
fn hostile_shapes_cost_little() {
    for (i, (name, ..)) in hostile_shapes().iter().enumerate() {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_hostile_shape", "--ignored"])
            .env("PODSTRAP_HOSTILE_SHAPE", i.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains("1 passed"), "{name}: {said}");
    }
}

#[test]
#[ignore = "run by hostile_shapes_cost_little"]
fn one_hostile_shape() {
    let index: usize = std::env::var("PODSTRAP_HOSTILE_SHAPE").unwrap().parse().unwrap();
    let (name, text, words) = hostile_shapes().swap_remove(index);
    refused(name, text.as_bytes(), words);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 128 << 10, "{name}: {peak} KiB");
}

#[test]
fn what_does_not_matter_does_not_make_a_generation() {
    let generation = |text: &str| {
        let documents = documents(text.as_bytes());
        pod(&documents[0]).generation.clone()
    };
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  hostNetwork: true\n  containers:\n  - name: c\n    \
               image: etcd\n";
    let same = "# comment\nkind: Pod\napiVersion: \"v1\"\nmetadata: {name: a, creationTimestamp: null}\nstatus: {}\nspec:\n  \
                containers:\n  - {image: etcd, name: c}\n  hostNetwork: true\n";
    assert_eq!(generation(pod), generation(same));
    assert_ne!(generation(pod), generation(&pod.replace("etcd", "etcd:3")));
    let one = generation(pod);
    assert!(one.as_str().len() == 32 && one.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
}
