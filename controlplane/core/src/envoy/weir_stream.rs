//! Finds Envoys without an open stream from `weir serve`, and backends whose clusters `weir serve` has not sent.

use std::collections::BTreeSet;

use weir_split::wire::Service;

use super::finding::FindingPlace;
use super::{EnvoyDump, Finding};
use crate::manifest::problem::messages::{Message, envoy as messages};

/// Adds a finding if the stream to `weir serve` is not open.
pub fn find(dump: &EnvoyDump, findings: &mut BTreeSet<Finding>) {
    let Some(cluster) = &dump.stream_cluster else {
        return;
    };
    if dump.statistics.has_stream() == Some(false) {
        let at: BTreeSet<_> = dump.filters.iter().flat_map(|it| it.at.clone()).collect();
        findings.insert(Finding {
            place: match at.is_empty() {
                true => FindingPlace::Envoy,
                false => FindingPlace::Filters(at),
            },
            rule: None,
            message: messages::stream_closed(cluster),
        });
    }
}

/// Returns the message about a cluster that Envoy does not have, if `weir serve` sends the clusters.
pub fn missing(dump: &EnvoyDump, service: &Service, weight: u64, cluster: &str) -> Option<Message> {
    dump.stream_cluster.as_ref()?;
    Some(match dump.statistics.has_refused_clusters() {
        true => messages::backend_cluster_refused(service, weight, cluster),
        false => messages::backend_cluster_unsent(service, weight, cluster),
    })
}

/// Returns the message about a cluster without endpoints, if `weir serve` sends the clusters.
pub fn empty(dump: &EnvoyDump, service: &Service, weight: u64, cluster: &str) -> Option<Message> {
    dump.stream_cluster.as_ref()?;
    let endpoints = dump.statistics.endpoints(cluster)?;
    (endpoints == 0).then(|| messages::backend_without_endpoints(service, weight, cluster))
}
