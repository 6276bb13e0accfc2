//! Reads the parts of Envoy's `/config_dump` (envoy.admin.v3.ConfigDump in JSON) that Weir needs, and ignores all other
//! parts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_split::{EVERY_NAMESPACE, Plugin, PluginError, Protocol, module};

use super::chains::Chain;
use super::cluster_settings::ClusterSettings;
use super::discovered::Discovered;
use super::dump_fields::{children, items, message, plugin, refused_plugin, resources, text, wasm};
use super::manager::{Manager, RouteIndex};
use super::runtime_switch::{self, RuntimeValues};
use super::statistics::Statistics;
use super::stream_names::FILTERS_HEADER;
use super::warming::Warming;
use crate::plan::Scope;

/// The clusters, Weir filters and routes of one Envoy.
#[derive(Debug)]
pub struct EnvoyDump {
    /// Names of all clusters, static and dynamic.
    pub clusters: BTreeSet<String>,
    /// The Weir filters. Filters with the same configuration have one entry.
    pub filters: Vec<Filter>,
    /// The Weir filters from ECDS that refuse their plugin configuration: the place, and the reason.
    pub(super) refused: Vec<(String, PluginError)>,
    pub(super) warming: Warming,
    pub(super) managers: Vec<Manager>,
    /// The settings of the clusters by name.
    pub(super) cluster_settings: BTreeMap<String, ClusterSettings>,
    pub(super) chains: Vec<Chain>,
    /// True if Envoy has a `stats_matcher`, which may exclude the statistics of Weir.
    pub(super) has_stats_matcher: bool,
    /// True if a runtime key can be changed while Envoy runs.
    pub(super) is_runtime_changeable: bool,
    /// The cluster of the stream by which `weir serve` sends clusters; None if Envoy has no such stream.
    pub(super) stream_cluster: Option<String>,
    /// Empty until [`EnvoyDump::read_runtime`].
    pub(super) runtime: RuntimeValues,
    /// Empty until [`EnvoyDump::read_stats`].
    pub(super) statistics: Statistics,
}

/// A Weir filter with its configuration.
#[derive(Debug)]
pub struct Filter {
    /// The places of the filter: `listener NAME`, or `extension NAME` for a filter from ECDS.
    pub at: BTreeSet<String>,
    /// The ports of the listeners in `at`, if the dump has them.
    pub sockets: BTreeSet<u16>,
    pub plugin: Plugin,
    /// The protocol of the filter chain.
    pub chain: Protocol,
    /// The module at each place.
    modules: BTreeSet<Module>,
}

/// The module that a filter has loaded.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Module {
    /// The place of the filter, as in [`Filter::at`].
    at: String,
    /// The name of a gauge. Its value is 1 if the module edits no responses.
    gauge: String,
    /// The local file of the module; empty if Envoy did not load the module from a local file.
    file: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a configuration of Envoy: {0}")]
