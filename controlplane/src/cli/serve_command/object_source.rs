//! The source of objects of `weir serve`: a folder or a cluster.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir::publish::Publisher;
use weir::report::all_proxies::AllProxies;
use weir::report::gate::Gate;
use weir::report::module_rollout::ModuleRollout;
use weir::report::{StatusReporter, expiry_event};
use weir::serve::listener::tls::Certificates;
use weir::serve::{OWN_TOKEN, Tokens};
use weir::source::folder::{Folder, folder_watcher::FolderWatcher};
use weir::source::kubernetes::Cluster;
use weir::source::kubernetes::cluster_versions::ClusterVersions;
use weir::xds::module_file::ModuleReceiver;
use weir_core::metrics::Metrics;
use weir_core::rollout::Rollout;

use super::{Serve, Shutdown};

pub enum ObjectSource {
    Folder(Box<Folder>),
    Cluster(Cluster),
}

impl ObjectSource {
    /// Uses the folder if there is one. Otherwise connects to the cluster. Returns Err if the connection fails.
    pub async fn connect(folder: Option<Folder>, args: &Serve) -> io::Result<ObjectSource> {
        if let Some(folder) = folder {
            return Ok(ObjectSource::Folder(Box::new(folder)));
        }
        let cluster = Cluster::connect(&args.namespaces, args.policy.policy).await;
        let cluster = cluster.map_err(io::Error::other)?;
        Ok(ObjectSource::Cluster(cluster))
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self, ObjectSource::Cluster(_))
    }

    pub fn versions(&self) -> ClusterVersions {
        match self {
            ObjectSource::Folder(_) => ClusterVersions::default(),
            ObjectSource::Cluster(cluster) => cluster.versions(),
        }
    }

    /// Returns the checker of ServiceAccount tokens, or None for a folder.
    pub fn tokens(&self, metrics: &Arc<Metrics>) -> Option<Arc<Tokens>> {
        match self {
            ObjectSource::Folder(_) => None,
            ObjectSource::Cluster(cluster) => {
                let own_token = Path::new(OWN_TOKEN);
                let tokens = Tokens::new(cluster.client(), own_token, metrics.clone());
                Some(Arc::new(tokens))
            }
        }
    }

    /// Returns the gate for release tools, or None without a cluster.
    pub fn gate(&self, publisher: &Publisher, proxies: &Arc<AllProxies>) -> Option<Gate> {
        match self {
            ObjectSource::Folder(_) => None,
            ObjectSource::Cluster(cluster) => {
                let (client, outcome) = (cluster.client(), publisher.outcome());
                Some(Gate::new(client, outcome, proxies.clone()))
            }
        }
    }

    /// Starts to roll out the filter, and to write status and Events into the cluster. Returns None without a cluster.
    /// The task ends after the last write.
    pub fn report(
        &self,
        args: &Serve,
        publisher: &Publisher,
        proxies: &Arc<AllProxies>,
        certificates: Option<&Arc<Certificates>>,
        (module, rollout): (ModuleReceiver, watch::Sender<Rollout>),
        shutdown: &Shutdown,
    ) -> Option<JoinHandle<()>> {
        let ObjectSource::Cluster(cluster) = self else {
            let rollout = ModuleRollout {
                module,
                proxies: proxies.clone(),
                state: rollout,
                metrics: publisher.metrics(),
            };
            tokio::spawn(rollout.run_alone());
            return None;
        };
        let reporter = StatusReporter {
            client: cluster.client(),
            outcome: publisher.outcome(),
            proxies: proxies.clone(),
            lease: args.lease.clone(),
            rollout,
            module,
            metrics: publisher.metrics(),
        };
        if let (Some(lease), Some(certificates)) = (&args.lease, certificates) {
            let follow =
                expiry_event::follow(cluster.client(), lease.clone(), certificates.clone());
            tokio::spawn(follow);
        }
        Some(tokio::spawn(reporter.run(shutdown.leaving.clone())))
    }

    /// Publishes the objects, and publishes them again after each change.
    pub fn feed(self, publisher: Publisher) -> io::Result<()> {
        match self {
            ObjectSource::Folder(folder) => {
                let watcher = FolderWatcher::new(*folder);
                std::thread::Builder::new()
                    .name("folder".into())
                    .spawn(move || watcher.feed(publisher))?;
            }
            ObjectSource::Cluster(cluster) => {
                tokio::spawn(cluster.feed(publisher));
            }
        }
        Ok(())
    }
}
