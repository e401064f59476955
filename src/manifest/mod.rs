//! Text → validated Pods, DaemonSets, StatefulSets, ConfigMaps and Secrets, or every problem in it.
//!
//! Bytes pass guards (`guard`), become trees within a budget (`documents`, `node`), are held against the table of all
//! fields (`fields`, `schema`) and read field by field with Kubernetes' defaults and rules (`spec` and its parts).
//! Nothing here reads a file or a clock. Problems are collected, not thrown: one reading reports them all, each with
//! its line, column and source line. Rules come from the kubelet (`pkg/kubelet/config/common.go`) and the API
//! (`pkg/apis/core/{v1/defaults.go,validation/validation.go}` of <https://github.com/kubernetes/kubernetes>).

pub mod base64;
mod containers;
mod depends;
pub mod docker;
mod documents;
mod env;
pub mod escape;
pub mod fields;
mod findings;
mod generation;
mod guard;
mod host;
mod kinds;
mod lifecycle;
mod metadata;
mod mounts;
mod names;
mod node;
mod objects;
mod pod_security;
mod ports;
mod probes;
mod problem;
mod projected;
mod references;
mod resources;
mod scalar;
mod schema;
mod security;
pub mod sets;
mod spec;
mod spot;
mod volumes;

pub use findings::nearest;
pub use problem::{Problem, Severity};

use documents::{Parsed, Source};
use findings::{Findings, at_offset};
use kinds::Kind;
use node::{Node, Note, Value};
use spot::Spot;

use crate::pod::depends::DEPENDS_ON;
use crate::pod::objects::Object;
use crate::pod::set::{Set, SetKey};
use crate::pod::{Generation, Namespace, NodeName, ObjectKind, ObjectRef, Origin, Pod, PodKey};

/// Bounds on what one file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub max_bytes: usize,
    /// Keys and values of one file, aliases counted as often as they are used.
    pub max_nodes: usize,
    /// Bytes of text in keys and values of one file, aliases counted as often as they are used.
    pub max_text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 512 << 10, max_nodes: 100_000, max_text: 4 << 20 }
    }
}

/// What a manifest is read for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// This node: the suffix of every Pod's name.
    pub node: &'a NodeName,
    /// The file, escaped for display (see [`escape::escape`]).
    pub path: &'a str,
    /// Bounds.
    pub limits: Limits,
    /// What is to run the Pods: what it cannot express is refused.
    pub runtime: Runtime,
}

/// What runs containers, as far as manifests are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// runc, which can do all that is honoured.
    #[default]
    Runc,
    /// docker, or what speaks its language; see [`docker::GAPS`].
    Docker,
}

/// One document of a file that holds something.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its place in the file, from 1; empty documents count.
    pub number: u32,
    /// The line of its first key, from 1; 0 where that cannot be told (any more) in a hostile file.
    pub line: u32,
    /// The Pod's namespace and name, if they could be told, even when the Pod is refused.
    pub key: Option<PodKey>,
    /// The ConfigMap's or Secret's namespace, kind and name, if they could be told, even when it is refused.
    pub object: Option<(Namespace, ObjectRef)>,
    /// The DaemonSet's or StatefulSet's identity, if it could be told, even when it is refused.
    pub set: Option<SetKey>,
    /// The Pod or object, or everything for which it is refused, in the order of the text.
    pub outcome: Result<Accepted, Vec<Problem>>,
    /// What has no effect, or another one than it seems, in the order of the text.
    pub warnings: Vec<Problem>,
    /// Where the Pod says on which others it depends: a warning without words, for who knows of those.
    pub depends_on: Option<Problem>,
}

/// A document that can be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// A Pod to run.
    Pod {
        /// The Pod, defaults filled in.
        pod: Box<Pod>,
        /// The document as JSON, without nulls and status: [`from_canonical`] makes the same Pod of it.
        canonical: serde_json::Value,
    },
    /// A ConfigMap or Secret that Pods may refer to.
    Object(Object),
    /// A DaemonSet or StatefulSet, of which Pods are made.
    Set(Box<Set>),
    /// A document that has a right to be there and no effect: a headless Service.
    Nothing,
}

