//! The regular expressions of a route: each must compile, and together they must be small.

use super::place::Place;
use crate::problem::Problem;

/// What the programs of one route may take up in the memory of a proxy, in bytes.
const MOST: usize = 512 * 1024;

/// What is left for further patterns of one route.
#[derive(Debug)]
pub struct Patterns {
    left: usize,
}

impl Default for Patterns {
    fn default() -> Patterns {
        Patterns { left: MOST }
    }
}

impl Patterns {
    /// Takes a pattern as the filter would.
    pub fn check(&mut self, place: &Place, text: &str) -> Result<(), Problem> {
        let size = standin::compile(text).map_err(|error| {
            place.invalid(
                format!("the regular expression {text:?} cannot be used: {error}"),
                "correct or simplify it",
            )
        })?;
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            place.invalid(
                format!(
                    "with {text:?} the route's regular expressions take more than {MOST} bytes"
                ),
                "simplify them, or split the route",
            )
        })?;
        Ok(())
    }
}

mod standin {
    pub fn compile(text: &str) -> Result<usize, String> {
        if text.matches('(').count() != text.matches(')').count() {
            return Err("unbalanced".into());
        }
        Ok(text.len() * 100)
    }
}
