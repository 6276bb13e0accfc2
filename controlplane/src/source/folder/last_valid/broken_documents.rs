//! Finds the object that a broken document was before an edit broke it. The document stands for this object.
//!
//! A document is broken if its kind, version, group or name cannot be read, or if its object was never valid. A form is
//! the content of an object before the edit.
//!
//! - A document can stand for an object that had the same name or the same place in the same file. The kind may differ.
//! - A document with a readable kind, namespace and name can also stand for an object that was in another file.
//! - A document that may have been a list stands for all objects of the list.

use std::collections::HashMap;
use std::sync::Arc;

use super::Contents;
use weir_core::manifest::object::{BrokenDocument, Kind};
use weir_core::manifest::problem::Problem;
use weir_core::world::Entry;

/// Broken documents. The maps contain indexes in `all`.
pub(super) struct Documents<'a> {
    pub all: Vec<Document<'a>>,
    /// The key is the file, the name and the namespace.
    by_name: HashMap<(&'a str, &'a str, Option<&'a str>), Vec<usize>>,
    /// The key is the file and the place in the file.
    by_place: HashMap<(&'a str, &'a str), usize>,
    /// The key is the kind, the namespace and the name.
    by_id: HashMap<(Kind, &'a str, &'a str), Vec<usize>>,
    /// Only documents with a readable object. The key is the file and the position in the file.
    objects: HashMap<(&'a str, usize), usize>,
}

/// The properties that a broken document and a form must have in common. `OfKind` means that the document has the same
/// kind or no readable kind. The document and the form must be in the same file, except for `Anywhere`.
#[derive(Clone, Copy)]
enum Matching {
    NameAndPlaceOfKind,
    NameOfKind,
    /// Kind, namespace and name.
    Anywhere,
    NameAndPlace,
    PlaceOfKind,
    Name,
    Place,
    List,
}

const BY_CERTAINTY: [Matching; 8] = [
    Matching::NameAndPlaceOfKind,
    Matching::NameOfKind,
    Matching::Anywhere,
    Matching::NameAndPlace,
    Matching::PlaceOfKind,
    Matching::Name,
    Matching::Place,
    Matching::List,
];

pub(super) struct Document<'a> {
    pub what: What<'a>,
    /// One object, or the objects of a list.
    pub stands_for: Vec<Arc<Entry>>,
}

pub(super) enum What<'a> {
    Broken(&'a BrokenDocument),
    Object(&'a Arc<Entry>),
}

impl Document<'_> {
    fn kind(&self) -> Option<Kind> {
        match self.what {
            What::Broken(broken) => broken.kind,
            What::Object(entry) => Some(entry.kind),
        }
    }

    fn may_be_of(&self, kind: Kind) -> bool {
        self.kind().is_none_or(|own| own == kind)
    }

    pub(super) fn problems(&self) -> &[Problem] {
        match self.what {
            What::Broken(broken) => std::slice::from_ref(&broken.problem),
            What::Object(entry) => entry.problems(),
        }
    }
}

impl<'a> Documents<'a> {
    /// Returns the broken documents of these files, and the objects for which `may_stand_for_another` is true.
    pub(super) fn of(
        files: &[Contents<'a>],
        may_stand_for_another: impl Fn(&Arc<Entry>) -> bool,
    ) -> Documents<'a> {
        let mut documents = Documents {
            all: Vec::new(),
            by_name: HashMap::new(),
            by_place: HashMap::new(),
            by_id: HashMap::new(),
            objects: HashMap::new(),
        };
        for file in files {
            for broken in file.broken {
                documents.add(file.source, What::Broken(broken));
            }
            let objects = file.entries.iter().filter(|it| may_stand_for_another(it));
            for entry in objects {
                documents.add(file.source, What::Object(entry));
            }
        }
        documents
    }

