//! Checks the settings of filter chains that a Weir filter depends on: the verification of clients, and the
//! normalization of paths.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_split::{Direction, EVERY_NAMESPACE, Plugin, Protocol};

use super::discovered::Discovered;
use super::dump_fields::{
    HARMLESS_FILTERS, children, find_wasm, http_kind, items, message, plugin, text,
};
use super::finding::Finding;
use crate::manifest::problem::messages::envoy as messages;

/// A Weir filter in a chain of a listener.
#[derive(Debug)]
pub struct Chain {
    /// The place of the chain in findings: `listener NAME`.
    at: BTreeSet<String>,
    plugin: Plugin,
    protocol: Protocol,
    failure: Failure,
    peers: Peers,
    /// The settings for path normalization that the HTTP connection manager lacks; empty in a TCP chain.
    missing: Vec<Normalization>,
    /// What prevents the filter from choosing the cluster of a connection. Empty for HTTP.
    connection: Vec<ConnectionProblem>,
    /// Names of the filters before the Weir filter that may change or answer requests.
    before: Vec<String>,
}

#[derive(Debug)]
enum ConnectionProblem {
    /// Neither the plugin configuration nor the listener gives the destination of a connection.
    NoDestination,
    /// No TCP proxy comes after the filter.
    NoProxy,
    /// The filter with this name writes the cluster after the Weir filter.
    ClusterOverwritten(String),
}

/// What Envoy does after a trap of the filter.
#[derive(Debug)]
enum Failure {
    Reload,
    /// Envoy goes on without the filter.
    Open,
    /// The worker fails all requests and connections until Envoy restarts.
    Closed,
}

/// How the chain verifies its clients.
#[derive(Debug, PartialEq, Eq)]
enum Peers {
    Verified,
    NoTls,
    /// Envoy accepts any certificate.
    Untrusted,
    NoAuthority,
    /// A client can complete the handshake without a certificate.
    Optional,
}

#[derive(Debug)]
enum Normalization {
    Path,
    Slashes,
    EscapedSlashes,
}

impl Chain {
    /// Returns the chains of one listener that have a Weir filter.
    pub fn read(listener: &Value, discovered: &Discovered<'_>) -> Vec<Chain> {
        let at = format!("listener {}", text(listener, "name"));
        let chains = items(listener, "filter_chains");
        let chains = chains.chain(listener.get("default_filter_chain"));
        let mut weir_chains = Vec::new();
        for chain in chains {
            for (place, filter) in items(chain, "filters").enumerate() {
                let within = discovered.resolve(filter);
                match within.pointer("/typed_config/http_filters") {
                    Some(_) => {
                        let manager = within.get("typed_config").unwrap_or(&Value::Null);
                        weir_chains.extend(Chain::in_manager(&at, chain, manager, discovered));
                    }
                    None => {
                        let found = Chain::new(&at, chain, within, discovered);
                        let later = items(chain, "filters").skip(place.saturating_add(1));
                        weir_chains.extend(found.map(|it| Chain {
                            connection: ConnectionProblem::read(&it.plugin, listener, later),
                            ..it
                        }));
                    }
                }
            }
        }
        weir_chains
    }

    fn in_manager(
        at: &str,
        chain: &Value,
        manager: &Value,
        discovered: &Discovered<'_>,
    ) -> Option<Chain> {
        let mut before = Vec::new();
        for filter in items(manager, "http_filters") {
            let within = discovered.resolve(filter);
            if let Some(found) = Chain::new(at, chain, within, discovered) {
                let missing = missing(manager);
                return Some(Chain {
                    before,
                    missing,
                    ..found
                });
            }
            if !is_harmless(within) {
                before.push(text(filter, "name"));
            }
        }
        None
    }

