//! A published plan, and the documents that proxies get from the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::refusal::{self, Refused};
use super::render_cache::{PartialCache, PartialKey, RenderCache, RenderResult};
use weir_core::plan::document::{FeaturesAfter, RenderedConfig, render_in};
use weir_core::plan::partial::{MissingClusters, partial};
use weir_core::plan::{self, Audience, ClusterUsers, EditedShares, Plan, Scope};
use weir_core::watermark::Watermark;
use weir_core::world::Key;
use weir_split::wire::{Config, Service};
use weir_split::{Site, Table};

/// A published plan. A scope is the part of the plan that one proxy may see. A document is this part as JSON.
pub struct Published {
    plan: Plan,
    /// The scopes with their own document. [`Scope::Producers`] is the scope of proxies without a namespace: its
    /// document has only rules for every client.
    scopes: BTreeSet<Scope>,
    /// The number of rules for each audience. An audience is the group of proxies that get a rule.
    rules: BTreeMap<Audience, usize>,
    /// When the plan was published.
    pub at: Instant,
    /// How far the source was read for this plan, as a resource version for each kind.
    watermark: Mutex<Arc<Watermark>>,
    features_after: FeaturesAfter,
    cache: Mutex<RenderCache>,
    partials: Mutex<PartialCache>,
}

impl Published {
    /// Checks that every proxy would accept the plan. `features_after` gets a document and a
    /// version, and returns the rules with features that are newer than this version.
    pub fn compile(plan: Plan, features_after: FeaturesAfter) -> Result<Published, Refused> {
        refusal::check(&plan)?;
        Ok(Published {
            scopes: plan.scopes(),
            rules: plan.rules_by_audience(),
            plan,
            at: Instant::now(),
            watermark: Mutex::default(),
            features_after,
            cache: Mutex::default(),
            partials: Mutex::default(),
        })
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn set_watermark(&mut self, watermark: Watermark) {
        self.watermark = Mutex::new(Arc::new(watermark));
    }

    /// Returns the splits whose host is not a Service, each with the proxies that the split applies to.
    pub fn splits_of_literals(&self) -> BTreeMap<Key, Audience> {
        self.plan.splits_of_literals()
    }

    /// Returns the backends and redirects that edit response headers. A proxy with `weir-lean.wasm` cannot serve them.
    pub fn edited_shares(&self) -> EditedShares {
        self.plan.edited_shares()
    }

    /// Returns the objects that need the cluster of a Service for which `is_missing` is true.
    pub fn cluster_users(&self, is_missing: impl Fn(&Service) -> bool) -> ClusterUsers {
        self.plan.cluster_users(is_missing)
    }

    /// Returns the number of rules that are not in the scope `own` of a client, but in another scope that the client may
    /// read. `reader` is the only namespace whose rules the client may read. None means every namespace.
    pub fn rules_elsewhere(&self, own: &Scope, reader: Option<&str>) -> usize {
        let may_read = |audience: &Audience| match audience {
            Audience::Everyone => true,
            // `rules` has each of these rules a second time, under the namespace of the rule.
            Audience::Edge => false,
            _ => reader.is_none() || audience.namespace() == reader,
        };
        let elsewhere = self
            .rules
            .iter()
            .filter(|(audience, _)| may_read(audience) && !audience.concerns(own));
        elsewhere.map(|(_, count)| count).sum()
    }

    /// Returns how far the source was read for this plan: the higher one of the plan's own watermark and `newest`.
    /// `newest` is the publisher's watermark. The caller must copy `newest` before it gets the plan.
    pub fn watermark(&self, newest: &Arc<Watermark>) -> Arc<Watermark> {
        let own = self
            .watermark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if newest.covers(&own) {
            newest.clone()
        } else {
            // The plan was published after the caller copied `newest`.
            own.clone()
        }
    }

    /// Replaces the watermark of the plan if `watermark` has a lower resource version for some kind. Resource versions
    /// become lower when a cluster is restored from a backup.
    pub(super) fn follow(&self, watermark: &Watermark) {
        let mut own = self
            .watermark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !watermark.covers(&own) {
            *own = Arc::new(watermark.clone());
        }
    }

    /// Returns the revision and the bytes of the document for the scope `asked`, in this document version.
    pub fn rendered(&self, asked: &Scope, version: u32) -> RenderResult {
        let scope = self.document_scope(asked);
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scope.clone(), version);
        if let Some(result) = cache().get(&key) {
            return result.clone();
        }
        let result = render_in(plan::scope(&self.plan, scope), version, self.features_after);
        cache().keep(key, &result, &self.scopes);
        result
    }

    /// Returns the scope whose document the scope `asked` gets. Most namespaces have no rules of their own, so they share
    /// one copy of the bytes.
    fn document_scope<'s>(&self, asked: &'s Scope) -> &'s Scope {
        match asked {
            Scope::Namespace(_) | Scope::Edge if !self.scopes.contains(asked) => &Scope::Producers,
            own => own,
        }
    }

    /// Returns the document for a proxy that does not have all clusters of [`Published::rendered`]. `present` is the
    /// document that the proxy has; None if it has no document. Returns None if a proxy would refuse the result.
    pub fn partial(
        &self,
        asked: &Scope,
        version: u32,
        present: Option<(&str, &[u8])>,
        missing: &MissingClusters,
    ) -> Option<RenderedConfig> {
        let key = PartialKey {
            scope: self.document_scope(asked).clone(),
            version,
            present: present.map(|(revision, _)| revision.to_owned()),
            missing: missing.clone(),
        };
        // Many proxies may lack the same cluster. So the lock also makes the others wait for the first result.
        let mut partials = self.partials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = partials.get(&key) {
            return document.clone();
        }
        // The control plane has written these bytes, so they parse.
        let present = present.and_then(|(_, body)| serde_json::from_slice::<Config>(body).ok());
        let mut config = partial(
            plan::scope(&self.plan, &key.scope),
            present.as_ref(),
            missing,
        );
        // The rules of the present document need grants that the rules of the plan may not need.
        plan::apply_access(&self.plan, &key.scope, &mut config);
        let document = match Table::compile(&config, &Site::default()) {
            Ok(_) => render_in(config, version, self.features_after).ok(),
            Err(refusal) => {
                tracing::error!("a partial configuration is not sent to proxies: {refusal}");
                None
            }
        };
        partials.keep(key, document.clone());
        document
    }

    #[cfg(test)]
    pub(super) fn cached_scopes(&self) -> Vec<Scope> {
        self.cache.lock().unwrap().scopes()
    }
}
