//! The policies of a route: all fields of the route except its match and the choice of the cluster.

use std::collections::BTreeMap;

use serde_json::Value;

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
                    for (filter, value) in filters {
                        policies.insert(format!("{field}[{filter}]"), value.clone());
                    }
                }
                // A direct response with 404 is often the last route, and is not a policy.
                ("direct_response", _) if value.get("status") == Some(&Value::from(404)) => {}
                _ => {
                    policies.insert(field.clone(), value.clone());
                }
            }
        }
        Policies(policies)
    }

    /// Returns the names of the fields that `other` does not have, or has with another value.
    pub fn missing_in(&self, other: &Policies) -> Vec<String> {
        let lost = self.0.iter();
        lost.filter(|(field, value)| other.0.get(*field) != Some(value))
            .map(|(field, _)| field.clone())
            .collect()
    }
}
