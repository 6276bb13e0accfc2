//! The owner of a connection and of the proxies that poll on it: the limits of one client are counted by owner.

use serde::{Deserialize, Serialize};

/// A pod, a ServiceAccount, all holders of certificates of one namespace, or all clients that may read everything: those
/// with an operator's certificate, and those on loopback without TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// None for clients that may read everything.
    pub namespace: Option<String>,
    /// `pod UID`; the username of a ServiceAccount, if its token is bound to no pod; or empty.
    pub name: String,
}

/// Connections and instances of one pod. An Envoy has one instance for each scope, and its workers take turns to poll.
const OF_POD: usize = 32;
/// Connections and instances of one ServiceAccount whose tokens are bound to no pod.
const OF_ACCOUNT: usize = 256;

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

    /// How many connections, and how many instances, it may have at a time at one replica.
    pub fn limit(&self) -> usize {
        match &self.name {
            // Holders of certificates have no limit of their own, but the limit of their namespace.
            name if name.is_empty() => usize::MAX,
            name if name.starts_with("pod ") => OF_POD,
            _ => OF_ACCOUNT,
        }
    }
}
