//! Mirrors on a real Envoy: the filter chooses the requests, and Envoy copies them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::envoy::{EnvoyDump, findings};
use weir_core::manifest::object;
use weir_core::translate::translate;
use weir_core::world::World;
use weir_tests::{Bootstrap, Connection, Echo, Envoy, InProcess, shipped};

const PLUGIN: &str =
    r#"{ "control_plane": "weir", "namespace": "default", "cluster": "{service}" }"#;

/// A request as a backend received it: `METHOD PATH BODY`, and its headers.
type Received = (String, HeaderMap);

type ReceivedList = Arc<Mutex<Vec<Received>>>;

/// A backend that keeps the requests that it gets.
struct Recorder {
    echo: Echo,
    received: ReceivedList,
}

/// Starts an HTTP/2 backend that keeps the requests that it gets.
async fn http2_backend() -> (SocketAddr, ReceivedList) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let received = ReceivedList::default();
    let list = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let list = list.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let line = format!("{} {}", request.method(), request.uri());
                let headers = request.headers().clone();
                list.lock().expect("the list").push((line, headers));
                async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
            });
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, received)
}

impl Recorder {
    /// The backend answers after `delay`.
    async fn start(delay: Duration) -> Recorder {
        let received = ReceivedList::default();
        let list = received.clone();
        let app = Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let body = String::from_utf8_lossy(&body).into_owned();
                let line = format!("{method} {uri} {body}");
                list.lock().expect("the list").push((line, headers));
                tokio::time::sleep(delay).await;
            },
        );
        let app = app.layer(DefaultBodyLimit::disable());
        let echo = Echo::serve(app).await;
        Recorder { echo, received }
    }

    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().expect("the list"))
    }

    /// Waits until the backend has received `count` requests. Then waits a little longer, to find unexpected requests.
    async fn wait(&self, count: usize) -> Vec<Received> {
        let start = Instant::now();
        while self.received.lock().expect("the list").len() < count
            && start.elapsed() < Duration::from_secs(5)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.take()
    }
}

/// An Envoy, three backends, a mirror that never answers and a mirror that never reads.
struct Site {
    envoy: Envoy,
    a: Recorder,
    b: Recorder,
    shadow: Recorder,
    hanging: Recorder,
    http2: ReceivedList,
    http2_shadow: ReceivedList,
    _silent: std::net::TcpListener,
    _plane: InProcess,
}

impl Site {
    async fn start(workers: usize) -> Site {
        Site::start_with(workers, |bootstrap| bootstrap.mirroring().build()).await
    }

    /// `edit` changes the configuration of Envoy.
    async fn start_edited(edit: fn(&mut Value)) -> Site {
        Site::start_with(1, |bootstrap| edited(bootstrap, edit)).await
    }

    /// `build` returns the configuration of Envoy.
    async fn start_with(workers: usize, build: impl FnOnce(Bootstrap) -> String) -> Site {
        let plane = InProcess::start(&manifests(), Policy::Unstated).await;
        let start = || Recorder::start(Duration::ZERO);
        let (a, b, shadow) = (start().await, start().await, start().await);
        let hanging = Recorder::start(Duration::from_secs(600)).await;
        let (http2, http2_shadow) = (http2_backend().await, http2_backend().await);
        // The kernel accepts connections to this port, and nothing reads from them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let bootstrap = Bootstrap::default()
            .cluster("weir", plane.listen)
            .cluster("a", a.echo.address)
            .cluster("b", b.echo.address)
            .cluster("shadow", shadow.echo.address)
            .cluster("hanging", hanging.echo.address)
            .cluster("silent", silent.local_addr().expect("an address"))
            .cluster("dead", closed_port())
            .http2_cluster("http2", http2.0)
            .http2_cluster("http2-shadow", http2_shadow.0)
            .listener("outbound", PLUGIN, Some("a"));
        let envoy = Envoy::start(&build(bootstrap), workers).await;
        envoy.wait_for_updates(1).await;
        Site {
            envoy,
            a,
            b,
            shadow,
            hanging,
            http2: http2.1,
            http2_shadow: http2_shadow.1,
            _silent: silent,
            _plane: plane,
        }
    }

    fn address(&self) -> SocketAddr {
        self.envoy.listener("outbound")
    }

    /// Returns the findings of `weir check --envoy` about mirrors, without warnings.
    async fn findings(&self) -> Vec<String> {
        let lines = self.all_findings().await.into_iter();
        let lines = lines.filter(|line| !line.contains("MirrorDelays"));
        lines.collect()
    }

