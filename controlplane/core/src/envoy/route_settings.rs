//! Settings of a route, with the settings of its virtual host and its route configuration.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dump_fields::{items, text};
use super::http_filter::FilterSettings;

#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Request headers that Envoy removes after the choice of the route, in lower case.
    pub removed: BTreeSet<String>,
    /// Headers to which Envoy adds a value, in lower case.
    pub added_to_requests: BTreeSet<String>,
    pub added_to_responses: BTreeSet<String>,
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
        let filters = holder.get("typed_per_filter_config");
        for (name, config) in filters.and_then(Value::as_object).into_iter().flatten() {
            let levels = settings.filters.entry(name.clone()).or_default();
            levels.insert(0, config.clone());
        }
        settings
    }
}
