//! An edit that breaks an object never moves traffic: the form before the edit stays in force until the object is no
//! worse than that form, or deleted.
//!
//! A form is worse than the one in force if a problem that keeps something from being done as it is written has a path
//! and a code that no problem of the form in force has. At a start the form that is read is in force, with its
//! problems. An object is known again by kind, namespace and name, in whatever file; [`documents`] has the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use self::documents::{Documents, What};
use weir_core::manifest::object::{Broken, Kind};
use weir_core::manifest::problem::{Effect, Extent, Problem};
use weir_core::world::Entry;

mod documents;

/// Kind, namespace and name.
type Id = (Kind, String, String);

/// The forms in force, which a later broken edit falls back to.
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

/// Of the objects with the same kind, namespace and name: the one that counts.
type Counting<'a> = BTreeMap<Id, &'a Arc<Entry>>;

impl LastValid {
    /// The same forms after files got other names, from old to new.
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

    /// What is in force of these files, after what was in force before.
    pub(super) fn step(&self, files: &[Contents<'_>]) -> Outcome {
        let entries = || files.iter().flat_map(|file| file.entries);
        let counting = self.counting(entries());
        let mut documents =
            Documents::of(files, |entry| self.may_stand_for_another(entry, &counting));
        let is_elsewhere = |form: &Entry| counting.contains_key(&id_of(form));
        documents.find(self.gone(&counting), is_elsewhere);
        let copies = copies(entries(), &counting);

        let mut next = BTreeMap::new();
        let mut outcome = Vec::new();
        for entry in entries().filter(|entry| !documents.is_taken(entry)) {
            let id = id_of(entry);
            let first = counting.get(&id);
            if first.is_none_or(|first| !Arc::ptr_eq(first, entry)) {
                // The others are told of as duplicates.
                if first.is_none_or(|first| first.place() < entry.place()) {
                    outcome.push(entry.clone());
                }
                continue;
            }
            let mut in_force = entry.clone();
            match self.0.get(&id).filter(|form| !entry.is_no_worse_than(form)) {
                Some(form) => {
                    in_force = Arc::new(entry.held_as(form, still_in_force()));
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
            outcome.push(in_force);
        }
        let mut problems = Vec::new();
        for document in documents.all {
            let own = document.problems();
            let held: Vec<Problem> = own.iter().cloned().map(held).collect();
            for form in &document.stands_for {
                next.insert(id_of(form), form.clone());
            }
            let of_policy = |form: &Arc<Entry>| form.kind.is_of_policy();
            let mut forms = document.stands_for.iter().cloned();
            match (forms.next(), &document.what) {
                (None, What::Broken(broken)) if !broken.is_foreign => problems.extend(own.to_vec()),
                (None, _) => {}
                // Where no access policy is asked for, nothing in such an object is a problem.
                (Some(first), _) if document.stands_for.iter().all(of_policy) => {
                    outcome.push(Arc::new(first.with_problems(held)));
                }
                (Some(first), _) => {
                    problems.extend(held);
                    outcome.push(first);
                }
            }
            outcome.extend(forms);
        }
        Outcome {
            entries: outcome,
            problems,
            last_valid: LastValid(next),
        }
    }

    /// The first one by file and place of those that can be in force, or whose file the form in force is from.
    fn counting<'a>(&self, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Counting<'a> {
        let rank = |id: &Id, entry: &Entry| match self.0.get(id) {
            Some(form) if entry.source() == form.source() => 0,
            Some(form) if entry.is_no_worse_than(form) => 0,
            None if entry.is_valid() => 0,
            None if entry.is_served() => 1,
            _ => 2,
        };
        let mut counting: BTreeMap<Id, (u8, &Arc<Entry>)> = BTreeMap::new();
        for entry in entries.filter(|entry| !entry.name().is_empty()) {
            let id = id_of(entry);
            let own = (rank(&id, entry), entry);
            let known = counting.entry(id).or_insert(own);
            if (own.0, own.1.place()) < (known.0, known.1.place()) {
                *known = own;
            }
        }
        let counting = counting.into_iter();
        counting.map(|(id, (_, entry))| (id, entry)).collect()
    }

    /// The forms whose file has no such object any more, while no file before it has one.
    fn gone(&self, counting: &Counting<'_>) -> Vec<&Arc<Entry>> {
        let is_gone = |(id, form): &(&Id, &Arc<Entry>)| {
            let known = counting.get(*id);
            known.is_none_or(|entry| entry.source() > form.source())
        };
        self.0.iter().filter(is_gone).map(|(_, it)| it).collect()
    }

    /// Whether an object of which nothing is in force may be what an edit made of another one.
    fn may_stand_for_another(&self, entry: &Arc<Entry>, counting: &Counting<'_>) -> bool {
        let id = id_of(entry);
        let is_counting = counting.get(&id).is_none_or(|it| Arc::ptr_eq(it, entry));
        is_counting && !entry.is_served() && !self.0.contains_key(&id)
    }
}

/// What is wrong with objects that stand before the ones that count.
fn copies<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    counting: &Counting<'_>,
) -> BTreeMap<Id, Vec<Problem>> {
    let mut copies: BTreeMap<Id, Vec<Problem>> = BTreeMap::new();
    for entry in entries {
        let id = id_of(entry);
        let Some(first) = counting.get(&id).filter(|it| entry.place() < it.place()) else {
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

fn held(problem: Problem) -> Problem {
    problem.with_effect(still_in_force())
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
