//! Checks a plan before it is published: compiles every piece of the plan as a proxy does.

use weir_core::plan::Plan;
use weir_split::{Refusal, Site, Table};

/// The error for a plan that proxies would refuse. The cause is a defect of the translation.
#[derive(Debug, thiserror::Error)]
#[error("{piece}: {refusal}")]
pub struct Refused {
    /// A description of the refused piece of the plan.
    piece: String,
    refusal: Refusal,
}

/// Compiles every piece of the plan as a proxy does. A piece is one host set with its rules, one connection entry with
/// its rule, or the grants for one destination.
///
/// The configuration of a proxy contains several pieces. It is enough to check each piece alone, because
/// [`Table::compile`] never refuses a combination of valid pieces. The number of pieces has no limit, and two pieces
/// may have the same host. A plugin configuration ([`Site`]) also causes no refusal.
pub(super) fn check(plan: &Plan) -> Result<(), Refused> {
    let site = Site::default();
    for (piece, config) in plan.pieces() {
        if let Err(refusal) = Table::compile(&config, &site) {
            return Err(Refused { piece, refusal });
        }
    }
    Ok(())
}
