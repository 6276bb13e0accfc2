//! The owner of a connection and of the proxies that poll on it. Each owner has limits.

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

/// The limit of connections of one pod, and also of instances. An instance is an Envoy process that polls for one
/// namespace or Gateway. The workers of an instance take turns to poll.
const POD_LIMIT: usize = 32;
/// The limit of connections, and also of instances, of a ServiceAccount with tokens that are not bound to a pod.
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

    /// Returns the common owner of all clients with certificates of this namespace.
    pub fn of_namespace(namespace: &str) -> Owner {
        Owner {
            namespace: Some(namespace.to_owned()),
            name: String::new(),
        }
    }

    /// Returns how many connections this owner may have at one replica at the same time. The same limit applies to
    /// the instances of the owner.
    pub fn limit(&self) -> usize {
        match &self.name {
            // Many clients share an owner without a name, so this owner has no limit of its own.
            name if name.is_empty() => usize::MAX,
            name if name.starts_with("pod ") => POD_LIMIT,
            _ => ACCOUNT_LIMIT,
        }
    }
}
