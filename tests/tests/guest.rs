//! Law 6 of ARCHITECTURE.md: a split changes the cluster of a request and nothing else. Runs
//! `envoy-config/existing.yaml` on a real Envoy, and `weir check --envoy` on faulty changes of this configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_tests::{Connection, Echo, Envoy, Plane, dist, root, shipped};

/// A host with a split and a host without a split. Both are in the same virtual host.
const SPLIT: &str = "bookstore.bookstore:14001";
const UNSPLIT: &str = "bookstore.example.com";

/// Cluster and port of each endpoint in existing.yaml.
const ENDPOINTS: [(&str, u16); 7] = [
    ("bookstore", 14011),
    ("bookstore", 14012),
    ("bookstore-v1", 14021),
    ("bookstore-v1", 14022),
    ("bookstore-v2", 14031),
    ("bookstore-v2", 14032),
    ("search_shadow", 14041),
];

/// A server that records its requests. A path that ends with `/slow` gets its answer after five seconds. A path that
/// ends with `/broken` gets status 503.
struct Endpoint {
    address: SocketAddr,
    cluster: &'static str,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Endpoint {
    async fn start(cluster: &'static str) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let notes = requests.clone();
        let app = Router::new().fallback(move |request: Request| {
            let path = request.uri().path().to_owned();
            notes.lock().expect("the notes").push(path.clone());
            async move {
                if path.ends_with("/slow") {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                let status = if path.ends_with("/broken") { 503 } else { 200 };
                let status = axum::http::StatusCode::from_u16(status).expect("a status");
                let who = [
                    ("cluster", cluster.to_owned()),
                    ("endpoint", address.to_string()),
                ];
                (status, who, path).into_response()
            }
        });
        let task = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("the endpoint serves");
        });
        Endpoint {
            address,
            cluster,
            requests,
            task,
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An Envoy with existing.yaml and a 50/50 split of the bookstore.
struct Scene {
    plane: Plane,
    envoy: Envoy,
    client: Connection,
    endpoints: Vec<Endpoint>,
}

impl Scene {
    async fn start() -> Scene {
        Scene::start_with(|config| config).await
    }

    /// `change` edits the shipped configuration.
    async fn start_with(change: impl FnOnce(String) -> String) -> Scene {
        let services = include_str!("../../demo/manifests/bookstore.yaml");
        let split = include_str!("../../demo/splits/v1-50-v2-50.yaml");
        let plane = Plane::start(&[("bookstore.yaml", services), ("split.yaml", split)]);
        let mut endpoints = Vec::new();
        let mut config = shipped("existing.yaml", &[("weir", plane.listen)]);
        for (cluster, port) in ENDPOINTS {
            let endpoint = Endpoint::start(cluster).await;
            let original = format!("port_value: {port} ");
            assert!(config.contains(&original), "{original}");
            let real = format!("port_value: {} ", endpoint.address.port());
            config = config.replace(&original, &real);
            endpoints.push(endpoint);
        }
        let envoy = Envoy::start(&change(config), 1).await;
        envoy.wait_for_updates(1).await;
        let client = Connection::open(envoy.listener("edge")).await;
        Scene {
            plane,
            envoy,
            client,
            endpoints,
        }
    }

    /// Returns cluster and path of each request since the last call.
    fn take_requests(&self) -> Vec<(&'static str, String)> {
        let mut requests = Vec::new();
        for endpoint in &self.endpoints {
            let mut notes = endpoint.requests.lock().expect("the notes");
            requests.extend(notes.drain(..).map(|path| (endpoint.cluster, path)));
        }
        requests
    }

    /// Sends requests to this host, and returns the clusters that answered.
    async fn clusters(&mut self, host: &str) -> BTreeSet<String> {
        let mut clusters = BTreeSet::new();
        for _ in 0..20 {
            let answer = self.client.get(host, "/").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            clusters.insert(answer.header("cluster").to_owned());
        }
        clusters
    }

    async fn check(&self) -> Output {
        let folder = self.plane.folder().to_owned();
        let admin = format!("http://{}", self.envoy.admin);
        check(folder.as_ref(), &admin).await
    }
}

async fn check(folder: &Path, admin: &str) -> Output {
    let mut weir = Command::new(dist("weir"));
    weir.arg("check").arg(folder).args(["--envoy", admin]);
    let output = tokio::task::spawn_blocking(move || weir.output()).await;
    output.expect("a task").expect("weir check")
}

fn printed(output: &Output) -> (Option<i32>, Vec<String>) {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(str::to_owned).collect();
    (output.status.code(), lines)
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// With `weir.enabled` at 50, Envoy makes two decisions. The spelling of the host decides whether a request skips the
/// filter. A random number decides whether the request may match the route for split requests. In each combination a
/// client's routing header must have no effect.
#[tokio::test(flavor = "multi_thread")]
async fn partial_switch_ignores_client_header() {
    let mut scene = Scene::start().await;
    let mut admin = Connection::open(scene.envoy.admin).await;
    let halfway = admin.post("admin", "/runtime_modify?weir.enabled=50").await;
    assert_eq!(halfway.status, 200);
    let claim = [("x-weir-cluster", "bookstore_canary")];
    for index in 0..100_usize {
        let spelled = UNSPLIT.char_indices().map(|(at, letter)| {
            let upper = at < 8 && index >> at & 1 == 1;
            if upper {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        });
        let host: String = spelled.collect();
        let answer = scene.client.get_with(&host, "/", &claim).await;
        assert_eq!(answer.header("cluster"), "bookstore", "{host}: {answer:?}");
    }
}

/// Covers all policies of existing.yaml except the rate limit. Split requests and other requests share one rate limit,
/// so the rate limit has its own test.
#[tokio::test(flavor = "multi_thread")]
async fn policies_apply_to_split_requests() {
    let mut scene = Scene::start().await;
    let versions = names(["bookstore-v1", "bookstore-v2"]);
    for (host, serving) in [(SPLIT, versions), (UNSPLIT, names(["bookstore"]))] {
        assert_eq!(scene.clusters(host).await, serving);
        scene.take_requests();

        // RBAC applies regardless of the routing header.
        for claim in ["", "bookstore_canary", "bookstore-v1.bookstore"] {
            let claim = ("x-weir-cluster", claim);
            let headers = if claim.1.is_empty() {
                &[][..]
            } else {
                &[claim]
            };
            let denied = scene.client.get_with(host, "/reports", headers).await;
            assert_eq!(denied.status, 403, "{host} {claim:?}: {denied:?}");
        }
        assert_eq!(scene.take_requests(), [], "{host}");
        let sales = [("x-team", "sales")];
        for _ in 0..4 {
            let allowed = scene.client.get_with(host, "/reports", &sales).await;
            assert_eq!(allowed.status, 200, "{host}: {allowed:?}");
        }

        // The timeout applies.
        let start = Instant::now();
        let late = scene.client.get_with(host, "/reports/slow", &sales).await;
        let took = start.elapsed();
        assert_eq!(late.status, 504, "{host}: {late:?}");
        let allowed = Duration::from_millis(450)..Duration::from_secs(3);
        assert!(allowed.contains(&took), "{host}: {took:?}");

        // Retries stay in the chosen cluster.
        scene.take_requests();
        let broken = scene.client.get(host, "/buy-a-book/broken").await;
        assert_eq!(broken.status, 503, "{host}: {broken:?}");
        let tries = scene.take_requests();
        assert_eq!(tries.len(), 3, "{host}: {tries:?}");
        assert_eq!(BTreeSet::from_iter(&tries).len(), 1, "{host}: {tries:?}");
        assert!(serving.contains(tries[0].0), "{host}: {tries:?}");

        // The prefix rewrite and the mirror apply.
        let found = scene.client.get(host, "/search/rust").await;
        assert_eq!(
            (found.status.as_u16(), found.text()),
            (200, "/books/rust".into()),
            "{host}"
        );
        let mut seen = Vec::new();
        let patience = Instant::now();
        while seen.len() < 2 && patience.elapsed() < Duration::from_secs(5) {
            seen.extend(scene.take_requests());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        seen.sort();
        assert_eq!(seen.len(), 2, "{host}: {seen:?}");
        assert!(serving.contains(seen[0].0), "{host}: {seen:?}");
        assert_eq!(seen[1], ("search_shadow", "/books/rust".into()), "{host}");

        // The hash policy applies: a user always gets the same endpoint of a cluster. Together the users get all
        // endpoints.
        let mut homes: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for user in 0..24 {
            let user = format!("user-{user}");
            for _ in 0..6 {
                let answer = scene.client.get_with(host, "/", &[("x-user", &user)]).await;
                let cluster = answer.header("cluster").to_owned();
                let home = homes.entry((user.clone(), cluster)).or_default();
                home.insert(answer.header("endpoint").to_owned());
            }
        }
        assert!(homes.values().all(|home| home.len() == 1), "{homes:?}");
        let all: BTreeSet<_> = homes.values().flatten().collect();
        assert_eq!(all.len(), 2 * serving.len(), "{homes:?}");
    }

    // The access log has both requests. Envoy writes it every ten seconds.
    scene.client.get(UNSPLIT, "/last").await;
    let log = scene.envoy.process.wait_for("access log", |log| {
        log.contains(" /last 200").then(|| log.to_owned())
    });
    for line in [
        "GET bookstore.bookstore:14001 /search/rust 200 - ",
        " route=search-split cluster=bookstore",
        " rule=TrafficSplit/bookstore/bookstore-split:14001/http",
        " route=search cluster=bookstore.bookstore.svc.cluster.local:14001 rule=-",
    ] {
        assert!(log.contains(line), "no {line:?} in:\n{log}");
    }
}

/// The limit is ten purchases a minute for both hosts and all backends together.
#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_has_one_bucket() {
    let mut scene = Scene::start().await;
    let mut statuses = Vec::new();
    for _ in 0..7 {
        for host in [SPLIT, UNSPLIT] {
            let answer = scene.client.get(host, "/buy-a-book").await;
            statuses.push(answer.status.as_u16());
        }
    }
    assert_eq!(statuses[..10], [200; 10], "{statuses:?}");
    assert_eq!(statuses[10..], [429; 4], "{statuses:?}");
    // The limit also applies to a client that sends the routing header.
    let claim = [("x-weir-cluster", "bookstore_canary")];
    let answer = scene.client.get_with(UNSPLIT, "/buy-a-book", &claim).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    let sold: BTreeMap<&str, usize> =
        scene
            .take_requests()
            .iter()
            .fold(BTreeMap::new(), |mut sold, it| {
                *sold.entry(it.0).or_default() += 1;
                sold
            });
    assert_eq!(sold.get("bookstore"), Some(&5), "{sold:?}");
    assert_eq!(sold.values().sum::<usize>(), 10, "{sold:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_switch_keeps_the_policies() {
    let mut scene = Scene::start().await;
    let versions = names(["bookstore-v1", "bookstore-v2"]);
    assert_eq!(scene.clusters(SPLIT).await, versions);
    let mut admin = Connection::open(scene.envoy.admin).await;
    for (percent, serving) in [("0", names(["bookstore"])), ("100", versions)] {
        let switch = format!("/runtime_modify?weir.enabled={percent}");
        assert_eq!(admin.post("admin", &switch).await.status, 200);
        assert_eq!(scene.clusters(SPLIT).await, serving, "{percent} %");
        assert_eq!(scene.clusters(UNSPLIT).await, names(["bookstore"]));
        let denied = scene.client.get(SPLIT, "/reports").await;
        assert_eq!(denied.status, 403, "{percent} %");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_accepts_the_shipped_configuration() {
    let scene = Scene::start().await;
    assert_eq!(printed(&scene.check().await), (Some(0), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_a_shadowing_header_route() {
    let scene = Scene::start_with(|config| {
        let over_all = "              routes:
              - name: over-all
                match: { prefix: /, headers: [{ name: x-weir-cluster, present_match: true }] }
                route: { cluster_header: x-weir-cluster }
";
        config.replacen("              routes:\n", over_all, 1)
    })
    .await;
    let mut scene = scene;
    // This is what the finding warns about: a split request loses the prefix rewrite of its route.
    for (host, path) in [(UNSPLIT, "/books/rust"), (SPLIT, "/search/rust")] {
        let answer = scene.client.get(host, "/search/rust").await;
        assert_eq!(answer.text(), path, "{host} {answer:?}");
    }
    // Even here a client's routing header does not bypass the RBAC policy of the route.
    let claim = [("x-weir-cluster", "bookstore_canary")];
    let answer = scene.client.get_with(SPLIT, "/reports", &claim).await;
    assert_eq!(answer.status, 403, "{answer:?}");

    let (code, lines) = printed(&scene.check().await);
    assert_eq!(code, Some(1), "{lines:#?}");
    let expected = [
        (
            "route reports (routes[2])",
            "timeout, typed_per_filter_config[envoy.filters.http.rbac]",
        ),
        ("route buy (routes[4])", "metadata, retry_policy"),
        (
            "route search (routes[6])",
            "prefix_rewrite, request_mirror_policies",
        ),
        ("route all (routes[8])", "hash_policy"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (shadowed, policies)) in lines.iter().zip(expected) {
        let expected = format!(
            "envoy, route configuration edge, virtual host bookstore: PoliciesLost: \
             route over-all (routes[0]) receives the split requests instead of {shadowed}: for these requests Envoy ignores {policies} \
             of {shadowed}; "
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_missing_backend_clusters() {
    let scene = Scene::start_with(|config| {
        // The plugin configuration names the first cluster by its template, and the second cluster by an exception.
        let config = config.replace("- name: bookstore-v1.bookstore.svc", "- name: other.svc");
        config.replace("- name: bookstore_canary", "- name: canary")
    })
    .await;
    let (code, lines) = printed(&scene.check().await);
    assert_eq!(code, Some(1), "{lines:#?}");
    let expected = [
        (
            "bookstore-v1",
            "bookstore-v1.bookstore.svc.cluster.local:14001",
        ),
        ("bookstore-v2", "bookstore_canary"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (backend, cluster)) in lines.iter().zip(expected) {
        let expected = format!(
            "envoy, listener edge: TrafficSplit bookstore/bookstore-split (rule \
             TrafficSplit/bookstore/bookstore-split:14001/http): ClusterNotFound: backend \
             {backend}.bookstore:14001 has weight 50, and its cluster {cluster} does not exist"
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_an_unreachable_proxy() {
    let folder = root().join("tests/manifests/osm");
    let other = Echo::start("no Envoy").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = listener.local_addr().expect("an address");
    drop(listener);
    for (address, why) in [
        (closed, "cannot be read: Connection refused"),
        (other.address, "the answer is not a configuration of Envoy"),
    ] {
        let output = check(&folder, &format!("http://{address}")).await;
        assert_eq!(printed(&output), (Some(2), Vec::new()));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("http://{address}")), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let https = check(&folder, "https://127.0.0.1:1").await;
    assert_eq!(https.status.code(), Some(2));
    let said = String::from_utf8_lossy(&https.stderr).into_owned();
    assert!(said.contains("write http://HOST:PORT"), "{said}");
}
