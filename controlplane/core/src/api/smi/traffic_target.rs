//! TrafficTarget (access.smi-spec.io, v1alpha1 to v1alpha3), and the access policies that Weir offers.
//!
//! [`crate::translate`] looks up the objects that a target names. Weir leaves out the invalid sources and rules of a
//! target, so they permit nothing.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::manifest::hostname;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::access as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::{UnknownFields, at_most};

/// The access policy: which clients may reach a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Configurations have no access policy, and Weir does not read TrafficTargets. A proxy with a ServiceAccount in
    /// its plugin configuration refuses a configuration without a policy. Every other proxy allows all requests.
    #[default]
    Unstated,
    /// Configurations allow all requests. Weir does not read TrafficTargets.
    Permissive,
    /// TrafficTargets allow requests; all other requests are denied.
    Smi,
}

const MAX_SOURCES: usize = 1_000;
const MAX_RULES: usize = 100;
const MAX_MATCHES: usize = 256;

/// A TrafficTarget, without the sources and rules that are invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficTarget {
    pub object: ObjectRef,
    pub created: Option<Timestamp>,
    /// Name of the ServiceAccount of the Pods that clients may reach, in the namespace of the target.
    pub destination: String,
    /// The only port that the target permits, and the path of the port in the manifest. None if the target permits
    /// every port. Only v1alpha1 and v1alpha2 have a port.
    pub port: Option<(u16, String)>,
    /// The ServiceAccounts of the permitted clients as `NAMESPACE/NAME`, sorted, without duplicates.
    pub sources: Vec<String>,
    pub rules: Vec<AccessRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// The field path of the rule in the manifest.
    pub path: String,
    pub kind: RuleKind,
    /// Name of an HTTPRouteGroup or a TCPRoute in the namespace of the target.
    pub name: String,
    /// Names of matches in this HTTPRouteGroup or TCPRoute. An empty list means all its matches.
    pub matches: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    HttpRouteGroup,
    TcpRoute,
}

#[derive(Deserialize)]
struct TargetManifest {
    spec: TargetSpec,
}

