//! Reads an HTTP connection manager of a listener: its filters and its routes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

use super::discovered::Discovered;
use super::dump_fields::{items, message, resources, text};
use super::header_mutations::HeaderMutations;
use super::http_filter::HttpFilter;
use super::route_configuration::RouteConfiguration;

#[derive(Debug)]
pub struct Manager {
    /// The place in findings: `listener NAME`.
    pub at: String,
    /// The ports of the listener, if the dump has them.
    pub sockets: BTreeSet<u16>,
    /// The filters of requests, in their order.
    pub filters: Vec<HttpFilter>,
    /// The upgrades (`websocket`) with a list of filters of their own.
    pub upgrades: Vec<(String, Vec<HttpFilter>)>,
    /// The changes of request headers before any filter and before the choice of a route.
    pub early: HeaderMutations,
    /// More than one if the routes are scoped. Empty if no route configuration has arrived.
    pub routes: Vec<Rc<RouteConfiguration>>,
    /// True if Envoy removes the port from the Host header.
    pub strips_port: bool,
}

/// The route configurations of a dump by name, and the names in each list of scopes.
#[derive(Debug, Default)]
pub struct RouteIndex {
    by_name: BTreeMap<String, Rc<RouteConfiguration>>,
    scopes: BTreeMap<String, Vec<Rc<RouteConfiguration>>>,
}

impl RouteIndex {
    /// Reads the dumps of routes and of scoped routes.
    pub fn read(configs: &[Value]) -> RouteIndex {
        let mut routes = RouteIndex::default();
        let of = |kind: &'static str| configs.iter().filter(move |it| message(it) == kind);
        for dump in of("RoutesConfigDump") {
            for configuration in resources(dump, "route_config") {
                let read = Rc::new(RouteConfiguration::read(configuration));
                routes.by_name.insert(read.name.clone(), read);
            }
        }
        for dump in of("ScopedRoutesConfigDump") {
            for list in [
                "inline_scoped_route_configs",
                "dynamic_scoped_route_configs",
            ] {
                for scopes in items(dump, list) {
                    let of_list = items(scopes, "scoped_route_configs");
                    let found = of_list.filter_map(|scope| routes.of_scope(scope)).collect();
                    routes.scopes.insert(text(scopes, "name"), found);
                }
            }
        }
        routes
    }

    fn of_scope(&self, scope: &Value) -> Option<Rc<RouteConfiguration>> {
        match scope.get("route_configuration") {
            Some(inline) => Some(Rc::new(RouteConfiguration::read(inline))),
            None => self
                .by_name
                .get(&text(scope, "route_configuration_name"))
                .cloned(),
        }
    }

    fn of_manager(&self, manager: &Value) -> Vec<Rc<RouteConfiguration>> {
        if let Some(inline) = manager.get("route_config") {
            return vec![Rc::new(RouteConfiguration::read(inline))];
        }
        if let Some(rds) = manager.get("rds") {
            let found = self.by_name.get(&text(rds, "route_config_name"));
            return found.cloned().into_iter().collect();
        }
        let Some(scoped) = manager.get("scoped_routes") else {
            return Vec::new();
        };
        if let Some(of_dump) = self.scopes.get(&text(scoped, "name")) {
            return of_dump.clone();
        }
        let list = scoped.get("scoped_route_configurations_list");
        let scopes = items(list.unwrap_or(&Value::Null), "scoped_route_configurations");
        scopes.filter_map(|scope| self.of_scope(scope)).collect()
    }
}

impl Manager {
    /// Returns the connection managers of one listener.
    pub fn of_listener(
        listener: &Value,
        discovered: &Discovered<'_>,
        routes: &RouteIndex,
    ) -> Vec<Manager> {
        let at = format!("listener {}", text(listener, "name"));
        let chains = items(listener, "filter_chains");
        let chains = chains.chain(listener.get("default_filter_chain"));
        let filters = chains.flat_map(|chain| items(chain, "filters"));
        let configs = filters.filter_map(|it| discovered.resolve(it).get("typed_config"));
        let managers = configs.filter(|it| it.get("http_filters").is_some());
        managers
            .map(|manager| Manager::read(&at, manager, discovered, routes))
            .collect()
    }

    fn read(
        at: &str,
        manager: &Value,
        discovered: &Discovered<'_>,
        routes: &RouteIndex,
    ) -> Manager {
        let filters = |holder, key| -> Vec<HttpFilter> {
            let filters = items(holder, key);
            filters.map(|it| HttpFilter::read(it, discovered)).collect()
        };
        let upgrades = items(manager, "upgrade_configs")
            .filter(|it| it.get("enabled") != Some(&Value::Bool(false)))
            .map(|upgrade| (text(upgrade, "upgrade_type"), filters(upgrade, "filters")))
            // An upgrade without its own filters uses the filters of the connection manager.
            .filter(|(_, filters)| !filters.is_empty());
        let mut early = HeaderMutations::default();
        for extension in items(manager, "early_header_mutation_extensions") {
            early.add_list(extension.pointer("/typed_config/mutations"));
        }
        Manager {
            at: at.to_owned(),
            sockets: BTreeSet::new(),
            filters: filters(manager, "http_filters"),
            upgrades: upgrades.collect(),
            early,
            routes: routes.of_manager(manager),
            strips_port: ["strip_any_host_port", "strip_matching_host_port"]
                .iter()
                .any(|key| manager.get(key) == Some(&Value::Bool(true))),
        }
    }

    /// If a route configuration has no name, or several have the same name, adds the listener to the place of findings.
    pub fn name_listeners(managers: &mut [Manager]) {
        let mut places: BTreeMap<String, BTreeSet<*const RouteConfiguration>> = BTreeMap::new();
        for routes in managers.iter().flat_map(|it| &it.routes) {
            let same = places.entry(routes.name.clone()).or_default();
            same.insert(Rc::as_ptr(routes));
        }
        for Manager { at, routes, .. } in managers {
            // A route configuration that several listeners share has no listener of its own.
            for routes in routes.iter_mut().filter_map(Rc::get_mut) {
                let same = places.get(&routes.name).map_or(0, BTreeSet::len);
                if routes.name.is_empty() || same > 1 {
                    routes.name_listener(at);
                }
            }
        }
    }
}
