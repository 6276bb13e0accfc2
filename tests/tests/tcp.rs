//! Tests that the filter chooses a cluster for each TCP connection, on a real Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use weir_tests::fault::{Behaviour, FakePlane, Web, document};
use weir_tests::{Bootstrap, Connection, Envoy, Greeter, TcpClient, root, shares, shipped};

const CLUSTERS: [&str; 2] = [
    "db-v1.default.svc.cluster.local:6379",
    "db-v2.default.svc.cluster.local:6379",
];

/// Returns a configuration for the Service `db` in `default`. It splits connections between `db-v1` and `db-v2`. All
/// three Services have port 6379.
fn db(weights: [u64; 2]) -> Value {
    let backend = |name: &str, weight: u64| {
        let service = json!({ "name": name, "namespace": "default", "port": 6379 });
        json!({ "weight": weight, "to": { "service": service } })
    };
    let root = json!({
        "service": "db", "namespace": "default", "port": 6379, "cluster_ips": ["10.1.2.3", "fd00::3"],
    });
    json!({
        "version": 1,
        "connections": [{ "to": { "root": root }, "rule": "db" }],
        "rules": {
            "db": { "backends": [backend("db-v1", weights[0]), backend("db-v2", weights[1])] },
        },
    })
}

/// Returns a plugin configuration for connections to `db`, with the keys of `more`. If `root` is null in `more`, the
/// result has no `root`.
fn plugin(more: Value) -> String {
    let mut plugin =
        json!({ "namespace": "default", "protocol": "tcp", "root": "db.default:6379" });
    for (key, value) in more.as_object().expect("keys") {
        plugin[key] = value.clone();
    }
    if plugin["root"].is_null() {
        plugin.as_object_mut().expect("keys").remove("root");
    }
    plugin.to_string()
}

/// The backends `v1`, `v2` and `ordinary`.
struct Db([Greeter; 3]);

impl Db {
    async fn start() -> Db {
        Db([
            Greeter::start("v1").await,
            Greeter::start("v2").await,
            Greeter::start("ordinary").await,
        ])
    }

    fn bootstrap(&self) -> Bootstrap {
        let [v1, v2, ordinary] = &self.0;
        Bootstrap::default()
            .cluster(CLUSTERS[0], v1.address)
            .cluster(CLUSTERS[1], v2.address)
            .cluster("ordinary", ordinary.address)
    }
}

