//! Checks a plan before the publisher publishes it: compiles every piece of the plan as a proxy does.

use weir_core::plan::Plan;
use weir_split::{Refusal, Site, Table};

/// A plan that proxies would refuse: a defect of the translation.
#[derive(Debug, thiserror::Error)]
#[error("{piece}: {refusal}")]
pub struct Refused {
    /// The part of the plan, in words.
    piece: String,
    refusal: Refusal,
}

/// Compiles every piece of the plan as a proxy does it.
///
/// That is enough for every scope, and takes time and memory for the plan, not for each scope. [`Table::compile`]
/// refuses one grant, one rule, or one host set or connections together with the rules that they lead to: if two
/// claim the same host the earlier one wins, and there is no total limit. A scope is a choice of such pieces. It
/// leaves out grants and accounts of backends, and keeps each piece with all of its rules. A plugin configuration
/// ([`Site`]) leaves out matches or names more hosts; it refuses nothing.
pub(super) fn check(plan: &Plan) -> Result<(), Refused> {
    let site = Site::default();
    for (piece, config) in plan.pieces() {
        if let Err(refusal) = Table::compile(&config, &site) {
            return Err(Refused { piece, refusal });
        }
    }
    Ok(())
}
