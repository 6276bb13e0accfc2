//! Counters and gauges. All VMs of a process share the value of a metric. Each VM counts requests in its own memory and
//! adds the counts in each tick, so that a request needs no host call for its counts. The name of a metric contains its
//! labels in the form `.key=.=value;.`, from which the proxy extracts tags.

use std::cell::RefCell;
use std::collections::HashMap;

use weir_split::module::{CONFIGURED, RULES, name_of_scope};

use crate::host;

thread_local! {
    /// Ids by name, for all root contexts of this VM. Envoy makes a new id in each definition of a name.
    static IDS: RefCell<HashMap<String, u32>> = RefCell::default();
}

pub const CONFIG_UPDATES: &str = "weir_config_updates_total";
pub const CONFIG_REFUSED: &str = "weir_config_refused_total";
pub const POLL_FAILURES: &str = "weir_poll_failures_total";
/// The number of rules for other proxies (other scopes).
const RULES_ELSEWHERE: &str = "weir_rules_elsewhere";

/// Defines the metrics of a scope and the metrics without labels, so that they start at 0.
pub fn define(scope: &str) {
    for name in [CONFIG_UPDATES, CONFIG_REFUSED, POLL_FAILURES] {
        id(name, host::define_counter);
    }
    for name in [RULES, RULES_ELSEWHERE, CONFIGURED] {
        id(&name_of_scope(name, scope), host::define_gauge);
    }
}

pub fn count(name: &str) {
    add(name, 1);
}

pub fn count_requests(rule: &str, backend: &str, requests: u64) {
    let name = format!("weir_requests_total.rule=.={rule};.;backend=.={backend};.;");
    add(&name, requests);
}

/// Sets the gauges of the current configuration of a scope.
pub fn set_configured(scope: &str, rules: usize) {
    let rules = u64::try_from(rules).unwrap_or(u64::MAX);
    for (name, value) in [(RULES, rules), (CONFIGURED, 1)] {
        set(&name_of_scope(name, scope), value);
    }
}

pub fn set_rules_elsewhere(scope: &str, rules: u64) {
    set(&name_of_scope(RULES_ELSEWHERE, scope), rules);
}

pub fn set(gauge: &str, value: u64) {
    if let Some(id) = id(gauge, host::define_gauge) {
        host::set_gauge(id, value);
    }
}

fn add(name: &str, by: u64) {
    if let Some(id) = id(name, host::define_counter) {
        host::add_to_counter(id, by);
    }
}

fn id(name: &str, define: fn(&str) -> Option<u32>) -> Option<u32> {
    IDS.with(|ids| {
        let mut ids = ids.try_borrow_mut().ok()?;
        if let Some(id) = ids.get(name) {
            return Some(*id);
        }
        let id = define(name)?;
        ids.insert(name.to_owned(), id);
        Some(id)
    })
}
