//! HTTPRouteTimeouts and HTTPRouteRetry of Gateway API v1.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{Retry, Timeouts};

use crate::manifest::field_path::Place;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::{Rest, says_nothing};

/// A code may stand once; there are no more.
const MAX_CODES: usize = 200;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimeoutsSpec {
    request: Option<Value>,
    backend_request: Option<Value>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct RetrySpec {
    codes: Option<Vec<u16>>,
    attempts: Option<u32>,
    backoff: Option<Value>,
    #[serde(flatten)]
    rest: Rest,
}

pub fn parse(place: &Place, written: Option<&Value>) -> Result<Timeouts, Problem> {
    let Some(written) = written else {
        return Ok(Timeouts::default());
    };
    let spec: TimeoutsSpec = place.decode(written)?;
    place.nothing_but_known(&spec.rest, &[])?;
    let read = |field: &str, written: Option<Value>| {
        written.map(|value| parse_duration(&place.field(field), &value))
    };
    let timeouts = Timeouts {
        request: read("request", spec.request).transpose()?,
        backend_request: read("backendRequest", spec.backend_request).transpose()?,
    };
    if let (Some(request @ 1..), Some(backend_request)) =
        (timeouts.request, timeouts.backend_request)
        && backend_request > request
    {
        let place = place.field("backendRequest");
        return Err(place.problem(route::try_longer_than_request()));
    }
    Ok(timeouts)
}

/// A retry without `attempts` is one; one without `codes` is for failed connections alone. Envoy takes no pause from a
/// request, so that `backoff` is a problem that changes nothing.
pub fn parse_retry(
    place: &Place,
    written: Option<&Value>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Retry>, Problem> {
    let Some(written) = written else {
        return Ok(None);
    };
    let spec: RetrySpec = place.decode(written)?;
    place.nothing_but_known(&spec.rest, &[])?;
    let attempts = spec.attempts.unwrap_or(1);
    if attempts == 0 {
        return Err(place.field("attempts").problem(route::no_retry()));
    }
    let mut codes = spec.codes.unwrap_or_default();
    let of_codes = place.field("codes");
    of_codes.at_most(&codes, MAX_CODES)?;
    for (index, code) in codes.iter().enumerate() {
        if !(400..=599).contains(code) {
            return Err(of_codes.entry(index).problem(route::retry_status(code)));
        }
    }
    codes.sort_unstable();
    codes.dedup();
    if spec.backoff.is_some_and(|written| !says_nothing(&written)) {
        problems.push(place.field("backoff").problem(route::backoff()));
    }
    Ok(Some(Retry { attempts, codes }))
}

/// In milliseconds.
fn parse_duration(place: &Place, written: &Value) -> Result<u64, Problem> {
    if written.is_number() {
        let with_unit = match written.as_u64() {
            Some(whole) => format!("{whole}s"),
            None => "whole numbers with units, such as 1s500ms".to_owned(),
        };
        return Err(place.problem(route::duration_without_unit(written, with_unit)));
    }
    let text: String = place.decode(written)?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    duration(&text).ok_or_else(|| {
        place.problem(match is_number {
            true => route::duration_without_unit(format!("{text:?}"), format!("{text}s")),
            false => route::duration(format!("{text:?}")),
        })
    })
}

/// GEP-2257: one to four parts such as `1h`, `30m`, `10s`, `500ms`, of at most five digits; in milliseconds.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, unit) = rest.split_at_checked(digits)?;
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (after, milliseconds) = units
            .iter()
            .find_map(|(name, value)| Some((unit.strip_prefix(name)?, *value)))?;
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(number.checked_mul(milliseconds)?)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_of_gep_2257() {
        for (text, expected) in [
            ("0s", 0),
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1m1ms", 60_001),
            ("1s1s1s1s", 4_000),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(duration(text), Some(expected), "{text}");
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
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
