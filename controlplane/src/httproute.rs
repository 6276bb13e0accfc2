//! HTTPRoute of Gateway API (v1, v1beta1) and of Linkerd (policy.linkerd.io v1beta2, v1beta3): the
//! manifest and its checked form.
//!
//! What a route refers to is decided in [`crate::attachment`] and [`crate::translate`], where the
//! other objects are known.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use weir_split::wire::PathMatch;

use crate::fields::{Rest, at_most};
use crate::hostname::{self, Hostname};
use crate::object::{Kind, Object};
use crate::path::{self, PathError};
use crate::problem::{ObjectRef, Problem, Reason};
use crate::revision;

/// Gateway API: HTTPBackendRef.weight.
const MAX_WEIGHT: u64 = 1_000_000;

// Gateway API v1: the longest lists of an HTTPRoute.
const MAX_PARENTS: usize = 32;
const MAX_HOSTNAMES: usize = 16;
const MAX_RULES: usize = 16;
const MAX_MATCHES_OF_RULE: usize = 64;
const MAX_MATCHES: usize = 128;
const MAX_BACKENDS: usize = 16;
const TOO_LONG: &str = "split it into several routes";

/// An HTTPRoute whose every field is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    pub object: ObjectRef,
    pub group: Group,
    pub created: Option<Timestamp>,
    /// Those that are Services or Gateways; others are another controller's business.
    pub parents: Vec<ParentRef>,
    pub hostnames: Vec<Hostname>,
    /// At least one.
    pub rules: Vec<RouteRule>,
}

/// Whose HTTPRoute it is; the two differ in defaults and in what no backends mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    GatewayApi,
    Linkerd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentKind {
    Service,
    Gateway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// Its place in `spec.parentRefs`.
    pub index: usize,
    pub kind: ParentKind,
    pub namespace: String,
    pub name: String,
    pub section_name: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// Its place in `spec.rules`.
    pub index: usize,
    /// What tells it from the route's other rules: its name, or the hash of its matches. Never its
    /// place, so that a rule keeps its sequence of picks when another is added before it.
    pub key: String,
    /// At least one; None fits every request.
    pub matches: Vec<Option<PathMatch>>,
    /// None or empty where the rule names none.
    pub backends: Vec<BackendRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// Group and kind are those of a Service.
    pub is_service: bool,
    pub namespace: String,
    pub name: String,
    pub port: Option<u16>,
    pub weight: u64,
}

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    parent_refs: Option<Vec<ParentRefSpec>>,
    hostnames: Option<Vec<String>>,
    rules: Option<Vec<RuleSpec>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParentRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<u16>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleSpec {
    name: Option<String>,
    matches: Option<Vec<MatchSpec>>,
    backend_refs: Option<Vec<BackendRefSpec>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Default, Deserialize)]
struct MatchSpec {
    path: Option<PathSpec>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct PathSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct BackendRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<u16>,
    #[serde(default)]
    weight: Value,
    #[serde(flatten)]
    rest: Rest,
}

impl HttpRoute {
    /// `None` is a route whose parents are all another controller's business (a Linkerd `Server`,
    /// say): whatever it contains is not for Weir to judge.
    pub fn parse(object: &Object) -> Result<Option<HttpRoute>, Problem> {
        let group = match object.kind {
            Kind::LinkerdHttpRoute => Group::Linkerd,
            _ => Group::GatewayApi,
        };
        if has_only_foreign_parents(object, group) {
            return Ok(None);
        }
        let Manifest { spec } = object.decode()?;
        let Spec {
            parent_refs,
            hostnames,
            rules,
            rest,
        } = spec;
        let reference = object.reference();
        rest.refuse(&reference, "spec", &["useDefaultGateways"])?;

        let parent_refs = parent_refs.unwrap_or_default();
        let path = "spec.parentRefs";
        at_most(&parent_refs, MAX_PARENTS, &reference, path, TOO_LONG)?;
        let mut parents = Vec::new();
        for (index, parent) in parent_refs.into_iter().enumerate() {
            let path = format!("spec.parentRefs[{index}]");
            parent.rest.refuse(&reference, &path, &[])?;
            let (of, kind) = (parent.group.as_deref(), parent.kind.as_deref());
            if is_unfinished(group, of, kind) {
                let of = match (of, group) {
                    (Some(of), _) => of,
                    (None, Group::Linkerd) => "policy.linkerd.io",
                    (None, Group::GatewayApi) => "gateway.networking.k8s.io",
                };
                return Err(reference.problem(
                    format!("{path}.group"),
                    Reason::NoMatchingParent,
                    format!(
                        "the group {of} has no kind {} that could be a parent",
                        kind.unwrap_or("Gateway")
                    ),
                    "for a Service write group: \"\" and kind: Service",
                ));
            }
            if let Some(kind) = parent_kind(group, of, kind) {
                parents.push(ParentRef {
                    index,
                    kind,
                    namespace: own_unless(parent.namespace, &object.namespace),
                    name: parent.name,
                    section_name: parent.section_name.filter(|name| !name.is_empty()),
                    port: parent.port,
                });
            }
        }
        let hostnames = parse_hostnames(&reference, group, &hostnames.unwrap_or_default())?;
        let mut written = rules.unwrap_or_default();
        if written.is_empty() {
            written.push(RuleSpec::default());
        }
        Ok(Some(HttpRoute {
            rules: parse_rules(&reference, written)?,
            object: reference,
            group,
            created: object.created,
            parents,
            hostnames,
        }))
    }
}

