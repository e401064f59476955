//! One manifest file: what it says now, and what it said when it was last good.

use std::rc::Rc;

use super::{Good, HeldObject, HeldSet, Refused};
use crate::manifest::{self, Accepted, Context, Document};
use crate::pod::set::SetKey;
use crate::pod::{Namespace, ObjectRef, Origin, PodKey};

/// The state of one file.
#[derive(Debug, Default)]
pub struct FileState {
    /// What was read last, whole and settled.
    content: Option<Rc<[u8]>>,
    /// The last content in which nothing was refused.
    good_content: Option<Rc<[u8]>>,
    /// A strict prefix of the good content, held back; with the time stamp it had.
    suspect: Option<(Box<[u8]>, i128)>,
    good: Vec<Good>,
    sets: Vec<HeldSet>,
    objects: Vec<HeldObject>,
    refused: Vec<Refused>,
}

impl FileState {
    /// The documents to run.
    pub fn good(&self) -> &[Good] {
        &self.good
    }

    /// The DaemonSets and StatefulSets.
    pub fn sets(&self) -> &[HeldSet] {
        &self.sets
    }

    /// The ConfigMaps and Secrets; one that is refused now stays as it was.
    pub fn objects(&self) -> &[HeldObject] {
        &self.objects
    }

    /// The documents that are refused and have no earlier version.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The last content in which nothing was refused.
    pub fn good_content(&self) -> Option<&[u8]> {
        self.good_content.as_deref()
    }

    /// Whether the content read last is held back.
    pub fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// Takes in content that was read whole while nobody was writing. `changed_at` is the file's change time in
    /// nanoseconds: the same beginning of the good content read with a new time stamp is meant. Returns whether anything
    /// is different now.
    pub fn take(&mut self, content: &[u8], changed_at: i128, context: &Context<'_>) -> bool {
        if let Some((held, at)) = &self.suspect {
            if **held == *content && *at == changed_at {
                return false;
            }
        } else if self.content.as_deref() == Some(content) {
            return false;
        }
        let touched = matches!(&self.suspect, Some((held, _)) if **held == *content);
        let is_beginning =
            self.good_content.as_ref().is_some_and(|g| content.len() < g.len() && g.starts_with(content));
        if is_beginning && !touched {
            self.suspect = Some((content.into(), changed_at));
            let why = format!(
                "{}: error: the content is a mere beginning of the last good one, as a writer that died leaves it; \
                 the Pod goes on as it was (write the file whole, or touch it if this is meant)",
                context.path
            );
            let problems: Rc<[String]> = Rc::new([why]);
            self.keep_all(&problems);
            return true;
        }
        self.suspect = None;
        self.content = Some(content.into());
        let documents = manifest::read(content, context);
        let whole = documents.iter().all(|d| d.outcome.is_ok());
        self.apply(documents, context);
        if whole {
            self.good_content = self.content.clone();
        }
        true
    }

    /// Takes in that the file is there but cannot be used (unreadable, too large, writable by everybody).
    pub fn take_error(&mut self, why: String, context: &Context<'_>) -> bool {
        let problems: Rc<[String]> = Rc::new([why]);
        if self.good.is_empty() && self.sets.is_empty() {
            let refused = vec![Refused { key: None, origin: origin(context, 1), problems }];
            let changed = self.refused != refused;
            self.refused = refused;
            self.content = None;
            return changed;
        }
        let kept = self.good.iter().map(|g| &g.kept_for).chain(self.sets.iter().map(|s| &s.kept_for));
        let changed = kept.into_iter().any(|k| k.as_ref() != Some(&problems));
        self.content = None;
        self.keep_all(&problems);
        changed
    }

    fn keep_all(&mut self, problems: &Rc<[String]>) {
        for good in &mut self.good {
            good.kept_for = Some(problems.clone());
        }
        for set in &mut self.sets {
            set.kept_for = Some(problems.clone());
        }
        self.refused.clear();
    }

