//! When the server certificate expires, and the warning about it.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Number of seconds before the end at which the warning begins: 30 days.
pub const WARN_AHEAD: i64 = 30 * 86_400;

/// Returns the earliest end of the certificates in the chain (RFC 5280, 4.1.2.5, notAfter), in Unix seconds. Err has
/// the reason why the chain cannot be read.
pub(super) fn first_end(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let mut ends = Vec::new();
    for certificate in chain {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("not an X.509 certificate: {error}"))?;
        ends.push(parsed.validity().not_after.timestamp());
    }
    ends.into_iter()
        .min()
        .ok_or_else(|| "no certificate in it".to_owned())
}

/// Returns the warning about a certificate that ends at `end`. Returns None if the end is more than [`WARN_AHEAD`]
/// away. The times are Unix seconds.
pub fn warning(end: i64, now: i64) -> Option<String> {
    let left = end.saturating_sub(now);
    if left > WARN_AHEAD {
        return None;
    }
    let when = match left {
        ..0 => "has ended: proxies refuse this control plane, and keep the configuration that they have".to_owned(),
        left => format!(
            "ends in {} days: proxies then refuse this control plane, and keep the configuration that they have",
            left / 86_400
        ),
    };
    Some(format!(
        "the certificate for proxies {when}; renew the files of --tls-cert and --tls-key, for example the Secret weir-tls, and \
         give proxies the new authority if it is another one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_thirty_days_give_warning() {
        let day = 86_400;
        assert_eq!(warning(31 * day, 0), None);
        let soon = warning(29 * day + 5, 0).unwrap();
        assert!(soon.contains("ends in 29 days"), "{soon}");
        let over = warning(-1, 0).unwrap();
        assert!(over.contains("has ended"), "{over}");
    }

    #[test]
    fn invalid_chain_is_error() {
        let error = first_end(&[CertificateDer::from(vec![0x30, 0x03, 1, 1, 0])]).unwrap_err();
        assert!(error.starts_with("not an X.509 certificate"), "{error}");
        assert!(first_end(&[]).is_err());
    }
}
