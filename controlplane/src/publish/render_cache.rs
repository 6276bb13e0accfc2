//! Keeps rendered documents of one plan in memory. A document is the configuration for one scope: the part of the plan
//! that one proxy may see.

use std::collections::{BTreeSet, HashMap};

use weir_core::plan::Scope;
use weir_core::plan::document::{NeedsNewerVersion, RenderedConfig};
use weir_core::plan::partial::MissingClusters;

/// Maximum total size of the documents that are kept. The documents of [`Scope::Producers`] are always kept. A document
/// that is not kept is rendered again for each request.
pub(super) const MAX_BYTES: usize = 128 << 20;

/// The document for a scope and a version, or the reason why this version cannot express the document.
pub(super) type RenderResult = Result<RenderedConfig, NeedsNewerVersion>;

/// Only documents for scopes of the plan are kept, so requests for invented scopes cannot fill the cache.
#[derive(Default)]
pub(super) struct RenderCache {
    /// The key is the scope and the document version.
    documents: HashMap<(Scope, u32), RenderResult>,
    bytes: usize,
}

impl RenderCache {
    pub(super) fn get(&self, key: &(Scope, u32)) -> Option<&RenderResult> {
        self.documents.get(key)
    }

    /// Keeps a document if its scope is one of `scopes` and there is room for it.
    pub(super) fn keep(
        &mut self,
        key: (Scope, u32),
        result: &RenderResult,
        scopes: &BTreeSet<Scope>,
    ) {
        let size = result.as_ref().map_or(0, |rendered| rendered.body.len());
        let total = self.bytes.saturating_add(size);
        let has_room = key.0 == Scope::Producers || total <= MAX_BYTES;
        if has_room && scopes.contains(&key.0) && !self.documents.contains_key(&key) {
            self.documents.insert(key, result.clone());
            self.bytes = total;
        }
    }

    #[cfg(test)]
    pub(super) fn scopes(&self) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = self.documents.keys().map(|(it, _)| it.clone()).collect();
        scopes.sort();
        scopes
    }
}

/// Maximum number of partial documents that are kept.
const MAX_PARTIALS: usize = 128;
/// Maximum total size of the partial documents that are kept.
const MAX_PARTIAL_BYTES: usize = 8 << 20;

/// The inputs of a partial document of one plan.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct PartialKey {
    pub scope: Scope,
    pub version: u32,
    /// The revision of the document that the proxy has; None if it has no document.
    pub present: Option<String>,
    pub missing: MissingClusters,
}

/// The partial documents of one plan. None stands for a document that a proxy would refuse.
#[derive(Default)]
pub(super) struct PartialCache {
    documents: HashMap<PartialKey, Option<RenderedConfig>>,
    bytes: usize,
}

impl PartialCache {
    pub(super) fn get(&self, key: &PartialKey) -> Option<&Option<RenderedConfig>> {
        self.documents.get(key)
    }

    /// Keeps a document. Forgets all others if there is no room.
    pub(super) fn keep(&mut self, key: PartialKey, document: Option<RenderedConfig>) {
        let size = document.as_ref().map_or(0, |it| it.body.len());
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_PARTIAL_BYTES || self.documents.len() >= MAX_PARTIALS {
            self.documents.clear();
            self.bytes = size;
        }
        if size <= MAX_PARTIAL_BYTES {
            self.documents.insert(key, document);
        } else {
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_size_is_limited() {
        let scopes: BTreeSet<Scope> = ["a", "b", "c"]
            .map(|name| Scope::Namespace(name.into()))
            .into_iter()
            .chain([Scope::Producers])
            .collect();
        let document = Ok(RenderedConfig {
            revision: String::new(),
            body: vec![0; MAX_BYTES / 2 - 1].into(),
            clusters: std::sync::Arc::default(),
        });
        let mut cache = RenderCache::default();
        // The scopes are in reverse order, so `Scope::Producers` comes last. The cache is already full then.
        for scope in scopes.iter().rev().chain(&scopes) {
            cache.keep((scope.clone(), 1), &document, &scopes);
        }
        let [b, c] = ["b", "c"].map(|name| Scope::Namespace(name.into()));
        assert_eq!(cache.scopes(), [Scope::Producers, b, c]);
    }

    #[test]
    fn partial_documents_are_bounded() {
        let mut cache = PartialCache::default();
        for (number, size, expected) in [(0, 2, 1), (1, 2, 2), (2, 2, 1), (3, 0, 0)] {
            let key = PartialKey {
                scope: Scope::Producers,
                version: number,
                present: None,
                missing: MissingClusters::default(),
            };
            let size = MAX_PARTIAL_BYTES.checked_div(size);
            let document = RenderedConfig {
                revision: String::new(),
                body: vec![0; size.unwrap_or(MAX_PARTIAL_BYTES + 1)].into(),
                clusters: std::sync::Arc::default(),
            };
            cache.keep(key, Some(document));
            assert_eq!(cache.documents.len(), expected, "{number}");
        }
    }
}
