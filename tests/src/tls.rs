//! Certificates for workloads, and the TLS settings of Envoy.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use serde_json::{Value, json};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, and the authority that its owner trusts.
#[derive(Clone)]
pub struct Certificate {
    pub pem: String,
    pub key: String,
    /// The authority's certificate (PEM).
    pub authority: String,
}

impl Authority {
    #[must_use]
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Returns a certificate with these names. A name with `://` is a URI; any other name is a DNS name.
    pub fn sign(&self, names: &[&str]) -> Certificate {
        self.sign_with(names, CertificateParams::default())
    }

    /// Returns a certificate that expires when the day `end` begins, at 00:00 UTC.
    pub fn sign_until(&self, names: &[&str], end: jiff::civil::Date) -> Certificate {
        let number = |part: i8| u8::try_from(part).expect("a month or a day");
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(end.year().into(), number(end.month()), number(end.day()));
        self.sign_with(names, params)
    }

    fn sign_with(&self, names: &[&str], mut params: CertificateParams) -> Certificate {
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                let text = (*name).try_into().expect("an IA5 string");
                if name.contains("://") {
                    SanType::URI(text)
                } else {
                    SanType::DnsName(text)
                }
            })
            .collect();
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate {
            pem: signed.pem(),
            key: key.serialize_pem(),
            authority: self.pem.clone(),
        }
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

const TYPED: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

pub(crate) fn downstream(certificate: &Certificate) -> Value {
    let context = json!({
        "@type": format!("{TYPED}.DownstreamTlsContext"),
        "require_client_certificate": true,
        "common_tls_context": common(&certificate.authority, Some(certificate)),
    });
    json!({ "name": "tls", "typed_config": context })
}

pub(crate) fn upstream(authority: &Authority, certificate: Option<&Certificate>) -> Value {
    let context = json!({
        "@type": format!("{TYPED}.UpstreamTlsContext"),
        "common_tls_context": common(&authority.pem, certificate),
    });
    json!({ "name": "tls", "typed_config": context })
}

fn common(authority: &str, certificate: Option<&Certificate>) -> Value {
    let own = certificate.map(|certificate| {
        json!({
            "certificate_chain": { "inline_string": certificate.pem },
            "private_key": { "inline_string": certificate.key },
        })
    });
    json!({
        "tls_certificates": own.into_iter().collect::<Vec<_>>(),
        "validation_context": { "trusted_ca": { "inline_string": authority } },
    })
}
