//! Cuts the plan into pieces, so that each piece can be checked alone.

use weir_split::wire::{Access, Config, Grants, VERSION};

use super::{Audience, Plan, Scope};

impl Plan {
    /// Returns a piece for each host set with its rules, for each connection entry with its rule, and for the grants of
    /// each destination. A piece is a configuration and its name for messages.
    ///
    /// All pieces together are about as large as the plan. The configurations of all scopes together can be much
    /// larger, so a check of the pieces is cheaper.
    pub fn pieces(&self) -> impl Iterator<Item = (String, Config)> {
        let sets = self.sets.iter().map(|planned| {
            let identities = planned.set.matches.iter().map(|entry| &entry.rule);
            let mut config = self.config_with_rules(identities);
            config.hosts.push(planned.set.clone());
            if let Audience::Gateway { namespace, name } = &planned.audience {
                let (namespace, name) = (namespace.clone(), name.clone());
                config.listeners = self.listeners_of(&Scope::Gateway { namespace, name });
            }
            (piece_name(&planned.audience, &planned.set.hosts), config)
        });
        let connections = self.connections.iter().map(|planned| {
            let mut config = self.config_with_rules([&planned.connections.rule]);
            config.connections.push(planned.connections.clone());
            let name = piece_name(&planned.audience, &planned.connections.to);
            (name, config)
        });
        let grants = match &self.access {
            Some(Access::Grants(grants)) => Some(grants),
            Some(Access::Everyone) | None => None,
        };
        let grants = grants.into_iter().flatten().map(|(destination, grants)| {
            let mut config = self.config_with_rules([]);
            let grants = [(destination.clone(), grants.clone())].into();
            config.access = Some(Access::Grants(grants));
            (format!("access to {destination}"), config)
        });
        sets.chain(connections).chain(grants)
    }

    /// Returns a configuration with these rules and no hosts. If the plan has an access policy, the configuration has a
    /// policy without grants.
    fn config_with_rules<'p>(&'p self, identities: impl IntoIterator<Item = &'p String>) -> Config {
        Config {
            version: VERSION,
            rules: self.rules_of(identities),
            access: self.access.as_ref().map(|_| Access::Grants(Grants::new())),
            ..Config::default()
        }
    }
}

fn piece_name(audience: &Audience, hosts: &impl std::fmt::Debug) -> String {
    format!("{hosts:?} for {audience:?}")
}
