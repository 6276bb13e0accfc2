//! Valid and invalid weights of TrafficSplits.

use crate::cluster::Refusal;

/// Weights as Flagger, Argo Rollouts, Open Service Mesh and Linkerd write them, and all other valid forms.
pub const RIGHT: [&str; 33] = [
    "10",
    "0",
    "10.0",
    "0.5",
    "0.001",
    "1.001",
    "0.29",
    "99.9",
    "43200.1",
    "'10'",
    "'+10'",
    "' 90 '",
    "'1e3'",
    "'1E3'",
    "'100e-2'",
    "500m",
    "900m",
    "0m",
    "'-0'",
    "1000000u",
    "1k",
    "1Ki",
    "0.5Ki",
    "1M",
    "1E",
    "'0.50000000000000000000000000000000000000000000000000'",
    "'.5'",
    "'5.'",
    "'0e99999999999'",
    "4294967295",
    "9007199254740993",
    "9223372036854774784",
    "1000000000000",
];

const NUMBER: Refusal = Some("write_a_number_such_as_90_or_500m");
const NOT_A_NUMBER: Refusal = Some("is not a number: the split would not be in force");
const NEGATIVE: Refusal = Some("Write 0 for a backend without traffic");
const FINE: Refusal = Some("finer than a thousandth");
const LARGE: Refusal = Some("Write smaller weights of the same ratio");
/// Invalid weights: the weight, words of the schema's refusal, words of the policy's refusal.
pub const BROKEN: [(&str, Refusal, Refusal); 30] = [
    ("10O", NUMBER, Some("the weight '10O' is not a number")),
    ("abc", NUMBER, NOT_A_NUMBER),
    ("''", NUMBER, NOT_A_NUMBER),
    ("NaN", NUMBER, NOT_A_NUMBER),
    ("'.'", NUMBER, NOT_A_NUMBER),
    ("1.2.3", NUMBER, NOT_A_NUMBER),
    ("'1e'", NUMBER, NOT_A_NUMBER),
    ("'1 0'", NUMBER, NOT_A_NUMBER),
    ("'0x10'", NUMBER, NOT_A_NUMBER),
    ("1ki", NUMBER, NOT_A_NUMBER),
    ("50%", NUMBER, NOT_A_NUMBER),
    ("90/100", NUMBER, NOT_A_NUMBER),
    ("true", Some("backends[1].weight"), NOT_A_NUMBER),
    ("[1]", Some("backends[1].weight"), NOT_A_NUMBER),
    ("[]", Some("backends[1].weight"), NOT_A_NUMBER),
    ("{ a: 1 }", Some("backends[1].weight"), NOT_A_NUMBER),
    ("{}", Some("backends[1].weight"), NOT_A_NUMBER),
    ("-1", Some("greater than or equal to 0"), NEGATIVE),
    ("-0.001", Some("greater than or equal to 0"), NEGATIVE),
    (
        "'-1'",
        Some("write_a_number_that_is_not_negative"),
        NEGATIVE,
    ),
    (
        "-500m",
        Some("write_a_number_that_is_not_negative"),
        NEGATIVE,
    ),
    ("1u", Some("write_nothing_finer_than_a_thousandth"), FINE),
    (
        "'0.0001'",
        Some("write_nothing_finer_than_a_thousandth"),
        FINE,
    ),
    // The schema accepts the next two weights. Its pattern checks only strings, and cannot compute an exponent.
    ("0.0001", None, FINE),
    ("'1e-9'", None, FINE),
    ("'1e99'", Some("write_a_smaller_number"), LARGE),
    (
        "'99999999999999999999999999'",
        Some("write_a_smaller_number"),
        LARGE,
    ),
    ("18446744073709551616", Some("less than or equal to"), LARGE),
    ("9223372036854775807", Some("less than or equal to"), LARGE),
    // Each weight is valid, but their sum is too large.
    ("'9223372036854775807'", None, LARGE),
];
