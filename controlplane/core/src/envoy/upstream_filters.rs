//! Reads the filters between the router and a backend: `upstream_http_filters` of the router, or `http_filters` of a
//! cluster, which replace them.
//!
//! Envoy makes the copies for mirrors while the filter of Weir pauses a request in this list. So the copies contain the
//! changes of the filters that come before the filter of Weir.

use serde_json::Value;
use weir_split::MIRROR_HEADERS;

use super::discovered::Discovered;
use super::dump_fields::{children, http_kind, items, message, text};
use super::header_mutations::HeaderMutations;

/// The `root_id` of the filter that removes the headers of mirrors from requests to backends.
const ROOT_ID: &str = "upstream";

#[derive(Debug)]
pub struct UpstreamFilters {
    /// The names and changes of the filters that get a request before Envoy makes the copies.
    pub before_copies: Vec<(String, HeaderMutations)>,
    /// Why backends get the headers of mirrors; None if the filter of Weir removes them.
    pub exposure: Option<Exposure>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Exposure {
    NoFilter,
    /// The name of the filter of Weir, which is disabled.
    Disabled(String),
    /// The name of the filter of Weir. Its matcher skips requests with a mirror.
    Skipped(String),
}

impl UpstreamFilters {
    /// Reads the list with the name `key` of `holder`.
    pub fn read(holder: &Value, key: &str, discovered: &Discovered<'_>) -> UpstreamFilters {
        let mut filters = UpstreamFilters {
            before_copies: Vec::new(),
            exposure: Some(Exposure::NoFilter),
        };
        for filter in items(holder, key) {
            let resolved = discovered.resolve(filter);
            let config = resolved.get("typed_config").unwrap_or(&Value::Null);
            let name = text(filter, "name");
            if !has_root(resolved) {
                let kind = http_kind(config).unwrap_or_default();
                let mutations = HeaderMutations::of_filter(kind, config, std::iter::empty());
                filters.before_copies.push((name, mutations));
                continue;
            }
            let matcher = config.get("xds_matcher").or_else(|| config.get("matcher"));
            filters.exposure = if filter.get("disabled") == Some(&Value::Bool(true)) {
                Some(Exposure::Disabled(name))
            } else if matcher.is_some_and(skips_mirrored) {
                Some(Exposure::Skipped(name))
            } else {
                None
            };
            if filters.exposure.is_none() {
                break;
            }
        }
        filters
    }
}

fn has_root(within: &Value) -> bool {
    within.get("root_id").and_then(Value::as_str) == Some(ROOT_ID) || children(within).any(has_root)
}

/// True if this xds.type.matcher.v3.Matcher certainly skips the filter for requests with a mirror.
fn skips_mirrored(matcher: &Value) -> bool {
    let list = matcher.get("matcher_list").unwrap_or(&Value::Null);
    for entry in items(list, "matchers") {
        match entry.get("predicate").and_then(fits_mirrored) {
            Some(true) => return entry.get("on_match").is_some_and(is_skip),
            Some(false) => {}
            None => return false,
        }
    }
    matcher.get("on_no_match").is_some_and(is_skip)
}

/// Returns whether a request with a mirror fits; None if that depends on more than its headers for mirrors.
fn fits_mirrored(predicate: &Value) -> Option<bool> {
    if let Some(inner) = predicate.get("not_matcher") {
        return fits_mirrored(inner).map(|fits| !fits);
    }
    let single = predicate.get("single_predicate")?;
    let header = text(single.pointer("/input/typed_config")?, "header_name");
    let regex = single.pointer("/value_match/safe_regex/regex")?.as_str()?;
    let is_first = MIRROR_HEADERS.first() == Some(&header.to_ascii_lowercase().as_str());
    (is_first && matches!(regex, ".+" | ".*")).then_some(true)
}

fn is_skip(on_match: &Value) -> bool {
    let action = on_match.pointer("/action/typed_config");
    action.is_some_and(|action| message(action) == "SkipFilter")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn exposure(filters: &Value) -> Option<Exposure> {
        let discovered = Discovered {
            filters: BTreeMap::new(),
            contexts: BTreeMap::new(),
        };
        let holder = json!({ "http_filters": filters });
        UpstreamFilters::read(&holder, "http_filters", &discovered).exposure
    }

    fn behind(predicate: Value) -> Value {
        let skip = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter" });
        let on_match = json!({ "action": { "name": "skip", "typed_config": skip } });
        let entry = json!({ "predicate": predicate, "on_match": on_match });
        json!({ "name": "up", "typed_config": {
            "xds_matcher": { "matcher_list": { "matchers": [entry] } },
            "extension_config": { "typed_config": { "config": { "root_id": "upstream" } } },
        } })
    }

    #[test]
    fn filter_of_weir_has_to_run() {
        let weir = json!({ "name": "up", "typed_config": { "config": { "root_id": "upstream" } } });
        let mut disabled = weir.clone();
        disabled["disabled"] = json!(true);
        assert_eq!(exposure(&json!([])), Some(Exposure::NoFilter));
        assert_eq!(exposure(&json!([weir])), None);
        let up = || "up".to_owned();
        assert_eq!(exposure(&json!([disabled])), Some(Exposure::Disabled(up())));
        let has_mirror = json!({ "single_predicate": {
            "input": { "typed_config": { "header_name": "x-weir-mirror" } },
            "value_match": { "safe_regex": { "regex": ".+" } },
        } });
        let has_none = json!({ "not_matcher": has_mirror });
        assert_eq!(exposure(&json!([behind(has_none)])), None);
        let skipping = behind(has_mirror);
        assert_eq!(exposure(&json!([skipping])), Some(Exposure::Skipped(up())));
        let unknown = json!({ "single_predicate": { "value_match": { "exact": "a" } } });
        assert_eq!(exposure(&json!([behind(unknown)])), None);
    }
}
