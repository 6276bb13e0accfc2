//! The plan in pieces that can be checked one by one.

use weir_split::wire::{Access, Config, Grants, VERSION};

use super::{Audience, Plan, Scope};

impl Plan {
    /// All that any scope may be given, each host set and each of the connections with its rules, and each
    /// grant, for itself; and what to call it. Together they are as large as the plan, whatever the scopes.
    pub fn pieces(&self) -> impl Iterator<Item = (String, Config)> {
        let sets = self.sets.iter().map(|planned| {
            let name = name(&planned.audience, &planned.set.hosts);
            let mut config = self.piece(planned.set.matches.iter().map(|entry| &entry.rule));
            config.hosts.push(planned.set.clone());
            if let Audience::Gateway { namespace, name } = &planned.audience {
                let (namespace, name) = (namespace.clone(), name.clone());
                config.listeners = self.listeners_of(&Scope::Gateway { namespace, name });
            }
            (name, config)
        });
        let connections = self.connections.iter().map(|planned| {
            let name = name(&planned.audience, &planned.connections.to);
            let mut config = self.piece([&planned.connections.rule]);
            config.connections.push(planned.connections.clone());
            (name, config)
        });
        let grants = match &self.access {
            Some(Access::Grants(grants)) => Some(grants),
            Some(Access::Everyone) | None => None,
        };
        let grants = grants.into_iter().flatten().map(|(destination, grants)| {
            let mut config = self.piece([]);
            let grants = [(destination.clone(), grants.clone())].into();
            config.access = Some(Access::Grants(grants));
            (format!("access to {destination}"), config)
        });
        sets.chain(connections).chain(grants)
    }

    /// Rules alone, under a policy that grants nothing where there is one.
    fn piece<'p>(&'p self, led_to: impl IntoIterator<Item = &'p String>) -> Config {
        Config {
            version: VERSION,
            rules: self.rules_of(led_to),
            access: self.access.as_ref().map(|_| Access::Grants(Grants::new())),
            ..Config::default()
        }
    }
}

fn name(audience: &Audience, what: &impl std::fmt::Debug) -> String {
    format!("{what:?} for {audience:?}")
}
