//! Computes whether the matcher around an HTTP filter (xds.type.matcher.v3.Matcher) lets the filter run for a request.

use serde_json::Value;
use weir_split::{Pattern, Protocol};

use super::dump_fields::{find_wasm, items, message, text};
use super::runtime_switch::{RuntimeSwitch, RuntimeValues};

/// What is known about a request.
#[derive(Clone, Copy, Debug)]
pub struct KnownRequest<'a> {
    /// The Host header; None if it may have several values.
    pub host: Option<&'a str>,
    /// True if the request has no headers that a condition could read, except the Host header.
    pub is_plain: bool,
    /// The values of runtime keys; None if the values are unknown.
    pub runtime: Option<&'a RuntimeValues>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Maybe,
}

/// A possible result of a matcher. None means that nothing matches.
type Outcome<'v> = Option<&'v Value>;

/// True if the filter may run. `is_composite` is true for a composite filter, which runs another filter only if its
/// matcher has an action for the request.
pub fn may_run(matcher: &Value, is_composite: bool, request: KnownRequest<'_>) -> bool {
    let mut outcomes = Vec::new();
    add_matcher(matcher, request, &mut outcomes);
    outcomes.into_iter().any(|outcome| match outcome {
        None => !is_composite,
        Some(action) => match message(action) {
            "SkipFilter" => false,
            "ExecuteFilterAction" if action.get("typed_config").is_some() => {
                find_wasm(action).is_some_and(|(_, protocol)| protocol == Protocol::Http)
            }
            _ => true,
        },
    })
}

fn add_matcher<'v>(matcher: &'v Value, request: KnownRequest<'_>, outcomes: &mut Vec<Outcome<'v>>) {
    let list = matcher.get("matcher_list").unwrap_or(&Value::Null);
    for entry in items(list, "matchers") {
        let truth = entry.get("predicate").map(|it| predicate(it, request));
        let truth = truth.unwrap_or(Truth::Maybe);
        if truth != Truth::No {
            add_result(entry.get("on_match"), request, outcomes);
        }
        if truth == Truth::Yes {
            return;
        }
    }
    if let Some(tree) = matcher.get("matcher_tree") {
        let input = tree.get("input").unwrap_or(&Value::Null);
        let exact = tree.pointer("/exact_match_map/map");
        match (header(input).as_str(), request.host, exact) {
            (":authority", Some(host), Some(map)) => {
                if let Some(found) = map.get(host) {
                    return add_result(Some(found), request, outcomes);
                }
            }
            (name, _, _) if is_absent(name, request) => {}
            _ => {
                let maps = ["exact_match_map", "prefix_match_map"];
                let maps = maps.iter().filter_map(|key| tree.get(key)?.get("map"));
                for found in maps.filter_map(Value::as_object).flatten() {
                    add_result(Some(found.1), request, outcomes);
                }
            }
        }
    }
    add_result(matcher.get("on_no_match"), request, outcomes);
}

fn add_result<'v>(
    on_match: Option<&'v Value>,
    request: KnownRequest<'_>,
    outcomes: &mut Vec<Outcome<'v>>,
) {
    let within = on_match.and_then(|it| it.get("matcher"));
    match within {
        Some(matcher) => add_matcher(matcher, request, outcomes),
        None => outcomes.push(on_match.and_then(|it| it.pointer("/action/typed_config"))),
    }
}

fn predicate(condition: &Value, request: KnownRequest<'_>) -> Truth {
    let parts = |key: &str| -> Option<Vec<Truth>> {
        let parts = items(condition.get(key)?, "predicate");
        Some(parts.map(|it| predicate(it, request)).collect())
    };
    if let Some(single) = condition.get("single_predicate") {
        return single_predicate(single, request);
    }
    if let Some(within) = condition.get("not_matcher") {
        return match predicate(within, request) {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Maybe => Truth::Maybe,
        };
    }
    // If any part has the value `any`, this is the result. If all parts have the value `all`, that is the result.
    let (parts, any, all) = match (parts("and_matcher"), parts("or_matcher")) {
        (Some(parts), _) => (parts, Truth::No, Truth::Yes),
        (None, Some(parts)) => (parts, Truth::Yes, Truth::No),
        (None, None) => return Truth::Maybe,
    };
    if parts.contains(&any) {
        any
    } else if parts.contains(&Truth::Maybe) {
        Truth::Maybe
    } else {
        all
    }
}

fn single_predicate(single: &Value, request: KnownRequest<'_>) -> Truth {
    let fraction = single.pointer("/custom_match/typed_config/runtime_fraction");
    if let Some(switch) = fraction.and_then(RuntimeSwitch::read) {
        return match request.runtime {
            Some(values) if switch.is_full(values) => Truth::Yes,
            _ => Truth::Maybe,
        };
    }
    let input = single.get("input").unwrap_or(&Value::Null);
    let name = header(input);
    match (single.get("value_match"), request.host) {
        (Some(_), _) if is_absent(&name, request) => Truth::No,
        (Some(condition), Some(host)) if name == ":authority" => string_fits(condition, host),
        _ => Truth::Maybe,
    }
}

/// Returns the request header that an input reads, in lower case; empty if the input reads something else.
fn header(input: &Value) -> String {
    let config = input.get("typed_config").unwrap_or(&Value::Null);
    let name = match message(config) {
        "HttpRequestHeaderMatchInput" => text(config, "header_name").to_ascii_lowercase(),
        _ => String::new(),
    };
    match name.as_str() {
        "host" => ":authority".to_owned(),
        _ => name,
    }
}

fn is_absent(name: &str, request: KnownRequest<'_>) -> bool {
    request.is_plain && !name.is_empty() && !name.starts_with(':')
}

/// Compares a value with an envoy.type.matcher.v3.StringMatcher.
fn string_fits(condition: &Value, value: &str) -> Truth {
    let ignores_case = condition.get("ignore_case") == Some(&Value::Bool(true));
    let lower = |text: &str| match ignores_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let value = lower(value);
    let of = |key: &str| condition.get(key).and_then(Value::as_str).map(lower);
    let fits = if let Some(text) = of("exact") {
        value == text
    } else if let Some(text) = of("prefix") {
        value.starts_with(&text)
    } else if let Some(text) = of("suffix") {
        value.ends_with(&text)
    } else if let Some(text) = of("contains") {
        value.contains(&text)
    } else if let Some(regex) = condition.pointer("/safe_regex/regex") {
        match Pattern::compile(regex.as_str().unwrap_or_default()) {
            Ok(pattern) => pattern.fits(value.as_bytes()),
            Err(_) => return Truth::Maybe,
        }
    } else {
        return Truth::Maybe;
    };
    if fits { Truth::Yes } else { Truth::No }
}
