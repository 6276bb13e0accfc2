//! The lines outside of listeners: the stream, the cluster of the control plane, the switch, and labels of counters.

use serde_json::Value;

use super::{Editor, without_comments};
use crate::envoy::{CONTROL_PLANE, FILTERS_HEADER};
use crate::manifest::problem::messages::bootstrap as messages;
use crate::paste::fragments;
use crate::paste::text_draft::NoPlace;
use crate::paste::yaml_tree::YamlNode;
use crate::paste::yaml_value::{indented, scalar_of};

impl Editor<'_> {
    pub(super) fn bootstrap(&mut self, root: &YamlNode) {
        if let Some((at, field)) = other_management_server(root) {
            self.remark(at, "", messages::own_management_server(field));
            return;
        }
        self.admin_clusters = admin_clusters(root);
        self.stream(root);
        self.node(root);
        self.listeners(root);
        if self.managers == 0 {
            return;
        }
        self.cluster(root);
        self.runtime(root);
        self.statistics(root);
    }

    fn node(&mut self, root: &YamlNode) {
        let name = self.options.node_name().to_owned();
        let Some(node) = root.get("node") else {
            let entry = format!("node: {}\n", fragments::node(self.options));
            let done = self.draft.add_entry(root, Some("static_resources"), &entry);
            self.check(done, root, "", "node");
            self.remark(root.start, "", messages::node_without_id(name));
            return;
        };
        let missing = ["id", "cluster"];
        let missing = missing.into_iter().filter(|it| node.get(it).is_none());
        let missing: Vec<&str> = missing.collect();
        for key in &missing {
            let entry = format!("{key}: {}\n", scalar_of(&name));
            let done = self.draft.add_entry(node, None, &entry);
            self.check(done, node, "", "node");
        }
        if !missing.is_empty() {
            self.remark(node.start, "", messages::node_without_id(name));
        }
    }

    /// Adds the stream. If the file has a stream with other filters, adds a remark instead.
    fn stream(&mut self, root: &YamlNode) {
        let dynamic = root.get("dynamic_resources");
        if let Some(ads) = dynamic.and_then(|it| it.get("ads_config")) {
            let written = filters_header(ads).unwrap_or_default();
            let written_value = serde_json::from_str::<Value>(&written).ok();
            let (key, scope) = self.options.scope_key();
            let has_scope = written_value.is_some_and(|it| {
                let mut filters = it.as_object().into_iter().flatten();
                filters.any(|(_, plugin)| plugin.get(key).and_then(Value::as_str) == Some(&scope))
            });
            if !has_scope {
                self.remark(ads.start, "", messages::lines_of_other_scope(written));
            }
            return;
        }
        let lines = without_comments(&fragments::dynamic_resources(self.options));
        let done = match dynamic {
            Some(dynamic) if !dynamic.entries().is_empty() => {
                self.draft.add_entry(dynamic, None, &lines)
            }
            Some(_) => Err(NoPlace),
            None => {
                let entry = format!("dynamic_resources:\n{}", indented(&lines, 2));
                self.draft.add_entry(root, Some("static_resources"), &entry)
            }
        };
        self.check(done, root, "", "dynamic_resources");
    }

    fn cluster(&mut self, root: &YamlNode) {
        let lines = without_comments(&fragments::control_plane(self.options));
        let resources = root.get("static_resources");
        let Some(clusters) = resources.and_then(|it| it.get("clusters")) else {
            let done = match resources {
                Some(resources) => {
                    let entry = format!("clusters:\n{lines}");
                    self.draft.add_entry(resources, None, &entry)
                }
                None => {
                    let entry = format!("static_resources:\n  clusters:\n{}", indented(&lines, 2));
                    self.draft.add_entry(root, None, &entry)
                }
            };
            self.check(done, root, "", "clusters");
            return;
        };
        let mut items = clusters.items().iter();
        let Some(own) = items.find(|it| it.value.text_of("name") == CONTROL_PLANE) else {
            let done = self
                .draft
                .add_item(clusters, clusters.items().len(), &lines);
            self.check(done, clusters, "", "clusters");
            return;
        };
        self.given_cluster(&own.value);
    }

    /// Adds HTTP/2 to a cluster for the control plane that the file has already.
    fn given_cluster(&mut self, cluster: &YamlNode) {
        let place = format!("cluster {CONTROL_PLANE}");
        let at = cluster.start;
        let address = &self.options.control_plane;
        let port = address.port().to_string();
        let has_address =
            cluster.any_text(&|it| it == address.host()) && cluster.any_text(&|it| it == port);
        if !has_address {
            let message = messages::control_plane_elsewhere(CONTROL_PLANE, address);
            self.remark(at, &place, message);
        }
        let lacks_tls =
            self.options.authority.is_some() && cluster.get("transport_socket").is_none();
        let lacks_token =
            self.options.token.is_some() && !cluster.any_text(&|it| it == "x-weir-token");
        if lacks_tls || lacks_token {
            self.remark(
                at,
                &place,
                messages::control_plane_without_tls(CONTROL_PLANE),
            );
            return;
        }
        let is_http2 = |it: &str| it == "http2_protocol_options";
        match cluster.get("typed_extension_protocol_options") {
            _ if cluster.any_text(&is_http2) => {}
            Some(_) => {
                let message = messages::control_plane_with_http1(CONTROL_PLANE);
                self.remark(at, &place, message);
            }
            None => {
                let lines = without_comments(&fragments::http2(self.options));
                let done = self.draft.add_entry(cluster, None, &lines);
                self.check(done, cluster, &place, "typed_extension_protocol_options");
            }
        }
    }

    fn runtime(&mut self, root: &YamlNode) {
        let layer = fragments::ADMIN_LAYER;
        let runtime = root.get("layered_runtime");
        if runtime.is_some_and(|it| it.any_text(&|text| text == "admin_layer")) {
            return;
        }
        let layers = runtime.and_then(|it| it.get("layers"));
        let done = match (runtime, layers) {
            (_, Some(layers)) => {
                let item = format!("- {layer}\n");
                self.draft.add_item(layers, layers.items().len(), &item)
            }
            (Some(runtime), None) => {
                let entry = format!("layers: [{layer}]\n");
                self.draft.add_entry(runtime, None, &entry)
            }
            (None, None) => {
                let entry = format!("layered_runtime:\n  layers: [{layer}]\n");
                self.draft.add_entry(root, None, &entry)
            }
        };
        self.check(done, root, "", "layered_runtime");
    }

    fn statistics(&mut self, root: &YamlNode) {
        let statistics = root.get("stats_config");
        if let Some(matcher) = statistics.and_then(|it| it.get("stats_matcher")) {
            let is_named = matcher.any_text(&|it| it.contains("wasmcustom"));
            if !is_named {
                self.remark(matcher.start, "", messages::counters_excluded());
            }
        }
        let tags = statistics.and_then(|it| it.get("stats_tags"));
        let has = |name: &str| {
            tags.is_some_and(|it| {
                let mut items = it.items().iter();
                items.any(|it| it.value.text_of("tag_name") == name)
            })
        };
        let missing = fragments::stats_tags().into_iter();
        let missing = missing.filter(|(name, _)| !has(name));
        let lines: String = missing.map(|(_, line)| format!("{line}\n")).collect();
        if lines.is_empty() {
            return;
        }
        let done = match (statistics, tags) {
            (_, Some(tags)) => self.draft.add_item(tags, tags.items().len(), &lines),
            (Some(statistics), None) => {
                let entry = format!("stats_tags:\n{lines}");
                self.draft.add_entry(statistics, None, &entry)
            }
            (None, None) => {
                let entry = format!("stats_config:\n  stats_tags:\n{}", indented(&lines, 2));
                self.draft.add_entry(root, None, &entry)
            }
        };
        self.check(done, root, "", "stats_config");
    }
}

