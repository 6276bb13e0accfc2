//! Which module of the filter a proxy has loaded, and how others learn of it: the control plane by a header of each
//! poll, `weir check --envoy` by a gauge.

use crate::live::fnv1a;

/// The header of a poll that is there where some filter of the proxy and scope edits no responses.
pub const HEADER: &str = "weir-module";
/// Its value, for `weir-lean.wasm`.
pub const LEAN: &str = "lean";
/// How the names of the gauges begin.
pub const GAUGE: &str = "weir_lean_";

/// The gauge of the filters with this plugin configuration: 1 where they edit no responses, else 0.
pub fn gauge(configuration: &str) -> String {
    format!("{GAUGE}{:016x}", fnv1a(configuration))
}

/// The status that a request is answered with where its response would have to be edited and cannot be: that of a
/// broken backend, which is 503 for the rules of a GRPCRoute.
pub fn status_without_edits(rule: &str) -> u16 {
    // A rule's identity begins with the kind of its object.
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
    fn each_configuration_has_a_gauge_of_its_own() {
        let names = ["", "{}", r#"{ "namespace": "a" }"#].map(gauge);
        for name in &names {
            let hash = name.strip_prefix(GAUGE).unwrap();
            assert_eq!(hash.len(), 16, "{name}");
        }
        assert_ne!(names[0], names[1]);
        assert_ne!(names[1], names[2]);
    }

    #[test]
    fn the_answer_without_edits_is_that_of_a_broken_backend() {
        assert_eq!(status_without_edits("GRPCRoute/t/r@gateway/t/g#r0"), 503);
        assert_eq!(status_without_edits("HTTPRoute/t/r@gateway/t/g#r0"), 500);
        assert_eq!(
            status_without_edits("HTTPRoute.policy.linkerd.io/t/r@a.t:80#x"),
            500
        );
    }
}
