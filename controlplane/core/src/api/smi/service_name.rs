//! What a TrafficSplit's `spec.service` and its backends name: a Service of its own namespace, or a host.
//!
//! Tools write all of these: a bare name (Linkerd, Argo Rollouts), the forms of cluster DNS (OSM),
//! a public host (Flagger). A Service of another namespace is never re-homed, it is refused.

use std::collections::BTreeSet;

use crate::manifest::hostname::{self, Hostname};

/// The names after `NAME.NAMESPACE` by which cluster DNS knows a Service.
const SERVICE_SUFFIXES: [&[&str]; 3] =
    [&["svc"], &["svc", "cluster"], &["svc", "cluster", "local"]];

/// What is called, as far as its text alone says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub name: RootName,
    /// The one port that is meant, where the text names one.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootName {
    /// A Service in the namespace of the object.
    Service(String),
    /// A host name that is no Service.
    Host(Host),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Lower case, without trailing dot.
    pub name: String,
    /// Name and namespace of the Service that it is where there is such a namespace: `foo.com` has the form of
    /// `NAME.NAMESPACE`, and a cluster may have a domain of its own behind `svc`.
    pub service: Option<(String, String)>,
    /// Written with a dot at its end, as DNS writes a complete name.
    pub is_complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootError {
    Empty,
    Port(String),
    /// Neither the name of a Service nor a host name.
    NotAName,
    /// A Service of another namespace.
    Foreign {
        name: String,
        namespace: String,
    },
}

impl Root {
    /// Reads `text` as it stands in an object of namespace `own`.
    pub fn parse(text: &str, own: &str) -> Result<Root, RootError> {
        let lower = text.trim().to_ascii_lowercase();
        let (written, port) = match lower.split_once(':') {
            None => (lower.as_str(), None),
            Some((host, port)) => {
                let number = port.parse::<u16>().ok().filter(|number| *number > 0);
                let port = number.ok_or_else(|| RootError::Port(port.to_owned()))?;
                (host, Some(port))
            }
        };
        let host = written.strip_suffix('.').unwrap_or(written);
        if host.is_empty() {
            return Err(RootError::Empty);
        }
        if !hostname::is_dns_name(host) {
            return Err(RootError::NotAName);
        }
        let labels: Vec<&str> = host.split('.').collect();
        let name = match labels.as_slice() {
            [name] => RootName::Service((*name).to_owned()),
            [name, namespace, suffix @ ..] if matches!(suffix, [] | ["svc", ..]) => {
                let service = ((*name).to_owned(), (*namespace).to_owned());
                if *namespace == own {
                    RootName::Service(service.0)
                } else if SERVICE_SUFFIXES.contains(&suffix) {
                    let (name, namespace) = service;
                    return Err(RootError::Foreign { name, namespace });
                } else {
                    RootName::Host(Host::parse(host, written, Some(service))?)
                }
            }
            _ => RootName::Host(Host::parse(host, written, None)?),
        };
        Ok(Root { name, port })
    }
}

impl Host {
    fn parse(
        host: &str,
        written: &str,
        service: Option<(String, String)>,
    ) -> Result<Host, RootError> {
        // Not an address.
        Hostname::parse(host).ok_or(RootError::NotAName)?;
        Ok(Host {
            name: host.to_owned(),
            service,
            is_complete: written.ends_with('.'),
        })
    }

    /// Name and namespace of the Service that it is, of a namespace that is known.
    pub fn known_service(&self, namespaces: &BTreeSet<String>) -> Option<&(String, String)> {
        let service = self.service.as_ref();
        service.filter(|(_, namespace)| namespaces.contains(namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Service NAME`, `host NAME` or `foreign NAMESPACE`.
    fn read(text: &str) -> Option<(String, Option<u16>)> {
        let namespaces = ["bookstore", "other"].map(str::to_owned).into();
        match Root::parse(text, "bookstore") {
            Ok(Root { name, port }) => {
                let name = match name {
                    RootName::Service(name) => format!("Service {name}"),
                    RootName::Host(host) => match host.known_service(&namespaces) {
                        Some((_, namespace)) => format!("foreign {namespace}"),
                        None => format!("host {}", host.name),
                    },
                };
                Some((name, port))
            }
            Err(RootError::Foreign { namespace, .. }) => {
                Some((format!("foreign {namespace}"), None))
            }
            Err(_) => None,
        }
    }

    #[test]
    fn services_hosts_and_refusals() {
        let cases = [
            ("bookstore", "Service bookstore", None),
            ("bookstore.bookstore", "Service bookstore", None),
            ("bookstore.bookstore.svc", "Service bookstore", None),
            ("bookstore.bookstore.svc.cluster", "Service bookstore", None),
            (
                "bookstore.bookstore.svc.cluster.local",
                "Service bookstore",
                None,
            ),
            (
                "bookstore.bookstore.svc.cluster.local.",
                "Service bookstore",
                None,
            ),
            (
                "bookstore.bookstore.svc.cluster.local:14001",
                "Service bookstore",
                Some(14001),
            ),
            ("bookstore:80", "Service bookstore", Some(80)),
            ("Bookstore.Bookstore", "Service bookstore", None),
            ("shop.example.com", "host shop.example.com", None),
            (
                "Shop.Example.com.:8080",
                "host shop.example.com",
                Some(8080),
            ),
            ("foo.com", "host foo.com", None),
            ("bookstore.unknown", "host bookstore.unknown", None),
            (
                "bookstore.bookstore.svc.k8s.corp:80",
                "Service bookstore",
                Some(80),
            ),
            (
                "bookstore.unknown.svc.k8s.corp",
                "host bookstore.unknown.svc.k8s.corp",
                None,
            ),
            ("x.bookstore.bookstore", "host x.bookstore.bookstore", None),
            ("bookstore.other", "foreign other", None),
            ("bookstore.other.svc", "foreign other", None),
            ("bookstore.other.svc.k8s.corp", "foreign other", None),
            ("a.unknown.svc.cluster.local", "foreign unknown", None),
        ];
        for (text, name, port) in cases {
            assert_eq!(read(text), Some((name.to_owned(), port)), "{text}");
        }
        for text in [
            "", " ", ".", ":80", "a:", "a:0", "a:70000", "a b", "*.a.com", "10.0.0.1", "a_b",
            "[::1]:80", "a..b",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
