//! HTTPRouteGroup and TCPRoute (specs.smi-spec.io, v1alpha1 to v1alpha4): conditions that TrafficSplits and
//! TrafficTargets refer to by name.
//!
//! Regular expressions must match the whole value, as in Open Service Mesh. A path is matched without its query. The
//! header name `host` also matches the header `:authority` of HTTP/2.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{Field, PathMatch, Permission, ValueMatch};

use crate::manifest::field_path::FieldPath;
use crate::manifest::object::Object;
use crate::manifest::patterns::{Patterns, Programs};
use crate::manifest::problem::messages::{Message, group as messages};
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use crate::manifest::unknown_fields::{UnknownFields, at_most};

/// The maximum number of matches of one group. Every split and every TrafficTarget that refers to the group gets a copy
/// of all matches.
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
    /// The matches in the order of the manifest. Several matches may have the same name.
    pub matches: Vec<NamedMatch>,
    /// The regular expressions of all matches.
    pub programs: Programs,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NamedMatch {
    pub name: String,
    /// The conditions. None for an invalid match, which matches no request.
    pub condition: Option<Permission>,
}

/// TCPRoute of SMI, not TCPRoute of Gateway API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRoute {
    /// The name of the route's match. A TrafficTarget may select the match by this name.
    pub name: Option<String>,
    /// The ports, sorted, without duplicates. An empty list means every port.
    pub ports: Vec<u16>,
}

#[derive(Deserialize)]
struct GroupManifest {
    spec: GroupSpec,
}

