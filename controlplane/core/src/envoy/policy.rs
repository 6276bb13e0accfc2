//! The policies of a route: all fields of the route except its match and the choice of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dump_fields::message;

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

impl Policies {
    pub fn read(route: &Value) -> Policies {
        let mut policies = BTreeMap::new();
        let fields = route.as_object().into_iter().flatten();
        for (field, value) in fields.filter(|(field, _)| !MATCH_FIELDS.contains(&field.as_str())) {
            match (field.as_str(), value) {
                ("route", Value::Object(action)) => {
                    let own = action.iter();
                    let own = own.filter(|(field, _)| !CLUSTER_FIELDS.contains(&field.as_str()));
                    policies.extend(own.map(|(field, value)| (field.clone(), value.clone())));
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
            field => other.0.get(field) != Some(*value),
        });
        lost.map(|(field, _)| field.clone()).collect()
    }

    /// True if one of these fields is there.
    pub fn has_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.0.contains_key(*field))
    }
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
