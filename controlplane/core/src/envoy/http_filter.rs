//! Reads a filter of an HTTP connection manager (HttpFilter), and the settings of filters on routes.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_split::{Direction, Plugin, Protocol};

use super::discovered::Discovered;
use super::dump_fields::{
    HARMLESS_FILTERS, children, find_wasm, http_kind, items, plugin, refused_plugin, text,
};
use super::header_mutations::HeaderMutations;
use super::matcher_outcome::{self, KnownRequest};
use super::runtime_switch::RuntimeSwitch;
use super::upstream_filters::UpstreamFilters;

#[derive(Debug)]
pub struct HttpFilter {
    pub name: String,
    /// The package of the filter's type, such as `header_mutation`; empty if the type is unknown.
    kind: String,
    /// True if the filter runs only for routes that enable it.
    is_disabled: bool,
    /// True if this is a Weir filter that refuses its plugin configuration.
    pub is_refused: bool,
    /// True if the filter is to come by ECDS, and has not arrived. Its type may be Wasm.
    pub is_awaited: bool,
    /// True if the filter has a default configuration until it arrives by ECDS.
    pub has_default: bool,
    /// True if the filter is inside a matcher, which may skip it.
    pub is_conditional: bool,
    /// The runtime keys that the matcher around the filter reads.
    pub switches: Vec<RuntimeSwitch>,
    /// The matcher around the filter.
    matcher: Option<Value>,
    /// The plugin configuration, for a Weir filter.
    pub plugin: Option<Plugin>,
    /// The filters between this filter and the backends, if this filter is a router.
    pub upstream: UpstreamFilters,
    config: Value,
}

const UPSTREAM_FILTERS: &str = "upstream_http_filters";

/// The configurations of filters on a route, by the name of the filter. The order is: route, virtual host, route
/// configuration.
pub type FilterSettings = BTreeMap<String, Vec<Value>>;

impl HttpFilter {
    pub fn read(filter: &Value, discovered: &Discovered<'_>) -> HttpFilter {
        let within = discovered.resolve(filter);
        let outer = within.get("typed_config").unwrap_or(&Value::Null);
        let inner = outer.pointer("/extension_config/typed_config");
        let config = inner.unwrap_or(outer);
        let wasm = find_wasm(within).filter(|(_, protocol)| *protocol == Protocol::Http);
        let plugin = wasm.and_then(|(wasm, _)| plugin(wasm.pointer("/config/configuration")?));
        let matcher = outer.get("xds_matcher").or_else(|| outer.get("matcher"));
        let discovery = within.get("config_discovery");
        let has_wasm = |types: &Value| types.to_string().contains(".wasm.v3.Wasm");
        HttpFilter {
            name: text(filter, "name"),
            kind: http_kind(config).unwrap_or_default().to_owned(),
            is_disabled: filter.get("disabled") == Some(&Value::Bool(true)),
            is_refused: refused_plugin(within).is_some(),
            is_awaited: discovery.is_some_and(|it| it.get("type_urls").is_some_and(has_wasm)),
            has_default: discovery.is_some_and(|it| it.get("default_config").is_some()),
            is_conditional: inner.is_some(),
            switches: matcher.map(switches).unwrap_or_default(),
            matcher: matcher.cloned(),
            plugin: plugin.map(|(plugin, _)| plugin),
            upstream: UpstreamFilters::read(config, UPSTREAM_FILTERS, discovered),
            config: config.clone(),
        }
    }

    /// Returns the plugin configuration, if this is a Weir filter that splits requests.
    pub fn splitter(&self) -> Option<&Plugin> {
        let plugin = self.plugin.as_ref()?;
        let splits = (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http);
        splits.then_some(plugin)
    }

    /// True if the filter runs for requests of a route with these settings. Envoy decides this once for each request,
    /// before any filter runs.
    pub fn is_enabled(&self, settings: &FilterSettings) -> bool {
        match settings.get(&self.name).and_then(|levels| levels.first()) {
            Some(setting) => setting.get("disabled") != Some(&Value::Bool(true)),
            None => !self.is_disabled,
        }
    }

    /// True if the matcher around the filter may let the filter run for a request of a route with these settings.
    pub fn may_run(&self, settings: &FilterSettings, request: KnownRequest<'_>) -> bool {
        let levels = settings.get(&self.name).into_iter().flatten();
        let of_route = levels.filter_map(|it| it.get("xds_matcher")).next();
        let is_composite = self.kind == "composite";
        let matcher = of_route.or(self.matcher.as_ref());
        matcher.is_none_or(|it| matcher_outcome::may_run(it, is_composite, request))
    }

    /// Returns the request headers that the filter removes and writes for a route with these settings.
    pub fn mutations(&self, settings: &FilterSettings) -> HeaderMutations {
        let overrides = settings.get(&self.name).into_iter().flatten();
        HeaderMutations::of_filter(&self.kind, &self.config, overrides)
    }

    /// Returns paths that this filter answers itself, if it is a health_check filter.
    pub fn answered_paths(&self) -> Vec<String> {
        let passes = self.config.get("pass_through_mode") != Some(&Value::Bool(false));
        if self.kind != "health_check" || passes {
            return Vec::new();
        }
        let conditions = items(&self.config, "headers");
        let paths = conditions.filter(|it| text(it, "name") == ":path");
        let paths = paths.filter_map(|it| {
            let texts = [
                "/string_match/exact",
                "/string_match/prefix",
                "/exact_match",
            ];
            texts.iter().find_map(|text| it.pointer(text)?.as_str())
        });
        paths.map(str::to_owned).collect()
    }

    pub fn is_router(&self) -> bool {
        self.kind == "router"
    }

    /// Returns the request headers that filters between the router and the backend remove and write.
    pub fn upstream_mutations(&self) -> Vec<HeaderMutations> {
        items(&self.config, UPSTREAM_FILTERS)
            .filter_map(|filter| {
                let config = filter.get("typed_config")?;
                let overrides = std::iter::empty();
                Some(HeaderMutations::of_filter(
                    http_kind(config)?,
                    config,
                    overrides,
                ))
            })
            .collect()
    }
}

/// Returns the index of the first filter that runs when the route can no longer change: Envoy has chosen the route for an
/// earlier filter of the list, and no filter makes Envoy choose again. Returns None if there is no such filter.
pub fn first_with_fixed_route(filters: &[HttpFilter], settings: &FilterSettings) -> Option<usize> {
    let chooses = |it: &HttpFilter| it.kind == "cors" && it.is_enabled(settings);
    let keeps = |it: &HttpFilter| {
        ["header_mutation", "router"].contains(&it.kind.as_str())
            || HARMLESS_FILTERS.contains(&it.kind.as_str())
            || !it.is_enabled(settings)
    };
    let is_fixed =
        |it: &HttpFilter| keeps(it) && !it.config.to_string().contains("clear_route_cache");
    let first = filters.iter().position(chooses)?;
    let after = filters.get(first..)?;
    after.iter().all(is_fixed).then(|| first.saturating_add(1))
}

fn switches(matcher: &Value) -> Vec<RuntimeSwitch> {
    match RuntimeSwitch::read(matcher) {
        Some(switch) => vec![switch],
        None => children(matcher).flat_map(switches).collect(),
    }
}