/// Reads all documents of one file. There is at least one: a file that cannot be read as text or holds nothing gives one
/// refused document that says so.
///
/// A document that is no tree (a syntax error, a tag) leaves those before it standing and hides those after it: whoever must not lose
/// Pods keeps what it had while any document of the file has no `key` and is refused.
pub fn read(bytes: &[u8], context: &Context<'_>) -> Vec<Document> {
    let text = match guard::check(bytes, &context.limits) {
        Ok(text) => text,
        Err(refusal) => {
            let shown = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
            let shown = shown.get(..context.limits.max_bytes.min(shown.len())).unwrap_or(shown);
            let text = String::from_utf8_lossy(shown);
            let mut problem = at_offset(context.path, Some(&text), Some(refusal.offset), Severity::Error);
            problem.message = refusal.message;
            problem.help = refusal.help.map(str::to_owned);
            return vec![refused(1, problem)];
        }
    };
    let mut parsed = Vec::new();
    let mut source = Source::new(text, context.limits);
    let (mut empty, mut lists) = (0, 0);
    // Trees are read as they come, so that only one is in memory; places need the source again.
    let reader = Source::new(text, context.limits);
    reader.each(|document| match &document.result {
        Ok((node, _)) if node.value == Value::Null => empty += 1,
        Ok(_) | Err(_) => {
            let found = one(document, &mut source, context);
            lists += u32::from(found.is_empty());
            parsed.extend(found);
        }
    });
    // A list without items says that there is nothing; a file without documents says nothing.
    if parsed.is_empty() && lists == 0 {
        let mut problem = at_offset(context.path, Some(text), Some(0), Severity::Error);
        problem.excerpt = None;
        problem.message = match empty {
            0 | 1 => "the file holds no document".to_owned(),
            n => format!("the file holds {n} documents, all empty"),
        };
        parsed.push(refused(1, problem));
    }
    if let Some(offset) = yaml_1_2(text)
        && let Some(first) = parsed.first_mut()
    {
        let mut problem = at_offset(context.path, Some(text), Some(offset), Severity::Warning);
        problem.message = "%YAML 1.2: a kubelet reads YAML 1.1 only and refuses this file".to_owned();
        problem.help = Some("remove the line".to_owned());
        first.warnings.insert(0, problem);
    }
    parsed
}

/// Reads a Pod that [`read`] accepted earlier, from its canonical form. `origin` names document 1; the caller that knows
/// better sets it.
///
/// # Errors
/// Everything for which this build refuses the document.
pub fn from_canonical(document: &serde_json::Value, context: &Context<'_>) -> Result<Pod, Vec<Problem>> {
    let tree = generation::tree(document);
    let root = Spot::root(&tree);
    let mut findings = Findings::default();
    let pod = match kinds::of(&root, &mut findings) {
        Some(Kind::Pod) => {
            let origin = Origin { path: context.path.to_owned(), document: 1 };
            let generation = generation::of(document, context.node);
            pod(&root, origin, generation, context, &mut findings).pod
        }
        Some(Kind::Object(_) | Kind::Set(_) | Kind::Service | Kind::List(_)) => {
            findings.error(0, "kind", "is not Pod");
            None
        }
        None => None,
    };
    pod.ok_or_else(|| findings.place(context.path, 1, None).0)
}

/// Why this cannot be the key of a label (or taint); `None`: it can.
pub fn label_key_misfit(text: &str) -> Option<String> {
    names::qualified(text).err().map(|misfit| misfit.reason)
}

/// Why this cannot be the value of a label (or taint); `None`: it can.
pub fn label_value_misfit(text: &str) -> Option<String> {
    names::label_value(text).err().map(|misfit| misfit.reason)
}

/// Reads a Pod, for the runtime that is to run it.
fn pod(
    root: &Spot<'_>,
    origin: Origin,
    generation: Generation,
    context: &Context<'_>,
    findings: &mut Findings,
) -> spec::Reading {
    match context.runtime {
        Runtime::Runc => {}
        // Before all else: a document with findings gives no Pod.
        Runtime::Docker => docker::check(root, findings),
    }
    spec::read(root, context.node, origin, generation, findings)
}

fn refused(number: u32, problem: Problem) -> Document {
    Document {
        number,
        line: problem.line.max(1),
        key: None,
        object: None,
        set: None,
        outcome: Err(vec![problem]),
        warnings: Vec::new(),
        depends_on: None,
    }
}

