//! A partial configuration: the configuration for a proxy that does not have all clusters of its new configuration.
//!
//! | rule of the new configuration | rule of the partial configuration |
//! |---|---|
//! | needs no missing cluster | the same rule |
//! | needs a cluster that the proxy may accept soon | the rule of the proxy's present configuration; without such a rule, the matches of the new rule are left out |
//! | needs a cluster that the proxy has refused or has not accepted in time | the same rule, but this backend is broken |
//!
//! If matches are left out, other matches of the host could get their requests. So the host keeps its present matches if
//! all new matches are left out, or if one of its present rules is no longer in the new configuration.
//!
//! Mirrors to missing clusters are left out. Everything else is from the new configuration, for example the access
//! policy.

use std::collections::BTreeSet;

use weir_split::module;
use weir_split::wire::{
    Backend, Config, Connections, Destination, HostSet, Hosts, Match, Rule, Service, Target,
};

use super::backends::cluster_name;
use super::needed_clusters::{Names, needed_backends, redirects, service_of};

/// The clusters of a configuration that a proxy does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MissingClusters {
    /// The proxy may accept these clusters soon.
    pub awaited: Names,
    /// The proxy has refused these clusters, or has not accepted them in time.
    pub given_up: Names,
}

impl MissingClusters {
    fn contains(&self, service: &Service) -> bool {
        let name = cluster_name(service);
        let name = name.as_str();
        self.awaited.contains(name) || self.given_up.contains(name)
    }
}

/// Returns the partial configuration. `present` is the configuration that the proxy has now; None if the proxy has no
/// configuration.
pub fn partial(new: Config, present: Option<&Config>, missing: &MissingClusters) -> Config {
    let mut partial = Partial {
        new_rules: new.rules.keys().cloned().collect(),
        config: new,
        present,
        missing,
        left_out: BTreeSet::new(),
    };
    partial.replace_rules();
    partial.leave_out_hosts();
    partial.leave_out_connections();
    let Partial {
        mut config,
        left_out,
        ..
    } = partial;
    config
        .rules
        .retain(|identity, _| !left_out.contains(identity));
    config
}

struct Partial<'p> {
    config: Config,
    present: Option<&'p Config>,
    missing: &'p MissingClusters,
    /// The identities of all rules of the new configuration.
    new_rules: BTreeSet<String>,
    /// The identities of new rules that wait for a cluster.
    left_out: BTreeSet<String>,
}

impl Partial<'_> {
    fn replace_rules(&mut self) {
        for (identity, rule) in &mut self.config.rules {
            if let Some(usable) = without_missing(identity, rule, self.missing) {
                *rule = usable;
            } else if let Some(usable) = present_rule(self.present, identity, self.missing) {
                *rule = usable;
            } else {
                self.left_out.insert(identity.clone());
            }
        }
    }

    /// Removes the matches of rules that are left out. A host set that loses matches gets the matches of the present
    /// configuration if it has no other matches, or if a present rule of the host is no longer in the new configuration.
    fn leave_out_hosts(&mut self) {
        let sets = std::mem::take(&mut self.config.hosts);
        for mut set in sets {
            let before = set.matches.len();
            set.matches.retain(|it| !self.left_out.contains(&it.rule));
            if set.matches.len() < before {
                let is_empty = set.matches.is_empty();
                match self.present_set(&set.hosts) {
                    Some(present) if is_empty || self.has_old_rule(present) => {
                        set.matches = self.usable_matches(present);
                    }
                    None if is_empty && self.present.is_some() => continue,
                    // Without the set, another set could get requests for these hosts.
                    _ => {}
                }
            }
            self.config.hosts.push(set);
        }
    }

    /// Removes entries with rules that are left out, or replaces them with entries of the present configuration.
    fn leave_out_connections(&mut self) {
        let entries = std::mem::take(&mut self.config.connections);
        for mut entry in entries {
            if self.left_out.contains(&entry.rule) {
                let present = self.present_connections(&entry.to);
                let Some(rule) = present.filter(|it| self.use_rule(&it.rule)) else {
                    continue;
                };
                entry.rule.clone_from(&rule.rule);
            }
            self.config.connections.push(entry);
        }
    }

    /// Returns true if a usable rule of the present host set is not in the new configuration. It may be the earlier form
    /// of a rule that is left out.
    fn has_old_rule(&self, present: &HostSet) -> bool {
        let mut rules = present.matches.iter().map(|it| &it.rule);
        rules.any(|identity| {
            let is_old = !self.new_rules.contains(identity);
            is_old && present_rule(self.present, identity, self.missing).is_some()
        })
    }

    fn usable_matches(&mut self, present: &HostSet) -> Vec<Match> {
        let matches = present.matches.iter();
        matches
            .filter(|it| self.use_rule(&it.rule))
            .cloned()
            .collect()
    }

    /// Returns true if the partial configuration has this rule. Adds the rule from the present configuration if the new
    /// configuration does not have it.
    fn use_rule(&mut self, identity: &str) -> bool {
        if self.left_out.contains(identity) {
            return false;
        }
        if !self.config.rules.contains_key(identity) {
            let Some(rule) = present_rule(self.present, identity, self.missing) else {
                return false;
            };
            self.config.rules.insert(identity.to_owned(), rule);
        }
        true
    }
}

impl<'p> Partial<'p> {
    fn present_set(&self, hosts: &Hosts) -> Option<&'p HostSet> {
        let mut sets = self.present?.hosts.iter();
        sets.find(|set| is_same_host(&set.hosts, hosts))
    }

    fn present_connections(&self, to: &Destination) -> Option<&'p Connections> {
        let mut entries = self.present?.connections.iter();
        entries.find(|entry| match (&entry.to, to) {
            (Destination::Root(own), Destination::Root(other)) => {
                is_same_host(&Hosts::Root(own.clone()), &Hosts::Root(other.clone()))
            }
            (own, other) => own == other,
        })
    }
}

/// True if the host sets have the same hosts. The IP addresses of a Service may differ.
fn is_same_host(own: &Hosts, other: &Hosts) -> bool {
    match (own, other) {
        (Hosts::Root(own), Hosts::Root(other)) => {
            (&own.service, &own.namespace, own.port)
                == (&other.service, &other.namespace, other.port)
        }
        (own, other) => own == other,
    }
}

fn present_rule(
    present: Option<&Config>,
    identity: &str,
    missing: &MissingClusters,
) -> Option<Rule> {
    without_missing(identity, present?.rules.get(identity)?, missing)
}

/// Returns the rule without missing clusters. Returns None if the rule needs a cluster that the proxy may accept soon.
fn without_missing(identity: &str, rule: &Rule, missing: &MissingClusters) -> Option<Rule> {
    let is_awaited = |service| missing.awaited.contains(cluster_name(service).as_str());
    if needed_backends(rule).any(is_awaited) {
        return None;
    }
    let mut usable = rule.clone();
    if !redirects(&rule.filters) {
        for backend in &mut usable.backends {
            let service = service_of(&backend.to).filter(|_| !redirects(&backend.filters));
            if service.is_some_and(|it| missing.contains(it)) {
                let status = module::status_without_edits(identity);
                *backend = Backend::new(backend.weight, Target::Status(status));
            }
        }
    }
    let of_backends = usable.backends.iter_mut().map(|it| &mut it.filters);
    for slot in of_backends.chain([&mut usable.filters]) {
        if let Some(filters) = slot {
            filters.mirrors.retain(|it| !missing.contains(&it.to));
        }
        *slot = slot.take().filter(|it| !it.is_empty());
    }
    Some(usable)
}

#[cfg(test)]
mod tests;
