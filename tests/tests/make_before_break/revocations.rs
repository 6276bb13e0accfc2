//! A TrafficTarget of `b` is revoked while a cluster of `a` is refused, or while the proxy does not accept it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use weir_tests::delta_client::{CDS, DeltaRequest, DeltaStream};
use weir_tests::{Bootstrap, Connection, Envoy, Plane};

use crate::pods::{Pod, State, service};

const SMI: [&str; 2] = ["--policy", "smi"];
const PLUGIN: &str = r#"{ "control_plane": "weir", "clusters_from": "weir", "namespace": "default",
    "service_account": "buyer" }"#;
const NODE: &str = "proxy-1";
/// The time within which a running proxy must follow a revocation.
const REVOKED: Duration = Duration::from_secs(2);
/// The same after a restart of the control plane: the proxy has to connect again first.
const REVOKED_AFTER_RESTART: Duration = Duration::from_secs(4);

/// A cluster name of this Service.
fn cluster(service: &str) -> String {
    format!("{service}.default.svc.cluster.local:80")
}

fn filters() -> serde_json::Value {
    json!({ "weir": { "namespace": "default", "service_account": "buyer" } })
}

fn split(root: &str, backends: &[&str]) -> String {
    let backends: Vec<_> = backends
        .iter()
        .map(|name| json!({ "service": name, "weight": 1 }))
        .collect();
    format!(
        "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {{ name: {root} }}\n\
         spec: {{ service: {root}, backends: {} }}\n",
        json!(backends)
    )
}

/// Returns the ServiceAccount `account`, a grant for the buyer, and the workloads of these Services.
fn workloads(account: &str, services: &[&str]) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {account} }}\n");
    for name in services {
        text += &format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\n\
             spec:\n  selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    \
             spec: {{ serviceAccountName: {account}, containers: [{{ name: c, image: i }}] }}\n"
        );
    }
    text
}

fn target(account: &str) -> String {
    format!(
        "apiVersion: access.smi-spec.io/v1alpha3\nkind: TrafficTarget\nmetadata: {{ name: {account} }}\n\
         spec:\n  destination: {{ kind: ServiceAccount, name: {account}, namespace: default }}\n  \
         rules: [{{ kind: HTTPRouteGroup, name: all }}]\n  \
         sources: [{{ kind: ServiceAccount, name: buyer, namespace: default }}]\n"
    )
}

const ROUTES: &str = "apiVersion: specs.smi-spec.io/v1alpha4\nkind: HTTPRouteGroup\nmetadata: { name: all }\n\
                      spec: { matches: [{ name: all, pathRegex: '.*', methods: ['*'] }] }\n";

/// A BackendTLSPolicy that Weir accepts, with a certificate that Envoy refuses.
const REFUSED: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: a2 }
spec:
  targetRefs: [{ group: '', kind: Service, name: a2 }]
  validation: { hostname: a.example, caCertificateRefs: [{ group: '', kind: ConfigMap, name: ca }] }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: ca }
