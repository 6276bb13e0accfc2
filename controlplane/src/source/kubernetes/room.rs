//! Which objects of one source are kept in memory: the oldest objects of each namespace, up to a limit of bytes. For
//! the oldest of the others a stub with a problem is kept. The rest is hidden: the oldest stub says how many there are.
//!
//! Pure. The objects that are kept depend on the objects alone, not on the order in which they were read, so that all
//! replicas keep the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use self::wanted::Wanted;
use super::reading::Key;
use weir_core::translate::budget::Limits;

/// Most stubs of one namespace. A stub takes up to 5 KiB.
const MOST_STUBS: usize = 100;

/// The order of the objects of a namespace: the oldest first, objects without a creation time last; then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    is_undated: bool,
    /// As an API server writes it: always in the same form, so that text order is time order.
    created: String,
    name: String,
}

impl Age {
    pub fn new(created: Option<&str>, name: &str) -> Age {
        Age {
            is_undated: created.is_none(),
            created: created.unwrap_or_default().to_owned(),
            name: name.to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Kept,
    Stub,
    Hidden,
}

#[derive(Debug)]
struct Line {
    weight: usize,
    state: State,
}

/// What has changed for objects of a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects to replace by stubs, and how many hidden objects the stub is to mention, rounded down to a power of two.
    /// Of several entries for one object the last one counts.
    pub stubs: Vec<(Key, usize)>,
    /// Objects to forget.
    pub hidden: Vec<Key>,
}

pub struct Room {
    /// Bytes of one namespace.
    limit: usize,
    namespaces: BTreeMap<String, OfNamespace>,
    /// Objects that have room, and whose text is not known.
    pub wanted: Wanted,
}

/// Its objects by age are: those that are kept, then stubs, then hidden objects.
#[derive(Default)]
struct OfNamespace {
    lines: BTreeMap<Age, Line>,
    ages: BTreeMap<String, Age>,
    /// Bytes of the objects that are kept.
    weight: usize,
    stubs: usize,
    hidden: usize,
    /// The oldest object that is not kept.
    boundary: Option<Age>,
    /// The oldest object that is hidden.
    horizon: Option<Age>,
    /// The stub that mentions hidden objects, and how many.
    speaker: Option<(Age, usize)>,
}

impl Room {
    /// The room is a multiple of the namespace limit, because objects as an API server keeps them are larger than what
    /// they cost proxies.
    pub fn new(limits: &Limits) -> Room {
        const FACTOR: u64 = 8;
        let limit = limits.namespace.saturating_mul(FACTOR);
        Room::of(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn of(limit: usize) -> Room {
        Room {
            limit,
            namespaces: BTreeMap::new(),
            wanted: Wanted::default(),
        }
    }

    /// Bytes that the objects of one namespace may take up.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets all objects.
    pub fn clear(&mut self) {
        self.namespaces.clear();
        self.wanted = Wanted::default();
    }

    /// Adds or replaces an object that was read; `weight` is the bytes that it would take up.
    pub fn put(&mut self, (namespace, name): &Key, age: Age, weight: usize) -> Changes {
        let of = self.namespaces.entry(namespace.clone()).or_default();
        of.remove(name);
        of.insert(age.clone(), weight);
        let mut touched = of.settle(self.limit);
        touched.insert(age);
        let changes = of.changes(namespace, touched, &mut self.wanted);
        self.wanted.remove(namespace, name);
        changes
    }

    pub fn remove(&mut self, (namespace, name): &Key) -> Changes {
        self.wanted.remove(namespace, name);
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return Changes::default();
        };
        of.remove(name);
        let touched = of.settle(self.limit);
        let changes = of.changes(namespace, touched, &mut self.wanted);
        if of.lines.is_empty() {
            self.namespaces.remove(namespace);
        }
        changes
    }
}

impl OfNamespace {
    fn remove(&mut self, name: &str) {
        let Some(age) = self.ages.remove(name) else {
            return;
        };
        let next = self.next(&age);
        if self.boundary.as_ref() == Some(&age) {
            self.boundary.clone_from(&next);
        }
        if self.horizon.as_ref() == Some(&age) {
            self.horizon = next;
        }
        self.speaker.take_if(|(speaker, _)| *speaker == age);
        if let Some(line) = self.lines.remove(&age) {
            self.uncount(&line);
        }
    }

