//! The objects of the cluster as they were read, and the resource version that each source has reached. A source is one
//! kind of object, in all namespaces or in one.
//!
//! The store does no input or output. It receives events, returns whether an event needs a new translation, and makes a
//! [`Snapshot`] of all objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::read_object::{Key, ReadObject};
use crate::publish::Snapshot;
use weir_core::status::subject::Subject;
use weir_core::watermark::Watermark;

/// The id of the ConfigMaps with certificates.
pub const CONFIG_MAPS: &str = "configmaps";
/// The beginning of the ids of the sources with BackendTLSPolicies.
const POLICIES: &str = "backendtlspolicies.";

/// A change of a source, or of the list of sources. Except in `Discovered`, the first field is the id of the source.
#[derive(Debug)]
pub enum SourceEvent {
    /// A watch of the source begins.
    Begun(Arc<str>),
    /// The source was listed. The fields after the id: the objects, the resource version of the list, and the newest
    /// resource version of an object.
    Listed(Arc<str>, BTreeMap<Key, ReadObject>, u64, u64),
    /// An object was added or changed at this resource version.
    Applied(Arc<str>, Key, ReadObject, u64),
    /// An object was deleted at this resource version.
    Deleted(Arc<str>, Key, u64),
    /// The source has no change between the last event and this resource version.
    Reached(Arc<str>, u64),
    /// The source cannot be read now, for this reason. The store keeps the objects of the source.
    Failing(Arc<str>, String),
    /// The cluster does not have the source.
    Gone(Arc<str>),
    /// Ok if every source that the cluster has is watched. Err has the reason why the kinds of the cluster are unknown.
    Discovered(Result<(), String>),
}

/// What an event changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impact {
    Nothing,
    /// The event can change a status or a watermark, but no rule.
    Outcome,
    Translation,
}

#[derive(Default)]
pub struct ObjectStore {
    sources: BTreeMap<Arc<str>, SourceObjects>,
    undiscovered: Option<String>,
    is_discovered: bool,
}

#[derive(Default)]
struct SourceObjects {
    /// None until the first list of the source.
    objects: Option<BTreeMap<Key, ReadObject>>,
    reached: u64,
    /// The resource version of the newest known change.
    changed: u64,
    failing: Option<String>,
}

impl ObjectStore {
    pub fn apply(&mut self, event: SourceEvent) -> Impact {
        match event {
            SourceEvent::Begun(id) => {
                self.sources.entry(id).or_default();
                Impact::Nothing
            }
            SourceEvent::Listed(id, objects, version, changed) => self
                .sources
                .entry(id)
                .or_default()
                .replace(objects, version, changed),
            SourceEvent::Applied(id, key, kept, version) => {
                let source = self.sources.entry(id).or_default();
                (source.reached, source.changed) = (version, version);
                source.replace_one(key, kept)
            }
            SourceEvent::Deleted(id, key, version) => {
                let source = self.sources.entry(id).or_default();
                (source.reached, source.changed) = (version, version);
                match source.objects.as_mut().and_then(|it| it.remove(&key)) {
                    Some(_) => Impact::Translation,
                    None => Impact::Outcome,
                }
            }
            SourceEvent::Reached(id, version) => {
                let source = self.sources.entry(id).or_default();
                source.reached = version;
                Impact::Outcome
            }
            SourceEvent::Failing(id, why) => {
                self.sources.entry(id).or_default().failing = Some(why);
                Impact::Nothing
            }
            SourceEvent::Gone(id) => match self.sources.remove(&id).and_then(|it| it.objects) {
                Some(objects) if !objects.is_empty() => Impact::Translation,
                _ => Impact::Outcome,
            },
            SourceEvent::Discovered(Ok(())) => {
                self.is_discovered = true;
                Impact::Nothing
            }
            SourceEvent::Discovered(Err(why)) => {
                self.undiscovered = Some(why);
                Impact::Nothing
            }
        }
    }

    /// Returns the ConfigMaps that BackendTLSPolicies name.
    pub fn needed_config_maps(&self) -> BTreeSet<Key> {
        let policies = self
            .sources
            .iter()
            .filter(|(id, _)| id.starts_with(POLICIES));
        let objects = policies.filter_map(|(_, source)| source.objects.as_ref());
        let policies = objects.flat_map(BTreeMap::values).filter_map(|it| {
            let entry = it.entry.as_deref()?;
            entry.tls_policy()
        });
        let keys = policies.flat_map(|policy| {
            let names = policy.config_maps().iter();
            names.map(|name| (policy.object.namespace.clone(), name.to_string()))
        });
        keys.collect()
    }

