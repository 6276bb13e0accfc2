//! Who answers for a connection and for what is said on it: the limits of one client are counted by this.

use serde::{Deserialize, Serialize};

/// A pod, a ServiceAccount, the holders of a namespace's certificates, or whoever the operator vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// None for those that may read of every namespace.
    pub namespace: Option<String>,
    /// `pod UID`, the name of a ServiceAccount whose token is bound to no pod, or empty.
    pub name: String,
}

/// Connections and instances of one pod. An Envoy has one instance for each scope, and its workers take turns.
const OF_POD: usize = 32;
/// Of all who show tokens of one ServiceAccount that are bound to no pod.
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

    /// Whoever has a certificate for this namespace.
    pub fn of_namespace(namespace: &str) -> Owner {
        Owner {
            namespace: Some(namespace.to_owned()),
            name: String::new(),
        }
    }

    /// How many connections, and how many instances, it may have at a time at one replica.
    pub fn limit(&self) -> usize {
        match &self.name {
            // Holders of certificates are not told apart: what their namespace may have is the limit.
            name if name.is_empty() => usize::MAX,
            name if name.starts_with("pod ") => OF_POD,
            _ => OF_ACCOUNT,
        }
    }
}
