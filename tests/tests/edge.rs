//! Tests an edge proxy without Kubernetes: a split of a public host on a real Envoy.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use weir_tests::{Bootstrap, Connection, Echo, Envoy, Plane, dist};

const SPLIT: &str = r#"
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: public, namespace: shop }
spec:
  service: shop.example.com
  backends: [{ service: v1, weight: 90 }, { service: v2, weight: 10 }]
---
apiVersion: v1
kind: Service
metadata: { name: v1, namespace: shop }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: v2, namespace: shop }
spec: { ports: [{ port: 80 }] }
"#;

struct Scene {
    plane: Plane,
    envoy: Envoy,
    _backends: [Echo; 3],
}

impl Scene {
    async fn start(plugin: &str) -> Scene {
        let plane = Plane::start(&[("split.yaml", SPLIT)]);
        let backends = [
            Echo::start("v1").await,
            Echo::start("v2").await,
            Echo::start("ordinary").await,
        ];
        let [v1, v2, ordinary] = backends.each_ref().map(|echo| echo.address);
        let bootstrap = Bootstrap::default()
            .cluster("weir", plane.listen)
            .cluster("v1.shop.svc.cluster.local:80", v1)
            .cluster("v2.shop.svc.cluster.local:80", v2)
            .cluster("ordinary", ordinary)
            .listener("edge", plugin, Some("ordinary"))
            .normalizing();
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        envoy.wait_for_updates(1).await;
        Scene {
            plane,
            envoy,
            _backends: backends,
        }
    }

    /// Sends a hundred requests, and returns the number of answers of each backend.
    async fn answers(&self, host: &str) -> BTreeMap<String, usize> {
        let mut connection = Connection::open(self.envoy.listener("edge")).await;
        let mut answers = BTreeMap::new();
        for _ in 0..100 {
            let answer = connection.get(host, "/").await;
            *answers.entry(answer.header("identity").into()).or_default() += 1;
        }
        answers
    }

    async fn check(&self, admin: &str) -> Output {
        let mut weir = Command::new(dist("weir"));
        weir.arg("check").arg(self.plane.folder());
        weir.args(["--envoy", &format!("http://{admin}")]);
        let output = tokio::task::spawn_blocking(move || weir.output()).await;
        output.expect("a task").expect("weir check")
    }

    /// Runs `weir check --envoy`, and returns its exit code and its findings about Envoy.
    async fn findings(&self, admin: &str) -> (Option<i32>, Vec<String>) {
        let output = self.check(admin).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let findings = text.lines().filter(|line| line.starts_with("envoy"));
        (output.status.code(), findings.map(str::to_owned).collect())
    }

    async fn stat(&self, name: &str) -> u64 {
        self.envoy.stat(&format!("wasmcustom.{name}")).await
    }
}

fn shares<const N: usize>(shares: [(&str, usize); N]) -> BTreeMap<String, usize> {
    shares.map(|(name, count)| (name.to_owned(), count)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcard_namespace_proxy_splits_exactly() {
    let scene = Scene::start(r#"{ "control_plane": "weir", "namespace": "*" }"#).await;
    for host in ["shop.example.com", "shop.example.com:21010"] {
        assert_eq!(
            scene.answers(host).await,
            shares([("v1", 90), ("v2", 10)]),
            "{host}"
        );
    }
    assert_eq!(
        scene.answers("other.example.com").await,
        shares([("ordinary", 100)])
    );
    let admin = scene.envoy.admin.to_string();
    assert_eq!(scene.findings(&admin).await, (Some(0), Vec::new()));
    assert_eq!(scene.stat("weir_rules.scope=.=namespace=*;.;").await, 1);
    assert_eq!(
        scene
            .stat("weir_rules_elsewhere.scope=.=namespace=*;.;")
            .await,
        0
    );
    assert!(!scene.envoy.log().contains("gets no rule"));
    scene.envoy.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_without_scope_gets_a_remedy() {
    let scene = Scene::start(r#"{ "control_plane": "weir" }"#).await;
    assert_eq!(
        scene.answers("shop.example.com").await,
        shares([("ordinary", 100)])
    );
    let admin = scene.envoy.admin.to_string();
    let (code, findings) = scene.findings(&admin).await;
    assert_eq!(
        (code, findings.as_slice()),
        (
            Some(1),
            &[
                "envoy, listener edge: NoRules: the plugin configuration has neither namespace nor gateway, and all \
                 rules in force (1) are for other proxies: this proxy splits nothing; write into its plugin configuration \
                 \"namespace\": \"*\" for the hosts of every namespace, or \"namespace\" with \"shop\" for clients of \
                 that namespace"
                    .to_owned()
            ][..]
        )
    );
    let log = scene.envoy.log();
    let warned: Vec<&str> = log
        .lines()
        .filter(|it| it.contains("gets no rule"))
        .collect();
    assert_eq!(warned.len(), 1, "{log}");
    assert!(warned[0].contains("[warning]"), "{log}");
    assert!(warned[0].contains(r#"write "namespace": "*" for"#), "{log}");
    assert_eq!(scene.stat("weir_rules.scope=.=none;.;").await, 0);
    assert_eq!(scene.stat("weir_rules_elsewhere.scope=.=none;.;").await, 1);

    // With an admin interface that refuses /stats, the check must still print the finding.
    let dump = scene.envoy.ask("/config_dump").await;
    let app = Router::new()
        .route("/config_dump", get(async move || dump))
        .fallback(async || StatusCode::FORBIDDEN);
    let admin = Echo::serve(app).await;
    let output = scene.check(&admin.address.to_string()).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let is_named = String::from_utf8_lossy(&output.stdout).contains(&findings[0]);
    assert!(is_named, "{stderr}");
    assert!(stderr.contains("/stats"), "{stderr}");
    assert!(stderr.contains("has status 403 Forbidden"), "{stderr}");
    scene.envoy.assert_no_traps().await;
}
