//! Tests permissions between two real Envoys over mutual TLS.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::fault::{Behaviour, FakePlane, answer};
use weir_tests::tls::{Authority, Certificate};
use weir_tests::{Answer, Bootstrap, Connection, Echo, Envoy, Greeter, TcpClient, shipped};

const SERVER: &str = "spiffe://cluster.local/ns/bookstore/sa/bookstore";
const BUYER: &str = "spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer";
const THIEF: &str = "spiffe://cluster.local/ns/bookthief/sa/bookthief";

/// The number of connections that reached the server.
const CONNECTIONS: &str = "cluster.workload-tcp.upstream_cx_total";
/// The number of configurations that the filter refused.
const REFUSED: &str = "wasmcustom.weir_config_refused_total";

/// Returns a configuration in which the bookbuyer may `GET` paths that begin with `/books`, and connect to port 14002.
fn granted() -> Value {
    json!({
        "version": 1,
        "access": { "grants": { "bookstore/bookstore": [{
            "by": "bookstore/bookbuyer",
            "sources": ["bookbuyer/bookbuyer"],
            "requests": [{ "path": { "regex": "/books.*" }, "methods": ["GET"] }],
            "ports": [14002],
        }] } },
    })
}

fn inbound(more: Value) -> String {
    let mut plugin = json!({
        "direction": "inbound", "namespace": "bookstore", "service_account": "bookstore",
        "trust_domain": "cluster.local", "control_plane": "weir",
    });
    for (key, value) in more.as_object().expect("keys") {
        plugin[key] = value.clone();
    }
    plugin.to_string()
}

/// The bookstore behind its own proxy. The fake control plane serves [`granted`] at first.
struct Bookstore {
    authority: Authority,
    fake: FakePlane,
    envoy: Envoy,
    greeter: Greeter,
    _echo: Echo,
}

impl Bookstore {
    async fn start() -> Bookstore {
        let authority = Authority::new();
        let certificate = authority.sign(&[SERVER]);
        let fake = FakePlane::start(serve("r1", granted())).await;
        let echo = Echo::start("bookstore").await;
        let greeter = Greeter::start("bookstore").await;
        let tcp = inbound(json!({ "protocol": "tcp", "root": "bookstore.bookstore:14002" }));
        let bootstrap = Bootstrap::default()
            .cluster("weir", fake.address)
            .cluster("workload", echo.address)
            .cluster("workload-tcp", greeter.address)
            .listener("http", &inbound(json!({})), Some("workload"))
            .mutual_tls(&certificate)
            .tcp_listener("tcp", &tcp, "workload-tcp")
            .mutual_tls(&certificate);
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        // Both filters need the same configuration, so they share one poll.
        envoy.wait_for_updates(1).await;
        Bookstore {
            authority,
            fake,
            envoy,
            greeter,
            _echo: echo,
        }
    }

    async fn clients(&self, certificates: &[Option<Certificate>]) -> Clients {
        let addresses = ["http", "tcp"].map(|name| self.envoy.listener(name));
        clients(addresses, &self.authority, certificates).await
    }
}

/// Starts a proxy for several clients. Its listeners `http-N` and `tcp-N` forward to the two addresses with the N-th
/// certificate.
async fn clients(
    addresses: [SocketAddr; 2],
    authority: &Authority,
    certificates: &[Option<Certificate>],
) -> Clients {
    let config = json!({ "namespace": "bookbuyer", "initial": { "version": 1 } });
    let mut tcp_config = config.clone();
    tcp_config["protocol"] = json!("tcp");
    tcp_config["root"] = json!("bookstore.bookstore:14002");
    let mut bootstrap = Bootstrap::default();
    for (index, certificate) in certificates.iter().enumerate() {
        let certificate = certificate.as_ref();
        let name = |protocol: &str| format!("{protocol}-{index}");
        for (protocol, address) in ["http", "tcp"].into_iter().zip(addresses) {
            bootstrap = bootstrap.tls_cluster(&name(protocol), address, authority, certificate);
        }
        let (http, tcp) = (name("http"), name("tcp"));
        bootstrap = bootstrap
            .listener(&http, &config.to_string(), Some(&http))
            .tcp_listener(&tcp, &tcp_config.to_string(), &tcp);
    }
    Clients(Envoy::start(&bootstrap.build(), 1).await)
}

fn serve(revision: &str, document: Value) -> Behaviour {
    Behaviour::Serve {
        revision: revision.into(),
        body: document.to_string(),
    }
}

