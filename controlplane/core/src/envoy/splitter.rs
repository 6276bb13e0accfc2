//! A Weir filter that splits requests. [`Splitter`] has the filter, its connection manager and the rules that it gets.

use std::collections::BTreeSet;

use weir_split::wire::{Config, HostSet, Hosts};
use weir_split::{Plugin, Site};

use super::http_filter::HttpFilter;
use super::manager::Manager;
use super::route_configuration::RouteConfiguration;
use super::virtual_host::VirtualHost;

pub struct Splitter<'d> {
    pub manager: &'d Manager,
    pub filter: &'d HttpFilter,
    pub plugin: &'d Plugin,
    /// The configuration that the filter gets.
    pub config: &'d Config,
}

/// A virtual host, and the hosts of rules that this virtual host serves.
pub struct ServedHost<'d> {
    pub virtual_host: &'d VirtualHost,
    /// Each host set, and the Host header by which clients call one of its hosts.
    pub sets: Vec<(String, &'d HostSet)>,
}

impl<'d> Splitter<'d> {
    pub fn header(&self) -> &'d str {
        &self.plugin.header
    }

    /// Returns the words by which findings say where the filter is.
    pub fn at(&self) -> BTreeSet<String> {
        [self.manager.at.clone()].into()
    }

    /// Returns the filters of the connection manager after this filter.
    pub fn later_filters(&self) -> &'d [HttpFilter] {
        let filters = &self.manager.filters;
        let own = filters.iter().position(|it| std::ptr::eq(it, self.filter));
        let later = own.and_then(|own| filters.get(own..)?.split_first());
        later.map(|(_, later)| later).unwrap_or_default()
    }

    /// Returns all virtual hosts of the connection manager.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &'d VirtualHost> {
        let routes = self.manager.routes.iter();
        routes.flat_map(|configuration| &configuration.hosts)
    }

    /// Returns the virtual host of requests with this Host header.
    pub fn virtual_host(
        &self,
        configuration: &'d RouteConfiguration,
        name: &str,
    ) -> Option<&'d VirtualHost> {
        let without_port = name.split(':').next().unwrap_or(name);
        match self.manager.strips_port {
            true => configuration.host(without_port),
            false => configuration.host(name),
        }
    }

    /// Returns the virtual hosts that serve hosts of rules. If clients may call a host by several names, the first name
    /// with a virtual host counts.
    pub fn served(&self) -> Vec<ServedHost<'d>> {
        self.serving(|found| found.into_iter().take(1).collect())
    }

    /// Returns the virtual hosts that serve hosts of rules by another name than in [`Splitter::served`].
    pub fn served_by_other_names(&self) -> Vec<ServedHost<'d>> {
        self.serving(|found| {
            let first = found.first().map(|(_, host)| *host);
            let other = |host| first.is_some_and(|first| !std::ptr::eq(first, host));
            let others = found.into_iter().filter(|(_, host)| other(*host));
            others.collect()
        })
    }

    /// Returns the virtual hosts that serve hosts of rules. `choose` gets the names of one host, each with its virtual
    /// host.
    fn serving(&self, choose: impl Fn(Vec<Named<'d>>) -> Vec<Named<'d>>) -> Vec<ServedHost<'d>> {
        let mut served: Vec<ServedHost<'d>> = Vec::new();
        for set in &self.config.hosts {
            for configuration in &self.manager.routes {
                let names = match wildcard(set) {
                    Some(hostname) => self.names_below(hostname, configuration),
                    None => vec![names(set, &self.plugin.site)],
                };
                let found = names.into_iter().flat_map(|names| {
                    let named = names.into_iter();
                    let named = named.filter_map(|name| {
                        Some((name.clone(), self.virtual_host(configuration, &name)?))
                    });
                    choose(named.collect())
                });
                for (name, virtual_host) in found {
                    let known = served
                        .iter_mut()
                        .find(|it| std::ptr::eq(it.virtual_host, virtual_host));
                    match known {
                        Some(known) => known.sets.push((name, set)),
                        None => served.push(ServedHost {
                            virtual_host,
                            sets: vec![(name, set)],
                        }),
                    }
                }
            }
        }
        served
    }

    /// Returns an example name for each domain that may get requests of a hostname with a wildcard, unless another
    /// hostname of the Gateway is more specific for this name.
    fn names_below(&self, hostname: &str, configuration: &RouteConfiguration) -> Vec<Vec<String>> {
        let sets = self.config.hosts.iter();
        let gateways = sets.filter_map(|it| match &it.hosts {
            Hosts::Gateway(gateway) => Some(gateway.hostname.as_deref().unwrap_or("*")),
            _ => None,
        });
        let gateways: Vec<&str> = gateways.collect();
        let is_other = |name: &str| {
            let mut others = gateways.iter();
            others.any(|it| {
                let is_longer = !it.starts_with('*') || it.len() > hostname.len();
                is_longer && domain_fits(it, name)
            })
        };
        let domains = configuration.hosts.iter().flat_map(VirtualHost::domains);
        let names = domains.filter_map(|domain| example(domain, hostname));
        let names: BTreeSet<String> = names.filter(|name| !is_other(name)).collect();
        names.into_iter().map(|name| vec![name]).collect()
    }
}

