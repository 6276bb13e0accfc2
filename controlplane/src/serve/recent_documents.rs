//! Keeps the documents that this replica has sent recently. A poll names the revision of the document that the proxy
//! runs, and this module finds the document.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_core::plan::Scope;
use weir_core::plan::document::RenderedConfig;
use weir_core::plan::needed_clusters::needed_clusters;
use weir_split::wire::{Access, Config};

use crate::xds::stream_table::ClusterNames;

/// Maximum total size of the documents and their names of clusters. Documents of the plan in force share their bytes
/// with the plan.
const MAX_BYTES: usize = 32 << 20;
/// Maximum number of documents.
const MAX_DOCUMENTS: usize = 1 << 12;
/// A document is forgotten if it was not used for this time. A proxy names its document at least every 30 seconds.
const FORGET: Duration = Duration::from_secs(120);
/// Time between two searches for documents that are no longer used.
const SWEEP: Duration = Duration::from_secs(1);
/// Approximate number of bytes of one scope in memory.
const SCOPE: usize = 96;

/// A document that a proxy runs or gets.
#[derive(Debug, Default)]
pub(super) struct KnownDocument {
    pub revision: String,
    pub body: Arc<[u8]>,
    /// The clusters of all backends and mirrors.
    pub named: Arc<ClusterNames>,
    /// The clusters that may get requests, or copies of requests.
    pub needed: ClusterNames,
    /// True if only the grants of an access policy permit traffic.
    pub has_grants: bool,
}

#[derive(Default)]
pub(super) struct RecentDocuments(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    documents: HashMap<String, Entry>,
    bytes: usize,
    /// Counts the uses of documents.
    clock: u64,
    last_sweep: Option<Instant>,
}

struct Entry {
    document: Arc<KnownDocument>,
    /// The scopes that have got this document. A client that names the revision must have one of these scopes.
    /// Otherwise a client could get rules of another namespace into its own document.
    scopes: HashSet<Scope>,
    /// The count of uses at the last use, and the time of the last use.
    last_use: (u64, Instant),
}

impl RecentDocuments {
    /// Returns the document with its clusters, and keeps it for this scope.
    pub(super) fn keep(&self, scope: &Scope, rendered: &RenderedConfig) -> Arc<KnownDocument> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = recent.tick();
        let scope = reader_of(scope);
        if let Some(entry) = recent.documents.get_mut(&rendered.revision) {
            entry.last_use = now;
            let is_new = !entry.scopes.contains(&scope) && entry.scopes.insert(scope);
            let document = entry.document.clone();
            if is_new {
                recent.bytes = recent.bytes.saturating_add(SCOPE);
                recent.forget_oldest();
            }
            return document;
        }
        let document = Arc::new(KnownDocument::of(rendered));
        let entry = Entry {
            document: document.clone(),
            scopes: HashSet::from([scope]),
            last_use: now,
        };
        recent.bytes = recent.bytes.saturating_add(entry.size());
        recent.documents.insert(rendered.revision.clone(), entry);
        recent.forget_oldest();
        document
    }

    /// Returns the document of this revision, if a proxy of this scope has got it.
    pub(super) fn find(&self, scope: &Scope, revision: &str) -> Option<Arc<KnownDocument>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = recent.tick();
        let entry = recent.documents.get_mut(revision)?;
        if !entry.scopes.contains(&reader_of(scope)) {
            return None;
        }
        entry.last_use = now;
        Some(entry.document.clone())
    }
}

/// Returns one scope for all scopes that the same clients may read, because a client can invent names of Gateways.
fn reader_of(scope: &Scope) -> Scope {
    match scope {
        Scope::Gateway { namespace, .. } => Scope::Namespace(namespace.clone()),
        other => other.clone(),
    }
}

impl Recent {
    /// Returns the next count and the time for a use. Forgets documents that are no longer used.
    fn tick(&mut self) -> (u64, Instant) {
        let now = Instant::now();
        let is_over = |since: Instant, time| now.saturating_duration_since(since) >= time;
        if self.last_sweep.is_none_or(|swept| is_over(swept, SWEEP)) {
            self.last_sweep = Some(now);
            self.documents
                .retain(|_, it| !is_over(it.last_use.1, FORGET));
            self.bytes = self.documents.values().map(Entry::size).sum();
        }
        self.clock = self.clock.wrapping_add(1);
        (self.clock, now)
    }

