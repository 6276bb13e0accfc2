//! What tells the rules of a route apart, and what their conditions add up to.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_split::wire::{Field, PathMatch, ValueMatch};

use super::RouteMatch;
use super::place::Place;
use crate::hostname::{self, Hostname};
use crate::problem::Problem;
use crate::revision;

// Gateway API v1: the longest lists of a route.
pub const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 128;
const MAX_HOSTNAMES: usize = 16;

/// The keys of a route's rules, see [`super::RouteRule::key`].
#[derive(Debug)]
pub struct Keys {
    taken: BTreeSet<String>,
    unnamed: BTreeSet<String>,
}

impl Keys {
    /// `place` is the list of rules; `names` are those of all the rules in their order.
    pub fn new<'a>(
        place: &Place,
        names: impl IntoIterator<Item = Option<&'a String>>,
    ) -> Result<Keys, Problem> {
        let mut taken = BTreeSet::new();
        for (index, name) in names.into_iter().enumerate() {
            let Some(name) = name else { continue };
            let place = place.entry(index).field("name");
            if !hostname::is_dns_name(name) {
                return Err(place.invalid(
                    format!("{name:?} is not a name"),
                    "use lower-case letters, digits, '-' and '.'",
                ));
            }
            if !taken.insert(name.clone()) {
                return Err(place.invalid(
                    format!("two rules are named {name}"),
                    "give each rule a name of its own",
                ));
            }
        }
        Ok(Keys {
            taken,
            unnamed: BTreeSet::new(),
        })
    }

    /// The key of the next rule. None for one that is never reached: the first of two rules with the same matches
    /// gets every request (Flagger writes such pairs).
    pub fn next(&mut self, name: Option<String>, matches: &[RouteMatch]) -> Option<String> {
        if name.is_some() {
            return name;
        }
        let canonical = canonical(matches);
        let key = hash(&canonical, &self.taken);
        if !self.unnamed.insert(canonical) {
            return None;
        }
        self.taken.insert(key.clone());
        Some(key)
    }
}

/// The matches' JSON. Identities are made of it: what it gives for a match must never change.
fn canonical(matches: &[RouteMatch]) -> String {
    let canonical: Vec<Value> = matches
        .iter()
        .map(|wanted| {
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
        })
        .collect();
    Value::from(canonical).to_string()
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
    let hex = revision::hex(&digest);
    let lengths = (8..=hex.len()).filter_map(|length| hex.get(..length));
    let free = lengths.into_iter().find(|key| !taken.contains(*key));
    free.unwrap_or(&hex).to_owned()
}

/// All the matches of a route; `counts` are those of its rules.
pub fn check_total(place: &Place, counts: impl IntoIterator<Item = usize>) -> Result<(), Problem> {
    let total: usize = counts.into_iter().sum();
    if total > MAX_MATCHES {
        return Err(place.invalid(
            format!("{total} matches are more than {MAX_MATCHES}"),
            "split it into several routes",
        ));
    }
    Ok(())
}

pub fn parse_hostnames(
    place: &Place,
    written: Option<Vec<String>>,
) -> Result<Vec<Hostname>, Problem> {
    let written = written.unwrap_or_default();
    place.at_most(&written, MAX_HOSTNAMES)?;
    let parse = |(index, text): (usize, &String)| {
        Hostname::parse(text).ok_or_else(|| {
            place.entry(index).invalid(
                format!("{text:?} is not a host name"),
                "write a name without port, such as shop.example.com or *.example.com",
            )
        })
    };
    written.iter().enumerate().map(parse).collect()
}
