//! Finds a proxy that gets no rules, because all rules of the plan are for other scopes. A scope is the part of the
//! plan that a proxy requests, such as the rules for one namespace.

use std::collections::BTreeSet;

use weir_split::wire::Config;
use weir_split::{Direction, EVERY_NAMESPACE};

use super::Filter;
use crate::manifest::problem::messages::{Message, envoy as messages, one_of};
use crate::plan::{Audience, Plan, Scope};

/// The scope that gets no rules, and the groups of proxies (audiences) that the rules of the plan are for.
pub struct MissingRules {
    scope: Scope,
    rules: usize,
    is_any_for_everyone: bool,
    is_any_for_the_edge: bool,
    namespaces: BTreeSet<String>,
    /// Gateways as `NAMESPACE/NAME`.
    gateways: BTreeSet<String>,
}

impl MissingRules {
    /// Returns None if the filter gets a rule or needs no rule, or if the plan has no rules.
    pub fn of(filter: &Filter, config: &Config, plan: &Plan) -> Option<MissingRules> {
        let plugin = &filter.plugin;
        let is_polling = plugin.control_plane.is_some() && plugin.direction == Direction::Outbound;
        if !is_polling || !config.rules.is_empty() {
            return None;
        }
        let mut missing_rules = MissingRules {
            scope: filter.scope(),
            rules: 0,
            is_any_for_everyone: false,
            is_any_for_the_edge: false,
            namespaces: BTreeSet::new(),
            gateways: BTreeSet::new(),
        };
        for (audience, count) in plan.rules_by_audience() {
            missing_rules.add(&audience, count);
        }
        (missing_rules.rules > 0).then_some(missing_rules)
    }

    fn add(&mut self, audience: &Audience, count: usize) {
        self.is_any_for_the_edge |=
            !matches!(audience, Audience::Everyone) && audience.concerns(&Scope::Edge);
        let own_count = match audience {
            // The rules of this audience are also rules of a namespace.
            Audience::Edge => 0,
            _ => count,
        };
        self.rules = self.rules.saturating_add(own_count);
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

    /// Returns the settings that would give the filter rules. The text of each setting ends with the rules that the
    /// filter would get.
    fn remedies(&self) -> Vec<String> {
        let quoted = |names: &BTreeSet<String>| one_of(names.iter().map(|it| format!("{it:?}")));
        let mut remedies = Vec::new();
        if self.is_any_for_the_edge {
            remedies.push("\"namespace\": \"*\" for the hosts of every namespace".to_owned());
        }
        if !self.namespaces.is_empty() {
            let names = quoted(&self.namespaces);
            remedies.push(format!(
                "\"namespace\" with {names} for clients of that namespace"
            ));
        }
        if !self.gateways.is_empty() {
            let names = quoted(&self.gateways);
            remedies.push(format!(
                "\"gateway\" with {names} for the routes of that Gateway"
            ));
        }
        if self.is_any_for_everyone {
            remedies
                .push("\"namespace\" instead of \"gateway\" for the rules of Services".to_owned());
        }
        remedies
    }

    pub fn message(&self) -> Message {
        let (count, ways) = (self.rules, self.remedies().join(", or "));
        match &self.scope {
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
