//! The owner of a connection and of the proxies that poll on it. Limits count by owner.

use serde::{Deserialize, Serialize};

/// A pod, a ServiceAccount, all holders of certificates of one namespace, or all clients that may read everything: clients
/// with an operator's certificate, and clients on loopback without TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// None for clients that may read everything.
    pub namespace: Option<String>,
    /// `pod UID`; the username of a ServiceAccount whose token is not bound to a pod; or empty.
    pub name: String,
}

/// The most connections, and the most instances, of one pod. An Envoy has one instance for each scope, and its workers take
/// turns to poll.
const POD_LIMIT: usize = 32;
/// The most connections, and the most instances, of one ServiceAccount whose tokens are not bound to a pod.
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

    /// All holders of certificates of this namespace.
    pub fn of_namespace(namespace: &str) -> Owner {
        Owner {
            namespace: Some(namespace.to_owned()),
            name: String::new(),
        }
    }

    /// The most connections, and the most instances, that it may have at a time at one replica.
    pub fn limit(&self) -> usize {
        match &self.name {
            // For holders of certificates only the limit of their namespace applies.
            name if name.is_empty() => usize::MAX,
            name if name.starts_with("pod ") => POD_LIMIT,
            _ => ACCOUNT_LIMIT,
        }
    }
}
