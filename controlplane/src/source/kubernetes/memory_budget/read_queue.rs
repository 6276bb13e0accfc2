//! The queue of objects that must be read again. The namespaces take turns, so that a namespace with many objects does
//! not delay other namespaces. An object that is added again comes after the other objects of its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use crate::source::kubernetes::read_object::Key;

#[derive(Default)]
pub struct ReadQueue {
    /// A namespace without objects has no entry.
    namespaces: BTreeMap<String, NamespaceQueue>,
    /// The namespace of the last object that was taken.
    last: String,
}

#[derive(Default)]
struct NamespaceQueue {
    names: BTreeSet<String>,
    /// The name that was taken last.
    last: String,
}

impl ReadQueue {
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    pub fn add(&mut self, (namespace, name): Key) {
        let of = self.namespaces.entry(namespace).or_default();
        of.names.insert(name);
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return;
        };
        of.names.remove(name);
        if of.names.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Removes and returns the next object.
    pub fn take(&mut self) -> Option<Key> {
        let after = (Excluded(self.last.as_str()), Unbounded);
        let next = self.namespaces.range::<str, _>(after).next();
        let (namespace, _) = next.or_else(|| self.namespaces.iter().next())?;
        let namespace = namespace.clone();
        let of = self.namespaces.get_mut(&namespace)?;
        let after = (Excluded(of.last.as_str()), Unbounded);
        let next = of.names.range::<str, _>(after).next();
        let name = next.or_else(|| of.names.iter().next())?.clone();
        of.last.clone_from(&name);
        self.last.clone_from(&namespace);
        self.remove(&namespace, &name);
        Some((namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_and_objects_take_turns() {
        let mut queue = ReadQueue::default();
        let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        for (namespace, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")] {
            queue.add(key(namespace, name));
        }
        assert_eq!(queue.take(), Some(key("a", "1")));
        // The object could not be read, so it is added again.
        queue.add(key("a", "1"));
        assert_eq!(queue.take(), Some(key("b", "1")));
        queue.remove("a", "3");
        assert_eq!(queue.take(), Some(key("a", "2")));
        assert_eq!(queue.take(), Some(key("a", "1")));
        assert_eq!(queue.take(), None);
        assert!(queue.is_empty());
    }
}
