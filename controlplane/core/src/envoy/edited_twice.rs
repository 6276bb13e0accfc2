//! Finds edits that both Envoy and the filter make. This happens if a route of Envoy and a rule of the filter come from
//! the same object.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Filters, HeaderEdits, Rule};

use super::Finding;
use super::envoy_route::EnvoyRoute;
use super::splitter::{ServedHost, Splitter};
use crate::manifest::problem::messages::{envoy as messages, list};

/// Fields of a route that change the path.
const PATH_FIELDS: [&str; 3] = ["prefix_rewrite", "regex_rewrite", "path_rewrite_policy"];

/// Adds a finding for each rule and header route that make the same edits.
pub fn find(splitter: &Splitter<'_>, findings: &mut BTreeSet<Finding>) {
    let header = splitter.header();
    for served in splitter.served() {
        let routes = served.virtual_host.routes.iter().enumerate();
        for (place, route) in routes.filter(|(_, it)| it.takes_splits(header)) {
            for (identity, rule) in rules(splitter, &served) {
                let edits = common_edits(rule, route);
                if !edits.is_empty() {
                    let message = messages::edited_twice(&route.label, list(edits));
                    let finding = Finding::of_host(served.virtual_host, place, message);
                    findings.insert(finding.of_rule(identity));
                }
            }
        }
    }
}

fn rules<'d>(splitter: &Splitter<'d>, served: &ServedHost<'d>) -> BTreeMap<&'d String, &'d Rule> {
    let matches = served.sets.iter().flat_map(|(_, set)| &set.matches);
    let rules = matches.filter_map(|it| splitter.config.rules.get_key_value(&it.rule));
    rules.collect()
}

/// Returns the edits that both the rule and the route make, such as `header x-user of requests`.
fn common_edits(rule: &Rule, route: &EnvoyRoute) -> BTreeSet<String> {
    let of_backends = rule.backends.iter().map(|it| &it.filters);
    let filters = [&rule.filters].into_iter().chain(of_backends).flatten();
    let mut edits = BTreeSet::new();
    for filters in filters.map(|it| -> &Filters { it }) {
        let settings = &route.settings;
        let both = [
            (
                &filters.request_headers,
                &settings.added_to_requests,
                "requests",
            ),
            (
                &filters.response_headers,
                &settings.added_to_responses,
                "responses",
            ),
        ];
        for (own, added, of) in both {
            let names = written(own).filter(|name| added.contains(*name));
            edits.extend(names.map(|name| format!("header {name} of {of}")));
        }
        let rewrites = filters.rewrite.as_ref().is_some_and(|it| it.path.is_some());
        if rewrites && route.policies.has_any(&PATH_FIELDS) {
            edits.insert("the path".to_owned());
        }
    }
    edits
}

fn written(edits: &HeaderEdits) -> impl Iterator<Item = &str> {
    let written = edits.set.iter().chain(&edits.add);
    written.map(|it| it.name.as_str())
}
