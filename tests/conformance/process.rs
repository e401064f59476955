//! The process: command and arguments, directory, terminal, standard input.

use crate::case::{Case, Part, case};
use crate::images::COMMAND;

fn of_image(what: &'static str, fields: &[&str], expected: &'static str) -> Case {
    let part = fields.iter().fold(Part::of_image("main"), |part, f| part.with(f));
    case("spec.containers.command", what).container(part.with(&format!("image: {COMMAND}"))).says(expected)
}

pub fn cases() -> Vec<Case> {
    vec![
        of_image("neither it nor args: ENTRYPOINT and CMD", &[], "entry cmd one"),
        of_image("args alone: they replace CMD", &["args: [two, three]"], "entry two three"),
        of_image("command alone: CMD is dropped", &["command: [/bin/echo, own]"], "own"),
        of_image("both", &["command: [/bin/echo, own]", "args: [four]"], "own four"),
        case("spec.containers.command", "without a shell; looked up on the image's PATH")
            .container(Part::of_image("main").with("command: [echo, '$HOME', 'a  b', '*', '']").with("args: ['-n']"))
            .says("$HOME a  b *  -n"),
        case("spec.containers.args", "$(VAR) from all variables; unknown and escaped ones stay")
            .container(
                Part::of_image("main")
                    .with("command: [echo]")
                    .with("args: ['$(A)$(B)', '$(NONE)', '$$(A)', '$A', '$(A']")
                    .with("env: [{name: A, value: x}, {name: B, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]"),
            )
            .says("xnode1 $(NONE) $(A) $A $(A"),
        case("spec.containers.workingDir", "is the process's; it is made when it is missing")
            .differs("podman", "a directory that is missing is not made: RunContainerError", |t| {
                let ended = t.ended("main");
                assert_eq!((&ended["exitCode"], &ended["reason"]), (&128.into(), &"RunContainerError".into()));
                assert!(ended["message"].as_str().unwrap_or_default().contains("/made/for/it"), "{ended}");
            })
            .main("pwd", "workingDir: /made/for/it")
            .says("/made/for/it"),
        case("spec.containers.workingDir", "absent: the image's")
            .main("pwd", &format!("image: {COMMAND}"))
            .says("/space"),
        case("spec.containers.tty", "the process has a terminal")
            .main("test -t 1 && echo terminal && stty size >/dev/null && echo sized", "tty: true")
            .output(|_, out| {
                let lines = out.lines().map(|l| l.trim_end_matches('\r'));
                // A terminal that nobody has given a size is complained of by busybox' stty.
                let lines: Vec<&str> = lines.filter(|l| !l.starts_with("stty:")).collect();
                assert_eq!(lines, ["terminal", "sized"]);
            }),
        case("spec.containers.tty", "absent: it has none")
            .main("test -t 0 || test -t 1 || test -t 2 || echo none", "")
            .says("none"),
        case("spec.containers.stdin", "stays open")
            .main("timeout 1 cat 2>/dev/null; [ $? != 0 ] && echo open", "stdin: true")
            .output(|_, out| assert!(out.starts_with("open"), "{out}")),
        case("spec.containers.stdin", "absent: it is at its end")
            .main("timeout 5 cat; echo $?", "")
            .says("0"),
        case("spec.containers", "output: both streams are kept, long and unfinished lines too")
            .main("echo out; echo err >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; echo -n end", "")
            .output(|_, out| {
                // The two streams have no common order; each keeps its own.
                let lines: Vec<&str> = out.lines().filter(|l| *l != "err").collect();
                assert_eq!(out.lines().count(), 4);
                assert_eq!((lines[0], lines[1].len(), lines[2]), ("out", 20000, "end"));
            }),
        case("spec.containers", "the process is the first of its pid namespace, and nothing is left over to it")
            .main("echo $$; ls /proc/self/fd | wc -l; grep SigBlk /proc/self/status | tr -d '\\t'; umask", "")
            .says("1\n4\nSigBlk:0000000000000000\n0022"),
    ]
}
