//! A Weir filter that splits requests. [`Splitter`] has the filter, its connection manager and the rules that it gets.

use std::collections::BTreeSet;

use weir_split::wire::{Config, HostSet, Hosts};
use weir_split::{Plugin, Site};

use super::http_filter::HttpFilter;
use super::manager::Manager;
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
    pub fn later_filters(&self) -> impl Iterator<Item = &'d HttpFilter> {
        let own: *const HttpFilter = self.filter;
        let filters = self.manager.filters.iter();
        filters
            .skip_while(move |it| !std::ptr::eq(*it, own))
            .skip(1)
    }

    /// Returns all virtual hosts of the connection manager.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &'d VirtualHost> {
        let routes = self.manager.routes.iter();
        routes.flat_map(|configuration| &configuration.hosts)
    }

    /// Returns the virtual hosts that serve hosts of rules.
    pub fn served(&self) -> Vec<ServedHost<'d>> {
        let mut served: Vec<ServedHost<'d>> = Vec::new();
        for set in &self.config.hosts {
            for configuration in &self.manager.routes {
                let names = names(set, &self.plugin.site);
                let found = names.iter().find_map(|name| {
                    let virtual_host = configuration.host(name)?;
                    Some((name.clone(), virtual_host))
                });
                let Some((name, virtual_host)) = found else {
                    continue;
                };
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
        served
    }
}

impl ServedHost<'_> {
    pub fn names(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.sets.iter().map(|(name, _)| name).collect();
        names.into_iter().cloned().collect()
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
            vec![hostname.replace('*', "any")]
        }
    }
}
