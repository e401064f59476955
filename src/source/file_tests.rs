//! The documents of one file over its contents: what is held, what is kept of an earlier content, and what is told of it.

use super::*;
use crate::manifest::{Limits, Runtime};
use crate::pod::NodeName;

fn document(name: &str, command: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  containers:\n  \
         - name: c\n    image: img\n    command: [\"{command}\"]\n"
    )
}

/// Refused, but says which Pod it is.
fn broken(name: &str) -> String {
    document(name, "x").replace("image: img", "image: \"no image\"")
}

fn join(documents: &[String]) -> String {
    documents.join("---\n")
}

struct File {
    state: FileState,
    node: NodeName,
}

impl File {
    fn new() -> Self {
        Self { state: FileState::default(), node: NodeName::new("n") }
    }

    fn take(&mut self, content: &str, at: i128) -> bool {
        let context = Context {
            node: &self.node,
            path: "/m/f.yaml",
            limits: Limits::default(),
            runtime: Runtime::default(),
        };
        self.state.take(content.as_bytes(), at, &context)
    }

    fn error(&mut self, why: &str) -> bool {
        let context = Context {
            node: &self.node,
            path: "/m/f.yaml",
            limits: Limits::default(),
            runtime: Runtime::default(),
        };
        self.state.take_error(why.to_owned(), &context)
    }

    /// Each Pod that is to run: its name, its command, and whether it is kept in spite of what the file says.
    fn good(&self) -> Vec<(&str, &str, bool)> {
        let show = |g: &'_ Good| g.kept_for.is_some();
        self.state
            .good
            .iter()
            .map(|g| (g.pod.key.name.as_str(), g.pod.containers[0].command[0].as_str(), show(g)))
            .collect()
    }

    fn problems(&self) -> String {
        let kept = self.state.good.iter().filter_map(|g| g.kept_for.as_ref());
        kept.chain(self.state.refused.iter().map(|r| &r.problems)).flat_map(|p| p.iter().cloned()).collect()
    }
}

#[test]
fn every_true_beginning_of_the_good_content_is_held_back() {
    let good = document("a", "one");
    for length in 0..good.len() {
        let mut f = File::new();
        assert!(f.take(&good, 1));
        assert!(f.take(&good[..length], 2), "{length}");
        assert_eq!(f.good(), [("a-n", "one", true)], "{length}");
        assert!(!f.take(&good[..length], 2), "reading it again changes nothing");
        assert!(f.take(&good, 3), "the whole again");
        assert_eq!(f.good(), [("a-n", "one", false)]);
    }
}

#[test]
fn a_beginning_that_is_touched_is_meant() {
    let mut f = File::new();
    let (one, two) = (document("a", "one"), document("b", "two"));
    f.take(&join(&[one.clone(), two]), 1);
    f.take(&one, 2);
    assert_eq!(f.good(), [("a-n", "one", true), ("b-n", "two", true)]);
    assert!(f.take(&one, 3), "the same content, with a new time");
    assert_eq!(f.good(), [("a-n", "one", false)]);
    assert_eq!(f.state.good_content(), Some(one.as_bytes()));
}

#[test]
fn another_content_after_a_suspect_one_counts() {
    let mut f = File::new();
    let one = document("a", "one");
    f.take(&one, 1);
    f.take(&one[..40], 2);
    assert!(f.take(&document("a", "two"), 3));
    assert_eq!(f.good(), [("a-n", "two", false)]);
}

#[test]
fn each_document_keeps_its_own_generation() {
    let mut f = File::new();
    f.take(&join(&[document("a", "one"), document("b", "one")]), 1);
    f.take(&join(&[broken("a"), document("b", "two")]), 2);
    assert_eq!(f.good(), [("a-n", "one", true), ("b-n", "two", false)]);
    assert!(f.state.refused().is_empty(), "it is told with the Pod that is kept");
    assert!(f.problems().contains("no image"), "{}", f.problems());
    f.take(&join(&[document("a", "three"), document("b", "two")]), 3);
    assert_eq!(f.good(), [("a-n", "three", false), ("b-n", "two", false)]);
    f.take(&document("b", "four"), 4);
    assert_eq!(f.good(), [("b-n", "four", false)], "a document that was taken out is gone");
}