    /// Returns the ConfigMaps that were not read. An absent ConfigMap counts as read.
    pub fn unread_config_maps(&self, needed: BTreeSet<Key>) -> BTreeSet<Key> {
        let source = self.sources.get(CONFIG_MAPS);
        let read = source.and_then(|it| it.objects.as_ref());
        let is_unread = |key: &Key| read.is_none_or(|it| !it.contains_key(key));
        needed.into_iter().filter(is_unread).collect()
    }

    /// True if all sources are known and the store has the objects of each source.
    pub fn is_complete(&self) -> bool {
        self.is_discovered && self.sources.values().all(|it| it.objects.is_some())
    }

    /// Returns why the store is not complete. Returns None if nothing has failed.
    pub fn obstacle(&self) -> Option<String> {
        if !self.is_discovered {
            return self.undiscovered.clone();
        }
        let unread = self.sources.iter().filter(|(_, it)| it.objects.is_none());
        let named = unread.filter_map(|(id, it)| Some(format!("{id} ({})", it.failing.as_ref()?)));
        let named: Vec<String> = named.collect();
        (!named.is_empty()).then(|| format!("not read yet: {}", named.join(", ")))
    }

    pub fn snapshot(&self) -> Snapshot {
        let objects = || self.objects();
        Snapshot {
            objects: objects().filter_map(|it| it.entry.clone()).collect(),
            problems: objects()
                .filter_map(|it| it.problem.as_deref().cloned())
                .collect(),
            subjects: self.subjects(),
            watermark: self.watermark(),
            has_own_endpoints: true,
        }
    }

    pub fn subjects(&self) -> Vec<Arc<Subject>> {
        self.objects().filter_map(|it| it.subject.clone()).collect()
    }

    pub fn watermark(&self) -> Watermark {
        let mut watermark = Watermark::default();
        for (id, source) in &self.sources {
            if source.objects.is_some() && source.reached > 0 {
                watermark.set(id, source.reached);
                watermark.set_changed(id, source.changed);
            }
        }
        watermark
    }

    fn objects(&self) -> impl Iterator<Item = &ReadObject> {
        let objects = self.sources.values().filter_map(|it| it.objects.as_ref());
        objects.flat_map(BTreeMap::values)
    }
}

impl SourceObjects {
    fn replace(
        &mut self,
        mut objects: BTreeMap<Key, ReadObject>,
        version: u64,
        changed: u64,
    ) -> Impact {
        let before = self.objects.take();
        for (key, object) in &mut objects {
            if let Some(previous) = before.as_ref().and_then(|before| before.get(key)) {
                object.inherit_since(previous, version);
            }
        }
        let is_same = before.is_some_and(|before| {
            before.len() == objects.len()
                && before
                    .iter()
                    .zip(&objects)
                    .all(|((a, previous), (b, object))| a == b && object.is_translated_as(previous))
        });
        // A list does not show when an object was deleted. So if any object differs, the version of the list counts as
        // the newest change. If the list has a lower version than before, the cluster was restored from a backup.
        let changed = if is_same && version >= self.reached {
            self.changed.max(changed)
        } else {
            version
        };
        *self = SourceObjects {
            objects: Some(objects),
            reached: version,
            changed,
            failing: None,
        };
        if is_same {
            Impact::Outcome
        } else {
            Impact::Translation
        }
    }

    fn replace_one(&mut self, key: Key, mut object: ReadObject) -> Impact {
        let objects = self.objects.get_or_insert_default();
        let Some(previous) = objects.get_mut(&key) else {
            objects.insert(key, object);
            return Impact::Translation;
        };
        object.inherit_since(previous, self.reached);
        let is_same = object.is_translated_as(previous);
        *previous = object;
        if is_same {
            Impact::Outcome
        } else {
            Impact::Translation
        }
    }
}

impl ReadObject {
    /// Copies `since` from the previous object if the uid and the generation are the same. `since` is the resource
    /// version at which this generation was first read. `reached` is the version of the cluster now. If `since` is
    /// above `reached`, the cluster was restored from a backup, and nothing is copied.
    fn inherit_since(&mut self, previous: &ReadObject, reached: u64) {
        if let (Some(own), Some(previous)) = (&mut self.subject, &previous.subject)
            && (&own.uid, own.generation) == (&previous.uid, previous.generation)
            && previous.since <= reached
        {
            Arc::make_mut(own).since = previous.since;
        }
    }
}

#[cfg(test)]
mod tests;
