//! Parts of the dump that listeners refer to by name: filters from ECDS, and secrets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dump_fields::text;

/// Parts of the dump that listeners refer to by name. The keys of the maps are these names.
pub struct Discovered<'v> {
    /// Filters from ECDS.
    pub filters: BTreeMap<String, &'v Value>,
    /// Validation contexts of secrets, static or from SDS.
    pub contexts: BTreeMap<String, &'v Value>,
}

impl Discovered<'_> {
    /// Returns the filter from ECDS if `filter` only has its name; else returns `filter` itself.
    pub fn resolve<'v>(&'v self, filter: &'v Value) -> &'v Value {
        match filter.get("config_discovery") {
            Some(_) => self
                .filters
                .get(&text(filter, "name"))
                .copied()
                .unwrap_or(filter),
            None => filter,
        }
    }
}
