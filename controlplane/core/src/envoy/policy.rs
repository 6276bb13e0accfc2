//! The policies of a route: all fields of the route except its match and the choice of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::dump_fields::{items, message, text};

/// The values of the policies by field name. The configuration of each filter has a name of its own:
/// `typed_per_filter_config[NAME]`.
#[derive(Debug)]
pub struct Policies(BTreeMap<String, Value>);

/// Fields of a route that are not policies.
const MATCH_FIELDS: [&str; 4] = ["name", "match", "decorator", "stat_prefix"];

/// Fields of a route action that choose the cluster. A split replaces them.
const CLUSTER_FIELDS: [&str; 6] = [
    "cluster",
    "cluster_header",
    "weighted_clusters",
    "cluster_specifier_plugin",
    "inline_cluster_specifier_plugin",
    "cluster_not_found_response_code",
];

/// Fields of a weighted cluster that choose the cluster.
const WEIGHTED_FIELDS: [&str; 5] = [
    "name",
    "weight",
    "cluster_header",
    "metadata_match",
    "runtime_key_prefix",
];

/// Values of policies that Envoy uses if a route has no value.
const DEFAULTS: [(&str, &str); 2] = [("timeout", "15s"), ("priority", "DEFAULT")];

impl Policies {
    pub fn read(route: &Value) -> Policies {
        let mut policies = BTreeMap::new();
        let mut of_clusters = Vec::new();
        let fields = route.as_object().into_iter().flatten();
        for (field, value) in fields.filter(|(field, _)| !MATCH_FIELDS.contains(&field.as_str())) {
            match (field.as_str(), value) {
                ("route", Value::Object(action)) => {
                    let own = action.iter();
                    let own = own.filter(|(field, _)| !CLUSTER_FIELDS.contains(&field.as_str()));
                    policies.extend(own.map(|(field, value)| (field.clone(), value.clone())));
                    of_clusters = weighted_policies(action);
                }
                ("typed_per_filter_config", Value::Object(filters)) => {
                    for (filter, value) in filters.iter().filter(|(_, it)| !is_switch(it)) {
                        policies.insert(format!("{field}[{filter}]"), value.clone());
                    }
                }
                // A header route cannot have these, see `lost_policies`.
                ("direct_response" | "redirect", _) => {}
                _ => {
                    policies.insert(field.clone(), value.clone());
                }
            }
        }
        policies.extend(of_clusters);
        Policies(policies)
    }

    /// Returns the names of the fields that `other` does not have, or has with another value. It does not count as a
    /// difference if only one route removes the request header `header`.
    pub fn missing_in(&self, other: &Policies, header: &str) -> Vec<String> {
        let lost = self.0.iter().filter(|(field, value)| match field.as_str() {
            REMOVED => {
                let kept = other.0.get(REMOVED).map(|it| names_without(it, header));
                !names_without(value, header).is_subset(&kept.unwrap_or_default())
            }
            // `lost_policies` compares the lists that Envoy uses, which also come from virtual hosts.
            MIRRORS => false,
            field => match other.0.get(field) {
                Some(other) => other != *value,
                None => !value
                    .as_str()
                    .is_some_and(|it| DEFAULTS.contains(&(field, it))),
            },
        });
        lost.map(|(field, _)| field.clone()).collect()
    }

    /// True if one of these fields is there.
    pub fn has_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.0.contains_key(*field))
    }
}

/// Returns the policies in the list of weighted clusters. A policy that all clusters have counts as a policy of the
/// route. Any other policy has the name of its cluster: `timeout of cluster NAME`.
fn weighted_policies(action: &Map<String, Value>) -> Vec<(String, Value)> {
    let weighted = action.get("weighted_clusters").unwrap_or(&Value::Null);
    let clusters = items(weighted, "clusters");
    let clusters: Vec<&Value> = clusters
        .filter(|it| it.get("weight").and_then(Value::as_u64) != Some(0))
        .collect();
    let fields = clusters.iter().flat_map(|cluster| {
        let fields = cluster.as_object().into_iter().flatten();
        fields.map(move |(field, value)| (cluster, field, value))
    });
    let fields = fields.filter(|(_, field, _)| !WEIGHTED_FIELDS.contains(&field.as_str()));
    let policies = fields.map(|(cluster, field, value)| {
        let is_common = clusters.iter().all(|it| it.get(field) == Some(value));
        let name = match is_common && !action.contains_key(field) {
            true => field.clone(),
            false => format!("{field} of cluster {}", text(cluster, "name")),
        };
        (name, value.clone())
    });
    policies.collect()
}

/// True if a setting of a filter only enables or disables the filter. Envoy reads such a setting from the ordinary
/// route, before the filter of Weir runs.
fn is_switch(setting: &Value) -> bool {
    let config = setting.get("config").and_then(Value::as_object);
    message(setting) == "FilterConfig" && config.is_none_or(|config| config.is_empty())
}

/// The field with the policies for mirrors.
pub const MIRRORS: &str = "request_mirror_policies";

const REMOVED: &str = "request_headers_to_remove";

fn names_without(list: &Value, header: &str) -> BTreeSet<String> {
    let names = list.as_array().into_iter().flatten();
    let names = names.filter_map(Value::as_str).map(str::to_ascii_lowercase);
    names.filter(|name| name != header).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(route: &Value, twin: &Value) -> Vec<String> {
        let read = |action: &Value| Policies::read(&json!({ "route": action }));
        read(route).missing_in(&read(twin), "x-weir-cluster")
    }

    #[test]
    fn policies_of_weighted_clusters_count() {
        let one = json!({ "name": "a", "weight": 1, "host_rewrite_literal": "x" });
        let other = json!({ "name": "b", "weight": 1 });
        let unused = json!({ "name": "c", "weight": 0 });
        let of = |clusters: &[&Value]| json!({ "weighted_clusters": { "clusters": clusters } });
        let twin = json!({ "host_rewrite_literal": "x" });
        assert_eq!(
            missing(&of(&[&one, &unused]), &json!({})),
            ["host_rewrite_literal"]
        );
        assert_eq!(missing(&of(&[&one, &unused]), &twin), [""; 0]);
        let of_one = "host_rewrite_literal of cluster a";
        assert_eq!(missing(&of(&[&one, &other]), &twin), [of_one]);
    }

    #[test]
    fn default_values_are_no_policies() {
        let route = json!({ "timeout": "15s", "priority": "DEFAULT" });
        assert_eq!(missing(&route, &json!({})), [""; 0]);
        assert_eq!(missing(&route, &json!({ "timeout": "1s" })), ["timeout"]);
        assert_eq!(
            missing(&json!({ "timeout": "9s" }), &json!({})),
            ["timeout"]
        );
    }
}
