//! The checked, compiled form of a configuration: the only form that a lookup ever sees.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::access::Access;
use crate::asked::Asked;
use crate::condition::{Condition, Hostname};
use crate::connections::ConnectionTable;
use crate::host::Authority;
use crate::pattern::Patterns;
use crate::plugin::Site;
use crate::refusal::{Refusal, refuse};
use crate::rule::Rule;
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
    pub(crate) connections: ConnectionTable,
    pub(crate) rules: Vec<Rule>,
    /// None where everyone may reach everything.
    pub(crate) access: Option<Access>,
}

#[derive(Debug)]
struct Claim {
    port: u16,
    default_port: bool,
    /// For ports that no other claim of the name has.
    every_port: bool,
    host: usize,
}

#[derive(Debug)]
pub(crate) struct Host {
    matches: Vec<Match>,
    /// Names of the query parameters that matches ask for.
    parameters: BTreeSet<Box<[u8]>>,
    pub(crate) unmatched: Unmatched,
    /// The cluster that the ordinary route uses for these hosts, where the proxy says that it does so.
    pub(crate) ordinary_cluster: Option<Box<str>>,
}

#[derive(Debug)]
pub(crate) struct Match {
    condition: Condition,
    /// Index into [`Table::rules`].
    pub(crate) rule: usize,
    /// Port of the listener that requests come in at, where it is known.
    pub(crate) port: Option<u16>,
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
        if config.version < 2 && site.service_account.is_some() {
            return refuse(
                "version",
                format!(
                    "{} cannot say who may reach whom, which a proxy with a service account has to know",
                    config.version
                ),
            );
        }
        let mut table = Table::default();
        let mut patterns = Patterns::default();
        if let Some(access) = &config.access {
            let access = Access::compile(access, site, &mut patterns);
            table.access = Some(access.map_err(|refusal| refusal.within("access"))?);
        }
        let mut indexes = BTreeMap::new();
        for (identity, rule) in &config.rules {
            indexes.insert(identity.as_str(), table.rules.len());
            let access = table.access.as_ref();
            table
                .rules
                .push(Rule::compile(identity, rule, access, site)?);
        }
        for (index, set) in config.hosts.iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format_args!("hosts[{index}]"));
            let host = Host::compile(set, &indexes, &mut patterns, site).map_err(within)?;
            if let Some(host) = host {
                table.add(&set.hosts, host, site).map_err(within)?;
            }
        }
        table.connections = ConnectionTable::compile(config, &indexes, site)?;
        Ok(table)
    }

    fn add(&mut self, hosts: &wire::Hosts, host: Host, site: &Site) -> Result<(), Refusal> {
        let every_port = matches!(hosts, wire::Hosts::Literal(literal) if literal.every_port);
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
                let (hosts, key) = match Hostname::parse(hostname) {
                    Some(Hostname::Wildcard(suffix)) => (&mut self.wildcard, suffix),
                    Some(Hostname::Exact(name)) => (&mut self.exact, name),
                    None => return refuse("hosts.gateway.hostname", format!("{hostname:?}")),
                };
                hosts.entry(key).or_insert(host);
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
                every_port,
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
            let claim = match authority.port {
                Some(port) => {
                    let own = claims.iter().find(|claim| claim.port == port);
                    own.or_else(|| claims.iter().find(|claim| claim.every_port))
                }
                None => claims.iter().find(|claim| claim.default_port),
            };
            return claim.and_then(|claim| self.hosts.get(claim.host));
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
        set: &wire::HostSet,
        rules: &BTreeMap<&str, usize>,
        patterns: &mut Patterns,
        site: &Site,
    ) -> Result<Option<Host>, Refusal> {
        let mut matches = Vec::with_capacity(set.matches.len());
        for (index, wire) in set.matches.iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format_args!("matches[{index}]"));
            let Some(rule) = rules.get(wire.rule.as_str()) else {
                let refusal = Refusal::new("rule", format!("no rule {:?}", wire.rule));
                return Err(within(refusal));
            };
            let condition = Condition::compile(wire, patterns).map_err(within)?;
            let elsewhere = site.listener.as_ref().is_some_and(|listener| {
                !wire.listeners.is_empty() && !wire.listeners.contains(listener)
            });
            if !elsewhere {
                matches.push(Match {
                    condition,
                    rule: *rule,
                    port: listener_port(&set.hosts, wire, site),
                });
            }
        }
        if matches.is_empty() && !set.matches.is_empty() {
            return Ok(None);
        }
        let parameters = matches.iter().flat_map(|it| it.condition.parameters());
        let parameters = parameters.cloned().collect();
        let ordinary_cluster = match &set.hosts {
            wire::Hosts::Root(root) if site.ordinary_route_serves_root => {
                Some(site.naming.cluster(&root.as_service()).into())
            }
            _ => None,
        };
        Ok(Some(Host {
            matches,
            parameters,
            unmatched: set.unmatched,
            ordinary_cluster,
        }))
    }

    /// The first match that fits.
    pub(crate) fn find<'t>(&'t self, asked: &mut Asked<'t>) -> Option<&'t Match> {
        let mut matches = self.matches.iter();
        matches.find(|wanted| wanted.condition.fits(asked, &self.parameters))
    }
}

/// Where requests of this match come in: at the port of the Service, of the listener that the proxy serves,
/// or that all listeners of the match share.
fn listener_port(hosts: &wire::Hosts, wanted: &wire::Match, site: &Site) -> Option<u16> {
    let gateway = match hosts {
        wire::Hosts::Root(root) => return Some(root.port),
        wire::Hosts::Literal(literal) => return Some(literal.port),
        wire::Hosts::Gateway(gateway) => gateway,
    };
    if let Some(listener) = &site.listener {
        return gateway.ports.get(listener).copied();
    }
    let is_of_match =
        |name: &String| wanted.listeners.is_empty() || wanted.listeners.contains(name);
    let ports = gateway.ports.iter().filter(|(name, _)| is_of_match(name));
    let mut ports = ports.map(|(_, port)| *port);
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

#[cfg(test)]
mod tests;
