//! The part of the access policy for one scope: the grants that the proxies of this scope need. A proxy learns nothing
//! about permissions between other ServiceAccounts.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Access, Config, Grant, Grants, Rule};

use super::Scope;

/// Sets `config.access` to the grants that `scope` needs. Removes the ServiceAccounts that `scope` does not need from
/// the rules of `config`.
///
/// - A namespace gets all grants for its own ServiceAccounts, because its proxies receive the requests for them. It
///   also gets the grants that permit its ServiceAccounts to call the backends of its rules. Its rules keep the
///   ServiceAccounts of the namespace, and the destinations of these grants.
/// - [`Scope::Producers`] gets a policy without grants. A proxy of this scope cannot name its ServiceAccount, so its
///   requests are denied. The rules keep no ServiceAccounts.
/// - A Gateway and the edge get no policy, because their clients are not workloads. The proxies of the backends check
///   their requests. The rules keep no ServiceAccounts.
pub fn apply(all_grants: &Grants, scope: &Scope, config: &mut Config) {
    let grants = match scope {
        Scope::Namespace(own) => Some(grants_of_namespace(all_grants, own, &config.rules)),
        Scope::Producers => Some(Grants::new()),
        Scope::Gateway { .. } | Scope::Edge => None,
    };
    let is_needed = |account: &String| {
        let has_grant = grants.as_ref().is_some_and(|it| it.contains_key(account));
        has_grant || matches!(scope, Scope::Namespace(own) if is_in(account, own))
    };
    for rule in config.rules.values_mut() {
        for backend in &mut rule.backends {
            backend.accounts.retain(is_needed);
        }
        for mirror in rule.all_filters_mut().flat_map(|it| &mut it.mirrors) {
            mirror.accounts.retain(is_needed);
        }
        match &mut rule.called {
            Some(called) if grants.is_some() => called.accounts.retain(is_needed),
            called => *called = None,
        }
    }
    config.access = grants.map(Access::Grants);
}

fn grants_of_namespace(all_grants: &Grants, own: &str, rules: &BTreeMap<String, Rule>) -> Grants {
    let behind_rules: BTreeSet<&String> = accounts_behind(rules).collect();
    let mut needed = Grants::new();
    for (destination, grants) in all_grants {
        let grants: Vec<Grant> = if is_in(destination, own) {
            grants.clone()
        } else if behind_rules.contains(destination) {
            grants
                .iter()
                .filter_map(|grant| for_sources_in(own, grant))
                .collect()
        } else {
            Vec::new()
        };
        if !grants.is_empty() {
            needed.insert(destination.clone(), grants);
        }
    }
    needed
}

/// Returns the ServiceAccounts of the pods of three sorts of Services: backends, mirrors, and Services that clients
/// call.
fn accounts_behind(rules: &BTreeMap<String, Rule>) -> impl Iterator<Item = &String> {
    let backends = rules.values().flat_map(|rule| &rule.backends);
    let of_backends = backends.map(|backend| &backend.accounts);
    let filters = rules.values().flat_map(Rule::all_filters);
    let of_mirrors = filters
        .flat_map(|filters| &filters.mirrors)
        .map(|mirror| &mirror.accounts);
    let called = rules.values().filter_map(|rule| rule.called.as_ref());
    let of_called = called.map(|called| &called.accounts);
    of_backends.chain(of_mirrors).chain(of_called).flatten()
}

/// Returns the grant with only its sources in this namespace; None if it has no source there.
fn for_sources_in(namespace: &str, grant: &Grant) -> Option<Grant> {
    let sources: Vec<String> = grant
        .sources
        .iter()
        .filter(|source| is_in(source, namespace))
        .cloned()
        .collect();
    (!sources.is_empty()).then(|| Grant {
        by: grant.by.clone(),
        sources,
        requests: grant.requests.clone(),
        ports: grant.ports.clone(),
    })
}

/// Returns the namespaces of all ServiceAccounts in grants and behind rules. A namespace may occur several times.
pub fn namespaces<'p>(
    all_grants: &'p Grants,
    rules: &'p BTreeMap<String, Rule>,
) -> impl Iterator<Item = &'p str> {
    let in_grants = all_grants.iter().flat_map(|(destination, grants)| {
        let sources = grants.iter().flat_map(|grant| &grant.sources);
        sources.chain([destination])
    });
    let accounts = in_grants.chain(accounts_behind(rules));
    accounts.filter_map(|account| Some(account.split_once('/')?.0))
}

fn is_in(account: &str, namespace: &str) -> bool {
    account
        .split_once('/')
        .is_some_and(|(of, _)| of == namespace)
}
