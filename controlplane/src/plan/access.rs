//! What one scope may know of the access policy: what its proxies need, and nobody else's relations.

use std::collections::BTreeSet;

use weir_split::wire::{Access, Config};

use super::Scope;

/// Reduces `whole` to what `scope` needs, and the backends of `config` with it.
///
/// | scope | grants |
/// |---|---|
/// | a namespace | as written for its own ServiceAccounts, which its proxies receive requests for; for the ServiceAccounts behind the backends of its rules, the sources that are its own |
/// | producers, a Gateway | none, and no accounts: such a proxy speaks for no ServiceAccount and takes no part. One that did would deny |
pub fn reduce(whole: &Access, scope: &Scope, config: &mut Config) {
    let mut access = Access::default();
    let backends = config
        .rules
        .values_mut()
        .flat_map(|rule| &mut rule.backends);
    if let Scope::Namespace(own) = scope {
        let is_own = |account: &str| is_in(account, own);
        let behind: BTreeSet<&String> = backends.flat_map(|backend| &backend.accounts).collect();
        for (destination, grants) in &whole.grants {
            let mut grants = grants.clone();
            if !is_own(destination) {
                if !behind.contains(destination) {
                    continue;
                }
                for grant in &mut grants {
                    grant.sources.retain(|source| is_own(source));
                }
                grants.retain(|grant| !grant.sources.is_empty());
            }
            if !grants.is_empty() {
                access.grants.insert(destination.clone(), grants);
            }
        }
    } else {
        backends.for_each(|backend| backend.accounts.clear());
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
