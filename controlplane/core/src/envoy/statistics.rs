//! Reads the statistics of Envoy (`/stats`) that the findings need.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Statistics {
    /// Values of counters and gauges by their full names.
    values: BTreeMap<String, u64>,
    is_read: bool,
}

impl Statistics {
    /// Reads lines such as `cluster.weir.upstream_rq_active: 1`, and skips other lines.
    pub fn read(&mut self, stats: &str) {
        let lines = stats.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        self.values.extend(lines);
        self.is_read = true;
    }

    /// Returns a metric of a Wasm filter; None if the statistics do not have it.
    pub fn wasm(&self, name: &str) -> Option<u64> {
        self.values.get(&format!("wasmcustom.{name}")).copied()
    }

    /// True if the statistics were read, and have no metric of Weir. A filter that runs has metrics.
    pub fn lack_weir(&self) -> bool {
        let mut names = self.values.keys();
        self.is_read && !names.any(|name| name.starts_with("wasmcustom.weir_"))
    }

    /// True if the statistics were read, and lack this metric of a Wasm filter.
    pub fn lack(&self, name: &str) -> bool {
        self.is_read && self.wasm(name).is_none()
    }

    /// Returns the number of endpoints of this cluster; None if the statistics have no such number.
    pub fn endpoints(&self, cluster: &str) -> Option<u64> {
        let cluster = cluster.replace(':', "_");
        let name = format!("cluster.{cluster}.membership_total");
        self.values.get(&name).copied()
    }

    /// True if the stream to the management server is open; None if the statistics do not say so.
    pub fn has_stream(&self) -> Option<bool> {
        let value = self.values.get("control_plane.connected_state")?;
        Some(*value == 1)
    }

    /// True if Envoy has refused clusters of the management server.
    pub fn has_refused_clusters(&self) -> bool {
        let count = self.values.get("cluster_manager.cds.update_rejected");
        count.is_some_and(|it| *it > 0)
    }

    /// Returns the number of requests to this cluster without an answer; None if the statistics have no such number.
    pub fn open_requests(&self, cluster: &str) -> Option<u64> {
        // Envoy replaces colons in the names of statistics.
        let cluster = cluster.replace(':', "_");
        let name = format!("cluster.{cluster}.upstream_rq_active");
        self.values.get(&name).copied()
    }
}
