//! What tells the rules of a route apart, what their conditions add up to, and its hostnames.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::digest::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_split::wire::{Field, PathMatch, ValueMatch};

use super::RouteMatch;
use crate::manifest::field_path::Place;
use crate::manifest::hostname::{self, Hostname};
use crate::manifest::problem::messages::route;
use crate::manifest::problem::{Effect, Extent, Problem};

// Gateway API v1: the longest lists of a route.
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 128;
const MAX_HOSTNAMES: usize = 16;

/// A match as it stands in a rule.
#[derive(Debug)]
pub enum Written<'v> {
    Read(RouteMatch),
    /// It cannot be read, and fits no request.
    Unread(&'v Value),
}

/// The keys of a route's rules, see [`super::RouteRule::key`].
#[derive(Debug)]
pub struct Keys {
    /// All that is a key of a rule, or will be.
    taken: BTreeSet<String>,
    /// Those names that a rule has been read with.
    named: BTreeSet<String>,
    /// The matches of rules without a name, with the places of these rules.
    unnamed: BTreeMap<String, usize>,
}

/// An earlier rule, at this place, has the same matches and gets every request.
#[derive(Debug, PartialEq, Eq)]
pub struct Shadowed {
    pub by: usize,
}

impl Keys {
    /// `rules` are all rules of the route.
    pub fn new(rules: &[Value]) -> Keys {
        let names = rules.iter().filter_map(|rule| rule.get("name")?.as_str());
        let names = names.filter(|name| hostname::is_dns_name(name));
        Keys {
            taken: names.map(str::to_owned).collect(),
            named: BTreeSet::new(),
            unnamed: BTreeMap::new(),
        }
    }

    /// The name of the next rule, at `place`.
    pub fn name(&mut self, place: &Place, written: &Value) -> Result<String, Problem> {
        let name: String = place.decode(written)?;
        if !hostname::is_dns_name(&name) {
            return Err(place.problem(route::rule_name(name)));
        }
        match self.named.insert(name.clone()) {
            true => Ok(name),
            false => Err(place.problem(route::rule_name_twice(name))),
        }
    }

    /// The key of the rule at `index`, which has this name, if it has a good one. An error is a rule that is never
    /// reached (Flagger writes such pairs).
    pub fn next(
        &mut self,
        index: usize,
        name: Option<String>,
        matches: &[Written],
    ) -> Result<String, Shadowed> {
        if let Some(name) = name {
            return Ok(name);
        }
        let canonical = canonical(matches);
        if let Some(by) = self.unnamed.get(&canonical) {
            return Err(Shadowed { by: *by });
        }
        let key = hash(&canonical, &self.taken);
        self.unnamed.insert(canonical, index);
        self.taken.insert(key.clone());
        Ok(key)
    }
}

/// The matches' JSON. Identities are made of it: what it gives for a match must never change.
///
/// A match that cannot be read counts as it is written: without it the rule would take the key of another one.
fn canonical(matches: &[Written]) -> String {
    let canonical: Vec<Value> = matches
        .iter()
        .map(|it| match it {
            Written::Read(wanted) => canonical_match(wanted),
            Written::Unread(value) => json!({ "unread": value }),
        })
        .collect();
    Value::from(canonical).to_string()
}

fn canonical_match(wanted: &RouteMatch) -> Value {
    let mut json = match &wanted.path {
        None => json!({}),
        Some(PathMatch::Exact(value)) => json!({"path": {"exact": value}}),
        Some(PathMatch::Regex(value)) => json!({"path": {"regex": value}}),
        Some(PathMatch::Prefix(value)) => json!({"path": {"prefix": value}}),
    };
    if let Some(method) = &wanted.method {
        json["method"] = json!(method);
    }
    for (name, fields) in [("headers", &wanted.headers), ("query", &wanted.query)] {
        if !fields.is_empty() {
            json[name] = fields.iter().map(canonical_field).collect();
        }
    }
    json
}

fn canonical_field(field: &Field) -> Value {
    match &field.value {
        ValueMatch::Exact(value) => json!({"name": field.name, "exact": value}),
        ValueMatch::Regex(value) => json!({"name": field.name, "regex": value}),
    }
}

/// The first 8 hexadecimal digits of the SHA-256 of the matches' JSON; more of them in the unlikely
/// case that another rule of the route is called so already.
fn hash(canonical: &str, taken: &BTreeSet<String>) -> String {
    let digest = Sha256::digest(canonical);
    let hex = hex(&digest);
    let lengths = (8..=hex.len()).filter_map(|length| hex.get(..length));
    let free = lengths.into_iter().find(|key| !taken.contains(*key));
    free.unwrap_or(&hex).to_owned()
}

/// A route with more rules or matches than the API has is out of force as a whole: what a route may cost every proxy
/// has to have an end, and a rule that were left out would leave its requests to others.
pub fn check_totals(place: &Place, rules: &[Value]) -> Result<(), Problem> {
    place.at_most(rules, MAX_RULES)?;
    let matches = rules.iter().filter_map(|rule| {
        let written = rule.get("matches")?;
        written.as_array().map(Vec::len)
    });
    match matches.sum::<usize>() {
        total if total > MAX_MATCHES => {
            Err(place.problem(route::too_many_matches(total, MAX_MATCHES)))
        }
        _ => Ok(()),
    }
}

/// The hostnames that can be one; requests for another one are not this route's. Where none is left the route is not
/// in force at all, for without hostnames it would be one for every host.
pub fn parse_hostnames(
    place: &Place,
    written: &[Value],
    problems: &mut Vec<Problem>,
) -> Result<Option<Vec<Hostname>>, Problem> {
    place.at_most(written, MAX_HOSTNAMES)?;
    let mut hostnames = Vec::with_capacity(written.len());
    let mut wrong = Vec::new();
    for (index, written) in written.iter().enumerate() {
        match parse_hostname(&place.entry(index), written) {
            Ok(hostname) => hostnames.push(hostname),
            Err(problem) => wrong.push(problem),
        }
    }
    let is_left = !hostnames.is_empty() || wrong.is_empty();
    let effect = match is_left {
        true => Effect::new(Extent::Part, "requests for it are not this route's"),
        false => Effect::not_in_force(),
    };
    let wrong = wrong.into_iter();
    problems.extend(wrong.map(|problem| problem.with_effect(effect.clone())));
    Ok(is_left.then_some(hostnames))
}

fn parse_hostname(place: &Place, written: &Value) -> Result<Hostname, Problem> {
    let text: String = place.decode(written)?;
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
    Err(place.problem(message))
}