/// Looks at the kinds of the parents alone, before anything else in the route is judged.
fn has_only_foreign_parents(object: &Object, group: Group) -> bool {
    let parents = object
        .body
        .pointer("/spec/parentRefs")
        .and_then(Value::as_array);
    let is_foreign = |parent: &Value| {
        let field = |name: &str| parent.get(name).and_then(Value::as_str);
        let (of, kind) = (field("group"), field("kind"));
        parent.is_object()
            && parent_kind(group, of, kind).is_none()
            && !is_unfinished(group, of, kind)
    };
    parents.is_some_and(|parents| !parents.is_empty() && parents.iter().all(is_foreign))
}

fn parent_kind(route: Group, group: Option<&str>, kind: Option<&str>) -> Option<ParentKind> {
    let kind = kind.unwrap_or("Gateway");
    match (route, group) {
        (_, Some(group)) if is_core(group) => (kind == "Service").then_some(ParentKind::Service),
        (Group::GatewayApi, None | Some("gateway.networking.k8s.io")) => {
            (kind == "Gateway").then_some(ParentKind::Gateway)
        }
        _ => None,
    }
}

/// Parents that nobody can mean and no controller owns: a Service without its group, what Linkerd's defaults
/// make of a parent without group and kind, and kinds that the core group does not have.
fn is_unfinished(route: Group, group: Option<&str>, kind: Option<&str>) -> bool {
    match (route, group) {
        (_, Some(group)) if is_core(group) => kind != Some("Service"),
        (Group::Linkerd, None | Some("policy.linkerd.io")) => {
            matches!(kind, None | Some("Gateway" | "Service"))
        }
        (Group::GatewayApi, None | Some("gateway.networking.k8s.io")) => kind == Some("Service"),
        _ => false,
    }
}

/// Gateway API writes the core group as "", Linkerd's guides as "core".
fn is_core(group: &str) -> bool {
    group.is_empty() || group.eq_ignore_ascii_case("core")
}

fn own_unless(written: Option<String>, own: &str) -> String {
    let written = written.filter(|namespace| !namespace.is_empty());
    written.unwrap_or_else(|| own.to_owned())
}

fn parse_hostnames(
    object: &ObjectRef,
    group: Group,
    written: &[String],
) -> Result<Vec<Hostname>, Problem> {
    if group == Group::Linkerd && !written.is_empty() {
        return Err(object.problem(
            "spec.hostnames",
            Reason::UnsupportedValue,
            "hostnames of a policy.linkerd.io HTTPRoute are not supported",
            "take hostnames out: the parent Service says which hosts are meant",
        ));
    }
    at_most(written, MAX_HOSTNAMES, object, "spec.hostnames", TOO_LONG)?;
    let parse = |(index, text): (usize, &String)| {
        Hostname::parse(text).ok_or_else(|| {
            object.problem(
                format!("spec.hostnames[{index}]"),
                Reason::InvalidValue,
                format!("{text:?} is not a host name"),
                "write a name without port, such as shop.example.com or *.example.com",
            )
        })
    };
    written.iter().enumerate().map(parse).collect()
}

fn parse_rules(object: &ObjectRef, written: Vec<RuleSpec>) -> Result<Vec<RouteRule>, Problem> {
    at_most(&written, MAX_RULES, object, "spec.rules", TOO_LONG)?;
    let all_matches = written.iter().filter_map(|rule| rule.matches.as_ref());
    let total: usize = all_matches.map(Vec::len).sum();
    let mut names = BTreeSet::new();
    for (index, rule) in written.iter().enumerate() {
        let Some(name) = &rule.name else { continue };
        let invalid = |message: String, remedy: &str| {
            let path = format!("spec.rules[{index}].name");
            object.problem(path, Reason::InvalidValue, message, remedy)
        };
        if !hostname::is_dns_name(name) {
            return Err(invalid(
                format!("{name:?} is not a name"),
                "use lower-case letters, digits, '-' and '.'",
            ));
        }
        if !names.insert(name.clone()) {
            return Err(invalid(
                format!("two rules are named {name}"),
                "give each rule a name of its own",
            ));
        }
    }
    let mut unnamed = BTreeSet::new();
    let mut rules = Vec::with_capacity(written.len());
    for (index, rule) in written.into_iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        let RuleSpec {
            name,
            matches,
            backend_refs,
            rest,
        } = rule;
        let unsupported = ["filters", "retry", "sessionPersistence", "timeouts"];
        rest.refuse(object, &path, &unsupported)?;
        let matches = parse_matches(object, &path, matches.unwrap_or_default())?;
        let backends = parse_backends(object, &path, backend_refs.unwrap_or_default())?;
        let key = match name {
            Some(name) => name,
            // The first of two rules with the same matches gets every request, so the second is
            // never reached (Flagger writes such pairs).
            None => {
                let canonical = canonical(&matches);
                let key = hash_key(&canonical, &names);
                if !unnamed.insert(canonical) {
                    continue;
                }
                names.insert(key.clone());
                key
            }
        };
        rules.push(RouteRule {
            index,
            key,
            matches,
            backends,
        });
    }
    if total > MAX_MATCHES {
        let message = format!("{total} matches are more than {MAX_MATCHES}");
        return Err(object.problem("spec.rules", Reason::InvalidValue, message, TOO_LONG));
    }
    Ok(rules)
}