    fn apply(&mut self, documents: Vec<Document>, context: &Context<'_>) {
        let former = std::mem::take(&mut self.good);
        let former_sets = std::mem::take(&mut self.sets);
        let former_objects = std::mem::take(&mut self.objects);
        self.refused.clear();
        let mut refused_objects = Vec::new();
        // A refused document that is none of the former ones by its name, or has no name, could be any of them, renamed by the
        // edit that broke it: none of them is dropped.
        let mut unmatched: Vec<String> = Vec::new();
        for document in documents {
            let warnings: Rc<[String]> = document.warnings.iter().map(ToString::to_string).collect();
            match document.outcome {
                Ok(Accepted::Object(object)) => {
                    if self.is_held(&object.namespace, &object.reference) {
                        let problem = format!(
                            "{}: error: {} {}/{} is defined twice in this file; the first one is used",
                            context.path,
                            object.reference.kind.as_str(),
                            object.namespace,
                            object.reference.name
                        );
                        refused_objects.push(Refused {
                            key: None,
                            origin: origin(context, document.number),
                            problems: Rc::new([problem]),
                        });
                        continue;
                    }
                    let origin = origin(context, document.number);
                    self.objects.push(HeldObject { object: Rc::new(object), origin });
                }
                Ok(Accepted::Pod { pod, canonical }) => {
                    if self.is_defined(&pod.key) {
                        let problem = format!(
                            "{}: error: Pod {} is defined twice in this file; the first one is used",
                            context.path, pod.key
                        );
                        self.refused.push(Refused {
                            key: Some(pod.key.clone()),
                            origin: origin(context, document.number),
                            problems: Rc::new([problem]),
                        });
                        continue;
                    }
                    let canonical: Rc<str> = canonical.to_string().into();
                    self.good.push(Good { pod: Rc::new(*pod), canonical, warnings, kept_for: None });
                }
                Ok(Accepted::Nothing) => {}
                Ok(Accepted::Set(set)) => {
                    if self.is_set(&set.key) {
                        let problem = format!(
                            "{}: error: {} {}/{} is defined twice in this file; the first one is used",
                            context.path,
                            set.key.kind.as_str(),
                            set.key.namespace,
                            set.key.name
                        );
                        refused_objects.push(Refused {
                            key: None,
                            origin: origin(context, document.number),
                            problems: Rc::new([problem]),
                        });
                        continue;
                    }
                    self.sets.push(HeldSet { set: Rc::new(*set), warnings, kept_for: None });
                }
                Err(problems) => {
                    let problems: Rc<[String]> =
                        problems.iter().chain(&document.warnings).map(ToString::to_string).collect();
                    if let Some((namespace, reference)) = &document.object {
                        let was = |o: &&HeldObject| is(o, namespace, reference);
                        if !self.is_held(namespace, reference) {
                            self.objects.extend(former_objects.iter().find(was).cloned());
                        }
                        let origin = origin(context, document.number);
                        refused_objects.push(Refused { key: None, origin, problems });
                        continue;
                    }
                    if let Some(key) = &document.set
                        && let Some(held) = former_sets.iter().find(|s| s.set.key == *key)
                        && !self.is_set(key)
                    {
                        self.sets.push(HeldSet { kept_for: Some(problems), ..held.clone() });
                        continue;
                    }
                    let kept = document
                        .key
                        .as_ref()
                        .and_then(|key| former.iter().find(|g| g.pod.key == *key))
                        .filter(|g| !self.is_defined(&g.pod.key));
                    match kept {
                        Some(good) => {
                            self.good.push(Good { kept_for: Some(problems), ..good.clone() });
                        }
                        None => {
                            unmatched.extend(problems.iter().cloned());
                            self.refused.push(Refused {
                                key: document.key,
                                origin: origin(context, document.number),
                                problems,
                            });
                        }
                    }
                }
            }
        }
        if !unmatched.is_empty() {
            self.keep_unnamed(former, former_sets, former_objects, unmatched.into());
        }
        self.refused.extend(refused_objects);
    }

    /// Keeps everything that a document without a name of its own might have been.
    fn keep_unnamed(
        &mut self,
        former: Vec<Good>,
        former_sets: Vec<HeldSet>,
        former_objects: Vec<HeldObject>,
        problems: Rc<[String]>,
    ) {
        let mut told = false;
        for held in former_sets {
            if !self.is_set(&held.set.key) {
                self.sets.push(HeldSet { kept_for: Some(problems.clone()), ..held });
                told = true;
            }
        }
        for good in former {
            if !self.is_defined(&good.pod.key) {
                self.good.push(Good { kept_for: Some(problems.clone()), ..good });
                told = true;
            }
        }
        for held in former_objects {
            if !self.is_held(&held.object.namespace, &held.object.reference) {
                self.objects.push(held);
            }
        }
        if told {
            self.refused.retain(|r| r.key.is_some());
        }
    }

    fn is_held(&self, namespace: &Namespace, reference: &ObjectRef) -> bool {
        self.objects.iter().any(|held| is(held, namespace, reference))
    }

    fn is_set(&self, key: &SetKey) -> bool {
        self.sets.iter().any(|held| held.set.key == *key)
    }

    fn is_defined(&self, key: &PodKey) -> bool {
        self.good.iter().any(|g| g.pod.key == *key)
    }
}

fn is(held: &HeldObject, namespace: &Namespace, reference: &ObjectRef) -> bool {
    held.object.namespace == *namespace && held.object.reference == *reference
}

fn origin(context: &Context<'_>, document: u32) -> Origin {
    Origin { path: context.path.to_owned(), document }
}

#[cfg(test)]
mod tests {
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
            kept.chain(self.state.refused.iter().map(|r| &r.problems))
                .flat_map(|p| p.iter().cloned())
                .collect()
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
        let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: etcd}]}\n";
        let map = |name: &str, value: &str| {
            format!(
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: {value}}}\n"
            )
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
        assert_eq!(
            (values(&state), state.refused().len()),
            (vec!["x=old".to_owned(), "y=same".to_owned()], 0)
        );

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
}
