//! Whether a word was most likely meant to be another one.

pub use crate::object::edits;

/// Another case of the word, or one edit; two in a long word.
pub fn is_near(written: &str, right: &str) -> bool {
    const LONG: usize = 6;
    let bound = if right.len() >= LONG { 2 } else { 1 };
    written != right && edits(&written.to_ascii_lowercase(), &right.to_ascii_lowercase()) <= bound
}
