//! Tests `envoy-config/kubernetes-sidecar.yaml` on a real Envoy. The sidecar connects to the control plane only with
//! TLS, checks the control plane's name, and sends the current token from the pod's file. Here a second Envoy in front
//! of `weir serve` replaces the control plane's TLS listener; `kind_demo.rs` tests the real listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::tls::{Authority, Certificate};
use weir_tests::{
    Connection, Echo, Envoy, Plane, assert_stats_are_read_only, dist, free_port, root, shares,
    shipped_with_admin,
};

const HOST: &str = "bookstore.bookstore.svc.cluster.local:14001";
const NAME: &str = "weir.weir-system.svc";

/// Starts an Envoy with TLS in front of the control plane. It answers 401 to a request without one of these tokens.
/// Each token has its own cluster, so that Envoy counts its requests.
async fn front(plane: &Plane, certificate: &Certificate, tokens: &[&str]) -> Envoy {
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let mut routes: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let header = json!({
                "name": "authorization",
                "string_match": { "exact": format!("Bearer {token}") },
            });
            json!({ "match": { "prefix": "/", "headers": [header] }, "route": { "cluster": token, "timeout": "0s" } })
        })
        .collect();
    routes.push(json!({ "match": { "prefix": "/" }, "direct_response": { "status": 401 } }));
    let manager = json!({
        "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "front",
        "http_filters": [{ "name": "router", "typed_config": { "@type": typed("filters.http.router.v3.Router") } }],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
    });
    let own = json!({
        "certificate_chain": { "inline_string": certificate.pem },
        "private_key": { "inline_string": certificate.key },
    });
    let chain = json!({
        "filters": [{ "name": "http", "typed_config": manager }],
        "transport_socket": { "name": "tls", "typed_config": {
            "@type": typed("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": { "tls_certificates": [own] },
        } },
    });
    let free = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    let plane = json!({ "socket_address": {
        "address": plane.listen.ip().to_string(), "port_value": plane.listen.port(),
    } });
    let clusters: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let endpoint = json!({ "endpoint": { "address": plane } });
            json!({ "name": token, "load_assignment": {
                "cluster_name": token, "endpoints": [{ "lb_endpoints": [endpoint] }],
            } })
        })
        .collect();
    let config = json!({
        "static_resources": {
            "listeners": [{ "name": "front", "address": free, "filter_chains": [chain] }],
            "clusters": clusters,
        },
        "admin": { "address": free },
    });
    Envoy::start(&config.to_string(), 1).await
}

/// Writes a file as Kubernetes writes a projected volume: into a new folder. Then makes the link `..data` point to this
/// folder.
fn project(volume: &Path, name: &str, text: &str, turn: &str) {
    let folder = volume.join(turn);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(name), text).expect("a file");
    symlink(turn, volume.join("..data_tmp")).expect("a link");
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("renamed");
    if !volume.join(name).exists() {
        symlink(Path::new("..data").join(name), volume.join(name)).expect("a link");
    }
}

struct Pod {
    envoy: Envoy,
    volumes: TempDir,
    _backends: [Echo; 2],
}

async fn pod(front: &Envoy, authority: &str, token: &str) -> Pod {
    let (config, volumes, backends) = configuration(front, authority, token).await;
    Pod {
        envoy: Envoy::start(&config, 1).await,
        volumes,
        _backends: backends,
    }
}

/// Returns the configuration of the pod's Envoy, its volumes in a folder of the test, and the two bookstores.
async fn configuration(
    front: &Envoy,
    authority: &str,
    token: &str,
) -> (String, TempDir, [Echo; 2]) {
    let volumes = TempDir::new().expect("a folder");
    let place = |name: &str| volumes.path().join(name);
    std::fs::write(place("ca.crt"), authority).expect("ca.crt");
    std::fs::create_dir(place("token")).expect("a volume");
    project(&place("token"), "token", token, "first");
    let secret = root().join("envoy-config/kubernetes-token.yaml");
    let secret = std::fs::read_to_string(secret).expect("kubernetes-token.yaml");
    let here = |text: String, there: &str, here: &Path| {
        assert!(text.contains(there), "no {there}");
        text.replace(there, &here.display().to_string())
    };
    let secret = here(secret, "/var/run/secrets/weir.dev", &place("token"));
    std::fs::write(place("weir-token.yaml"), secret).expect("weir-token.yaml");
    let backends = [
        Echo::start("bookstore-v1").await,
        Echo::start("bookstore-v2").await,
    ];
    let cluster = |name: &str| format!("{name}.bookstore.svc.cluster.local:14001");
    let [v1, v2] = ["bookstore-v1", "bookstore-v2"].map(cluster);
    let config = shipped_with_admin(
        "kubernetes-sidecar.yaml",
        &[
            (&v1, backends[0].address),
            (&v2, backends[1].address),
            ("weir", front.listener("front")),
        ],
    );
    let config = here(config, "/etc/weir/ca.crt", &place("ca.crt"));
    let config = here(
        config,
        "/etc/envoy/weir-token.yaml",
        &place("weir-token.yaml"),
    );
    let mut config = here(config, "/filter/weir.wasm", &dist("weir.wasm"));
    // The test has no DNS.
    for name in [
        "bookstore.bookstore",
        "bookstore-v1.bookstore",
        "bookstore-v2.bookstore",
        "weir.weir-system",
    ] {
        let address = format!("address: {name}.svc.cluster.local,");
        config = here(config, &address, Path::new("address: 127.0.0.1,"));
    }
    (config, volumes, backends)
}

fn split(weights: &str) -> String {
    let path = root().join("demo/splits").join(weights);
    std::fs::read_to_string(path).expect("a split")
}