    fn forget_oldest(&mut self) {
        while self.bytes > MAX_BYTES || self.documents.len() > MAX_DOCUMENTS {
            let oldest = self.documents.iter().min_by_key(|(_, it)| it.last_use);
            let Some(revision) = oldest.map(|(revision, _)| revision.clone()) else {
                return;
            };
            if let Some(entry) = self.documents.remove(&revision) {
                self.bytes = self.bytes.saturating_sub(entry.size());
            }
        }
    }
}

impl Entry {
    /// Returns the approximate number of bytes in memory.
    fn size(&self) -> usize {
        let scopes = self.scopes.len().saturating_mul(SCOPE);
        self.document.size().saturating_add(scopes)
    }
}

impl KnownDocument {
    fn of(rendered: &RenderedConfig) -> KnownDocument {
        // The control plane has written these bytes, so they parse.
        let config: Config = serde_json::from_slice(&rendered.body).unwrap_or_default();
        KnownDocument {
            revision: rendered.revision.clone(),
            body: rendered.body.clone(),
            named: rendered.clusters.clone(),
            needed: needed_clusters(&config),
            has_grants: matches!(config.access, Some(Access::Grants(_))),
        }
    }

    /// Returns the approximate number of bytes in memory.
    fn size(&self) -> usize {
        const ENTRY: usize = 64;
        let names = self.named.iter().chain(&self.needed);
        let names: usize = names.map(|name| name.len().saturating_add(ENTRY)).sum();
        self.body.len().saturating_add(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(revision: &str, size: usize) -> RenderedConfig {
        RenderedConfig {
            revision: revision.into(),
            body: vec![b' '; size].into(),
            clusters: Arc::default(),
        }
    }

    #[test]
    fn documents_stay_within_their_namespace() {
        let recent = RecentDocuments::default();
        let shop = Scope::Namespace("shop".into());
        let edge = Scope::Gateway {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        recent.keep(&shop, &rendered("one", 1));
        assert!(recent.find(&shop, "one").is_some());
        assert!(recent.find(&edge, "one").is_some());
        for other in [Scope::Namespace("other".into()), Scope::Edge] {
            assert!(recent.find(&other, "one").is_none());
        }
        assert!(recent.find(&shop, "two").is_none());
    }

    #[test]
    fn unused_documents_are_forgotten() {
        let recent = RecentDocuments::default();
        let scope = Scope::Producers;
        recent.keep(&scope, &rendered("first", MAX_BYTES / 2));
        recent.keep(&scope, &rendered("second", MAX_BYTES / 4));
        assert!(recent.find(&scope, "first").is_some());
        recent.keep(&scope, &rendered("third", MAX_BYTES / 3));
        assert!(recent.find(&scope, "first").is_some());
        assert!(recent.find(&scope, "second").is_none());
        for number in 0..=MAX_DOCUMENTS {
            recent.keep(&scope, &rendered(&number.to_string(), 0));
        }
        let count = recent.0.lock().unwrap().documents.len();
        assert_eq!(count, MAX_DOCUMENTS);
    }

    #[tokio::test(start_paused = true)]
    async fn old_documents_and_scopes_count() {
        let recent = RecentDocuments::default();
        let scope = Scope::Producers;
        recent.keep(&scope, &rendered("used", 10));
        recent.keep(&scope, &rendered("unused", 10));
        recent.keep(&Scope::Edge, &rendered("used", 10));
        assert_eq!(recent.0.lock().unwrap().bytes, 20 + 3 * SCOPE);
        for _ in 0..2 {
            tokio::time::advance(FORGET / 2).await;
            assert!(recent.find(&scope, "used").is_some());
        }
        assert!(recent.find(&scope, "unused").is_none());
        assert_eq!(recent.0.lock().unwrap().bytes, 10 + 2 * SCOPE);
    }
}
