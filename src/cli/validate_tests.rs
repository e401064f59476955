//! What is told of files and directories, and with which exit code.

use super::*;

/// A directory of its own, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("podstrap-validate-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  containers:\n  - {{name: c, \
         image: etcd}}\n"
    )
}

fn report(paths: &[PathBuf]) -> (Report, String, String) {
    let report = Report::read(
        paths,
        Rules { node: &NodeName::new("n1"), limits: Limits::default(), runtime: Runtime::Runc },
    );
    let (mut problems, mut summary) = (Vec::new(), Vec::new());
    report.print_problems(&mut problems).unwrap();
    report.print_summary(&mut summary).unwrap();
    (report, String::from_utf8(problems).unwrap(), String::from_utf8(summary).unwrap())
}

#[test]
fn one_port_of_the_host_for_two_pods_is_warned_about() {
    let with = |name: &str, port: u16| {
        pod(name).replace("image: etcd", &format!("image: etcd, ports: [{{containerPort: {port}}}]"))
    };
    let (a, b, c) = (with("a", 80), with("b", 80), with("c", 81));
    let scratch = Scratch::new("ports", &[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", &c)]);
    let (report, problems, _) = report(std::slice::from_ref(&scratch.0));
    assert_eq!(report.exit_code(), VALID);
    let (root, problems) = (display(&scratch.0), problems.replace(&display(&scratch.0), "D"));
    let told = "D/b.yaml:1:1: warning: hostPort: port 80/TCP of the host is also that of D/a.yaml: whoever comes second";
    assert!(problems.contains(told), "{root}: {problems}");
    assert_eq!(problems.matches("warning").count(), 1, "{problems}");
}

#[test]
fn a_directory_is_read_as_the_daemon_reads_it() {
    let bad = pod("b").replace("true", "maybe");
    let two = format!("{}---\n{}", pod("c"), pod("d"));
    let files = [
        ("a.yaml", pod("a")),
        ("b.yml", bad),
        ("c.json", two),
        (".hidden.yaml", "junk".to_owned()),
        ("x.yaml~", "junk".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let scratch = Scratch::new("directory", &files);
    fs::create_dir(scratch.0.join("sub.yaml")).unwrap();
    let (report, problems, summary) = report(std::slice::from_ref(&scratch.0));
    assert_eq!(report.exit_code(), INVALID);
    let root = display(&scratch.0);
    assert_eq!(
        summary.replace(&root, "D"),
        "D/a.yaml: Pod default/a-n1: valid\nD/b.yml: Pod default/b-n1: refused: 1 error\nD/c.json: Pod default/c-n1: \
         valid\nD/c.json (document 2): Pod default/d-n1: valid\n"
    );
    let problems = problems.replace(&root, "D");
    assert!(problems.contains("D/sub.yaml: ignored: not a regular file\n"), "{problems}");
    assert!(problems.contains("D/x.yaml~: ignored: "), "{problems}");
    assert!(problems.contains("D/b.yml:5:16: error: spec.hostNetwork: "), "{problems}");
}

#[test]
fn duplicates_and_unreadable_paths_are_told() {
    let scratch = Scratch::new("duplicates", &[("a.yaml", &pod("a")), ("b.yaml", &pod("a"))]);
    let files = [scratch.0.join("a.yaml"), scratch.0.join("b.yaml")];
    let (both, problems, _) = report(&files);
    assert_eq!(both.exit_code(), INVALID);
    assert!(
        problems.contains("b.yaml:1:1: error: metadata.name: Pod default/a-n1 is already defined by "),
        "{problems}"
    );
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let maps = format!("{}---\n{}---\n{}", pod("a"), map("a-n1"), map("a-n1"));
    let scratch_of_maps = Scratch::new("maps", &[("m.yaml", &maps)]);
    let (maps, _, summary) = report(&[scratch_of_maps.0.join("m.yaml")]);
    assert_eq!(maps.exit_code(), INVALID);
    assert!(summary.contains("(document 2): ConfigMap default/a-n1: valid\n"), "{summary}");
    assert!(summary.contains("(document 3): ConfigMap default/a-n1: refused"), "{summary}");
    let (missing, problems, _) = report(&[scratch.0.join("none.yaml"), scratch.0.join("a.yaml")]);
    assert_eq!(missing.exit_code(), UNREADABLE);
    assert!(problems.contains("none.yaml: cannot be read: "), "{problems}");
}

#[test]
fn what_pods_depend_on_is_looked_for_in_all_files() {
    let on = |name: &str, list: &str| {
        let annotation = format!("{name}, annotations: {{podstrap.io/depends-on: \"{list}\"}}}}");
        pod(name).replacen(&format!("{name}}}"), &annotation, 1)
    };
    let (a, b, c) = (on("a", "b, x/y"), on("b", "c, a-n1, r"), pod("c"));
    let refused = pod("r").replace("true", "maybe");
    let files = [("a.yaml", a), ("b.yaml", b), ("c.yaml", c), ("r.yaml", refused)];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let scratch = Scratch::new("depends", &files);
    let (_, problems, summary) = report(std::slice::from_ref(&scratch.0));
    let problems = problems.replace(&display(&scratch.0), "D");
    let field = "warning: metadata.annotations[podstrap.io/depends-on]";
    let unknown = format!("D/a.yaml:3:59: {field}: no Pod x/y-n1 is in the files that were read");
    assert!(problems.contains(&unknown), "{problems}");
    let circle = "never started: default/b-n1 → default/a-n1 → default/b-n1\n";
    assert!(problems.contains(circle) && problems.contains(&format!("D/b.yaml:3:59: {field}")), "{problems}");
    assert_eq!(problems.matches("is in the files").count(), 1, "{problems}");
    assert!(summary.contains("a.yaml: Pod default/a-n1: valid, 2 warnings\n"), "{summary}");
    assert!(summary.contains("b.yaml: Pod default/b-n1: valid, 1 warning\n"), "{summary}");
}

#[test]
fn json_has_all_fields() {
    let scratch =
        Scratch::new("json", &[("a.yaml", &pod("a").replace("hostN", "HostN").replace("etcd", "Etcd"))]);
    let (report, ..) = report(&[scratch.0.join("a.yaml")]);
    let mut out = Vec::new();
    report.print_json(&mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let document = &json["files"][0]["documents"][0];
    assert_eq!((&document["name"], &document["namespace"]), (&"a-n1".into(), &"default".into()));
    assert_eq!(document["valid"], false);
    let error = &document["errors"][0];
    for field in ["severity", "path", "line", "column", "field", "message", "help", "excerpt", "caret"] {
        assert!(!error[field].is_null(), "{field}: {error}");
    }
    assert_eq!(document["warnings"][0]["severity"], "warning");
}
