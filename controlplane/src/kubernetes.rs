//! A cluster as the source of objects, and as the reader of their status.
//!
//! ```text
//! discovery -> watches -> store --objects, watermark--> Publisher
//! verdict --> status, Events (the holder of the Lease alone)
//! ```
//!
//! It writes nothing but status, Events and its own Lease, and asks TokenReviews.

pub mod horizon;

use horizon::Horizon;

use crate::access::Policy;
use crate::publish::Publisher;

/// A cluster to read.
pub struct Cluster {
    client: kube::Client,
    /// Empty for all.
    namespaces: Vec<String>,
    policy: Policy,
}

/// There is no cluster to be reached.
#[derive(Debug, thiserror::Error)]
#[error("no cluster: {0}")]
pub struct Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Cluster {
    /// The cluster that this process runs in, or that of the current kubeconfig.
    pub async fn connect(namespaces: &[String], policy: Policy) -> Result<Cluster, Unreachable> {
        let client = kube::Client::try_default()
            .await
            .map_err(|error| Unreachable(error.into()))?;
        Ok(Cluster {
            client,
            namespaces: namespaces.to_vec(),
            policy,
        })
    }

    /// For questions that are not about objects.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Tells how far the cluster has come.
    pub fn horizon(&self) -> Horizon {
        Horizon
    }

    /// Watches and publishes until nobody listens any more.
    pub async fn feed(self, mut publisher: Publisher) {
        let Cluster {
            client,
            namespaces,
            policy,
        } = self;
        let _ = (client, namespaces, policy);
        publisher.hold_back("no watch has begun", &[]);
    }
}
