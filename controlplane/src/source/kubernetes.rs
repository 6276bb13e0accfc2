//! A cluster as the source of objects, and as the reader of their status.
//!
//! ```text
//! discovery -> supervisor -> watches -> store --objects, watermark--> Publisher
//! verdict --> status, Events (the holder of the Lease alone)
//! ```
//!
//! It writes nothing but status, Events and its own Lease, and asks TokenReviews.

mod discovery;
mod feed;
pub mod horizon;
mod reading;
mod resource;
mod room;
mod store;
mod supervisor;
mod watch;

use tokio::sync::mpsc;

use crate::publish::Publisher;
use horizon::Horizon;
use resource::{Resource, Source};
use supervisor::Supervisor;
use weir_core::api::smi::traffic_target::Policy;

/// News that may wait while one translation is made; each may hold an object of more than a megabyte.
const WAITING: usize = 128;

/// A cluster to read.
pub struct Cluster {
    client: kube::Client,
    sources: Vec<Source>,
    horizon: Horizon,
}

/// There is no cluster to be reached.
#[derive(Debug, thiserror::Error)]
#[error("no cluster: {0}")]
pub struct Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Cluster {
    /// The cluster that this process runs in, or that of the current kubeconfig. No namespaces are all.
    pub async fn connect(namespaces: &[String], policy: Policy) -> Result<Cluster, Unreachable> {
        let client = kube::Client::try_default()
            .await
            .map_err(|error| Unreachable(error.into()))?;
        Ok(Cluster::of(client, namespaces, policy))
    }

    pub fn of(client: kube::Client, namespaces: &[String], policy: Policy) -> Cluster {
        let sources = Resource::all(policy).flat_map(|it| Source::of(it, namespaces));
        Cluster {
            horizon: Horizon::new(client.clone()),
            sources: sources.collect(),
            client,
        }
    }

    /// For questions that are not about objects.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Tells how far the cluster has come.
    pub fn horizon(&self) -> Horizon {
        self.horizon.clone()
    }

    /// Watches and publishes for as long as the process lives.
    pub async fn feed(self, publisher: Publisher) {
        let (news, heard) = mpsc::channel(WAITING);
        let Cluster {
            client,
            sources,
            horizon,
        } = self;
        let (metrics, limits) = (publisher.metrics(), publisher.limits());
        let supervisor = Supervisor::new(client, sources, horizon, news, metrics, limits);
        tokio::join!(supervisor.run(), feed::feed(heard, publisher));
    }
}
