//! DNS names of objects and hosts, and the hostnames of Gateway listeners and routes.

use std::fmt;
use std::net::Ipv4Addr;

/// True if a text is a label of RFC 1123: 1 to 63 lower-case letters, digits and inner hyphens.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
        && bytes
            .iter()
            .all(|byte| is_alphanumeric(byte) || *byte == b'-')
}

fn is_alphanumeric(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// True if a text is a subdomain of RFC 1123: labels with dots between them, at most 253 bytes.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A hostname of Gateway API v1, in lower case: an exact name, or a wildcard for one or more labels before a suffix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hostname {
    Exact(String),
    /// The suffix after `*.`.
    Wildcard(String),
}

impl Hostname {
    /// Parses `shop.example.com` or `*.example.com`, in any case. Returns None for an IPv4 address, and for a text with
    /// a port or a trailing dot (Gateway API v1, Hostname).
    pub fn parse(text: &str) -> Option<Hostname> {
        let text = text.to_ascii_lowercase();
        let is_host = |name: &str| is_dns_name(name) && name.parse::<Ipv4Addr>().is_err();
        match text.strip_prefix("*.") {
            Some(rest) => is_host(rest).then(|| Hostname::Wildcard(rest.to_owned())),
            None => is_host(&text).then_some(Hostname::Exact(text)),
        }
    }

    /// Returns the hosts that both hostnames match. This is the narrower hostname if one hostname contains the other,
    /// else None.
    ///
    /// A wildcard matches one or more labels, so `*.example.com` does not match `example.com`.
    pub fn intersect(&self, other: &Hostname) -> Option<Hostname> {
        if self == other || other.contains(self) {
            Some(self.clone())
        } else if self.contains(other) {
            Some(other.clone())
        } else {
            None
        }
    }

    /// True if at least one host matches both hostnames.
    pub fn overlaps(&self, other: &Hostname) -> bool {
        self == other || other.contains(self) || self.contains(other)
    }

    /// True if this hostname matches a name by which clients call the Service: `NAME`, `NAME.NAMESPACE`,
    /// `NAME.NAMESPACE.svc`, or `NAME.NAMESPACE.svc.DOMAIN` with any cluster domain.
    pub fn may_name(&self, service: &str, namespace: &str) -> bool {
        let begins_with = |text: &str, labels: &str| {
            let rest = text.strip_prefix(labels);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self {
            Hostname::Exact(name) => {
                *name == service
                    || *name == format!("{service}.{namespace}")
                    || begins_with(name, &format!("{service}.{namespace}.svc"))
            }
            Hostname::Wildcard(suffix) => {
                suffix == namespace
                    || begins_with(suffix, &format!("{namespace}.svc"))
                    || begins_with(suffix, "svc")
                    || matches!(suffix.as_str(), "cluster" | "cluster.local" | "local")
            }
        }
    }

    /// True if this hostname is a wildcard that matches every host of the other hostname. False for equal hostnames.
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
    fn invalid_names_are_rejected() {
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
    fn hostnames_of_one_service_match() {
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

    /// The cases follow Gateway API v1, HTTPRouteSpec.hostnames.
    #[test]
    fn intersection_is_narrower_hostname() {
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
            assert_eq!(left.overlaps(&right), expected.is_some(), "{left} {right}");
        }
    }
}
