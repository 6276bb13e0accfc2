//! An edit that breaks an object never moves traffic: the object's last valid form stays in force until the object
//! is valid again or deleted.
//!
//! An object is broken if anything in it is not done as it is written: the object as a whole, one rule, one match, one
//! share. It is known again by kind, namespace and name, in whatever file. A document that no object can be made of
//! (an unknown version, a misspelled kind or group, an invalid name) stands for an object of the same file that is gone:
//! for the one of its name, else for the one that stood at its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::object::{Broken, Kind};
use crate::problem::{Effect, Extent, Problem};
use crate::world::Entry;

/// Kind, namespace and name.
type Id = (Kind, String, String);

/// The forms that a later broken edit falls back to.
#[derive(Clone, Debug, Default)]
pub(super) struct LastValid(BTreeMap<Id, Arc<Entry>>);

/// What one file holds now.
pub(super) struct Contents<'a> {
    pub source: &'a str,
    pub entries: &'a [Arc<Entry>],
    pub broken: &'a [Broken],
}

#[derive(Debug)]
pub(super) struct Outcome {
    /// What is in force.
    pub entries: Vec<Arc<Entry>>,
    /// Of documents that no object could be made of.
    pub problems: Vec<Problem>,
    pub last_valid: LastValid,
}

/// A broken document, and the objects that are held for it: one, or those of a list.
struct Document<'a> {
    source: &'a str,
    broken: &'a Broken,
    stands_for: Vec<Arc<Entry>>,
}

impl LastValid {
    /// What is in force of these files, after what was in force before.
    pub(super) fn step(&self, files: &[Contents<'_>]) -> Outcome {
        let entries = || files.iter().flat_map(|file| file.entries);
        let mut first: BTreeMap<Id, &Arc<Entry>> = BTreeMap::new();
        for entry in entries().filter(|entry| !entry.name().is_empty()) {
            let known = first.entry(id_of(entry)).or_insert(entry);
            if entry.place() < known.place() {
                *known = entry;
            }
        }
        let documents = self.recognize(files, &first);

        let mut next = BTreeMap::new();
        let mut outcome = Vec::new();
        for entry in entries() {
            let id = id_of(entry);
            let is_first = first.get(&id).is_some_and(|it| Arc::ptr_eq(it, entry));
            if !is_first {
                outcome.push(entry.clone());
                continue;
            }
            match self.0.get(&id).filter(|_| !entry.is_valid()) {
                Some(form) => {
                    outcome.push(Arc::new(entry.held_as(form, still_in_force())));
                    next.insert(id, form.clone());
                }
                None => {
                    if entry.is_valid() {
                        next.insert(id, entry.clone());
                    }
                    outcome.push(entry.clone());
                }
            }
        }
        let mut problems = Vec::new();
        for document in documents {
            let problem = document.broken.problem.clone();
            match document.stands_for.is_empty() {
                true if document.broken.is_foreign => {}
                true => problems.push(problem),
                false => problems.push(problem.with_effect(still_in_force())),
            }
            for form in document.stands_for {
                next.insert(id_of(&form), form.clone());
                outcome.push(form);
            }
        }
        Outcome {
            entries: outcome,
            problems,
            last_valid: LastValid(next),
        }
    }

    /// The broken documents of all files, and which objects that are gone they stand for.
    fn recognize<'a>(
        &self,
        files: &[Contents<'a>],
        first: &BTreeMap<Id, &Arc<Entry>>,
    ) -> Vec<Document<'a>> {
        let documents = files.iter().flat_map(|file| {
            file.broken.iter().map(|broken| Document {
                source: file.source,
                broken,
                stands_for: Vec::new(),
            })
        });
        let mut documents: Vec<Document> = documents.collect();
        if documents.is_empty() {
            return documents;
        }
        // A form is gone if its file has no such object any more and no file before it has one.
        let is_gone = |(id, form): &(&Id, &Arc<Entry>)| {
            first
                .get(*id)
                .is_none_or(|entry| entry.place() > form.place())
        };
        let mut gone: Vec<&Arc<Entry>> = self.0.iter().filter(is_gone).map(|(_, it)| it).collect();
        for is_it in [
            Document::has_name_of,
            Document::has_place_of,
            Document::has_list_of,
        ] {
            gone.retain(|form| {
                let document = documents.iter_mut().find(|document| {
                    document.source == form.source()
                        && document.broken.kind.is_none_or(|kind| kind == form.kind)
                        && is_it(document, form)
                });
                match document {
                    None => true,
                    Some(document) => {
                        document.stands_for.push((*form).clone());
                        false
                    }
                }
            });
        }
        documents
    }
}

impl Document<'_> {
    fn has_name_of(&self, form: &Entry) -> bool {
        let namespace = self.broken.namespace.as_deref();
        self.stands_for.is_empty()
            && self.broken.name.as_deref() == Some(form.name())
            && (form.kind.is_cluster_scoped()
                || namespace.is_none_or(|namespace| namespace == form.namespace()))
    }

    fn has_place_of(&self, form: &Entry) -> bool {
        self.stands_for.is_empty() && self.broken.place == form.document()
    }

    /// Whether it is what is left of the list that the object was in.
    fn has_list_of(&self, form: &Entry) -> bool {
        let below = form.document().strip_prefix(&*self.broken.place);
        below.is_some_and(|below| below.starts_with(".items["))
    }
}

fn id_of(entry: &Entry) -> Id {
    let (namespace, name) = (entry.namespace().to_owned(), entry.name().to_owned());
    (entry.kind, namespace, name)
}

fn still_in_force() -> Effect {
    Effect::new(Extent::Nothing, "the form before this edit stays in force")
}

#[cfg(test)]
mod tests;
