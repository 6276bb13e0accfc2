//! The input is a pattern, a line feed, and a value. The filter compiles the pattern in bounded memory, or refuses it
//! with a reason. A match never fails, and equivalent patterns fit the same values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_split::Pattern;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let Some(text) = parts.next().and_then(|text| std::str::from_utf8(text).ok()) else {
        return;
    };
    let value = parts.next().unwrap_or_default();
    match Pattern::compile(text) {
        Err(error) => assert!(!error.to_string().contains('\n')),
        Ok(pattern) => {
            assert!(pattern.size() <= 32 << 10);
            let fits = pattern.fits(value);
            assert_eq!(fits, pattern.fits(value), "the second match has another result");
            // The same pattern in a group must fit the same values. A `#` may begin a comment, which would hide the `)`.
            if !text.contains('#')
                && let Ok(grouped) = Pattern::compile(&format!("(?:{text})"))
            {
                assert_eq!(fits, grouped.fits(value));
            }
        }
    }
});
