//! The checked, compiled form of a configuration. Lookups use only this form.

mod index;
mod listeners;
mod sets;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::access::Access;
use crate::connections::ConnectionTable;
use crate::decision::UnknownListener;
use crate::matching::condition::Condition;
use crate::matching::host::Authority;
use crate::matching::pattern::Patterns;
use crate::matching::request_view::RequestView;
use crate::plugin::Site;
use crate::refusal::{Refusal, refuse};
use crate::rule::Rule;
use crate::wire::{self, Unmatched};

use listeners::GatewayHosts;

/// A compiled configuration for one proxy. It is built once for each revision and does not change.
#[derive(Debug, Default)]
pub struct Table {
    /// Roots and literal hosts by name. If several entries of a name fit the port of a request, the first entry
    /// decides.
    named: HashMap<Box<[u8]>, Vec<HostClaim>>,
    gateway: GatewayHosts,
    /// The host sets. [`HostClaim::host`] has an index into this list. All names of a root have the same set.
    hosts: Vec<Host>,
    pub(crate) connections: ConnectionTable,
    pub(crate) rules: Vec<Rule>,
    /// None if there is no access policy.
    pub(crate) access: Option<Access>,
}

/// A host set for one name at one port.
#[derive(Debug)]
struct HostClaim {
    port: u16,
    /// True if the entry is also for requests without a port in the Host header.
    default_port: bool,
    /// True if the entry is also for every other port, except ports for which this name has another entry.
    every_port: bool,
    /// True for the name `SERVICE.NAMESPACE` of a Service in another namespace. The same name with a trailing dot,
    /// such as `github.com.`, is a host of the internet. So this entry is not for names with a trailing dot.
    is_relative: bool,
    /// Index into [`Table::hosts`].
    host: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Host {
    matches: Vec<Match>,
    /// Names of the query parameters that the matches need.
    parameters: BTreeSet<Box<[u8]>>,
    pub(crate) unmatched: Unmatched,
    /// The cluster of the ordinary route, which is the route without a routing header. None if this route may send
    /// requests to a Service that clients do not call.
    pub(crate) ordinary_cluster: Option<Box<str>>,
}

#[derive(Debug)]
pub(crate) struct Match {
    condition: Condition,
    /// Index into [`Table::rules`].
    pub(crate) rule: usize,
    /// The port for redirects: the port of the Service or of the literal host, or the port of the Gateway's listener.
    /// None if the port of the listener is not known.
    pub(crate) port: Option<u16>,
}

impl Table {
    /// Checks the configuration and compiles it for one proxy. If the plugin configuration names the root (the Service
    /// of all connections), the function checks and compiles only the rules of this root.
    pub fn compile(config: &wire::Config, site: &Site) -> Result<Table, Refusal> {
        if config.version != wire::VERSION {
            let (version, own) = (config.version, wire::VERSION);
            return refuse(
                "version",
                format!("{version}, this filter reads version {own}"),
            );
        }
        let mut table = Table::default();
        let mut patterns = Patterns::default();
        match &config.access {
            Some(wire::Access::Grants(grants)) => {
                let access = Access::compile(grants, site, &mut patterns);
                table.access = Some(access.map_err(|refusal| refusal.within("access"))?);
            }
            Some(wire::Access::Everyone) => {}
            None if site.service_account.is_some() => {
                return refuse(
                    "access",
                    "the configuration has no access policy, and a proxy with a service account needs one; start weir \
                     serve with --policy smi, or with --policy permissive to allow all traffic",
                );
            }
            None => {}
        }
        let mut indexes = BTreeMap::new();
        // The cost of a table must not grow with the rules of all roots: one proxy may have a filter for each root.
        let only = site.root.as_ref().map(|root| rules_of(root, config));
        for (identity, rule) in &config.rules {
            if only
                .as_ref()
                .is_some_and(|only| !only.contains(identity.as_str()))
            {
                continue;
            }
            indexes.insert(identity.as_str(), table.rules.len());
            let access = table.access.as_ref();
            table
                .rules
                .push(Rule::compile(identity, rule, access, site)?);
        }
        table.connections = ConnectionTable::compile(config, &indexes, site)?;
        if site.root.is_some() {
            return Ok(table);
        }
        for (index, set) in config.hosts.iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format_args!("hosts[{index}]"));
            table
                .add(set, &indexes, &mut patterns, site)
                .map_err(within)?;
        }
        table.gateway = GatewayHosts::compile(config, &indexes, &mut patterns, site)?;
        Ok(table)
    }

    /// Adds a root or a literal host.
    fn add(
        &mut self,
        set: &wire::HostSet,
        rules: &BTreeMap<&str, usize>,
        patterns: &mut Patterns,
        site: &Site,
    ) -> Result<(), Refusal> {
        let every_port = matches!(&set.hosts, wire::Hosts::Literal(literal) if literal.every_port);
        let (names, port, default_port) = match &set.hosts {
            wire::Hosts::Root(root) => (root_names(root, site), root.port, root.default_port),
            wire::Hosts::Literal(literal) => (
                vec![literal.name.to_ascii_lowercase()],
                literal.port,
                literal.default_port,
            ),
            wire::Hosts::Gateway(_) => return Ok(()),
        };
        let mut matches = Vec::with_capacity(set.matches.len());
        for (index, wire) in set.matches.iter().enumerate() {
            let compiled = Match::compile(wire, rules, patterns, Some(port));
            let within = |refusal: Refusal| refusal.within(format_args!("matches[{index}]"));
            matches.push(compiled.map_err(within)?);
        }
        let mut host = Host::new(matches, set.unmatched);
        if let wire::Hosts::Root(root) = &set.hosts
            && site.ordinary_route_serves_root
        {
            host.ordinary_cluster = Some(site.naming.cluster(&root.as_service()).into());
        }
        let relative_name = match &set.hosts {
            wire::Hosts::Root(root) if root.namespace != site.namespace => names.first().cloned(),
            _ => None,
        };
        let index = self.hosts.len();
        self.hosts.push(host);
        for name in names {
            let is_relative = relative_name.as_ref() == Some(&name);
            let claims = self.named.entry(name.into_bytes().into()).or_default();
            claims.push(HostClaim {
                port,
                default_port,
                every_port,
                is_relative,
                host: index,
            });
        }
        Ok(())
    }

    /// Returns the host set of a request by its `:authority`. `socket` returns the port of the proxy's socket at which
    /// the request came in. The function calls `socket` only if listeners have different matches for the host.
    pub(crate) fn host(
        &self,
        authority: &[u8],
        socket: impl FnOnce() -> Option<u16>,
    ) -> Result<Option<&Host>, UnknownListener<'_>> {
        let Some(authority) = Authority::parse(authority) else {
            return self.gateway.find(None, socket);
        };
        let name = authority.name();
        if let Some(claims) = self.named.get(name) {
            let mut claims = claims
                .iter()
                .filter(|claim| !(claim.is_relative && authority.is_absolute));
            let claim = match authority.port {
                Some(port) => {
                    let own = claims.clone().find(|claim| claim.port == port);
                    own.or_else(|| claims.find(|claim| claim.every_port))
                }
                None => claims.find(|claim| claim.default_port),
            };
            return Ok(claim.and_then(|claim| self.hosts.get(claim.host)));
        }
        self.gateway.find(Some(name), socket)
    }

    /// Returns hostnames of a Gateway, each with the names of its possible listeners. These listeners have different
    /// matches, but the proxy cannot know which listener a request belongs to. An empty hostname means every host.
    pub fn undecided_hosts(&self) -> BTreeMap<String, Vec<&str>> {
        self.gateway.undecided()
    }

    /// Returns the hostnames of a Gateway for which the matches depend on the port of the proxy's socket.
    pub fn hosts_by_socket(&self) -> BTreeSet<String> {
        self.gateway.decided_by_socket()
    }

    /// Returns the number of rules.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }
}