data: { ca.crt: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\" }
";

/// A second stream of the same node, as of another Envoy of the node. It never accepts a cluster, so for the control
/// plane the node warms every new cluster for ever. It has old versions of the clusters that the proxy has.
struct ColdStream(JoinHandle<()>);

impl ColdStream {
    async fn open(plane: SocketAddr) -> ColdStream {
        let stream = DeltaStream::open(plane, NODE, &filters().to_string()).await;
        let mut stream = stream.expect("a stream");
        let names = ["a1", "b1"].map(cluster);
        let versions = names.each_ref().map(|name| (name.as_str(), "old"));
        let request = DeltaRequest {
            kind: CDS,
            versions: &versions,
            ..DeltaRequest::default()
        };
        assert!(stream.send(request).await);
        stream.next().await.expect("the clusters");
        ColdStream(tokio::spawn(async move {
            while stream.next().await.is_some() {}
        }))
    }
}

impl Drop for ColdStream {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why the proxy does not get the cluster of a2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    NeverWarm,
}

struct Shops {
    plane: Plane,
    envoy: Envoy,
    a2: Pod,
    _pods: [Pod; 2],
}

impl Shops {
    async fn start() -> Shops {
        let [a1, a2, b1] = ["a1", "a2", "b1"].map(Pod::start);
        let services = [
            service("a", []),
            service("b", []),
            service("a1", [(&a1, State::Ready)]),
            service("a2", [(&a2, State::Ready)]),
            service("b1", [(&b1, State::Ready)]),
            workloads("a", &["a1", "a2"]),
            workloads("b", &["b1"]),
            workloads("buyer", &[]),
            ROUTES.to_owned(),
        ];
        let services = services.join("---\n");
        let plane = Plane::start_with(
            &SMI,
            &[
                ("services.yaml", &services),
                ("a.yaml", &split("a", &["a1"])),
                ("b.yaml", &split("b", &["b1"])),
                ("target-a.yaml", &target("a")),
                ("target-b.yaml", &target("b")),
            ],
        );
        let config = Bootstrap::default()
            .node(NODE)
            .clusters_from(plane.listen, filters())
            .listener("outbound", PLUGIN, None);
        let envoy = Envoy::start(&config.build(), 2).await;
        envoy.wait_for_updates(1).await;
        let shops = Shops {
            plane,
            envoy,
            a2,
            _pods: [a1, b1],
        };
        for host in ["a", "b"] {
            let answer = shops.connection().await.get(host, "/").await;
            assert_eq!(answer.header("identity"), format!("{host}1"), "{answer:?}");
        }
        shops
    }

    async fn connection(&self) -> Connection {
        Connection::open(self.envoy.listener("outbound")).await
    }

    /// Gives a2 a weight. The proxy does not get its cluster.
    fn break_a(&self, fault: Fault) {
        let mut text = split("a", &["a1", "a2"]);
        if fault == Fault::Refused {
            text += REFUSED;
        }
        self.plane.rename_into_place("a.yaml", &text);
    }

    fn revoke_b(&self) {
        std::fs::remove_file(self.plane.path("target-b.yaml")).expect("removed");
    }

    /// Waits until the proxy denies requests for `b` on all connections, and returns the time from `start` to the last
    /// request that was not denied. Counts the answers for `a` meanwhile: from a1, and 500.
    async fn until_denied(&self, start: Instant, limit: Duration) -> (Duration, [usize; 2]) {
        let mut last = Duration::ZERO;
        let mut counts = [0; 2];
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(self.connection().await);
        }
        while start.elapsed() < last + Duration::from_millis(500) {
            for connection in &mut connections {
                let sent = start.elapsed();
                let answer = connection.get("b", "/").await;
                match answer.status.as_u16() {
                    403 => {}
                    200 => last = sent,
                    _ => panic!("{answer:?}"),
                }
                let answer = connection.get("a", "/").await;
                match (answer.status.as_u16(), answer.header("identity")) {
                    (200, "a1") => counts[0] += 1,
                    (500, _) => counts[1] += 1,
                    _ => panic!("{answer:?}"),
                }
            }
            assert!(
                last < limit,
                "requests for b succeed {last:?} after the revocation\n{}",
                self.envoy.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(self.a2.last(), None);
        (last, counts)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_passes_a_missing_cluster() {
    for fault in [Fault::Refused, Fault::NeverWarm] {
        for delay in [0, 200, 1_500] {
            let shops = Shops::start().await;
            let _cold = match fault {
                Fault::Refused => None,
                Fault::NeverWarm => Some(ColdStream::open(shops.plane.listen).await),
            };
            shops.break_a(fault);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            shops.revoke_b();
            let (took, [served, failed]) = shops.until_denied(Instant::now(), REVOKED).await;
            println!(
                "{fault:?}, revoked {delay} ms later: the last request for b succeeded after {took:?}; a meanwhile: \
                 {served} answers of a1, {failed} times 500"
            );
            if fault == Fault::NeverWarm {
                assert_eq!(failed, 0);
            }
            shops.envoy.assert_no_traps().await;
        }
    }
}

/// The control plane restarts with other files, so it does not know the document that the proxy runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_passes_a_restart() {
    for fault in [Fault::Refused, Fault::NeverWarm] {
        let mut shops = Shops::start().await;
        shops.plane.kill();
        shops.break_a(fault);
        shops.revoke_b();
        shops.plane.restart_with(&SMI);
        let start = Instant::now();
        let _cold = match fault {
            Fault::Refused => None,
            Fault::NeverWarm => Some(ColdStream::open(shops.plane.listen).await),
        };
        let (took, [served, failed]) = shops.until_denied(start, REVOKED_AFTER_RESTART).await;
        println!(
            "{fault:?}, restart: the last request for b succeeded after {took:?}; a meanwhile: {served} answers of a1, \
             {failed} times 500"
        );
        shops.envoy.assert_no_traps().await;
    }
}
