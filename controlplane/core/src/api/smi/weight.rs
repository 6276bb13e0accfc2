//! Reads the weights of a TrafficSplit without rounding.
//!
//! In v1alpha1 a weight is a Kubernetes quantity (`"500m"`, `"1e3"`). In later versions a weight is a number. Some
//! clusters store one version and serve another version without conversion, so Weir reads both forms in every version.
//! Weir computes a weight from its decimal text, without floating-point arithmetic.

use serde_json::Value;

/// A weight in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milli(u128);

/// The reason why a weight, or the total weight of one rule, is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightError {
    NotANumber(String),
    Negative(String),
    /// The weight is not a multiple of a thousandth.
    TooFine(String),
    TooLarge(String),
    /// The total is 2^63 or more.
    TotalTooLarge,
}

/// Parses one weight: a JSON number, or a text with a number or a Kubernetes quantity (resource.Quantity: a decimal
/// exponent, or one of the suffixes n u m k M G T P E Ki Mi Gi Ti Pi Ei). Leading zeros do not change the value.
/// Returns None for null.
pub fn parse(value: &Value) -> Result<Option<Milli>, WeightError> {
    match value {
        Value::Null => Ok(None),
        // `to_string` writes the shortest decimal text of the number. If the number has at most 15 digits in the
        // manifest, this text has exactly the value in the manifest.
        Value::Number(number) => parse_text(&number.to_string()).map(Some),
        Value::String(text) => parse_text(text.trim()).map(Some),
        other => Err(WeightError::NotANumber(other.to_string())),
    }
}

/// Returns whole weights with the same ratios, for the configuration. If one of `weights` has a fraction, all values
/// are multiplied by 1000. Returns an error if the total of the whole weights is 2^63 or more.
pub fn unify(weights: &[Milli]) -> Result<Vec<u64>, WeightError> {
    let are_whole = weights.iter().all(|Milli(weight)| weight % 1000 == 0);
    let unit = if are_whole { 1000 } else { 1 };
    let mut total: u128 = 0;
    let mut unified = Vec::with_capacity(weights.len());
    for Milli(weight) in weights {
        let weight = weight / unit;
        total = total.saturating_add(weight);
        unified.push(u64::try_from(weight).map_err(|_| WeightError::TotalTooLarge)?);
    }
    if total >= 1 << 63 {
        return Err(WeightError::TotalTooLarge);
    }
    Ok(unified)
}

fn parse_text(text: &str) -> Result<Milli, WeightError> {
    let not_a_number = || WeightError::NotANumber(format!("{text:?}"));
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.strip_prefix('-').unwrap_or(text)),
        _ => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end).ok_or_else(not_a_number)?;
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (integer.is_empty() && fraction.is_empty()) {
        return Err(not_a_number());
    }
    let scale = Scale::parse(suffix).ok_or_else(not_a_number)?;

    // The value is digits x 10^exponent. Without the zeros at both ends, long texts such as `0.500000` fit into a u128.
    let digits = format!("{integer}{fraction}");
    let significant = digits.trim_end_matches('0');
    let dropped = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(Milli(0));
    }
    if negative {
        return Err(WeightError::Negative(text.to_owned()));
    }
    let too_large = || WeightError::TooLarge(text.to_owned());
    let places = |count: usize| i64::try_from(count).map_err(|_| too_large());
    let exponent = scale
        .decimal
        .saturating_add(places(dropped)?)
        .saturating_sub(places(fraction.len())?)
        .saturating_add(3);
    let mut value = significant
        .parse::<u128>()
        .ok()
        .and_then(|digits| digits.checked_mul(scale.binary))
        .ok_or_else(too_large)?;
    if exponent >= 0 {
        let factor = u32::try_from(exponent)
            .ok()
            .and_then(|e| 10u128.checked_pow(e));
        value = factor
            .and_then(|factor| value.checked_mul(factor))
            .ok_or_else(too_large)?;
    } else {
        let too_fine = || WeightError::TooFine(text.to_owned());
        let divisor = u32::try_from(exponent.unsigned_abs())
            .ok()
            .and_then(|e| 10u128.checked_pow(e))
            .ok_or_else(too_fine)?;
        if value % divisor != 0 {
            return Err(too_fine());
        }
        value /= divisor;
    }
    Ok(Milli(value))
}

/// The suffix of a quantity. The value of a weight is its digits x 10^`decimal` x `binary`.
struct Scale {
    decimal: i64,
    binary: u128,
}

