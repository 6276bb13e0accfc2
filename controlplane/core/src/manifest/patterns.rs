//! The regular expressions of one object: each must compile, and their total size is bounded.

use std::collections::BTreeSet;

use weir_split::{Pattern, PatternError};

use super::field_path::FieldPath;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;

/// The most memory that the compiled expressions of one object may take in a proxy, in bytes.
const MAX_BYTES: usize = 512 * 1024;

/// The regular expressions of one object that have been added. Equal expressions count once.
#[derive(Debug, Default)]
pub struct Patterns {
    added: BTreeSet<String>,
    bytes: usize,
}

/// The size of the compiled regular expressions of one object. Equal expressions count once.
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

    /// Compiles a pattern as the filter does, and counts it.
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

/// Compiles a pattern as the filter does, without counting it.
pub fn compile(at: &FieldPath, text: &str) -> Result<Pattern, Problem> {
    Pattern::compile(text).map_err(|error| {
        let pattern = format!("{text:?}");
        at.problem(match error {
            PatternError::Syntax(why) => route::pattern(pattern, why),
            PatternError::TooLarge => route::pattern_too_large(pattern),
        })
    })
}
