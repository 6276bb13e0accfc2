//! Decides what a client with a certificate may read.

use weir_split::{IdentityDomains, peer_identity};

use super::reader::{Reader, Refusal};
use crate::serve::listener::tls::CertificateNames;
use weir_core::manifest::problem::messages::answer as messages;

/// The rules for names in client certificates. TLS has already checked that an authority of `--client-ca` has signed
/// the certificate.
#[derive(Clone, Debug)]
pub struct CertificateRules {
    /// Trust domain of SPIFFE IDs. A client whose certificate has another trust domain may read nothing.
    pub trust_domain: String,
    /// Domain of DNS names.
    pub cluster_domain: String,
    /// URI or DNS names, compared byte for byte. A client with one of these names in its certificate may read every
    /// configuration.
    pub operators: Vec<String>,
}

impl CertificateRules {
    /// Finds out who the client is, from the names in its certificate. A client with an operator's certificate may read
    /// every configuration. A client with a workload's certificate may read the workload's namespace. Returns Err for
    /// any other certificate.
    pub(super) fn reader(&self, names: &CertificateNames) -> Result<Reader, Refusal> {
        let mut all = names.uris.iter().chain(&names.dns);
        if all.any(|name| self.operators.contains(name)) {
            return Ok(Reader::Operator);
        }
        let domains = IdentityDomains {
            trust_domain: &self.trust_domain,
            cluster_domain: &self.cluster_domain,
        };
        let identity = match names.uris.as_slice() {
            [] => {
                let dns = names.dns.first().map(|name| name.as_bytes());
                peer_identity(None, dns, domains)
            }
            [uri] => peer_identity(Some(uri.as_bytes()), None, domains),
            // With several URIs it is unclear which URI names the workload.
            _ => None,
        };
        match identity.as_deref().and_then(|it| it.split_once('/')) {
            Some((namespace, _)) => Ok(Reader::Workload {
                namespace: namespace.to_owned(),
            }),
            None => Err(Refusal::Forbidden(self.unknown(names))),
        }
    }

    fn unknown(&self, names: &CertificateNames) -> String {
        let all: Vec<&str> = names
            .uris
            .iter()
            .chain(&names.dns)
            .map(String::as_str)
            .collect();
        let names = match all.as_slice() {
            [] => "no name".to_owned(),
            all => all.join(", "),
        };
        let CertificateRules {
            trust_domain,
            cluster_domain,
            ..
        } = self;
        messages::unknown_certificate(names, trust_domain, cluster_domain).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(uris: &[&str], dns: &[&str]) -> Result<Reader, Refusal> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let rules = CertificateRules {
            trust_domain: "prod.example".into(),
            cluster_domain: "k8s.corp".into(),
            operators: owned(&["edge.example.com", "spiffe://prod.example/edge"]),
        };
        rules.reader(&CertificateNames {
            uris: owned(uris),
            dns: owned(dns),
        })
    }

    #[test]
    fn a_workload_reads_its_namespace() {
        let shop = || {
            Ok(Reader::Workload {
                namespace: "shop".into(),
            })
        };
        let spiffe = "spiffe://prod.example/ns/shop/sa/buyer";
        assert_eq!(reader(&[spiffe], &["x.y.k8s.corp"]), shop());
        assert_eq!(reader(&[], &["buyer.shop.k8s.corp"]), shop());
    }

    #[test]
    fn an_operator_reads_everything() {
        assert_eq!(reader(&[], &["edge.example.com"]), Ok(Reader::Operator));
        let both = ["spiffe://prod.example/edge", "https://example.com"];
        assert_eq!(reader(&both, &[]), Ok(Reader::Operator));
    }

    #[test]
    fn any_other_certificate_reads_nothing() {
        let spiffe = "spiffe://prod.example/ns/shop/sa/buyer";
        for (uris, dns) in [
            (&[] as &[&str], &[] as &[&str]),
            (&[], &["other.example.com"]),
            (&[], &["EDGE.example.com"]),
            (
                &[],
                &["web.shop.serviceaccount.identity.linkerd.cluster.local"],
            ),
            (&[], &["buyer.shop.cluster.local"]),
            (&[], &["*.shop.k8s.corp"]),
            (&[], &["web.shop.svc.k8s.corp"]),
            (&[], &["other.example.com", "buyer.shop.k8s.corp"]),
            (&["spiffe://prod.example/shop"], &[]),
            (&["spiffe://partner.example/ns/shop/sa/buyer"], &[]),
            (&["SPIFFE://prod.example/ns/shop/sa/buyer"], &[]),
            (&["https://example.com"], &["buyer.shop.k8s.corp"]),
            (&[spiffe, "spiffe://prod.example/ns/other/sa/buyer"], &[]),
            (&[spiffe, "https://example.com"], &[]),
        ] {
            let Err(Refusal::Forbidden(why)) = reader(uris, dns) else {
                panic!("{uris:?} {dns:?}");
            };
            assert!(why.contains("--operator-certificate"), "{why}");
            assert!(
                uris.iter().chain(dns).all(|name| why.contains(name)),
                "{why}"
            );
        }
    }
}
