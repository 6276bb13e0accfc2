//! The settings of a cluster (envoy.config.cluster.v3.Cluster) that matter for mirrors.

use serde_json::Value;

use super::discovered::Discovered;
use super::dump_fields::{children, items};
use super::upstream_filters::UpstreamFilters;

#[derive(Debug)]
pub struct ClusterSettings {
    /// The filters of the cluster, if the cluster replaces the upstream filters of routers.
    pub filters: Option<UpstreamFilters>,
    /// True if a client's request with a large body can wait forever for its copy to this cluster.
    pub may_delay: bool,
}

/// The default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER: u64 = 1024 * 1024;

impl ClusterSettings {
    pub fn read(cluster: &Value, discovered: &Discovered<'_>) -> ClusterSettings {
        let extensions = cluster.get("typed_extension_protocol_options");
        let holders = || extensions.into_iter().flat_map(children);
        let is_limited = holders().chain([cluster]).any(|holder| {
            let limit = holder.pointer("/common_http_protocol_options/max_stream_duration");
            limit.is_some()
        });
        let buffer = cluster.get("per_connection_buffer_limit_bytes");
        let buffer = buffer.and_then(Value::as_u64).unwrap_or_default();
        let mut own = holders().filter(|it| items(it, FILTERS).next().is_some());
        ClusterSettings {
            filters: own
                .next()
                .map(|it| UpstreamFilters::read(it, FILTERS, discovered)),
            may_delay: !is_limited && buffer <= DEFAULT_BUFFER,
        }
    }
}

const FILTERS: &str = "http_filters";
