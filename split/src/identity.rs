//! The identity of a peer, from the names in its certificate.

/// The domains whose certificates name ServiceAccounts of this cluster. A trusted authority may also sign certificates
/// of other domains, for example in a SPIFFE federation.
#[derive(Clone, Copy, Debug)]
pub struct IdentityDomains<'d> {
    /// Trust domain of SPIFFE IDs.
    pub trust_domain: &'d str,
    /// Domain of DNS names.
    pub cluster_domain: &'d str,
}

/// Returns `NAMESPACE/NAME` of the ServiceAccount in a peer's certificate. The proxy must have verified the
/// certificate.
///
/// The URI SAN must be the SPIFFE ID `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME`, as Istio writes it. Without a URI
/// SAN, the DNS SAN must be `NAME.NAMESPACE.CLUSTER-DOMAIN`, as OSM writes it. Returns None for a name of another
/// domain, and for a name that differs from these forms. For example, upper-case letters, escapes, empty parts and
/// additional parts are not allowed.
///
/// Envoy's properties have only the first URI SAN and the first DNS SAN of a certificate. So a certificate should have
/// exactly one URI SAN, as SPIFFE (X509-SVID, 2) requires. A certificate without a URI SAN must have the DNS SAN above
/// as its first DNS SAN.
pub fn peer_identity(
    uri_san: Option<&[u8]>,
    dns_san: Option<&[u8]>,
    domains: IdentityDomains<'_>,
) -> Option<String> {
    let text = |san| std::str::from_utf8(san).ok();
    let (namespace, name) = match (uri_san, dns_san) {
        (Some(uri), _) => parse_spiffe_id(text(uri)?, domains.trust_domain)?,
        (None, Some(dns)) => parse_dns_name(text(dns)?, domains.cluster_domain)?,
        (None, None) => return None,
    };
    Some(format!("{namespace}/{name}"))
}

fn parse_spiffe_id<'u>(uri: &'u str, trust_domain: &str) -> Option<(&'u str, &'u str)> {
    let (domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, name) = path.strip_prefix("ns/")?.split_once("/sa/")?;
    let is_account = domain == trust_domain
        && !domain.is_empty()
        && is_label(namespace)
        && name.len() <= 253
        && name.split('.').all(is_label);
    is_account.then_some((namespace, name))
}

fn parse_dns_name<'a>(dns: &'a str, cluster_domain: &str) -> Option<(&'a str, &'a str)> {
    let (name, namespace) = dns
        .strip_suffix(cluster_domain)?
        .strip_suffix('.')?
        .split_once('.')?;
    (is_label(name) && is_label(namespace)).then_some((namespace, name))
}

/// True if `text` is a trust domain (SPIFFE-ID, 2.1).
pub fn is_trust_domain(text: &str) -> bool {
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
    };
    !text.is_empty() && text.len() <= 255 && text.bytes().all(is_allowed)
}

/// True if `text` is a label of RFC 1123. The name of a namespace is such a label.
fn is_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAINS: IdentityDomains = IdentityDomains {
        trust_domain: "prod.example",
        cluster_domain: "cluster.local",
    };

    #[test]
    fn only_exact_names_are_identities() {
        let uri = |uri: &str| peer_identity(Some(uri.as_bytes()), None, DOMAINS);
        let dns = |dns: &str| peer_identity(None, Some(dns.as_bytes()), DOMAINS);
        let buyer = Some("bookbuyer/buyer".to_owned());
        assert_eq!(uri("spiffe://prod.example/ns/bookbuyer/sa/buyer"), buyer);
        assert_eq!(dns("buyer.bookbuyer.cluster.local"), buyer);
        let dotted = uri("spiffe://prod.example/ns/a/sa/b.c");
        assert_eq!(dotted.as_deref(), Some("a/b.c"));
        for bad in [
            "",
            "spiffe://prod.example",
            "spiffe:///ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/b",
            "spiffe://partner.example/ns/bookbuyer/sa/buyer",
            "spiffe://eu.prod.example/ns/a/sa/b",
            "spiffe://prod.example.org/ns/a/sa/b",
            "spiffe://prod.example/ns/a/sa/",
            "spiffe://prod.example/ns//sa/b",
            "spiffe://prod.example/ns/a/sa/b/",
            "spiffe://prod.example/ns/a/sa/b/c",
            "spiffe://prod.example/x/ns/a/sa/b",
            "spiffe://prod.example/ns/a/b/sa/c",
            "spiffe://prod.example/sa/b/ns/a",
            "spiffe://prod.example//ns/a/sa/b",
            "spiffe://PROD.example/ns/a/sa/b",
            "SPIFFE://prod.example/ns/a/sa/b",
            "https://prod.example/ns/a/sa/b",
            "spiffe://prod.example:80/ns/a/sa/b",
            "spiffe://u@prod.example/ns/a/sa/b",
            "spiffe://prod.example/ns/A/sa/b",
            "spiffe://prod.example/ns/%61/sa/b",
            "spiffe://prod.example/ns/a.b/sa/c",
            "spiffe://prod.example/ns/a/sa/b..c",
            "spiffe://prod.example/ns/a/sa/b?c",
            "spiffe://prod.example/ns/a/sa/b#c",
            "spiffe://prod.example/ns/a/sa/b,spiffe://prod.example/ns/c/sa/d",
            " spiffe://prod.example/ns/a/sa/b",
            "spiffe://prod.example/ns/-a/sa/b",
        ] {
            assert_eq!(uri(bad), None, "{bad:?}");
        }
        for bad in [
            "",
            "cluster.local",
            "b.cluster.local",
            ".b.cluster.local",
            "a..cluster.local",
            "a.b.c.cluster.local",
            "*.b.cluster.local",
            "A.b.cluster.local",
            "a.b.cluster.local.",
            "a.bcluster.local",
            "a.b.cluster.example",
            "a.b.prod.example",
        ] {
            assert_eq!(dns(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn uri_wins_over_dns_name() {
        let both = |uri: &[u8]| peer_identity(Some(uri), Some(b"a.b.cluster.local"), DOMAINS);
        let uri = b"spiffe://prod.example/ns/c/sa/d";
        assert_eq!(both(uri).as_deref(), Some("c/d"));
        assert_eq!(both(b"https://c/d"), None);
        assert_eq!(both(b"spiffe://prod.example/ns/c/sa/\xff"), None);
        assert_eq!(peer_identity(None, None, DOMAINS), None);
    }

    #[test]
    fn empty_trust_domain_gives_no_identity() {
        let domains = IdentityDomains {
            trust_domain: "",
            ..DOMAINS
        };
        let uri = b"spiffe:///ns/a/sa/b";
        assert_eq!(peer_identity(Some(uri), None, domains), None);
    }
}
