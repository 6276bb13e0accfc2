//! The header `weir-filters`: the filters of a proxy and their scopes.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde_json::{Map, Value};
use tonic::Status;
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::plan::Scope;
use weir_split::Plugin;

use crate::serve::parse_scope;

/// A JSON object. The keys are the names of filters (resources of ECDS), the values are plugin configurations.
const FILTERS: &str = "weir-filters";
/// Maximum number of filters of a proxy.
const MAX_FILTERS: usize = 32;

/// The checked form of the header.
#[derive(Debug)]
pub(super) struct Filters(BTreeMap<String, Scope>);

impl Filters {
    pub(super) fn of(headers: &HeaderMap) -> Result<Filters, Status> {
        let invalid = |why: &str| Status::invalid_argument(messages::filters(why).to_string());
        let Some(value) = headers.get(FILTERS) else {
            return Err(invalid("it is absent"));
        };
        let parsed =
            serde_json::from_slice::<BTreeMap<String, Map<String, Value>>>(value.as_bytes());
        let parsed = parsed.map_err(|error| invalid(&error.to_string()))?;
        if parsed.is_empty() || parsed.len() > MAX_FILTERS {
            return Err(invalid(&format!("it has {} filters", parsed.len())));
        }
        let mut filters = BTreeMap::new();
        for (name, plugin) in parsed {
            let scope = scope(plugin).map_err(|why| invalid(&format!("{name}: {why}")))?;
            filters.insert(name, scope);
        }
        Ok(Filters(filters))
    }

    /// Returns the scope of each filter, by name of the filter.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.0.values()
    }
}

/// Returns the scope of a plugin configuration as an operator writes it: without the key `control_plane`.
fn scope(mut plugin: Map<String, Value>) -> Result<Scope, String> {
    plugin.insert("control_plane".into(), "weir".into());
    let json = Value::Object(plugin).to_string();
    let plugin = Plugin::parse(json.as_bytes()).map_err(|error| error.to_string())?;
    let pairs: Vec<(String, String)> = plugin
        .scope
        .split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    parse_scope(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(value: &str) -> Result<Vec<Scope>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(FILTERS, value.parse().unwrap());
        let filters = Filters::of(&headers);
        let filters = filters.map_err(|status| status.message().to_owned())?;
        Ok(filters.scopes().cloned().collect())
    }

    #[test]
    fn each_filter_has_a_scope() {
        let gateway = Scope::Gateway {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        for (value, expected) in [
            (r#"{"weir": {}}"#, vec![Scope::Producers]),
            (
                r#"{"weir": {"namespace": "shop"}, "in": {"namespace": "*"}}"#,
                vec![Scope::Edge, Scope::Namespace("shop".into())],
            ),
            (
                r#"{"weir": {"gateway": "shop/edge", "listeners": {"80": ["http"]}}}"#,
                vec![gateway],
            ),
        ] {
            assert_eq!(filters(value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn invalid_filters_have_a_remedy() {
        let absent = Filters::of(&HeaderMap::new()).unwrap_err();
        assert_eq!(absent.code(), tonic::Code::InvalidArgument);
        assert!(absent.message().contains("initial_metadata"), "{absent}");
        for (value, why) in [
            ("", "EOF"),
            ("{}", "it has 0 filters"),
            ("[]", "invalid type"),
            (r#"{"weir": 1}"#, "invalid type"),
            (r#"{"weir": {"namespace": "A_b"}}"#, "weir: "),
            (
                r#"{"weir": {"namespace": "a", "gateway": "a/b"}}"#,
                "weir: ",
            ),
            (r#"{"weir": {"namespac": "a"}}"#, "weir: "),
        ] {
            let message = filters(value).unwrap_err();
            assert!(message.contains(why), "{value}: {message}");
        }
    }
}
