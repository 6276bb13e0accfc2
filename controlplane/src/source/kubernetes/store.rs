//! What was read of the cluster: every object in its read form, and how far each source has come.
//!
//! Pure: news in, a [`Reading`] out, and whether it is worth a translation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reading::{Kept, Key};
use crate::publish::Reading;
use weir_core::status::subject::Subject;
use weir_core::watermark::Watermark;

/// What happened at a source; its id is the first field.
#[derive(Debug)]
pub enum News {
    /// A watch of it begins.
    Begun(Arc<str>),
    /// All of it, at this resource version, and the newest one of its objects.
    Listed(Arc<str>, BTreeMap<Key, Kept>, u64, u64),
    Applied(Arc<str>, Key, Kept, u64),
    Deleted(Arc<str>, Key, u64),
    /// Nothing has happened up to this resource version.
    Reached(Arc<str>, u64),
    /// It cannot be read now; what was read of it holds.
    Failing(Arc<str>, String),
    /// The cluster does not have it.
    Gone(Arc<str>),
    /// Every source has begun that the cluster may have, or cannot be known yet, and why.
    Discovered(Result<(), String>),
}

/// What news are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    Nothing,
    /// A status or a watermark.
    Outcome,
    Translation,
}

#[derive(Default)]
pub struct Store {
    sources: BTreeMap<Arc<str>, Source>,
    undiscovered: Option<String>,
    is_discovered: bool,
}

#[derive(Default)]
struct Source {
    /// None until it was read once.
    objects: Option<BTreeMap<Key, Kept>>,
    reached: u64,
    /// The version of the newest change in it that is known.
    changed: u64,
    failing: Option<String>,
}

impl Store {
    pub fn take(&mut self, news: News) -> Worth {
        match news {
            News::Begun(id) => {
                self.sources.entry(id).or_default();
                Worth::Nothing
            }
            News::Listed(id, objects, version, changed) => self
                .sources
                .entry(id)
                .or_default()
                .replace(objects, version, changed),
            News::Applied(id, key, kept, version) => {
                let source = self.sources.entry(id).or_default();
                (source.reached, source.changed) = (version, version);
                source.apply(key, kept)
            }
            News::Deleted(id, key, version) => {
                let source = self.sources.entry(id).or_default();
                (source.reached, source.changed) = (version, version);
                match source.objects.as_mut().and_then(|known| known.remove(&key)) {
                    Some(_) => Worth::Translation,
                    None => Worth::Outcome,
                }
            }
            News::Reached(id, version) => {
                let source = self.sources.entry(id).or_default();
                source.reached = version;
                Worth::Outcome
            }
            News::Failing(id, why) => {
                self.sources.entry(id).or_default().failing = Some(why);
                Worth::Nothing
            }
            News::Gone(id) => match self.sources.remove(&id).and_then(|it| it.objects) {
                Some(objects) if !objects.is_empty() => Worth::Translation,
                _ => Worth::Outcome,
            },
            News::Discovered(Ok(())) => {
                self.is_discovered = true;
                Worth::Nothing
            }
            News::Discovered(Err(why)) => {
                self.undiscovered = Some(why);
                Worth::Nothing
            }
        }
    }

    /// Whether all of the cluster was read once.
    pub fn is_whole(&self) -> bool {
        self.is_discovered && self.sources.values().all(|it| it.objects.is_some())
    }

    /// What failed of what is missing.
    pub fn obstacle(&self) -> Option<String> {
        if !self.is_discovered {
            return self.undiscovered.clone();
        }
        let unread = self.sources.iter().filter(|(_, it)| it.objects.is_none());
        let named = unread.filter_map(|(id, it)| Some(format!("{id} ({})", it.failing.as_ref()?)));
        let named: Vec<String> = named.collect();
        (!named.is_empty()).then(|| format!("not read yet: {}", named.join(", ")))
    }

    pub fn reading(&self) -> Reading {
        let kept = || self.kept();
        Reading {
            objects: kept().filter_map(|it| it.entry.clone()).collect(),
            problems: kept()
                .filter_map(|it| it.problem.as_deref().cloned())
                .collect(),
            subjects: self.subjects(),
            watermark: self.watermark(),
        }
    }

    pub fn subjects(&self) -> Vec<Arc<Subject>> {
        self.kept().filter_map(|it| it.subject.clone()).collect()
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

    fn kept(&self) -> impl Iterator<Item = &Kept> {
        let objects = self.sources.values().filter_map(|it| it.objects.as_ref());
        objects.flat_map(BTreeMap::values)
    }
}

impl Source {
    fn replace(&mut self, mut objects: BTreeMap<Key, Kept>, version: u64, changed: u64) -> Worth {
        let before = self.objects.take();
        for (key, kept) in &mut objects {
            if let Some(known) = before.as_ref().and_then(|before| before.get(key)) {
                kept.follow(known, version);
            }
        }
        let is_same = before.is_some_and(|before| {
            before.len() == objects.len()
                && before
                    .iter()
                    .zip(&objects)
                    .all(|((a, known), (b, kept))| a == b && kept.is_translated_as(known))
        });
        // A list does not show what was deleted before it, nor when: only where nothing is missing from what was known
        // are its objects the newest change. One from before what was read is of a cluster that was restored.
        let changed = if is_same && version >= self.reached {
            self.changed.max(changed)
        } else {
            version
        };
        *self = Source {
            objects: Some(objects),
            reached: version,
            changed,
            failing: None,
        };
        if is_same {
            Worth::Outcome
        } else {
            Worth::Translation
        }
    }

    fn apply(&mut self, key: Key, mut kept: Kept) -> Worth {
        let objects = self.objects.get_or_insert_default();
        let Some(known) = objects.get_mut(&key) else {
            objects.insert(key, kept);
            return Worth::Translation;
        };
        kept.follow(known, self.reached);
        let is_same = kept.is_translated_as(known);
        *known = kept;
        if is_same {
            Worth::Outcome
        } else {
            Worth::Translation
        }
    }
}

impl Kept {
    /// A generation that was known already is known since then, unless the cluster, which has come as far as
    /// `reached`, counts anew.
    fn follow(&mut self, known: &Kept, reached: u64) {
        if let (Some(own), Some(known)) = (&mut self.subject, &known.subject)
            && (&own.uid, own.generation) == (&known.uid, known.generation)
            && known.since <= reached
        {
            Arc::make_mut(own).since = known.since;
        }
    }
}

#[cfg(test)]
mod tests;
