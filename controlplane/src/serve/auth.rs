//! Who may read what: by certificate, by token, or whoever gets here at all.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::certificate::CertificateRules;
use super::loopback;
use super::reader::{Reader, Refusal};
use super::tokens::{Denied, Tokens};
use crate::serve::listener::Peer;
use weir_core::manifest::problem::messages::answer as messages;

/// How it is found out who asks.
#[derive(Clone)]
pub enum Readers {
    /// Nobody is told apart: the listener is for loopback alone.
    Anyone,
    /// By the client certificate, else by the token in a cluster.
    Known {
        certificates: Arc<CertificateRules>,
        tokens: Option<Arc<Tokens>>,
    },
}

impl Readers {
    pub(super) async fn who(&self, peer: &Peer, headers: &HeaderMap) -> Result<Reader, Refusal> {
        let (certificates, tokens) = match self {
            Readers::Anyone => return loopback::check(headers).map(|()| Reader::OfAll),
            Readers::Known {
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

    /// Whether this one is another replica.
    pub(super) fn is_replica(&self, reader: &Reader) -> bool {
        match (self, reader) {
            (Readers::Anyone, _) => true,
            (Readers::Known { tokens, .. }, Reader::Account(account)) => {
                tokens.as_ref().is_some_and(|it| it.is_own(account))
            }
            (Readers::Known { .. }, _) => false,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
