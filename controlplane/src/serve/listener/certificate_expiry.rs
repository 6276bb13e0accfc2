//! Finds out when the server certificate expires, and makes the warning about the expiry.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Number of seconds from the first warning to the end of the certificate: 30 days.
pub const WARN_AHEAD: i64 = 30 * 86_400;

/// Returns the earliest time at which a certificate of the chain expires (RFC 5280, 4.1.2.5, notAfter), in Unix
/// seconds. Returns Err with the reason if the chain cannot be read.
pub(super) fn first_end(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let mut ends = Vec::new();
    for certificate in chain {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("not an X.509 certificate: {error}"))?;
        ends.push(parsed.validity().not_after.timestamp());
    }
    ends.into_iter()
        .min()
        .ok_or_else(|| "the file contains no certificate".to_owned())
}

/// Returns the warning about a certificate that expires at `end`. Returns None if more than [`WARN_AHEAD`] is left.
/// `end` and `now` are Unix seconds.
pub fn warning(end: i64, now: i64) -> Option<String> {
    let left = end.saturating_sub(now);
    if left > WARN_AHEAD {
        return None;
    }
    let when = match left {
        ..0 => {
            "has expired: proxies refuse this control plane, and keep their present configuration"
                .to_owned()
        }
        left => format!(
            "expires in {} days: proxies then refuse this control plane, and keep their present configuration",
            left / 86_400
        ),
    };
    Some(format!(
        "the server certificate {when}; renew the files of --tls-cert and --tls-key, for example the Secret weir-tls. \
         If another CA signs the new certificate, also give the certificate of this CA to the proxies"
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
        assert!(soon.contains("expires in 29 days"), "{soon}");
        let over = warning(-1, 0).unwrap();
        assert!(over.contains("has expired"), "{over}");
    }

    #[test]
    fn invalid_chain_is_error() {
        let error = first_end(&[CertificateDer::from(vec![0x30, 0x03, 1, 1, 0])]).unwrap_err();
        assert!(error.starts_with("not an X.509 certificate"), "{error}");
        assert!(first_end(&[]).is_err());
    }
}