pub struct NotADump(&'static str);

impl EnvoyDump {
    /// Reads the JSON of `/config_dump`.
    pub fn read(dump: &Value) -> Result<EnvoyDump, NotADump> {
        let configs = dump.get("configs").and_then(Value::as_array);
        let configs = configs.ok_or(NotADump("the field configs is missing"))?;
        let mut parsed = EnvoyDump {
            clusters: BTreeSet::new(),
            filters: Vec::new(),
            refused: Vec::new(),
            warming: Warming::default(),
            managers: Vec::new(),
            cluster_settings: BTreeMap::new(),
            chains: Vec::new(),
            has_stats_matcher: false,
            is_runtime_changeable: true,
            stream_cluster: None,
            runtime: RuntimeValues::new(),
            statistics: Statistics::default(),
        };
        let discovered = discovered(configs);
        let routes = RouteIndex::read(configs);
        let mut has_clusters = false;
        for config in configs {
            match message(config) {
                "ClustersConfigDump" => {
                    has_clusters = true;
                    for cluster in resources(config, "cluster") {
                        let name = text(cluster, "name");
                        let settings = ClusterSettings::read(cluster, &discovered);
                        parsed.cluster_settings.insert(name.clone(), settings);
                        parsed.clusters.insert(name);
                    }
                    parsed.warming.add_clusters(config);
                }
                "ListenersConfigDump" => {
                    for listener in resources(config, "listener") {
                        let at = format!("listener {}", text(listener, "name"));
                        parsed.add_filters(&at, &sockets(listener), listener);
                        parsed.chains.extend(Chain::read(listener, &discovered));
                        let managers = Manager::of_listener(listener, &discovered, &routes);
                        let sockets = sockets(listener);
                        parsed
                            .managers
                            .extend(managers.into_iter().map(|it| Manager {
                                sockets: sockets.clone(),
                                ..it
                            }));
                    }
                    parsed.warming.add_listeners(config, &discovered);
                }
                "EcdsConfigDump" => {
                    for filter in resources(config, "ecds_filter") {
                        let at = format!("extension {}", text(filter, "name"));
                        parsed.add_filters(&at, &BTreeSet::new(), filter);
                        let refused = refused_plugin(filter);
                        parsed.refused.extend(refused.map(|error| (at, error)));
                    }
                }
                "BootstrapConfigDump" => {
                    let bootstrap = config.get("bootstrap").unwrap_or(&Value::Null);
                    let matcher = bootstrap.pointer("/stats_config/stats_matcher");
                    parsed.has_stats_matcher = matcher.is_some();
                    parsed.stream_cluster = stream_cluster(bootstrap);
                    parsed.is_runtime_changeable = runtime_switch::is_changeable(bootstrap);
                }
                _ => {}
            }
        }
        drop(routes);
        Manager::name_listeners(&mut parsed.managers);
        if !has_clusters {
            return Err(NotADump("the part ClustersConfigDump is missing"));
        }
        Ok(parsed)
    }

    /// Reads the text of `/stats`. A later call replaces the values of an earlier call.
    pub fn read_stats(&mut self, stats: &str) {
        self.statistics.read(stats);
    }

    /// Reads the JSON of `/runtime`.
    pub fn read_runtime(&mut self, runtime: &Value) {
        self.runtime = runtime_switch::read_values(runtime);
    }

    /// Returns the places where this filter edits no responses. If the statistics do not have the gauge of the module,
    /// the name of its file decides.
    pub fn lean_at(&self, filter: &Filter) -> BTreeSet<String> {
        let is_lean = |it: &&Module| match self.statistics.wasm(&it.gauge) {
            Some(value) => value == 1,
            None => it.file.ends_with("weir-lean.wasm"),
        };
        let lean = filter.modules.iter().filter(is_lean);
        lean.map(|it| it.at.clone()).collect()
    }

    /// Returns the places of this filter where Envoy does not run it. Each plugin configuration has a gauge while its
    /// filter runs.
    pub(super) fn refused_at(&self, filter: &Filter) -> BTreeSet<String> {
        let modules = filter.modules.iter();
        let refused = modules.filter(|it| self.statistics.lack(&it.gauge));
        refused.map(|it| it.at.clone()).collect()
    }

    /// Adds the filters in `within`. A filter may be inside another extension, such as a matcher or a composite filter.
    fn add_filters(&mut self, at: &str, sockets: &BTreeSet<u16>, within: &Value) {
        if let Some((wasm, chain)) = wasm(within) {
            let plugin = wasm.pointer("/config/configuration").and_then(plugin);
            if let Some((plugin, text)) = plugin {
                let file = wasm.pointer("/config/vm_config/code/local");
                let module = Module {
                    at: at.to_owned(),
                    gauge: module::gauge(&text),
                    file: file
                        .map(|it| self::text(it, "filename"))
                        .unwrap_or_default(),
                };
                let mut filters = self.filters.iter_mut();
                match filters.find(|it| (&it.plugin, it.chain) == (&plugin, chain)) {
                    Some(filter) => {
                        filter.at.insert(at.to_owned());
                        filter.modules.insert(module);
                        filter.sockets.extend(sockets);
                    }
                    None => self.filters.push(Filter {
                        at: [at.to_owned()].into(),
                        sockets: sockets.clone(),
                        plugin,
                        chain,
                        modules: [module].into(),
                    }),
                }
            }
            return;
        }
        for child in children(within) {
            self.add_filters(at, sockets, child);
        }
    }
}

impl Filter {
    /// Returns the scope for which the filter polls the control plane.
    pub fn scope(&self) -> Scope {
        match self.plugin.scope.split_once('=') {
            Some(("namespace", EVERY_NAMESPACE)) => Scope::Edge,
            Some(("namespace", namespace)) => Scope::Namespace(namespace.to_owned()),
            Some(("gateway", gateway)) => {
                let (namespace, name) = gateway.split_once('/').unwrap_or_default();
                Scope::Gateway {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }
            }
            _ => Scope::Producers,
        }
    }
}

/// Returns the filters from ECDS and the validation contexts of secrets in the dump.
fn discovered(configs: &[Value]) -> Discovered<'_> {
    let of = |kind: &str, resource: &str| {
        let dumps = configs.iter().filter(|it| message(it) == kind);
        dumps
            .flat_map(|dump| resources(dump, resource))
            .collect::<Vec<_>>()
    };
    let secrets = of("SecretsConfigDump", "secret").into_iter();
    let context = |secret| {
        Some((
            text(secret, "name"),
            Value::get(secret, "validation_context")?,
        ))
    };
    Discovered {
        filters: of("EcdsConfigDump", "ecds_filter")
            .into_iter()
            .map(|it| (text(it, "name"), it))
            .collect(),
        contexts: secrets.filter_map(context).collect(),
    }
}

/// Returns the ports of a listener of Envoy, without port 0. Port 0 means that Envoy chooses a free port, and the dump
/// does not contain the chosen port.
fn sockets(listener: &Value) -> BTreeSet<u16> {
    let additional = items(listener, "additional_addresses");
    let addresses = [listener].into_iter().chain(additional);
    let port = |holder: &Value| {
        let port = holder.pointer("/address/socket_address/port_value")?;
        u16::try_from(port.as_u64()?).ok().filter(|port| *port > 0)
    };
    addresses.filter_map(port).collect()
}

/// Returns the cluster of the stream to `weir serve`. `bootstrap` is the bootstrap of the dump.
fn stream_cluster(bootstrap: &Value) -> Option<String> {
    let ads = bootstrap.pointer("/dynamic_resources/ads_config")?;
    let is_ours = |service: &&Value| {
        let mut metadata = items(service, "initial_metadata");
        metadata.any(|it| text(it, "key") == FILTERS_HEADER)
    };
    let mut services = items(ads, "grpc_services");
    let service = services.find(is_ours)?.get("envoy_grpc")?;
    Some(text(service, "cluster_name"))
}
