//! Finds filters that do not run, and filters that get no configuration from the control plane.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::module::{CONFIGURED, RULES, name_of_scope};
use weir_split::wire::Config;

use super::{EnvoyDump, Filter, Finding};
use crate::manifest::problem::messages::envoy as messages;

const FAILURES: &str = "weir_poll_failures_total";

/// Adds a finding for each filter that does not run. Adds a finding for each cluster of a control plane to which polls
/// fail, and for the filters that have no configuration.
pub fn find(dump: &EnvoyDump, findings: &mut BTreeSet<Finding>) {
    if dump.statistics.lack_weir() && !dump.has_stats_matcher && !dump.filters.is_empty() {
        let at = dump.filters.iter().flat_map(|it| it.at.clone()).collect();
        findings.insert(Finding::at(&at, messages::filter_refused()));
    }
    if !dump.statistics.lack_weir() && !dump.has_stats_matcher {
        for filter in &dump.filters {
            let at = dump.refused_at(filter);
            if !at.is_empty() {
                findings.insert(Finding::at(&at, messages::one_filter_refused()));
            }
        }
    }
    for (at, reason) in &dump.refused {
        let at = [at.clone()].into();
        findings.insert(Finding::at(
            &at,
            messages::plugin_refused(reason.cause(), reason.remedy()),
        ));
    }
    let failing = failing(dump);
    for (cluster, filters) in &failing {
        let at = filters.iter().flat_map(|it| it.at.clone()).collect();
        let message = if filters.iter().all(|it| is_unconfigured(dump, it)) {
            messages::never_configured(cluster)
        } else {
            messages::polls_fail(cluster)
        };
        findings.insert(Finding::at(&at, message));
    }
    for filter in dump.filters.iter().filter(|it| is_unconfigured(dump, it)) {
        let cluster = filter.plugin.control_plane.as_deref().unwrap_or_default();
        if dump.clusters.contains(cluster) && !failing.contains_key(cluster) {
            let message = messages::not_configured(cluster);
            findings.insert(Finding::at(&filter.at, message));
        }
    }
}

/// Adds a warning if the filter has another number of rules than the plan.
pub fn find_other_rules(
    dump: &EnvoyDump,
    filter: &Filter,
    config: &Config,
    findings: &mut BTreeSet<Finding>,
) {
    let Some(cluster) = &filter.plugin.control_plane else {
        return;
    };
    let of_scope = |metric| {
        let name = name_of_scope(metric, &filter.plugin.scope);
        dump.statistics.wasm(&name)
    };
    let planned = u64::try_from(config.rules.len()).unwrap_or(u64::MAX);
    if let (Some(1), Some(rules)) = (of_scope(CONFIGURED), of_scope(RULES))
        && rules != planned
    {
        let count = |rules: u64| match rules {
            1 => "1 rule".to_owned(),
            rules => format!("{rules} rules"),
        };
        let message = messages::other_rules(count(rules), count(planned), cluster);
        findings.insert(Finding::at(&filter.at, message));
    }
}

/// True if the filter polls a control plane, and has no configuration.
fn is_unconfigured(dump: &EnvoyDump, filter: &Filter) -> bool {
    let gauge = name_of_scope(CONFIGURED, &filter.plugin.scope);
    filter.plugin.control_plane.is_some() && dump.statistics.wasm(&gauge) == Some(0)
}

/// True if polls seem to fail, or a filter has no configuration. The statistics may be from a moment between two polls
/// or before the first poll, so read them again to be sure.
pub fn may_fail_to_poll(dump: &EnvoyDump) -> bool {
    !failing(dump).is_empty() || dump.filters.iter().any(|it| is_unconfigured(dump, it))
}

/// Returns each cluster of a control plane that has fewer open polls than scopes, with the filters that poll it. While
/// polls succeed, each scope has an open poll, except for moments between two polls.
fn failing(dump: &EnvoyDump) -> BTreeMap<&str, Vec<&Filter>> {
    let mut polling: BTreeMap<&str, Vec<&Filter>> = BTreeMap::new();
    for filter in &dump.filters {
        if let Some(cluster) = &filter.plugin.control_plane
            && dump.clusters.contains(cluster)
        {
            polling.entry(cluster).or_default().push(filter);
        }
    }
    polling.retain(|cluster, filters| {
        let scopes: BTreeSet<&str> = filters.iter().map(|it| it.plugin.scope.as_str()).collect();
        let open = dump.statistics.open_requests(cluster);
        let scopes = u64::try_from(scopes.len()).unwrap_or(u64::MAX);
        // The stream for clusters is an open request too.
        let has_stream = dump.stream_cluster.as_deref() == Some(*cluster)
            && dump.statistics.has_stream() == Some(true);
        let scopes = scopes.saturating_add(u64::from(has_stream));
        open.is_some_and(|open| open < scopes)
            && dump.statistics.wasm(FAILURES).is_some_and(|it| it > 0)
    });
    polling
}
