//! Reads HTTPRouteTimeouts and HTTPRouteRetry of Gateway API v1.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{Retry, Timeouts};

use crate::manifest::field_path::FieldPath;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::{UnknownFields, is_empty};

/// The maximum number of entries in `codes`. There are 200 status codes from 400 to 599.
const MAX_CODES: usize = 200;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimeoutsSpec {
    request: Option<Value>,
    backend_request: Option<Value>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct RetrySpec {
    codes: Option<Vec<u16>>,
    attempts: Option<u32>,
    backoff: Option<Value>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

pub fn parse(at: &FieldPath, value: Option<&Value>) -> Result<Timeouts, Problem> {
    let Some(value) = value else {
        return Ok(Timeouts::default());
    };
    let spec: TimeoutsSpec = at.decode(value)?;
    at.reject_unknown(&spec.unknown)?;
    let parse_field = |field: &str, value: Option<Value>| {
        let duration = value.map(|value| parse_duration(&at.field(field), &value));
        duration.transpose()
    };
    let timeouts = Timeouts {
        request: parse_field("request", spec.request)?,
        backend_request: parse_field("backendRequest", spec.backend_request)?,
    };
    if let (Some(request @ 1..), Some(backend_request)) =
        (timeouts.request, timeouts.backend_request)
        && backend_request > request
    {
        let at = at.field("backendRequest");
        return Err(at.problem(route::try_longer_than_request()));
    }
    Ok(timeouts)
}

/// Parses `retry`. The default of `attempts` is 1. Without `codes`, the proxy retries only failed connections. A filter
/// cannot set Envoy's backoff for a request, so Weir ignores `backoff` and returns a problem.
pub fn parse_retry(
    at: &FieldPath,
    value: Option<&Value>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Retry>, Problem> {
    let Some(value) = value else {
        return Ok(None);
    };
    let spec: RetrySpec = at.decode(value)?;
    at.reject_unknown(&spec.unknown)?;
    let attempts = spec.attempts.unwrap_or(1);
    if attempts == 0 {
        return Err(at.field("attempts").problem(route::no_retry()));
    }
    let mut codes = spec.codes.unwrap_or_default();
    let at_codes = at.field("codes");
    at_codes.at_most(&codes, MAX_CODES)?;
    for (index, code) in codes.iter().enumerate() {
        if !(400..=599).contains(code) {
            return Err(at_codes.entry(index).problem(route::retry_status(code)));
        }
    }
    codes.sort_unstable();
    codes.dedup();
    if spec.backoff.is_some_and(|it| !is_empty(&it)) {
        problems.push(at.field("backoff").problem(route::backoff()));
    }
    Ok(Some(Retry { attempts, codes }))
}

/// Parses a duration to milliseconds.
fn parse_duration(at: &FieldPath, value: &Value) -> Result<u64, Problem> {
    if value.is_number() {
        let with_unit = match value.as_u64() {
            Some(whole) => format!("{whole}s"),
            None => "whole numbers with units, such as 1s500ms".to_owned(),
        };
        return Err(at.problem(route::duration_without_unit(value, with_unit)));
    }
    let text: String = at.decode(value)?;
    if let Some(milliseconds) = milliseconds(&text) {
        return Ok(milliseconds);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Err(at.problem(if is_number {
        route::duration_without_unit(format!("{text:?}"), format!("{text}s"))
    } else {
        route::duration(format!("{text:?}"))
    }))
}

/// Returns the milliseconds of a duration of GEP-2257: one to four parts such as `1h`, `30m`, `10s` and `500ms`, each
/// with one to five digits. Returns None for any other text.
pub fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, unit) = rest.split_at_checked(digits)?;
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (after, factor) = units
            .iter()
            .find_map(|(name, factor)| Some((unit.strip_prefix(name)?, *factor)))?;
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(number.checked_mul(factor)?)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn durations_follow_gep_2257() {
        for (text, expected) in [
            ("0s", 0),
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1m1ms", 60_001),
            ("1s1s1s1s", 4_000),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "1",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "100000s",
            "1d",
            "1S",
            "1s1s1s1s1s",
            "1s2",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }
}
