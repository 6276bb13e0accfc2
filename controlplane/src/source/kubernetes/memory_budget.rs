//! The memory limit of one source: one kind of object, in all namespaces or in one. A source keeps the oldest objects
//! of each namespace, up to a limit of bytes. The next objects by age become stubs: a name and a problem. All other
//! objects are hidden, and the oldest stub reports how many objects are hidden.
//!
//! The result depends on the objects, and not on the order in which the source has read them. So all replicas keep the
//! same objects. This module does no input or output.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use self::read_queue::ReadQueue;
use super::read_object::Key;
use weir_core::translate::budget::Limits;

/// Maximum number of stubs in one namespace. A stub needs up to 5 KiB.
const MOST_STUBS: usize = 100;

/// The sort key of objects in a namespace. The oldest object comes first, and objects without a creation time come
/// last. Objects of the same age are sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectAge {
    is_undated: bool,
    /// The creation time as an API server writes it. The form is always the same, so the order of the texts is the
    /// order of the times.
    created: String,
    name: String,
}

impl ObjectAge {
    pub fn new(created: Option<&str>, name: &str) -> ObjectAge {
        ObjectAge {
            is_undated: created.is_none(),
            created: created.unwrap_or_default().to_owned(),
            name: name.to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectState {
    Kept,
    Stub,
    Hidden,
}

#[derive(Debug)]
struct BudgetLine {
    weight: usize,
    state: ObjectState,
}

/// Objects whose state has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that become stubs. The number is how many hidden objects the stub reports, rounded down to a power of
    /// two. If an object has several entries, only the last entry is valid.
    pub stubs: Vec<(Key, usize)>,
    /// Objects to forget.
    pub hidden: Vec<Key>,
}

pub struct MemoryBudget {
    /// Bytes for each namespace.
    limit: usize,
    namespaces: BTreeMap<String, NamespaceObjects>,
    /// Objects that fit into the limit now, but that the source did not keep when it read them.
    pub to_read: ReadQueue,
}

/// The objects of one namespace. In the order of age, kept objects come first, then stubs, then hidden objects.
#[derive(Default)]
struct NamespaceObjects {
    lines: BTreeMap<ObjectAge, BudgetLine>,
    ages: BTreeMap<String, ObjectAge>,
    /// Bytes of the objects that are kept.
    weight: usize,
    stubs: usize,
    hidden: usize,
    /// The oldest object that is not kept.
    first_stub: Option<ObjectAge>,
    /// The oldest object that is hidden.
    first_hidden: Option<ObjectAge>,
    /// The stub that reports the number of hidden objects, and this number.
    summary_stub: Option<(ObjectAge, usize)>,
}

impl MemoryBudget {
    /// Returns a budget that is a multiple of the namespace limit, because an object in memory is larger than its cost
    /// for proxies.
    pub fn new(limits: &Limits) -> MemoryBudget {
        const FACTOR: u64 = 8;
        let limit = limits.namespace.saturating_mul(FACTOR);
        MemoryBudget::of(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn of(limit: usize) -> MemoryBudget {
        MemoryBudget {
            limit,
            namespaces: BTreeMap::new(),
            to_read: ReadQueue::default(),
        }
    }

    /// Returns the limit in bytes for the objects of one namespace.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets all objects.
    pub fn clear(&mut self) {
        self.namespaces.clear();
        self.to_read = ReadQueue::default();
    }

    /// Adds or replaces an object. `weight` is its size in memory, in bytes.
    pub fn put(&mut self, (namespace, name): &Key, age: ObjectAge, weight: usize) -> Changes {
        let of = self.namespaces.entry(namespace.clone()).or_default();
        of.remove(name);
        of.insert(age.clone(), weight);
        let mut touched = of.settle(self.limit);
        touched.insert(age);
        let changes = of.changes(namespace, touched, &mut self.to_read);
        self.to_read.remove(namespace, name);
        changes
    }

    pub fn remove(&mut self, (namespace, name): &Key) -> Changes {
        self.to_read.remove(namespace, name);
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return Changes::default();
        };
        of.remove(name);
        let touched = of.settle(self.limit);
        let changes = of.changes(namespace, touched, &mut self.to_read);
        if of.lines.is_empty() {
            self.namespaces.remove(namespace);
        }
        changes
    }
}

impl NamespaceObjects {
    fn remove(&mut self, name: &str) {
        let Some(age) = self.ages.remove(name) else {
            return;
        };
        let next = self.next(&age);
        if self.first_stub.as_ref() == Some(&age) {
            self.first_stub.clone_from(&next);
        }
        if self.first_hidden.as_ref() == Some(&age) {
            self.first_hidden = next;
        }
        self.summary_stub
            .take_if(|(summary_stub, _)| *summary_stub == age);
        if let Some(line) = self.lines.remove(&age) {
            self.uncount(&line);
        }
    }

    fn insert(&mut self, age: ObjectAge, weight: usize) {
        let is_before = |limit: &Option<ObjectAge>| limit.as_ref().is_none_or(|limit| age < *limit);
        let state = match (is_before(&self.first_stub), is_before(&self.first_hidden)) {
            (true, _) => ObjectState::Kept,
            (false, true) => ObjectState::Stub,
            (false, false) => ObjectState::Hidden,
        };
        let line = BudgetLine { weight, state };
        self.count(&line);
        self.ages.insert(age.name.clone(), age.clone());
        self.lines.insert(age, line);
    }

    fn count(&mut self, line: &BudgetLine) {
        match line.state {
            ObjectState::Kept => self.weight = self.weight.saturating_add(line.weight),
            ObjectState::Stub => self.stubs = self.stubs.saturating_add(1),
            ObjectState::Hidden => self.hidden = self.hidden.saturating_add(1),
        }
    }

    fn uncount(&mut self, line: &BudgetLine) {
        match line.state {
            ObjectState::Kept => self.weight = self.weight.saturating_sub(line.weight),
            ObjectState::Stub => self.stubs = self.stubs.saturating_sub(1),
            ObjectState::Hidden => self.hidden = self.hidden.saturating_sub(1),
        }
    }

    fn next(&self, age: &ObjectAge) -> Option<ObjectAge> {
        let mut after = self.lines.range((Excluded(age), Unbounded));
        after.next().map(|(age, _)| age.clone())
    }

    /// Returns the youngest object before `limit`. Without a limit, returns the youngest of all objects.
    fn last_before(&self, limit: Option<&ObjectAge>) -> Option<ObjectAge> {
        let last = match limit {
            Some(limit) => self.lines.range(..limit).next_back(),
            None => self.lines.iter().next_back(),
        };
        last.map(|(age, _)| age.clone())
    }

    fn set(&mut self, age: &ObjectAge, state: ObjectState) {
        let Some(mut line) = self.lines.remove(age) else {
            return;
        };
        self.uncount(&line);
        line.state = state;
        self.count(&line);
        self.lines.insert(age.clone(), line);
    }

    /// Keeps the oldest objects that fit together into `limit`. Visits only objects whose state changes, and returns
    /// them.
    fn settle(&mut self, limit: usize) -> BTreeSet<ObjectAge> {
        let mut touched = BTreeSet::new();
        while self.weight > limit
            && let Some(last) = self.last_before(self.first_stub.as_ref())
        {
            self.set(&last, ObjectState::Stub);
            self.first_stub = Some(last.clone());
            touched.insert(last);
        }
        while let Some(first) = self.first_stub.clone() {
            let weight = self.lines.get(&first).map_or(0, |line| line.weight);
            if self.weight.saturating_add(weight) > limit {
                break;
            }
            self.set(&first, ObjectState::Kept);
            self.first_stub = self.next(&first);
            if self.first_hidden.as_ref() == Some(&first) {
                self.first_hidden.clone_from(&self.first_stub);
            }
            touched.insert(first);
        }
        while self.stubs > MOST_STUBS
            && let Some(last) = self.last_before(self.first_hidden.as_ref())
        {
            self.set(&last, ObjectState::Hidden);
            self.first_hidden = Some(last.clone());
            touched.insert(last);
        }
        while self.stubs < MOST_STUBS
            && let Some(first) = self.first_hidden.clone()
        {
            self.set(&first, ObjectState::Stub);
            self.first_hidden = self.next(&first);
            touched.insert(first);
        }
        touched
    }

    fn changes(
        &mut self,
        namespace: &str,
        touched: BTreeSet<ObjectAge>,
        to_read: &mut ReadQueue,
    ) -> Changes {
        let mut changes = Changes::default();
        let key = |age: &ObjectAge| (namespace.to_owned(), age.name.clone());
        for age in touched {
            match self.lines.get(&age).map(|line| line.state) {
                Some(ObjectState::Kept) => {
                    to_read.add(key(&age));
                    continue;
                }
                Some(ObjectState::Stub) => changes.stubs.push((key(&age), 0)),
                Some(ObjectState::Hidden) => changes.hidden.push(key(&age)),
                None => {}
            }
            to_read.remove(namespace, &age.name);
            self.summary_stub
                .take_if(|(summary_stub, _)| *summary_stub == age);
        }
        let count = self.hidden.checked_ilog2().map(|power| 1 << power);
        let summary_stub = self.first_stub.clone().zip(count);
        if summary_stub == self.summary_stub {
            return changes;
        }
        let is_now = |age: &ObjectAge| summary_stub.as_ref().is_some_and(|(now, _)| now == age);
        let is_stub =
            |age: &ObjectAge| self.lines.get(age).map(|it| it.state) == Some(ObjectState::Stub);
        let before = self.summary_stub.iter().map(|(age, _)| age);
        let before = before.filter(|age| !is_now(age) && is_stub(age));
        changes.stubs.extend(before.map(|age| (key(age), 0)));
        let now = summary_stub.iter().map(|(age, count)| (key(age), *count));
        changes.stubs.extend(now);
        self.summary_stub = summary_stub;
        changes
    }
}

mod read_queue;
#[cfg(test)]
mod tests;
