//! HTTPRouteGroup and TCPRoute (specs.smi-spec.io, v1alpha1 to v1alpha4): conditions that TrafficSplits
//! and TrafficTargets refer to by name.
//!
//! Regular expressions are matched against whole values, as Open Service Mesh reads them; the path is
//! that without query. A header `host` is the request's host.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{Field, PathMatch, Permission, ValueMatch};

use crate::manifest::field_path::Place;
use crate::manifest::object::Object;
use crate::manifest::patterns::{Patterns, Programs};
use crate::manifest::problem::messages::{Message, group as messages};
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use crate::manifest::unknown_fields::{Rest, at_most};

/// Every split and every permission that refers to the group has a copy of them.
const MAX_MATCHES: usize = 256;
const MAX_HEADERS: usize = 16;
const MAX_PORTS: usize = 1_000;

const METHODS: [&str; 9] = [
    "GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

#[derive(Clone, Debug, PartialEq)]
pub struct HttpRouteGroup {
    pub object: ObjectRef,
    pub created: Option<Timestamp>,
    /// Several of one name are alternatives, as all matches of a group are.
    pub matches: Vec<NamedMatch>,
    /// The regular expressions of all matches.
    pub programs: Programs,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NamedMatch {
    pub name: String,
    /// None fits no request: it is wrong, and a problem has said so.
    pub condition: Option<Permission>,
}

/// TCPRoute of the SMI, not that of Gateway API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRoute {
    /// By which a TrafficTarget may choose it.
    pub name: Option<String>,
    /// None is every port.
    pub ports: Vec<u16>,
}

#[derive(Deserialize)]
struct GroupManifest {
    spec: GroupSpec,
}

/// The object itself at v1alpha1 and v1alpha2, its `spec` later.
#[derive(Deserialize)]
struct GroupSpec {
    /// Each is read by itself, so that a wrong one leaves the others alone.
    matches: Vec<Value>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatchSpec {
    #[serde(rename = "name")]
    _name: String,
    path_regex: Option<String>,
    methods: Option<Vec<String>>,
    #[serde(default)]
    headers: Value,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct OldGroup {
    matches: Vec<Value>,
}

impl HttpRouteGroup {
    /// A match that is wrong fits nothing and is a problem; the others go on.
    pub fn parse(object: &Object) -> Result<(HttpRouteGroup, Vec<Problem>), Problem> {
        let reference = object.reference();
        let is_old = has_no_spec(object);
        let has = |pointer: &str| object.body.pointer(pointer).is_some_and(|it| !it.is_null());
        if is_old && has("/spec/matches") {
            let message = messages::group_matches_under_spec(object.version());
            return Err(reference.problem("spec.matches", message));
        }
        if !is_old && has("/matches") {
            let message = messages::group_matches_at_the_top(object.version());
            return Err(reference.problem("matches", message));
        }
        let (matches, path) = if is_old {
            let OldGroup { matches } = object.decode()?;
            (matches, "matches")
        } else {
            let GroupManifest { spec } = object.decode()?;
            spec.rest.refuse(&reference, "spec", &[])?;
            (spec.matches, "spec.matches")
        };
        object.nothing_beside(&[if is_old { "matches" } else { "spec" }])?;
        at_most(&matches, MAX_MATCHES, &reference, path)?;

        let all = Place::new(&reference, path);
        let mut patterns = Patterns::default();
        let mut problems = Vec::new();
        if matches.is_empty() {
            problems.push(all.problem(messages::group_without_matches()));
        }
        let mut named = Vec::with_capacity(matches.len());
        for (index, written) in matches.iter().enumerate() {
            // Nothing refers to a match without a name.
            let name = written.get("name").and_then(Value::as_str);
            let name = name.unwrap_or_default().to_owned();
            let place = all.entry(index);
            let spec = place.decode::<MatchSpec>(written);
            let condition = match spec.and_then(|spec| condition(spec, &place, &mut patterns)) {
                Ok(condition) => Some(condition),
                Err(problem) => {
                    let effect = Effect::new(Extent::Match, "this match fits no request");
                    problems.push(problem.with_effect(effect));
                    None
                }
            };
            named.push(NamedMatch { name, condition });
        }
        let group = HttpRouteGroup {
            created: object.created,
            object: reference.clone(),
            matches: named,
            programs: patterns.programs(),
        };
        Ok((group, problems))
    }
}

/// v1alpha1 and v1alpha2 of an HTTPRouteGroup have no `spec`.
fn has_no_spec(object: &Object) -> bool {
    matches!(object.version(), "v1alpha1" | "v1alpha2")
}

fn condition(
    spec: MatchSpec,
    place: &Place,
    patterns: &mut Patterns,
) -> Result<Permission, Problem> {
    place.nothing_but_known(&spec.rest, &[])?;
    let mut methods = spec.methods.unwrap_or_default();
    let known = |method: &String| method == "*" || METHODS.contains(&method.as_str());
    if let Some(index) = methods.iter().position(|method| !known(method)) {
        let place = place.field("methods").entry(index);
        let written = methods.get(index).cloned().unwrap_or_default();
        return Err(place.problem(messages::group_method_unknown(written)));
    }
    if methods.iter().any(|method| method == "*") {
        methods.clear();
    }
    methods.sort();
    methods.dedup();

    let path = spec.path_regex.filter(|regex| !regex.is_empty());
    if let Some(regex) = &path {
        patterns.add(&place.field("pathRegex"), regex)?;
    }
    let place = place.field("headers");
    let written = header_pairs(&spec.headers).map_err(|message| place.problem(message))?;
    place.at_most(&written, MAX_HEADERS)?;
    let mut headers = Vec::with_capacity(written.len());
    for (name, regex) in written {
        patterns.add(&place, &regex)?;
        let name = header_name(&name)
            .ok_or_else(|| place.problem(messages::group_header_no_name(&name)))?;
        let value = ValueMatch::Regex(regex);
        headers.push(Field { name, value });
    }
    Ok(Permission {
        path: path.map(PathMatch::Regex),
        methods,
        headers,
    })
}

/// Both forms in the wild: a map (the specification), and a list of maps with one key each (its SDK).
fn header_pairs(written: &Value) -> Result<Vec<(String, String)>, Message> {
    match written {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => map.iter().map(header_pair).collect(),
        Value::Array(items) => {
            let one = |item: &Value| match item.as_object() {
                Some(map) if map.len() == 1 => map.iter().next().map(header_pair),
                _ => None,
            };
            let pairs = items
                .iter()
                .map(|item| one(item).ok_or_else(messages::group_headers_no_pairs)?);
            pairs.collect()
        }
        _ => Err(messages::group_headers_no_pairs()),
    }
}

fn header_pair((name, value): (&String, &Value)) -> Result<(String, String), Message> {
    let what = match value {
        Value::String(text) => return Ok((name.clone(), text.clone())),
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Null => return Err(messages::group_header_no_value(name)),
        Value::Array(_) | Value::Object(_) => return Err(messages::group_headers_no_pairs()),
    };
    Err(messages::group_header_no_text(name, value, what))
}

/// The name as it travels: in lower case, and `:authority` for the host.
fn header_name(written: &str) -> Option<String> {
    let name = written.to_ascii_lowercase();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match name.as_str() {
        "host" | ":authority" => Some(":authority".to_owned()),
        _ => (!name.is_empty() && name.bytes().all(is_token)).then_some(name),
    }
}

#[derive(Deserialize)]
struct TcpManifest {
    spec: Option<TcpSpec>,
}

#[derive(Default, Deserialize)]
struct TcpSpec {
    matches: Option<TcpMatch>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Default, Deserialize)]
struct TcpMatch {
    name: Option<String>,
    ports: Option<Vec<u16>>,
    #[serde(flatten)]
    rest: Rest,
}

impl TcpRoute {
    /// All versions are read alike; before v1alpha4 the `spec` is empty.
    pub fn parse(object: &Object) -> Result<TcpRoute, Problem> {
        let TcpManifest { spec } = object.decode()?;
        let reference = object.reference();
        // A field that is not where it belongs would open every port.
        object.nothing_beside(&["spec"])?;
        let TcpSpec { matches, rest } = spec.unwrap_or_default();
        rest.refuse(&reference, "spec", &[])?;
        let TcpMatch { name, ports, rest } = matches.unwrap_or_default();
        rest.refuse(&reference, "spec.matches", &[])?;
        let mut ports = ports.unwrap_or_default();
        let path = "spec.matches.ports";
        at_most(&ports, MAX_PORTS, &reference, path)?;
        if let Some(index) = ports.iter().position(|port| *port == 0) {
            let message = messages::smi_tcp_route_port_zero();
            return Err(reference.problem(format!("{path}[{index}]"), message));
        }
        ports.sort_unstable();
        ports.dedup();
        Ok(TcpRoute { name, ports })
    }
}

#[cfg(test)]
mod tests;
