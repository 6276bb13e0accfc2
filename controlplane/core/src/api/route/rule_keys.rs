//! Chooses the keys of a route's rules, see [`super::RouteRule::key`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_split::wire::{Field, PathMatch, ValueMatch};

use super::RouteMatch;
use crate::digest::hex;
use crate::manifest::field_path::FieldPath;
use crate::manifest::hostname;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;

/// An entry of a rule's `matches`.
#[derive(Debug)]
pub enum MatchEntry<'v> {
    Parsed(RouteMatch),
    /// An entry that Weir cannot read. It matches no request.
    Unreadable(&'v Value),
}

/// The keys of the rules of one route.
#[derive(Debug)]
pub struct RuleKeys {
    /// The valid names of all rules, and the hashes that are keys of earlier rules.
    taken: BTreeSet<String>,
    /// The names of the earlier rules.
    names: BTreeSet<String>,
    /// The matches of the earlier rules without a name, and the indexes of these rules.
    matches: BTreeMap<String, usize>,
}

/// The rule gets no requests, because the earlier rule with index `by` has the same matches.
#[derive(Debug, PartialEq, Eq)]
pub struct Shadowed {
    pub by: usize,
}

impl RuleKeys {
    /// Returns the state before the first rule of a route. `rules` are all rules of the route.
    pub fn new(rules: &[Value]) -> RuleKeys {
        let names = rules.iter().filter_map(|rule| rule.get("name")?.as_str());
        let names = names.filter(|name| hostname::is_dns_name(name));
        RuleKeys {
            taken: names.map(str::to_owned).collect(),
            names: BTreeSet::new(),
            matches: BTreeMap::new(),
        }
    }

    /// Checks the name of the next rule and returns it. The name must be a DNS name that no earlier rule has.
    pub fn add_name(&mut self, at: &FieldPath, value: &Value) -> Result<String, Problem> {
        let name: String = at.decode(value)?;
        if !hostname::is_dns_name(&name) {
            return Err(at.problem(route::rule_name(name)));
        }
        if !self.names.insert(name.clone()) {
            return Err(at.problem(route::rule_name_twice(name)));
        }
        Ok(name)
    }

    /// Returns the key of the rule at `index`: the name if the rule has a valid name, else the hash of the rule's
    /// matches. Returns an error if an earlier rule without a name has the same matches (Flagger writes such rules).
    pub fn add_rule(
        &mut self,
        index: usize,
        name: Option<String>,
        matches: &[MatchEntry],
    ) -> Result<String, Shadowed> {
        if let Some(name) = name {
            return Ok(name);
        }
        let canonical = canonical(matches);
        if let Some(by) = self.matches.get(&canonical) {
            return Err(Shadowed { by: *by });
        }
        let key = hash(&canonical, &self.taken);
        self.matches.insert(canonical, index);
        self.taken.insert(key.clone());
        Ok(key)
    }
}

/// Returns the matches as JSON. Keys are hashes of this JSON, so a new version of Weir must return the same JSON.
///
/// The JSON includes the manifest text of a match that Weir cannot read. Without this text, the rule could get the key
/// of another rule.
fn canonical(matches: &[MatchEntry]) -> String {
    let canonical: Vec<Value> = matches
        .iter()
        .map(|entry| match entry {
            MatchEntry::Parsed(route_match) => canonical_match(route_match),
            MatchEntry::Unreadable(value) => json!({ "unread": value }),
        })
        .collect();
    Value::from(canonical).to_string()
}

fn canonical_match(route_match: &RouteMatch) -> Value {
    let mut json = match &route_match.path {
        None => json!({}),
        Some(PathMatch::Exact(value)) => json!({"path": {"exact": value}}),
        Some(PathMatch::Regex(value)) => json!({"path": {"regex": value}}),
        Some(PathMatch::Prefix(value)) => json!({"path": {"prefix": value}}),
    };
    if let Some(method) = &route_match.method {
        json["method"] = json!(method);
    }
    for (name, fields) in [
        ("headers", &route_match.headers),
        ("query", &route_match.query),
    ] {
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

/// Returns the first 8 hexadecimal digits of the SHA-256 of `canonical`. Returns more digits if another rule already
/// has this key.
fn hash(canonical: &str, taken: &BTreeSet<String>) -> String {
    let digest = Sha256::digest(canonical);
    let hex = hex(&digest);
    let mut prefixes = (8..=hex.len()).filter_map(|length| hex.get(..length));
    let free = prefixes.find(|key| !taken.contains(*key));
    free.unwrap_or(&hex).to_owned()
}
