//! What a document of an older version cannot say.

use std::collections::BTreeSet;

use super::{Access, Backend, Config, HostSet, Hosts, Match, PathMatch, Rule};

impl Config {
    /// What a document of `version` could not say: identities of rules, `listeners`, or `access`. Empty where it
    /// says all of this configuration.
    pub fn beyond(&self, version: u32) -> BTreeSet<String> {
        let mut beyond = BTreeSet::new();
        for set in &self.hosts {
            let has_same_matches = self.listeners.keys().all(|name| set.is_whole_at(name));
            let is_sayable = version >= 3 || (has_same_matches && set.hosts.since() <= version);
            if !is_sayable && set.matches.is_empty() {
                beyond.insert("listeners".to_owned());
            }
            let matches = set.matches.iter();
            let refined = matches.filter(|wanted| !is_sayable || wanted.since() > version);
            beyond.extend(refined.map(|wanted| wanted.rule.clone()));
        }
        let rules = self.rules.iter().filter(|(_, rule)| rule.since() > version);
        beyond.extend(rules.map(|(identity, _)| identity.clone()));
        if version < 2 && matches!(self.access, Some(Access::Grants(_))) {
            beyond.insert("access".to_owned());
        }
        beyond
    }

    /// The document of `version` that says the same. [`Config::beyond`] is empty for it.
    pub fn into_version(self, version: u32) -> Config {
        let access = match self.access {
            // Before version 4 a document without a statement lets everyone reach everything.
            Some(Access::Everyone) if version < 4 => None,
            access => access,
        };
        Config {
            version,
            access,
            ..self
        }
    }
}

impl Hosts {
    /// The lowest document version that can say these hosts.
    fn since(&self) -> u32 {
        match self {
            Hosts::Literal(literal) if literal.every_port => 3,
            Hosts::Root(_) | Hosts::Literal(_) | Hosts::Gateway(_) => 1,
        }
    }
}

impl HostSet {
    /// Whether requests that come in by this listener have all of its matches.
    fn is_whole_at(&self, listener: &String) -> bool {
        let Hosts::Gateway(gateway) = &self.hosts else {
            return true;
        };
        let names_it = |wanted: &Match| wanted.listeners.contains(listener);
        gateway.ports.contains_key(listener) && self.matches.iter().all(names_it)
    }
}

impl Match {
    /// The lowest document version that can say this match.
    fn since(&self) -> u32 {
        let Match {
            path,
            method,
            headers,
            query,
            hostnames,
            listeners: _,
            rule: _,
        } = self;
        let is_regex = matches!(path, Some(PathMatch::Regex(_)));
        let is_plain = !is_regex
            && method.is_none()
            && headers.is_empty()
            && query.is_empty()
            && hostnames.is_empty();
        if is_plain { 1 } else { 2 }
    }
}

impl Rule {
    /// The lowest document version that can say this rule.
    fn since(&self) -> u32 {
        let Rule {
            backends,
            filters,
            timeouts,
            retry,
            called,
        } = self;
        if called.is_some() {
            return 4;
        }
        let is_plain = |backend: &Backend| {
            let Backend {
                weight: _,
                to: _,
                filters,
                accounts,
            } = backend;
            filters.is_none() && accounts.is_empty()
        };
        let is_plain = filters.is_none()
            && timeouts.is_empty()
            && retry.is_none()
            && !backends.is_empty()
            && backends.iter().all(is_plain);
        if is_plain { 1 } else { 2 }
    }
}
