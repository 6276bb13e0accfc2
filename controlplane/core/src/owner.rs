//! The owner of a connection and of the proxies that poll on it. Limits count by owner.

use serde::{Deserialize, Serialize};

/// An owner is a pod, a ServiceAccount, all clients with certificates of one namespace, or all clients that may read
/// everything. Clients with an operator's certificate and clients on loopback without TLS may read everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// None for clients that may read everything.
    pub namespace: Option<String>,
    /// `pod UID`; the username of a ServiceAccount whose token is not bound to a pod; or empty.
    pub name: String,
}

/// The most connections of one pod, and also its most instances. An Envoy process has one instance for each scope, and
/// the workers of an instance take turns to poll.
const POD_LIMIT: usize = 32;
/// The most connections of one ServiceAccount whose tokens are not bound to a pod, and also its most instances.
const ACCOUNT_LIMIT: usize = 256;

impl Owner {
    pub fn of_pod(namespace: &str, uid: &str) -> Owner {
        Owner {
            namespace: Some(namespace.to_owned()),
            name: format!("pod {uid}"),
        }
    }

    pub fn of_account(namespace: &str, username: &str) -> Owner {
        Owner {
            namespace: Some(namespace.to_owned()),
            name: username.to_owned(),
        }
    }

    /// Returns the owner that stands for all clients with certificates of this namespace.
    pub fn of_namespace(namespace: &str) -> Owner {
        Owner {
            namespace: Some(namespace.to_owned()),
            name: String::new(),
        }
    }

    /// Returns the most connections that this owner may have at a time at one replica, which is also the limit of its
    /// instances.
    pub fn limit(&self) -> usize {
        match &self.name {
            // Many clients share an owner without a name, so only the limit of their namespace applies to them.
            name if name.is_empty() => usize::MAX,
            name if name.starts_with("pod ") => POD_LIMIT,
            _ => ACCOUNT_LIMIT,
        }
    }
}
