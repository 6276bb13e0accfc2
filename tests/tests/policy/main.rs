//! Tests the bookstore of `demo/` with `weir serve --policy smi`, over mutual TLS between two real Envoys.
//! TrafficTargets apply both at the client's proxy and at the bookstore's proxy.
//!
//! ```text
//! bookbuyer, bookthief --> [their proxy] --mutual TLS--> [the bookstore's proxy] --> bookstore v1 | v2
//!                            checks                        checks
//! ```

mod world;

use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_tests::{Envoy, dist};

use world::Outcome::{self, DeniedAtClient, DeniedAtStore, Served, Unconfigured};
use world::{
    BUY, CLIENTS, Customer, HOST, LOOK, SMI, STORES, World, denied, outcome, spiffe, target,
};

/// Runs a program of the demo through its listener. Each round of two requests must end as the program expects.
fn shopping(role: &str, envoy: &Envoy, rounds: usize) {
    let output = Command::new(dist("weir-demo"))
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
async fn bookbuyer_buys_and_bookthief_fails() {
    let world = World::start("v1-50-v2-50").await;
    let check = Command::new(dist("weir"))
        .args(["check", "--policy", "smi"])
        .arg(world.plane.folder())
        .output()
        .expect("weir check");
    assert!(check.status.success(), "{check:?}");

    let mut customer = world.customer("bookbuyer").await;
    let mut before = world.request_counts();
    let mut sold = || {
        let now = world.request_counts();
        let sold = [now[0] - before[0], now[1] - before[1]];
        before = now;
        sold
    };
    // A change of the weights starts a new sequence of picks, so the shares are exact.
    for (weights, shares) in [
        ("v2-100", [0, 50]),
        ("v1-100", [50, 0]),
        ("v1-50-v2-50", [25, 25]),
    ] {
        world.shift(weights, async || {}).await;
        sold();
        shopping("bookbuyer", &world.client, 25);
        assert_eq!(sold(), shares, "{weights}");
        shopping("bookthief", &world.client, 25);
        assert_eq!(sold(), [0, 0], "{weights}");
    }

    // The thief tries its own proxy, then hosts that have no split, then a proxy that does not check permissions.
    let mut thief = world.customer("bookthief").await;
    // Wait, because the filter logs only a few lines a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let missing = [thief.get(LOOK).await, thief.get(LOOK).await];
    // The answer does not show the bookstore's accounts to a namespace without a grant.
    for (service, _) in STORES {
        let expected = format!(
            "no TrafficTarget allows bookthief/bookthief to send GET {LOOK} to {service}.bookstore:14001 \
             (no ServiceAccount of its pods has a grant for this proxy)"
        );
        let is_said = missing.iter().any(|answer| denied(answer) == expected);
        assert!(is_said, "{missing:?}");
        let log = world.client.log();
        assert!(log.contains(&expected), "{log}");
    }
    for host in [
        "bookstore-v1.bookstore:14001",
        "elsewhere",
        "bookstore.bookstore:80",
    ] {
        let answer = thief.ask("GET", host, BUY, &[]).await;
        assert_eq!(outcome(&answer), DeniedAtStore, "{host}");
    }
    thief = world.customer("bookthief-bookstore-v1").await;
    let expected = format!(
        "no TrafficTarget allows bookthief/bookthief to send GET {BUY} to bookstore/bookstore"
    );
    assert_eq!(denied(&thief.get(BUY).await), expected);
    let log = world.server.log();
    assert!(log.contains(&expected), "{log}");

    // Send requests of the buyer that no match allows.
    for (way, at) in [
        ("bookbuyer", DeniedAtClient),
        ("bookbuyer-bookstore-v1", DeniedAtStore),
        ("bookbuyer-bookstore-v2", DeniedAtStore),
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
            assert_eq!(outcome(&answer), at, "{way} {method} {path}");
        }
        // A match requires one line of the header `client-app`. No line or two lines are denied.
        let answer = customer.0.get(HOST, LOOK).await;
        assert_eq!(outcome(&answer), at, "{way}");
        let twice = [("client-app", "bookbuyer")];
        let answer = customer.ask("GET", HOST, LOOK, &twice).await;
        assert_eq!(outcome(&answer), at, "{way}");
    }
    assert_eq!(sold(), [0, 0]);
    assert_eq!(customer.get(LOOK).await.header("identity"), "bookstore-v2");
    world.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_certificate_grants_access() {
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
    let before = world.request_counts();
    let mut requests = 0;
    for (service, account) in STORES {
        for name in &CLIENTS[1..] {
            let mut customer = world.customer(&format!("{name}-{service}")).await;
            for path in [BUY, LOOK] {
                let answer = customer.ask("GET", HOST, path, &claims).await;
                if *name == "bookthief" {
                    let expected = format!("to bookstore/{account}");
                    assert!(denied(&answer).ends_with(&expected), "{answer:?}");
                } else {
                    // The handshake fails before any filter.
                    assert_eq!(
                        answer.status,
                        StatusCode::SERVICE_UNAVAILABLE,
                        "{name} {answer:?}"
                    );
                    assert_eq!(answer.header("x-weir-denied"), "", "{name}");
                }
                requests += 1;
            }
        }
        // The server does not answer HTTP without TLS.
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
    assert_eq!(requests, 12);
    assert_eq!(world.request_counts(), before, "something got through");

    // A client with the certificate is allowed, and its headers do not change the destination.
    let mut buyer = world.customer("bookbuyer-bookstore-v1").await;
    let answer = buyer.ask("GET", HOST, BUY, &claims).await;
    assert_eq!(answer.header("identity"), "bookstore-v1", "{answer:?}");
    assert_eq!(world.request_counts(), [before[0] + 1, before[1]]);
    world.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_grant_denies_within_a_second() {
    const ROUNDS: usize = 6;
    let world = World::start("v1-100").await;
    // The connections to the client's proxy and between the proxies are opened here and stay open.
    let mut ways = [
        world.customer("bookbuyer").await,
        world.customer("bookbuyer-bookstore-v1").await,
    ];
    for way in &mut ways {
        assert_eq!(way.buy().await, Served);
    }
    let connections = "cluster.bookbuyer-bookstore-v1.upstream_cx_total";
    let before = world.client.stat(connections).await;
    let other_client = target("target.yaml").replace("name: bookbuyer", "name: somebody");

    let (mut closed, mut opened) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    for round in 0..ROUNDS {
        match round % 3 {
            0 => world.revoke("target.yaml"),
            1 => {
                let away = world.plane.path("target.yaml.away");
                std::fs::rename(world.plane.path("target.yaml"), away).expect("renamed");
            }
            _ => world.plane.rename_into_place("target.yaml", &other_client),
        }
        let took = follow(&mut ways, [DeniedAtClient, DeniedAtStore]).await;
        closed = [closed[0].max(took[0]), closed[1].max(took[1])];
        world.grant("target.yaml");
        let took = follow(&mut ways, [Served; 2]).await;
        opened = [opened[0].max(took[0]), opened[1].max(took[1])];
    }
    println!(
        "The longest of {ROUNDS} times, at the client's proxy and at the bookstore's proxy: from revoking a \
         TrafficTarget to the last served request {closed:?}, from granting it to the last denied request \
         {opened:?}"
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

/// Returns, for each connection, the time of its last request without the expected outcome.
async fn follow(ways: &mut [Customer; 2], expected: [Outcome; 2]) -> [Duration; 2] {
    /// How long the outcome must not change.
    const CALM: Duration = Duration::from_millis(300);
    let start = Instant::now();
    let mut last = [Duration::ZERO; 2];
    while start.elapsed() < last[0].max(last[1]) + CALM {
        for ((way, expected), last) in ways.iter_mut().zip(expected).zip(&mut last) {
            let sent = start.elapsed();
            if way.buy().await != expected {
                *last = sent;
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn split_neither_grants_nor_denies() {
    let world = World::start("v1-100").await;
    let mut buyer = world.customer("bookbuyer").await;
    let mut thief = world.customer("bookthief").await;

    // Permissions stay the same while the split changes.
    let (mut bought, before) = (0, world.request_counts());
    for _ in 0..4 {
        for weights in ["v1-50-v2-50", "v2-100", "v1-100"] {
            let go_shopping = async || {
                assert_eq!(buyer.buy().await, Served, "{weights}");
                bought += 1;
                assert_eq!(thief.buy().await, DeniedAtClient, "{weights}");
            };
            world.shift(weights, go_shopping).await;
        }
    }
    let after = world.request_counts();
    assert_eq!(after[0] + after[1] - before[0] - before[1], bought);

    // A backend without a grant keeps its share of the requests, and these requests are denied. Revoking the grant does
    // not change the sequence of picks.
    world.shift("v1-50-v2-50", async || {}).await;
    let before = world.request_counts();
    let (mut requests, mut denials) = (0, 0);
    // Send pairs of requests, because each backend gets one request of a pair.
    let go_shopping = async || {
        for _ in 0..2 {
            denials += usize::from(buyer.buy().await != Served);
            requests += 1;
        }
    };
    let revoke = |world: &World| world.revoke("target-v2.yaml");
    // The edit changes only the buyer's configuration.
    world.change(revoke, 1, go_shopping).await;
    let after = world.request_counts();
    let shares = [after[0] - before[0], after[1] - before[1] + denials];
    assert_eq!(shares, [requests / 2; 2], "{denials} of {requests} denied");
    denials = 0;
    for _ in 0..100 {
        denials += usize::from(buyer.buy().await == DeniedAtClient);
    }
    assert_eq!(denials, 50);
    assert_eq!(world.request_counts(), [after[0] + 50, after[1]]);

    // First all requests go to the denied backend, then no request does.
    for (weights, expected) in [("v2-100", DeniedAtClient), ("v1-100", Served)] {
        world.shift(weights, async || {}).await;
        for _ in 0..10 {
            assert_eq!(buyer.buy().await, expected, "{weights}");
        }
    }
    assert_eq!(thief.buy().await, DeniedAtClient);
    world.assert_no_traps().await;
}

/// The bookbuyer's and the bookthief's connections, through their own proxies and through a proxy that does not check.
async fn all_ways(envoy: &Envoy) -> [Customer; 4] {
    [
        Customer::of(envoy, "bookbuyer").await,
        Customer::of(envoy, "bookbuyer-bookstore-v1").await,
        Customer::of(envoy, "bookthief").await,
        Customer::of(envoy, "bookthief-bookstore-v1").await,
    ]
}

async fn get_by_all(ways: &mut [Customer; 4], path: &str) -> [Outcome; 4] {
    let mut outcomes = [Served; 4];
    for (each, way) in outcomes.iter_mut().zip(ways) {
        *each = outcome(&way.get(path).await);
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_control_plane_has_current_policy() {
    const ALL_DENIED: [Outcome; 4] = [DeniedAtClient, DeniedAtStore, DeniedAtClient, DeniedAtStore];
    const AS_GRANTED: [Outcome; 4] = [Served, Served, DeniedAtClient, DeniedAtStore];
    let mut world = World::start("v1-100").await;
    let mut old = all_ways(&world.client).await;
    assert_eq!(get_by_all(&mut old, BUY).await, AS_GRANTED);

    // Proxies with a policy keep it. A new proxy has no policy and denies outbound requests.
    world.plane.kill();
    let later = Envoy::start(&world.client_config, 1).await;
    let mut new = all_ways(&later).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(get_by_all(&mut old, BUY).await, AS_GRANTED);
    for way in [0, 2] {
        for host in [HOST, "elsewhere"] {
            let answer = new[way].ask("GET", host, BUY, &[]).await;
            assert_eq!(outcome(&answer), Unconfigured, "{host}");
        }
    }

    // The grant is revoked while the control plane is down, and granted again later.
    world.revoke("target.yaml");
    world.plane.restart_with(&SMI);
    for (way, expected) in old.iter_mut().zip(ALL_DENIED) {
        way.until(BUY, expected).await;
    }
    world.grant("target.yaml");
    for (way, expected) in old.iter_mut().chain(&mut new).zip(AS_GRANTED.repeat(2)) {
        way.until(BUY, expected).await;
    }
    for ways in [&mut old, &mut new] {
        assert_eq!(get_by_all(ways, BUY).await, AS_GRANTED);
        assert_eq!(get_by_all(ways, "/raw").await, ALL_DENIED);
    }

    // A control plane without `--policy` sends no permissions. The proxies refuse its configuration.
    let refused = "wasmcustom.weir_config_refused_total";
    let mut seen = Vec::new();
    for envoy in [&world.client, &world.server, &later] {
        seen.push((envoy, envoy.stat(refused).await));
    }
    world.plane.restart_with(&[]);
    for (envoy, refusals) in seen {
        envoy.wait_for_stat(refused, refusals + 1).await;
    }
    for ways in [&mut old, &mut new] {
        assert_eq!(get_by_all(ways, BUY).await, AS_GRANTED);
        assert_eq!(get_by_all(ways, "/raw").await, ALL_DENIED);
    }

    // With `--policy permissive` all requests are allowed. With `--policy smi` the permissions apply again.
    for (policy, bought, seen) in [
        (
            &["--policy=permissive"] as &[&str],
            [Served; 4],
            [Served; 4],
        ),
        (&SMI, AS_GRANTED, ALL_DENIED),
    ] {
        world.plane.restart_with(policy);
        for (way, expected) in old.iter_mut().chain(&mut new).zip(seen.repeat(2)) {
            way.until("/raw", expected).await;
        }
        for ways in [&mut old, &mut new] {
            assert_eq!(get_by_all(ways, BUY).await, bought, "{policy:?}");
        }
    }
    later.assert_no_traps().await;
    world.assert_no_traps().await;
}
