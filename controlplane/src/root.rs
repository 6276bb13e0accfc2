//! What a TrafficSplit's `spec.service` means: a Service of its own namespace, or a host name.
//!
//! Tools write all of these: a bare name (Linkerd, Argo Rollouts), the forms of cluster DNS (OSM),
//! a public host (Flagger). A Service of another namespace is never re-homed, it is refused.

use std::collections::BTreeSet;

use crate::hostname::{self, Hostname};

/// The names after `NAME.NAMESPACE` by which cluster DNS knows a Service.
const SERVICE_SUFFIXES: [&[&str]; 3] =
    [&["svc"], &["svc", "cluster"], &["svc", "cluster", "local"]];

/// What is called.
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
    /// A host name that is no Service: lower case, without trailing dot.
    Literal(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    #[error("no service is named")]
    Empty,
    #[error("{0:?} is not a port")]
    Port(String),
    #[error("{0:?} is neither the name of a Service nor a host name")]
    NotAName(String),
    #[error("the Service is in namespace {namespace}, the object in {own}")]
    Foreign { namespace: String, own: String },
}

/// Reads `text` as it stands in an object of namespace `own`.
///
/// Two labels are a Service of another namespace only if `namespaces` has the second one; else they
/// are a host (`foo.com`). So is what stands behind `svc` where the cluster has a domain of its own.
pub fn resolve(text: &str, own: &str, namespaces: &BTreeSet<String>) -> Result<Root, RootError> {
    let lower = text.trim().to_ascii_lowercase();
    let (host, port) = match lower.split_once(':') {
        None => (lower.as_str(), None),
        Some((host, port)) => {
            let number = port.parse::<u16>().ok().filter(|number| *number > 0);
            let port = number.ok_or_else(|| RootError::Port(port.to_owned()))?;
            (host, Some(port))
        }
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(RootError::Empty);
    }
    if !hostname::is_dns_name(host) {
        return Err(RootError::NotAName(text.to_owned()));
    }
    let labels: Vec<&str> = host.split('.').collect();
    let name = match labels.as_slice() {
        [name] => RootName::Service((*name).to_owned()),
        [name, namespace, suffix @ ..]
            if SERVICE_SUFFIXES.contains(&suffix)
                || (matches!(suffix, [] | ["svc", ..])
                    && (*namespace == own || namespaces.contains(*namespace))) =>
        {
            if *namespace != own {
                return Err(RootError::Foreign {
                    namespace: (*namespace).to_owned(),
                    own: own.to_owned(),
                });
            }
            RootName::Service((*name).to_owned())
        }
        _ => match Hostname::parse(host) {
            Some(_) => RootName::Literal(host.to_owned()),
            None => return Err(RootError::NotAName(text.to_owned())),
        },
    };
    Ok(Root { name, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Root, RootError> {
        let namespaces = ["bookstore", "other"].map(str::to_owned).into();
        resolve(text, "bookstore", &namespaces)
    }

    #[test]
    fn services_hosts_and_refusals() {
        let service = RootName::Service("bookstore".into());
        let literal = |host: &str| RootName::Literal(host.into());
        let cases = [
            ("bookstore", service.clone(), None),
            ("bookstore.bookstore", service.clone(), None),
            ("bookstore.bookstore.svc", service.clone(), None),
            ("bookstore.bookstore.svc.cluster", service.clone(), None),
            (
                "bookstore.bookstore.svc.cluster.local",
                service.clone(),
                None,
            ),
            (
                "bookstore.bookstore.svc.cluster.local.",
                service.clone(),
                None,
            ),
            (
                "bookstore.bookstore.svc.cluster.local:14001",
                service.clone(),
                Some(14001),
            ),
            ("bookstore:80", service.clone(), Some(80)),
            ("Bookstore.Bookstore", service, None),
            ("shop.example.com", literal("shop.example.com"), None),
            (
                "Shop.Example.com.:8080",
                literal("shop.example.com"),
                Some(8080),
            ),
            ("foo.com", literal("foo.com"), None),
            ("bookstore.unknown", literal("bookstore.unknown"), None),
            (
                "bookstore.bookstore.svc.k8s.corp:80",
                RootName::Service("bookstore".into()),
                Some(80),
            ),
            (
                "bookstore.unknown.svc.k8s.corp",
                literal("bookstore.unknown.svc.k8s.corp"),
                None,
            ),
            (
                "x.bookstore.bookstore",
                literal("x.bookstore.bookstore"),
                None,
            ),
        ];
        for (text, name, port) in cases {
            assert_eq!(read(text), Ok(Root { name, port }), "{text}");
        }
        for text in [
            "bookstore.other",
            "bookstore.other.svc",
            "bookstore.other.svc.k8s.corp",
            "a.unknown.svc.cluster.local",
        ] {
            assert!(
                matches!(read(text), Err(RootError::Foreign { .. })),
                "{text}"
            );
        }
        for text in [
            "", " ", ".", ":80", "a:", "a:0", "a:70000", "a b", "*.a.com", "10.0.0.1", "a_b",
            "[::1]:80", "a..b",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
