//! The filters that one Envoy gets from the control plane. Envoy names the filters in the header
//! [`weir_core::envoy::FILTERS_HEADER`] of its stream.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use weir_split::{Direction, Plugin, Protocol};

use weir_core::envoy::{CONTROL_PLANE, UPSTREAM_FILTER};
use weir_core::manifest::problem::messages::{Message, stream as messages};
use weir_core::plan::Scope;

/// Maximum number of filters of one stream.
const MAX_FILTERS: usize = 16;
/// Maximum number of bytes in the name of a filter.
const MAX_NAME: usize = 128;

/// A filter with a checked plugin configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterRequest {
    /// The name of the filter and of its resource.
    pub name: Arc<str>,
    /// The scope of the filter's document.
    pub scope: Scope,
    pub chain: FilterChain,
    plugin: Map<String, Value>,
}

/// The kind of filter chain that contains the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterChain {
    /// A chain of HTTP filters that splits requests. The runtime key of the switch turns the filter off.
    OutboundHttp,
    /// A chain of HTTP filters that checks permissions, so there is no switch.
    InboundHttp,
    /// A chain of network filters.
    Tcp,
}

/// Reads the value of [`weir_core::envoy::FILTERS_HEADER`]. Without the header, `header` has no value.
pub fn parse(header: Option<&[u8]>) -> Result<Vec<FilterRequest>, Message> {
    let header = header.ok_or_else(messages::no_filters)?;
    let filters: Map<String, Value> =
        serde_json::from_slice(header).map_err(messages::filters_unreadable)?;
    if filters.is_empty() || filters.len() > MAX_FILTERS {
        return Err(messages::number_of_filters(MAX_FILTERS));
    }
    filters.into_iter().map(parse_filter).collect()
}

fn parse_filter((name, plugin): (String, Value)) -> Result<FilterRequest, Message> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_plain);
    if !is_name || name == UPSTREAM_FILTER {
        let shown: String = name.chars().take(MAX_NAME).collect();
        return Err(messages::filter_name(shown));
    }
    let Value::Object(mut plugin) = plugin else {
        let why = format!("the value of \"{name}\" is not an object");
        return Err(messages::filters_unreadable(why));
    };
    for key in ["control_plane", "clusters_from", "initial"] {
        if plugin.contains_key(key) {
            return Err(messages::own_key(name, key));
        }
    }
    // The check needs both keys, because the filter refuses some keys together with them.
    plugin.insert("control_plane".into(), CONTROL_PLANE.into());
    plugin.insert("clusters_from".into(), CONTROL_PLANE.into());
    let json = serde_json::to_vec(&plugin).map_err(messages::filters_unreadable)?;
    let checked = Plugin::parse(&json)
        .map_err(|error| messages::plugin_configuration(&name, error.cause(), error.remedy()))?;
    let scope = scope(&checked.scope).ok_or_else(|| {
        let why = format!("{} is not a scope", checked.scope);
        messages::plugin_configuration(&name, why, "write the name of a namespace or a Gateway")
    })?;
    Ok(FilterRequest {
        name: name.into(),
        scope,
        chain: match (checked.protocol, checked.direction) {
            (Protocol::Tcp, _) => FilterChain::Tcp,
            (Protocol::Http, Direction::Inbound) => FilterChain::InboundHttp,
            (Protocol::Http, Direction::Outbound) => FilterChain::OutboundHttp,
        },
        plugin,
    })
}

/// Returns the scope of a query of `GET /v1/config`. Returns None if a name in the query is invalid.
fn scope(query: &str) -> Option<Scope> {
    match query.split_once('=') {
        None => Some(Scope::Producers),
        Some(("namespace", name)) => Scope::of_namespace(name),
        Some((_, gateway)) => Scope::of_gateway(gateway),
    }
}

