//! Settings of a route, with the settings of its virtual host and its route configuration.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dump_fields::{items, text};
use super::http_filter::FilterSettings;
use super::mirror_policies::MirrorPolicies;

#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Request headers that Envoy removes after the choice of the route, in lower case.
    pub removed: BTreeSet<String>,
    /// Headers to which Envoy adds a value, in lower case.
    pub added_to_requests: BTreeSet<String>,
    pub added_to_responses: BTreeSet<String>,
    pub mirrors: MirrorPolicies,
    /// The number of holders whose settings are in these settings.
    depth: usize,
    pub filters: FilterSettings,
}

impl RouteSettings {
    /// Returns these settings with the settings of `holder` added. `holder` is one level further inside: the virtual
    /// host of a route configuration, or the route of a virtual host.
    pub fn and(&self, holder: &Value) -> RouteSettings {
        let mut settings = self.clone();
        let removed = items(holder, "request_headers_to_remove").filter_map(Value::as_str);
        settings
            .removed
            .extend(removed.map(str::to_ascii_lowercase));
        settings.removed.extend(removed_for_clusters(holder));
        let added = |key| {
            let options = items(holder, key).filter(|option| {
                let action = text(option, "append_action");
                matches!(action.as_str(), "" | "APPEND_IF_EXISTS_OR_ADD")
                    && option.get("append") != Some(&Value::Bool(false))
            });
            options.filter_map(|it| {
                let key = it.pointer("/header/key")?.as_str()?;
                Some(key.to_ascii_lowercase())
            })
        };
        let requests = added("request_headers_to_add");
        settings.added_to_requests.extend(requests);
        let responses = added("response_headers_to_add");
        settings.added_to_responses.extend(responses);
        // The policies of a route are in its action. Envoy uses only the innermost list of policies.
        let action = holder.get("route").unwrap_or(holder);
        settings.depth = self.depth.saturating_add(1);
        let policies: Vec<Value> = items(action, "request_mirror_policies").cloned().collect();
        if !policies.is_empty() {
            settings.mirrors = MirrorPolicies::new(settings.depth, policies);
        }
        let filters = holder.get("typed_per_filter_config");
        for (name, config) in filters.and_then(Value::as_object).into_iter().flatten() {
            let levels = settings.filters.entry(name.clone()).or_default();
            levels.insert(0, config.clone());
        }
        settings
    }

    /// True if Envoy copies a request to the cluster that this header names. Envoy removes headers from a request before
    /// it copies the request. `header` is in lower case.
    pub fn mirrors_to(&self, header: &str) -> bool {
        self.mirrors.reads(header) && !self.removed.contains(header)
    }
}

/// Returns the request headers that all weighted clusters of a route remove, in lower case.
fn removed_for_clusters(route: &Value) -> BTreeSet<String> {
    let weighted = route.pointer("/route/weighted_clusters");
    let clusters = items(weighted.unwrap_or(&Value::Null), "clusters");
    let clusters = clusters.filter(|it| it.get("weight").and_then(Value::as_u64) != Some(0));
    let removed = clusters.map(|cluster| -> BTreeSet<String> {
        let names = items(cluster, "request_headers_to_remove");
        let names = names.filter_map(Value::as_str);
        names.map(str::to_ascii_lowercase).collect()
    });
    removed
        .reduce(|one, other| &one & &other)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_split::MIRROR_HEADERS;

    use super::*;

    const BOTH: [&str; 2] = MIRROR_HEADERS;

    fn policies(headers: &[&str]) -> Value {
        let policy = |header| json!({ "cluster_header": header });
        json!({ "request_mirror_policies": headers.iter().map(policy).collect::<Vec<_>>() })
    }

    /// Returns the headers that Envoy reads for mirrors at a route.
    fn read_at(action: &Value, host: &Value, configuration: &Value) -> Vec<&'static str> {
        let settings = RouteSettings::default().and(configuration).and(host);
        let settings = settings.and(&json!({ "route": action }));
        let headers = BOTH.into_iter();
        headers.filter(|it| settings.mirrors_to(it)).collect()
    }

    #[test]
    fn nearest_policies_count() {
        let none = json!({});
        assert_eq!(read_at(&none, &none, &none), [""; 0]);
        assert_eq!(read_at(&none, &none, &policies(&BOTH)), BOTH);
        assert_eq!(read_at(&none, &policies(&BOTH), &none), BOTH);
        assert_eq!(read_at(&policies(&BOTH), &none, &none), BOTH);
        let own = json!({ "request_mirror_policies": [{ "cluster": "shadow" }] });
        assert_eq!(read_at(&own, &none, &policies(&BOTH)), [""; 0]);
        let first = policies(&["X-Weir-Mirror"]);
        assert_eq!(read_at(&none, &first, &policies(&BOTH)), BOTH[..1]);
    }

    #[test]
    fn removed_headers_do_not_count() {
        let mut removing = policies(&BOTH);
        removing["request_headers_to_remove"] = json!(["X-Weir-Mirror"]);
        assert_eq!(read_at(&json!({}), &json!({}), &removing), BOTH[1..]);
    }
}
