//! The checked, compiled form of a configuration: the only form that a lookup ever sees.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::host::Authority;
use crate::path::{PathMatch, without_query};
use crate::plugin::{Site, is_dns_name};
use crate::sampler::MAX_TOTAL;
use crate::wire::{self, Unmatched};

/// Built once for each revision, never changed.
#[derive(Debug, Default)]
pub struct Table {
    /// Roots and literal hosts by name: those that claim it, in order.
    named: HashMap<Box<[u8]>, Vec<Claim>>,
    /// Hostnames of a Gateway.
    exact: HashMap<Box<[u8]>, Host>,
    /// Wildcard hostnames of a Gateway, by what follows the star: `.example.com`.
    wildcard: HashMap<Box<[u8]>, Host>,
    /// The Gateway's routes for every host.
    any: Option<Host>,
    /// Host sets that [`Claim::host`] points into; a root has several names.
    hosts: Vec<Host>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug)]
struct Claim {
    port: u16,
    default_port: bool,
    host: usize,
}

#[derive(Debug)]
pub(crate) struct Host {
    matches: Vec<Condition>,
    unmatched: Unmatched,
    /// The cluster that the ordinary route uses for these hosts, where the proxy says that it does so.
    pub(crate) ordinary_cluster: Option<Box<str>>,
}

#[derive(Debug)]
struct Condition {
    path: PathMatch,
    rule: usize,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) identity: Box<str>,
    pub(crate) backends: Vec<Backend>,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) weight: u64,
    /// `SERVICE.NAMESPACE:PORT`, or the status of a broken share.
    pub(crate) label: Box<str>,
    pub(crate) to: Destination,
}

#[derive(Debug)]
pub(crate) enum Destination {
    Cluster(Box<str>),
    Status(u16),
}

/// What a host's matches say of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Index into [`Table::rules`].
    Rule(usize),
    Unmatched(Unmatched),
}

/// Why a configuration is refused as a whole: the place in it and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    path: String,
    reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for Refusal {}

fn refuse<T>(path: impl Into<String>, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        path: path.into(),
        reason: reason.into(),
    })
}

impl Table {
    /// Checks the whole configuration and compiles it for one proxy.
    pub fn compile(config: &wire::Config, site: &Site) -> Result<Table, Refusal> {
        if !(1..=wire::VERSION).contains(&config.version) {
            return refuse(
                "version",
                format!(
                    "{}, this filter reads 1 to {}",
                    config.version,
                    wire::VERSION
                ),
            );
        }
        let mut table = Table::default();
        let mut indexes = BTreeMap::new();
        for (identity, rule) in &config.rules {
            indexes.insert(identity.as_str(), table.rules.len());
            table.rules.push(Rule::compile(identity, rule, site)?);
        }
        for (place, set) in config.hosts.iter().enumerate() {
            let path = format!("hosts[{place}]");
            if let Some(host) = Host::compile(&path, set, &indexes, site)? {
                table.add(&path, &set.hosts, host, site)?;
            }
        }
        Ok(table)
    }

    fn add(
        &mut self,
        path: &str,
        hosts: &wire::Hosts,
        host: Host,
        site: &Site,
    ) -> Result<(), Refusal> {
        let (names, port, default_port) = match hosts {
            wire::Hosts::Root(root) => (root_names(root, site), root.port, root.default_port),
            wire::Hosts::Literal(literal) => (
                vec![literal.name.to_ascii_lowercase()],
                literal.port,
                literal.default_port,
            ),
            wire::Hosts::Gateway(gateway) => {
                let Some(hostname) = &gateway.hostname else {
                    self.any.get_or_insert(host);
                    return Ok(());
                };
                let hostname = hostname.to_ascii_lowercase();
                let (hosts, key) = match hostname.strip_prefix('*') {
                    Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') => {
                        (&mut self.wildcard, suffix)
                    }
                    None if !hostname.is_empty() => (&mut self.exact, hostname.as_str()),
                    _ => return refuse(path, format!("hostname {hostname:?}")),
                };
                hosts.entry(key.as_bytes().into()).or_insert(host);
                return Ok(());
            }
        };
        let index = self.hosts.len();
        self.hosts.push(host);
        for name in names {
            let claims = self.named.entry(name.into_bytes().into()).or_default();
            claims.push(Claim {
                port,
                default_port,
                host: index,
            });
        }
        Ok(())
    }

    /// The host set of a request, by its `:authority`.
    pub(crate) fn host(&self, authority: &[u8]) -> Option<&Host> {
        let Some(authority) = Authority::parse(authority) else {
            return self.any.as_ref();
        };
        let name = authority.name();
        if let Some(claims) = self.named.get(name) {
            return claims
                .iter()
                .find(|claim| match authority.port {
                    Some(port) => claim.port == port,
                    None => claim.default_port,
                })
                .and_then(|claim| self.hosts.get(claim.host));
        }
        self.exact
            .get(name)
            .or_else(|| self.wildcard(name))
            .or(self.any.as_ref())
    }

    /// The longest wildcard that fits: one label or more stand in for the star.
    fn wildcard(&self, name: &[u8]) -> Option<&Host> {
        if self.wildcard.is_empty() {
            return None;
        }
        let dots = name.iter().enumerate().skip(1);
        dots.filter(|(_, byte)| **byte == b'.')
            .find_map(|(dot, _)| self.wildcard.get(name.get(dot..)?))
    }

    /// Rules that this table holds.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }
}