struct Clients(Envoy);

impl Clients {
    async fn get(&self, client: usize, path: &str, headers: &[(&str, &str)]) -> Answer {
        let address = self.0.listener(&format!("http-{client}"));
        let mut connection = Connection::open(address).await;
        connection
            .get_with("bookstore.bookstore", path, headers)
            .await
    }

    /// Returns the server's greeting and its echo of a word. If the connection ends earlier, the missing texts are
    /// None.
    async fn talk(&self, client: usize) -> [Option<String>; 2] {
        let mut caller = TcpClient::open(self.0.listener(&format!("tcp-{client}"))).await;
        let talk = async {
            let greeting = caller.line().await;
            caller.say("word\n").await;
            [greeting, caller.line().await]
        };
        let talk = tokio::time::timeout(Duration::from_secs(10), talk).await;
        talk.expect("an answer or an end")
    }

    /// Sends a line before it reads anything. Returns the first line of the answer.
    async fn speak(&self, client: usize) -> Option<String> {
        let mut caller = TcpClient::open(self.0.listener(&format!("tcp-{client}"))).await;
        caller.say("first\n").await;
        let line = tokio::time::timeout(Duration::from_secs(10), caller.line()).await;
        line.expect("an answer or an end")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_identify_clients() {
    let bookstore = Bookstore::start().await;
    let claims = [
        (
            "x-forwarded-client-cert",
            format!("By={SERVER};URI={BUYER}"),
        ),
        ("x-weir-peer", BUYER.to_owned()),
    ];
    let claims: Vec<_> = claims
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();

    // The grant allows the first two clients, which have the same identity in two forms. The other clients have another
    // identity, no certificate, or a certificate of another CA.
    let identities: [&[&str]; 7] = [
        &[BUYER],
        &["bookbuyer.bookbuyer.cluster.local"],
        &[THIEF],
        // A certificate of a federated trust domain, signed by the same CA.
        &["spiffe://partner.example/ns/bookbuyer/sa/bookbuyer"],
        &["https://bookbuyer/bookbuyer"],
        &["bookbuyer"],
        &[],
    ];
    let stranger = Authority::new().sign(&[BUYER]);
    let certificates: Vec<_> = identities
        .iter()
        .map(|names| Some(bookstore.authority.sign(names)))
        .chain([None, Some(stranger)])
        .collect();
    let clients = bookstore.clients(&certificates).await;
    let word = |word: &str| Some(word.to_owned());
    for client in 0..2 {
        let answer = clients.get(client, "/books-bought", &[]).await;
        assert_eq!(
            answer.header("identity"),
            "bookstore",
            "{client} {answer:?}"
        );
        // Requests outside of the grant are denied.
        let answer = clients.get(client, "/admin", &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{client}");
        let talk = clients.talk(client).await;
        assert_eq!(talk, [word("bookstore"), word("word")], "{client}");
        assert_eq!(clients.speak(client).await, word("bookstore"), "{client}");
    }
    // It is possible that the server has not read the last client's line yet.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = bookstore.greeter.received_bytes();
    for client in 2..certificates.len() {
        let answer = clients.get(client, "/books-bought", &claims).await;
        assert_eq!(answer.header("identity"), "", "{client} {answer:?}");
        let denied = answer.header("x-weir-denied");
        if client < identities.len() {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{client} {answer:?}");
            assert!(denied.contains("TrafficTarget"), "{client} {answer:?}");
        } else {
            // The handshake fails before the filter.
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
            assert_eq!(denied, "", "{client}");
        }
        let connections = bookstore.envoy.stat(CONNECTIONS).await;
        assert_eq!(clients.talk(client).await, [None, None], "{client}");
        assert_eq!(clients.speak(client).await, None, "{client}");
        if client >= identities.len() {
            let now = bookstore.envoy.stat(CONNECTIONS).await;
            assert_eq!(now, connections, "client {client} reached the server");
        }
    }
    assert_eq!(
        bookstore.greeter.received_bytes(),
        before,
        "bytes of a denied client got through"
    );
    let log = bookstore.envoy.log();
    assert!(log.contains("bookthief/bookthief"), "{log}");
    bookstore.envoy.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_grant_denies_at_once() {
    let bookstore = Bookstore::start().await;
    let buyer = bookstore.authority.sign(&[BUYER]);
    let client = bookstore.clients(&[Some(buyer)]).await;
    assert_eq!(client.get(0, "/books", &[]).await.status, StatusCode::OK);
    assert!(client.talk(0).await[0].is_some());

    let nothing = json!({ "version": 1, "access": { "grants": {} } });
    bookstore.fake.switch(serve("r2", nothing));
    bookstore.envoy.wait_for_updates(2).await;
    let answer = client.get(0, "/books", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(client.talk(0).await, [None, None]);

    // The filter refuses a configuration without permissions.
    bookstore.fake.switch(serve("r3", json!({ "version": 1 })));
    bookstore.envoy.wait_for_stat(REFUSED, 1).await;
    assert!(bookstore.envoy.log().contains("has no access policy"));
    let answer = client.get(0, "/books", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);

    let everyone = json!({ "version": 1, "access": "everyone" });
    bookstore.fake.switch(serve("r4", everyone));
    bookstore.envoy.wait_for_updates(3).await;
    assert_eq!(client.get(0, "/admin", &[]).await.status, StatusCode::OK);
    assert!(client.talk(0).await[0].is_some());
    bookstore.envoy.assert_no_traps().await;
}

/// An attacker who cuts off the control plane also delays revocations, but not for longer than `access_max_age`.
#[tokio::test(flavor = "multi_thread")]
async fn permissions_expire_without_control_plane() {
    let authority = Authority::new();
    let fake = FakePlane::start(serve("r1", granted())).await;
    let echo = Echo::start("bookstore").await;
    let aging = inbound(json!({ "access_max_age": 60 }));
    // The second filter has no `access_max_age`. One of the two filters polls for both.
    let plain = json!({ "control_plane": "weir", "namespace": "bookstore" }).to_string();
    let start = async |control_plane| {
        let bootstrap = Bootstrap::default()
            .cluster("weir", control_plane)
            .cluster("workload", echo.address)
            .listener("plain", &plain, Some("workload"))
            .listener("http", &aging, Some("workload"))
            .mutual_tls(&authority.sign(&[SERVER]));
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        envoy.wait_for_updates(1).await;
        envoy
    };
    let talking = FakePlane::start(serve("r1", granted())).await;
    let [server, other] = [start(fake.address).await, start(talking.address).await];
    let buyer = authority.sign(&[BUYER]);
    let client = async |server: &Envoy| {
        let listener = server.listener("http");
        clients([listener; 2], &authority, &[Some(buyer.clone())]).await
    };
    let [client, client_of_other] = [client(&server).await, client(&other).await];
    assert_eq!(client.get(0, "/books", &[]).await.status, StatusCode::OK);

    fake.switch(Behaviour::Bytes(answer(503, "", b"")));
    let start = Instant::now();
    let denied = loop {
        let answer = client.get(0, "/books", &[]).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "the client is still allowed"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(
        start.elapsed() > Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(denied.status, StatusCode::FORBIDDEN, "{denied:?}");
    let why = denied.header("x-weir-denied");
    assert!(why.contains("access_max_age"), "{why}");
    let answer = client_of_other.get(0, "/books", &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");

    // The same configuration with a new revision renews the permissions.
    fake.switch(serve("r2", granted()));
    server.wait_for_updates(2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.get(0, "/books", &[]).await.status, StatusCode::OK);
    server.assert_no_traps().await;
}

/// An inbound proxy without a configuration denies everything.
#[tokio::test(flavor = "multi_thread")]
async fn missing_configuration_denies_everything() {
    let authority = Authority::new();
    let certificate = authority.sign(&[SERVER]);
    let echo = Echo::start("bookstore").await;
    let pass = inbound(json!({ "until_configured": "pass" }));
    let server = Bootstrap::default()
        .cluster("workload", echo.address)
        .listener("http", &pass, Some("workload"))
        .mutual_tls(&certificate);
    let server = Envoy::start(&server.build(), 1).await;
    let buyer = authority.sign(&[BUYER]);
    let plugin = json!({ "initial": { "version": 1 } }).to_string();
    let client = Bootstrap::default()
        .tls_cluster("http", server.listener("http"), &authority, Some(&buyer))
        .listener("http-0", &plugin, Some("http"));
    let client = Clients(Envoy::start(&client.build(), 1).await);
    let answer = client.get(0, "/books", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert!(
        answer.header("x-weir-denied").contains("configuration"),
        "{answer:?}"
    );
}

/// Runs `envoy-config/inbound-mtls.yaml` with certificates and a workload of this test. Envoy checks inbound clients,
/// and sends its certificate with outbound requests.
#[tokio::test(flavor = "multi_thread")]
async fn shipped_configuration_checks_and_sends_certificates() {
    const WAREHOUSE: &str = "spiffe://cluster.local/ns/bookwarehouse/sa/bookwarehouse";
    let authority = Authority::new();
    let folder = TempDir::new().expect("a folder");
    let own = authority.sign(&[SERVER]);
    for (name, text) in [
        ("tls.crt", &own.pem),
        ("tls.key", &own.key),
        ("ca.crt", &own.authority),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a certificate");
    }
    let fake = FakePlane::start(serve("r1", granted())).await;
    let echo = Echo::start("bookstore").await;
    let greeter = Greeter::start("bookstore").await;
    // The bookwarehouse allows requests of the bookstore, if the bookstore shows its certificate.
    let mut grants = granted();
    grants["access"]["grants"] = json!({ "bookwarehouse/bookwarehouse": [{
        "by": "bookwarehouse/bookstore",
        "sources": ["bookstore/bookstore"],
        "requests": [{}],
    }] });
    let warehouse = |certificate: Certificate| {
        let plugin = json!({
            "direction": "inbound", "namespace": "bookwarehouse",
            "service_account": "bookwarehouse", "trust_domain": "cluster.local", "initial": grants,
        });
        let bootstrap = Bootstrap::default()
            .cluster("workload", echo.address)
            .listener("http", &plugin.to_string(), Some("workload"))
            .mutual_tls(&certificate);
        async move { Envoy::start(&bootstrap.build(), 1).await }
    };
    for (name, expected) in [
        (WAREHOUSE, StatusCode::OK),
        (THIEF, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let warehouse = warehouse(authority.sign(&[name])).await;
        let config = shipped(
            "inbound-mtls.yaml",
            &[
                ("weir", fake.address),
                ("workload", echo.address),
                ("workload-tcp", greeter.address),
                (
                    "bookwarehouse.bookwarehouse.svc.cluster.local:14001",
                    warehouse.listener("http"),
                ),
            ],
        );
        let config = config.replace("certs/", &format!("{}/", folder.path().display()));
        let envoy = Envoy::start(&config, 1).await;
        envoy.wait_for_updates(1).await;

        // Outbound requests go only to a server with the right identity.
        let mut out = Connection::open(envoy.listener("outbound")).await;
        let answer = out.get("bookwarehouse.bookwarehouse:14001", "/").await;
        assert_eq!(answer.status, expected, "{name} {answer:?}");
        if name != WAREHOUSE {
            continue;
        }
        // Envoy normalizes the path before it sends the request.
        let host = "bookwarehouse.bookwarehouse:14001";
        let answer = out.get(host, "/admin/..//books").await;
        assert_eq!(answer.json()["path"], "/books", "{answer:?}");
        // Unknown hosts and ports have no outbound route. A client's routing header does not select the workload.
        let claim = [("x-weir-cluster", "workload")];
        for host in ["elsewhere", "bookwarehouse.bookwarehouse:9"] {
            let answer = out.get_with(host, "/", &claim).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{host} {answer:?}");
        }
        let answer = out.get(host, "/books/..%2Fadmin").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        // Inbound requests are only for clients with a permission.
        let certificates = [BUYER, THIEF].map(|name| Some(authority.sign(&[name])));
        let addresses = ["inbound", "inbound-tcp"].map(|name| envoy.listener(name));
        let clients = clients(addresses, &authority, &certificates).await;
        assert_eq!(clients.get(0, "/books", &[]).await.status, StatusCode::OK);
        assert_eq!(clients.talk(0).await[1].as_deref(), Some("word"));
        // Spellings of `/admin` do not match the grant for `/books`.
        for (path, status) in [
            ("/books/../admin", StatusCode::FORBIDDEN),
            ("/books/%2e%2e/admin", StatusCode::FORBIDDEN),
            ("/books/..%2Fadmin", StatusCode::BAD_REQUEST),
            ("/books\\..\\admin", StatusCode::FORBIDDEN),
            ("//books", StatusCode::OK),
        ] {
            let answer = clients.get(0, path, &[]).await;
            assert_eq!(answer.status, status, "{path} {answer:?}");
        }
        assert_eq!(
            clients.get(1, "/books", &[]).await.status,
            StatusCode::FORBIDDEN
        );
        assert_eq!(clients.talk(1).await, [None, None]);
    }
}
