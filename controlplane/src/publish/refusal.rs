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
/// The check of single pieces is enough, because [`Table::compile`] never refuses a combination of valid pieces. It has
/// no limit for the total, and if two pieces have the same host, the earlier piece wins. The configuration of a proxy
/// contains some of the pieces, each with all of its rules. The plugin configuration ([`Site`]) can remove matches or
/// add host names, but it causes no refusal. So the check needs time and memory for one plan, not for each proxy.
pub(super) fn check(plan: &Plan) -> Result<(), Refused> {
    let site = Site::default();
    for (piece, config) in plan.pieces() {
        if let Err(refusal) = Table::compile(&config, &site) {
            return Err(Refused { piece, refusal });
        }
    }
    Ok(())
}
