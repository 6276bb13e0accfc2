//! A plan in force, and the documents that proxies get from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::refusal::{self, Refused};
use super::render_cache::{RenderCache, RenderResult};
use weir_core::plan::document::{FeaturesAfter, render_in};
use weir_core::plan::{self, Audience, EditedShares, Plan, Scope};
use weir_core::watermark::Watermark;
use weir_core::world::Key;

/// A plan in force.
pub struct Published {
    plan: Plan,
    /// The scopes that have their own document, with the producers' scope.
    scopes: BTreeSet<Scope>,
    /// How many rules there are for each audience.
    rules: BTreeMap<Audience, usize>,
    /// When it came in force.
    pub at: Instant,
    /// How far the source had been read for this plan.
    watermark: Mutex<Arc<Watermark>>,
    features_after: FeaturesAfter,
    cache: Mutex<RenderCache>,
}

impl Published {
    /// Checks that every proxy would accept the plan. `features_after` lists the rules that need a newer document
    /// version than the version in its argument.
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

    /// The splits of hosts that are not Services, and the proxies that they apply to.
    pub fn splits_of_literals(&self) -> BTreeMap<Key, Audience> {
        self.plan.splits_of_literals()
    }

    /// The shares that a proxy with `weir-lean.wasm` cannot serve.
    pub fn edited_shares(&self) -> EditedShares {
        self.plan.edited_shares()
    }

    /// Returns the number of rules in other scopes than `own`. If a reader may read only the namespace `reader`, the
    /// function counts only rules that this reader may ask for.
    pub fn rules_elsewhere(&self, own: &Scope, reader: Option<&str>) -> usize {
        let may_read = |audience: &Audience| match audience {
            Audience::Everyone => true,
            // Each of its rules is also a rule of a namespace.
            Audience::Edge => false,
            _ => reader.is_none() || audience.namespace() == reader,
        };
        let elsewhere = self
            .rules
            .iter()
            .filter(|(audience, _)| may_read(audience) && !audience.concerns(own));
        elsewhere.map(|(_, count)| count).sum()
    }

    /// Returns how far the source was read for this plan. `since` is the publisher's watermark, which the caller reads
    /// before it looks up the plan. If the plan's own watermark is newer, returns the plan's watermark.
    pub fn watermark(&self, since: &Arc<Watermark>) -> Arc<Watermark> {
        let own = self
            .watermark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if since.covers(&own) {
            since.clone()
        } else {
            // The plan came in force after `since` was read.
            own.clone()
        }
    }

    /// Takes a watermark that does not cover the known watermark. After a restore from a backup a cluster counts from
    /// lower numbers.
    pub(super) fn follow(&self, watermark: &Watermark) {
        let mut own = self
            .watermark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !watermark.covers(&own) {
            *own = Arc::new(watermark.clone());
        }
    }

    /// Returns the revision and the bytes of the document for a proxy of this scope, in this document version.
    pub fn rendered(&self, asked: &Scope, version: u32) -> RenderResult {
        let has_own_document = self.scopes.contains(asked);
        let scope = match asked {
            // Most namespaces see only the producers' rules, so they share one copy of the bytes.
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
