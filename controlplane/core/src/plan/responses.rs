//! Which shares of the plan's rules have their responses edited: what a proxy with `weir-lean.wasm` cannot do.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Backend, Filters, Rule, Target};

use super::Plan;
use crate::manifest::problem::ObjectRef;

/// A part of a rule's requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// All of them: the rule redirects them.
    Redirect,
    /// Those of one backend, `SERVICE.NAMESPACE:PORT`, and its weight.
    Backend { name: String, weight: u64 },
}

/// The shares of the rule whose responses are edited. A share without weight has no responses, and a broken one has its
/// answer as it is.
pub fn edited(rule: &Rule) -> Vec<Share> {
    let of_all = edits(rule.filters.as_deref());
    if redirects(rule.filters.as_deref()) {
        return of_all.then_some(Share::Redirect).into_iter().collect();
    }
    let is_edited =
        |backend: &&Backend| backend.weight > 0 && (of_all || edits(backend.filters.as_deref()));
    let shares = rule.backends.iter().filter(is_edited);
    let share = |backend: &Backend| match &backend.to {
        Target::Service(service) => Some(Share::Backend {
            name: service.to_string(),
            weight: backend.weight,
        }),
        Target::Status(_) => None,
    };
    shares.filter_map(share).collect()
}

fn edits(filters: Option<&Filters>) -> bool {
    filters.is_some_and(|it| !it.response_headers.is_empty())
}

fn redirects(filters: Option<&Filters>) -> bool {
    filters.is_some_and(|it| it.redirect.is_some())
}

impl Plan {
    /// The edited shares of all rules, by the rule's identity. Rules without any are left out.
    pub fn edited_shares(&self) -> EditedShares {
        let rules = self.rules.iter();
        let edited = rules.map(|(identity, rule)| (identity.clone(), edited(rule)));
        EditedShares(edited.filter(|(_, shares)| !shares.is_empty()).collect())
    }
}

/// The edited shares of a plan's rules, by the rule's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditedShares(BTreeMap<String, Vec<Share>>);

impl EditedShares {
    /// Those of one object's rules.
    pub fn of(&self, object: &ObjectRef) -> BTreeSet<&Share> {
        let begins = object.identity();
        let of_object = self.0.range(begins.clone()..);
        let of_object = of_object.take_while(|(identity, _)| identity.starts_with(&begins));
        // The names of other objects may begin with this one's.
        let is_own = |identity: &str| {
            let rest = identity.get(begins.len()..).unwrap_or_default();
            rest.starts_with(['@', ':'])
        };
        of_object
            .filter(|(identity, _)| is_own(identity))
            .flat_map(|(_, shares)| shares)
            .collect()
    }
}
