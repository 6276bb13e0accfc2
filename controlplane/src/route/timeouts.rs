//! HTTPRouteTimeouts and HTTPRouteRetry of Gateway API v1.

use serde::Deserialize;
use weir_split::wire::{Retry, Timeouts};

use super::place::Place;
use crate::fields::Rest;
use crate::problem::Problem;

/// A code may stand once; there are no more.
const MAX_CODES: usize = 200;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsSpec {
    request: Option<String>,
    backend_request: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
pub struct RetrySpec {
    codes: Option<Vec<u16>>,
    attempts: Option<u32>,
    #[serde(flatten)]
    rest: Rest,
}

pub fn parse(place: &Place, spec: Option<TimeoutsSpec>) -> Result<Timeouts, Problem> {
    let spec = spec.unwrap_or_default();
    place.nothing_but_known(&spec.rest, &[])?;
    let read = |field: &str, written: Option<String>| {
        let Some(text) = written else { return Ok(None) };
        let milliseconds = duration(&text).ok_or_else(|| {
            place.field(field).invalid(
                format!("{text:?} is not a duration"),
                "write it like 10s, 500ms or 1h30m",
            )
        })?;
        Ok(Some(milliseconds))
    };
    let timeouts = Timeouts {
        request: read("request", spec.request)?,
        backend_request: read("backendRequest", spec.backend_request)?,
    };
    if let (Some(request @ 1..), Some(backend_request)) =
        (timeouts.request, timeouts.backend_request)
        && backend_request > request
    {
        return Err(place.field("backendRequest").invalid(
            "one try may take longer than the request",
            "make it no longer than request",
        ));
    }
    Ok(timeouts)
}

/// A retry without `attempts` is one; one without `codes` is for failed connections alone.
pub fn parse_retry(place: &Place, spec: Option<RetrySpec>) -> Result<Option<Retry>, Problem> {
    let Some(spec) = spec else { return Ok(None) };
    place.nothing_but_known(&spec.rest, &["backoff"])?;
    let attempts = spec.attempts.unwrap_or(1);
    if attempts == 0 {
        let remedy = "write at least 1, or take retry out";
        return Err(place.field("attempts").invalid("0 is no retry", remedy));
    }
    let mut codes = spec.codes.unwrap_or_default();
    let place = place.field("codes");
    place.at_most(&codes, MAX_CODES)?;
    for (index, code) in codes.iter().enumerate() {
        if !(400..=599).contains(code) {
            return Err(place.entry(index).invalid(
                format!("{code} is not the status of a failure"),
                "write a number from 400 to 599",
            ));
        }
    }
    codes.sort_unstable();
    codes.dedup();
    Ok(Some(Retry { attempts, codes }))
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
