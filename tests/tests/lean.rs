//! Tests `dist/weir.wasm` and `dist/weir-lean.wasm` on real Envoys. The lean module cannot edit responses. If a rule
//! requires such an edit, the lean module answers with an error, as it does for a broken backend.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use weir_tests::{Bootstrap, Connection, Echo, Envoy, Plane, dist, root};

/// Responses of `all.example.com/edited` are edited; responses of other paths are not.
const MORE: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: all, namespace: t }
spec:
  parentRefs: [{ name: g }]
  hostnames: [all.example.com]
  rules:
  - matches: [{ path: { value: /edited } }]
    filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-edited, value: "yes" }] } }]
    backendRefs: [{ name: primary, port: 80 }, { name: canary, port: 80 }]
  - backendRefs: [{ name: primary, port: 80 }, { name: canary, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: rpc, namespace: t }
spec:
  parentRefs: [{ name: g }]
  hostnames: [rpc.example.com]
  rules:
  - filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-edited, value: "yes" }] } }]
    backendRefs: [{ name: primary, port: 80 }]
"#;

const HOST: &str = "charmander.example.com";
const COOKIE: &str = "flagger-cookie=nROEvCteRd";

struct Scene {
    plane: Plane,
    envoy: Envoy,
    _backends: [Echo; 2],
}

impl Scene {
    async fn start(module: &Path) -> Scene {
        let case = root().join("tests/golden/httproute/flagger-affinity.yaml");
        let case = std::fs::read_to_string(case).expect("the case");
        let plane = Plane::start(&[("affinity.yaml", &case), ("more.yaml", MORE)]);
        let backends = [Echo::start("primary").await, Echo::start("canary").await];
        let [primary, canary] = backends.each_ref().map(|echo| echo.address);
        let bootstrap = Bootstrap::default()
            .cluster("weir", plane.listen)
            .cluster("primary.t.svc.cluster.local:80", primary)
            .cluster("canary.t.svc.cluster.local:80", canary)
            .module(module.to_owned())
            .listener(
                "edge",
                r#"{ "control_plane": "weir", "gateway": "t/g" }"#,
                Some("primary.t.svc.cluster.local:80"),
            )
            .normalizing();
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        envoy.wait_for_updates(1).await;
        Scene {
            plane,
            envoy,
            _backends: backends,
        }
    }

    async fn connection(&self) -> Connection {
        Connection::open(self.envoy.listener("edge")).await
    }

    /// Counts a hundred answers by status, backend, `Set-Cookie` and `x-edited`.
    async fn answers(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> BTreeMap<String, usize> {
        let mut connection = self.connection().await;
        let mut answers = BTreeMap::new();
        for _ in 0..100 {
            let answer = connection.get_with(host, path, headers).await;
            let [identity, cookie, edited] =
                ["identity", "set-cookie", "x-edited"].map(|name| answer.header(name));
            let line = format!("{} {identity} {cookie}{edited}", answer.status.as_u16());
            *answers.entry(line.trim_end().to_owned()).or_default() += 1;
        }
        answers
    }

    async fn check(&self) -> (Option<i32>, Vec<String>) {
        let mut weir = Command::new(dist("weir"));
        weir.arg("check").arg(self.plane.folder());
        weir.args(["--envoy", &format!("http://{}", self.envoy.admin)]);
        let output = tokio::task::spawn_blocking(move || weir.output()).await;
        let output = output.expect("a task").expect("weir check");
        let text = String::from_utf8_lossy(&output.stdout);
        (
            output.status.code(),
            text.lines().map(str::to_owned).collect(),
        )
    }
}

fn answers<const N: usize>(answers: [(&str, usize); N]) -> BTreeMap<String, usize> {
    answers.map(|(line, count)| (line.to_owned(), count)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn default_module_serves_flagger_session_affinity() {
    let scene = Scene::start(&dist("weir.wasm")).await;
    let canary = format!("200 canary {COOKIE}; Max-Age=21600");
    assert_eq!(
        scene.answers(HOST, "/", &[]).await,
        answers([("200 primary", 95), (&canary, 5)])
    );
    assert_eq!(
        scene.answers(HOST, "/", &[("cookie", COOKIE)]).await,
        answers([("200 canary", 100)])
    );
    assert_eq!(
        scene.answers("all.example.com", "/edited", &[]).await,
        answers([("200 primary yes", 50), ("200 canary yes", 50)])
    );
    assert_eq!(scene.check().await, (Some(0), Vec::new()));
    scene.envoy.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lean_module_answers_500_for_edits() {
    // Give the lean module the other file name, because only its content must matter.
    let folder = tempfile::TempDir::new().expect("a folder");
    let module = folder.path().join("weir.wasm");
    std::fs::copy(dist("weir-lean.wasm"), &module).expect("a copy");
    let scene = Scene::start(&module).await;
    assert_eq!(
        scene.answers(HOST, "/", &[]).await,
        answers([("200 primary", 95), ("500", 5)])
    );
    assert_eq!(
        scene.answers(HOST, "/", &[("cookie", COOKIE)]).await,
        answers([("200 canary", 100)])
    );
    assert_eq!(
        scene.answers("all.example.com", "/edited", &[]).await,
        answers([("500", 100)])
    );
    assert_eq!(
        scene.answers("all.example.com", "/", &[]).await,
        answers([("200 primary", 50), ("200 canary", 50)])
    );

    let mut connection = scene.connection().await;
    let grpc = [("content-type", "application/grpc")];
    let answer = connection
        .ask("POST", "rpc.example.com", "/a.B/C", &grpc)
        .await;
    assert_eq!(answer.header("grpc-status"), "14", "{answer:?}");
    let answer = connection
        .ask("POST", "rpc.example.com", "/a.B/C", &[])
        .await;
    assert_eq!(answer.status, 503, "{answer:?}");

    let log = scene.envoy.log();
    let remedy = "load weir.wasm instead of weir-lean.wasm";
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(remedy)).collect();
    assert!((1..20).contains(&lines.len()), "{log}");
    assert!(lines[0].contains("HTTPRoute/t/r@gateway/t/g#"), "{log}");

    let (code, lines) = scene.check().await;
    assert_eq!(code, Some(1), "{lines:#?}");
    let named: Vec<String> = lines
        .iter()
        .map(|line| {
            let (place, rest) = line.split_once(" (rule ").expect("a rule");
            let (_, rest) = rest.split_once("): ").expect("its end");
            format!("{place}: {rest}")
        })
        .collect();
    let share = |object: &str, backend: &str, status: u16| {
        format!(
            "envoy, listener edge: {object}: Unsupported: backend {backend}, and the headers of its responses are \
             edited, which the loaded module weir-lean.wasm cannot do: these requests are answered {status}; {remedy}"
        )
    };
    assert_eq!(
        named,
        [
            share("GRPCRoute t/rpc", "primary.t:80 has weight 1", 503),
            share("HTTPRoute t/all", "canary.t:80 has weight 1", 500),
            share("HTTPRoute t/all", "primary.t:80 has weight 1", 500),
            share("HTTPRoute t/r", "canary.t:80 has weight 5", 500),
        ]
    );
    scene.envoy.assert_no_traps().await;
}
