//! Compares the configuration of a running Envoy with the plan, for `weir check --envoy`. The plan has the rules of all
//! proxies. The findings are missing clusters, wrong settings, and policies of routes that a split request would lose.
//!
//! ```text
//! /config_dump --EnvoyDump::read--> EnvoyDump --findings(Plan)--> lines of `weir check`
//! ```
//!
//! The functions are pure: the caller fetches the dump and passes it as JSON.

mod chains;
mod cluster_settings;
mod connection_rules;
mod discovered;
mod dump;
mod dump_fields;
mod edited_twice;
mod envoy_route;
mod filter_order;
mod finding;
mod header_leaks;
mod header_mutations;
mod header_routes;
mod header_value;
mod http_filter;
mod listener_findings;
mod lost_policies;
mod lua_code;
mod manager;
mod matcher_outcome;
mod matcher_tree;
mod mirror_findings;
mod mirror_policies;
mod missing_filter;
mod missing_rules;
mod own_routes;
mod path_matcher;
mod path_regex;
mod policy;
mod polls;
mod route_configuration;
mod route_settings;
mod rule_backends;
mod runtime_switch;
mod splitter;
mod statistics;
mod stream_names;
mod switches;
#[cfg(test)]
mod tests;
mod twins;
mod upstream_filters;
mod virtual_host;
mod warming;
mod weir_stream;

use std::collections::BTreeSet;

pub use dump::{EnvoyDump, Filter, NotADump};
pub use finding::Finding;
pub use polls::may_fail_to_poll;
pub use stream_names::{CONTROL_PLANE, FILTERS_HEADER, UPSTREAM_FILTER};
use weir_split::wire::Config;
use weir_split::{Direction, Protocol};

use self::finding::FindingPlace;
use self::missing_rules::MissingRules;
use self::splitter::Splitter;
use crate::manifest::problem::messages::envoy as messages;
use crate::plan::{Plan, scope};

/// Returns all findings, sorted: first filters and clusters, then virtual hosts with their routes in order.
pub fn findings(dump: &EnvoyDump, plan: &Plan) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    if dump.filters.is_empty() && dump.refused.is_empty() {
        findings.insert(Finding {
            place: FindingPlace::Envoy,
            rule: None,
            message: match &dump.stream_cluster {
                Some(cluster) => messages::filter_unsent(cluster),
                None => messages::no_filter(),
            },
        });
        weir_stream::find(dump, &mut findings);
        return findings.into_iter().collect();
    }
    let configs: Vec<Config> = dump.filters.iter().map(|it| config(it, plan)).collect();
    for (filter, config) in dump.filters.iter().zip(&configs) {
        of_filter(dump, filter, config, plan, &mut findings);
    }
    for chain in &dump.chains {
        chain.find(&mut findings);
    }
    polls::find(dump, &mut findings);
    let splitters = splitters(dump, &configs);
    for splitter in &splitters {
        header_routes::find(splitter, &mut findings);
        filter_order::find(splitter, &dump.runtime, &mut findings);
        own_routes::find(splitter, &mut findings);
        edited_twice::find(splitter, &mut findings);
        mirror_findings::find(splitter, dump, &mut findings);
        switches::find(dump, splitter, &mut findings);
        for host in splitter.virtual_hosts() {
            lost_policies::find(host, splitter.header(), &mut findings);
        }
    }
    missing_filter::find(&dump.managers, &splitters, &mut findings);
    dump.warming.find(&mut findings);
    weir_stream::find(dump, &mut findings);
    for filter in &dump.filters {
        let same = splitters.iter().filter(|it| *it.plugin == filter.plugin);
        header_routes::find_missing_hosts(&same.collect::<Vec<_>>(), &mut findings);
    }
    let headers: BTreeSet<&str> = splitters.iter().map(|it| it.header()).collect();
    for manager in &dump.managers {
        filter_order::find_twice(manager, &mut findings);
        mirror_findings::find_clients(manager, &mut findings);
        for header in &headers {
            header_leaks::find_leaks(manager, header, &mut findings);
            header_leaks::find_clients(manager, header, &mut findings);
        }
    }
    findings.into_iter().collect()
}

/// Adds the findings about one filter. Other functions check its place among the other filters, and its routes.
fn of_filter(
    dump: &EnvoyDump,
    filter: &Filter,
    config: &Config,
    plan: &Plan,
    findings: &mut BTreeSet<Finding>,
) {
    let plugin = &filter.plugin;
    if filter.chain != plugin.protocol {
        let message = messages::wrong_chain(match filter.chain {
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        });
        findings.insert(Finding::at(&filter.at, message));
    }
    if let Some(missing_rules) = MissingRules::of(filter, config, plan) {
        findings.insert(Finding::at(&filter.at, missing_rules.message()));
    }
    polls::find_other_rules(dump, filter, config, findings);
    rule_backends::missing_clusters(dump, filter, config, findings);
    rule_backends::unedited_responses(dump, filter, config, findings);
    if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
        listener_findings::find(filter, config, findings);
    }
    connection_rules::find(filter, config, findings);
}

/// Returns the filters that split requests. `configs` has one configuration for each filter in `dump.filters`.
fn splitters<'d>(dump: &'d EnvoyDump, configs: &'d [Config]) -> Vec<Splitter<'d>> {
    let mut splitters = Vec::new();
    for manager in &dump.managers {
        for filter in &manager.filters {
            let Some(plugin) = filter.splitter() else {
                continue;
            };
            let mut known = dump.filters.iter().zip(configs);
            if let Some((_, config)) = known.find(|(it, _)| it.plugin == *plugin) {
                splitters.push(Splitter {
                    manager,
                    filter,
                    plugin,
                    config,
                });
            }
        }
    }
    splitters
}

/// Returns the configuration that this filter gets.
fn config(filter: &Filter, plan: &Plan) -> Config {
    match &filter.plugin.control_plane {
        Some(_) => scope(plan, &filter.scope()),
        // The filter has only its initial configuration.
        None => filter.plugin.initial.clone().unwrap_or(Config {
            version: weir_split::wire::VERSION,
            ..Config::default()
        }),
    }
}
