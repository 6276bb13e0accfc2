//! The rules that a proxy does not get because they are for other scopes than its own.

use std::collections::BTreeSet;
use std::fmt;

use weir_split::Direction;
use weir_split::wire::Config;

use super::Filter;
use crate::plan::{Audience, Plan, Scope};
use crate::problem::messages::one_of;

/// Whom the rules are for, and the scope that gets none of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elsewhere {
    asked: Scope,
    rules: usize,
    is_any_for_everyone: bool,
    is_any_for_the_edge: bool,
    namespaces: BTreeSet<String>,
    /// `NAMESPACE/NAME`.
    gateways: BTreeSet<String>,
}

impl Elsewhere {
    /// None where the filter gets a rule, needs none, or there is none.
    pub fn of(filter: &Filter, config: &Config, plan: &Plan) -> Option<Elsewhere> {
        let plugin = &filter.plugin;
        let is_asking = plugin.control_plane.is_some() && plugin.direction == Direction::Outbound;
        if !is_asking || !config.rules.is_empty() {
            return None;
        }
        let mut elsewhere = Elsewhere {
            asked: filter.scope(),
            rules: 0,
            is_any_for_everyone: false,
            is_any_for_the_edge: false,
            namespaces: BTreeSet::new(),
            gateways: BTreeSet::new(),
        };
        for (audience, count) in plan.rules_by_audience() {
            elsewhere.add(&audience, count);
        }
        (elsewhere.rules > 0).then_some(elsewhere)
    }

    fn add(&mut self, audience: &Audience, count: usize) {
        self.is_any_for_the_edge |=
            !matches!(audience, Audience::Everyone) && audience.concerns(&Scope::Edge);
        let of_audience = match audience {
            // Each of its rules is also one of a namespace.
            Audience::Edge => 0,
            _ => count,
        };
        self.rules = self.rules.saturating_add(of_audience);
        match audience {
            Audience::Everyone => self.is_any_for_everyone = true,
            Audience::Edge => {}
            Audience::Namespace(namespace) | Audience::NamespaceAndEdge(namespace) => {
                self.namespaces.insert(namespace.clone());
            }
            Audience::Gateway { namespace, name } => {
                self.gateways.insert(format!("{namespace}/{name}"));
            }
        }
    }

    /// What could be written, each for the rules that it brings.
    fn ways(&self) -> Vec<String> {
        let quoted = |names: &BTreeSet<String>| one_of(names.iter().map(|it| format!("{it:?}")));
        let mut ways = Vec::new();
        if self.is_any_for_the_edge {
            ways.push("\"namespace\": \"*\" for the hosts of every namespace".to_owned());
        }
        if !self.namespaces.is_empty() {
            let names = quoted(&self.namespaces);
            ways.push(format!(
                "\"namespace\" with {names} for clients of that namespace"
            ));
        }
        if !self.gateways.is_empty() {
            let names = quoted(&self.gateways);
            ways.push(format!(
                "\"gateway\" with {names} for the routes of that Gateway"
            ));
        }
        if self.is_any_for_everyone {
            ways.push("\"namespace\" instead of \"gateway\" for the rules of Services".to_owned());
        }
        ways
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Scope::Producers => {
                f.write_str("the plugin configuration has neither namespace nor gateway")?
            }
            Scope::Edge => f.write_str("the plugin configuration has \"namespace\": \"*\"")?,
            Scope::Namespace(own) => {
                write!(f, "the plugin configuration has \"namespace\": {own:?}")?
            }
            Scope::Gateway { namespace, name } => {
                write!(
                    f,
                    "the plugin configuration has \"gateway\": \"{namespace}/{name}\""
                )?;
            }
        }
        let are = if self.rules == 1 {
            "1 rule is"
        } else {
            &format!("{} rules are", self.rules)
        };
        write!(
            f,
            ", and {are} in force, all for other scopes, so this proxy splits nothing; write into its plugin \
             configuration {}",
            self.ways().join(", or ")
        )
    }
}