    fn add(&mut self, source: &'a str, what: What<'a>) {
        let index = self.all.len();
        let (kind, namespace, name, place) = match what {
            What::Broken(it) => (
                it.kind,
                it.namespace.as_deref(),
                it.name.as_deref(),
                Some(&*it.place),
            ),
            // The place of an object with readable metadata proves nothing: a new object may be in the same place.
            What::Object(it) => (
                Some(it.kind),
                Some(it.namespace()),
                Some(it.name()),
                it.is_refused().then_some(it.document()),
            ),
        };
        if let Some(name) = name {
            let mut add = |namespace| {
                let key = (source, name, namespace);
                self.by_name.entry(key).or_default().push(index);
            };
            add(namespace);
            if namespace != Some("") && kind.is_none_or(Kind::is_cluster_scoped) {
                add(Some(""));
            }
        }
        if let (Some(kind), Some(name), false) = (kind, name, matches!(what, What::Object(_))) {
            let namespace = if kind.is_cluster_scoped() {
                Some("")
            } else {
                namespace
            };
            if let Some(namespace) = namespace {
                let key = (kind, namespace, name);
                self.by_id.entry(key).or_default().push(index);
            }
        }
        if let Some(place) = place {
            self.by_place.insert((source, place), index);
        }
        if let What::Object(entry) = what {
            self.objects.insert(entry.place(), index);
        }
        self.all.push(Document {
            what,
            stands_for: Vec::new(),
        });
    }

    /// Finds the document that stands for each form in `gone`. Tries the most certain matches first.
    pub(super) fn find(
        &mut self,
        mut gone: Vec<&Arc<Entry>>,
        is_elsewhere: impl Fn(&Entry) -> bool,
    ) {
        for matching in BY_CERTAINTY {
            gone.retain(|form| {
                let found = match matching {
                    Matching::Anywhere if is_elsewhere(form) => None,
                    matching => self.found(form, matching),
                };
                let document = found.and_then(|index| self.all.get_mut(index));
                document.is_none_or(|document| {
                    document.stands_for.push((*form).clone());
                    false
                })
            });
        }
    }

    fn found(&self, form: &Entry, matching: Matching) -> Option<usize> {
        let (source, name, namespace) = (form.source(), form.name(), form.namespace());
        let is_free = |index: &usize| {
            let document = self.all.get(*index);
            document.is_some_and(|it| it.stands_for.is_empty())
        };
        let may_be = |index: &usize| {
            let document = self.all.get(*index);
            document.is_some_and(|it| it.may_be_of(form.kind))
        };
        let named = || {
            let with = |namespace| self.by_name.get(&(source, name, namespace));
            let both = with(Some(namespace)).into_iter().chain(with(None));
            both.flatten().copied().filter(is_free)
        };
        let placed = || {
            let index = self.by_place.get(&(source, form.document())).copied();
            index.filter(is_free)
        };
        match matching {
            Matching::NameAndPlaceOfKind => {
                placed().filter(|at| may_be(at) && named().any(|it| it == *at))
            }
            Matching::NameOfKind => named().find(may_be),
            Matching::Anywhere => {
                let same = self.by_id.get(&(form.kind, namespace, name));
                same.into_iter().flatten().copied().find(is_free)
            }
            Matching::NameAndPlace => placed().filter(|at| named().any(|it| it == *at)),
            Matching::PlaceOfKind => placed().filter(may_be),
            Matching::Name => named().next(),
            Matching::Place => placed(),
            Matching::List => self.list_of(form),
        }
    }

    /// Returns the broken document in the place of the list that contained the object.
    fn list_of(&self, form: &Entry) -> Option<usize> {
        let place = form.document();
        let lists = place.rmatch_indices(".items[");
        let mut lists = lists.filter_map(|(at, _)| place.get(..at));
        lists.find_map(|list| self.by_place.get(&(form.source(), list)).copied())
    }

    /// True if this object stands for another object.
    pub(super) fn is_taken(&self, entry: &Entry) -> bool {
        let index = self.objects.get(&entry.place());
        let document = index.and_then(|index| self.all.get(*index));
        document.is_some_and(|document| !document.stands_for.is_empty())
    }
}