/// The names by which clients call a Service, without port. `svc.ns.svc.cluster` is one of them where the
/// domain is `cluster.local`: a resolver's search list may stop there.
fn root_names(root: &wire::Root, site: &Site) -> Vec<String> {
    let full = format!("{}.{}", root.service, root.namespace).to_ascii_lowercase();
    let domain = site.cluster_domain.as_str();
    let first = domain.split('.').next().unwrap_or(domain);
    let mut names = vec![
        full.clone(),
        format!("{full}.svc"),
        format!("{full}.svc.{first}"),
    ];
    if first != domain {
        names.push(format!("{full}.svc.{domain}"));
    }
    if root.namespace == site.namespace {
        names.push(root.service.to_ascii_lowercase());
    }
    names
}

impl Host {
    /// None where no match is meant for this proxy's listener.
    fn compile(
        path: &str,
        set: &wire::HostSet,
        rules: &BTreeMap<&str, usize>,
        site: &Site,
    ) -> Result<Option<Host>, Refusal> {
        let mut matches = Vec::new();
        for (place, wire) in set.matches.iter().enumerate() {
            let Some(rule) = rules.get(wire.rule.as_str()) else {
                return refuse(
                    format!("{path}.matches[{place}].rule"),
                    format!("no rule {:?}", wire.rule),
                );
            };
            let elsewhere = site.listener.as_ref().is_some_and(|listener| {
                !wire.listeners.is_empty() && !wire.listeners.contains(listener)
            });
            if !elsewhere {
                matches.push(Condition {
                    path: PathMatch::from(&wire.path),
                    rule: *rule,
                });
            }
        }
        if matches.is_empty() && !set.matches.is_empty() {
            return Ok(None);
        }
        let ordinary_cluster = match &set.hosts {
            wire::Hosts::Root(root) if site.ordinary_route_serves_root => {
                let service = wire::Service {
                    name: root.service.clone(),
                    namespace: root.namespace.clone(),
                    port: root.port,
                };
                Some(site.naming.cluster(&service).into())
            }
            _ => None,
        };
        Ok(Some(Host {
            matches,
            unmatched: set.unmatched,
            ordinary_cluster,
        }))
    }

    /// The rule of the first match that fits. `path` is asked for `:path` only where a match needs it.
    pub(crate) fn verdict(&self, path: impl FnOnce() -> Option<Vec<u8>>) -> Verdict {
        let fits = match self.matches.first() {
            Some(first) if first.path.is_any() => Some(first),
            None => None,
            Some(_) => {
                let path = path().unwrap_or_default();
                let path = without_query(&path);
                self.matches.iter().find(|wanted| wanted.path.fits(path))
            }
        };
        match fits {
            Some(condition) => Verdict::Rule(condition.rule),
            None => Verdict::Unmatched(self.unmatched),
        }
    }
}

impl Rule {
    fn compile(identity: &str, rule: &wire::Rule, site: &Site) -> Result<Rule, Refusal> {
        let path = || format!("rules[{identity:?}]");
        // An identity becomes a part of a metric's name.
        if identity.is_empty()
            || identity
                .bytes()
                .any(|byte| byte <= b' ' || byte >= 127 || matches!(byte, b';' | b'='))
        {
            return refuse(path(), "an identity is visible ASCII without ';' and '='");
        }
        let mut total: u64 = 0;
        let mut backends = Vec::new();
        for (place, backend) in rule.backends.iter().enumerate() {
            let path = || format!("rules[{identity:?}].backends[{place}]");
            total = match total.checked_add(backend.weight) {
                Some(total) if total < MAX_TOTAL => total,
                _ => return refuse(path(), "the weights add up to 2^63 or more"),
            };
            let (label, to) = match &backend.to {
                wire::Target::Service(service) => {
                    if !is_dns_name(&service.name) || !is_dns_name(&service.namespace) {
                        return refuse(path(), format!("no name of a Service: {service}"));
                    }
                    let cluster = site.naming.cluster(service);
                    (service.to_string(), Destination::Cluster(cluster.into()))
                }
                wire::Target::Status(status @ 400..=599) => {
                    (status.to_string(), Destination::Status(*status))
                }
                wire::Target::Status(status) => {
                    return refuse(path(), format!("{status} is not the status of an error"));
                }
            };
            backends.push(Backend {
                weight: backend.weight,
                label: label.into(),
                to,
            });
        }
        if total == 0 {
            return refuse(path(), "no backend has a weight");
        }
        Ok(Rule {
            identity: identity.into(),
            backends,
        })
    }

    /// Equal rules go on with their sequence across revisions.
    pub(crate) fn has_backends_of(&self, other: &Rule) -> bool {
        let shape = |rule: &Rule| -> Vec<_> {
            let backends = rule.backends.iter();
            backends.map(|it| (it.weight, it.label.clone())).collect()
        };
        shape(self) == shape(other)
    }
}
