//! What docker 20.10.24 and podman 4.3.1 really print, and lists that are not lists.

use super::*;
use std::path::PathBuf;

const DOCKER: &str = "\
bb\t1\t<none>\tsha256:3bd18a586948b95a92a4f0d5fd5d955bb211365941bb59594ffc4de0b7ba1bff
<none>\t<none>\t<none>\tsha256:44859d75221f74c9354c480d56a0db95c25cafd9f20cfb279550553470df8aa2
registry.example/team/x\tv1\t<none>\tsha256:bf4bbbe17594b5c33700cffcadb83ec29431cc916ff3c21fabe193692ee6966a
127.0.0.1:5999/app\t1\tsha256:0c9a83686efbaafd8b6acd9423e470c5b0dfd8786aef8b4a5e4ad723db73ea5e\tsha256:7f2dc0df1770505438b11da4a215a0c8b1fefb9c9e4a2ce39c8a14be750febb7
127.0.0.1:5999/app\t1\tsha256:8d3970bca25b5fe20f3b774f560b3576b8cb4be3389be31d2ca82cbd1dc48ed0\tsha256:7f2dc0df1770505438b11da4a215a0c8b1fefb9c9e4a2ce39c8a14be750febb7";

const PODMAN: &str = "\
registry.example/team/x\tv1\tsha256:032bc82a8eaabcc69eefced7f4e9bad8adf1188ca073c6ee0a68c5f3acba882a\tsha256:bf4bbbe17594b5c33700cffcadb83ec29431cc916ff3c21fabe193692ee6966a
<none>\t<none>\tsha256:921034026e2a6090bbe14cb19caf0f510be6d28901f08016d61b28aa0e196392\tsha256:44859d75221f74c9354c480d56a0db95c25cafd9f20cfb279550553470df8aa2
127.0.0.1:5999/app\t<none>\tsha256:0c9a83686efbaafd8b6acd9423e470c5b0dfd8786aef8b4a5e4ad723db73ea5e\tsha256:7f2dc0df1770505438b11da4a215a0c8b1fefb9c9e4a2ce39c8a14be750febb7
localhost/bb\t1\tsha256:37ac9611e2c64e5ca2a363a55df1929dfba554f02a4f8f3d005acd2ba3b0800c\tsha256:5d9544a3312704dcb85b900ec0daa9ea90b043d42ea146b79fe12e7d99d37ae8";

fn names(listing: &Listing) -> Vec<(&str, &str)> {
    // An id's first digits tell it from the others here.
    listing.references.iter().map(|(name, id)| (name.as_str(), &id["sha256:".len()..][..4])).collect()
}

#[test]
fn docker_is_read() {
    let listing = Listing::parse(DOCKER).unwrap();
    assert_eq!(
        names(&listing),
        [
            ("127.0.0.1:5999/app:1", "7f2d"),
            (
                "127.0.0.1:5999/app@sha256:0c9a83686efbaafd8b6acd9423e470c5b0dfd8786aef8b4a5e4ad723db73ea5e",
                "7f2d"
            ),
            (
                "127.0.0.1:5999/app@sha256:8d3970bca25b5fe20f3b774f560b3576b8cb4be3389be31d2ca82cbd1dc48ed0",
                "7f2d"
            ),
            ("docker.io/library/bb:1", "3bd1"),
            ("registry.example/team/x:v1", "bf4b"),
        ]
    );
    assert_eq!(listing.ids.len(), 4, "one without a name too: {:?}", listing.ids);
    assert!(listing.ids.iter().all(|id| id.len() == "sha256:".len() + 64));
}

#[test]
fn podman_is_read() {
    let listing = Listing::parse(PODMAN).unwrap();
    assert_eq!(
        names(&listing),
        [
            (
                "127.0.0.1:5999/app@sha256:0c9a83686efbaafd8b6acd9423e470c5b0dfd8786aef8b4a5e4ad723db73ea5e",
                "7f2d"
            ),
            ("localhost/bb:1", "5d95"),
            ("localhost/bb@sha256:37ac9611e2c64e5ca2a363a55df1929dfba554f02a4f8f3d005acd2ba3b0800c", "5d95"),
            ("registry.example/team/x:v1", "bf4b"),
            (
                "registry.example/team/x@sha256:032bc82a8eaabcc69eefced7f4e9bad8adf1188ca073c6ee0a68c5f3acba882a",
                "bf4b"
            ),
        ]
    );
    assert_eq!(listing.ids.len(), 4);
    // Without its beginning an id means the same.
    assert_eq!(Listing::parse(&PODMAN.replace("\tsha256:5d95", "\t5d95")).unwrap(), listing);
}

