//! Who a peer is, by the names in its certificate.

/// `NAMESPACE/NAME` of the ServiceAccount that a peer's certificate stands for; the proxy has verified the
/// certificate.
///
/// A URI SAN says it as SPIFFE ID `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME`, as Istio writes it; where there
/// is none, a DNS SAN as `NAME.NAMESPACE.CLUSTER-DOMAIN`, as OSM does. Whatever differs from these forms in a
/// byte, by upper case, an escape, an empty part or one too many, is no identity.
///
/// Envoy's properties hold the first name of each kind and no other: a certificate needs exactly one URI SAN, as
/// SPIFFE (X509-SVID, 2) asks, or else the DNS SAN that counts as its first.
pub fn peer_identity(
    uri_san: Option<&[u8]>,
    dns_san: Option<&[u8]>,
    cluster_domain: &str,
) -> Option<String> {
    let text = |san| std::str::from_utf8(san).ok();
    let (namespace, name) = match (uri_san, dns_san) {
        (Some(uri), _) => of_uri(text(uri)?)?,
        (None, Some(dns)) => of_dns(text(dns)?, cluster_domain)?,
        (None, None) => return None,
    };
    Some(format!("{namespace}/{name}"))
}

fn of_uri(uri: &str) -> Option<(&str, &str)> {
    let (trust_domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, name) = path.strip_prefix("ns/")?.split_once("/sa/")?;
    let is_one = is_trust_domain(trust_domain)
        && is_label(namespace)
        && name.len() <= 253
        && name.split('.').all(is_label);
    is_one.then_some((namespace, name))
}

fn of_dns<'a>(dns: &'a str, cluster_domain: &str) -> Option<(&'a str, &'a str)> {
    let (name, namespace) = dns
        .strip_suffix(cluster_domain)?
        .strip_suffix('.')?
        .split_once('.')?;
    (is_label(name) && is_label(namespace)).then_some((namespace, name))
}

/// SPIFFE-ID, 2.1.
fn is_trust_domain(text: &str) -> bool {
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
    };
    !text.is_empty() && text.len() <= 255 && text.bytes().all(is_allowed)
}

/// RFC 1123: as Kubernetes names namespaces.
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

    #[test]
    fn an_identity_is_written_exactly_so() {
        let uri = |uri: &str| peer_identity(Some(uri.as_bytes()), None, "cluster.local");
        let dns = |dns: &str| peer_identity(None, Some(dns.as_bytes()), "cluster.local");
        let buyer = Some("bookbuyer/buyer".to_owned());
        assert_eq!(uri("spiffe://cluster.local/ns/bookbuyer/sa/buyer"), buyer);
        assert_eq!(
            uri("spiffe://other-mesh.example/ns/bookbuyer/sa/buyer"),
            buyer
        );
        assert_eq!(dns("buyer.bookbuyer.cluster.local"), buyer);
        assert_eq!(uri("spiffe://td/ns/a/sa/b.c").as_deref(), Some("a/b.c"));
        for bad in [
            "",
            "spiffe://td",
            "spiffe:///ns/a/sa/b",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/ns//sa/b",
            "spiffe://td/ns/a/sa/b/",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td/x/ns/a/sa/b",
            "spiffe://td/ns/a/b/sa/c",
            "spiffe://td/sa/b/ns/a",
            "spiffe://td//ns/a/sa/b",
            "spiffe://TD/ns/a/sa/b",
            "SPIFFE://td/ns/a/sa/b",
            "https://td/ns/a/sa/b",
            "spiffe://td:80/ns/a/sa/b",
            "spiffe://u@td/ns/a/sa/b",
            "spiffe://td/ns/A/sa/b",
            "spiffe://td/ns/%61/sa/b",
            "spiffe://td/ns/a.b/sa/c",
            "spiffe://td/ns/a/sa/b..c",
            "spiffe://td/ns/a/sa/b?c",
            "spiffe://td/ns/a/sa/b#c",
            "spiffe://td/ns/a/sa/b,spiffe://td/ns/c/sa/d",
            " spiffe://td/ns/a/sa/b",
            "spiffe://td/ns/-a/sa/b",
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
        ] {
            assert_eq!(dns(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_uri_that_is_there_decides() {
        let both =
            |uri: &[u8]| peer_identity(Some(uri), Some(b"a.b.cluster.local"), "cluster.local");
        assert_eq!(both(b"spiffe://td/ns/c/sa/d").as_deref(), Some("c/d"));
        assert_eq!(both(b"https://c/d"), None);
        assert_eq!(both(b"spiffe://td/ns/c/sa/\xff"), None);
        assert_eq!(peer_identity(None, None, "cluster.local"), None);
    }
}
