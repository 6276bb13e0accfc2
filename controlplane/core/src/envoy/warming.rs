//! Finds clusters and listeners that Envoy knows but does not use yet, because they wait for other resources (warming).

use std::collections::BTreeSet;

use serde_json::Value;

use super::chains::Chain;
use super::discovered::Discovered;
use super::dump_fields::{items, text};
use super::finding::Finding;
use crate::manifest::problem::messages::envoy as messages;

#[derive(Debug, Default)]
pub struct Warming {
    /// Names of warming clusters that have no older version.
    pub clusters: BTreeSet<String>,
    listeners: Vec<WarmingListener>,
}

#[derive(Debug)]
struct WarmingListener {
    /// The place in findings: `listener NAME`.
    at: String,
    /// True if Envoy uses an older version of the listener.
    has_active: bool,
}

impl Warming {
    /// Reads a ClustersConfigDump.
    pub fn add_clusters(&mut self, dump: &Value) {
        let names = |list| {
            let clusters = items(dump, list).filter_map(|it| it.get("cluster"));
            clusters.map(|it| text(it, "name"))
        };
        self.clusters.extend(names("dynamic_warming_clusters"));
        for active in names("static_clusters").chain(names("dynamic_active_clusters")) {
            self.clusters.remove(&active);
        }
    }

    /// Reads a ListenersConfigDump. Ignores listeners without a Weir filter.
    pub fn add_listeners(&mut self, dump: &Value, discovered: &Discovered<'_>) {
        for listener in items(dump, "dynamic_listeners") {
            let active = listener.pointer("/active_state/listener");
            let Some(warming) = listener.pointer("/warming_state/listener") else {
                continue;
            };
            let mut versions = active.into_iter().chain([warming]);
            if versions.any(|it| !Chain::read(it, discovered).is_empty()) {
                self.listeners.push(WarmingListener {
                    at: format!("listener {}", text(warming, "name")),
                    has_active: active.is_some(),
                });
            }
        }
    }

    /// Adds a finding for each warming listener.
    pub fn find(&self, findings: &mut BTreeSet<Finding>) {
        for listener in &self.listeners {
            let at = [listener.at.clone()].into();
            let message = match listener.has_active {
                true => messages::listener_version_warming(),
                false => messages::listener_warming(),
            };
            findings.insert(Finding::at(&at, message));
        }
    }
}
