//! Keeps a watermark for each revision. A watermark has a resource version for each kind of object. A proxy that runs
//! the revision has every change of objects up to this watermark.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_core::plan::Scope;
use weir_core::watermark::Watermark;

/// Maximum number of revisions of one scope and version. A proxy with an older revision keeps its present watermark.
const MAX_REVISIONS: usize = 32;

/// A scope and a document version.
pub(super) type Subset = (Scope, u32);

#[derive(Default)]
pub(super) struct RevisionWatermarks {
    /// The revisions of each scope and version, and their watermarks. The last revision of each list is current.
    revisions: HashMap<Subset, VecDeque<(String, Arc<Watermark>)>>,
    newest: Arc<Watermark>,
}

impl RevisionWatermarks {
    /// Stores the newest watermark of the cluster. If it is lower than the previous watermark, the cluster was restored
    /// from a backup. In this case forgets all revisions and returns true.
    pub(super) fn advance(&mut self, newest: &Arc<Watermark>) -> bool {
        let is_restored = !newest.covers(&self.newest);
        if is_restored {
            self.revisions.clear();
        }
        self.newest = newest.clone();
        is_restored
    }

    /// True if this replica has read the cluster up to `watermark`.
    pub(super) fn cover(&self, watermark: &Watermark) -> bool {
        self.newest.covers(watermark)
    }

    /// Records that `revision` is current at `watermark`.
    pub(super) fn record(&mut self, subset: &Subset, revision: &str, watermark: &Arc<Watermark>) {
        if !self.newest.covers(watermark) {
            // This watermark is from before the cluster was restored.
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
            // The second of two polls at the same time may have the lower watermark.
            Some((_, newest)) if !watermark.covers(newest) => {}
            Some((_, newest)) => *newest = watermark.clone(),
            None => {
                // An older revision may become current again.
                revisions.retain(|(it, _)| it != revision);
                revisions.push_back((revision.to_owned(), watermark.clone()));
                if revisions.len() > MAX_REVISIONS {
                    revisions.pop_front();
                }
            }
        }
    }

    /// Returns the newest watermark at which the revision was current. Returns None if this replica does not know the
    /// revision.
    pub(super) fn get(&self, subset: &Subset, revision: &str) -> Option<&Arc<Watermark>> {
        let revisions = self.revisions.get(subset)?;
        let found = revisions.iter().rev().find(|(it, _)| it == revision);
        found.map(|(_, watermark)| watermark)
    }

    /// Forgets the revisions of subsets for which `is_in_use` is false.
    pub(super) fn retain(&mut self, is_in_use: impl Fn(&Subset) -> bool) {
        self.revisions.retain(|subset, _| is_in_use(subset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> Arc<Watermark> {
        Arc::new(format!("services={version}").parse().unwrap())
    }

    fn record(
        watermarks: &mut RevisionWatermarks,
        subset: &Subset,
        revision: &str,
        version: u64,
    ) -> bool {
        let is_restored = watermarks.advance(&at(version));
        watermarks.record(subset, revision, &at(version));
        is_restored
    }

    #[test]
    fn watermark_rises_while_revision_is_current() {
        let mut watermarks = RevisionWatermarks::default();
        let subset = (Scope::Producers, 2);
        let other = (Scope::Namespace("a".into()), 2);
        for (revision, version) in [("one", 1), ("one", 5), ("two", 7), ("two", 9)] {
            assert!(!record(&mut watermarks, &subset, revision, version));
        }
        watermarks.record(&subset, "two", &at(8));
        watermarks.record(&subset, "two", &at(10));
        assert_eq!(watermarks.get(&subset, "one"), Some(&at(5)));
        assert_eq!(watermarks.get(&subset, "two"), Some(&at(9)));
        assert_eq!(watermarks.get(&subset, "three"), None);
        assert_eq!(watermarks.get(&other, "two"), None);
        record(&mut watermarks, &subset, "one", 11);
        assert_eq!(watermarks.get(&subset, "one"), Some(&at(11)));

        for number in 0..100 {
            record(&mut watermarks, &subset, &number.to_string(), 20 + number);
        }
        assert_eq!(watermarks.get(&subset, "one"), None);
        assert_eq!(watermarks.revisions[&subset].len(), MAX_REVISIONS);
        watermarks.retain(|subset| *subset == other);
        assert_eq!(watermarks.get(&subset, "99"), None);
    }

    #[test]
    fn restored_cluster_forgets_revisions() {
        let mut watermarks = RevisionWatermarks::default();
        let subset = (Scope::Producers, 2);
        record(&mut watermarks, &subset, "one", 100);
        assert!(record(&mut watermarks, &subset, "two", 50));
        assert_eq!(watermarks.get(&subset, "one"), None);
        assert_eq!(watermarks.get(&subset, "two"), Some(&at(50)));
    }
}