fn plane() -> Plane {
    let services = root().join("demo/manifests/bookstore.yaml");
    let services = std::fs::read_to_string(services).expect("the Services");
    Plane::start(&[
        ("services.yaml", &services),
        ("split.yaml", &split("v1-50-v2-50.yaml")),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn current_token_of_file_is_sent() {
    let plane = plane();
    let authority = Authority::new();
    let certificate = authority.sign(&[NAME]);
    let both = front(&plane, &certificate, &["one", "two"]).await;
    let pod = pod(&both, &certificate.authority, "one").await;
    pod.envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(pod.envoy.listener("outbound")).await;
    let halves = shares([("bookstore-v1", 10), ("bookstore-v2", 10)]);
    assert_eq!(connection.shares(HOST, "/", 20).await, halves);

    // Kubernetes writes a new token into the file.
    project(&pod.volumes.path().join("token"), "token", "two", "second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    plane.rename_into_place("split.yaml", &split("v2-100.yaml"));
    pod.envoy.wait_for_updates(2).await;
    assert_eq!(
        connection.shares(HOST, "/", 20).await,
        shares([("bookstore-v2", 20)])
    );
    let with_the_new_one = both.stat("cluster.two.upstream_rq_total").await;
    assert!(with_the_new_one > 0, "{}", pod.envoy.log());
    assert_eq!(both.stat("http.front.downstream_rq_4xx").await, 0);
    pod.envoy.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_listener_is_read_only() {
    let plane = plane();
    let certificate = Authority::new().sign(&[NAME]);
    let front = front(&plane, &certificate, &["one"]).await;
    let pod = pod(&front, &certificate.authority, "one").await;
    pod.envoy.wait_for_updates(1).await;
    assert_stats_are_read_only(&pod.envoy).await;
}

/// A Service may select other pods while a connection is open, and a connection stays at its pod.
#[tokio::test(flavor = "multi_thread")]
async fn connections_end_after_two_seconds() {
    let plane = plane();
    let certificate = Authority::new().sign(&[NAME]);
    let front = front(&plane, &certificate, &["one"]).await;
    let pod = pod(&front, &certificate.authority, "one").await;
    pod.envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(pod.envoy.listener("outbound")).await;
    for _ in 0..25 {
        assert_eq!(connection.get(HOST, "/").await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for service in ["bookstore-v1", "bookstore-v2"] {
        let ended = format!(
            "cluster.{service}.bookstore.svc.cluster.local_14001.upstream_cx_max_duration_reached"
        );
        assert!(pod.envoy.stat(&ended).await >= 1, "{service}");
    }
}

/// The kubelet starts the workload when `/ready` answers 200. The first call of the workload must then find the
/// outbound listener open.
#[tokio::test(flavor = "multi_thread")]
async fn ready_means_outbound_is_open() {
    let plane = plane();
    let certificate = Authority::new().sign(&[NAME]);
    let front = front(&plane, &certificate, &["one"]).await;
    for _ in 0..3 {
        let (mut config, _volumes, _backends) =
            configuration(&front, &certificate.authority, "one").await;
        let [outbound, stats] = [free_port(), free_port()];
        for port in [outbound, stats] {
            config = config.replacen("port_value: 0 ", &format!("port_value: {port} "), 1);
        }
        let workload = std::thread::spawn(move || {
            let start = Instant::now();
            while !is_ready(stats) {
                assert!(start.elapsed() < Duration::from_secs(30), "no /ready");
            }
            TcpStream::connect(("127.0.0.1", outbound)).map(drop)
        });
        let envoy = Envoy::start(&config, 2).await;
        let connected = workload.join().expect("the workload");
        assert!(connected.is_ok(), "{connected:?}\n{}", envoy.log());
    }
}

/// True if the listener `stats` at this port answers a probe with 200.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_without_filter_never_starts() {
    let plane = plane();
    let certificate = Authority::new().sign(&[NAME]);
    let front = front(&plane, &certificate, &["one"]).await;
    let (config, volumes, _backends) = configuration(&front, &certificate.authority, "one").await;
    let module = dist("weir.wasm").display().to_string();
    let broken = volumes.path().join("broken.wasm");
    std::fs::write(&broken, b"no module").expect("a file");
    for wrong in [broken, volumes.path().join("missing.wasm")] {
        let log = Envoy::ends(&config.replace(&module, &wrong.display().to_string()));
        assert!(log.contains("wasm"), "{log}");
    }
}

/// If the control plane has a wrong CA or name, or refuses the token, the proxy gets no configuration.
#[tokio::test(flavor = "multi_thread")]
async fn impostor_control_planes_are_ignored() {
    let plane = plane();
    let (authority, other) = (Authority::new(), Authority::new());
    let right = authority.sign(&[NAME]);
    for (certificate, token, failures) in [
        (
            &other.sign(&[NAME]),
            "one",
            "cluster.weir.ssl.fail_verify_error",
        ),
        (
            &authority.sign(&["weir.elsewhere.svc"]),
            "one",
            "cluster.weir.ssl.fail_verify_san",
        ),
        (&right, "old", "cluster.weir.upstream_rq_401"),
    ] {
        let front = front(&plane, certificate, &["one"]).await;
        let pod = pod(&front, &right.authority, token).await;
        for _ in 0..500 {
            if pod.envoy.stat(failures).await > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            pod.envoy.stat(failures).await > 0,
            "{failures}:\n{}",
            pod.envoy.log()
        );
        assert_eq!(
            pod.envoy.stat("wasmcustom.weir_config_updates_total").await,
            0,
            "{failures}"
        );
        assert_eq!(
            pod.envoy.stat("cluster.weir.upstream_rq_2xx").await,
            0,
            "{failures}"
        );
    }
}
