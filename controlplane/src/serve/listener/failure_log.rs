//! Logs why connections fail before their first request. The log names the client and the cause, because Envoy reports
//! the same words for all causes. The number of lines is limited, because every stranger can cause them.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Length of a window. In each window, a client gets at most one line for each cause.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of lines in one window.
const MAX_LINES: usize = 20;

/// The causes that this process has logged.
#[derive(Debug, Default)]
pub struct FailureLog(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    begin: Instant,
    /// The client and the cause of each line.
    lines: BTreeSet<(IpAddr, String)>,
    /// Number of failures without a line.
    omitted: u64,
}

impl FailureLog {
    /// Logs a failed TLS handshake. Logs nothing if the client has only closed the connection, as a probe does.
    pub fn handshake(&self, client: SocketAddr, error: &io::Error) {
        if let Some(cause) = cause(error) {
            self.write(client, &format!("the TLS handshake has failed: {cause}"));
        }
    }

    /// Logs a request that is not HTTP.
    pub fn request(&self, client: SocketAddr, error: &hyper::Error) {
        if error.is_parse() && !error.is_parse_too_large() {
            let cause = "its request is not HTTP. This port serves HTTP/1.1 and HTTP/2, and TLS only with --tls-cert. \
                         The client's cluster for Weir must have a transport_socket if this port uses TLS, and none \
                         otherwise";
            self.write(client, cause);
        }
    }

    fn write(&self, client: SocketAddr, cause: &str) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = (client.ip().to_canonical(), cause.to_owned());
        let Some(omitted) = admit(&mut window, Instant::now(), line) else {
            return;
        };
        let omitted = match omitted {
            0 => String::new(),
            count => format!("; {count} earlier failures of connections are not in this log"),
        };
        tracing::warn!(%client, "connection refused: {cause}{omitted}");
    }
}

/// Returns None if this failure gets no line. Otherwise returns the number of failures without a line in the window
/// that this failure has ended, or 0.
fn admit(window: &mut Option<Window>, now: Instant, line: (IpAddr, String)) -> Option<u64> {
    let is_over = |it: &Window| now.saturating_duration_since(it.begin) >= WINDOW;
    let mut omitted = 0;
    if window.as_ref().is_none_or(is_over) {
        omitted = window.take().map_or(0, |it| it.omitted);
    }
    let window = window.get_or_insert_with(|| Window {
        begin: now,
        lines: BTreeSet::new(),
        omitted: 0,
    });
    if window.lines.len() < MAX_LINES && window.lines.insert(line) {
        return Some(omitted);
    }
    window.omitted = window.omitted.saturating_add(1).saturating_add(omitted);
    None
}

/// Returns the cause and the remedy. Returns None if the client has closed the connection without a TLS alert.
fn cause(error: &io::Error) -> Option<String> {
    let inner = error.get_ref().and_then(|it| it.downcast_ref());
    Some(match inner {
        Some(rustls::Error::AlertReceived(alert)) => format!(
            "the client does not accept the certificate of this server (alert {alert:?}): give the client the CA bundle \
             of --tls-cert, and compare the name in match_typed_subject_alt_names"
        ),
        Some(rustls::Error::NoCertificatesPresented) => {
            "the client has shown no certificate: give the client a certificate of --client-ca".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => format!(
            "the certificate of the client is not valid ({why}): give the client a certificate of --client-ca that has \
             not expired"
        ),
        Some(rustls::Error::InvalidMessage(_)) => {
            "the client does not use TLS: write a transport_socket into the client's cluster for Weir".to_owned()
        }
        Some(other) => other.to_string(),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => return None,
            _ => error.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, InvalidMessage};

    use super::*;

    #[test]
    fn each_cause_gets_one_line() {
        let (mut window, start) = (None, Instant::now());
        let client = |number: u8| (IpAddr::from([10, 0, 0, number]), "cause".to_owned());
        assert_eq!(admit(&mut window, start, client(0)), Some(0));
        assert_eq!(admit(&mut window, start, client(0)), None);
        let others = (1..100).filter(|it| admit(&mut window, start, client(*it)).is_some());
        assert_eq!(others.count(), MAX_LINES - 1);
        let next = start + WINDOW;
        let omitted = 100 - MAX_LINES as u64 + 1;
        assert_eq!(admit(&mut window, next, client(0)), Some(omitted));
        assert_eq!(admit(&mut window, next, client(1)), Some(0));
    }

    #[test]
    fn causes_have_a_remedy() {
        let of = |error: rustls::Error| {
            cause(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap_or_default()
        };
        for (error, says) in [
            (
                rustls::Error::AlertReceived(AlertDescription::UnknownCA),
                "does not accept the certificate of this server (alert UnknownCA)",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::Expired),
                "not valid",
            ),
            (rustls::Error::NoCertificatesPresented, "no certificate"),
            (
                rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "does not use TLS",
            ),
        ] {
            let cause = of(error);
            assert!(cause.contains(says), "{cause}");
        }
        assert_eq!(cause(&io::ErrorKind::UnexpectedEof.into()), None);
    }
}
