//! The bookstore of `demo/` under `weir serve --policy smi`, over mutual TLS between two real Envoys: what
//! TrafficTargets say holds at the client's proxy and at the bookstore's.
//!
//! ```text
//! bookbuyer, bookthief --> [their proxy] --TLS: who they are--> [the bookstore's proxy] --> bookstore v1 | v2
//!                            checks                               checks
//! ```

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_tests::tls::Authority;
use weir_tests::{Answer, Bootstrap, Connection, Echo, Envoy, Plane, dist, root};

const SMI: [&str; 2] = ["--policy", "smi"];
const HOST: &str = "bookstore.bookstore.svc.cluster.local:14001";
const BUY: &str = "/buy-a-book/new";
const LOOK: &str = "/books-bought";

/// Service, and the ServiceAccount behind it.
const STORES: [(&str, &str); 2] = [
    ("bookstore-v1", "bookstore"),
    ("bookstore-v2", "bookstore-v2"),
];

/// Clients, named as their ServiceAccounts; the last two have no certificate that counts.
const CLIENTS: [&str; 4] = ["bookbuyer", "bookthief", "nobody", "stranger"];

fn file(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn target(of: &str) -> String {
    file(&format!("tests/manifests/smi/{of}"))
}

fn split(name: &str) -> String {
    file(&format!("demo/splits/{name}.yaml"))
}

struct World {
    plane: Plane,
    /// The proxy of all clients: `bookbuyer` and `bookthief` are listeners that check; `CLIENT-STORE` is one
    /// that does not, and leads to that store's proxy as that client.
    client: Envoy,
    client_config: String,
    /// The proxy of both versions, each with a listener of its name.
    server: Envoy,
    stores: [Echo; 2],
}

impl World {
    async fn start(weights: &str) -> World {
        let demo = ["bookstore", "bookwarehouse", "namespaces"];
        let demo = demo.map(|name| (name, file(&format!("demo/manifests/{name}.yaml"))));
        let smi = ["workloads", "routes", "target", "target-v2"];
        let smi = smi.map(|name| (name, target(&format!("{name}.yaml"))));
        let files: Vec<_> = demo
            .into_iter()
            .chain(smi)
            .chain([("split", split(weights))])
            .map(|(name, text)| (format!("{name}.yaml"), text))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        let plane = Plane::start_with(&SMI, &files);

        let authority = Authority::new();
        let stores = [
            Echo::start(STORES[0].0).await,
            Echo::start(STORES[1].0).await,
        ];
        let mut server = Bootstrap::default().cluster("weir", plane.listen);
        for ((service, account), echo) in STORES.iter().zip(&stores) {
            let plugin = json!({
                "control_plane": "weir", "direction": "inbound",
                "namespace": "bookstore", "service_account": account,
            });
            server = server
                .cluster(service, echo.address)
                .listener(service, &plugin.to_string(), Some(service))
                .mutual_tls(&authority.sign(&[&spiffe("bookstore", account)]));
        }
        let server = Envoy::start(&server.build(), 1).await;
        let client_config = clients(&plane, &server, &authority);
        let world = World {
            plane,
            client: Envoy::start(&client_config, 1).await,
            client_config,
            server,
            stores,
        };
        for way in ["bookbuyer", "bookbuyer-bookstore-v1"] {
            world.customer(way).await.until(StatusCode::OK).await;
        }
        world
    }

    async fn customer(&self, listener: &str) -> Customer {
        Customer::of(&self.client, listener).await
    }

    /// Requests that the two versions have got.
    fn heard(&self) -> [usize; 2] {
        [self.stores[0].heard(), self.stores[1].heard()]
    }

    fn revoke(&self, name: &str) {
        std::fs::remove_file(self.plane.path(name)).expect("removed");
    }

    fn grant(&self, name: &str) {
        self.plane.rename_into_place(name, &target(name));
    }

    fn shift(&self, weights: &str) {
        self.plane.rename_into_place("split.yaml", &split(weights));
    }

    async fn assert_no_traps(&self) {
        self.client.assert_no_traps().await;
        self.server.assert_no_traps().await;
    }
}

fn spiffe(namespace: &str, account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

/// The configuration of [`World::client`].
fn clients(plane: &Plane, server: &Envoy, authority: &Authority) -> String {
    let own = |name| Some(authority.sign(&[&spiffe(name, name)]));
    let another = Authority::new().sign(&[&spiffe("bookbuyer", "bookbuyer")]);
    let certificates = [own("bookbuyer"), own("bookthief"), None, Some(another)];
    let mut bootstrap = Bootstrap::default().cluster("weir", plane.listen);
    for (name, certificate) in CLIENTS.iter().zip(&certificates) {
        for (service, _) in STORES {
            let cluster = format!("{name}-{service}");
            let address = server.listener(service);
            let unchecked = json!({ "initial": { "version": 2 } }).to_string();
            bootstrap = bootstrap
                .tls_cluster(&cluster, address, authority, certificate.as_ref())
                .listener(&cluster, &unchecked, Some(&cluster));
        }
    }
    for name in &CLIENTS[..2] {
        let plugin = json!({
            "control_plane": "weir", "namespace": name, "service_account": name,
            "until_configured": "pass", "cluster": format!("{name}-{{service}}"),
        });
        let ordinary = format!("{name}-bookstore-v1");
        bootstrap = bootstrap.listener(name, &plugin.to_string(), Some(&ordinary));
    }
    bootstrap.build()
}

/// One connection that is kept, whose requests say that they are the bookbuyer's, whoever sends them.
struct Customer(Connection);

impl Customer {
    async fn of(envoy: &Envoy, listener: &str) -> Customer {
        Customer(Connection::open(envoy.listener(listener)).await)
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", HOST, path, &[]).await
    }

    async fn ask(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        claims: &[(&str, &str)],
    ) -> Answer {
        let own = [
            ("user-agent", "Go-http-client/1.1"),
            ("client-app", "bookbuyer"),
        ];
        let headers: Vec<_> = own.iter().chain(claims).copied().collect();
        self.0.ask(method, host, path, &headers).await
    }

    /// Buys until the answer is that.
    async fn until(&mut self, status: StatusCode) {
        let start = Instant::now();
        loop {
            let answer = self.get(BUY).await;
            if answer.status == status {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The permission that an answer says is missing.
fn denied(answer: &Answer) -> &str {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    answer.header("x-weir-denied")
}

/// One of the demo's programs goes shopping through its listener; each of that many rounds of two requests has to
/// go as it hopes for.
fn shopping(role: &str, envoy: &Envoy, rounds: usize) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let program = target.join("release/weir-demo");
    assert!(
        program.exists(),
        "{} is missing: run scripts/build first",
        program.display()
    );
    let output = Command::new(program)
        .args([role, "--listen", "127.0.0.1:0"])
        .arg("--outbound")
        .arg(envoy.listener(role).to_string())
        .env("CI_SLEEP_BETWEEN_REQUESTS_SECONDS", "0")
        .env("CI_MAX_ITERATIONS_THRESHOLD", rounds.to_string())
        .env("CI_MIN_SUCCESS_THRESHOLD", rounds.to_string())
        .env("BOOKTHIEF_EXPECTED_RESPONSE_CODE", "403")
        .output()
        .expect("weir-demo");
    assert!(output.status.success(), "{role}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bookbuyer_buys_and_the_bookthief_gets_nothing() {
    let world = World::start("v1-50-v2-50").await;
    let check = Command::new(dist("weir"))
        .args(["check", "--policy", "smi"])
        .arg(world.plane.folder())
        .output()
        .expect("weir check");
    assert!(check.status.success(), "{check:?}");

    let mut customer = world.customer("bookbuyer").await;
    let mut before = world.heard();
    let mut sold = || {
        let now = world.heard();
        let sold = [now[0] - before[0], now[1] - before[1]];
        before = now;
        sold
    };
    // 100/0, 50/50, 0/100, each from the first request of its sequence.
    for (weights, shares) in [
        ("v2-100", [0, 50]),
        ("v1-100", [50, 0]),
        ("v1-50-v2-50", [25, 25]),
    ] {
        world.shift(weights);
        world
            .client
            .wait_for_updates(updates(&world.client).await + 2)
            .await;
        sold();
        shopping("bookbuyer", &world.client, 25);
        assert_eq!(sold(), shares, "{weights}");
        shopping("bookthief", &world.client, 25);
        assert_eq!(sold(), [0, 0], "{weights}");
    }

    // The thief, lying: at its own proxy, by names of which that proxy knows no split, and without one that checks.
    let mut thief = world.customer("bookthief").await;
    let missing: Vec<_> = [thief.get(LOOK).await, thief.get(LOOK).await]
        .iter()
        .map(|answer| denied(answer).to_owned())
        .collect();
    for (service, account) in STORES {
        let expected = format!(
            "no TrafficTarget lets bookthief/bookthief GET {LOOK} reach {service}.bookstore:14001 (bookstore/{account})"
        );
        assert!(missing.contains(&expected), "{missing:?}");
        assert!(
            world.client.log().contains(&expected),
            "{}",
            world.client.log()
        );
    }
    let at_the_store =
        format!("no TrafficTarget lets bookthief/bookthief GET {BUY} reach bookstore/bookstore");
    for host in [
        "bookstore-v1.bookstore:14001",
        "elsewhere",
        "bookstore.bookstore:80",
    ] {
        let answer = thief.ask("GET", host, BUY, &[]).await;
        assert_eq!(denied(&answer), at_the_store, "{host}");
    }
    let answer = world
        .customer("bookthief-bookstore-v1")
        .await
        .get(BUY)
        .await;
    assert_eq!(denied(&answer), at_the_store);
    assert!(
        world.server.log().contains(&at_the_store),
        "{}",
        world.server.log()
    );

    // The buyer, where no match says so: at its own proxy, and without one that checks.
    for way in [
        "bookbuyer",
        "bookbuyer-bookstore-v1",
        "bookbuyer-bookstore-v2",
    ] {
        customer = world.customer(way).await;
        for (method, path) in [
            ("GET", "/raw"),
            ("GET", "/raw?/buy-a-book/new"),
            ("GET", "/books-bought/"),
            ("GET", "/BOOKS-BOUGHT"),
            ("GET", "/buy-a-book"),
            ("POST", LOOK),
            ("DELETE", BUY),
        ] {
            let answer = customer.ask(method, HOST, path, &[]).await;
            let expected = format!("no TrafficTarget lets bookbuyer/bookbuyer {method} ");
            assert!(denied(&answer).starts_with(&expected), "{way} {answer:?}");
        }
        // The match asks for the headers as well, and two lines of one are not the one.
        let answer = customer.0.get(HOST, LOOK).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        let answer = customer
            .ask("GET", HOST, LOOK, &[("client-app", "bookthief")])
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    }
    assert_eq!(sold(), [0, 0]);
    assert_eq!(customer.get(LOOK).await.header("identity"), "bookstore-v2");
    world.assert_no_traps().await;
}

async fn updates(envoy: &Envoy) -> u64 {
    envoy.stat("wasmcustom.weir_config_updates_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_certificate_opens_the_way() {
    let world = World::start("v1-50-v2-50").await;
    let buyer = spiffe("bookbuyer", "bookbuyer");
    let forwarded = format!(
        "By={};Hash=00;URI={buyer}",
        spiffe("bookstore", "bookstore")
    );
    let claims = [
        ("x-forwarded-client-cert", &*forwarded),
        ("x-weir-peer", &*buyer),
        ("x-weir-cluster", "bookstore-v2"),
        ("x-envoy-peer-metadata-id", "bookbuyer"),
        ("authorization", "Bearer bookbuyer"),
    ];
    let before = world.heard();
    let mut asked = 0;
    for (service, account) in STORES {
        for name in &CLIENTS[1..] {
            let mut customer = world.customer(&format!("{name}-{service}")).await;
            for path in [BUY, LOOK] {
                let answer = customer.ask("GET", HOST, path, &claims).await;
                if *name == "bookthief" {
                    let expected = format!("reach bookstore/{account}");
                    assert!(denied(&answer).ends_with(&expected), "{answer:?}");
                } else {
                    // The handshake itself fails, and no filter is asked.
                    assert_eq!(
                        answer.status,
                        StatusCode::SERVICE_UNAVAILABLE,
                        "{name} {answer:?}"
                    );
                    assert_eq!(answer.header("x-weir-denied"), "", "{name}");
                }
                asked += 1;
            }
        }
        // In plain text: no byte of HTTP comes back.
        let mut stream = TcpStream::connect(world.server.listener(service))
            .await
            .expect("a port");
        let request = format!("GET {BUY} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let ends = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
        let _ = ends.await.expect("an end of the connection");
        assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    }
    assert_eq!(asked, 12);
    assert_eq!(world.heard(), before, "something got through");

    // Who has it is let in, and what it claims does not lead it elsewhere.
    let mut buyer = world.customer("bookbuyer-bookstore-v1").await;
    let answer = buyer.ask("GET", HOST, BUY, &claims).await;
    assert_eq!(answer.header("identity"), "bookstore-v1", "{answer:?}");
    assert_eq!(world.heard(), [before[0] + 1, before[1]]);
    world.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_closes_the_way_within_a_second() {
    const ROUNDS: usize = 6;
    let world = World::start("v1-100").await;
    // The connection to the client's proxy and the one between the proxies are there before, and stay.
    let mut ways = [
        world.customer("bookbuyer").await,
        world.customer("bookbuyer-bookstore-v1").await,
    ];
    for way in &mut ways {
        assert_eq!(way.get(BUY).await.status, StatusCode::OK);
    }
    let connections = "cluster.bookbuyer-bookstore-v1.upstream_cx_total";
    let before = world.client.stat(connections).await;
    let nobody = target("target.yaml").replace("name: bookbuyer", "name: somebody");

    let (mut closed, mut opened) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    for round in 0..ROUNDS {
        match round % 3 {
            0 => world.revoke("target.yaml"),
            1 => {
                let away = world.plane.path("target.yaml.away");
                std::fs::rename(world.plane.path("target.yaml"), away).expect("renamed");
            }
            _ => world.plane.rename_into_place("target.yaml", &nobody),
        }
        let took = follow(&mut ways, StatusCode::FORBIDDEN).await;
        closed = [closed[0].max(took[0]), closed[1].max(took[1])];
        let heard = world.heard();
        for way in &mut ways {
            assert!(denied(&way.get(BUY).await).starts_with("no TrafficTarget lets bookbuyer/"));
        }
        assert_eq!(world.heard(), heard, "a closed way let something through");

        world.grant("target.yaml");
        let took = follow(&mut ways, StatusCode::OK).await;
        opened = [opened[0].max(took[0]), opened[1].max(took[1])];
    }
    println!(
        "{ROUNDS} times, the longest at the client's proxy and at the bookstore's: from revoking a \
         TrafficTarget to the last request that passed {closed:?}, from granting it to the last one that \
         was denied {opened:?}"
    );
    for took in closed.into_iter().chain(opened) {
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(
        world.client.stat(connections).await,
        before,
        "connections were not kept"
    );
    world.assert_no_traps().await;
}

/// From now to the last request of each connection that was not yet answered so.
async fn follow(ways: &mut [Customer; 2], status: StatusCode) -> [Duration; 2] {
    /// Long enough to see one that goes back.
    const CALM: Duration = Duration::from_millis(300);
    let start = Instant::now();
    let mut last = [Duration::ZERO; 2];
    while start.elapsed() < last[0].max(last[1]) + CALM {
        for (way, last) in ways.iter_mut().zip(&mut last) {
            let sent = start.elapsed();
            let answer = way.get(BUY).await;
            assert!([200, 403].contains(&answer.status.as_u16()), "{answer:?}");
            if answer.status != status {
                *last = sent;
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not all are {status}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_neither_grants_nor_denies() {
    let world = World::start("v1-100").await;
    let mut buyer = world.customer("bookbuyer").await;
    let mut thief = world.customer("bookthief").await;

    // While it changes.
    let (mut bought, before) = (0, world.heard());
    for round in 0..4 {
        for weights in ["v1-50-v2-50", "v2-100", "v1-100"] {
            let known = updates(&world.client).await;
            world.shift(weights);
            while updates(&world.client).await < known + 2 {
                let answer = buyer.get(BUY).await;
                assert_eq!(
                    answer.status,
                    StatusCode::OK,
                    "{round} {weights} {answer:?}"
                );
                bought += 1;
                let answer = thief.get(BUY).await;
                assert_eq!(
                    answer.status,
                    StatusCode::FORBIDDEN,
                    "{round} {weights} {answer:?}"
                );
            }
        }
    }
    let heard = world.heard();
    assert_eq!(heard[0] + heard[1] - before[0] - before[1], bought);

    // A share whose backend is not granted stays, and is denied; taking the grant away does not disturb the
    // sequence that it falls into.
    world.shift("v1-50-v2-50");
    world
        .client
        .wait_for_updates(updates(&world.client).await + 2)
        .await;
    world.revoke("target-v2.yaml");
    let before = world.heard();
    let (mut asked, mut denials) = (0, 0);
    // To the end of a stratum.
    while denials == 0 || asked % 2 == 1 {
        denials += usize::from(buyer.get(BUY).await.status == StatusCode::FORBIDDEN);
        asked += 1;
    }
    let heard = world.heard();
    let shares = [heard[0] - before[0], heard[1] - before[1] + denials];
    assert_eq!(shares, [asked / 2; 2], "{denials} of {asked} denied");
    denials = 0;
    for _ in 0..100 {
        let answer = buyer.get(BUY).await;
        match answer.status {
            StatusCode::OK => assert_eq!(answer.header("identity"), "bookstore-v1"),
            _ => {
                assert!(denied(&answer).contains("bookstore-v2"), "{answer:?}");
                denials += 1;
            }
        }
    }
    assert_eq!(denials, 50);
    assert_eq!(world.heard(), [heard[0] + 50, heard[1]]);

    // All of it, and none of it.
    for (weights, status) in [
        ("v2-100", StatusCode::FORBIDDEN),
        ("v1-100", StatusCode::OK),
    ] {
        world.shift(weights);
        world
            .client
            .wait_for_updates(updates(&world.client).await + 2)
            .await;
        for _ in 0..10 {
            assert_eq!(buyer.get(BUY).await.status, status, "{weights}");
        }
    }
    assert_eq!(thief.get(BUY).await.status, StatusCode::FORBIDDEN);
    world.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_goes_comes_back_with_what_holds_then() {
    let mut world = World::start("v1-100").await;
    let ways = |envoy| async move {
        [
            Customer::of(envoy, "bookbuyer").await,
            Customer::of(envoy, "bookbuyer-bookstore-v1").await,
            Customer::of(envoy, "bookthief").await,
            Customer::of(envoy, "bookthief-bookstore-v1").await,
        ]
    };
    let statuses = async |customers: &mut [Customer; 4], path: &str| {
        let mut statuses = [0; 4];
        for (status, customer) in statuses.iter_mut().zip(customers) {
            *status = customer.get(path).await.status.as_u16();
        }
        statuses
    };
    const AS_GRANTED: [u16; 4] = [200, 200, 403, 403];
    let mut known = ways(&world.client).await;
    assert_eq!(statuses(&mut known, BUY).await, AS_GRANTED);

    // Those who know the policy go on with it; a proxy that is new knows none, and lets nobody out.
    world.plane.kill();
    let later = Envoy::start(&world.client_config, 1).await;
    let mut new = ways(&later).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(statuses(&mut known, BUY).await, AS_GRANTED);
    assert_eq!(statuses(&mut new, BUY).await, [403, 200, 403, 403]);
    for host in [HOST, "elsewhere"] {
        let answer = new[0].ask("GET", host, BUY, &[]).await;
        assert!(denied(&answer).contains("configuration"), "{answer:?}");
    }

    // Revoked while it was away.
    world.revoke("target.yaml");
    world.plane.restart_with(&SMI);
    for customer in &mut known[..2] {
        customer.until(StatusCode::FORBIDDEN).await;
    }
    assert_eq!(statuses(&mut known, BUY).await, [403; 4]);
    world.grant("target.yaml");
    for customer in known[..2].iter_mut().chain(&mut new[..1]) {
        customer.until(StatusCode::OK).await;
    }
    for customers in [&mut known, &mut new] {
        assert_eq!(statuses(customers, BUY).await, AS_GRANTED);
        assert_eq!(statuses(customers, "/raw").await, [403; 4]);
    }

    // The same objects without the policy: everyone may do everything.
    world.plane.restart_with(&[]);
    for customer in known[2..].iter_mut().chain(&mut new[2..]) {
        customer.until(StatusCode::OK).await;
    }
    for customers in [&mut known, &mut new] {
        assert_eq!(statuses(customers, "/raw").await, [200; 4]);
    }
    world.plane.restart_with(&SMI);
    for customer in known[2..].iter_mut().chain(&mut new[2..]) {
        customer.until(StatusCode::FORBIDDEN).await;
    }
    for customers in [&mut known, &mut new] {
        assert_eq!(statuses(customers, BUY).await, AS_GRANTED);
    }
    later.assert_no_traps().await;
    world.assert_no_traps().await;
}