/// The `spec` of v1alpha3 and later versions.
#[derive(Deserialize)]
struct GroupSpec {
    /// The matches. Each match is decoded separately, so that an invalid match does not affect the others.
    matches: Vec<Value>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupMatchSpec {
    #[serde(rename = "name")]
    _name: String,
    path_regex: Option<String>,
    methods: Option<Vec<String>>,
    #[serde(default)]
    headers: Value,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// The manifest at v1alpha1 and v1alpha2.
#[derive(Deserialize)]
struct GroupWithoutSpec {
    matches: Vec<Value>,
}

impl HttpRouteGroup {
    /// Parses a group. Returns a problem for each invalid match. An invalid match matches no request; the other matches
    /// stay valid.
    pub fn parse(object: &Object) -> Result<(HttpRouteGroup, Vec<Problem>), Problem> {
        let reference = object.reference();
        let has_spec = !matches!(object.version(), "v1alpha1" | "v1alpha2");
        let has = |pointer: &str| object.body.pointer(pointer).is_some_and(|it| !it.is_null());
        if !has_spec && has("/spec/matches") {
            let message = messages::group_matches_under_spec(object.version());
            return Err(reference.problem("spec.matches", message));
        }
        if has_spec && has("/matches") {
            let message = messages::group_matches_at_the_top(object.version());
            return Err(reference.problem("matches", message));
        }
        let (values, path) = if has_spec {
            let GroupManifest { spec } = object.decode()?;
            spec.unknown.reject(&reference, "spec")?;
            (spec.matches, "spec.matches")
        } else {
            let GroupWithoutSpec { matches } = object.decode()?;
            (matches, "matches")
        };
        object.reject_other_fields(&[if has_spec { "spec" } else { "matches" }])?;
        at_most(&values, MAX_MATCHES, &reference, path)?;

        let at_matches = FieldPath::new(&reference, path);
        let mut patterns = Patterns::default();
        let mut problems = Vec::new();
        if values.is_empty() {
            problems.push(at_matches.problem(messages::group_without_matches()));
        }
        let mut matches = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            // No object can refer to a match without a name.
            let name = value.get("name").and_then(Value::as_str);
            let name = name.unwrap_or_default().to_owned();
            let at = at_matches.entry(index);
            let spec = at.decode::<GroupMatchSpec>(value);
            let condition = match spec.and_then(|spec| parse_match(spec, &at, &mut patterns)) {
                Ok(condition) => Some(condition),
                Err(problem) => {
                    let effect = Effect::new(Extent::Match, "this match fits no request");
                    problems.push(problem.with_effect(effect));
                    None
                }
            };
            matches.push(NamedMatch { name, condition });
        }
        let group = HttpRouteGroup {
            created: object.created,
            object: reference.clone(),
            matches,
            programs: patterns.programs(),
        };
        Ok((group, problems))
    }
}

fn parse_match(
    spec: GroupMatchSpec,
    at: &FieldPath,
    patterns: &mut Patterns,
) -> Result<Permission, Problem> {
    at.reject_unknown(&spec.unknown)?;
    let mut methods = spec.methods.unwrap_or_default();
    let invalid = methods
        .iter()
        .position(|method| method != "*" && !METHODS.contains(&method.as_str()));
    if let Some(index) = invalid {
        let at = at.field("methods").entry(index);
        let method = methods.get(index).cloned().unwrap_or_default();
        return Err(at.problem(messages::group_method_unknown(method)));
    }
    if methods.iter().any(|method| method == "*") {
        methods.clear();
    }
    methods.sort();
    methods.dedup();

    let path = spec.path_regex.filter(|regex| !regex.is_empty());
    if let Some(regex) = &path {
        patterns.add(&at.field("pathRegex"), regex)?;
    }
    let at = at.field("headers");
    let pairs = header_pairs(&spec.headers).map_err(|message| at.problem(message))?;
    at.at_most(&pairs, MAX_HEADERS)?;
    let mut headers = Vec::with_capacity(pairs.len());
    for (name, regex) in pairs {
        patterns.add(&at, &regex)?;
        let name =
            header_name(&name).ok_or_else(|| at.problem(messages::group_header_no_name(&name)))?;
        let value = ValueMatch::Regex(regex);
        headers.push(Field { name, value });
    }
    Ok(Permission {
        path: path.map(PathMatch::Regex),
        methods,
        headers,
    })
}

/// Returns the names of headers, with a regular expression for each. Users write `headers` in two forms: a map, as in
/// the specification, or a list of maps with one key each, as in the Go SDK of SMI.
fn header_pairs(headers: &Value) -> Result<Vec<(String, String)>, Message> {
    match headers {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => map.iter().map(header_pair).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let map = item.as_object().filter(|map| map.len() == 1);
                let entry = map.and_then(|map| map.iter().next());
                header_pair(entry.ok_or_else(messages::group_headers_no_pairs)?)
            })
            .collect(),
        _ => Err(messages::group_headers_no_pairs()),
    }
}

fn header_pair((name, value): (&String, &Value)) -> Result<(String, String), Message> {
    let value_type = match value {
        Value::String(text) => return Ok((name.clone(), text.clone())),
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Null => return Err(messages::group_header_no_value(name)),
        Value::Array(_) | Value::Object(_) => return Err(messages::group_headers_no_pairs()),
    };
    Err(messages::group_header_no_text(name, value, value_type))
}

/// Returns the name of the header in the configuration: the name in lower case, or `:authority` for `host`. Returns
/// None if the name is not a token (RFC 9110, 5.1).
fn header_name(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
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
    unknown: UnknownFields,
}

#[derive(Default, Deserialize)]
struct TcpMatch {
    name: Option<String>,
    ports: Option<Vec<u16>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl TcpRoute {
    /// Parses a TCPRoute. Only v1alpha4 of the specification has `matches`, but Weir reads `matches` in every version.
    pub fn parse(object: &Object) -> Result<TcpRoute, Problem> {
        let TcpManifest { spec } = object.decode()?;
        let reference = object.reference();
        // If Weir ignored `matches` outside `spec`, the route would apply to every port.
        object.reject_other_fields(&["spec"])?;
        let TcpSpec { matches, unknown } = spec.unwrap_or_default();
        unknown.reject(&reference, "spec")?;
        let TcpMatch {
            name,
            ports,
            unknown,
        } = matches.unwrap_or_default();
        unknown.reject(&reference, "spec.matches")?;
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
