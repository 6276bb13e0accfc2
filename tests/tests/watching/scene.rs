//! An API server with the SMI kinds, a shop, and a control plane that watches it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpStream;
use weir_cluster::ApiServer;
use weir_cluster::server::ADMIN;
use weir_tests::{Connection, Plane, root};

/// A change must be served within this time.
pub const AT_ONCE: Duration = Duration::from_secs(5);

pub struct Scene {
    pub server: ApiServer,
    pub plane: Plane,
}

pub const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-v1}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-v2}
spec: {ports: [{port: 80}]}
";

/// Returns a split of `web`, in which the second backend has this weight.
pub fn split(name: &str, weight: u64) -> String {
    format!(
        "
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{name: {name}}}
spec: {{service: web, backends: [{{service: web-v1, weight: 50}}, {{service: web-v2, weight: {weight}}}]}}
"
    )
}

/// A new API server with the SMI kinds.
pub fn server() -> ApiServer {
    let server = ApiServer::start();
    server.crds(&[&root().join("deploy/crds")]);
    server
}

/// Lets this user read all objects. The user may be a ServiceAccount.
pub fn read_everything(server: &ApiServer, user: &str) {
    let name = user.rsplit(':').next().unwrap_or(user);
    server.apply(&format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: everything}}
rules: [{{apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: everything}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{user}'}}]
"
    ));
}

impl Scene {
    /// Starts with the shop and a split with the weights 50 and 1.
    pub async fn start() -> Scene {
        let server = server();
        server.apply(SHOP);
        server.apply(&split("web", 1));
        Scene::of(server, &[]).await
    }

    /// Starts a control plane with these arguments, and waits for its first publication.
    pub async fn of(server: ApiServer, arguments: &[&str]) -> Scene {
        let kubeconfig = server.kubeconfig(ADMIN);
        Scene::with(server, &kubeconfig, arguments).await
    }

    pub async fn with(server: ApiServer, kubeconfig: &Path, arguments: &[&str]) -> Scene {
        let plane = Plane::of_cluster(kubeconfig, arguments);
        let scene = Scene { server, plane };
        scene
            .until("the first publication", AT_ONCE * 4, |_| true)
            .await;
        scene
    }

    /// Returns the configuration for a proxy that names no namespace; None before the first publication.
    pub async fn config(&self) -> Option<Value> {
        // Return None if the process has ended, so that the caller can print its log. `open` would panic.
        TcpStream::connect(self.plane.listen).await.ok()?;
        let answer = Connection::open(self.plane.listen)
            .await
            .get("weir", "/v1/config")
            .await;
        (answer.status == 200).then(|| answer.json())
    }

    /// Waits until the configuration is as expected and returns the time; panics after `limit`.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        is_right: impl Fn(&Value) -> bool,
    ) -> Duration {
        let start = Instant::now();
        loop {
            let config = self.config().await;
            if config.as_ref().is_some_and(&is_right) {
                println!("{what}: {:?}", start.elapsed());
                return start.elapsed();
            }
            assert!(
                start.elapsed() < limit,
                "no {what} within {limit:?}: {config:#?}\n{}",
                self.plane.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes the split's weight and waits until it is served.
    pub async fn follows(&self, weight: u64) -> Duration {
        self.server.apply(&split("web", weight));
        self.serves(weight).await
    }

    pub async fn serves(&self, weight: u64) -> Duration {
        let what = format!("weight {weight}");
        self.until(&what, AT_ONCE, |config| weights(config) == [50, weight])
            .await
    }

    /// Checks for this time that the configuration does not change.
    pub async fn stays(&self, time: Duration) {
        let before = self.config().await;
        assert!(before.is_some());
        let start = Instant::now();
        while start.elapsed() < time {
            assert_eq!(self.config().await, before, "{}", self.plane.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn metric(&self, name: &str) -> f64 {
        self.plane.metric(name).await
    }
}

/// The weights of the split `web`; empty if the split is not served.
pub fn weights(config: &Value) -> Vec<u64> {
    weights_of(config, "TrafficSplit/default/web:80/http")
}

pub fn weights_of(config: &Value, rule: &str) -> Vec<u64> {
    let backends = config["rules"][rule]["backends"].as_array();
    let weight = |backend: &Value| backend["weight"].as_u64();
    backends.into_iter().flatten().filter_map(weight).collect()
}

pub fn rules(config: &Value) -> usize {
    config["rules"].as_object().map_or(0, |rules| rules.len())
}
