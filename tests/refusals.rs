//! Bad input for every field, and what is said of it; and manifests that use every field that is honoured.
//!
//! `tests/refusals/PLACE` holds cases: `## FIELD`, the lines that go into the smallest manifest at that place, and after `> `
//! every problem with its line, column and help. `tests/refusals-docker` holds the same for what docker cannot express: there
//! is nothing wrong with those manifests for runc. `tests/whole/NAME.yaml` are manifests without a problem, and
//! `NAME.json` what was read from them. `PODSTRAP_WRITE_REFUSALS=1 cargo test --test refusals` writes what is expected
//! anew, to be read before it is committed.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail as tests do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use podstrap::manifest::docker::{GAPS, Gap};
use podstrap::manifest::fields::{Field, Kind, Verdict, all, all_of_objects};
use podstrap::manifest::{Accepted, Context, Document, Limits, Problem, Runtime, read};
use podstrap::pod::NodeName;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn writing() -> bool {
    std::env::var_os("PODSTRAP_WRITE_REFUSALS").is_some()
}

fn documents(text: &str) -> Vec<Document> {
    documents_for(text, Runtime::Runc)
}

fn documents_for(text: &str, runtime: Runtime) -> Vec<Document> {
    let node = NodeName::new("host1");
    read(text.as_bytes(), &Context { node: &node, path: "f.yaml", limits: Limits::default(), runtime })
}

fn problems(documents: &[Document]) -> Vec<Problem> {
    let of = |d: &Document| {
        d.outcome.as_ref().err().into_iter().flatten().chain(&d.warnings).cloned().collect::<Vec<_>>()
    };
    documents.iter().flat_map(of).collect()
}

/// The smallest good manifest with these lines in it: lines before, what stands at the place beside them, its indentation,
/// lines after.
fn manifest(place: &str, lines: &[&str]) -> String {
    const POD: &str = "apiVersion: v1\nkind: Pod\n";
    const META: &str = "metadata:\n  name: web\n";
    const SPEC: &str = "spec:\n  containers:\n  - name: main\n    image: etcd\n";
    let (before, beside, dash, after): (String, &[&str], &str, &str) = match place {
        "document" => (
            String::new(),
            &[
                "apiVersion: v1",
                "kind: Pod",
                "metadata: {name: web}",
                "spec: {containers: [{name: c, image: etcd}]}",
            ],
            "",
            "",
        ),
        "metadata" => (
            format!("{POD}spec: {{containers: [{{name: c, image: etcd}}]}}\nmetadata:\n"),
            &["name: web"],
            "  ",
            "",
        ),
        "spec" => (format!("{POD}{META}spec:\n"), &["containers: [{name: c, image: etcd}]"], "  ", ""),
        "volume" => (format!("{POD}{META}{SPEC}  volumes:\n"), &["name: v"], "  - ", ""),
        "container" => (
            format!("{POD}{META}spec:\n  volumes: [{{name: v}}]\n  containers:\n"),
            &["name: c", "image: etcd"],
            "  - ",
            "",
        ),
        "init" => (format!("{POD}{META}{SPEC}  initContainers:\n"), &["name: c", "image: etcd"], "  - ", ""),
        "configmap" => (String::new(), &["apiVersion: v1", "kind: ConfigMap", "metadata: {name: a}"], "", ""),
        "secret" => (String::new(), &["apiVersion: v1", "kind: Secret", "metadata: {name: a}"], "", ""),
        other => panic!("no place {other}"),
    };
    let key = |line: &str| line.split(':').next().unwrap_or("").to_owned();
    let given: BTreeSet<String> = lines.iter().filter(|l| !l.starts_with(' ')).map(|l| key(l)).collect();
    let all = beside.iter().filter(|l| !given.contains(&key(l))).chain(lines);
    let mut out = before;
    for (i, line) in all.enumerate() {
        let indent = if i == 0 { dash.to_owned() } else { " ".repeat(dash.len()) };
        out.push_str(&format!("{indent}{line}\n"));
    }
    out + after
}

/// One case of a file.
struct Case<'t> {
    field: &'t str,
    lines: Vec<&'t str>,
    expected: Vec<&'t str>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut out: Vec<Case<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(field) = line.strip_prefix("## ") {
            out.push(Case { field, lines: Vec::new(), expected: Vec::new() });
        } else if let Some(case) = out.last_mut() {
            match line.strip_prefix("> ") {
                Some(expected) => case.expected.push(expected),
                None if !line.is_empty() => case.lines.push(line),
                None => {}
            }
        }
    }
    out
}

