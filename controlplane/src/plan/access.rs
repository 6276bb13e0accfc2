//! What one scope may know of the access policy: what its proxies need, and nobody else's relations.

use std::collections::BTreeSet;

use weir_split::wire::{Access, Config};

use super::Scope;

/// Gives `config` the part of `whole` that `scope` needs, and takes from its backends what is of no use to it.
///
/// | scope | grants |
/// |---|---|
/// | a namespace | as written for its own ServiceAccounts, for which its proxies receive requests; for the ServiceAccounts behind the backends of its rules, the sources that are its own |
/// | producers | none: such a proxy cannot speak for a ServiceAccount, and is denied |
/// | a Gateway | no policy: whom it serves are no workloads. To the backends it is a client like any other, and their side lets it in or not |
pub fn reduce(whole: &Access, scope: &Scope, config: &mut Config) {
    let backends = config
        .rules
        .values_mut()
        .flat_map(|rule| &mut rule.backends);
    let Scope::Namespace(own) = scope else {
        backends.for_each(|backend| backend.accounts.clear());
        let is_gateway = matches!(scope, Scope::Gateway { .. });
        config.access = (!is_gateway).then(Access::default);
        return;
    };
    let behind: BTreeSet<&String> = backends.flat_map(|backend| &backend.accounts).collect();
    let mut access = Access::default();
    for (destination, grants) in &whole.grants {
        let mut grants = grants.clone();
        if !is_in(destination, own) {
            if !behind.contains(destination) {
                continue;
            }
            for grant in &mut grants {
                grant.sources.retain(|source| is_in(source, own));
            }
            grants.retain(|grant| !grant.sources.is_empty());
        }
        if !grants.is_empty() {
            access.grants.insert(destination.clone(), grants);
        }
    }
    config.access = Some(access);
}

/// The namespaces that know something of the policy.
pub fn namespaces(whole: &Access) -> impl Iterator<Item = &str> {
    whole.grants.iter().flat_map(|(destination, grants)| {
        let sources = grants.iter().flat_map(|grant| &grant.sources);
        sources
            .chain([destination])
            .filter_map(|account| Some(account.split_once('/')?.0))
    })
}

fn is_in(account: &str, namespace: &str) -> bool {
    account
        .split_once('/')
        .is_some_and(|(of, _)| of == namespace)
}
