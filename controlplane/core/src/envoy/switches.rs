//! Finds splits that a runtime key switches off, and runtime keys that cannot change.

use std::collections::BTreeSet;

use super::finding::FindingPlace;
use super::runtime_switch::RuntimeSwitch;
use super::splitter::Splitter;
use super::{EnvoyDump, Finding};
use crate::manifest::problem::messages::envoy as messages;

/// Adds the findings about the runtime keys of one filter and its routes.
pub fn find(dump: &EnvoyDump, splitter: &Splitter<'_>, findings: &mut BTreeSet<Finding>) {
    let header = splitter.header();
    let routes = splitter.virtual_hosts().flat_map(|it| &it.routes);
    let of_routes = routes.filter(|it| it.takes_splits(header));
    let of_routes = of_routes.filter_map(|it| it.switch.as_ref());
    let switches = splitter.filter.switches.iter().chain(of_routes);
    let switches: BTreeSet<&RuntimeSwitch> = switches.collect();
    for switch in switches {
        if switch.is_off(&dump.runtime) {
            let message = messages::switched_off(&switch.key);
            findings.insert(Finding::at(&splitter.at(), message));
        }
        if let Some(value) = switch.ignored_value(&dump.runtime) {
            let message = messages::switch_ignored(&switch.key, value);
            findings.insert(Finding::at(&splitter.at(), message));
        }
        if !dump.is_runtime_changeable {
            findings.insert(Finding {
                place: FindingPlace::Envoy,
                rule: None,
                message: messages::switch_fixed(&switch.key),
            });
        }
    }
}