fn shown(problem: &Problem) -> Vec<String> {
    let headline = problem.headline();
    let mut out = vec![headline.strip_prefix("f.yaml:").unwrap_or(&headline).to_owned()];
    out.extend(problem.help.iter().map(|help| format!("help: {help}")));
    out
}

/// Every case of every file of a folder: place, field, problems.
fn every_case(name: &str, runtime: Runtime) -> Vec<(String, String, Vec<Problem>)> {
    let mut out = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files {
        let place = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        for case in cases(&text) {
            out.push((
                place.clone(),
                case.field.to_owned(),
                problems(&documents_for(&manifest(&place, &case.lines), runtime)),
            ));
        }
    }
    out
}

#[test]
fn bad_input_is_refused_in_the_words_expected() {
    is_refused_in_the_words_expected("refusals", Runtime::Runc);
}

#[test]
fn what_docker_cannot_express_is_refused_in_the_words_expected() {
    is_refused_in_the_words_expected("refusals-docker", Runtime::Docker);
}

fn is_refused_in_the_words_expected(name: &str, runtime: Runtime) {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let file = entry.unwrap().path();
        let place = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let mut anew = String::new();
        for case in cases(&text) {
            let manifest = manifest(&place, &case.lines);
            let got: Vec<String> =
                problems(&documents_for(&manifest, runtime)).iter().flat_map(shown).collect();
            if got != case.expected {
                wrong.push(format!(
                    "{place}: {}\n{manifest}expected:\n{}\ngot:\n{}",
                    case.field,
                    case.expected.join("\n"),
                    got.join("\n")
                ));
            }
            anew.push_str(&format!("## {}\n", case.field));
            case.lines.iter().for_each(|l| anew.push_str(&format!("{l}\n")));
            got.iter().for_each(|l| anew.push_str(&format!("> {l}\n")));
            anew.push('\n');
        }
        if writing() {
            fs::write(&file, anew).unwrap();
        }
    }
    assert!(writing() || wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// `spec.containers[0].env[1]` → `spec.containers[].env[]`.
fn general(field: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in field.chars() {
        match c {
            '[' => {
                inside = true;
                out.push('[');
            }
            ']' => inside = false,
            _ => {}
        }
        if !inside && c != '[' {
            out.push(c);
        }
    }
    out
}

fn is_at(problem: &Problem, path: &str) -> bool {
    let path = path.strip_suffix("[]").unwrap_or(path);
    general(&problem.field)
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a case shows what the table says of the field.
fn shows(field: &Field, path: &str, problems: &[Problem]) -> bool {
    let message =
        |p: &Problem, words: &str| is_at(p, path) && p.message == format!("{words}: {}", field.note);
    match field.verdict {
        Verdict::Refused => problems.iter().any(|p| message(p, "cannot be honoured")),
        Verdict::Warned => problems.iter().any(|p| message(p, "has no effect")),
        // Not looked into: nothing is wrong there.
        Verdict::Honoured if matches!(field.kind, Kind::Opaque) => problems.is_empty(),
        Verdict::Honoured => {
            problems.iter().any(|p| is_at(p, path) && p.severity == podstrap::manifest::Severity::Error)
        }
    }
}

#[test]
fn what_a_secret_holds_is_not_repeated() {
    let lines = ["data: {a: hunter2}", "stringData: {b: 12345, c: [hunter2]}", "odd: hunter2"];
    let problems = problems(&documents(&manifest("secret", &lines)));
    assert_eq!(problems.len(), 4);
    for problem in problems {
        let shown = problem.to_string();
        assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
    }
}

#[test]
fn every_field_has_a_case() {
    let cases = every_case("refusals", Runtime::Runc);
    let of_objects = |place: &str| matches!(place, "configmap" | "secret");
    let mut missing = Vec::new();
    for (object, table) in [(false, all()), (true, all_of_objects())] {
        let known: BTreeSet<&str> = table.iter().map(|(path, _)| path.as_str()).collect();
        for (place, name, _) in cases.iter().filter(|(place, ..)| of_objects(place) == object) {
            assert!(known.contains(name.as_str()), "tests/refusals/{place}: {name} is not in the table");
        }
        for (path, field) in &table {
            let mut own = cases.iter().filter(|(place, name, _)| of_objects(place) == object && name == path);
            if !own.any(|(.., problems)| shows(field, path, problems)) {
                missing.push(path.clone());
            }
        }
    }
    assert!(missing.is_empty(), "no case shows what the table says of:\n{}", missing.join("\n"));
}

/// Whether docker could do with a manifest what runc does is told by the table of gaps, which podstrap-manifest(5) lists.
#[test]
fn every_gap_of_docker_has_a_case_and_every_case_is_a_gap() {
    let errors = |problems: &[Problem]| {
        let errors = problems.iter().filter(|p| p.severity == podstrap::manifest::Severity::Error);
        errors.cloned().collect::<Vec<_>>()
    };
    let table = all();
    for gap in GAPS {
        let (_, field) =
            table.iter().find(|(path, _)| path == gap.path).unwrap_or_else(|| panic!("{}", gap.path));
        assert_eq!(field.verdict, Verdict::Honoured, "{}", gap.path);
    }
    let mut shown = BTreeSet::new();
    for (place, name, problems) in every_case("refusals-docker", Runtime::Docker) {
        let found = errors(&problems);
        let gap =
            GAPS.iter().find(|gap| gap.path == name).unwrap_or_else(|| panic!("{place}: no gap {name}"));
        let is_at = |p: &Problem, gap: &Gap| {
            let path = general(&p.field).replace("initContainers", "containers");
            path.starts_with(gap.path.strip_suffix("[]").unwrap_or(gap.path))
        };
        assert!(found.iter().any(|problem| is_at(problem, gap)), "{place}: {name}: {found:?}");
        shown.insert(gap.path);
        for problem in &found {
            assert!(GAPS.iter().any(|gap| is_at(problem, gap)), "{place}: {name}: {problem}");
            // What else can be done is told.
            assert!(problem.help.is_some(), "{problem}");
        }
    }
    for (place, name, problems) in every_case("refusals-docker", Runtime::Runc) {
        assert!(errors(&problems).is_empty(), "{place}: {name}: runc refuses it too: {problems:?}");
    }
    let missing: Vec<&str> = GAPS.iter().map(|gap| gap.path).filter(|path| !shown.contains(path)).collect();
    assert!(missing.is_empty(), "no case is refused for {missing:?}");
}

/// Everything else can be told docker: no manifest that uses every field is refused for more than the gaps.
#[test]
fn docker_refuses_nothing_but_its_gaps() {
    let mut refused = BTreeSet::new();
    for entry in fs::read_dir(folder("whole")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        for problem in problems(&documents_for(&fs::read_to_string(&file).unwrap(), Runtime::Docker)) {
            let path = general(&problem.field).replace("initContainers", "containers");
            let gap =
                GAPS.iter().find(|gap| path.starts_with(gap.path.strip_suffix("[]").unwrap_or(gap.path)));
            refused.insert(gap.unwrap_or_else(|| panic!("{}: {problem}", file.display())).path);
        }
    }
    assert!(refused.contains("spec.volumes[].image"), "{refused:?}");
    let folder = folder("kubeadm");
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(problems(&documents_for(&text, Runtime::Docker)), [], "{text}");
    }
}

/// The paths of everything in a document.
fn paths(value: &serde_json::Value, path: &str, out: &mut BTreeSet<String>) {
    out.insert(path.to_owned());
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                paths(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, out);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| paths(v, &format!("{path}[]"), out)),
        _ => {}
    }
}

