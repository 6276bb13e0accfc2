//! DNS names: of objects, of hosts, and of a Gateway's listeners and routes.

use std::fmt;
use std::net::Ipv4Addr;

/// A label of RFC 1123: lower-case letters, digits and inner hyphens, at most 63.
pub fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// A subdomain of RFC 1123: labels with dots between them, at most 253.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A host name as Gateway API writes it: exact, or with `*` for its first labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hostname {
    Exact(String),
    /// What follows `*.`.
    Wildcard(String),
}

impl Hostname {
    /// Parses `shop.example.com` or `*.example.com`, in any case. Gateway API, Hostname: no
    /// address, no port, no trailing dot.
    pub fn parse(text: &str) -> Option<Hostname> {
        let text = text.to_ascii_lowercase();
        let is_host = |name: &str| is_dns_name(name) && name.parse::<Ipv4Addr>().is_err();
        match text.strip_prefix("*.") {
            Some(rest) => is_host(rest).then(|| Hostname::Wildcard(rest.to_owned())),
            None => is_host(&text).then_some(Hostname::Exact(text)),
        }
    }

    /// The hosts that both stand for: the narrower one, where one lies in the other.
    ///
    /// A wildcard takes in any number of labels, but never its own apex.
    pub fn intersect(&self, other: &Hostname) -> Option<Hostname> {
        if self == other || other.contains(self) {
            Some(self.clone())
        } else if self.contains(other) {
            Some(other.clone())
        } else {
            None
        }
    }

    /// Whether a host stands for both.
    pub fn meets(&self, other: &Hostname) -> bool {
        self == other || other.contains(self) || self.contains(other)
    }

    /// Whether a client that calls this Service may send such a Host. What a cluster calls its own domain is not
    /// known here.
    pub fn may_name(&self, service: &str, namespace: &str) -> bool {
        let is_of = |text: &str, labels: &str| {
            let rest = text.strip_prefix(labels);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self {
            Hostname::Exact(name) => {
                *name == service
                    || *name == format!("{service}.{namespace}")
                    || is_of(name, &format!("{service}.{namespace}.svc"))
            }
            Hostname::Wildcard(suffix) => {
                suffix == namespace
                    || is_of(suffix, &format!("{namespace}.svc"))
                    || is_of(suffix, "svc")
                    || matches!(suffix.as_str(), "cluster" | "cluster.local" | "local")
            }
        }
    }

    fn contains(&self, other: &Hostname) -> bool {
        let Hostname::Wildcard(suffix) = self else {
            return false;
        };
        let (Hostname::Exact(name) | Hostname::Wildcard(name)) = other;
        name.strip_suffix(suffix.as_str())
            .is_some_and(|head| head.ends_with('.'))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hostname::Exact(name) => f.write_str(name),
            Hostname::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a-b.c9", "9a"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            "-a",
            "a-",
            "A",
            "a_b",
            "a;b",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
        for bad in ["*", "*.", "a.*.b", "10.0.0.1", "a:80", "a.example."] {
            assert_eq!(Hostname::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_a_service() {
        for (name, expected) in [
            ("web", true),
            ("web.shop", true),
            ("web.shop.svc", true),
            ("web.shop.svc.k8s.corp", true),
            ("*.shop", true),
            ("*.shop.svc.cluster.local", true),
            ("*.svc.cluster.local", true),
            ("*.cluster.local", true),
            ("web.other", false),
            ("web.shop.svcs", false),
            ("web.example.com", false),
            ("*.web.shop", false),
            ("*.example.com", false),
        ] {
            let hostname = Hostname::parse(name).unwrap();
            assert_eq!(hostname.may_name("web", "shop"), expected, "{name}");
        }
    }

    /// Gateway API v1, HTTPRouteSpec.hostnames.
    #[test]
    fn intersection() {
        let cases = [
            ("a.example.com", "A.example.com", Some("a.example.com")),
            ("a.example.com", "b.example.com", None),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "aexample.com", None),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "*.example.net", None),
        ];
        for (left, right, expected) in cases {
            let [left, right] = [left, right].map(|text| Hostname::parse(text).unwrap());
            let expected = expected.and_then(Hostname::parse);
            assert_eq!(left.intersect(&right), expected, "{left} {right}");
            assert_eq!(right.intersect(&left), expected, "{right} {left}");
            assert_eq!(left.meets(&right), expected.is_some(), "{left} {right}");
        }
    }
}
