//! Finds filters that do not run, and filters that get no configuration from the control plane.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::module::{CONFIGURED, name_of_scope};

use super::{EnvoyDump, Filter, Finding};
use crate::manifest::problem::messages::envoy as messages;

const FAILURES: &str = "weir_poll_failures_total";

/// Adds a finding if no filter runs. Adds a finding for each cluster of a control plane to which polls fail.
pub fn find(dump: &EnvoyDump, findings: &mut BTreeSet<Finding>) {
    if dump.statistics.lack_weir() && !dump.has_stats_matcher {
        let at = dump.filters.iter().flat_map(|it| it.at.clone()).collect();
        findings.insert(Finding::at(&at, messages::filter_refused()));
    }
    for (cluster, filters) in failing(dump) {
        let at = filters.iter().flat_map(|it| it.at.clone()).collect();
        let configured = |it: &&Filter| {
            let gauge = name_of_scope(CONFIGURED, &it.plugin.scope);
            dump.statistics.wasm(&gauge)
        };
        let message = if filters.iter().all(|it| configured(it) == Some(0)) {
            messages::never_configured(cluster)
        } else {
            messages::polls_fail(cluster)
        };
        findings.insert(Finding::at(&at, message));
    }
}

/// True if polls seem to fail. The statistics may be from a moment between two polls, so read them again to be sure.
pub fn may_fail_to_poll(dump: &EnvoyDump) -> bool {
    !failing(dump).is_empty()
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
        open.is_some_and(|open| open < scopes)
            && dump.statistics.wasm(FAILURES).is_some_and(|it| it > 0)
    });
    polling
}
