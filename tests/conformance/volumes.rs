//! emptyDir and image volumes.

use crate::case::{Case, case, part};
use crate::common::host;
use crate::images::FILES;

const WORK: &str = "{name: work, mountPath: /space}";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.volumes.emptyDir", "empty, writable for everybody: mode 0777")
            .volume("{name: work, emptyDir: {}}")
            .container(
                part("main", "stat -c %a /space; ls -A /space | wc -l; touch /space/x && echo written")
                    .mount(WORK)
                    .with("securityContext: {runAsUser: 4321}"),
            )
            .says("777\n0\nwritten"),
        case("spec.volumes", "without a source: an emptyDir")
            .volume("{name: work}")
            .container(part("main", "touch /space/x && ls /space").mount(WORK))
            .says("x"),
        case("spec.volumes.emptyDir", "is shared by the containers of the Pod")
            .volume("{name: work, emptyDir: {}}")
            .container(part("one", "echo from one >/space/.part; mv /space/.part /space/word").mount(WORK))
            .container(
                part("two", "while ! [ -e /space/word ]; do sleep 0.1; done; cat /space/word").mount(WORK),
            )
            .prints("two", "from one"),
        case("spec.volumes.emptyDir", "is kept over restarts of the container")
            .spec("restartPolicy: OnFailure")
            .volume("{name: work, emptyDir: {}}")
            .container(part("main", "echo life >>/space/lives; wc -l </space/lives; [ $(wc -l </space/lives) -ge 3 ]").mount(WORK))
            .phase("Succeeded")
            .says("3"),
        case("spec.containers", "what is written elsewhere is not")
            .spec("restartPolicy: OnFailure")
            .main("say main; echo life >>/lives; wc -l </lives; [ $(grep -c main /out/events) -ge 2 ]", "")
            .phase("Succeeded")
            .says("1"),
        gone("spec.volumes.emptyDir", "is gone with the Pod", "emptyDir: {}"),
        gone("spec.volumes.emptyDir.medium=Memory", "is gone with the Pod", "emptyDir: {medium: Memory}"),
        case("spec.volumes.emptyDir", "is empty again after a replacement of the Pod")
            .metadata("labels: {version: first}")
            .volume("{name: work, emptyDir: {}}")
            .container(
                part("main", "trap 'exit 0' TERM; ls /space | wc -l >>/out/seen; touch /space/x; say main; stay").mount(WORK),
            )
            .then(|t| {
                t.event("main");
                t.ready();
                t.edit("version: first", "version: second");
                t.nth("main", 2);
                assert_eq!(t.file("seen"), "0\n0\n");
            }),
        case("spec.volumes.emptyDir.medium=Memory", "is a tmpfs")
            .volume("{name: work, emptyDir: {medium: Memory}}")
            .container(part("main", "grep ' /space ' /proc/mounts | cut -d' ' -f3; stat -c %a /space").mount(WORK))
            .output(|_, out| {
                let lines: Vec<&str> = out.lines().collect();
                assert_eq!(lines[0], "tmpfs");
                assert!(["777", "1777"].contains(&lines[1]), "{out}");
            }),
        case("spec.volumes.emptyDir.sizeLimit", "of a Memory one is its size")
            .volume("{name: work, emptyDir: {medium: Memory, sizeLimit: 2Mi}}")
            .container(
                part("main", "df -k /space | tail -n 1 | tr -s ' ' | cut -d' ' -f2; head -c 3000000 /dev/zero >/space/x 2>/dev/null || echo full")
                    .mount(WORK),
            )
            .says("2048\nfull"),
        case("spec.volumes.emptyDir.medium=Memory", "the Pod's memory limit is its size where that is less")
            .volume("{name: work, emptyDir: {medium: Memory, sizeLimit: 1Gi}}")
            .container(
                part("main", "df -k /space | tail -n 1 | tr -s ' ' | cut -d' ' -f2")
                    .mount(WORK)
                    .with("resources: {limits: {memory: 40Mi}}"),
            )
            .says("40960"),
        case("spec.volumes.emptyDir.medium=Memory", "is kept over restarts of the container")
            .spec("restartPolicy: OnFailure")
            .volume("{name: work, emptyDir: {medium: Memory}}")
            .container(part("main", "echo life >>/space/lives; [ $(wc -l </space/lives) -ge 2 ] && cat /space/lives").mount(WORK))
            .says("life\nlife"),
        case("spec.volumes.emptyDir.medium", "refused when unknown")
            .volume("{name: work, emptyDir: {medium: Paper}}")
            .container(part("main", "true").mount(WORK))
            .refused(&["emptyDir.medium", "Paper"]),
    ];
    cases.extend(images());
    cases
}

/// The files are nowhere on the host once the Pod has gone.
fn gone(field: &'static str, what: &'static str, source: &str) -> Case {
    case(field, what)
        .volume(&format!("{{name: work, {source}}}"))
        .container(
            part("main", "trap 'exit 0' TERM; touch /space/mark-of-@NAME@; say main; stay").mount(WORK),
        )
        .then(|t| {
            let mark = format!("mark-of-{}", t.name);
            let found = || {
                let below = [&t.instance.state, &t.instance.run].map(|d| host::files_below(d));
                below.concat().iter().any(|f| f.file_name().is_some_and(|n| *n == *mark))
            };
            t.event("main");
            assert!(found(), "it is on the host while the Pod lives");
            t.remove();
            t.gone();
            t.until("it is gone", || !found());
        })
}

fn images() -> Vec<Case> {
    let volume = format!("{{name: data, image: {{reference: {FILES}, pullPolicy: IfNotPresent}}}}");
    vec![
        case("spec.volumes.image", "the files of an image")
            .volume(&volume)
            .container(
                part("main", "cat /data/data/hello /data/data/sub/inner")
                    .mount("{name: data, mountPath: /data}"),
            )
            .says("hello from the image\ninner")
            .refused_by("docker", "docker, which mounts no images"),
        case("spec.volumes.image", "are read-only")
            .volume(&volume)
            .container(
                part(
                    "main",
                    "touch /data/x 2>/dev/null || echo refused; echo y >>/data/data/hello || echo refused",
                )
                .mount("{name: data, mountPath: /data}"),
            )
            .output(|_, out| assert_eq!(out.lines().filter(|l| *l == "refused").count(), 2, "{out}"))
            .refused_by("docker", "docker, which mounts no images"),
        case("spec.volumes.image", "one part of it, by subPath")
            .volume(&volume)
            .container(part("main", "ls /data").mount("{name: data, mountPath: /data, subPath: data/sub}"))
            .says("inner")
            .refused_by("docker", "docker, which mounts no images"),
        case("spec.volumes.image.reference", "an image that is not there is waited for")
            .refused_by("docker", "docker, which mounts no images")
            .volume("{name: data, image: {reference: 'localhost/absent:1', pullPolicy: Never}}")
            .container(part("main", "say main").mount("{name: data, mountPath: /data}"))
            .then(|t| {
                t.until("the image is named", || {
                    t.status().is_some_and(|s| s.message.is_some_and(|m| m.contains("localhost/absent:1")))
                });
                assert_eq!(t.at("/status/phase"), "Pending");
                assert!(t.events().is_empty());
            }),
    ]
}
