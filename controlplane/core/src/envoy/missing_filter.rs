//! Finds connection managers with routes for the filter, but without the filter.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::finding::Finding;
use super::http_filter::HttpFilter;
use super::manager::Manager;
use super::splitter::Splitter;
use crate::manifest::problem::messages::{Message, envoy as messages, list};

/// Adds a finding for each connection manager without a filter of Weir whose routes read the header that another
/// manager's filter of Weir writes.
pub fn find(managers: &[Manager], splitters: &[Splitter<'_>], findings: &mut BTreeSet<Finding>) {
    let headers: BTreeSet<&str> = splitters.iter().map(|it| it.header()).collect();
    let is_weir = |it: &HttpFilter| it.plugin.is_some() || it.is_refused;
    let unsplit = managers.iter().filter(|it| !it.filters.iter().any(is_weir));
    for manager in unsplit {
        let hosts = manager.routes.iter().flat_map(|it| &it.hosts);
        let routes = hosts.flat_map(|it| &it.routes);
        let twins = routes.filter(|route| headers.iter().any(|it| route.takes_splits(it)));
        let twins: BTreeSet<&str> = twins.map(|it| it.label.as_str()).collect();
        if !twins.is_empty() {
            let at = [manager.at.clone()].into();
            let message = message(manager, list(twins), splitters);
            findings.insert(Finding::at(&at, message));
        }
    }
}

fn message(manager: &Manager, twins: String, splitters: &[Splitter<'_>]) -> Message {
    if let Some(awaited) = manager.filters.iter().find(|it| it.is_awaited) {
        return match awaited.has_default {
            true => messages::default_instead_of_filter(&awaited.name),
            false => messages::filter_awaited(&awaited.name),
        };
    }
    let shares_routes = |other: &Manager| {
        let mut own = manager.routes.iter();
        own.any(|it| other.routes.iter().any(|other| Rc::ptr_eq(it, other)))
    };
    let is_sibling =
        |other: &Manager| other.at == manager.at || !other.sockets.is_disjoint(&manager.sockets);
    let mut others = splitters.iter().map(|it| it.manager);
    // Another listener may share the routes of RDS, and be without splits on purpose.
    if others.clone().any(shares_routes) && !others.any(is_sibling) {
        messages::filter_missing_beside(twins)
    } else {
        messages::filter_missing(twins)
    }
}
