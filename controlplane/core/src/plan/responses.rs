//! Finds the requests that get a response with edited headers. The filter `weir-lean.wasm` cannot edit responses.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Filters, Rule, Target};

use super::{Plan, RuleId};
use crate::manifest::problem::ObjectRef;

/// A part of the requests of one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// All requests of a rule that redirects.
    Redirect,
    /// The requests of one backend. `name` is `SERVICE.NAMESPACE:PORT`.
    Backend { name: String, weight: u64 },
}

/// Returns the parts of the rule's requests that get edited responses. A backend with weight 0 is not included, because
/// it gets no requests. A broken backend is not included, because its error response is not edited.
pub fn edited_shares_of(rule: &Rule) -> Vec<Share> {
    let rule_edits = edits_responses(rule.filters.as_deref());
    let redirects = rule
        .filters
        .as_deref()
        .is_some_and(|it| it.redirect.is_some());
    if redirects {
        return rule_edits.then_some(Share::Redirect).into_iter().collect();
    }
    let mut shares = Vec::new();
    for backend in &rule.backends {
        let is_edited = rule_edits || edits_responses(backend.filters.as_deref());
        if let (Target::Service(service), true) = (&backend.to, is_edited && backend.weight > 0) {
            shares.push(Share::Backend {
                name: service.to_string(),
                weight: backend.weight,
            });
        }
    }
    shares
}

fn edits_responses(filters: Option<&Filters>) -> bool {
    filters.is_some_and(|it| !it.response_headers.is_empty())
}

impl Plan {
    /// Returns, for each rule, the shares that get edited responses.
    pub fn edited_shares(&self) -> EditedShares {
        let mut by_rule = BTreeMap::new();
        for (identity, rule) in &self.rules {
            let shares = edited_shares_of(rule);
            let Some(id) = RuleId::parse(identity) else {
                continue;
            };
            if !shares.is_empty() {
                by_rule.insert(id, shares);
            }
        }
        EditedShares(by_rule)
    }
}

/// The shares that get edited responses, by the identity of the rule. Rules without such shares are not in the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditedShares(BTreeMap<RuleId, Vec<Share>>);

impl EditedShares {
    /// Returns the shares of this object that get edited responses.
    pub fn of(&self, object: &ObjectRef) -> BTreeSet<&Share> {
        let of_object = self
            .0
            .range(RuleId::first_of(object)..)
            .take_while(|(id, _)| id.is_of(object));
        of_object.flat_map(|(_, shares)| shares).collect()
    }
}
