//! The policies (`request_mirror_policies`) by which Envoy copies requests of a route.

use serde_json::Value;
use weir_split::MIRROR_HEADERS;

use super::dump_fields::text;
use super::runtime_switch::RuntimeValues;

/// The innermost list of policies. Envoy uses only this list.
#[derive(Clone, Debug)]
pub struct MirrorPolicies {
    /// What messages call the part of Envoy's configuration that has the list, such as `the virtual host`.
    pub level: &'static str,
    list: Vec<Value>,
}

impl Default for MirrorPolicies {
    fn default() -> MirrorPolicies {
        MirrorPolicies::new(1, Vec::new())
    }
}

impl MirrorPolicies {
    /// `depth` is 1 for a route configuration, 2 for a virtual host, and 3 for a route.
    pub fn new(depth: usize, list: Vec<Value>) -> MirrorPolicies {
        let level = match depth {
            0 | 1 => "the route configuration",
            2 => "the virtual host",
            _ => "the route",
        };
        MirrorPolicies { level, list }
    }

    /// True if Envoy copies requests to the cluster that `header` names. `header` is in lower case.
    pub fn reads(&self, header: &str) -> bool {
        self.of(header).next().is_some()
    }

    /// True if a policy that reads `header` copies only a share of the requests.
    pub fn copies_in_part(&self, header: &str, values: &RuntimeValues) -> bool {
        let fractions = self.of(header).filter_map(|it| it.get("runtime_fraction"));
        fractions
            .into_iter()
            .any(|fraction| !is_full(fraction, values))
    }

    /// True if `other` also has all policies that are not for mirrors of Weir.
    pub fn others_are_in(&self, other: &MirrorPolicies) -> bool {
        let mut others = self.list.iter().filter(|policy| {
            let header = text(policy, "cluster_header").to_ascii_lowercase();
            !MIRROR_HEADERS.contains(&header.as_str())
        });
        others.all(|policy| other.list.contains(policy))
    }

    fn of(&self, header: &str) -> impl Iterator<Item = &Value> {
        let reads = move |it: &&Value| text(it, "cluster_header").eq_ignore_ascii_case(header);
        self.list.iter().filter(reads)
    }
}

/// True if every request fits this envoy.config.core.v3.RuntimeFractionalPercent.
fn is_full(fraction: &Value, values: &RuntimeValues) -> bool {
    let now = values.get(&text(fraction, "runtime_key"));
    if let Some(percent) = now.and_then(|value| value.parse::<u64>().ok()) {
        return percent >= 100;
    }
    let default = fraction.get("default_value").unwrap_or(&Value::Null);
    let of = match text(default, "denominator").as_str() {
        "TEN_THOUSAND" => 10_000,
        "MILLION" => 1_000_000,
        _ => 100,
    };
    let numerator = default.get("numerator").and_then(Value::as_u64);
    numerator.unwrap_or_default() >= of
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_request_fits_full_fractions() {
        let full = |fraction: Value| is_full(&fraction, &[("on".into(), "100".into())].into());
        assert!(full(json!({ "default_value": { "numerator": 100 } })));
        assert!(full(json!({ "default_value": {}, "runtime_key": "on" })));
        assert!(!full(json!({ "default_value": {} })));
        let half = json!({ "numerator": 5000, "denominator": "TEN_THOUSAND" });
        assert!(!full(json!({ "default_value": half })));
    }

    #[test]
    fn policies_of_weir_are_no_loss() {
        let own = json!({ "cluster": "shadow" });
        let weir = json!({ "cluster_header": "X-Weir-Mirror-2" });
        let list =
            |list: &[&Value]| MirrorPolicies::new(3, list.iter().map(|it| (*it).clone()).collect());
        assert!(list(&[&own]).others_are_in(&list(&[&weir, &own])));
        assert!(list(&[&own, &weir]).others_are_in(&list(&[&own])));
        assert!(!list(&[&own]).others_are_in(&list(&[&weir])));
    }
}
