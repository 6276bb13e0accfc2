//! Until when each revision was right: the watermark up to which a proxy that runs it has everything in force.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_core::plan::Scope;
use weir_core::watermark::Watermark;

/// Revisions of one scope and version that are remembered. A proxy that runs an older one keeps the mark that it had.
const MAX_REVISIONS: usize = 32;

/// What a revision is of: a scope, in a version of the document.
pub(super) type Subset = (Scope, u32);

#[derive(Default)]
pub(super) struct Marks {
    /// The newest last, which is the one in force.
    revisions: HashMap<Subset, VecDeque<(String, Arc<Watermark>)>>,
    newest: Arc<Watermark>,
}

impl Marks {
    /// The cluster has been read as far as this. True where that is behind what was seen before: it was restored from a
    /// backup, and no mark counts any more.
    pub(super) fn read(&mut self, newest: &Arc<Watermark>) -> bool {
        let is_restored = !newest.covers(&self.newest);
        if is_restored {
            self.revisions.clear();
        }
        self.newest = newest.clone();
        is_restored
    }

    /// Whether the cluster has been read as far as `mark`.
    pub(super) fn cover(&self, mark: &Watermark) -> bool {
        self.newest.covers(mark)
    }

    /// `revision` is right at `watermark`.
    pub(super) fn note(&mut self, subset: &Subset, revision: &str, watermark: &Arc<Watermark>) {
        if !self.newest.covers(watermark) {
            // Of the cluster that was before.
            return;
        }
        let revisions = match self.revisions.get_mut(subset) {
            Some(revisions) => revisions,
            None => self.revisions.entry(subset.clone()).or_default(),
        };
        match revisions
            .back_mut()
            .filter(|(newest, _)| newest == revision)
        {
            // Of two polls at a time, the one that looked first may come last.
            Some((_, mark)) if !watermark.covers(mark) => {}
            Some((_, mark)) => *mark = watermark.clone(),
            None => {
                // One that was in force before is so again.
                revisions.retain(|(known, _)| known != revision);
                revisions.push_back((revision.to_owned(), watermark.clone()));
                if revisions.len() > MAX_REVISIONS {
                    revisions.pop_front();
                }
            }
        }
    }

    /// When the revision was last right; None for one that was never in force here.
    pub(super) fn of(&self, subset: &Subset, revision: &str) -> Option<&Arc<Watermark>> {
        let revisions = self.revisions.get(subset)?;
        let found = revisions.iter().rev().find(|(known, _)| known == revision);
        found.map(|(_, mark)| mark)
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, is_asked_for: impl Fn(&Subset) -> bool) {
        self.revisions.retain(|subset, _| is_asked_for(subset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> Arc<Watermark> {
        Arc::new(format!("services={version}").parse().unwrap())
    }

    fn note(marks: &mut Marks, subset: &Subset, revision: &str, version: u64) -> bool {
        let is_restored = marks.read(&at(version));
        marks.note(subset, revision, &at(version));
        is_restored
    }

    #[test]
    fn a_mark_rises_while_its_revision_is_right_and_stays_when_it_is_not() {
        let mut marks = Marks::default();
        let subset = (Scope::Producers, 2);
        let other = (Scope::Namespace("a".into()), 2);
        for (revision, version) in [("one", 1), ("one", 5), ("two", 7), ("two", 9)] {
            assert!(!note(&mut marks, &subset, revision, version));
        }
        marks.note(&subset, "two", &at(8));
        marks.note(&subset, "two", &at(10));
        assert_eq!(marks.of(&subset, "one"), Some(&at(5)));
        assert_eq!(marks.of(&subset, "two"), Some(&at(9)));
        assert_eq!(marks.of(&subset, "three"), None);
        assert_eq!(marks.of(&other, "two"), None);
        note(&mut marks, &subset, "one", 11);
        assert_eq!(marks.of(&subset, "one"), Some(&at(11)));

        for number in 0..100 {
            note(&mut marks, &subset, &number.to_string(), 20 + number);
        }
        assert_eq!(marks.of(&subset, "one"), None);
        assert_eq!(marks.revisions[&subset].len(), MAX_REVISIONS);
        marks.retain(|subset| *subset == other);
        assert_eq!(marks.of(&subset, "99"), None);
    }

    #[test]
    fn a_restored_cluster_begins_anew() {
        let mut marks = Marks::default();
        let subset = (Scope::Producers, 2);
        note(&mut marks, &subset, "one", 100);
        assert!(note(&mut marks, &subset, "two", 50));
        assert_eq!(marks.of(&subset, "one"), None);
        assert_eq!(marks.of(&subset, "two"), Some(&at(50)));
    }
}