/// Returns the identities of the rules for connections to this root.
fn rules_of<'c>(root: &wire::Service, config: &'c wire::Config) -> BTreeSet<&'c str> {
    let connections = config.connections.iter();
    connections
        .filter(|connections| connections.to.is_root(root))
        .map(|connections| connections.rule.as_str())
        .collect()
}

/// Returns the names by which clients call a Service, without ports. The first name is `SERVICE.NAMESPACE`. With the
/// cluster domain `cluster.local` the names include `SERVICE.NAMESPACE.svc.cluster`, because `local` may be in the
/// search list of a resolver.
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

impl Match {
    fn compile(
        wire: &wire::Match,
        rules: &BTreeMap<&str, usize>,
        patterns: &mut Patterns,
        port: Option<u16>,
    ) -> Result<Match, Refusal> {
        let Some(rule) = rules.get(wire.rule.as_str()) else {
            return refuse("rule", format!("no rule {:?}", wire.rule));
        };
        Ok(Match {
            condition: Condition::compile(wire, patterns)?,
            rule: *rule,
            port,
        })
    }
}

impl Host {
    fn new(matches: Vec<Match>, unmatched: Unmatched) -> Host {
        let parameters = matches.iter().flat_map(|it| it.condition.parameters());
        Host {
            parameters: parameters.cloned().collect(),
            matches,
            unmatched,
            ordinary_cluster: None,
        }
    }

    /// Returns the first match that fits the request.
    pub(crate) fn find<'t>(&'t self, view: &mut RequestView<'t>) -> Option<&'t Match> {
        let mut matches = self.matches.iter();
        matches.find(|it| it.condition.fits(view, &self.parameters))
    }
}

#[cfg(test)]
mod tests;
