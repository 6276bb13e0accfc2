//! The rules that a proxy does not get because they are for other scopes than its own.

use std::collections::BTreeSet;

use weir_split::wire::Config;
use weir_split::{Direction, EVERY_NAMESPACE};

use super::Filter;
use crate::manifest::problem::messages::{Message, envoy as messages, one_of};
use crate::plan::{Audience, Plan, Scope};

/// Whom the rules are for, and the scope that gets none of them.
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

    pub fn message(&self) -> Message {
        let (count, ways) = (self.rules, self.ways().join(", or "));
        match &self.asked {
            Scope::Producers => messages::no_rules_without_scope(count, ways),
            Scope::Edge => messages::no_rules_of_scope("namespace", EVERY_NAMESPACE, count, ways),
            Scope::Namespace(own) => messages::no_rules_of_scope("namespace", own, count, ways),
            Scope::Gateway { namespace, name } => {
                let own = format!("{namespace}/{name}");
                messages::no_rules_of_scope("gateway", own, count, ways)
            }
        }
    }
}
