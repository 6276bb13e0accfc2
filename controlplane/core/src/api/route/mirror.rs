//! Reads HTTPRequestMirrorFilter of Gateway API v1 from a manifest.
//!
//! A problem of a mirror never affects the request: Weir leaves the mirror out, and the request goes to its backend.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::Fraction;

use super::reference::Reference;
use crate::manifest::field_path::FieldPath;
use crate::manifest::problem::messages::filter;
use crate::manifest::problem::{Effect, Extent, Problem};
use crate::manifest::unknown_fields::UnknownFields;

/// The denominator of a fraction without one (Gateway API v1, Fraction.denominator).
const DEFAULT_DENOMINATOR: i64 = 100;

/// A Service that gets copies of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorRef {
    /// Index of the filter in `filters`.
    pub index: usize,
    pub to: Reference,
    /// The share of the requests; None means every request.
    pub fraction: Option<Fraction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MirrorSpec {
    backend_ref: Value,
    percent: Option<i64>,
    fraction: Option<FractionSpec>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct FractionSpec {
    numerator: i64,
    denominator: Option<i64>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Parses `requestMirror` at the path `at`. `index` is the index of the filter. `backend` is the index of the backend
/// that has the filter. `namespace` is the namespace of the route.
pub fn parse(
    at: &FieldPath,
    (index, backend): (usize, Option<usize>),
    namespace: &str,
    value: &Value,
) -> Result<MirrorRef, Problem> {
    let spec: MirrorSpec = at.decode(value)?;
    at.reject_unknown(&spec.unknown)?;
    let to = at.field("backendRef").mirror(backend, index);
    let to = Reference::read(&to, namespace, &spec.backend_ref)?;
    let fraction = match (spec.percent, spec.fraction) {
        (Some(_), Some(_)) => return Err(at.problem(filter::mirror_percent_and_fraction())),
        (Some(percent), None) => Some(parse_percent(&at.field("percent"), percent)?),
        (None, Some(fraction)) => Some(fraction.parse(&at.field("fraction"))?),
        (None, None) => None,
    };
    Ok(MirrorRef {
        index,
        to,
        fraction,
    })
}

fn parse_percent(at: &FieldPath, percent: i64) -> Result<Fraction, Problem> {
    match u32::try_from(percent) {
        Ok(numerator @ 0..=100) => Ok(Fraction {
            numerator,
            denominator: 100,
        }),
        _ => Err(at.problem(filter::mirror_percent(percent))),
    }
}

impl FractionSpec {
    fn parse(self, at: &FieldPath) -> Result<Fraction, Problem> {
        at.reject_unknown(&self.unknown)?;
        let denominator = self.denominator.unwrap_or(DEFAULT_DENOMINATOR);
        let (at_numerator, at_denominator) = (at.field("numerator"), at.field("denominator"));
        let most = i64::from(i32::MAX);
        if !(1..=most).contains(&denominator) {
            return Err(at_denominator.problem(filter::mirror_denominator(denominator, most)));
        }
        let fraction = (u32::try_from(self.numerator), u32::try_from(denominator));
        match fraction {
            (Ok(numerator), Ok(denominator)) if numerator <= denominator => Ok(Fraction {
                numerator,
                denominator,
            }),
            _ => Err(at_numerator.problem(filter::mirror_numerator(self.numerator, denominator))),
        }
    }
}

/// Returns the effect of a problem that makes Weir leave out a mirror.
pub fn not_copied() -> Effect {
    Effect::new(
        Extent::Share,
        "this mirror gets no copies, and the requests themselves are not affected",
    )
}