/// Opens this number of concurrent connections, and counts their greetings.
async fn greetings(address: SocketAddr, connections: usize) -> BTreeMap<String, usize> {
    let (mut shares, mut open) = (BTreeMap::new(), Vec::new());
    for _ in 0..connections {
        let mut caller = TcpClient::open(address).await;
        let greeting = caller.line().await.unwrap_or_default();
        *shares.entry(greeting).or_default() += 1;
        open.push(caller);
    }
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_split_exactly() {
    let db_backends = Db::start().await;
    let bootstrap = db_backends
        .bootstrap()
        .tcp_listener(
            "root",
            &plugin(json!({ "initial": db([90, 10]) })),
            "ordinary",
        )
        .tcp_listener(
            "lean",
            &plugin(json!({ "initial": db([90, 10]) })),
            "ordinary",
        )
        .lean();
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    for listener in ["root", "lean"] {
        let got = greetings(envoy.listener(listener), 100).await;
        assert_eq!(got, shares([("v1", 90), ("v2", 10)]), "{listener}");
    }
    envoy.assert_no_traps().await;
    let counted = "wasmcustom.weir_requests_total.rule=.=db;.;backend=.=db-v2.default:6379;.;";
    // The filter writes its counters at its next tick.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(envoy.stat(counted).await, 20);
}

/// The original destination address selects the Service. Connections to other addresses go to the ordinary cluster.
#[tokio::test(flavor = "multi_thread")]
async fn original_destination_selects_the_service() {
    let backends = Db::start().await;
    let plugin = plugin(json!({ "root": null, "initial": db([0, 1]) }));
    let bootstrap = backends
        .bootstrap()
        .tcp_listener("any", &plugin, "ordinary")
        .proxy_protocol();
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    for (destination, expected) in [
        ("TCP4 10.0.0.1 10.1.2.3 5000 6379", "v2"),
        ("TCP4 10.0.0.1 10.1.2.3 5000 6380", "ordinary"),
        ("TCP4 10.0.0.1 10.1.2.4 5000 6379", "ordinary"),
        ("TCP6 fd00::1 fd00::3 5000 6379", "v2"),
        ("TCP6 fd00::1 fd00::4 5000 6379", "ordinary"),
        ("UNKNOWN", "ordinary"),
    ] {
        let mut caller = TcpClient::open(envoy.listener("any")).await;
        caller.say(&format!("PROXY {destination}\r\n")).await;
        assert_eq!(
            caller.line().await.as_deref(),
            Some(expected),
            "{destination}"
        );
    }
    envoy.assert_no_traps().await;
}

/// If the filter cannot serve a connection, it closes the connection before a server receives it, and logs the reason.
#[tokio::test(flavor = "multi_thread")]
async fn unserviceable_connection_is_closed() {
    let backends = Db::start().await;
    let mut broken = db([1, 1]);
    broken["rules"]["db"]["backends"][1]["to"] = json!({ "status": 500 });
    let mut denied = db([1, 1]);
    denied["rules"]["db"]["backends"][0]["accounts"] = json!(["default/db"]);
    denied["rules"]["db"]["backends"][1]["accounts"] = json!(["default/other"]);
    denied["access"] = json!({ "grants": { "default/db": [
        { "by": "default/db", "sources": ["default/client"], "ports": [] },
    ] } });
    let plane = json!({ "control_plane": "missing" });
    let with = |keys: Value| {
        let mut all = plane.clone();
        for (key, value) in keys.as_object().expect("keys") {
            all[key] = value.clone();
        }
        plugin(all)
    };
    let client = json!({ "service_account": "client", "initial": denied });
    let bootstrap = backends
        .bootstrap()
        .tcp_listener("broken", &plugin(json!({ "initial": broken })), "ordinary")
        .tcp_listener("denied", &plugin(client), "ordinary")
        .tcp_listener("pass", &with(json!({})), "ordinary")
        .tcp_listener(
            "503",
            &with(json!({ "until_configured": "503" })),
            "ordinary",
        )
        .tcp_listener(
            "account",
            &with(json!({ "service_account": "client" })),
            "ordinary",
        );
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    for (listener, expected) in [
        ("broken", vec![("v1", 10), ("", 10)]),
        ("denied", vec![("v1", 10), ("", 10)]),
        ("pass", vec![("ordinary", 20)]),
        ("503", vec![("", 20)]),
        ("account", vec![("", 20)]),
    ] {
        let expected = expected.into_iter().map(|(who, n)| (who.to_owned(), n));
        let got = greetings(envoy.listener(listener), 20).await;
        assert_eq!(got, expected.collect(), "{listener}");
    }
    let log = envoy.log();
    assert!(
        log.contains("connection closed: db: the picked backend"),
        "{log}"
    );
    assert!(log.contains("connection closed: denied: "), "{log}");
    assert!(log.contains("no configuration yet"), "{log}");
    // Many attempts of a client must not fill the disk with log lines.
    assert!(log.matches("connection closed").count() < 60, "{log}");
    envoy.assert_no_traps().await;
}

/// To check inbound connections, a filter must read their bytes. The lean module cannot read them, so it refuses
/// the plugin configuration.
#[tokio::test(flavor = "multi_thread")]
async fn lean_module_refuses_inbound_connection_checks() {
    let inbound = plugin(json!({
        "direction": "inbound", "service_account": "db", "trust_domain": "cluster.local", "initial": db([1, 1]),
    }));
    let bootstrap = Bootstrap::default()
        .tcp_listener("inbound", &inbound, "ordinary")
        .lean();
    let log = Envoy::refused(&bootstrap.build());
    let remedy = "load weir.wasm instead of weir-lean.wasm";
    assert!(log.contains(remedy), "{log}");
}

fn serve(revision: &str, weights: [u64; 2]) -> Behaviour {
    Behaviour::Serve {
        revision: revision.into(),
        body: db(weights).to_string(),
    }
}

/// A real Redis process without persistence.
struct Redis {
    address: SocketAddr,
    child: std::process::Child,
    _folder: TempDir,
}

impl Redis {
    async fn start() -> Redis {
        let binary: PathBuf = root().join(".venv/bin/redis-server");
        assert!(
            binary.exists(),
            "no Redis in .venv: run scripts/install --tests"
        );
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let folder = TempDir::new().expect("a folder");
        let child = Command::new(binary)
            .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .arg("--port")
            .arg(address.port().to_string())
            .current_dir(folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("Redis");
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Redis {
            address,
            child,
            _folder: folder,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection to a Redis.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn open(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Client(BufReader::new(stream))
    }

    /// Sends a command and reads the answer: a line or a string.
    async fn ask(&mut self, command: &str) -> String {
        let sent = self.0.write_all(format!("{command}\r\n").as_bytes()).await;
        sent.unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut line = String::new();
        let length = self.0.read_line(&mut line).await.expect("a line");
        assert!(length > 0, "{command}: the connection ended");
        let Some(length) = line.strip_prefix('$') else {
            return line.trim().to_owned();
        };
        let mut text = vec![0; length.trim().parse::<usize>().expect("a length") + 2];
        self.0.read_exact(&mut text).await.expect("a string");
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

/// A connected client stays at its server after a change. Clients that connect after the change reach the new server.
#[tokio::test(flavor = "multi_thread")]
async fn redis_client_survives_a_change() {
    let servers = [Redis::start().await, Redis::start().await];
    for (server, name) in servers.iter().zip(["v1", "v2"]) {
        let mut client = Client::open(server.address).await;
        assert_eq!(client.ask(&format!("SET name {name}")).await, "+OK");
    }
    let fake = FakePlane::start(serve("r1", [100, 0])).await;
    let plugin = plugin(json!({ "control_plane": "weir" }));
    let bootstrap = Bootstrap::default()
        .cluster("weir", fake.address)
        .cluster(CLUSTERS[0], servers[0].address)
        .cluster(CLUSTERS[1], servers[1].address)
        .tcp_listener("db", &plugin, CLUSTERS[0]);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    let address = envoy.listener("db");

    let mut clients = Vec::new();
    let is_over = Arc::new(AtomicBool::new(false));
    for id in 0..4 {
        let is_over = is_over.clone();
        clients.push(tokio::spawn(async move {
            let mut client = Client::open(address).await;
            let mut rounds = 0;
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(client.ask(&format!("SET key-{id} {rounds}")).await, "+OK");
                let got = client.ask(&format!("GET key-{id}")).await;
                assert_eq!(got, rounds.to_string());
                rounds += 1;
            }
            assert_eq!(client.ask("GET name").await, "v1");
            rounds
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    fake.switch(serve("r2", [0, 100]));
    envoy.wait_for_updates(2).await;
    for _ in 0..4 {
        let mut client = Client::open(address).await;
        assert_eq!(client.ask("GET name").await, "v2");
    }
    fake.switch(serve("r3", [100, 0]));
    envoy.wait_for_updates(3).await;
    let mut client = Client::open(address).await;
    assert_eq!(client.ask("GET name").await, "v1");
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        let rounds = client.await.expect("a client without failures");
        assert!(rounds > 20, "{rounds} rounds");
    }
    envoy.assert_no_traps().await;
}

/// One Envoy has filters for HTTP and TCP, for outbound and inbound traffic, and for two Gateways.
#[tokio::test(flavor = "multi_thread")]
async fn all_plugin_kinds_share_one_proxy() {
    let backends = Db::start().await;
    let web = Web::start().await;
    let outbound = document([9, 1]);
    let gateway = |weights: [u64; 2]| {
        let mut edge = document(weights);
        edge["listeners"] = json!({ "http": { "port": 80 } });
        edge["hosts"] = json!([{
            "hosts": { "gateway": { "ports": { "http": 80 } } },
            "matches": [{ "rule": "web" }],
            "unmatched": "not_found",
        }]);
        edge
    };
    let edge = |name: &str, weights| {
        let plugin = json!({ "gateway": format!("default/{name}"), "initial": gateway(weights) });
        plugin.to_string()
    };
    let account = |more: Value| {
        let mut plugin = json!({
            "namespace": "default", "service_account": "web", "direction": "inbound",
            "trust_domain": "cluster.local",
            "initial": { "version": 1, "access": { "grants": {} } },
        });
        for (key, value) in more.as_object().expect("keys") {
            plugin[key] = value.clone();
        }
        plugin.to_string()
    };
    let http = json!({ "namespace": "default", "initial": outbound }).to_string();
    let bootstrap = backends
        .bootstrap()
        .cluster("web-v1.default.svc.cluster.local:80", web.v1.address)
        .cluster("web-v2.default.svc.cluster.local:80", web.v2.address)
        .listener("http", &http, None)
        .listener("edge-1", &edge("edge-1", [1, 3]), None)
        .listener("edge-2", &edge("edge-2", [3, 1]), None)
        .listener("http-in", &account(json!({})), None)
        .tcp_listener(
            "tcp",
            &plugin(json!({ "initial": db([90, 10]) })),
            "ordinary",
        )
        .tcp_listener("tcp-in", &account(json!({ "protocol": "tcp" })), "ordinary");
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let open = |name: &str| Connection::open(envoy.listener(name));
    let (mut http, mut edge_1, mut edge_2, mut inbound) = (
        open("http").await,
        open("edge-1").await,
        open("edge-2").await,
        open("http-in").await,
    );
    for _ in 0..3 {
        let got = http.shares("web", "/", 20).await;
        assert_eq!(got, shares([("v1", 18), ("v2", 2)]));
        let got = greetings(envoy.listener("tcp"), 20).await;
        assert_eq!(got, shares([("v1", 18), ("v2", 2)]));
        let got = edge_1.shares("any.example", "/", 20).await;
        assert_eq!(got, shares([("v1", 5), ("v2", 15)]));
        let got = edge_2.shares("any.example", "/", 20).await;
        assert_eq!(got, shares([("v1", 15), ("v2", 5)]));
        assert_eq!(inbound.get("web", "/").await.status, 403);
        assert_eq!(
            TcpClient::open(envoy.listener("tcp-in")).await.line().await,
            None
        );
    }
    assert_eq!(http.get("other", "/").await.text(), "ordinary");
    envoy.assert_no_traps().await;
}

/// Runs `envoy-config/tcp.yaml` with the servers and the control plane of this test. The split sends half of the
/// connections to each server, and a runtime key switches the split off and on.
#[tokio::test(flavor = "multi_thread")]
async fn shipped_configuration_splits_and_can_switch() {
    let servers = Db::start().await;
    let [v1, v2, ordinary] = &servers.0;
    let text = db([1, 1]).to_string();
    let text = text
        .replace("\"db", "\"mysql")
        .replace("default", "bookwarehouse");
    let body = text.replace("6379", "3306");
    let fake = FakePlane::start(Behaviour::Serve {
        revision: "r1".into(),
        body,
    })
    .await;
    let config = shipped(
        "tcp.yaml",
        &[
            ("weir", fake.address),
            (
                "mysql.bookwarehouse.svc.cluster.local:3306",
                ordinary.address,
            ),
            ("mysql-v1.bookwarehouse.svc.cluster.local:3306", v1.address),
            ("mysql-v2.bookwarehouse.svc.cluster.local:3306", v2.address),
        ],
    );
    let envoy = Envoy::start(&config, 1).await;
    let address = envoy.listener("mysql");
    let halves = shares([("v1", 10), ("v2", 10)]);
    let all = shares([("ordinary", 20)]);
    envoy.wait_for_updates(1).await;
    assert_eq!(greetings(address, 20).await, halves);
    let mut admin = Connection::open(envoy.admin).await;
    for (percent, expected) in [("0", all), ("100", halves)] {
        let switch = format!("/runtime_modify?weir.enabled={percent}");
        assert_eq!(admin.post("admin", &switch).await.status, 200);
        assert_eq!(greetings(address, 20).await, expected, "{percent} %");
    }
    // The access log has the chosen cluster and the rule.
    let line = "cluster=mysql-v2.bookwarehouse.svc.cluster.local:3306 rule=mysql\n";
    for _ in 0..500 {
        if envoy.log().contains(line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", envoy.log());
}
