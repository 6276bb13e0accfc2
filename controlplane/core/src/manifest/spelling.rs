//! Whether a word was most likely meant to be another one.

pub use crate::manifest::object::edits;

/// Another case of the word, or one edit; two in a long word.
pub fn is_near(written: &str, right: &str) -> bool {
    const LONG: usize = 6;
    let bound = if right.len() >= LONG { 2 } else { 1 };
    written != right && edits(&written.to_ascii_lowercase(), &right.to_ascii_lowercase()) <= bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_were_meant() {
        for (written, right) in [
            ("gateway", "Gateway"),
            ("Gatewya", "Gateway"),
            ("service", "Service"),
            ("HttpRoute", "HTTPRoute"),
        ] {
            assert!(is_near(written, right), "{written}");
        }
        for (written, right) in [
            ("Gateway", "Gateway"),
            ("ListenerSet", "Gateway"),
            ("ServiceImport", "Service"),
            ("Secret", "Service"),
            ("Mesh", "Gateway"),
        ] {
            assert!(!is_near(written, right), "{written}");
        }
    }
}
