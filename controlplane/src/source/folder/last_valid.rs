//! Keeps the last valid form of each object, so that a broken edit never moves traffic. A form is the content of an
//! object at one time. The form in force is the form that is published. It stays in force until the object is deleted,
//! or until an edit makes a form that is not worse.
//!
//! A form is worse than the form in force if it has a new problem with an effect on traffic. A problem is new if the
//! form in force has no problem with the same path and code. After a start the first form of each object is in force,
//! even if it has problems.
//!
//! If a whole file cannot be read, its last content stays in [`super::file::FileState::good`].
//!
//! Kind, namespace and name identify an object in any file. The module [`broken_documents`] handles documents in which
//! one of these three cannot be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use self::broken_documents::{Documents, What};
use weir_core::manifest::object::{BrokenDocument, Kind};
use weir_core::manifest::problem::{Effect, Extent, Problem};
use weir_core::world::Entry;

mod broken_documents;

/// Kind, namespace and name.
type Id = (Kind, String, String);

/// The forms in force. They stay in use when a later edit breaks the objects.
#[derive(Clone, Debug, Default)]
pub(super) struct LastValid(BTreeMap<Id, Arc<Entry>>);

/// The content of one file.
pub(super) struct Contents<'a> {
    pub source: &'a str,
    pub entries: &'a [Arc<Entry>],
    pub broken: &'a [BrokenDocument],
}

#[derive(Debug)]
pub(super) struct StepResult {
    /// The objects in force.
    pub entries: Vec<Arc<Entry>>,
    /// Problems of documents that cannot be read as objects.
    pub problems: Vec<Problem>,
    pub last_valid: LastValid,
}

/// The effective object for each kind, namespace and name. If several files contain the same object, one copy is
/// effective, and the other copies are duplicates.
type Effective<'a> = BTreeMap<Id, &'a Arc<Entry>>;

impl LastValid {
    /// Returns the same forms after files were renamed. `files` maps old names to new names.
    pub(super) fn renamed(&self, files: &BTreeMap<String, String>) -> LastValid {
        let forms = self.0.iter().map(|(id, form)| {
            let form = match files.get(form.source()) {
                Some(source) => Arc::new(form.moved_to(source)),
                None => form.clone(),
            };
            (id.clone(), form)
        });
        LastValid(forms.collect())
    }

