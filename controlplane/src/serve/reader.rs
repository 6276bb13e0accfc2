//! A client of the control plane: what it may read, and the answer if it may not.

use std::sync::Arc;

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::owner::Owner;
use weir_core::plan::Scope;

use super::tokens::Account;
use crate::serve::listener::say_last;

/// Who asks, and what that one may read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// On loopback, or with an operator's certificate.
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
    /// The pod, the ServiceAccount or the namespace of the client has all the connections that it may have.
    Full,
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

    /// The owner by which connections and instances of this reader are counted.
    pub(super) fn owner(&self) -> Arc<Owner> {
        match self {
            Reader::OfAll => Arc::default(),
            Reader::Workload { namespace } => Arc::new(Owner::of_namespace(namespace)),
            Reader::Account(account) => account.owner.clone(),
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
            return Err(Refusal::Forbidden(
                messages::every_namespace(who, own).to_string(),
            ));
        }
        let Some(wanted) = scope.namespace().filter(|wanted| wanted != own) else {
            return Ok(());
        };
        Err(Refusal::Forbidden(
            messages::other_namespace(who, own, wanted).to_string(),
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
            say_last(&mut response);
        }
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
            owner: Arc::default(),
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