impl FilterRequest {
    /// Returns the JSON of the plugin configuration. `initial` is the document that the filter uses until its first
    /// poll is answered.
    pub fn plugin(&self, initial: Option<&RawValue>) -> String {
        let mut json = Value::Object(self.plugin.clone()).to_string();
        if let Some(initial) = initial {
            // The object is not empty: it has the key control_plane.
            json.truncate(json.len().saturating_sub(1));
            json.push_str(",\"initial\":");
            json.push_str(initial.get());
            json.push('}');
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(header: &str) -> String {
        parse(Some(header.as_bytes())).unwrap_err().to_string()
    }

    #[test]
    fn filters_get_keys_of_weir() {
        let header = br#"{"weir": {"namespace": "shop"}, "edge": {"gateway": "shop/edge", "listener": "web"}}"#;
        let filters = parse(Some(header)).unwrap();
        let scopes: Vec<_> = filters.iter().map(|it| (&*it.name, &it.scope)).collect();
        let gateway = Scope::Gateway {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        let namespace = Scope::Namespace("shop".into());
        assert_eq!(scopes, [("edge", &gateway), ("weir", &namespace)]);
        let plugin = filters[1].plugin(None);
        assert_eq!(
            plugin,
            r#"{"clusters_from":"weir","control_plane":"weir","namespace":"shop"}"#
        );
        let initial = RawValue::from_string(r#"{"version":1}"#.into()).unwrap();
        let plugin = filters[1].plugin(Some(&initial));
        assert!(
            plugin.ends_with(r#""shop","initial":{"version":1}}"#),
            "{plugin}"
        );
    }

    #[test]
    fn scopes_are_as_in_polls() {
        let scope = |plugin: &str| {
            let header = format!(r#"{{"weir": {plugin}}}"#);
            parse(Some(header.as_bytes())).unwrap()[0].scope.clone()
        };
        assert_eq!(scope("{}"), Scope::Producers);
        assert_eq!(scope(r#"{"namespace": "*"}"#), Scope::Edge);
    }

    #[test]
    fn chain_follows_protocol_and_direction() {
        let chain = |keys: &str| {
            let header = format!(
                r#"{{"weir": {{"namespace": "a", "service_account": "b", "trust_domain": "c" {keys}}}}}"#
            );
            parse(Some(header.as_bytes())).unwrap()[0].chain
        };
        assert_eq!(chain(""), FilterChain::OutboundHttp);
        assert_eq!(chain(r#", "protocol": "tcp""#), FilterChain::Tcp);
        assert_eq!(
            chain(r#", "direction": "inbound""#),
            FilterChain::InboundHttp
        );
    }

    #[test]
    fn invalid_headers_name_the_remedy() {
        let absent = parse(None).unwrap_err().to_string();
        assert!(absent.contains("add the header"), "{absent}");
        for (header, words) in [
            ("", "cannot be read: EOF"),
            ("[]", "cannot be read: invalid type"),
            ("{}", "no filter, or more than 16"),
            (r#"{"weir": "shop"}"#, "\"weir\" is not an object"),
            (r#"{"a b": {}}"#, "cannot be the name"),
            (r#"{"weir-upstream": {}}"#, "reserved"),
            (
                r#"{"weir": {"control_plane": "x"}}"#,
                "\"control_plane\", which Weir writes",
            ),
            (r#"{"weir": {"initial": {}}}"#, "\"initial\", which Weir"),
            (
                r#"{"weir": {"namespace": "A"}}"#,
                "namespace: \"A\" is not the name of a namespace",
            ),
            (r#"{"weir": {"name": "A"}}"#, "name: there is no such key"),
            (
                r#"{"weir": {"clusters": {"a.shop.svc.cluster.local:80": "a"}}}"#,
                "the control plane gives each cluster its name",
            ),
        ] {
            let refusal = refusal(header);
            assert!(refusal.contains(words), "{header}: {refusal}");
        }
        let many: Vec<_> = (0..17).map(|it| format!("\"f{it}\": {{}}")).collect();
        assert!(refusal(&format!("{{{}}}", many.join(","))).contains("more than 16"));
    }
}
