//! The hostnames of a route (Gateway API v1, HTTPRouteSpec.hostnames).

use std::net::IpAddr;

use serde_json::Value;

use crate::manifest::field_path::FieldPath;
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::messages::route;
use crate::manifest::problem::{Effect, Extent, Problem};

/// The maximum number of hostnames of a route (Gateway API v1, HTTPRouteSpec.hostnames).
const MAX_HOSTNAMES: usize = 16;

/// Parses `spec.hostnames`. Adds a problem to `problems` for each invalid hostname, and returns the valid hostnames.
/// Returns None if all hostnames are invalid: an empty list would mean every host.
pub fn parse(
    at: &FieldPath,
    list: &[Value],
    problems: &mut Vec<Problem>,
) -> Result<Option<Vec<Hostname>>, Problem> {
    at.at_most(list, MAX_HOSTNAMES)?;
    let mut hostnames = Vec::with_capacity(list.len());
    let mut invalid = Vec::new();
    for (index, value) in list.iter().enumerate() {
        match parse_one(&at.entry(index), value) {
            Ok(hostname) => hostnames.push(hostname),
            Err(problem) => invalid.push(problem),
        }
    }
    let is_in_force = !hostnames.is_empty() || invalid.is_empty();
    let effect = if is_in_force {
        Effect::new(
            Extent::Part,
            "the route has no effect on requests for this host",
        )
    } else {
        Effect::not_in_force()
    };
    let invalid = invalid.into_iter();
    problems.extend(invalid.map(|problem| problem.with_effect(effect.clone())));
    Ok(is_in_force.then_some(hostnames))
}

fn parse_one(at: &FieldPath, value: &Value) -> Result<Hostname, Problem> {
    let text: String = at.decode(value)?;
    if let Some(hostname) = Hostname::parse(&text) {
        return Ok(hostname);
    }
    let (name, port) = text.split_once(':').unwrap_or((text.as_str(), ""));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let without_dot = text.strip_suffix('.').unwrap_or_default();
    let message = if text == "*" {
        route::hostname_star()
    } else if text.parse::<IpAddr>().is_ok() {
        route::hostname_is_address(text)
    } else if is_port && Hostname::parse(name).is_some() {
        route::hostname_with_port(&text, name)
    } else if Hostname::parse(without_dot).is_some() {
        route::hostname_with_dot(&text, without_dot)
    } else {
        route::hostname(text)
    };
    Err(at.problem(message))
}
