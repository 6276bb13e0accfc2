//! TrafficTarget (access.smi-spec.io, v1alpha1 to v1alpha3), and whether it decides.
//!
//! What a target names is looked up in [`crate::translate`], where the other objects are known. Whatever
//! of it is not understood lets nobody through.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::manifest::hostname;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::access as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::{Rest, at_most};

/// What lets a client reach a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// No document says who may reach whom. A proxy that names a service account refuses such a document; any other
    /// proxy lets everyone reach everything. TrafficTargets are not read.
    #[default]
    Unstated,
    /// Each document says that everyone may reach everything. TrafficTargets are not read.
    Permissive,
    /// TrafficTargets decide; what none of them allows is denied.
    Smi,
}

const MAX_SOURCES: usize = 1_000;
const MAX_RULES: usize = 100;
const MAX_MATCHES: usize = 256;

/// A TrafficTarget of which every part is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficTarget {
    pub object: ObjectRef,
    pub created: Option<Timestamp>,
    /// ServiceAccount in the target's namespace.
    pub destination: String,
    /// The one port that is meant, with its field path (v1alpha1 and v1alpha2).
    pub port: Option<(u16, String)>,
    /// ServiceAccounts, `NAMESPACE/NAME`.
    pub sources: Vec<String>,
    pub rules: Vec<AccessRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Field path.
    pub path: String,
    pub kind: RuleKind,
    /// In the target's namespace.
    pub name: String,
    /// Names of matches in it; none means all.
    pub matches: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    HttpRouteGroup,
    TcpRoute,
}

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    destination: Subject,
    #[serde(default)]
    sources: Vec<Subject>,
    #[serde(default)]
    rules: Vec<RuleSpec>,
    #[serde(flatten)]
    rest: Rest,
}

/// v1alpha1 has all of it beside its metadata.
#[derive(Deserialize)]
struct OldManifest {
    destination: Subject,
    #[serde(default)]
    sources: Vec<Subject>,
    #[serde(default)]
    specs: Vec<RuleSpec>,
}

#[derive(Deserialize)]
struct Subject {
    kind: String,
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    port: Value,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct RuleSpec {
    kind: String,
    name: String,
    #[serde(default)]
    matches: Vec<String>,
    #[serde(flatten)]
    rest: Rest,
}

impl TrafficTarget {
    /// A source or a rule that is wrong is left out with a problem; a wrong destination leaves out the target.
    pub fn parse(object: &Object) -> Result<(TrafficTarget, Vec<Problem>), Problem> {
        let reference = object.reference();
        let (destination, sources, rules, at) = if object.version() == "v1alpha1" {
            let OldManifest {
                destination,
                sources,
                specs,
            } = object.decode()?;
            object.nothing_beside(&["destination", "sources", "specs"])?;
            (
                destination,
                sources,
                specs,
                ["destination", "sources", "specs"],
            )
        } else {
            let Manifest { spec } = object.decode()?;
            spec.rest.refuse(&reference, "spec", &[])?;
            object.nothing_beside(&["spec"])?;
            let at = ["spec.destination", "spec.sources", "spec.rules"];
            (spec.destination, spec.sources, spec.rules, at)
        };
        let [at_destination, at_sources, at_rules] = at;
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
        let mut allowed = Vec::with_capacity(sources.len());
        for (index, source) in sources.iter().enumerate() {
            let path = format!("{at_sources}[{index}]");
            match account(source, &reference, &path) {
                Ok(_) if !source.port.is_null() => problems
                    .push(reference.problem(format!("{path}.port"), messages::source_with_port())),
                Ok(source) => allowed.push(source),
                Err(problem) => problems.push(problem),
            }
        }
        allowed.sort();
        allowed.dedup();
        let mut understood = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            match AccessRule::read(rule, &reference, format!("{at_rules}[{index}]")) {
                Ok(rule) => understood.push(rule),
                Err(problem) => problems.push(problem),
            }
        }
        let target = TrafficTarget {
            destination: name.to_owned(),
            object: reference,
            created: object.created,
            port: port.map(|port| (port, port_path)),
            sources: allowed,
            rules: understood,
        };
        Ok((target, problems))
    }
}

/// `NAMESPACE/NAME` of a ServiceAccount; without a namespace that of the object is meant.
fn account(subject: &Subject, object: &ObjectRef, path: &str) -> Result<String, Problem> {
    subject.rest.refuse(object, path, &[])?;
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

/// v1alpha1 wrote a port as text, v1alpha2 as a number; v1alpha3 has none.
fn destination_port(
    object: &Object,
    reference: &ObjectRef,
    written: &Value,
    path: &str,
) -> Result<Option<u16>, Problem> {
    if written.is_null() {
        return Ok(None);
    }
    if object.version() == "v1alpha3" {
        let message = messages::destination_port_of_this_version(object.version());
        return Err(reference.problem(path, message));
    }
    let text = written.as_str().map(str::to_owned);
    let text = text.unwrap_or_else(|| written.to_string());
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(reference.problem(path, messages::destination_port_no_number(written))),
    }
}

impl AccessRule {
    fn read(rule: RuleSpec, object: &ObjectRef, path: String) -> Result<AccessRule, Problem> {
        rule.rest.refuse(object, &path, &[])?;
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
