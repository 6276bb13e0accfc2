//! A published plan, and the documents that proxies get from the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::refusal::{self, Refused};
use super::render_cache::{RenderCache, RenderResult};
use weir_core::plan::document::{FeaturesAfter, render_in};
use weir_core::plan::{self, Audience, EditedShares, Plan, Scope};
use weir_core::watermark::Watermark;
use weir_core::world::Key;

/// A published plan. A scope is the part of the plan that one proxy may see. A document is this part as JSON.
pub struct Published {
    plan: Plan,
    /// The scopes with their own document. One of them is [`Scope::Producers`]: the rules for clients in every
    /// namespace.
    scopes: BTreeSet<Scope>,
    /// The number of rules for each audience. An audience is the group of proxies that get a rule.
    rules: BTreeMap<Audience, usize>,
    /// When the plan was published.
    pub at: Instant,
    /// How far the source was read for this plan, as a resource version for each kind.
    watermark: Mutex<Arc<Watermark>>,
    features_after: FeaturesAfter,
    cache: Mutex<RenderCache>,
}

impl Published {
    /// Checks that every proxy would accept the plan. `features_after` returns the rules that a document of a given
    /// version cannot express.
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

    /// Returns the number of rules that the client may read, but that its scope `own` does not contain. `reader` is the
    /// only namespace that the client may read. None means every namespace.
    pub fn rules_elsewhere(&self, own: &Scope, reader: Option<&str>) -> usize {
        let may_read = |audience: &Audience| match audience {
            Audience::Everyone => true,
            // Each rule for this audience is also counted for the audience of its namespace.
            Audience::Edge => false,
            _ => reader.is_none() || audience.namespace() == reader,
        };
        let elsewhere = self
            .rules
            .iter()
            .filter(|(audience, _)| may_read(audience) && !audience.concerns(own));
        elsewhere.map(|(_, count)| count).sum()
    }

    /// Returns how far the source was read for this plan. `since` is the publisher's watermark, and the caller must
    /// read `since` before the plan. If `since` is older than the plan, returns the plan's own watermark.
    pub fn watermark(&self, since: &Arc<Watermark>) -> Arc<Watermark> {
        let own = self
            .watermark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if since.covers(&own) {
            since.clone()
        } else {
            // The plan was published after `since` was read.
            own.clone()
        }
    }

    /// Replaces the plan's watermark if `watermark` is lower for a kind. A restore of the cluster from a backup lowers
    /// the resource versions.
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
        let has_own_document = self.scopes.contains(asked);
        let scope = match asked {
            // Most namespaces have no rules of their own, so they share one copy of the bytes.
            Scope::Namespace(_) | Scope::Edge if !has_own_document => &Scope::Producers,
            own => own,
        };
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scope.clone(), version);
        if let Some(result) = cache().get(&key) {
            return result.clone();
        }
        let result = render_in(plan::scope(&self.plan, scope), version, self.features_after);
        cache().keep(key, &result, &self.scopes);
        result
    }

    #[cfg(test)]
    pub(super) fn cached_scopes(&self) -> Vec<Scope> {
        self.cache.lock().unwrap().scopes()
    }
}
