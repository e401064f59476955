//! Tests of what pulling asks for and says; `tests/image_pull.rs` runs it.

use super::*;
use crate::pod::reference::Reference;

#[test]
fn the_command_line_is_exact() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let reference = Reference::parse(&format!("registry.example:5000/x/app:1@{digest}")).unwrap();
    let options = Options { authfile: Some("/a/auth.json".into()), deadline_ms: 5000, ..Options::default() };
    let line =
        command(Path::new("/usr/bin/skopeo"), &reference, Path::new("/w/i.tar"), Path::new("/w"), &options);
    let expected = [
        "copy",
        "--quiet",
        "--authfile",
        "/a/auth.json",
        "--",
        &format!("docker://registry.example:5000/x/app@{digest}"),
        "docker-archive:/w/i.tar",
    ];
    assert_eq!(line.args, expected);
    assert_eq!(line.env, [("HOME".into(), "/root".into()), ("TMPDIR".into(), "/w".into())]);
    assert_eq!(line.deadline_ms, Some(5000));
    let plain = command(
        Path::new("/s"),
        &Reference::parse("etcd").unwrap(),
        Path::new("/i"),
        Path::new("/w"),
        &Options { show: true, ..Options::default() },
    );
    assert_eq!(plain.args, ["copy", "--", "docker://docker.io/library/etcd:latest", "docker-archive:/i"]);
}

#[test]
fn a_missing_skopeo_names_the_way_out() {
    let text = PullError::NoSkopeo { reference: "etcd".into() }.to_string();
    assert!(text.contains("etcd") && text.contains("podstrap image load FILE"), "{text}");
}

#[test]
fn the_cause_is_taken_out_of_the_log_line() {
    let output =
        "Getting image\ntime=\"2026\" level=fatal msg=\"reading \\\"app\\\":\x1b manifest unknown\"\n";
    assert_eq!(cause(output), "reading \"app\":\\u{1b} manifest unknown");
    assert_eq!(cause("plain words\n\n"), "plain words");
    assert_eq!(cause(""), "");
}