/// Reads one document: itself, or the items of a list.
fn one(parsed: Parsed, source: &mut Source<'_>, context: &Context<'_>) -> Vec<Document> {
    let number = parsed.number;
    let (node, notes) = match parsed.result {
        Ok(read) => read,
        Err(broken) => {
            let mut problem =
                at_offset(context.path, Some(source.text), Some(broken.offset), Severity::Error);
            problem.message = broken.message;
            problem.help = broken.help.map(str::to_owned);
            return vec![refused(number, problem)];
        }
    };
    let mut findings = Findings::default();
    if source.flow && number == 1 {
        findings
            .warning(0, "", "begins like JSON but is YAML in flow style: a kubelet refuses it")
            .help("quote every key and text, or write it in block style");
    }
    for note in notes {
        match note {
            Note::Duplicate(id, key) => findings.warning(
                id,
                "",
                format!("the key {} stands twice, the last one counts", escape::quoted(&key)),
            ),
            Note::Merged(id) => findings
                .warning(id, "", "<< is merged here")
                .help("write the fields out: newer kubelets do not promise to merge"),
        };
    }
    let root = Spot::root(&node);
    let kind = kinds::of(&root, &mut findings);
    let mut reading = Reading { number, source, context };
    let Some(Kind::List(implied)) = kind else { return vec![reading.document(&node, kind, None, findings)] };
    match root.get("items") {
        Some(items) if matches!(items.node.value, Value::List(_)) => {
            let items = items.items().map(|item| {
                // What is to be told of the list goes with its first item.
                let mut findings = std::mem::take(&mut findings);
                let item = Spot::root(item.node);
                let kind = kinds::of_item(&item, implied, &mut findings);
                reading.document(item.node, kind, implied, findings)
            });
            items.collect()
        }
        Some(items) => {
            items.error(&mut findings, format!("must be a list, and is {}", items.is()));
            vec![reading.document(&node, None, None, findings)]
        }
        // An API server says `null` of an empty list.
        None if root.has("items") => Vec::new(),
        None => {
            findings.error(0, "items", "is missing").help("items: [] says that there is nothing");
            vec![reading.document(&node, None, None, findings)]
        }
    }
}

/// Where something is read.
struct Reading<'r, 's> {
    number: u32,
    source: &'r mut Source<'s>,
    context: &'r Context<'r>,
}

impl Reading<'_, '_> {
    /// What a document, or an item of a list, says. `implied` is the kind that an item need not tell.
    fn document(
        &mut self,
        node: &Node,
        kind: Option<Kind>,
        implied: Option<&'static str>,
        mut findings: Findings,
    ) -> Document {
        let Self { number, source, context } = self;
        let number = *number;
        let line =
            source.place(number, node.id).map_or(0, |offset| problem::line_and_column(source.text, offset).0);
        let root = Spot::root(node);
        let (mut key, mut object, mut set, mut accepted) = (None, None, None, None);
        let mut depends_on = None;
        match kind {
            Some(Kind::Pod) => {
                let canonical = generation::canonical(node, implied);
                let generation = generation::of(&canonical, context.node);
                let origin = Origin { path: context.path.to_owned(), document: number };
                let annotations = root.get("metadata").and_then(|m| m.get("annotations"));
                sets::refuse_owner(annotations.as_ref(), &mut findings);
                let reading = pod(&root, origin, generation, context, &mut findings);
                key = reading.key;
                let offset = reading.depends_on.and_then(|id| source.place(number, id));
                depends_on = offset.map(|offset| {
                    let place = at_offset(context.path, Some(source.text), Some(offset), Severity::Warning);
                    Problem { field: format!("metadata.annotations[{DEPENDS_ON}]"), ..place }
                });
                accepted = reading.pod.map(|pod| Accepted::Pod { pod: Box::new(pod), canonical });
            }
            Some(Kind::Object(kind)) => {
                let reading = objects::read(&root, kind, &mut findings);
                object = reading.key;
                accepted = reading.object.map(Accepted::Object);
            }
            Some(Kind::Set(kind)) => {
                let origin = Origin { path: context.path.to_owned(), document: number };
                let reading = sets::read(&root, kind, origin, context, &mut findings);
                set = reading.key;
                accepted = reading.set.map(|set| Accepted::Set(Box::new(set)));
            }
            Some(Kind::Service) => {
                accepted = kinds::service(&root, &mut findings).then_some(Accepted::Nothing);
            }
            Some(Kind::List(_)) | None => {}
        }
        let (mut errors, mut warnings) = findings.place(context.path, number, Some(source));
        if kind == Some(Kind::Object(ObjectKind::Secret)) {
            // Problems go to logs and status.
            errors.iter_mut().chain(&mut warnings).for_each(|problem| problem.excerpt = None);
        }
        Document { number, line, key, object, set, outcome: accepted.ok_or(errors), warnings, depends_on }
    }
}

/// Where a `%YAML 1.2` directive stands, if one opens the file.
fn yaml_1_2(text: &str) -> Option<usize> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("%YAML") && line.get(5..).is_some_and(|v| v.trim() != "1.1") {
            return Some(offset);
        }
        if !line.trim().is_empty() && !line.starts_with('#') && !line.starts_with('%') {
            return None;
        }
        offset += line.len();
    }
    None
}
