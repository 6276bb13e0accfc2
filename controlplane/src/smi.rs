//! TrafficSplit (split.smi-spec.io, v1alpha1 to v1alpha4): the manifest and its checked form.
//!
//! All versions are read alike; see [`crate::weight`] for why. What the names in it refer to is
//! decided in [`crate::translate`], where the other objects are known. `matches` are known from v1alpha3 on.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::fields::{Rest, at_most};
use crate::object::Object;
use crate::problem::{ObjectRef, Problem, Reason};
use crate::weight::{self, WeightError};

/// Every port of the root has a rule with all of them.
const MAX_BACKENDS: usize = 1_000;
const MAX_GROUPS: usize = 16;

/// A TrafficSplit whose every field is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficSplit {
    pub object: ObjectRef,
    pub created: Option<Timestamp>,
    /// `spec.service` as written.
    pub service: String,
    /// In the order of `spec.backends`.
    pub backends: Vec<SplitBackend>,
    /// What holds the requests that are split, in the order of `spec.matches`. None is every request.
    pub groups: Vec<GroupRef>,
}

/// A reference that may be to anything; an HTTPRouteGroup is meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupRef {
    pub api_group: Option<String>,
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBackend {
    /// As written.
    pub service: String,
    /// Relative to the others; their total is below 2^63.
    pub weight: u64,
}

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    service: String,
    backends: Vec<BackendSpec>,
    matches: Option<Vec<GroupRef>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct BackendSpec {
    service: String,
    #[serde(default)]
    weight: Value,
    #[serde(flatten)]
    rest: Rest,
}

impl TrafficSplit {
    pub fn parse(object: &Object) -> Result<TrafficSplit, Problem> {
        let Manifest { spec } = object.decode()?;
        let Spec {
            service,
            backends,
            matches,
            rest,
        } = spec;
        let reference = object.reference();
        rest.refuse(&reference, "spec", &[])?;
        object.nothing_beside(&["spec"])?;
        let groups = matches.unwrap_or_default();
        if !groups.is_empty() && matches!(object.version(), "v1alpha1" | "v1alpha2") {
            return Err(reference.legacy(
                "spec.matches",
                Reason::UnsupportedValue,
                format!("{} has no matches", object.version()),
                "use split.smi-spec.io/v1alpha4; until then the split is not in force",
            ));
        }
        let remedy = "put their matches into fewer groups";
        at_most(&groups, MAX_GROUPS, &reference, "spec.matches", remedy)?;
        let remedy = "name fewer backends";
        at_most(&backends, MAX_BACKENDS, &reference, "spec.backends", remedy)?;

        let refuse = |path: String, error: WeightError| {
            let remedy = match error {
                WeightError::TotalTooLarge | WeightError::TooLarge(_) => {
                    "write smaller weights of the same ratio"
                }
                _ => "write a number that is not negative, such as 90, \"90\" or \"500m\"",
            };
            reference.legacy(path, Reason::InvalidValue, error.to_string(), remedy)
        };
        let mut weights = Vec::with_capacity(backends.len());
        for (index, BackendSpec { weight, rest, .. }) in backends.iter().enumerate() {
            let path = format!("spec.backends[{index}]");
            rest.refuse(&reference, &path, &[])?;
            let weight =
                weight::parse(weight).map_err(|error| refuse(format!("{path}.weight"), error))?;
            weights.push(weight);
        }
        let weights =
            weight::unify(&weights).map_err(|error| refuse("spec.backends".to_owned(), error))?;
        Ok(TrafficSplit {
            object: reference.clone(),
            created: object.created,
            service,
            backends: backends
                .into_iter()
                .zip(weights)
                .map(|(backend, weight)| SplitBackend {
                    service: backend.service,
                    weight,
                })
                .collect(),
            groups,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::read;

    fn parse(spec: &str) -> Result<Vec<u64>, (String, Reason)> {
        parse_at("v1alpha3", spec)
    }

    fn parse_at(version: &str, spec: &str) -> Result<Vec<u64>, (String, Reason)> {
        let text = format!(
            "apiVersion: split.smi-spec.io/{version}\nkind: TrafficSplit\nmetadata: {{name: web, anything: 1}}\nstatus: {{x: 1}}\n{spec}"
        );
        let object = read("a.yaml", &text).unwrap().objects.remove(0);
        match TrafficSplit::parse(&object) {
            Ok(split) => Ok(split
                .backends
                .iter()
                .map(|backend| backend.weight)
                .collect()),
            Err(problem) => Err((problem.path, problem.reason)),
        }
    }

    #[test]
    fn weights_and_refusals() {
        let ok = parse(
            "spec: {service: a, matches: [], backends: [{service: a, weight: 500m}, {service: b, weight: 1}]}",
        );
        assert_eq!(ok, Ok(vec![500, 1000]));
        let cases = [
            ("spec: {service: a}", "spec", Reason::InvalidValue),
            (
                "spec: {service: 1, backends: []}",
                "spec.service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: -1}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: .nan}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: 18446744073709551616}]}",
                "spec.backends",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: 2, weight: 1}]}",
                "spec.backends[0].service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: 1, port: 80}]}",
                "spec.backends[0].port",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], matches: [{kind: HTTPRouteGroup}]}",
                "spec.matches[0]",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], matches: [{kind: HTTPRouteGroup, name: x, match: y}]}",
                "spec.matches[0].match",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], bakends: [1]}",
                "spec.bakends",
                Reason::InvalidValue,
            ),
        ];
        for (spec, path, reason) in cases {
            assert_eq!(parse(spec), Err((path.to_owned(), reason)), "{spec}");
        }
        let refined =
            "spec: {service: a, backends: [], matches: [{kind: HTTPRouteGroup, name: x}]}";
        for old in ["v1alpha1", "v1alpha2"] {
            let refused = Err(("spec.matches".to_owned(), Reason::UnsupportedValue));
            assert_eq!(parse_at(old, refined), refused, "{old}");
        }
        assert_eq!(parse_at("v1alpha4", refined), Ok(vec![]));
        let many = vec!["{service: a, weight: 1}"; 1001].join(", ");
        assert_eq!(
            parse(&format!("spec: {{service: a, backends: [{many}]}}")),
            Err(("spec.backends".to_owned(), Reason::InvalidValue))
        );
        assert_eq!(parse("x: 1"), Err((String::new(), Reason::InvalidValue)));
    }
}