    /// Returns the chain of a Weir filter; None if `filter` is not a Weir filter.
    fn new(at: &str, chain: &Value, filter: &Value, discovered: &Discovered<'_>) -> Option<Chain> {
        let (wasm, protocol) = find_wasm(filter)?;
        let (plugin, _) = plugin(wasm.pointer("/config/configuration")?)?;
        let config = wasm.get("config").unwrap_or(&Value::Null);
        Some(Chain {
            at: [at.to_owned()].into(),
            plugin,
            protocol,
            failure: Failure::of(config),
            peers: Peers::of(chain, discovered),
            missing: Vec::new(),
            connection: Vec::new(),
            before: Vec::new(),
        })
    }

    /// Adds a finding for each setting that the chain lacks.
    pub fn find(&self, findings: &mut BTreeSet<Finding>) {
        let is_inbound = self.plugin.direction == Direction::Inbound;
        let mut add = |message| {
            findings.insert(Finding::at(&self.at, message));
        };
        match (&self.failure, is_inbound, self.protocol) {
            (Failure::Reload, _, _) => {}
            (Failure::Open, true, _) => add(messages::inbound_fails_open()),
            (Failure::Open, false, _) => add(messages::outbound_fails_open()),
            (Failure::Closed, _, Protocol::Http) => add(messages::requests_fail_closed()),
            (Failure::Closed, _, Protocol::Tcp) => add(messages::connections_fail_closed()),
        }
        if is_inbound {
            match self.peers {
                Peers::Verified => {}
                Peers::NoTls => add(messages::inbound_without_tls()),
                Peers::Untrusted => add(messages::inbound_untrusted()),
                Peers::NoAuthority => add(messages::inbound_without_authority()),
                Peers::Optional => add(messages::inbound_certificate_optional()),
            }
            if !self.before.is_empty() {
                add(messages::inbound_not_first(self.before.join(", ")));
            }
        }
        for problem in &self.connection {
            match problem {
                ConnectionProblem::NoDestination => add(messages::connections_without_root()),
                ConnectionProblem::NoProxy => add(messages::no_tcp_proxy()),
                ConnectionProblem::ClusterOverwritten(filter) => {
                    add(messages::tcp_cluster_overwritten(filter));
                }
            }
        }
        if self.protocol == Protocol::Http && !self.missing.is_empty() {
            let lines = |slashes| {
                let lines = self.missing.iter().map(|missing| match missing {
                    Normalization::Path => "normalize_path: true".to_owned(),
                    Normalization::Slashes => "merge_slashes: true".to_owned(),
                    Normalization::EscapedSlashes => {
                        format!("path_with_escaped_slashes_action: {slashes}")
                    }
                });
                lines.collect::<Vec<_>>().join(", ")
            };
            if is_inbound {
                add(messages::inbound_paths_not_normalized(lines(
                    "REJECT_REQUEST",
                )));
            } else if is_edge(&self.plugin) {
                add(messages::edge_paths_not_normalized(lines(
                    "UNESCAPE_AND_REDIRECT",
                )));
            }
        }
    }
}

impl ConnectionProblem {
    /// Returns the problems of an outbound filter for TCP. `later` are the network filters after it.
    fn read<'v>(
        plugin: &Plugin,
        listener: &Value,
        later: impl Iterator<Item = &'v Value>,
    ) -> Vec<ConnectionProblem> {
        if (plugin.direction, plugin.protocol) != (Direction::Outbound, Protocol::Tcp) {
            return Vec::new();
        }
        let mut problems = Vec::new();
        let has_destination = plugin.site.root.is_some()
            || plugin.scope.starts_with("gateway=")
            || plugin.site.listeners.one().is_some()
            || is_true(listener, "use_original_dst")
            || is_true(listener, "transparent")
            || items(listener, "listener_filters")
                .any(|it| it.to_string().contains("original_dst"));
        if !has_destination {
            problems.push(ConnectionProblem::NoDestination);
        }
        let mut has_proxy = false;
        for filter in later {
            let config = filter.get("typed_config").unwrap_or(&Value::Null);
            has_proxy |= message(config) == "TcpProxy";
            let mut writes = items(config, "on_new_connection");
            if writes.any(|it| text(it, "object_key") == "envoy.tcp_proxy.cluster") {
                let name = text(filter, "name");
                problems.push(ConnectionProblem::ClusterOverwritten(name));
            }
        }
        if !has_proxy {
            problems.push(ConnectionProblem::NoProxy);
        }
        problems
    }
}

