//! Help, manual and parser must tell the same story.

use std::collections::BTreeSet;
use std::process::{Command, Output};

fn podstrap(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podstrap")).args(args).output().unwrap()
}

const VERBS: [&[&str]; 20] = [
    &["run"],
    &["status"],
    &["wait"],
    &["logs"],
    &["exec"],
    &["validate"],
    &["plan"],
    &["why"],
    &["restart"],
    &["down"],
    &["handover"],
    &["claim"],
    &["claim", "list"],
    &["claim", "rm"],
    &["image"],
    &["image", "load"],
    &["image", "pull"],
    &["image", "list"],
    &["image", "prune"],
    &["version"],
];

fn man() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/podstrap.8")).unwrap()
}

/// The options of the parser itself: the literals of its source, so that none can be left out of help.
fn declared() -> BTreeSet<String> {
    let source = concat!(
        include_str!("../../src/cli/args.rs"),
        include_str!("../../src/cli/args/image.rs"),
        include_str!("../../src/cli/args/run.rs"),
    );
    let mut found = BTreeSet::new();
    let mut option = false;
    let mut long = None;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[argh(") && (line.contains("option") || line.contains("switch")) {
            option = true;
            long =
                line.split_once("long = \"").and_then(|(_, l)| l.split_once('"')).map(|(l, _)| l.to_owned());
        } else if option && line.starts_with("pub ") {
            let field = line["pub ".len()..].split(':').next().unwrap().replace('_', "-");
            found.insert(format!("--{}", long.take().unwrap_or(field)));
            option = false;
        }
    }
    found
}

fn options_of(help: &str) -> BTreeSet<String> {
    help.split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
        .filter(|w| w.starts_with("--") && w.len() > 2 && *w != "--help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_option_is_in_help_and_manual() {
    let man = man();
    let mut helped = BTreeSet::new();
    for verb in VERBS {
        let output = podstrap(&[verb, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{verb:?}");
        assert!(output.stderr.is_empty(), "{verb:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        // The verb's own section of the manual, up to the next one.
        let heading = format!(".Ss {}", verb.join(" "));
        let section = man.split_once(&heading).unwrap_or_else(|| panic!("{heading} is not in the manual")).1;
        // `.Sx` refers to another section and ends none.
        let section = ["\n.Ss ", "\n.Sh "].iter().fold(section, |s, end| s.split(end).next().unwrap());
        for option in options_of(&help) {
            // mdoc writes `.It Fl -name`.
            let name = option.trim_start_matches("--").replace('-', "\\-");
            let marks = [format!("Fl \\-{name}"), format!("Fl -{}", option.trim_start_matches("--"))];
            assert!(
                marks.iter().any(|m| section.contains(m.as_str())),
                "{verb:?} {option} is not in its section"
            );
            helped.insert(option);
        }
    }
    let declared = declared();
    assert!(declared.len() > 25, "{declared:?}");
    helped.remove("--on");
    assert_eq!(declared.difference(&helped).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_manual_names_every_exit_code_and_file() {
    let man = man();
    for code in 0..=6 {
        assert!(man.contains(&format!(".It {code}\n")), "exit code {code}");
    }
    for text in
        ["NO_COLOR", "SIGTERM", "SIGINT", "daemon.json", "/var/log/containers", "/etc/kubernetes/manifests"]
    {
        assert!(man.contains(text), "{text}");
    }
}

#[test]
fn the_manual_is_clean() {
    for page in ["podstrap.8", "podstrap-manifest.5", "podstrap-sets.5", "podstrap-cloud-init.7"] {
        let path = format!("{}/man/{page}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("mandoc").args(["-T", "lint", "-W", "warning", &path]).output();
        let output = output.expect("this test needs mandoc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_how_to_tells_of_what_is_in_the_example() {
    let read =
        |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (page, example) = (read("man/podstrap-cloud-init.7"), read("dist/cloud-init.yaml"));
    for text in [
        "/etc/control-plane/settings",
        "/etc/control-plane/kubeadm.yaml",
        "/usr/local/sbin/control-plane-up",
        "/var/lib/podstrap/bundle",
        "/var/lib/podstrap/images.d",
        "SHA256SUMS",
        "SOURCE",
        "TIMEOUT",
        "FAILED",
        "could not be had",
        "is not what",
        "a manifest is refused",
        "podstrap-shutdown.service",
        "podstrap wait",
        "certs all",
        "kubeconfig all",
        "control-plane all",
        "etcd local",
        "upload-config",
    ] {
        assert!(page.contains(text) && example.contains(text), "{text}");
    }
}

#[test]
fn a_wrong_command_line_is_told_on_standard_error_with_2() {
    let wrong: [&[&str]; 16] = [
        &[],
        &["frob"],
        &["status", "--bogus"],
        &["status", "-o", "xml"],
        &["wait", "--timeout", "soon"],
        &["wait", "--for", "ever"],
        &["logs"],
        &["logs", "a/b/c"],
        &["logs", "p", "--tail", "-1"],
        &["exec", "p"],
        &["validate"],
        &["image"],
        &["image", "load"],
        &["image", "pull"],
        &["run", "--restart-backoff", "60s,1s"],
        &["run", "--node-name", "not_a_name"],
    ];
    for args in wrong {
        let output = podstrap(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {output:?}");
    }
    let output = podstrap(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for verb in VERBS {
        assert!(text.contains(&format!("  {} ", verb[0])), "{verb:?}");
    }
}

#[test]
fn a_closed_standard_output_is_no_crash() {
    let script = format!("{} version >&-; echo $?", env!("CARGO_BIN_EXE_podstrap"));
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
}

#[test]
fn validate_reads_standard_input() {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = Command::new(env!("CARGO_BIN_EXE_podstrap"));
    command.args(["validate", "-", "--node-name", "n"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n";
    child.stdin.take().unwrap().write_all(pod.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "standard input: Pod default/a-n: valid\n");
}
