//! The regular expressions of one object: each must compile, and together they must be small.

use std::collections::BTreeSet;

use weir_split::{Pattern, PatternError};

use super::field_path::Place;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;

/// What the programs of one object may take up in the memory of a proxy, in bytes.
const MOST: usize = 512 * 1024;

/// Those of one object; each counts once.
#[derive(Debug, Default)]
pub struct Patterns {
    known: BTreeSet<String>,
    size: usize,
}

/// The size of the regular expressions of one object; equal expressions count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    pub count: usize,
    /// Bytes of all programs together.
    pub bytes: usize,
}

impl Patterns {
    pub fn programs(&self) -> Programs {
        Programs {
            count: self.known.len(),
            bytes: self.size,
        }
    }

    /// Takes a pattern as the filter would.
    pub fn add(&mut self, place: &Place, text: &str) -> Result<(), Problem> {
        if self.known.contains(text) {
            return Ok(());
        }
        self.size = self.size.saturating_add(compile(place, text)?.size());
        if self.size > MOST {
            let text = format!("{text:?}");
            return Err(place.problem(route::patterns_too_large(text, MOST)));
        }
        self.known.insert(text.to_owned());
        Ok(())
    }
}

/// The pattern by itself.
pub fn compile(place: &Place, text: &str) -> Result<Pattern, Problem> {
    Pattern::compile(text).map_err(|error| {
        let pattern = format!("{text:?}");
        place.problem(match error {
            PatternError::Syntax(why) => route::pattern(pattern, why),
            PatternError::TooLarge => route::pattern_too_large(pattern),
        })
    })
}