#[test]
fn a_refusal_that_could_be_any_pod_drops_none() {
    let nameless = "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {}\n".to_owned();
    for present in [nameless, "{".to_owned(), String::new(), broken("renamed")] {
        let mut f = File::new();
        f.take(&join(&[document("a", "one"), document("b", "one")]), 1);
        f.take(&format!("{}---\n{present}", document("a", "two-is-longer")), 2);
        let good = f.good();
        assert_eq!(good.first(), Some(&("a-n", "two-is-longer", false)), "{present}");
        // An empty document is none at all: then the second one was taken out.
        let kept = good.contains(&("b-n", "one", true));
        assert_eq!(kept, !present.is_empty(), "{present}: {good:?}");
    }
}

#[test]
fn a_refusal_without_a_name_is_told_though_another_pod_is_kept() {
    let mut f = File::new();
    f.take(&document("a", "one"), 1);
    f.take(&join(&[broken("a"), "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {}\n".to_owned()]), 2);
    assert_eq!(f.good(), [("a-n", "one", true)]);
    assert_eq!(f.state.refused().len(), 1);
    assert!(f.problems().contains("no image"), "{}", f.problems());
}

#[test]
fn one_name_twice_in_a_file_runs_the_first() {
    let mut f = File::new();
    f.take(&join(&[document("a", "one"), document("a", "two")]), 1);
    assert_eq!(f.good(), [("a-n", "one", false)]);
    assert_eq!(f.state.refused()[0].origin.document, 2);
    assert!(f.problems().contains("defined twice"));
}

#[test]
fn a_file_that_cannot_be_used_keeps_what_it_said_and_says_why_once() {
    let mut f = File::new();
    assert!(f.error("too big"));
    assert!(!f.error("too big"));
    assert_eq!(f.state.refused().len(), 1);
    f.take(&document("a", "one"), 1);
    assert!(f.state.refused().is_empty());
    assert!(f.error("too big"));
    assert!(!f.error("too big"));
    assert_eq!(f.good(), [("a-n", "one", true)]);
    assert!(f.take(&document("a", "one"), 1), "the very same content as before the error");
    assert_eq!(f.good(), [("a-n", "one", false)]);
}

#[test]
fn only_content_without_a_refusal_is_the_last_good_one() {
    let mut f = File::new();
    f.take(&join(&[document("a", "one"), broken("b")]), 1);
    assert_eq!(f.state.good_content(), None);
    assert_eq!(f.good(), [("a-n", "one", false)]);
}

#[test]
fn objects_are_kept_while_they_are_refused() {
    let node = NodeName::new("n1");
    let context =
        Context { node: &node, path: "f.yaml", limits: Limits::default(), runtime: Runtime::default() };
    let pod =
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: etcd}]}\n";
    let map = |name: &str, value: &str| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: {value}}}\n")
    };
    let values = |state: &FileState| -> Vec<String> {
        let of = |HeldObject { object, .. }: &HeldObject| {
            format!("{}={}", object.reference.name, String::from_utf8_lossy(&object.data["a"]))
        };
        state.objects().iter().map(of).collect()
    };
    let mut state = FileState::default();
    let both = format!("{}{pod}{}", map("x", "old"), map("y", "same"));
    assert!(state.take(both.as_bytes(), 1, &context));
    assert_eq!((values(&state), state.refused().len()), (vec!["x=old".to_owned(), "y=same".to_owned()], 0));

    // A number is no text: the object stays as it was, and the Pod beside it is not touched.
    let broken = format!("{}{pod}{}", map("x", "7"), map("y", "new"));
    assert!(state.take(broken.as_bytes(), 2, &context));
    assert_eq!(values(&state), ["x=old", "y=new"]);
    assert_eq!(state.refused().len(), 1);
    assert!(state.good().iter().all(|g| g.kept_for.is_none()) && state.good().len() == 1);

    // Without a name it could be any of them.
    let nameless = format!("{}{pod}", map("[]", "b"));
    assert!(state.take(nameless.as_bytes(), 3, &context));
    assert_eq!(values(&state), ["x=old", "y=new"]);

    let twice = format!("{}{}", map("x", "one"), map("x", "two"));
    assert!(state.take(twice.as_bytes(), 4, &context));
    assert_eq!(values(&state), ["x=one"]);
    assert!(state.refused().iter().any(|r| r.problems.iter().any(|p| p.contains("defined twice"))));
}