impl Failure {
    /// Reads a PluginConfig.
    fn of(config: &Value) -> Failure {
        match text(config, "failure_policy").as_str() {
            _ if is_true(config, "fail_open") => Failure::Open,
            "FAIL_OPEN" => Failure::Open,
            "FAIL_RELOAD" => Failure::Reload,
            _ => Failure::Closed,
        }
    }
}

impl Peers {
    fn of(chain: &Value, discovered: &Discovered<'_>) -> Peers {
        let socket = chain.get("transport_socket").unwrap_or(&Value::Null);
        let Some(context) = with_key(socket, "common_tls_context") else {
            return Peers::NoTls;
        };
        let common = context.get("common_tls_context").unwrap_or(&Value::Null);
        let combined = common.get("combined_validation_context");
        let own = common
            .get("validation_context")
            .or_else(|| combined?.get("default_validation_context"));
        let secret = combined
            .unwrap_or(common)
            .get("validation_context_sds_secret_config");
        let of_secret = secret.and_then(|secret| discovered.contexts.get(&text(secret, "name")));
        // A secret that is not in the dump has not arrived yet, so its content is unknown.
        let is_awaited = secret.is_some() && of_secret.is_none();
        let parts: Vec<&Value> = own.into_iter().chain(of_secret.copied()).collect();
        let has = |key: &str| parts.iter().any(|part| part.get(key).is_some());
        let is_untrusted =
            |part: &&Value| text(part, "trust_chain_verification") == "ACCEPT_UNTRUSTED";
        if parts.iter().any(is_untrusted) {
            return Peers::Untrusted;
        }
        // A custom validator, such as the SPIFFE validator, has certificate authorities of its own.
        if !is_awaited
            && !has("trusted_ca")
            && !has("system_root_certs")
            && !has("custom_validator_config")
        {
            return Peers::NoAuthority;
        }
        if is_true(context, "require_client_certificate") {
            Peers::Verified
        } else {
            Peers::Optional
        }
    }
}

/// True if the clients of this filter are outside of the mesh.
fn is_edge(plugin: &Plugin) -> bool {
    match plugin.scope.split_once('=') {
        Some(("gateway", _)) => true,
        Some(("namespace", namespace)) => namespace == EVERY_NAMESPACE,
        _ => false,
    }
}

fn missing(manager: &Value) -> Vec<Normalization> {
    let slashes = text(manager, "path_with_escaped_slashes_action");
    let mut missing = Vec::new();
    if !is_true(manager, "normalize_path") {
        missing.push(Normalization::Path);
    }
    if !is_true(manager, "merge_slashes") {
        missing.push(Normalization::Slashes);
    }
    // KEEP_UNCHANGED is a decision of the operator. A missing line may be a mistake.
    if slashes.is_empty() || slashes == "IMPLEMENTATION_SPECIFIC_DEFAULT" {
        missing.push(Normalization::EscapedSlashes);
    }
    missing
}

fn is_harmless(filter: &Value) -> bool {
    let kind = filter.get("typed_config").and_then(http_kind);
    kind.is_some_and(|kind| HARMLESS_FILTERS.contains(&kind))
}

/// Returns the first object in `within` that has this field.
fn with_key<'v>(within: &'v Value, key: &str) -> Option<&'v Value> {
    match within.get(key) {
        Some(_) => Some(within),
        None => children(within).find_map(|child| with_key(child, key)),
    }
}

fn is_true(value: &Value, key: &str) -> bool {
    value.get(key) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests;