#[test]
fn warnings_are_passed_over_and_what_is_no_list_is_an_error() {
    assert_eq!(Listing::parse("").unwrap(), Listing::default());
    let warned = format!("WARNING: Error loading config file: /root/.docker/config.json\n{DOCKER}");
    assert_eq!(Listing::parse(&warned), Listing::parse(DOCKER));
    for wrong in
        ["a\tb\tc", "bb\t1\t<none>\t3bd18a586948", "bb\t1\t<none>\t", "bb\t1\t<none>\tsha256:x\tmore"]
    {
        let error = Listing::parse(&format!("{DOCKER}\n{wrong}")).unwrap_err();
        assert!(error.to_string().contains("not understood"), "{error}");
    }
}

fn docker(flavour: Flavour) -> Docker {
    Docker { flavour, config: Some(PathBuf::from("/run/p/docker")), ..Docker::new("/usr/bin/docker".into()) }
}

#[test]
fn the_command_lines_are_exact() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let etcd = Reference::parse(&format!("etcd:3@{digest}")).unwrap();
    let words = |line: &CommandLine| line.args.join(" ".as_ref()).into_string().unwrap();
    let d = docker(Flavour::Docker);
    assert_eq!(
        words(&d.list_images()),
        "images --no-trunc --digests --format {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}"
    );
    assert_eq!(d.list_images().deadline_ms, Some(30_000));
    assert_eq!(words(&d.load_images()), "load --quiet");
    assert_eq!(words(&docker(Flavour::Nerdctl).load_images()), "load");
    assert_eq!(words(&d.pull_image(&etcd, false)), format!("pull --quiet docker.io/library/etcd@{digest}"));
    assert_eq!(
        words(&d.pull_image(&Reference::parse("etcd:3").unwrap(), true)),
        "pull docker.io/library/etcd:3"
    );
    assert_eq!(words(&d.inspect_images(["a", "b"])), "image inspect a b");
    for line in [d.list_images(), d.load_images(), d.pull_image(&etcd, true), d.inspect_images(["a"])] {
        assert!(line.deadline_ms.is_some());
        assert!(line.env.contains(&("DOCKER_CONFIG".into(), "/run/p/docker".into())));
    }
    assert!(!d.pulls_itself() && docker(Flavour::Podman).pulls_itself());
}

#[test]
fn what_is_told_of_single_images_is_read() {
    let docker = r#"[{"Id":"sha256:3bd18a586948b95a92a4f0d5fd5d955bb211365941bb59594ffc4de0b7ba1bff","RepoTags":["bb:1"],
        "RepoDigests":[],"Created":"2026-11-22T00:12:54.033824742Z","Architecture":"amd64","Os":"linux","Size":1982319,
        "RootFS":{"Type":"layers","Layers":["sha256:6d269434be1aad6040a69b0c61d6463e44dc48362d129cb00cdcd862a0c4fa09"]},
        "Metadata":{"LastTagTime":"2026-11-22T00:12:54.034429681Z"}}]
Error: No such image: nope"#;
    let podman = r#"[{"Id":"7f2dc0df1770505438b11da4a215a0c8b1fefb9c9e4a2ce39c8a14be750febb7","RepoTags":[],"RepoDigests":
        ["127.0.0.1:5999/app@sha256:0c9a83686efbaafd8b6acd9423e470c5b0dfd8786aef8b4a5e4ad723db73ea5e"],"Created":null,
        "Architecture":"arm64","Variant":"v8","Os":"linux","Size":1230,"RootFS":{"Type":"layers","Layers":["a","b"]}}]"#;
    let found = &inspected(docker).unwrap()[0];
    assert_eq!((found.layers, found.size, found.platform.as_str()), (1, 1_982_319, "linux/amd64"));
    assert_eq!(found.tags, ["docker.io/library/bb:1"]);
    assert_eq!(found.tagged_ms, Some(1_795_306_374_034));
    let found = &inspected(podman).unwrap()[0];
    assert!(found.id.starts_with("sha256:7f2d"));
    assert_eq!((found.layers, found.platform.as_str(), found.tagged_ms), (2, "linux/arm64/v8", None));
    assert_eq!((found.tags.len(), found.digests.len()), (0, 1));
    let never = docker.replace("2026-11-22T00:12:54.034429681Z\"}", "0001-01-01T00:00:00Z\"}");
    assert_eq!(inspected(&never).unwrap()[0].tagged_ms, None);
    assert_eq!(inspected("[]\nError: No such image: nope").unwrap(), []);
    assert!(
        inspected("Cannot connect to the Docker daemon").unwrap_err().to_string().contains("Cannot connect")
    );
}
