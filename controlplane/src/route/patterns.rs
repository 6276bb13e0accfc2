//! The regular expressions of a route: each must compile, and together they must be small.

use weir_split::Pattern;

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
        let pattern = Pattern::compile(text).map_err(|error| {
            place.invalid(format!("{text:?}: {error}"), "correct or simplify it")
        })?;
        self.left = self.left.checked_sub(pattern.size()).ok_or_else(|| {
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
