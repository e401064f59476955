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
#[path = "file_tests.rs"]
mod tests;