    /// Returns the objects that are now in force. The input is the content of the files, and the forms that were in
    /// force before.
    pub(super) fn step(&self, files: &[Contents<'_>]) -> StepResult {
        let entries = || files.iter().flat_map(|file| file.entries);
        let effective = self.effective(entries());
        let mut documents =
            Documents::of(files, |entry| self.may_stand_for_another(entry, &effective));
        let is_elsewhere = |form: &Entry| effective.contains_key(&id_of(form));
        documents.find(self.gone(&effective), is_elsewhere);
        let copies = copies(entries(), &effective);

        let mut next = BTreeMap::new();
        let mut in_force_now = Vec::new();
        for entry in entries().filter(|entry| !documents.is_taken(entry)) {
            let id = id_of(entry);
            let first = effective.get(&id);
            if first.is_none_or(|first| !Arc::ptr_eq(first, entry)) {
                // Later copies stay in the result, because the translation reports them as duplicates.
                if first.is_none_or(|first| first.place() < entry.place()) {
                    in_force_now.push(entry.clone());
                }
                continue;
            }
            let mut in_force = entry.clone();
            match self.0.get(&id).filter(|form| !entry.is_no_worse_than(form)) {
                Some(form) => {
                    in_force = Arc::new(entry.held_as(form, Effect::previous_form_in_force()));
                    next.insert(id.clone(), form.clone());
                }
                None if entry.is_served() => {
                    next.insert(id.clone(), entry.clone());
                }
                None => {}
            }
            if let Some(problems) = copies.get(&id) {
                in_force = Arc::new(in_force.with_problems(problems.iter().cloned()));
            }
            in_force_now.push(in_force);
        }
        let mut problems = Vec::new();
        for document in documents.all {
            let own = document.problems();
            let held: Vec<Problem> = own.iter().cloned().map(hold).collect();
            for form in &document.stands_for {
                next.insert(id_of(form), form.clone());
            }
            let of_policy = |form: &Arc<Entry>| form.kind.is_of_policy();
            let mut forms = document.stands_for.iter().cloned();
            match (forms.next(), &document.what) {
                (None, What::Broken(broken)) if !broken.is_foreign => problems.extend(own.to_vec()),
                (None, _) => {}
                // The problems of an object of the access policy stay with the object. If there is no access policy,
                // these problems are not reported.
                (Some(first), _) if document.stands_for.iter().all(of_policy) => {
                    in_force_now.push(Arc::new(first.with_problems(held)));
                }
                (Some(first), _) => {
                    problems.extend(held);
                    in_force_now.push(first);
                }
            }
            in_force_now.extend(forms);
        }
        StepResult {
            entries: in_force_now,
            problems,
            last_valid: LastValid(next),
        }
    }

    /// Returns the effective objects. Among several copies of an object, prefers a copy that can be in force, or that
    /// is in the file of the form in force. Among equal copies, prefers the first by file and place.
    fn effective<'a>(&self, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Effective<'a> {
        let rank = |id: &Id, entry: &Entry| match self.0.get(id) {
            Some(form) if entry.source() == form.source() => 0,
            Some(form) if entry.is_no_worse_than(form) => 0,
            None if entry.is_valid() => 0,
            None if entry.is_served() => 1,
            _ => 2,
        };
        let mut effective: BTreeMap<Id, (u8, &Arc<Entry>)> = BTreeMap::new();
        for entry in entries.filter(|entry| !entry.name().is_empty()) {
            let id = id_of(entry);
            let own = (rank(&id, entry), entry);
            let first = effective.entry(id).or_insert(own);
            if (own.0, own.1.place()) < (first.0, first.1.place()) {
                *first = own;
            }
        }
        let effective = effective.into_iter();
        effective.map(|(id, (_, entry))| (id, entry)).collect()
    }

    /// Returns the forms in force whose object is gone: neither the file of the form nor an earlier file contains the
    /// object.
    fn gone(&self, effective: &Effective<'_>) -> Vec<&Arc<Entry>> {
        let is_gone = |(id, form): &(&Id, &Arc<Entry>)| {
            let first = effective.get(*id);
            first.is_none_or(|entry| entry.source() > form.source())
        };
        self.0.iter().filter(is_gone).map(|(_, it)| it).collect()
    }

    /// True if this object may be the broken edit of another object: it has no form in force, and cannot be used.
    fn may_stand_for_another(&self, entry: &Arc<Entry>, effective: &Effective<'_>) -> bool {
        let id = id_of(entry);
        let is_counting = effective.get(&id).is_none_or(|it| Arc::ptr_eq(it, entry));
        is_counting && !entry.is_served() && !self.0.contains_key(&id)
    }
}

/// Returns the problems of copies that come before the effective object.
fn copies<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    effective: &Effective<'_>,
) -> BTreeMap<Id, Vec<Problem>> {
    let mut copies: BTreeMap<Id, Vec<Problem>> = BTreeMap::new();
    for entry in entries {
        let id = id_of(entry);
        let Some(first) = effective.get(&id).filter(|it| entry.place() < it.place()) else {
            continue;
        };
        let words = format!("the object in \"{}\" is in force", first.source());
        let effect = Effect::new(Extent::Nothing, words);
        let problems = entry.problems().iter().cloned();
        let problems = problems.map(|problem| problem.with_effect(effect.clone()));
        copies.entry(id).or_default().extend(problems);
    }
    copies
}

fn hold(problem: Problem) -> Problem {
    problem.with_effect(Effect::previous_form_in_force())
}

fn id_of(entry: &Entry) -> Id {
    let (namespace, name) = (entry.namespace().to_owned(), entry.name().to_owned());
    (entry.kind, namespace, name)
}

#[cfg(test)]
mod tests;
