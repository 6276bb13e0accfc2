//! The policies of a route: all that it says beside which requests it takes and which cluster they go to.

use std::collections::BTreeMap;

use serde_json::Value;

/// By field; those of filters one by one, as `typed_per_filter_config[NAME]`.
#[derive(Debug)]
pub struct Policies(BTreeMap<String, Value>);

/// Fields of a route that are about which requests it takes, and how it is called.
const OF_THE_MATCH: [&str; 4] = ["name", "match", "decorator", "stat_prefix"];

/// Fields of a route action that choose the cluster, which is what a split is for.
const OF_THE_CHOICE: [&str; 6] = [
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
        for (field, value) in fields.filter(|(field, _)| !OF_THE_MATCH.contains(&field.as_str())) {
            match (field.as_str(), value) {
                ("route", Value::Object(action)) => {
                    let own = action.iter();
                    let own = own.filter(|(field, _)| !OF_THE_CHOICE.contains(&field.as_str()));
                    policies.extend(own.map(|(field, value)| (field.clone(), value.clone())));
                }
                ("typed_per_filter_config", Value::Object(filters)) => {
                    for (filter, value) in filters {
                        policies.insert(format!("{field}[{filter}]"), value.clone());
                    }
                }
                // How a list of routes ends where nothing is left to serve; any other answer is meant.
                ("direct_response", _) if value.get("status") == Some(&Value::from(404)) => {}
                _ => {
                    policies.insert(field.clone(), value.clone());
                }
            }
        }
        Policies(policies)
    }

    /// The fields of this one that `other` has not, or has with another value.
    pub fn missing_in(&self, other: &Policies) -> Vec<String> {
        let lost = self.0.iter();
        lost.filter(|(field, value)| other.0.get(*field) != Some(value))
            .map(|(field, _)| field.clone())
            .collect()
    }
}
