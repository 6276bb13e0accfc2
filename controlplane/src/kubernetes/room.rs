//! Which objects of one source are kept in memory: the oldest objects of each namespace, up to a limit of bytes. For
//! each of the others a stub with a problem is kept.
//!
//! Pure. The objects that are kept depend on the objects alone, not on the order in which they were read, so that all
//! replicas keep the same ones.

use std::collections::BTreeMap;

use super::reading::Key;
use crate::budget::Limits;

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

#[derive(Debug)]
struct Line {
    weight: usize,
    is_kept: bool,
}

/// What has changed for objects of a namespace, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects to replace by stubs.
    pub dropped: Vec<Key>,
    /// Objects that have stubs, now have room, and are to be read again.
    pub wanted: Vec<Key>,
}

pub struct Room {
    /// Bytes of one namespace.
    limit: usize,
    namespaces: BTreeMap<String, OfNamespace>,
}

#[derive(Default)]
struct OfNamespace {
    lines: BTreeMap<Age, Line>,
    ages: BTreeMap<String, Age>,
    /// Bytes of all lines together.
    weight: usize,
    stubs: usize,
}

impl Room {
    /// The room is a multiple of the namespace limit, because objects as an API server keeps them are larger than what
    /// they cost proxies.
    pub fn new(limits: &Limits) -> Room {
        const FACTOR: u64 = 8;
        let limit = limits.namespace.saturating_mul(FACTOR);
        Room {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            namespaces: BTreeMap::new(),
        }
    }

    /// Bytes that the objects of one namespace may take up.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets all objects.
    pub fn clear(&mut self) {
        self.namespaces.clear();
    }

    /// Adds or replaces an object that was read; `weight` is the bytes that it would take up.
    pub fn put(&mut self, (namespace, name): &Key, age: Age, weight: usize) -> Changes {
        let of = self.namespaces.entry(namespace.clone()).or_default();
        of.remove(name);
        of.weight = of.weight.saturating_add(weight);
        of.ages.insert(name.clone(), age.clone());
        let is_kept = true;
        of.lines.insert(age, Line { weight, is_kept });
        of.settle(namespace, self.limit)
    }

    pub fn remove(&mut self, (namespace, name): &Key) -> Changes {
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return Changes::default();
        };
        of.remove(name);
        let changes = of.settle(namespace, self.limit);
        if of.lines.is_empty() {
            self.namespaces.remove(namespace);
        }
        changes
    }
}

impl OfNamespace {
    fn remove(&mut self, name: &str) {
        let line = self
            .ages
            .remove(name)
            .and_then(|age| self.lines.remove(&age));
        if let Some(line) = line {
            self.weight = self.weight.saturating_sub(line.weight);
            self.stubs = self.stubs.saturating_sub(usize::from(!line.is_kept));
        }
    }

    /// Keeps the oldest objects that have room together.
    fn settle(&mut self, namespace: &str, limit: usize) -> Changes {
        let mut changes = Changes::default();
        if self.weight <= limit && self.stubs == 0 {
            return changes;
        }
        let mut sum = 0_usize;
        for (age, line) in &mut self.lines {
            sum = sum.saturating_add(line.weight);
            let has_room = sum <= limit;
            let key = || (namespace.to_owned(), age.name.clone());
            match (line.is_kept, has_room) {
                (true, false) => {
                    changes.dropped.push(key());
                    self.stubs += 1;
                }
                (false, true) => {
                    changes.wanted.push(key());
                    self.stubs -= 1;
                }
                (true, true) | (false, false) => {}
            }
            line.is_kept = has_room;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: usize) -> Room {
        Room {
            limit,
            namespaces: BTreeMap::new(),
        }
    }

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    fn put(room: &mut Room, name: &str, day: u8, weight: usize) -> (Vec<String>, Vec<String>) {
        let created = format!("2026-01-{day:02}T00:00:00Z");
        names(room.put(&key(name), Age::new(Some(&created), name), weight))
    }

    fn names(changes: Changes) -> (Vec<String>, Vec<String>) {
        let names = |keys: Vec<Key>| keys.into_iter().map(|(_, name)| name).collect();
        (names(changes.dropped), names(changes.wanted))
    }

    fn said(dropped: &[&str], wanted: &[&str]) -> (Vec<String>, Vec<String>) {
        let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        (owned(dropped), owned(wanted))
    }

    #[test]
    fn the_oldest_are_kept() {
        let mut room = room(100);
        assert_eq!(put(&mut room, "b", 2, 50), said(&[], &[]));
        assert_eq!(put(&mut room, "c", 3, 50), said(&[], &[]));
        // An older one takes the place of the youngest.
        assert_eq!(put(&mut room, "a", 1, 10), said(&["c"], &[]));
        // An object that is younger than a stub is a stub, however small it is.
        assert_eq!(put(&mut room, "d", 4, 1), said(&["d"], &[]));
        // It is written again, and stays a stub.
        assert_eq!(put(&mut room, "d", 4, 2), said(&["d"], &[]));
        assert_eq!(names(room.remove(&key("b"))), said(&[], &["c", "d"]));
        assert_eq!(put(&mut room, "c", 3, 60), said(&[], &[]));
        assert_eq!(put(&mut room, "c", 3, 89), said(&["d"], &[]));
        assert_eq!(put(&mut room, "c", 3, 88), said(&[], &["d"]));
    }

    #[test]
    fn each_namespace_has_room_of_its_own() {
        let mut room = room(100);
        assert_eq!(put(&mut room, "a", 1, 100), said(&[], &[]));
        let other = ("other".to_owned(), "a".to_owned());
        assert_eq!(
            room.put(&other, Age::new(None, "a"), 100),
            Changes::default()
        );
        assert_eq!(room.remove(&other), Changes::default());
        assert_eq!(room.remove(&other), Changes::default());
    }

    #[test]
    fn the_objects_that_are_kept_do_not_depend_on_the_order() {
        let objects: Vec<(String, u8, usize)> = (0..40_u8)
            .map(|it| (format!("o{it}"), it % 7, usize::from(it) * 3 % 17))
            .collect();
        let kept = |order: &mut dyn Iterator<Item = &(String, u8, usize)>| {
            let mut room = room(60);
            for (name, day, weight) in order {
                put(&mut room, name, *day, *weight);
            }
            let of = room.namespaces.remove("shop").unwrap();
            let kept = of.lines.into_iter().filter(|(_, line)| line.is_kept);
            kept.map(|(age, _)| age.name).collect::<Vec<_>>()
        };
        let forward = kept(&mut objects.iter());
        assert!(!forward.is_empty() && forward.len() < objects.len());
        assert_eq!(forward, kept(&mut objects.iter().rev()));
    }
}
