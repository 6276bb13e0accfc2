//! Who may read what: by certificate, by token, or whoever gets here at all.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use weir_split::peer_identity;

use super::tokens::{Account, Denied, Tokens};
use crate::listener::tls::Names;
use crate::listener::{Peer, say_last};
use crate::plan::Scope;

/// DNS names in certificates end so, where they say a namespace.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// How it is found out who asks.
#[derive(Clone)]
pub enum Readers {
    /// Nobody is told apart: the listener is for loopback alone.
    Anyone,
    /// By the certificate that was shown, else by the token where there are any.
    Known(Option<Arc<Tokens>>),
}

/// Who asks, and what that one may read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// On loopback, or with a certificate that names no namespace.
    OfAll,
    /// A certificate that names this namespace.
    Workload {
        namespace: String,
    },
    Account(Arc<Account>),
}

/// Nothing is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Whoever it is has shown nothing that would be known.
    Unknown(String),
    Forbidden(String),
    /// It cannot be found out now.
    Unavailable(String),
}

impl Readers {
    pub(super) async fn who(&self, peer: &Peer, headers: &HeaderMap) -> Result<Reader, Refusal> {
        let tokens = match self {
            Readers::Anyone => return Ok(Reader::OfAll),
            Readers::Known(tokens) => tokens,
        };
        if let Some(names) = &peer.certificate {
            return of_certificate(names);
        }
        let Some(tokens) = tokens else {
            return Err(Refusal::Unknown("show a client certificate".into()));
        };
        let Some(token) = bearer(headers) else {
            return Err(Refusal::Unknown(
                "show the token of a ServiceAccount for the audience weir.dev, as Authorization: Bearer".into(),
            ));
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
            (Readers::Known(Some(tokens)), Reader::Account(account)) => tokens.is_own(account),
            (Readers::Known(_), _) => false,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whoever signed the certificate vouches: for one namespace where the certificate names one, as the filter reads
/// the names of workloads, and else for all.
fn of_certificate(names: &Names) -> Result<Reader, Refusal> {
    let uri = names.uris.iter().find(|uri| uri.starts_with("spiffe:"));
    let identity = match uri {
        Some(uri) => {
            let identity = peer_identity(Some(uri.as_bytes()), None, CLUSTER_DOMAIN);
            let Some(identity) = identity.filter(|_| names.uris.len() == 1) else {
                return Err(Refusal::Forbidden(format!(
                    "the certificate's {uri} is not one spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME"
                )));
            };
            Some(identity)
        }
        None => {
            let dns = names.dns.first();
            dns.and_then(|dns| peer_identity(None, Some(dns.as_bytes()), CLUSTER_DOMAIN))
        }
    };
    let namespace = identity.and_then(|identity| Some(identity.split_once('/')?.0.to_owned()));
    Ok(match namespace {
        Some(namespace) => Reader::Workload { namespace },
        None => Reader::OfAll,
    })
}

impl Reader {
    /// The only namespace that this one may read of; None where it may read of all.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Reader::OfAll => None,
            Reader::Workload { namespace } => Some(namespace),
            Reader::Account(account) => Some(&account.namespace),
        }
    }

    /// One namespace and its Gateways. What is in no query is for all.
    pub(super) fn may_read(&self, scope: &Scope) -> Result<(), Refusal> {
        let (own, who) = match self {
            Reader::OfAll => return Ok(()),
            Reader::Workload { namespace } => (namespace, "this certificate"),
            Reader::Account(account) => (&account.namespace, account.username.as_str()),
        };
        if *scope == Scope::Edge {
            return Err(Refusal::Forbidden(format!(
                "{who} is of namespace {own}, and namespace=* is every namespace: ask for namespace={own}, or show a \
                 client certificate that names no namespace"
            )));
        }
        let Some(wanted) = scope.namespace().filter(|wanted| wanted != own) else {
            return Ok(());
        };
        Err(Refusal::Forbidden(format!(
            "{who} is of namespace {own}: it may ask for namespace={own} and gateway={own}/NAME, not for \
             namespace {wanted}"
        )))
    }
}

impl Refusal {
    pub(super) fn into_response(self) -> Response {
        let (status, message) = match &self {
            Refusal::Unknown(message) => (StatusCode::UNAUTHORIZED, message),
            Refusal::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Refusal::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
        };
        let mut response = super::answer::error(status, message);
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            // Strangers keep no connection open.
            say_last(&mut response);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(uris: &[&str], dns: &[&str]) -> Result<Reader, Refusal> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        of_certificate(&Names {
            uris: owned(uris),
            dns: owned(dns),
        })
    }

    #[test]
    fn a_certificate_is_for_the_namespace_that_it_names_and_else_for_all() {
        let workload = |namespace: &str| {
            Ok(Reader::Workload {
                namespace: namespace.into(),
            })
        };
        let spiffe = "spiffe://cluster.local/ns/shop/sa/buyer";
        assert_eq!(reader(&[spiffe], &["x.y.cluster.local"]), workload("shop"));
        assert_eq!(reader(&[], &["buyer.shop.cluster.local"]), workload("shop"));
        assert_eq!(
            reader(&[], &["edge.example.com"]),
            Ok(Reader::OfAll),
            "whoever signs decides"
        );
        assert_eq!(reader(&[], &[]), Ok(Reader::OfAll));
        for unclear in [
            &["spiffe://cluster.local/shop"] as &[&str],
            &[spiffe, "spiffe://cluster.local/ns/other/sa/buyer"],
            &[spiffe, "https://example.com"],
        ] {
            assert!(matches!(reader(unclear, &[]), Err(Refusal::Forbidden(_))));
        }
    }

    #[test]
    fn whoever_is_of_a_namespace_reads_that_and_its_gateways() {
        let reader = Reader::Workload {
            namespace: "shop".into(),
        };
        let gateway = |namespace: &str| Scope::Gateway {
            namespace: namespace.into(),
            name: "edge".into(),
        };
        assert!(reader.may_read(&Scope::Producers).is_ok());
        assert!(reader.may_read(&Scope::Namespace("shop".into())).is_ok());
        assert!(reader.may_read(&gateway("shop")).is_ok());
        assert!(reader.may_read(&Scope::Namespace("shop2".into())).is_err());
        assert!(reader.may_read(&gateway("other")).is_err());
        assert!(reader.may_read(&Scope::Edge).is_err());
        let account = Reader::Account(Arc::new(Account {
            namespace: "shop".into(),
            username: "system:serviceaccount:shop:edge".into(),
        }));
        let Err(Refusal::Forbidden(why)) = account.may_read(&Scope::Edge) else {
            panic!("a token is for its own namespace");
        };
        assert!(
            why.contains("serviceaccount:shop:edge is of namespace shop"),
            "{why}"
        );
        assert!(Reader::OfAll.may_read(&Scope::Edge).is_ok());
        assert!(Reader::OfAll.may_read(&gateway("other")).is_ok());
    }
}
