//! Reads objects from a cluster.
//!
//! ```text
//! discovery -> supervisor -> watches -> object store --objects, watermark--> Publisher
//!                            |          ^   |
//!                            |          |   '--names of ConfigMaps--> certificate reader --.
//!                            |          '-------------------------------------------------'
//!                            '--> endpoint feed --EndpointSlices--> table of endpoints
//! ```
//!
//! This module writes nothing to the cluster. [`crate::report`] writes status and Events.

mod certificate_reader;
pub mod cluster_versions;
mod discovery;
mod endpoint_feed;
mod feed;
mod memory_budget;
mod object_list;
mod object_store;
mod read_object;
mod resource;
mod supervisor;
mod watch;

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use crate::publish::Publisher;
use cluster_versions::ClusterVersions;
use resource::{ApiResource, Source};
use supervisor::{EventSenders, Supervisor};
use weir_core::api::smi::traffic_target::Policy;

/// Maximum number of events that wait during one translation. An event may contain an object of more than a megabyte.
const WAITING: usize = 128;

/// A cluster from which objects are read.
pub struct Cluster {
    client: kube::Client,
    sources: Vec<Source>,
    versions: ClusterVersions,
}

/// The error if no cluster can be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to a cluster: {0}")]
pub struct ClusterUnreachable(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Cluster {
    /// Connects to the cluster that this process runs in, or else to the cluster of the current kubeconfig context.
    /// Reads every namespace if `namespaces` is empty.
    pub async fn connect(
        namespaces: &[String],
        policy: Policy,
    ) -> Result<Cluster, ClusterUnreachable> {
        let client = kube::Client::try_default()
            .await
            .map_err(|error| ClusterUnreachable(error.into()))?;
        Ok(Cluster::of(client, namespaces, policy))
    }

    pub fn of(client: kube::Client, namespaces: &[String], policy: Policy) -> Cluster {
        let sources = ApiResource::all(policy).flat_map(|it| Source::of(it, namespaces));
        Cluster {
            versions: ClusterVersions::new(client.clone()),
            sources: sources.collect(),
            client,
        }
    }

    /// Returns the client, for requests that do not read objects.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    pub fn versions(&self) -> ClusterVersions {
        self.versions.clone()
    }

    /// Watches the objects and publishes each change, while the process lives.
    pub async fn feed(self, publisher: Publisher) {
        let (sender, events) = mpsc::channel(WAITING);
        let (slice_sender, slice_events) = mpsc::channel(WAITING);
        let (needed, config_maps) = tokio::sync::watch::channel(BTreeSet::new());
        let Cluster {
            client,
            sources,
            versions,
        } = self;
        let (metrics, limits) = (publisher.metrics(), publisher.limits());
        let of_endpoints =
            endpoint_feed::feed_endpoints(slice_events, publisher.catalog(), sender.clone());
        let of_certificates =
            certificate_reader::read_certificates(client.clone(), config_maps, sender.clone());
        let events_to = EventSenders {
            objects: sender,
            slices: slice_sender,
        };
        let supervisor = Supervisor::new(client, sources, versions, events_to, metrics, limits);
        // Tasks of their own: the other feed may copy many objects without a pause. They end with the supervisor and
        // with the feed.
        tokio::spawn(of_endpoints);
        tokio::spawn(of_certificates);
        tokio::join!(supervisor.run(), feed::feed(events, publisher, needed));
    }
}
