//! Parses the names in `spec.service` and in the backends of a TrafficSplit. A name means a Service in the namespace of
//! the split, or a host.
//!
//! Tools write the name of a Service (Linkerd, Argo Rollouts), its name in cluster DNS (Open Service Mesh) or a public
//! host (Flagger). The name of a Service in another namespace is an error.

use std::collections::BTreeSet;

use crate::manifest::hostname::{self, Hostname};

/// The suffixes of cluster DNS after `NAME.NAMESPACE`.
const SERVICE_SUFFIXES: [&[&str]; 3] =
    [&["svc"], &["svc", "cluster"], &["svc", "cluster", "local"]];

/// A name in a TrafficSplit. Parsing does not check whether the Service exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitRoot {
    pub name: RootName,
    /// The port after the name; None if the text has no port.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootName {
    /// The name of a Service in the namespace of the TrafficSplit.
    Service(String),
    Host(Host),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The host name in lower case, without a trailing dot.
    pub name: String,
    /// Name and namespace of the Service that the text may mean instead of a host. For example, `foo.com` means Service
    /// `foo` if a namespace `com` exists. `foo.com.svc.DOMAIN` with an unknown cluster domain is another example.
    pub service: Option<(String, String)>,
    /// True if the name in the manifest has a trailing dot, as a fully qualified name.
    pub is_complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootError {
    Empty,
    Port(String),
    /// The text is not a valid name.
    NotAName,
    /// A Service in another namespace.
    Foreign {
        name: String,
        namespace: String,
    },
}

impl SplitRoot {
    /// Parses a name in a TrafficSplit in namespace `own`.
    pub fn parse(text: &str, own: &str) -> Result<SplitRoot, RootError> {
        let lower = text.trim().to_ascii_lowercase();
        let (full_name, port) = match lower.split_once(':') {
            None => (lower.as_str(), None),
            Some((host, port)) => {
                let number = port.parse::<u16>().ok().filter(|number| *number > 0);
                let port = number.ok_or_else(|| RootError::Port(port.to_owned()))?;
                (host, Some(port))
            }
        };
        let host = full_name.strip_suffix('.').unwrap_or(full_name);
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
                    RootName::Host(Host::parse(host, full_name, Some(service))?)
                }
            }
            _ => RootName::Host(Host::parse(host, full_name, None)?),
        };
        Ok(SplitRoot { name, port })
    }
}

impl Host {
    fn parse(
        host: &str,
        full_name: &str,
        service: Option<(String, String)>,
    ) -> Result<Host, RootError> {
        // `Hostname::parse` also rejects IP addresses.
        Hostname::parse(host).ok_or(RootError::NotAName)?;
        Ok(Host {
            name: host.to_owned(),
            service,
            is_complete: full_name.ends_with('.'),
        })
    }

    /// Returns the name and namespace of the Service that the text means. Returns None if `namespaces` does not contain
    /// the namespace, because then the text means a host.
    pub fn known_service(&self, namespaces: &BTreeSet<String>) -> Option<&(String, String)> {
        let service = self.service.as_ref();
        service.filter(|(_, namespace)| namespaces.contains(namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `Service NAME`, `host NAME` or `foreign NAMESPACE`, and the port.
    fn read(text: &str) -> Option<(String, Option<u16>)> {
        let namespaces = ["bookstore", "other"].map(str::to_owned).into();
        match SplitRoot::parse(text, "bookstore") {
            Ok(SplitRoot { name, port }) => {
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
    fn names_are_services_or_hosts() {
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