#[test]
fn every_honoured_field_is_accepted_and_read() {
    let mut used = BTreeSet::new();
    let mut used_in_objects = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder("whole")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let documents = documents(&text);
        let found: Vec<String> = problems(&documents).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}:\n{}", file.display(), found.join("\n"));
        let mut got = String::new();
        for document in &documents {
            match document.outcome.as_ref().unwrap() {
                Accepted::Pod { pod, canonical } => {
                    paths(canonical, "", &mut used);
                    got.push_str(&serde_json::to_string_pretty(pod).unwrap());
                }
                Accepted::Set(_) | Accepted::Nothing => panic!("neither Pod nor object"),
                Accepted::Object(object) => got.push_str(&serde_json::to_string_pretty(object).unwrap()),
            }
            got.push('\n');
        }
        for tree in serde_yaml::Deserializer::from_str(&text) {
            let tree: serde_json::Value = serde::Deserialize::deserialize(tree).unwrap();
            if tree["kind"] != "Pod" {
                paths(&tree, "", &mut used_in_objects);
            }
        }
        let golden = file.with_extension("json");
        if writing() {
            fs::write(&golden, got).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != got {
            wrong.push(format!("{}\n{got}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (table, used) in [(all(), used), (all_of_objects(), used_in_objects)] {
        let unused: Vec<&String> = table
            .iter()
            .filter(|(path, field)| field.verdict == Verdict::Honoured && !used.contains(path))
            .map(|(path, _)| path)
            .collect();
        assert!(unused.is_empty(), "no manifest of tests/whole uses {unused:#?}");
    }
}
