//! The configuration as it goes over the wire: one type in one place for both sides.
//!
//! This is the dumb form, public fields and nothing checked; [`crate::Table`] is the checked one.
//! Order is meaning: a host's matches stand in order of precedence and the first that fits decides.
//! Weights stay as the user wrote them. An unknown field inside a match, a rule or a backend
//! refuses the document, for ignoring it could widen a rule; elsewhere it is ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The document version that this build writes and reads.
pub const VERSION: u32 = 1;

/// What one proxy may see of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub version: u32,
    /// Earlier sets win where two claim the same host and port.
    #[serde(default)]
    pub hosts: Vec<HostSet>,
    /// By identity. The identity keeps a rule's sequence of picks going across revisions.
    #[serde(default)]
    pub rules: BTreeMap<String, Rule>,
}

/// Hosts that share one ordered list of matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSet {
    pub hosts: Hosts,
    /// In order of precedence; the first that fits decides.
    pub matches: Vec<Match>,
    /// What a request to these hosts gets that fits no match.
    #[serde(default, skip_serializing_if = "Unmatched::is_pass")]
    pub unmatched: Unmatched,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// One port of a Service, under all the names by which clients call it.
    Root(Root),
    /// One host name that is no Service.
    Literal(Literal),
    /// Hosts of a Gateway, compared without port.
    Gateway(Gateway),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub service: String,
    pub namespace: String,
    pub port: u16,
    /// True where a Host without a port means this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
    /// For proxies that know a connection's original destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Literal {
    /// Lower case, without port and without trailing dot.
    pub name: String,
    pub port: u16,
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Lower case; exact (`shop.example.com`) or wildcard (`*.example.com`); none means every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// The request goes on untouched.
    #[default]
    Pass,
    /// The request is answered 404.
    NotFound,
}

impl Unmatched {
    fn is_pass(&self) -> bool {
        *self == Unmatched::Pass
    }
}

/// What a request must show. A condition that is absent holds for every request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Names of the Gateway's listeners that this match belongs to; none for other hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Identity of the rule that it leads to.
    pub rule: String,
}

impl Match {
    /// The lowest document version that can say this match.
    pub fn since(&self) -> u32 {
        let Match {
            path: _,
            listeners: _,
            rule: _,
        } = self;
        1
    }
}

/// HTTPPathMatch of Gateway API v1. The query string is no part of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PathMatch {
    Exact(String),
    /// By path element: `/echo` fits `/echo` and `/echo/a`, not `/echoes`.
    Prefix(String),
}

/// The weighted backends that one or more matches lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Their weights add up to at least 1 and less than 2^63.
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    Service(Service),
    /// The share of a broken backend: answered with this HTTP status.
    Status(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Relative to the other backends of the rule, as written; 0 means never.
    pub weight: u64,
    pub to: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: String,
    pub namespace: String,
    pub port: u16,
}

/// `SERVICE.NAMESPACE:PORT`, the way in which people and metrics name a backend.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.name, self.namespace, self.port)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
