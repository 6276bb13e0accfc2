use std::time::{Duration, Instant};

use super::*;

#[test]
fn pattern_matches_whole_values() {
    for (pattern, fitting, other) in [
        ("", vec![""], vec!["a"]),
        (
            "/books",
            vec!["/books"],
            vec!["/books/1", "/book", "a/books", ""],
        ),
        ("/books/.*", vec!["/books/", "/books/1\n2"], vec!["/books"]),
        ("a|ab", vec!["a", "ab"], vec!["b", "abb"]),
        ("a??b??", vec!["", "a", "ab", "b"], vec!["ba"]),
        ("^a$", vec!["a"], vec!["a\n", "ba"]),
        ("(?i)Fire.*", vec!["firefox", "FIRE"], vec!["fir"]),
        (
            r"\d+|\w-\b.",
            vec!["12", "_-x"],
            vec!["\u{0661}", "1a", "é-x"],
        ),
        ("caf.{2}", vec!["café"], vec!["cafe"]),
        ("caf(é|e)", vec!["café", "cafe"], vec!["caf"]),
        ("(?x) a # ) \n b", vec!["ab"], vec!["a b"]),
        (r"\(?u\)?", vec!["u", "(u)"], vec!["v"]),
        ("/de( ?us)?", vec!["/de", "/de us", "/deus"], vec!["/de u"]),
        ("/x( ?uk)", vec!["/xuk"], vec!["/x"]),
        ("[(?u)]", vec!["u", "("], vec!["x"]),
        ("[](?-u)]", vec!["]"], vec![""]),
        ("(?<u>a)", vec!["a"], vec!["u"]),
    ] {
        let compiled = Pattern::compile(pattern).unwrap();
        for value in fitting {
            assert!(compiled.fits(value.as_bytes()), "{pattern:?} {value:?}");
        }
        for value in other {
            assert!(!compiled.fits(value.as_bytes()), "{pattern:?} {value:?}");
        }
    }
    assert!(Pattern::compile("a.").unwrap().fits(b"a\xff"));
}

#[test]
fn bad_pattern_has_a_reason() {
    for (bad, reason) in [
        ("a)(b", "unopened group"),
        ("(", "unclosed group"),
        ("*", "repetition operator missing expression"),
        ("(?=a)", "look-around"),
        (r"(a)\1", "backreferences"),
        (r"\pL", "Unicode"),
        ("[é]", "Unicode"),
        (r"(?u)\w", "flag u"),
        ("[(](?i-u:a)", "flag u"),
        (
            r"(?x)( # c
           ?i-u:a)",
            "flag u",
        ),
    ] {
        let error = Pattern::compile(bad).unwrap_err().to_string();
        assert!(error.contains(reason), "{bad:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for large in [
        "a".repeat(MAX_PROGRAM),
        "a{4294967295}".into(),
        "(a{100}){100}".into(),
        "[a-z]{1000}.*".repeat(10),
    ] {
        assert_eq!(
            Pattern::compile(&large).err(),
            Some(PatternError::TooLarge),
            "{large:.20}"
        );
    }
    let nested = format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(matches!(
        Pattern::compile(&nested),
        Err(PatternError::Syntax(_))
    ));
}

/// Some of these patterns take exponential time in engines with backtracking. One pattern has too many states for the
/// cache.
#[test]
fn time_is_linear_and_memory_bounded() {
    for pattern in [
        "(a+)+$",
        "(a|a)*b",
        "(.*)*x",
        "(.*a){10}",
        "(a|aa)+b",
        ".*a.{60}b.*",
    ] {
        let pattern = Pattern::compile(pattern).unwrap();
        assert!((1..=MAX_PROGRAM).contains(&pattern.size()), "{pattern:?}");
        let mut noise = 1u32;
        let mut value = |length: usize| -> Vec<u8> {
            let mut letter = || {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if noise >> 31 == 0 { b'a' } else { b'b' }
            };
            (0..length).map(|_| letter()).collect()
        };
        let mut time = |length: usize| {
            let values = [value(length), vec![b'a'; length]];
            let start = Instant::now();
            for value in &values {
                pattern.fits(value);
            }
            start.elapsed()
        };
        // Takes the fastest of several runs, because the machine may be busy. Quadratic time would be a factor of 16.
        let fastest = |length, time: &mut dyn FnMut(usize) -> Duration| {
            let times = (0..5).map(|_| time(length));
            times.min().unwrap()
        };
        let is_linear = (0..5).any(|_| {
            let short = fastest(16 << 10, &mut time).max(Duration::from_micros(20));
            fastest(64 << 10, &mut time) < short * 8
        });
        assert!(is_linear, "{pattern:?}");
        let used = pattern.automata.bytes();
        assert!(used <= CACHE + 8 * MAX_PROGRAM, "{used}");
    }
}

/// If an effort has no steps left, no pattern fits.
#[test]
fn effort_is_bounded() {
    let plain = Pattern::compile("/[a-z]*").unwrap();
    let heavy = Pattern::compile("(?:[ab]*a[ab]{400}c)*x").unwrap();
    let mut noise = 1u32;
    let mut letter = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if noise >> 31 == 0 { b'a' } else { b'b' }
    };
    let value: Vec<u8> = (0..60 << 10).map(|_| letter()).collect();
    let effort = Effort::default();
    for _ in 0..100 {
        assert!(plain.fits_within(&[b"/", vec![b'a'; 1000].as_slice()].concat(), &effort));
        assert!(!heavy.fits_within(b"ababab", &effort));
    }
    assert!(!effort.is_exhausted());
    assert!(!heavy.fits_within(&value, &effort));
    assert!(effort.is_exhausted());
    assert!(!plain.fits_within(b"/a", &effort));
}

#[test]
fn equal_patterns_share_a_program() {
    let mut patterns = Patterns::default();
    let first = patterns.get("a+").unwrap();
    assert!(Arc::ptr_eq(&first, &patterns.get("a+").unwrap()));
    assert!(!Arc::ptr_eq(&first, &patterns.get("a*").unwrap()));
    let refusal = patterns.get("(").unwrap_err().to_string();
    assert!(
        refusal.starts_with("regex: \"(\": not a regular expression"),
        "{refusal}"
    );
}

/// All caches are empty, so even for a short value each program has to compute a state for each byte.
#[test]
fn computed_states_are_bounded() {
    let mut patterns = Patterns::default();
    let all: Vec<_> = (0..320)
        .map(|n| patterns.get(&format!("(?:[ab]?[ab]?){{100}}x{n}")).unwrap())
        .collect();
    let value = b"aab".repeat(15);
    for round in 0..3 {
        let effort = Effort::default();
        for pattern in &all {
            assert!(!pattern.fits_within(&value, &effort));
        }
        // Later requests find some states in the caches.
        assert!(effort.is_exhausted() || round > 0);
        assert!(
            patterns.automata.bytes() <= automata::MAX_CACHE_BYTES,
            "{round}"
        );
    }
    // A hundred of these programs cost little for a shorter value.
    let effort = Effort::default();
    for pattern in &all[..100] {
        assert!(!pattern.fits_within(b"abab", &effort));
    }
    assert!(!effort.is_exhausted());
}