/// The matches' JSON.
fn canonical(matches: &[Option<PathMatch>]) -> String {
    let canonical: Vec<Value> = matches
        .iter()
        .map(|path| match path {
            None => serde_json::json!({}),
            Some(PathMatch::Exact(value)) => serde_json::json!({"path": {"exact": value}}),
            Some(PathMatch::Regex(value)) => serde_json::json!({"path": {"regex": value}}),
            Some(PathMatch::Prefix(value)) => serde_json::json!({"path": {"prefix": value}}),
        })
        .collect();
    Value::from(canonical).to_string()
}

/// The first 8 hexadecimal digits of the SHA-256 of the matches' JSON; more of them in the unlikely
/// case that another rule of the route is called so already.
fn hash_key(canonical: &str, taken: &BTreeSet<String>) -> String {
    let digest = Sha256::digest(canonical);
    let hex = revision::hex(&digest);
    let lengths = (8..=hex.len()).filter_map(|length| hex.get(..length));
    let free = lengths.into_iter().find(|key| !taken.contains(*key));
    free.unwrap_or(&hex).to_owned()
}

fn parse_matches(
    object: &ObjectRef,
    rule: &str,
    written: Vec<MatchSpec>,
) -> Result<Vec<Option<PathMatch>>, Problem> {
    let list = format!("{rule}.matches");
    at_most(&written, MAX_MATCHES_OF_RULE, object, &list, TOO_LONG)?;
    let mut matches = Vec::with_capacity(written.len());
    for (index, MatchSpec { path, rest }) in written.into_iter().enumerate() {
        let place = format!("{rule}.matches[{index}]");
        rest.refuse(object, &place, &["headers", "method", "queryParams"])?;
        let Some(PathSpec { kind, value, rest }) = path else {
            matches.push(None);
            continue;
        };
        rest.refuse(object, &format!("{place}.path"), &[])?;
        let parsed = path::parse(kind.as_deref(), value.as_deref()).map_err(|error| {
            let (field, reason, remedy) = match &error {
                PathError::Type(_) => ("type", Reason::UnsupportedValue, "use Exact or PathPrefix"),
                PathError::Value(_) => ("value", Reason::InvalidValue, "write an absolute path"),
            };
            object.problem(
                format!("{place}.path.{field}"),
                reason,
                error.to_string(),
                remedy,
            )
        })?;
        matches.push(parsed);
    }
    if matches.is_empty() {
        matches.push(None);
    }
    Ok(matches)
}

fn parse_backends(
    object: &ObjectRef,
    rule: &str,
    written: Vec<BackendRefSpec>,
) -> Result<Vec<BackendRef>, Problem> {
    let list = format!("{rule}.backendRefs");
    at_most(&written, MAX_BACKENDS, object, &list, TOO_LONG)?;
    let mut backends = Vec::with_capacity(written.len());
    for (index, backend) in written.into_iter().enumerate() {
        let path = format!("{rule}.backendRefs[{index}]");
        backend.rest.refuse(object, &path, &["filters"])?;
        let weight = match &backend.weight {
            Value::Null => Some(1),
            written => written.as_u64().filter(|weight| *weight <= MAX_WEIGHT),
        };
        let weight = weight.ok_or_else(|| {
            object.problem(
                format!("{path}.weight"),
                Reason::InvalidValue,
                format!("{} is not a weight", backend.weight),
                format!("write a whole number from 0 to {MAX_WEIGHT}"),
            )
        })?;
        backends.push(BackendRef {
            is_service: is_core(backend.group.as_deref().unwrap_or_default())
                && backend.kind.as_deref().unwrap_or("Service") == "Service",
            namespace: own_unless(backend.namespace, &object.namespace),
            name: backend.name,
            port: backend.port,
            weight,
        });
    }
    Ok(backends)
}

#[cfg(test)]
mod tests;