impl Scale {
    fn parse(suffix: &str) -> Option<Scale> {
        let (decimal, power_of_1024) = match suffix {
            "" => (0, 0),
            "n" => (-9, 0),
            "u" => (-6, 0),
            "m" => (-3, 0),
            "k" => (3, 0),
            "M" => (6, 0),
            "G" => (9, 0),
            "T" => (12, 0),
            "P" => (15, 0),
            "E" => (18, 0),
            "Ki" => (0, 1),
            "Mi" => (0, 2),
            "Gi" => (0, 3),
            "Ti" => (0, 4),
            "Pi" => (0, 5),
            "Ei" => (0, 6),
            exponent => (exponent.strip_prefix(['e', 'E'])?.parse().ok()?, 0),
        };
        Some(Scale {
            decimal,
            binary: 1024u128.checked_pow(power_of_1024)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn milli(value: Value) -> Result<u128, WeightError> {
        parse(&value).map(|weight| weight.unwrap_or_default().0)
    }

    #[test]
    fn all_forms_of_tools_are_read() {
        let cases = [
            (json!(10), 10_000),
            (json!(10.0), 10_000),
            (json!(0.5), 500),
            (json!(0.1), 100),
            (json!("10"), 10_000),
            (json!("+10"), 10_000),
            (json!("0100"), 100_000),
            (json!("1e3"), 1_000_000),
            (json!("1E3"), 1_000_000),
            (json!("100e-2"), 1000),
            (json!("500m"), 500),
            (json!("0m"), 0),
            (json!("-0"), 0),
            (json!("1000000u"), 1000),
            (json!("1k"), 1_000_000),
            (json!("1Ki"), 1_024_000),
            (json!("0.5Ki"), 512_000),
            (json!("1M"), 1_000_000_000),
            (json!("1E"), 1_000_000_000_000_000_000_000),
            (
                json!("0.50000000000000000000000000000000000000000000000000"),
                500,
            ),
            (json!(".5"), 500),
            (json!("5."), 5000),
            (json!("0e99999999999"), 0),
        ];
        for (value, expected) in cases {
            assert_eq!(milli(value.clone()), Ok(expected), "{value}");
        }
    }

    #[test]
    fn invalid_weights_are_rejected() {
        assert_eq!(parse(&Value::Null), Ok(None));
        for value in [
            json!("abc"),
            json!(""),
            json!("NaN"),
            json!(".nan"),
            json!("."),
            json!("1.2.3"),
            json!("1e"),
            json!("1 0"),
            json!("0x10"),
            json!("1ki"),
            json!(true),
            json!([1]),
            json!("١"),
        ] {
            assert!(
                matches!(milli(value.clone()), Err(WeightError::NotANumber(_))),
                "{value}"
            );
        }
        for value in [json!(-1), json!("-1"), json!(-0.001), json!("-500m")] {
            assert!(
                matches!(milli(value.clone()), Err(WeightError::Negative(_))),
                "{value}"
            );
        }
        for value in [json!("1u"), json!(0.0001), json!("1e-999999999999")] {
            assert!(
                matches!(milli(value.clone()), Err(WeightError::TooFine(_))),
                "{value}"
            );
        }
        for value in [json!("1e99"), json!("9".repeat(60)), json!(1e300)] {
            assert!(
                matches!(milli(value.clone()), Err(WeightError::TooLarge(_))),
                "{value}"
            );
        }
    }

    #[test]
    fn weights_of_one_rule_are_unified() {
        let unified = |texts: &[Value]| {
            let weights: Vec<_> = texts
                .iter()
                .map(|value| parse(value).unwrap().unwrap())
                .collect();
            unify(&weights)
        };
        assert_eq!(unified(&[json!(90), json!("10")]), Ok(vec![90, 10]));
        assert_eq!(
            unified(&[json!("500m"), json!("1500m")]),
            Ok(vec![500, 1500])
        );
        assert_eq!(unified(&[json!(0.5), json!(3)]), Ok(vec![500, 3000]));
        assert_eq!(
            unified(&[json!(i64::MAX - 1), json!(0)]),
            Ok(vec![i64::MAX as u64 - 1, 0])
        );
        assert_eq!(
            unified(&[json!(i64::MAX), json!(1)]),
            Err(WeightError::TotalTooLarge)
        );
        assert_eq!(unified(&[json!(u64::MAX)]), Err(WeightError::TotalTooLarge));
    }
}
