//! The regular expressions of one object: each must compile, and their total size is bounded.

use std::collections::BTreeSet;

use weir_split::{Pattern, PatternError};

use super::field_path::FieldPath;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;

/// The most bytes of memory that all compiled expressions of one object may use in a proxy.
const MAX_BYTES: usize = 512 * 1024;

/// Collects the regular expressions of one object. Equal expressions count once.
#[derive(Debug, Default)]
pub struct Patterns {
    added: BTreeSet<String>,
    bytes: usize,
}

/// The number and the size of the compiled regular expressions of one object. Equal expressions count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    pub count: usize,
    /// Bytes of all compiled expressions together.
    pub bytes: usize,
}

impl Patterns {
    pub fn programs(&self) -> Programs {
        Programs {
            count: self.added.len(),
            bytes: self.bytes,
        }
    }

    /// Compiles a pattern as the filter does, and adds its size. Returns an error if the object exceeds its limit.
    pub fn add(&mut self, at: &FieldPath, text: &str) -> Result<(), Problem> {
        if self.added.contains(text) {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(compile(at, text)?.size());
        if self.bytes > MAX_BYTES {
            let text = format!("{text:?}");
            return Err(at.problem(route::patterns_too_large(text, MAX_BYTES)));
        }
        self.added.insert(text.to_owned());
        Ok(())
    }
}

/// Compiles a pattern as the filter does. The pattern does not count against a limit of an object.
pub fn compile(at: &FieldPath, text: &str) -> Result<Pattern, Problem> {
    Pattern::compile(text).map_err(|error| {
        let pattern = format!("{text:?}");
        at.problem(match error {
            PatternError::Syntax(why) => route::pattern(pattern, why),
            PatternError::TooLarge => route::pattern_too_large(pattern),
        })
    })
}