#[derive(Deserialize)]
struct TargetSpec {
    destination: IdentityBindingSubject,
    #[serde(default)]
    sources: Vec<IdentityBindingSubject>,
    #[serde(default)]
    rules: Vec<RuleSpec>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// The manifest of a TrafficTarget at v1alpha1, which has no `spec`.
#[derive(Deserialize)]
struct TargetWithoutSpec {
    destination: IdentityBindingSubject,
    #[serde(default)]
    sources: Vec<IdentityBindingSubject>,
    #[serde(default)]
    specs: Vec<RuleSpec>,
}

/// A ServiceAccount. The name of this type is from the SMI specification.
#[derive(Deserialize)]
struct IdentityBindingSubject {
    kind: String,
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    port: Value,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct RuleSpec {
    kind: String,
    name: String,
    #[serde(default)]
    matches: Vec<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl TrafficTarget {
    /// Parses a target. Leaves out each invalid source or rule and returns a problem for it. An invalid destination is
    /// an error.
    pub fn parse(object: &Object) -> Result<(TrafficTarget, Vec<Problem>), Problem> {
        let reference = object.reference();
        let (destination, sources, rules, paths) = if object.version() == "v1alpha1" {
            let TargetWithoutSpec {
                destination,
                sources,
                specs,
            } = object.decode()?;
            object.reject_other_fields(&["destination", "sources", "specs"])?;
            (
                destination,
                sources,
                specs,
                ["destination", "sources", "specs"],
            )
        } else {
            let TargetManifest { spec } = object.decode()?;
            spec.unknown.reject(&reference, "spec")?;
            object.reject_other_fields(&["spec"])?;
            let paths = ["spec.destination", "spec.sources", "spec.rules"];
            (spec.destination, spec.sources, spec.rules, paths)
        };
        let [at_destination, at_sources, at_rules] = paths;
        at_most(&sources, MAX_SOURCES, &reference, at_sources)?;
        at_most(&rules, MAX_RULES, &reference, at_rules)?;

        let port_path = format!("{at_destination}.port");
        let port = destination_port(object, &reference, &destination.port, &port_path)?;
        let qualified = account(&destination, &reference, at_destination)?;
        let own = reference.namespace.as_str();
        let (namespace, name) = qualified.split_once('/').unwrap_or_default();
        if namespace != own {
            return Err(reference.problem(
                format!("{at_destination}.namespace"),
                messages::target_grants_elsewhere(own, &qualified),
            ));
        }

        let mut problems = Vec::new();
        if sources.is_empty() {
            problems.push(reference.problem(at_sources, messages::target_without_sources()));
        }
        if rules.is_empty() {
            problems.push(reference.problem(at_rules, messages::target_without_rules()));
        }
        let mut accounts = Vec::with_capacity(sources.len());
        for (index, source) in sources.iter().enumerate() {
            let path = format!("{at_sources}[{index}]");
            match account(source, &reference, &path) {
                Ok(_) if !source.port.is_null() => problems
                    .push(reference.problem(format!("{path}.port"), messages::source_with_port())),
                Ok(account) => accounts.push(account),
                Err(problem) => problems.push(problem),
            }
        }
        accounts.sort();
        accounts.dedup();
        let mut access_rules = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            match AccessRule::read(rule, &reference, format!("{at_rules}[{index}]")) {
                Ok(rule) => access_rules.push(rule),
                Err(problem) => problems.push(problem),
            }
        }
        let target = TrafficTarget {
            destination: name.to_owned(),
            object: reference,
            created: object.created,
            port: port.map(|port| (port, port_path)),
            sources: accounts,
            rules: access_rules,
        };
        Ok((target, problems))
    }
}

/// Returns `NAMESPACE/NAME` of a ServiceAccount. The namespace defaults to the namespace of the target.
fn account(
    subject: &IdentityBindingSubject,
    object: &ObjectRef,
    path: &str,
) -> Result<String, Problem> {
    subject.unknown.reject(object, path)?;
    if subject.kind != "ServiceAccount" {
        let message = messages::account_of_another_kind(&subject.kind);
        return Err(object.problem(format!("{path}.kind"), message));
    }
    let namespace = match subject.namespace.as_deref() {
        None | Some("") => object.namespace.as_str(),
        Some(namespace) => namespace,
    };
    if !hostname::is_label(namespace) || !hostname::is_dns_name(&subject.name) {
        let message = messages::account_no_name(namespace, &subject.name);
        return Err(object.problem(path, message));
    }
    Ok(format!("{namespace}/{}", subject.name))
}

/// Returns the port of the destination. Users write the port as a text at v1alpha1, and as a number at v1alpha2. At
/// v1alpha3 a destination has no port, so a port is an error.
fn destination_port(
    object: &Object,
    reference: &ObjectRef,
    port: &Value,
    path: &str,
) -> Result<Option<u16>, Problem> {
    if port.is_null() {
        return Ok(None);
    }
    if object.version() == "v1alpha3" {
        let message = messages::destination_port_of_this_version(object.version());
        return Err(reference.problem(path, message));
    }
    let text = port.as_str().map(str::to_owned);
    let text = text.unwrap_or_else(|| port.to_string());
    match text.parse::<u16>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(reference.problem(path, messages::destination_port_no_number(port))),
    }
}

impl AccessRule {
    fn read(rule: RuleSpec, object: &ObjectRef, path: String) -> Result<AccessRule, Problem> {
        rule.unknown.reject(object, &path)?;
        at_most(
            &rule.matches,
            MAX_MATCHES,
            object,
            &format!("{path}.matches"),
        )?;
        let kind = match rule.kind.as_str() {
            "HTTPRouteGroup" => RuleKind::HttpRouteGroup,
            "TCPRoute" => RuleKind::TcpRoute,
            other => {
                let message = messages::rule_of_another_kind(other);
                return Err(object.problem(format!("{path}.kind"), message));
            }
        };
        Ok(AccessRule {
            path,
            kind,
            name: rule.name,
            matches: rule.matches,
        })
    }
}

#[cfg(test)]
mod tests;
