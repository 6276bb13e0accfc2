//! Runs the publisher and the server of a control plane inside the process of the test. This is for tests
//! with many control planes: each [`crate::Plane`] needs an inotify instance, and a machine has only a few of them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir::publish::Publisher;
use weir::serve::{Authentication, Server};
use weir::source::kubernetes::cluster_versions::ClusterVersions;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;
use weir_core::metrics::Metrics;

pub struct InProcess {
    pub listen: SocketAddr,
    server: JoinHandle<()>,
    _publisher: Publisher,
}

impl InProcess {
    /// Serves these manifests.
    pub async fn start(manifests: &str, policy: Policy) -> InProcess {
        let metrics = Arc::new(Metrics::default());
        let mut publisher = Publisher::new(metrics.clone(), policy);
        let read = object::read("", manifests).expect("manifests");
        publisher.publish(read.into());
        let ending = Default::default();
        let versions = ClusterVersions::default();
        let app = Server::new(
            &publisher,
            versions,
            Authentication::Anyone,
            ending,
            metrics,
        )
        .router();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listen = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("the control plane serves");
        });
        InProcess {
            listen,
            server,
            _publisher: publisher,
        }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.server.abort();
    }
}
