//! The name of the module that a proxy has loaded: `weir.wasm`, or `weir-lean.wasm`, which edits no responses. The
//! control plane reads the name from a header of each poll. `weir check --envoy` reads the name from a gauge. This file
//! also names the other gauges that `weir check --envoy` reads.

use crate::live::fnv1a;

/// Prefix of the names of the gauges.
pub const GAUGE: &str = "weir_lean_";

/// Returns the name of the gauge for filters with this plugin configuration. The value of the gauge is 1 if the filters
/// edit no responses, else 0.
pub fn gauge(configuration: &str) -> String {
    format!("{GAUGE}{:016x}", fnv1a(configuration))
}

/// A gauge with the value 1 after the first configuration of a scope; see [`name_of_scope`].
pub const CONFIGURED: &str = "weir_configured";

/// A gauge with the number of rules of a scope; see [`name_of_scope`].
pub const RULES: &str = "weir_rules";

/// Returns the name of a metric with the label `scope`. `scope` is the query of `/v1/config`; if the query is empty,
/// the label has the value `none`.
pub fn name_of_scope(metric: &str, scope: &str) -> String {
    let scope = if scope.is_empty() { "none" } else { scope };
    format!("{metric}.scope=.={scope};.;")
}

/// Returns the HTTP status with which `weir-lean.wasm` answers a request whose response needs edits. The status is the
/// same as for a broken backend: 503 for rules of a GRPCRoute, else 500.
pub fn status_without_edits(rule: &str) -> u16 {
    // The identity of a rule begins with the kind of its object.
    if rule.starts_with("GRPCRoute/") {
        503
    } else {
        500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_configuration_has_its_gauge() {
        let names = ["", "{}", r#"{ "namespace": "a" }"#].map(gauge);
        for name in &names {
            let hash = name.strip_prefix(GAUGE).unwrap();
            assert_eq!(hash.len(), 16, "{name}");
        }
        assert_ne!(names[0], names[1]);
        assert_ne!(names[1], names[2]);
    }

    #[test]
    fn missing_edits_answer_like_broken_backend() {
        assert_eq!(status_without_edits("GRPCRoute/t/r@gateway/t/g#r0"), 503);
        assert_eq!(status_without_edits("HTTPRoute/t/r@gateway/t/g#r0"), 500);
        assert_eq!(
            status_without_edits("HTTPRoute.policy.linkerd.io/t/r@a.t:80#x"),
            500
        );
    }
}