    fn insert(&mut self, age: Age, weight: usize) {
        let is_before = |limit: &Option<Age>| limit.as_ref().is_none_or(|limit| age < *limit);
        let state = match (is_before(&self.boundary), is_before(&self.horizon)) {
            (true, _) => State::Kept,
            (false, true) => State::Stub,
            (false, false) => State::Hidden,
        };
        let line = Line { weight, state };
        self.count(&line);
        self.ages.insert(age.name.clone(), age.clone());
        self.lines.insert(age, line);
    }

    fn count(&mut self, line: &Line) {
        match line.state {
            State::Kept => self.weight = self.weight.saturating_add(line.weight),
            State::Stub => self.stubs = self.stubs.saturating_add(1),
            State::Hidden => self.hidden = self.hidden.saturating_add(1),
        }
    }

    fn uncount(&mut self, line: &Line) {
        match line.state {
            State::Kept => self.weight = self.weight.saturating_sub(line.weight),
            State::Stub => self.stubs = self.stubs.saturating_sub(1),
            State::Hidden => self.hidden = self.hidden.saturating_sub(1),
        }
    }

    fn next(&self, age: &Age) -> Option<Age> {
        let mut after = self.lines.range((Excluded(age), Unbounded));
        after.next().map(|(age, _)| age.clone())
    }

    /// The youngest object before `limit`, or of all.
    fn last_before(&self, limit: Option<&Age>) -> Option<Age> {
        let last = match limit {
            Some(limit) => self.lines.range(..limit).next_back(),
            None => self.lines.iter().next_back(),
        };
        last.map(|(age, _)| age.clone())
    }

    fn set(&mut self, age: &Age, state: State) {
        let Some(mut line) = self.lines.remove(age) else {
            return;
        };
        self.uncount(&line);
        line.state = state;
        self.count(&line);
        self.lines.insert(age.clone(), line);
    }

    /// Keeps the oldest objects that have room together. It looks only at objects that change; the outcome is which do.
    fn settle(&mut self, limit: usize) -> BTreeSet<Age> {
        let mut touched = BTreeSet::new();
        while self.weight > limit
            && let Some(last) = self.last_before(self.boundary.as_ref())
        {
            self.set(&last, State::Stub);
            self.boundary = Some(last.clone());
            touched.insert(last);
        }
        while let Some(first) = self.boundary.clone() {
            let weight = self.lines.get(&first).map_or(0, |line| line.weight);
            if self.weight.saturating_add(weight) > limit {
                break;
            }
            self.set(&first, State::Kept);
            self.boundary = self.next(&first);
            if self.horizon.as_ref() == Some(&first) {
                self.horizon.clone_from(&self.boundary);
            }
            touched.insert(first);
        }
        while self.stubs > MOST_STUBS
            && let Some(last) = self.last_before(self.horizon.as_ref())
        {
            self.set(&last, State::Hidden);
            self.horizon = Some(last.clone());
            touched.insert(last);
        }
        while self.stubs < MOST_STUBS
            && let Some(first) = self.horizon.clone()
        {
            self.set(&first, State::Stub);
            self.horizon = self.next(&first);
            touched.insert(first);
        }
        touched
    }

    fn changes(&mut self, namespace: &str, touched: BTreeSet<Age>, wanted: &mut Wanted) -> Changes {
        let mut changes = Changes::default();
        let key = |age: &Age| (namespace.to_owned(), age.name.clone());
        for age in touched {
            match self.lines.get(&age).map(|line| line.state) {
                Some(State::Kept) => {
                    wanted.add(key(&age));
                    continue;
                }
                Some(State::Stub) => changes.stubs.push((key(&age), 0)),
                Some(State::Hidden) => changes.hidden.push(key(&age)),
                None => {}
            }
            wanted.remove(namespace, &age.name);
            self.speaker.take_if(|(speaker, _)| *speaker == age);
        }
        let count = self.hidden.checked_ilog2().map(|power| 1 << power);
        let speaker = self.boundary.clone().zip(count);
        if speaker == self.speaker {
            return changes;
        }
        let is_now = |age: &Age| speaker.as_ref().is_some_and(|(now, _)| now == age);
        let is_stub = |age: &Age| self.lines.get(age).map(|it| it.state) == Some(State::Stub);
        let before = self.speaker.iter().map(|(age, _)| age);
        let before = before.filter(|age| !is_now(age) && is_stub(age));
        changes.stubs.extend(before.map(|age| (key(age), 0)));
        let now = speaker.iter().map(|(age, count)| (key(age), *count));
        changes.stubs.extend(now);
        self.speaker = speaker;
        changes
    }
}

#[cfg(test)]
mod tests;
mod wanted;
