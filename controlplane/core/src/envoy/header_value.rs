//! Checks whether a value of a header fits the condition of a route (envoy.config.route.v3.HeaderMatcher).

use serde_json::Value;
use weir_split::Pattern;

/// Returns whether a request whose header has this value fits; None if that is unknown.
pub fn fits(matcher: &Value, value: &str) -> Option<bool> {
    let inverts = matcher.get("invert_match") == Some(&Value::Bool(true));
    let fits = match matcher.get("present_match") {
        Some(is_present) => is_present.as_bool()?,
        None => match matcher.get("string_match") {
            Some(string) => fits_string(string, "", value)?,
            None => fits_string(matcher, "_match", value)?,
        },
    };
    Some(fits != inverts)
}

/// `end` is the suffix of the field names: `_match` for `exact_match`, and empty for `exact`.
fn fits_string(matcher: &Value, end: &str, value: &str) -> Option<bool> {
    let ignores_case = matcher.get("ignore_case") == Some(&Value::Bool(true));
    let fold = |text: &str| match ignores_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let own = fold(value);
    let field = |name: &str| matcher.get(format!("{name}{end}"));
    let text = |name: &str| Some(fold(field(name)?.as_str()?));
    if let Some(exact) = text("exact") {
        Some(own == exact)
    } else if let Some(prefix) = text("prefix") {
        Some(own.starts_with(&prefix))
    } else if let Some(suffix) = text("suffix") {
        Some(own.ends_with(&suffix))
    } else if let Some(part) = text("contains") {
        Some(own.contains(&part))
    } else if let Some(regex) = field("safe_regex") {
        let pattern = Pattern::compile(regex.get("regex")?.as_str()?).ok()?;
        Some(pattern.fits(value.as_bytes()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_fit_as_in_envoy() {
        for (matcher, expected) in [
            (json!({ "present_match": true }), Some(true)),
            (json!({ "present_match": false }), Some(false)),
            (
                json!({ "present_match": true, "invert_match": true }),
                Some(false),
            ),
            (
                json!({ "string_match": { "exact": "shop_v1" } }),
                Some(true),
            ),
            (
                json!({ "string_match": { "prefix": "shop-" } }),
                Some(false),
            ),
            (
                json!({ "string_match": { "suffix": "V1", "ignore_case": true } }),
                Some(true),
            ),
            (json!({ "string_match": { "contains": "op_" } }), Some(true)),
            (
                json!({ "string_match": { "safe_regex": { "regex": "v[12]" } } }),
                Some(false),
            ),
            (
                json!({ "safe_regex_match": { "regex": "shop_.*" } }),
                Some(true),
            ),
            (
                json!({ "exact_match": "shop_v2", "invert_match": true }),
                Some(true),
            ),
            (json!({ "range_match": { "start": 1, "end": 2 } }), None),
            (
                json!({ "string_match": { "safe_regex": { "regex": "(" } } }),
                None,
            ),
        ] {
            assert_eq!(fits(&matcher, "shop_v1"), expected, "{matcher}");
        }
    }
}
