//! The bookstore of `demo/` under `weir serve --policy smi`, over mutual TLS between two real Envoys: what
//! TrafficTargets say holds at the client's proxy and at the bookstore's.
//!
//! ```text
//! bookbuyer, bookthief --> [their proxy] --TLS: who they are--> [the bookstore's proxy] --> bookstore v1 | v2
//!                            checks                               checks
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

/// One of the demo's programs goes shopping through its listener; each of that many rounds of two requests has to
/// go as it hopes for.
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
        world.shift(weights, async || {}).await;
        sold();
        shopping("bookbuyer", &world.client, 25);
        assert_eq!(sold(), shares, "{weights}");
        shopping("bookthief", &world.client, 25);
        assert_eq!(sold(), [0, 0], "{weights}");
    }

    // The thief, lying: at its own proxy, by names of which that proxy knows no split, and without one that checks.
    let mut thief = world.customer("bookthief").await;
    // The log takes some lines a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let missing = [thief.get(LOOK).await, thief.get(LOOK).await];
    // Of the bookstore's accounts a namespace without a grant is told nothing.
    for (service, _) in STORES {
        let expected = format!(
            "no TrafficTarget lets bookthief/bookthief GET {LOOK} reach {service}.bookstore:14001, \
             behind which no ServiceAccount has a grant for this proxy"
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
    let expected =
        format!("no TrafficTarget lets bookthief/bookthief GET {BUY} reach bookstore/bookstore");
    assert_eq!(denied(&thief.get(BUY).await), expected);
    let log = world.server.log();
    assert!(log.contains(&expected), "{log}");

    // The buyer, where no match says so.
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
        // A match asks for headers as well, and two lines of one are not the one.
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
        assert_eq!(way.buy().await, Served);
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
        let took = follow(&mut ways, [DeniedAtClient, DeniedAtStore]).await;
        closed = [closed[0].max(took[0]), closed[1].max(took[1])];
        world.grant("target.yaml");
        let took = follow(&mut ways, [Served; 2]).await;
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

/// From now to the last request of each connection that did not yet come out as wanted.
async fn follow(ways: &mut [Customer; 2], wanted: [Outcome; 2]) -> [Duration; 2] {
    /// Long enough to see one that goes back.
    const CALM: Duration = Duration::from_millis(300);
    let start = Instant::now();
    let mut last = [Duration::ZERO; 2];
    while start.elapsed() < last[0].max(last[1]) + CALM {
        for ((way, wanted), last) in ways.iter_mut().zip(wanted).zip(&mut last) {
            let sent = start.elapsed();
            if way.buy().await != wanted {
                *last = sent;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(10), "not {wanted:?}");
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
    let heard = world.heard();
    assert_eq!(heard[0] + heard[1] - before[0] - before[1], bought);

    // A share whose backend is not granted stays, and is denied; taking the grant away does not disturb the
    // sequence that it falls into.
    world.shift("v1-50-v2-50", async || {}).await;
    let before = world.heard();
    let (mut asked, mut denials) = (0, 0);
    // Always a whole stratum.
    let go_shopping = async || {
        for _ in 0..2 {
            denials += usize::from(buyer.buy().await != Served);
            asked += 1;
        }
    };
    let revoke = |world: &World| world.revoke("target-v2.yaml");
    // The thief's configuration has never said anything of it.
    world.change(revoke, 1, go_shopping).await;
    let heard = world.heard();
    let shares = [heard[0] - before[0], heard[1] - before[1] + denials];
    assert_eq!(shares, [asked / 2; 2], "{denials} of {asked} denied");
    denials = 0;
    for _ in 0..100 {
        denials += usize::from(buyer.buy().await == DeniedAtClient);
    }
    assert_eq!(denials, 50);
    assert_eq!(world.heard(), [heard[0] + 50, heard[1]]);

    // All of it, and none of it.
    for (weights, wanted) in [("v2-100", DeniedAtClient), ("v1-100", Served)] {
        world.shift(weights, async || {}).await;
        for _ in 0..10 {
            assert_eq!(buyer.buy().await, wanted, "{weights}");
        }
    }
    assert_eq!(thief.buy().await, DeniedAtClient);
    world.assert_no_traps().await;
}

/// The bookbuyer's and the bookthief's connection, each through its own proxy and through none that checks.
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
async fn a_control_plane_that_goes_comes_back_with_what_holds_then() {
    const ALL_DENIED: [Outcome; 4] = [DeniedAtClient, DeniedAtStore, DeniedAtClient, DeniedAtStore];
    const AS_GRANTED: [Outcome; 4] = [Served, Served, DeniedAtClient, DeniedAtStore];
    let mut world = World::start("v1-100").await;
    let mut known = all_ways(&world.client).await;
    assert_eq!(get_by_all(&mut known, BUY).await, AS_GRANTED);

    // Those who know the policy go on with it; a proxy that is new knows none, and lets nobody out.
    world.plane.kill();
    let later = Envoy::start(&world.client_config, 1).await;
    let mut new = all_ways(&later).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(get_by_all(&mut known, BUY).await, AS_GRANTED);
    for way in [0, 2] {
        for host in [HOST, "elsewhere"] {
            let answer = new[way].ask("GET", host, BUY, &[]).await;
            assert_eq!(outcome(&answer), Unconfigured, "{host}");
        }
    }

    // Revoked while it was away, and granted again.
    world.revoke("target.yaml");
    world.plane.restart_with(&SMI);
    for (way, wanted) in known.iter_mut().zip(ALL_DENIED) {
        way.until(BUY, wanted).await;
    }
    world.grant("target.yaml");
    for (way, wanted) in known.iter_mut().chain(&mut new).zip(AS_GRANTED.repeat(2)) {
        way.until(BUY, wanted).await;
    }
    for ways in [&mut known, &mut new] {
        assert_eq!(get_by_all(ways, BUY).await, AS_GRANTED);
        assert_eq!(get_by_all(ways, "/raw").await, ALL_DENIED);
    }

    // A control plane that forgot its policy opens nothing.
    let refused = "wasmcustom.weir_config_refused_total";
    let mut seen = Vec::new();
    for envoy in [&world.client, &world.server, &later] {
        seen.push((envoy, envoy.stat(refused).await));
    }
    world.plane.restart_with(&[]);
    for (envoy, refusals) in seen {
        envoy.wait_for_stat(refused, refusals + 1).await;
    }
    for ways in [&mut known, &mut new] {
        assert_eq!(get_by_all(ways, BUY).await, AS_GRANTED);
        assert_eq!(get_by_all(ways, "/raw").await, ALL_DENIED);
    }

    // With --policy permissive everyone may reach everything; with the policy again the permissions count.
    for (policy, bought, seen) in [
        (
            &["--policy=permissive"] as &[&str],
            [Served; 4],
            [Served; 4],
        ),
        (&SMI, AS_GRANTED, ALL_DENIED),
    ] {
        world.plane.restart_with(policy);
        for (way, wanted) in known.iter_mut().chain(&mut new).zip(seen.repeat(2)) {
            way.until("/raw", wanted).await;
        }
        for ways in [&mut known, &mut new] {
            assert_eq!(get_by_all(ways, BUY).await, bought, "{policy:?}");
        }
    }
    later.assert_no_traps().await;
    world.assert_no_traps().await;
}
