//! A reader is an authenticated client. A scope is the part of the configuration that one proxy may see. This module
//! decides which scopes a reader may read, and makes the error answers for other clients.

use std::sync::Arc;

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::owner::Owner;
use weir_core::plan::Scope;

use super::tokens::Account;
use crate::serve::listener::set_connection_close;

/// An authenticated client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// A client on loopback, or a client with an operator's certificate. This client may read every scope.
    Operator,
    /// A client whose certificate contains this namespace.
    Workload { namespace: String },
    /// A client with a token of a ServiceAccount.
    Account(Arc<Account>),
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client has shown no valid token or certificate.
    Unknown(String),
    /// The client may not read the scope.
    Forbidden(String),
    /// The token cannot be checked now.
    Unavailable(String),
    /// The pod, the ServiceAccount or the namespace of the client already has its maximum number of connections.
    Full,
}

impl Reader {
    /// Returns the only namespace that the reader may read, or None if the reader may read every namespace.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Reader::Operator => None,
            Reader::Workload { namespace } => Some(namespace),
            Reader::Account(account) => Some(&account.namespace),
        }
    }

    /// Returns the owner of this reader. The server counts connections and proxies of each owner.
    pub(super) fn owner(&self) -> Arc<Owner> {
        match self {
            Reader::Operator => Arc::default(),
            Reader::Workload { namespace } => Arc::new(Owner::of_namespace(namespace)),
            Reader::Account(account) => account.owner.clone(),
        }
    }

    /// Returns Err if the reader may not read the scope. A workload or a ServiceAccount may read its own namespace, the
    /// Gateways in this namespace, and [`Scope::Producers`]: the rules for clients in every namespace.
    pub(super) fn may_read(&self, scope: &Scope) -> Result<(), Refusal> {
        let (own, who) = match self {
            Reader::Operator => return Ok(()),
            Reader::Workload { namespace } => (namespace, "this certificate"),
            Reader::Account(account) => (&account.namespace, account.username.as_str()),
        };
        if *scope == Scope::Edge {
            return Err(Refusal::Forbidden(
                messages::every_namespace(who, own).to_string(),
            ));
        }
        let Some(other) = scope.namespace().filter(|other| other != own) else {
            return Ok(());
        };
        Err(Refusal::Forbidden(
            messages::other_namespace(who, own, other).to_string(),
        ))
    }
}

impl Refusal {
    pub(super) fn into_response(self) -> Response {
        let is_full = matches!(self, Refusal::Full);
        let (status, message) = match self {
            Refusal::Unknown(message) => (StatusCode::UNAUTHORIZED, message),
            Refusal::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Refusal::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
            Refusal::Full => {
                let message = messages::full().to_string();
                (StatusCode::SERVICE_UNAVAILABLE, message)
            }
        };
        let mut response = super::answer::error(status, &message);
        if is_full {
            set_connection_close(&mut response);
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            // An unauthenticated client must not keep its connection.
            set_connection_close(&mut response);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_reads_own_namespace_and_gateways() {
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
            owner: Arc::default(),
        }));
        let Err(Refusal::Forbidden(why)) = account.may_read(&Scope::Edge) else {
            panic!("a token is for its own namespace");
        };
        assert!(
            why.contains("serviceaccount:shop:edge is of namespace shop"),
            "{why}"
        );
        assert!(Reader::Operator.may_read(&Scope::Edge).is_ok());
        assert!(Reader::Operator.may_read(&gateway("other")).is_ok());
    }
}