/// A name of a host, and its virtual host.
type Named<'d> = (String, &'d VirtualHost);

/// Returns the hostname of this set, if it has a wildcard. `*` means every host.
pub fn wildcard(set: &HostSet) -> Option<&str> {
    match &set.hosts {
        Hosts::Gateway(gateway) => {
            let hostname = gateway.hostname.as_deref().unwrap_or("*");
            hostname.starts_with('*').then_some(hostname)
        }
        _ => None,
    }
}

/// True if the hostname fits this name. A hostname may begin with `*`.
fn domain_fits(hostname: &str, name: &str) -> bool {
    match hostname.strip_prefix('*') {
        Some(end) => name.len() > end.len() && name.ends_with(end),
        None => hostname == name,
    }
}

/// A label of a host that stands for any label.
const ANY: &str = "any";

/// Returns a name that fits both a domain of a virtual host and a hostname with a wildcard.
fn example(domain: &str, hostname: &str) -> Option<String> {
    let any = |text: &str| text.replacen('*', ANY, 1);
    let name = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(end), _) if hostname.ends_with(end) => any(hostname),
        (Some(_), _) => any(domain),
        (None, Some(start)) => {
            let end = hostname.trim_start_matches('*');
            format!("{}{end}", start.trim_end_matches(['.', '-', ':']))
        }
        (None, None) => domain.split(':').next().unwrap_or(domain).to_owned(),
    };
    domain_fits(hostname, &name).then_some(name)
}

/// Returns the name for messages: a name that only stands for a hostname with a wildcard has its `*`.
pub fn shown(name: &str, set: &HostSet) -> String {
    match wildcard(set) {
        Some(_) if name == ANY => "any host".to_owned(),
        Some(_) => match name.strip_prefix("any.") {
            Some(end) => format!("*.{end}"),
            None => name.to_owned(),
        },
        None => name.to_owned(),
    }
}

impl ServedHost<'_> {
    pub fn names(&self) -> Vec<String> {
        let names = self.sets.iter().map(|(name, set)| shown(name, set));
        let names: BTreeSet<String> = names.collect();
        names.into_iter().collect()
    }

    /// True if the virtual host serves only hostnames with a wildcard.
    pub fn is_by_wildcard(&self) -> bool {
        self.sets.iter().all(|(_, set)| wildcard(set).is_some())
    }
}

/// Returns the Host headers of this set, in lower case. A virtual host needs only one of them as a domain.
pub fn names(set: &HostSet, site: &Site) -> Vec<String> {
    match &set.hosts {
        Hosts::Root(root) => {
            let (service, namespace, port) = (&root.service, &root.namespace, root.port);
            let short = format!("{service}.{namespace}");
            let full = format!("{short}.svc.{}", site.cluster_domain);
            let mut names = vec![full, format!("{short}.svc"), short];
            if *namespace == site.namespace {
                names.push(service.clone());
            }
            let with_port = names.iter().map(|name| format!("{name}:{port}"));
            let with_port: Vec<String> = with_port.collect();
            let without = if root.default_port { names } else { Vec::new() };
            without.into_iter().chain(with_port).collect()
        }
        Hosts::Literal(literal) => {
            let with_port = format!("{}:{}", literal.name, literal.port);
            vec![literal.name.clone(), with_port]
        }
        Hosts::Gateway(gateway) => {
            let hostname = gateway.hostname.as_deref().unwrap_or("*");
            let ports: BTreeSet<u16> = gateway.ports.values().copied().collect();
            let with_port = ports.iter().map(|port| format!("{hostname}:{port}"));
            [hostname.to_owned()].into_iter().chain(with_port).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_meet_hostnames() {
        for (domain, hostname, expected) in [
            ("*", "*", Some("any")),
            ("*", "*.example.com", Some("any.example.com")),
            ("*.example.com", "*", Some("any.example.com")),
            (
                "*.a.example.com",
                "*.example.com",
                Some("any.a.example.com"),
            ),
            ("*.com", "*.example.com", Some("any.example.com")),
            (
                "echo.example.com",
                "*.example.com",
                Some("echo.example.com"),
            ),
            ("echo.example.com:80", "*", Some("echo.example.com")),
            ("echo.*", "*.example.com", Some("echo.example.com")),
            ("echo.example.org", "*.example.com", None),
            ("example.com", "*.example.com", None),
            ("*.example.org", "*.example.com", None),
        ] {
            let found = example(domain, hostname);
            assert_eq!(found.as_deref(), expected, "{domain} {hostname}");
        }
    }
}