    /// Returns the findings of `weir check --envoy` about mirrors.
    async fn all_findings(&self) -> Vec<String> {
        let dump = self.envoy.ask("/config_dump").await;
        let dump = serde_json::from_str(&dump).expect("JSON");
        let dump = EnvoyDump::read(&dump).expect("a dump");
        let objects = object::read("", &manifests()).expect("manifests").objects;
        let (plan, problems) = translate(&World::from_objects(objects).0, Policy::Unstated);
        assert_eq!(problems, []);
        let findings = findings(&dump, &plan);
        let lines = findings.iter().map(ToString::to_string);
        lines.filter(|line| line.contains("irror")).collect()
    }

    async fn send(&self, path: &str, count: usize) -> Duration {
        send(self.address(), path, count).await
    }
}

/// Sends requests for this path, one after the other. Returns the time of the slowest request.
async fn send(envoy: SocketAddr, path: &str, count: usize) -> Duration {
    let mut connection = Connection::open(envoy).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let start = Instant::now();
        let answer = connection.get("web", path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

/// Sends a request with a body. Returns the first line of the answer.
async fn post(envoy: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(envoy).await.expect("a connection");
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Returns an address at which nothing listens.
fn closed_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A Service `web` with one rule for each test.
fn manifests() -> String {
    let service = |name: &&str| {
        format!(
            "{{ apiVersion: v1, kind: Service, metadata: {{ name: {name}, namespace: default }}, spec: {{ ports: [{{ port: 80 }}] }} }}\n---\n"
        )
    };
    let names = [
        "web",
        "a",
        "b",
        "shadow",
        "hanging",
        "silent",
        "dead",
        "unknown",
        "http2",
        "http2-shadow",
    ];
    let services: String = names.iter().map(service).collect();
    let mirror = |name: &str, share: &str| {
        format!(
            "{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: {name}, port: 80 }}{share} }} }}"
        )
    };
    let rule = |path: &str, filters: &str, backends: &str| {
        format!(
            "  - {{ matches: [{{ path: {{ value: {path} }} }}], filters: [{filters}], backendRefs: [{backends}] }}\n"
        )
    };
    let a = "{ name: a, port: 80 }";
    let twenty = mirror("shadow", ", percent: 20");
    let edit = "{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-a, value: b }] } }";
    let rules = [
        rule("/rule", &twenty, a),
        rule(
            "/backend",
            "",
            &format!("{{ name: a, port: 80, filters: [{twenty}] }}, {{ name: b, port: 80 }}"),
        ),
        rule("/all", &format!("{}, {edit}", mirror("shadow", "")), a),
        rule(
            "/two",
            &format!("{}, {}", mirror("shadow", ""), mirror("b", "")),
            a,
        ),
        rule("/hanging", &mirror("hanging", ""), a),
        rule("/silent", &mirror("silent", ""), a),
        rule("/dead", &mirror("dead", ""), a),
        rule("/unknown", &mirror("unknown", ""), a),
        rule("/plain", "", "{ name: b, port: 80 }"),
        rule(
            "/http2",
            &mirror("http2-shadow", ""),
            "{ name: http2, port: 80 }",
        ),
        rule(
            "/retry",
            &twenty.replace(", percent: 20", ""),
            "{ name: dead, port: 80 }",
        )
        .replace("backendRefs", "retry: { attempts: 3 }, backendRefs"),
    ];
    format!(
        "{services}apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: web, namespace: default }}\nspec:\n  \
         parentRefs: [{{ group: \"\", kind: Service, name: web }}]\n  rules:\n{}",
        rules.concat()
    )
}

/// Panics if a request has a header of the filter or another Host than `web`.
fn assert_clean(received: &[Received]) {
    for (line, headers) in received {
        let own: Vec<_> = headers
            .keys()
            .filter(|name| name.as_str().starts_with("x-weir"))
            .collect();
        assert!(own.is_empty(), "{line}: {headers:?}");
        assert_eq!(headers["host"], "web", "{line}");
    }
}

#[tokio::test]
async fn mirrors_get_exact_shares() {
    let site = Site::start(1).await;
    site.send("/rule", 500).await;
    let (backend, copies) = (site.a.take(), site.shadow.wait(100).await);
    assert_eq!(backend.len(), 500);
    assert!(
        (99..=101).contains(&copies.len()),
        "{} copies",
        copies.len()
    );
    assert_clean(&backend);
    assert_clean(&copies);

    site.send("/backend", 500).await;
    let (a, b) = (site.a.take(), site.b.take());
    let copies = site.shadow.wait(50).await;
    assert_eq!((a.len(), b.len()), (250, 250));
    assert!((49..=51).contains(&copies.len()), "{} copies", copies.len());
    assert_clean(&[a, b, copies].concat());
    site.envoy.assert_no_traps().await;
}

#[tokio::test]
async fn copies_equal_their_requests() {
    let site = Site::start(1).await;
    let answer = post(site.address(), "/all?q=1", "hello").await;
    assert_eq!(answer, "HTTP/1.1 200 OK");
    let (backend, copies) = (site.a.take(), site.shadow.wait(1).await);
    assert_eq!(backend.len(), 1);
    assert_eq!(copies.len(), 1);
    assert_eq!(backend[0].0, "POST /all?q=1 hello");
    assert_eq!(copies[0].0, "POST /all?q=1 hello");
    assert_eq!(backend[0].1["x-a"], "b");
    assert_eq!(copies[0].1["x-a"], "b");
    assert_clean(&[backend, copies].concat());

    site.send("/two", 20).await;
    let copies = (site.shadow.wait(20).await, site.b.wait(20).await);
    let backend = site.a.take();
    assert_eq!(
        (backend.len(), copies.0.len(), copies.1.len()),
        (20, 20, 20)
    );
    assert_clean(&[backend, copies.0, copies.1].concat());
}

#[tokio::test]
async fn http2_backends_are_mirrored() {
    let site = Site::start(1).await;
    site.send("/http2", 20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for list in [&site.http2, &site.http2_shadow] {
        let received = list.lock().expect("the list").clone();
        assert_eq!(received.len(), 20);
        for (line, headers) in received {
            assert_eq!(line, "GET http://web/http2");
            let own = headers
                .keys()
                .any(|name| name.as_str().starts_with("x-weir"));
            assert!(!own, "{headers:?}");
        }
    }
}

/// Each attempt of a retried request has its own upstream filters.
#[tokio::test]
async fn retries_of_mirrored_requests_end() {
    let site = Site::start(1).await;
    let mut connection = Connection::open(site.address()).await;
    for _ in 0..20 {
        let start = Instant::now();
        let answer = connection.get("web", "/retry").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    assert_clean(&site.shadow.take());
    site.envoy.assert_no_traps().await;
}

/// Sends many requests at once. Each paused request continues, with its own headers.
#[tokio::test]
async fn concurrent_requests_are_all_copied() {
    let site = Site::start(2).await;
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        clients.spawn(send(site.address(), "/two", 50));
    }
    clients.join_all().await;
    let (shadow, b) = (site.shadow.wait(1000).await, site.b.wait(1000).await);
    let backend = site.a.take();
    assert_eq!((backend.len(), shadow.len(), b.len()), (1000, 1000, 1000));
    assert_clean(&[backend, shadow, b].concat());
    site.envoy.assert_no_traps().await;
}

#[tokio::test]
async fn small_requests_never_wait_for_mirrors() {
    let site = Site::start(1).await;
    for path in ["/hanging", "/silent"] {
        let slowest = site.send(path, 100).await;
        assert!(slowest < Duration::from_secs(1), "{path}: {slowest:?}");
        assert_eq!(site.a.take().len(), 100, "{path}");
    }
    assert!(!site.hanging.wait(1).await.is_empty());

    for path in ["/dead", "/unknown"] {
        let slowest = site.send(path, 100).await;
        assert!(slowest < Duration::from_secs(1), "{path}: {slowest:?}");
        let backend = site.a.take();
        assert_eq!(backend.len(), 100, "{path}");
        assert_clean(&backend);
    }
}

#[tokio::test]
async fn clients_cannot_choose_mirrors() {
    let site = Site::start(1).await;
    let mut connection = Connection::open(site.address()).await;
    let headers = [("x-weir-mirror", "shadow"), ("x-weir-mirror-2", "shadow")];
    for (host, path) in [("web", "/plain"), ("elsewhere", "/")] {
        let answer = connection.get_with(host, path, &headers).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(site.shadow.wait(1).await.len(), 0);
    assert_clean(&site.b.take());
    let (_, ordinary) = site.a.take().remove(0);
    assert!(!ordinary.contains_key("x-weir-mirror"), "{ordinary:?}");
}

#[tokio::test]
async fn check_reports_routes_without_mirrors() {
    let site = Site::start(1).await;
    // The mirror of `/unknown` has no cluster. `small_requests_never_wait_for_mirrors` shows that it gets no copy.
    let unknown =
        "ClusterNotFound: the mirror unknown.default:80 has no cluster: unknown does not exist";
    let findings = site.findings().await;
    assert!(
        findings.len() == 1 && findings[0].contains(unknown),
        "{findings:#?}"
    );

    // Each finding is true: there is no copy, and the backend sees the header.
    let site = Site::start_with(1, |bootstrap| bootstrap.build()).await;
    site.send("/two", 1).await;
    assert_eq!(site.shadow.wait(1).await.len(), 0);
    let (_, headers) = site.a.take().remove(0);
    assert_eq!(headers["x-weir-mirror"], "shadow");
    let mut findings = site.findings().await;
    findings.retain(|line| !line.contains(unknown));
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let starts = [
        "envoy, listener outbound: MirrorHeadersVisible: upstream_http_filters of the router has no filter with \
         \"root_id: upstream\"",
        "envoy, route configuration of listener outbound, virtual host all: NotMirrored: Envoy uses only the request_mirror_policies of \
         the route configuration for route routes[0], and they do not read x-weir-mirror and x-weir-mirror-2",
    ];
    for (finding, start) in findings.iter().zip(starts) {
        assert!(finding.starts_with(start), "{finding}");
    }
}

/// Returns the cluster of this name in a configuration of Envoy.
fn cluster<'v>(config: &'v mut Value, name: &str) -> &'v mut Value {
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    let mut clusters = clusters.expect("clusters").iter_mut();
    let found = clusters.find(|it| it["name"] == name);
    found.expect("the cluster")
}

fn manager(config: &mut Value) -> &mut Value {
    let listener = &mut config["static_resources"]["listeners"][0];
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn options(own: &Value) -> Value {
    let mut options = json!({
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": { "http_protocol_options": {} },
    });
    let fields = own.as_object().expect("an object").clone();
    options.as_object_mut().expect("an object").extend(fields);
    json!({ OPTIONS: options })
}

/// `edit` changes the configuration of an Envoy with mirrors.
fn edited(bootstrap: Bootstrap, edit: fn(&mut Value)) -> String {
    let text = bootstrap.mirroring().build();
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    edit(&mut config);
    config.to_string()
}

/// Writes the line that `weir check --envoy` advises.
fn limit_copies(config: &mut Value) {
    let limit = json!({ "common_http_protocol_options": { "max_stream_duration": "1s" } });
    cluster(config, "silent")["typed_extension_protocol_options"] = options(&limit);
}

/// Writes the line that `weir check --envoy` advises for a cluster that is also for backends.
fn enlarge_buffers(config: &mut Value) {
    cluster(config, "silent")["per_connection_buffer_limit_bytes"] = json!(32 * 1024 * 1024);
}

/// Envoy passes the back-pressure of a mirror on to the client.
#[tokio::test]
async fn large_bodies_wait_at_most_limit() {
    let body = "x".repeat(16 * 1024 * 1024);
    let is_delayed = |line: &String| line.contains("the cluster silent of the mirror");
    let site = Site::start(1).await;
    let upload = post(site.address(), "/silent", &body);
    let without = tokio::time::timeout(Duration::from_secs(4), upload).await;
    assert!(without.is_err(), "{without:?}");
    let findings = site.all_findings().await;
    assert!(findings.iter().any(is_delayed), "{findings:#?}");
    let shared = "the cluster b of the mirror b.default:80 is also the cluster of a backend";
    let mut lines = findings.iter();
    assert!(lines.any(|line| line.contains(shared)), "{findings:#?}");
    drop(site);

    let edits: [fn(&mut Value); 2] = [limit_copies, enlarge_buffers];
    for edit in edits {
        let site = Site::start_edited(edit).await;
        let upload = post(site.address(), "/silent", &body);
        let answer = tokio::time::timeout(Duration::from_secs(4), upload).await;
        assert_eq!(answer.expect("an answer"), "HTTP/1.1 200 OK");
        let findings = site.all_findings().await;
        assert!(!findings.iter().any(is_delayed), "{findings:#?}");
    }
}

/// What a broken configuration does to requests for `/two`.
struct Broken {
    edit: fn(&mut Value),
    /// The number of copies of ten requests at the first mirror.
    copies: usize,
    /// True if the backend gets the name of the mirror's cluster.
    is_visible: bool,
    finding: &'static str,
}

/// Puts the upstream filter of Weir into a matcher without `not_matcher`.
fn skip_upstream(config: &mut Value) {
    let filter =
        &mut manager(config)["http_filters"][1]["typed_config"]["upstream_http_filters"][0];
    let inner = filter["typed_config"].take();
    let kind = |name: &str| format!("type.googleapis.com/envoy.{name}");
    let input = json!({
        "@type": kind("type.matcher.v3.HttpRequestHeaderMatchInput"),
        "header_name": "x-weir-mirror",
    });
    let skip = json!({ "@type": kind("extensions.filters.common.matcher.action.v3.SkipFilter") });
    let predicate = json!({ "single_predicate": {
        "input": { "name": "mirror", "typed_config": input },
        "value_match": { "safe_regex": { "google_re2": {}, "regex": ".+" } },
    } });
    let on_match = json!({ "action": { "name": "skip", "typed_config": skip } });
    let matchers = json!([{ "predicate": predicate, "on_match": on_match }]);
    filter["typed_config"] = json!({
        "@type": kind("extensions.common.matching.v3.ExtensionWithMatcher"),
        "xds_matcher": { "matcher_list": { "matchers": matchers } },
        "extension_config": { "name": "weir-upstream", "typed_config": inner },
    });
}

/// Removes the header of the first mirror before the upstream filter of Weir runs.
fn remove_upstream(config: &mut Value) {
    let kind =
        "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
    let removal = json!({ "request_mutations": [{ "remove": "x-weir-mirror" }] });
    let filter = json!({ "@type": kind, "mutations": removal });
    let router = &mut manager(config)["http_filters"][1]["typed_config"];
    let filters = router["upstream_http_filters"].as_array_mut();
    let filters = filters.expect("a list");
    filters.insert(0, json!({ "name": "removal", "typed_config": filter }));
}

fn replace_filters(config: &mut Value) {
    let router = &manager(config)["http_filters"][1]["typed_config"];
    let codec = router["upstream_http_filters"][1].clone();
    let own = options(&json!({ "http_filters": [codec] }));
    cluster(config, "a")["typed_extension_protocol_options"] = own;
}

/// Each finding is true: requests show its effect.
#[tokio::test]
async fn check_finds_broken_mirrors() {
    let cases = [
        Broken {
            edit: |config| {
                let router = &mut manager(config)["http_filters"][1]["typed_config"];
                router["upstream_http_filters"][0]["disabled"] = json!(true);
            },
            copies: 10,
            is_visible: true,
            finding: "MirrorHeadersVisible: the filter weir-upstream in upstream_http_filters of the router has disabled",
        },
        Broken {
            edit: skip_upstream,
            copies: 10,
            is_visible: true,
            finding: "MirrorHeadersVisible: the matcher of the filter weir-upstream in upstream_http_filters of the router",
        },
        Broken {
            edit: replace_filters,
            copies: 10,
            is_visible: true,
            finding: "MirrorHeadersVisible: http_filters of the cluster a has no filter with \"root_id: upstream\"",
        },
        Broken {
            edit: remove_upstream,
            copies: 0,
            is_visible: false,
            finding: "NotMirrored: the filter removal in upstream_http_filters of the router removes the header x-weir-mirror",
        },
        Broken {
            edit: |config| {
                let policies = &mut manager(config)["route_config"]["request_mirror_policies"];
                policies[0]["runtime_fraction"] = json!({ "default_value": { "numerator": 0 } });
            },
            copies: 0,
            is_visible: false,
            finding: "NotMirrored: route routes[0] has a runtime_fraction below 100 percent in the policy that reads x-weir-mirror",
        },
    ];
    for case in cases {
        let site = Site::start_edited(case.edit).await;
        site.send("/two", 10).await;
        let copies = site.shadow.wait(case.copies).await;
        assert_eq!(copies.len(), case.copies, "{}", case.finding);
        let requests = site.a.take();
        let mut requests = requests.iter();
        let is_visible = requests.any(|(_, it)| it.contains_key("x-weir-mirror"));
        assert_eq!(is_visible, case.is_visible, "{}", case.finding);
        let findings = site.findings().await;
        let is_found = findings.iter().any(|line| line.contains(case.finding));
        assert!(is_found, "{}: {findings:#?}", case.finding);
    }
}

/// The early mutation of the connection manager removes no header of a mirror.
#[tokio::test]
async fn check_finds_mirrors_of_clients() {
    let site = Site::start_edited(|config| {
        manager(config)["early_header_mutation_extensions"] = json!([]);
    })
    .await;
    let mut connection = Connection::open(site.address()).await;
    for _ in 0..10 {
        let headers = [("x-weir-mirror", "shadow")];
        connection.get_with("web", "/plain", &headers).await;
    }
    assert_eq!(site.shadow.wait(10).await.len(), 10);
    let found = "HeaderFromClients: request_mirror_policies read x-weir-mirror and x-weir-mirror-2, and nothing";
    let findings = site.findings().await;
    assert!(
        findings.iter().any(|line| line.contains(found)),
        "{findings:#?}"
    );
}

/// Moves all routes into a matcher tree. The route for split requests gets a mirror of its own, so it does not use the
/// policies of the route configuration.
fn tree_with_own_mirror(bootstrap: Bootstrap) -> String {
    let text = bootstrap.mirroring().build();
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let manager = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    let host = &mut manager["typed_config"]["route_config"]["virtual_hosts"][0];
    let mut routes = host["routes"].take();
    routes[0]["route"]["request_mirror_policies"] = json!([{ "cluster": "b" }]);
    let list = "type.googleapis.com/envoy.config.route.v3.RouteList";
    let action = json!({ "name": "routes", "typed_config": { "@type": list, "routes": routes } });
    host["matcher"] = json!({ "on_no_match": { "action": action } });
    config.to_string()
}

#[tokio::test]
async fn check_reads_mirrors_in_matcher_trees() {
    let site = Site::start_with(1, tree_with_own_mirror).await;
    site.send("/two", 1).await;
    assert_eq!(site.b.wait(1).await.len(), 1);
    assert_eq!(site.shadow.wait(1).await.len(), 0);
    let findings = site.findings().await;
    let start = "envoy, route configuration of listener outbound, virtual host all: NotMirrored: Envoy uses only the \
                 request_mirror_policies of the route for route route 1 of the matcher, and they do not read x-weir-mirror \
                 and x-weir-mirror-2";
    let line = findings.iter().find(|line| line.starts_with(start));
    let level = "add to request_mirror_policies of the route: { cluster_header: x-weir-mirror,";
    assert!(
        line.is_some_and(|line| line.contains(level)),
        "{findings:#?}"
    );
}

/// The shipped file has a matcher around the upstream filter, and the policies in the route configuration.
#[tokio::test]
async fn shipped_configuration_copies_requests() {
    let service = |name: &str| {
        format!(
            "{{ apiVersion: v1, kind: Service, metadata: {{ name: {name}, namespace: bookstore }}, spec: {{ ports: [{{ port: 14001 }}] }} }}\n---\n"
        )
    };
    let services: String = ["bookstore", "bookstore-v1", "bookstore-v2"]
        .map(service)
        .concat();
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: bookstore, namespace: bookstore }
spec:
  parentRefs: [{ group: '', kind: Service, name: bookstore }]
  rules:
  - filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: bookstore-v2, port: 14001 }, percent: 50 } }]
    backendRefs: [{ name: bookstore-v1, port: 14001 }]
";
    let plane = InProcess::start(&format!("{services}{route}"), Policy::Unstated).await;
    let v1 = Recorder::start(Duration::ZERO).await;
    let v2 = Recorder::start(Duration::ZERO).await;
    let clusters = [
        (
            "bookstore-v1.bookstore.svc.cluster.local:14001",
            v1.echo.address,
        ),
        (
            "bookstore-v2.bookstore.svc.cluster.local:14001",
            v2.echo.address,
        ),
        ("weir", plane.listen),
    ];
    let config = shipped("sidecar.yaml", &clusters);
    let envoy = Envoy::start(&config, 1).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for _ in 0..40 {
        let answer = connection.get("bookstore.bookstore", "/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let (backend, copies) = (v1.take(), v2.wait(20).await);
    assert_eq!((backend.len(), copies.len()), (40, 20));
    for (line, headers) in [backend, copies].concat() {
        let own = headers
            .keys()
            .any(|name| name.as_str().starts_with("x-weir"));
        assert!(
            !own && headers["host"] == "bookstore.bookstore",
            "{line}: {headers:?}"
        );
    }
}
