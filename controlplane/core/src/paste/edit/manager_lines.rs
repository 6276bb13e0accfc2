//! The lines in an HTTP connection manager: the early mutation, the filter, and the filter after the router.

use super::listener_lines::path_of;
use super::{Editor, without_comments};
use crate::envoy::UPSTREAM_FILTER;
use crate::manifest::problem::messages::bootstrap as messages;
use crate::paste::fragments::{self, FILTER, ROUTING_HEADER};
use crate::paste::yaml_tree::{YamlItem, YamlNode};
use weir_split::MIRROR_HEADERS;

impl Editor<'_> {
    pub(super) fn manager(&mut self, place: &str, manager: &YamlNode) {
        self.early_mutation(place, manager);
        match manager.get("http_filters") {
            Some(filters) => self.filters(place, filters, "http_filters"),
            None => self.remark(
                manager.start,
                place,
                messages::router_not_found("http_filters"),
            ),
        }
        let upgrades = manager.get("upgrade_configs").map(|it| it.items());
        for upgrade in upgrades.unwrap_or_default() {
            if let Some(filters) = upgrade.value.get("filters") {
                self.filters(place, filters, "upgrade_configs.filters");
            }
        }
        self.routes(place, manager);
    }

    fn early_mutation(&mut self, place: &str, manager: &YamlNode) {
        const FIELD: &str = "early_header_mutation_extensions";
        let given = manager.get(FIELD);
        let mut headers = [ROUTING_HEADER].into_iter().chain(MIRROR_HEADERS);
        let is_complete = given.is_some_and(|it| {
            headers.all(|header| it.any_text(&|text| text.eq_ignore_ascii_case(header)))
        });
        if is_complete {
            return;
        }
        let item = fragments::early_mutation();
        let done = match given {
            Some(list) => self.draft.add_item(list, list.items().len(), &item),
            None => {
                let entry = format!("{FIELD}:\n{item}");
                self.draft.add_entry(manager, Some("http_filters"), &entry)
            }
        };
        self.check(done, manager, place, FIELD);
    }

    /// Adds the filter to a list of filters, and the filter for requests to backends to its router.
    fn filters(&mut self, place: &str, filters: &YamlNode, field: &str) {
        let is_router = |it: &YamlItem| {
            let kind = it.value.at(&["typed_config", "@type"]);
            let kind = kind.and_then(YamlNode::text).unwrap_or_default();
            kind.ends_with(".router.v3.Router")
        };
        let Some(index) = filters.items().iter().position(is_router) else {
            self.remark(filters.start, place, messages::router_not_found(field));
            return;
        };
        match filters.items().iter().find(|it| is_weir(&it.value)) {
            Some(given) => {
                let is_discovered = given.value.get("config_discovery").is_some();
                let waits = given.value.any_text(&|it| it.contains("clusters_from"));
                if !is_discovered && !waits {
                    self.remark(given.start, place, messages::filter_without_clusters());
                }
            }
            None => {
                let item = without_comments(&fragments::filter(self.options));
                let done = self.draft.add_item(filters, index, &item);
                self.check(done, filters, place, field);
            }
        }
        if let Some(router) = filters.items().get(index) {
            self.upstream_filter(place, router);
        }
    }

    fn upstream_filter(&mut self, place: &str, router: &YamlItem) {
        const FIELD: &str = "upstream_http_filters";
        let Some(config) = router.value.entry("typed_config") else {
            return;
        };
        let is_ours = |it: &YamlItem| {
            let root = it.value.any_text(&|text| text == "root_id");
            root || it.value.text_of("name") == UPSTREAM_FILTER
        };
        let item = without_comments(&fragments::upstream_filter(self.options));
        let done = match config.value.get(FIELD) {
            Some(list) if list.items().iter().any(is_ours) => return,
            Some(list) => self.draft.add_item(list, 0, &item),
            None => {
                let items = item + &fragments::upstream_codec();
                let path = ["typed_config", FIELD];
                self.draft.add_list(router, path, &items)
            }
        };
        self.check(done, &router.value, place, FIELD);
    }

    fn routes(&mut self, place: &str, manager: &YamlNode) {
        if let Some(configuration) = manager.get("route_config") {
            self.route_configuration(configuration);
        }
        if let Some(rds) = manager.get("rds") {
            let source = rds.get("config_source");
            let message = match source.and_then(|it| path_of(it)) {
                Some(path) => messages::routes_in_file(path),
                None => messages::routes_from_server(),
            };
            self.remark(rds.start, place, message);
        }
        let Some(scoped) = manager.get("scoped_routes") else {
            return;
        };
        let inline = scoped.at(&[
            "scoped_route_configurations_list",
            "scoped_route_configurations",
        ]);
        let inline = inline.map(YamlNode::items).unwrap_or_default().iter();
        let inline = inline.filter_map(|it| it.value.get("route_configuration"));
        let inline: Vec<_> = inline.cloned().collect();
        if inline.is_empty() {
            self.remark(scoped.start, place, messages::routes_from_server());
        }
        for configuration in inline {
            self.route_configuration(&configuration);
        }
    }

    pub(super) fn route_configuration(&mut self, configuration: &YamlNode) {
        self.managers += 1;
        let place = format!("route configuration {}", configuration.text_of("name"));
        self.removed_header(&place, configuration);
        self.mirrors(&place, configuration, true);
        let hosts = configuration.get("virtual_hosts").map(|it| it.items());
        for host in hosts.unwrap_or_default() {
            let place = format!("{place}, virtual host {}", host.value.text_of("name"));
            self.virtual_host(&place, &host.value);
        }
    }

    fn removed_header(&mut self, place: &str, configuration: &YamlNode) {
        const FIELD: &str = "request_headers_to_remove";
        let is_ours = |it: &str| it.eq_ignore_ascii_case(ROUTING_HEADER);
        let done = match configuration.get(FIELD) {
            Some(list) if list.any_text(&is_ours) => return,
            Some(list) => {
                let item = format!("- {ROUTING_HEADER}\n");
                self.draft.add_item(list, list.items().len(), &item)
            }
            None => {
                let entry = format!("{FIELD}: [{ROUTING_HEADER}]\n");
                self.draft
                    .add_entry(configuration, Some("virtual_hosts"), &entry)
            }
        };
        self.check(done, configuration, place, FIELD);
    }

    /// Adds the policies that copy requests to mirrors. Envoy uses only the innermost list.
    pub(super) fn mirrors(&mut self, place: &str, parent: &YamlNode, adds_list: bool) {
        const FIELD: &str = "request_mirror_policies";
        let done = match parent.get(FIELD) {
            Some(list) if list.any_text(&|it| MIRROR_HEADERS.contains(&it)) => return,
            Some(list) => {
                let items = fragments::mirror_policies();
                self.draft.add_item(list, list.items().len(), &items)
            }
            None if !adds_list => return,
            None => {
                let entry = format!("{FIELD}:\n{}", fragments::mirror_policies());
                self.draft.add_entry(parent, Some("virtual_hosts"), &entry)
            }
        };
        self.check(done, parent, place, FIELD);
    }
}

/// True for the filter of Weir: its name, or a plugin configuration with a control plane.
fn is_weir(filter: &YamlNode) -> bool {
    filter.text_of("name") == FILTER || filter.any_text(&|it| it.contains("\"control_plane\""))
}
