//! The cases of the kubelet's own tests of this source (`pkg/kubelet/config/http_test.go`, `config_test.go`), one by one; and
//! where we differ from it on purpose.

use std::path::PathBuf;

use super::*;
use crate::config::MissingDir;
use crate::manifest::Runtime;
use crate::pod::{NodeName, PullPolicy};
use crate::source::{Merged, Source, merge};

/// A source at a URL, and everything that it says.
struct Url(Source);

impl Url {
    fn new() -> Self {
        Self::kept_in("/no/such/directory".into())
    }

    fn kept_in(keep_dir: PathBuf) -> Self {
        let rules = Rules {
            node: NodeName::new("host"),
            limits: Limits::default(),
            runtime: Runtime::default(),
            rescan_ms: 20_000,
            on_missing: MissingDir::Remove,
            allow_foreign: false,
            keep_dir,
        };
        let url = "http://h/pods?key=secret".to_owned();
        let source = UrlSource::new(url, "http://h/pods?…".to_owned(), 20_000, 10 << 20, &rules);
        Self(Source::Url(Box::new(source)))
    }

    fn source(&mut self) -> &mut UrlSource {
        match &mut self.0 {
            Source::Url(source) => source,
            Source::Dir(_) => unreachable!("it was made as a URL"),
        }
    }

    fn answers(&mut self, body: &str) -> bool {
        self.source().turn();
        self.source().answered(Ok(Some(body.as_bytes())), 1_000)
    }

    fn fails(&mut self, why: &str) -> bool {
        self.source().turn();
        self.source().answered(Err(why.to_owned()), 1_000)
    }

    fn merged(&self) -> Merged {
        merge(std::slice::from_ref(&self.0))
    }

    /// The names of the Pods that are to run, each with its first image.
    fn pods(&self) -> Vec<String> {
        let merged = self.merged();
        let show = |pod: &crate::pod::Pod| format!("{} {}", pod.key, pod.containers[0].image);
        merged.good.values().map(|good| show(&good.pod)).collect()
    }
}

fn pod(name: &str, image: &str) -> String {
    format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"{name}\", \"namespace\": \"mynamespace\"}}, \
         \"spec\": {{\"hostNetwork\": true, \"containers\": [{{\"name\": \"1\", \"image\": \"{image}\"}}]}}}}"
    )
}

fn list(kind: &str, items: &[String]) -> String {
    format!("{{\"apiVersion\": \"v1\", \"kind\": \"{kind}\", \"items\": [{}]}}", items.join(", "))
}

#[test]
fn u1_without_an_answer_nothing_is_known_and_nothing_changes() {
    let mut url = Url::new();
    assert!(url.fails("connection refused"), "its error is to be shown");
    assert!(!url.merged().complete, "nobody knows what it would say");
    assert_eq!(url.0.standing().error(), Some("cannot be read: connection refused"));
    assert!(!url.fails("connection refused"), "and told once");
    url.answers(&pod("foo", "bar"));
    assert!(url.merged().complete && url.0.standing().error().is_none());
    url.fails("timeout");
    assert_eq!(url.pods(), ["mynamespace/foo-host bar"], "what it said goes on");
    assert!(url.merged().complete);
}

#[test]
fn u2_an_invalid_body_is_an_error_and_no_update() {
    let good = pod("foo", "bar");
    let spec = |spec: &str| {
        format!(
            "{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"foo\"}}, \"spec\": {spec}}}"
        )
    };
    let volumes = |volumes: &str| {
        spec(&format!(
            "{{\"hostNetwork\": true, \"containers\": [{{\"name\": \"1\", \"image\": \"i\"}}], \"volumes\": [{volumes}]}}"
        ))
    };
    let container = |name: &str| {
        spec(&format!("{{\"hostNetwork\": true, \"containers\": [{{{name}\"image\": \"i\"}}]}}"))
    };
    let volume = |name: &str| format!("{{\"name\": \"{name}\", \"emptyDir\": {{}}}}");
    for (what, body) in [
        ("no version", good.replace("\"apiVersion\": \"v1\", ", "")),
        ("an unknown version", good.replace("\"v1\"", "\"v1betta2\"")),
        ("an invalid volume", volumes(&volume("_INVALID_"))),
        ("two volumes of one name", volumes(&format!("{}, {}", volume("a"), volume("a")))),
        ("no name of a container", container("")),
        ("an empty name of a container", container("\"name\": \"\", ")),
        ("an invalid name of a container", container("\"name\": \"_INVALID_\", ")),
        ("no containers", spec("{\"hostNetwork\": true, \"containers\": []}")),
        ("no name", good.replace("\"name\": \"foo\", ", "")),
        ("no JSON", "{\"apiVersion\": ".to_owned()),
        ("no Pod", "hello".to_owned()),
    ] {
        let mut url = Url::new();
        url.answers(&body);
        assert_eq!(url.pods(), [""; 0], "{what}");
        assert!(!url.merged().refused.is_empty(), "{what} is told");
        // It has no effect on what runs either, nor on what is on disk.
        let mut url = Url::new();
        url.answers(&good);
        let kept = url.source().standing_mut().take_keeps();
        assert_eq!(kept.len(), 1);
        url.answers(&body);
        assert_eq!(url.pods(), ["mynamespace/foo-host bar"], "{what}");
        assert_eq!(url.source().standing_mut().take_keeps(), [], "{what}");
        // And the good one is believed again when it is given again, which the kubelet misses.
        url.answers(&good);
        let merged = url.merged();
        assert!(merged.refused.is_empty() && merged.good.values().all(|g| g.kept_for.is_none()), "{what}");
    }
}