/// Returns the place and the name of a field that names another management server for clusters.
fn other_management_server(root: &YamlNode) -> Option<(usize, String)> {
    let dynamic = root.get("dynamic_resources")?;
    if dynamic
        .get("ads_config")
        .is_some_and(|it| filters_header(it).is_some())
    {
        return None;
    }
    let mut fields = ["ads_config", "cds_config"].into_iter();
    fields.find_map(|field| {
        let entry = dynamic.entry(field)?;
        Some((entry.start, format!("dynamic_resources.{field}")))
    })
}

/// Returns the value of the header with the filters, if the stream has it.
fn filters_header(ads: &YamlNode) -> Option<String> {
    let services = ads.get("grpc_services")?.items().iter();
    let mut headers = services.flat_map(|it| {
        let metadata = it.value.get("initial_metadata");
        metadata.map(|it| it.items()).unwrap_or_default()
    });
    let header = headers.find(|it| it.value.text_of("key") == FILTERS_HEADER)?;
    Some(header.value.text_of("value").to_owned())
}

/// Returns the names of the clusters that have only the port of the admin interface.
fn admin_clusters(root: &YamlNode) -> Vec<String> {
    let port = root.at(&["admin", "address", "socket_address", "port_value"]);
    let clusters = root.at(&["static_resources", "clusters"]);
    let (Some(port), Some(clusters)) = (port.and_then(|it| it.text()), clusters) else {
        return Vec::new();
    };
    let is_admin = |cluster: &YamlNode| {
        let endpoints = cluster.at(&["load_assignment", "endpoints"]);
        endpoints.is_some_and(|it| it.any_text(&|text| text == port))
    };
    let clusters = clusters.items().iter().filter(|it| is_admin(&it.value));
    clusters
        .map(|it| it.value.text_of("name").to_owned())
        .collect()
}
