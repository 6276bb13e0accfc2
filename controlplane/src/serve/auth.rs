//! Authenticates clients. A client shows a certificate (module `certificate`) or a token (module `tokens`). On loopback
//! a client shows neither, and the module `loopback` checks the Host of the request.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::certificate::CertificateRules;
use super::loopback;
use super::reader::{Reader, Refusal};
use super::tokens::{Denied, TokenSession, Tokens};
use crate::serve::listener::Peer;
use weir_core::manifest::problem::messages::answer as messages;

/// A header for the token that needs no scheme before the token. Envoy 1.36 can only send a token without a scheme.
const TOKEN: &str = "x-weir-token";

/// How the server authenticates clients.
#[derive(Clone)]
pub enum Authentication {
    /// Every client on loopback may read every configuration. Other clients cannot connect.
    Anyone,
    /// The client certificate decides what the client may read. If the client has no certificate, the token decides.
    /// Outside a cluster there are no `tokens`.
    Required {
        certificates: Arc<CertificateRules>,
        tokens: Option<Arc<Tokens>>,
    },
}

impl Authentication {
    pub(super) async fn reader(&self, peer: &Peer, headers: &HeaderMap) -> Result<Reader, Refusal> {
        let (certificates, tokens) = match self {
            Authentication::Anyone => return loopback::check(headers).map(|()| Reader::Operator),
            Authentication::Required {
                certificates,
                tokens,
            } => (certificates, tokens),
        };
        if let Some(names) = &peer.certificate {
            return certificates.reader(names);
        }
        let Some(tokens) = tokens else {
            return Err(Refusal::Unknown(messages::no_certificate().to_string()));
        };
        let Some(token) = bearer(headers) else {
            return Err(Refusal::Unknown(messages::no_token().to_string()));
        };
        match tokens.account(token).await {
            Ok(account) => Ok(Reader::Account(account)),
            Err(Denied::Invalid(why)) => Err(Refusal::Unknown(why)),
            Err(Denied::Unavailable(why)) => Err(Refusal::Unavailable(why)),
        }
    }

    /// Returns the token that decides what the client may read. Returns None if a certificate decides, or if every client
    /// may read everything.
    pub(super) fn token_session(&self, peer: &Peer, headers: &HeaderMap) -> Option<TokenSession> {
        let Authentication::Required { tokens, .. } = self else {
            return None;
        };
        if peer.certificate.is_some() {
            return None;
        }
        Some(TokenSession::new(tokens.clone()?, bearer(headers)?))
    }

    /// True if the client is another replica: the client's token belongs to the ServiceAccount of this process. On
    /// loopback every client counts as a replica.
    pub(super) fn is_replica(&self, reader: &Reader) -> bool {
        match (self, reader) {
            (Authentication::Anyone, _) => true,
            (Authentication::Required { tokens, .. }, Reader::Account(account)) => {
                tokens.as_ref().is_some_and(|it| it.is_own(account))
            }
            (Authentication::Required { .. }, _) => false,
        }
    }
}

/// Returns the token of `authorization: Bearer TOKEN`, or the token in [`TOKEN`] with or without `Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name)?.to_str().ok();
    let authorization = text(AUTHORIZATION.as_str()).and_then(without_scheme);
    authorization.or_else(|| {
        let token = text(TOKEN)?.trim();
        Some(without_scheme(token).unwrap_or(token))
    })
}

fn without_scheme(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_in_either_header() {
        for (name, value, expected) in [
            ("authorization", "Bearer a.b.c", Some("a.b.c")),
            ("authorization", "bearer  a.b.c", Some("a.b.c")),
            ("authorization", "a.b.c", None),
            ("authorization", "Basic a", None),
            ("x-weir-token", "a.b.c", Some("a.b.c")),
            ("x-weir-token", "Bearer a.b.c", Some("a.b.c")),
            ("x-token", "a.b.c", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(bearer(&headers), expected, "{name}: {value}");
        }
    }
}
