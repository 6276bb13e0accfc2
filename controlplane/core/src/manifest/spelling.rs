//! Computes edit distances, and finds words that are most likely misspelled.

/// True if `word` differs from `right` only in upper and lower case, or by one edit. If `right` has at least six bytes,
/// two edits are allowed. False if both are the same.
pub fn is_misspelling_of(word: &str, right: &str) -> bool {
    const LONG: usize = 6;
    let bound = if right.len() >= LONG { 2 } else { 1 };
    word != right && edit_distance(&word.to_ascii_lowercase(), &right.to_ascii_lowercase()) <= bound
}

/// Returns the Levenshtein distance in bytes; 64 if one of the texts has more than 64 bytes.
pub fn edit_distance(one: &str, other: &str) -> usize {
    const LONGEST: usize = 64;
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().max(other.len()) > LONGEST {
        return LONGEST;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, expected) in row.iter_mut().skip(1).zip(other) {
            let replaced = diagonal + usize::from(byte != expected);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_words_are_found() {
        for (word, right) in [
            ("gateway", "Gateway"),
            ("Gatewya", "Gateway"),
            ("service", "Service"),
            ("HttpRoute", "HTTPRoute"),
        ] {
            assert!(is_misspelling_of(word, right), "{word}");
        }
        for (word, right) in [
            ("Gateway", "Gateway"),
            ("ListenerSet", "Gateway"),
            ("ServiceImport", "Service"),
            ("Secret", "Service"),
            ("Mesh", "Gateway"),
        ] {
            assert!(!is_misspelling_of(word, right), "{word}");
        }
    }
}
