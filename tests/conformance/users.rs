//! Who the process is: users, groups, and the group of volumes.

use crate::case::{Case, Part, case, part};
use crate::images::{NUMBER, USERS};

const ID: &str = "id -u; id -g; grep Groups: /proc/self/status | tr -s '\\t ' ' '";

fn image(name: &str) -> String {
    format!("image: {name}")
}

pub fn cases() -> Vec<Case> {
    vec![
        case("spec.containers.image", "its user by name: group, further groups and HOME by its passwd and group")
            .main(&format!("{ID}; echo $HOME; pwd"), &image(USERS))
            .output(|_, out| {
                let lines: Vec<&str> = out.lines().map(str::trim).collect();
                assert_eq!(lines[..2], ["1234", "2345"], "{out}");
                assert!(lines[2].contains("3456"), "{out}");
                assert_eq!(lines[3..], ["/home/app", "/home/app"], "{out}");
            }),
        case("spec.containers.image", "its user by number")
            .main("id -u; id -g", &image(NUMBER))
            .says("1234\n2345"),
        case("spec.containers.securityContext.runAsUser", "is the user")
            .main("id -u", "securityContext: {runAsUser: 4321}")
            .says("4321"),
        case("spec.securityContext.runAsUser", "of the Pod; the container's wins")
            .spec("securityContext: {runAsUser: 1000}")
            .container(part("one", "id -u"))
            .container(part("two", "id -u").with("securityContext: {runAsUser: 2000}"))
            .prints("one", "1000")
            .prints("two", "2000"),
        case("spec.containers.securityContext.runAsGroup", "is the group")
            .main("id -u; id -g", "securityContext: {runAsUser: 4321, runAsGroup: 8765}")
            .says("4321\n8765"),
        case("spec.containers.securityContext.runAsGroup", "absent: by the image's passwd, or 0")
            .container(part("known", "id -g").with(&image(USERS)).with("securityContext: {runAsUser: 1234}"))
            .container(part("unknown", "id -g").with(&image(USERS)).with("securityContext: {runAsUser: 4321}"))
            .prints("known", "2345")
            .prints("unknown", "0"),
        case("spec.containers.securityContext.runAsNonRoot", "user 0 is not started")
            .main("say main", "securityContext: {runAsNonRoot: true}")
            .waits("main", "CreateContainerConfigError", &["runAsNonRoot"])
            .then(|t| assert_eq!(t.count("main"), 0)),
        case("spec.containers.securityContext.runAsNonRoot", "an image's user by name is not started")
            .main("say main", &format!("{}\nsecurityContext: {{runAsNonRoot: true}}", image(USERS)))
            .waits("main", "CreateContainerConfigError", &["app"])
            .then(|t| assert_eq!(t.count("main"), 0)),
        case("spec.containers.securityContext.runAsNonRoot", "an image's user by number, or runAsUser, is")
            .spec("securityContext: {runAsNonRoot: true}")
            .container(part("image", "id -u").with(&image(NUMBER)))
            .container(part("manifest", "id -u").with("securityContext: {runAsUser: 77}"))
            .prints("image", "1234")
            .prints("manifest", "77"),
        case("spec.securityContext.supplementalGroups", "are further groups")
            .spec("securityContext: {supplementalGroups: [5001, 5002]}")
            .main(ID, "securityContext: {runAsUser: 4321}")
            .output(|_, out| {
                let groups = out.lines().last().unwrap_or_default();
                assert!(groups.contains("5001") && groups.contains("5002"), "{out}");
            }),
        case("spec.securityContext.supplementalGroupsPolicy=Merge", "the image's groups of the user count")
            .spec("securityContext: {supplementalGroups: [5001], supplementalGroupsPolicy: Merge}")
            .main(ID, &image(USERS))
            .output(|_, out| assert!(out.contains("3456") && out.contains("5001"), "{out}")),
        case("spec.securityContext.supplementalGroupsPolicy=Strict", "the image's groups of the user do not count")
            .spec("securityContext: {supplementalGroups: [5001], supplementalGroupsPolicy: Strict}")
            .main(ID, &image(USERS))
            .output(|_, out| assert!(!out.contains("3456") && out.contains("5001"), "{out}"))
            .refused_by("docker", "Strict cannot be had with docker"),
        case("spec.securityContext.fsGroup", "is a further group, and the group of an emptyDir")
            .spec("securityContext: {fsGroup: 6001, runAsUser: 4321, runAsGroup: 4321}")
            .volume("{name: work, emptyDir: {}}")
            .container(
                part("main", "id -G | tr ' ' '\\n' | grep -x 6001; stat -c %g /space; touch /space/x && stat -c %g /space/x")
                    .mount("{name: work, mountPath: /space}"),
            )
            .says("6001\n6001\n6001"),
        case("spec.securityContext.fsGroup", "can read a secret of mode 0400")
            .spec("securityContext: {fsGroup: 6001, runAsUser: 4321, runAsGroup: 4321}")
            .volume("{name: s, secret: {secretName: '@NAME@-s', defaultMode: 0400}}")
            .document("apiVersion: v1\nkind: Secret\nmetadata: {name: '@NAME@-s'}\nstringData: {pass: hush}")
            .container(part("main", "cat /s/pass; echo; stat -L -c %g:%a /s/pass").mount("{name: s, mountPath: /s}"))
            .says("hush\n6001:440"),
        case("spec.securityContext.fsGroup", "leaves a hostPath alone")
            .spec("securityContext: {fsGroup: 6001}")
            .main("stat -c %g /out", "")
            .says("0"),
        case("spec.containers.securityContext.runAsUser", "refused when it is no user id")
            .main("true", "securityContext: {runAsUser: -1}")
            .refused(&["runAsUser"]),
        case("spec.containers.securityContext.runAsGroup", "refused when it is no group id")
            .main("true", "securityContext: {runAsGroup: 99999999999}")
            .refused(&["runAsGroup"]),
        case("spec.containers.securityContext.runAsUser", "owns nothing more: it may not read root's files")
            .before(|t| {
                t.write("private", "secret\n");
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(t.dir.join("private"), mode).unwrap();
            })
            .container(
                Part::of_image("main")
                    .with("command: [sh, -c, 'cat /out/private 2>/dev/null || echo refused; grep CapEff /proc/self/status']")
                    .with("securityContext: {runAsUser: 4321}"),
            )
            .says("refused\nCapEff:\t0000000000000000"),
    ]
}
