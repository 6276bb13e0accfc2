//! What one scope may know of the access policy: what its proxies need, and nobody else's relations.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Access, Config, Grant, Grants, Rule};

use super::Scope;

/// Gives `config` the part of `whole` that `scope` needs, and takes from its backends what is of no use to it.
///
/// | scope | grants | ServiceAccounts behind backends and Services that clients call |
/// |---|---|---|
/// | a namespace | as written for its own ServiceAccounts, for which its proxies receive requests; for those behind the backends of its rules, the sources that are its own | its own, and those with such a grant |
/// | producers | none: such a proxy cannot speak for a ServiceAccount, and is denied | none |
/// | a Gateway, the edge | no policy: its clients are not workloads. For the backends it is a client like any other, and their own proxies let it in or not | none |
pub fn reduce(whole: &Grants, scope: &Scope, config: &mut Config) {
    let grants = match scope {
        Scope::Namespace(own) => Some(of_namespace(whole, own, &config.rules)),
        Scope::Producers => Some(Grants::new()),
        Scope::Gateway { .. } | Scope::Edge => None,
    };
    let is_of_use = |account: &String| {
        let is_granted = grants.as_ref().is_some_and(|it| it.contains_key(account));
        is_granted || matches!(scope, Scope::Namespace(own) if is_in(account, own))
    };
    for rule in config.rules.values_mut() {
        for backend in &mut rule.backends {
            backend.accounts.retain(is_of_use);
        }
        match &mut rule.called {
            Some(called) if grants.is_some() => called.accounts.retain(is_of_use),
            called => *called = None,
        }
    }
    config.access = grants.map(Access::Grants);
}

fn of_namespace(whole: &Grants, own: &str, rules: &BTreeMap<String, Rule>) -> Grants {
    let behind: BTreeSet<&String> = accounts_behind(rules).collect();
    let grants = whole.iter().filter_map(|(destination, grants)| {
        let grants: Vec<Grant> = if is_in(destination, own) {
            grants.clone()
        } else if behind.contains(destination) {
            grants
                .iter()
                .filter_map(|grant| for_sources_in(own, grant))
                .collect()
        } else {
            return None;
        };
        (!grants.is_empty()).then(|| (destination.clone(), grants))
    });
    grants.collect()
}

/// The ServiceAccounts behind the backends of rules, and behind the Services that their clients call.
fn accounts_behind(rules: &BTreeMap<String, Rule>) -> impl Iterator<Item = &String> {
    let backends = rules.values().flat_map(|rule| &rule.backends);
    let of_backends = backends.map(|backend| &backend.accounts);
    let called = rules.values().filter_map(|rule| rule.called.as_ref());
    let of_called = called.map(|called| &called.accounts);
    of_backends.chain(of_called).flatten()
}

/// The grant for the sources in that namespace, if there are any.
fn for_sources_in(namespace: &str, grant: &Grant) -> Option<Grant> {
    let of_namespace = grant
        .sources
        .iter()
        .filter(|source| is_in(source, namespace));
    let sources: Vec<String> = of_namespace.cloned().collect();
    (!sources.is_empty()).then(|| Grant {
        by: grant.by.clone(),
        sources,
        requests: grant.requests.clone(),
        ports: grant.ports.clone(),
    })
}

/// The namespaces that know something of the policy: of its grants, or of their own accounts behind backends.
pub fn namespaces<'p>(
    whole: &'p Grants,
    rules: &'p BTreeMap<String, Rule>,
) -> impl Iterator<Item = &'p str> {
    let granted = whole.iter().flat_map(|(destination, grants)| {
        let sources = grants.iter().flat_map(|grant| &grant.sources);
        sources.chain([destination])
    });
    let accounts = granted.chain(accounts_behind(rules));
    accounts.filter_map(|account| Some(account.split_once('/')?.0))
}

fn is_in(account: &str, namespace: &str) -> bool {
    account
        .split_once('/')
        .is_some_and(|(of, _)| of == namespace)
}