#[test]
fn u3_a_single_pod() {
    let mut url = Url::new();
    assert!(url.answers(&pod("foo", "bar")));
    assert!(!url.answers(&pod("foo", "bar")), "the same again is nothing new");
    let merged = url.merged();
    let good = merged.good.values().next().unwrap();
    assert_eq!(good.pod.key.to_string(), "mynamespace/foo-host");
    assert_eq!(good.pod.uid.as_str().len(), 32, "hashed: {}", good.pod.uid);
    assert_eq!(good.pod.origin.path, "http://h/pods?…", "its query is nobody's business");
    // That it is of a URL, and tolerates nothing, is what `v1_pod` and the mirror tell by this origin.
    let mut other = Url::new();
    other.answers(&pod("foo", "baz"));
    assert_ne!(other.merged().good.values().next().unwrap().pod.uid, good.pod.uid);
}

#[test]
fn u4_a_list_of_pods_with_their_pull_policies() {
    for kind in ["PodList", "List"] {
        let mut url = Url::new();
        url.answers(&list(kind, &[pod("foo", "foo"), pod("bar", "bar:bartag")]));
        assert_eq!(url.pods(), ["mynamespace/bar-host bar:bartag", "mynamespace/foo-host foo"], "{kind}");
        let merged = url.merged();
        let policies: Vec<PullPolicy> =
            merged.good.values().map(|g| g.pod.containers[0].pull_policy).collect();
        assert_eq!(policies, [PullPolicy::IfNotPresent, PullPolicy::Always], "{kind}");
    }
}

#[test]
fn u4_one_invalid_item_does_not_take_the_others_along() {
    let mut url = Url::new();
    let broken = pod("foo", "foo").replace("\"name\": \"1\"", "\"name\": \"_\"");
    url.answers(&list("PodList", &[broken, pod("bar", "bar:1")]));
    assert_eq!(url.pods(), ["mynamespace/bar-host bar:1"]);
    assert_eq!(url.merged().refused.len(), 1);
}

#[test]
fn u6_an_error_and_then_a_good_answer() {
    let mut url = Url::new();
    url.answers(&pod("foo", "bar:1"));
    for why in ["HTTP 404 Not Found", "HTTP 500 Internal Server Error", "the answer is empty"] {
        assert!(url.fails(why));
        assert_eq!(url.pods(), ["mynamespace/foo-host bar:1"], "{why}");
    }
    assert!(url.answers(&pod("foo", "bar:2")));
    assert_eq!(url.pods(), ["mynamespace/foo-host bar:2"]);
    // "Nothing has changed" after an error is an answer, too.
    url.fails("timeout");
    assert!(url.source().answered(Ok(None), 1_000), "the error is gone");
    assert_eq!(url.pods(), ["mynamespace/foo-host bar:2"]);
}

#[test]
fn m1_of_two_with_one_name_the_first_counts() {
    let mut url = Url::new();
    url.answers(&list("PodList", &[pod("foo", "one"), pod("foo", "two")]));
    assert_eq!(url.pods(), ["mynamespace/foo-host one"]);
    let refused = url.merged().refused;
    assert!(refused.len() == 1 && refused[0].problems.concat().contains("twice"), "{refused:?}");
}

#[test]
fn m2_m3_a_change_is_another_generation_and_no_change_is_none() {
    let mut url = Url::new();
    let one = pod("foo", "bar");
    url.answers(&one);
    let generation = |url: &Url| url.merged().good.values().next().unwrap().pod.generation.clone();
    let first = generation(&url);
    let annotated = one.replace("\"name\": \"foo\"", "\"name\": \"foo\", \"annotations\": {\"a\": \"b\"}");
    let labelled = one.replace("\"name\": \"foo\"", "\"name\": \"foo\", \"labels\": {\"a\": \"b\"}");
    for body in [one.replace("\"bar\"", "\"baz\""), annotated, labelled] {
        url.answers(&body);
        assert_ne!(generation(&url), first, "{body}");
        url.answers(&one);
        assert_eq!(generation(&url), first);
    }
    // A status is nobody's wish, and blanks say nothing.
    let status = one.replace("\"spec\":", "\"status\": {\"phase\": \"Running\"}, \"spec\":  ");
    url.answers(&status);
    assert_eq!(generation(&url), first);
}

#[test]
fn m4_a_pod_that_is_not_in_the_set_any_more_goes() {
    let mut url = Url::new();
    url.answers(&list("PodList", &[pod("foo", "foo"), pod("bar", "bar")]));
    url.answers(&list("PodList", &[pod("bar", "bar")]));
    assert_eq!(url.pods(), ["mynamespace/bar-host bar"]);
    url.answers(&list("PodList", &[]));
    assert_eq!(url.pods(), [""; 0]);
}

#[test]
fn m5_a_first_set_that_is_empty_counts_as_seen() {
    let mut url = Url::new();
    assert!(!url.merged().complete);
    assert!(url.answers(&list("PodList", &[])), "it is news that there is nothing");
    assert!(url.merged().complete);
}

#[test]
fn what_was_said_last_is_known_after_a_boot_whatever_the_query() {
    let dir = std::env::temp_dir().join(format!("podstrap-url-keep-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut url = Url::kept_in(dir.clone());
    url.answers(&pod("foo", "bar"));
    for keep in url.source().standing_mut().take_keeps() {
        keep.carry_out(crate::sys::atomic::Durability::Process).unwrap();
    }
    let mut again = Url::kept_in(dir.clone());
    again.fails("connection refused");
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(again.pods(), ["mynamespace/foo-host bar"]);
    assert!(again.merged().complete);
}
