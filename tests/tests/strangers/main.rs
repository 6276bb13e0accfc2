//! Runs three attacks at the same time:
//!
//! - 16,000 connections never send a token.
//! - Clients send 1,600 forged tokens a second.
//! - Clients with valid tokens open all connections and instances that they may have.
//!
//! Meanwhile the control plane must serve other proxies, and must stay within the memory limit of
//! `deploy/weir/deployment.yaml`.

mod attackers;
mod client;
#[path = "../endpoint/jwt.rs"]
mod jwt;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Clients, NAME, ask, head};
use jwt::{claims, key_of, signed};
use rcgen::KeyPair;
use tempfile::TempDir;
use weir_cluster::ApiServer;
use weir_cluster::server::ADMIN;
use weir_tests::fault::manifest;
use weir_tests::tls::Authority;
use weir_tests::{Plane, root};

/// How long the attacks last.
const DURING: Duration = Duration::from_secs(20);
/// The number of forged tokens that clients send each second, and the smallest number that the server must answer. With
/// two cores the server answers 1,000 to 1,200 if nothing else runs, and fewer on a busy machine.
const FORGED: [u32; 2] = [1_600, 600];
const INSTANCES: u32 = 8_192;
/// The number of namespaces. Each has an account that opens as many polls as one account may have.
const NAMESPACES: u32 = 8;
/// The longest allowed time until an answer.
const SOON: Duration = Duration::from_secs(1);
struct Good {
    key: KeyPair,
    uid: String,
}

impl Good {
    fn token(&self, number: u32) -> String {
        let account = ["shop", "buyer", self.uid.as_str()];
        signed(&self.key, &claims(account, "weir.dev", 3600, number))
    }
}

/// The number of polls, the number of new connections, and the longest time of a poll and of a new connection.
#[derive(Debug, Default)]
struct Times {
    polls: u32,
    slowest_poll: Duration,
    connections: u32,
    slowest_connection: Duration,
    failures: Vec<String>,
}

/// Polls until `over`, and opens a connection with a new token about every half second.
async fn good_proxies(clients: &Clients, good: &Good, over: &AtomicBool) -> Times {
    let mut times = Times::default();
    let poll = head(&good.token(0), "?namespace=shop", "weir-instance: good\r\n");
    let mut stream = clients.tls([1, 1]).await.expect("a connection");
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match ask(&mut stream, &poll).await {
            Ok(200) => {}
            other => times.failures.push(format!("a poll: {other:?}")),
        }
        times.polls += 1;
        times.slowest_poll = times.slowest_poll.max(begun.elapsed());
        number += 1;
        if number % 5 == 0 {
            let begun = Instant::now();
            let token = good.token(number);
            let query = async {
                let mut stream = clients.tls([1, 2]).await?;
                ask(&mut stream, &head(&token, "?namespace=shop", "")).await
            };
            match query.await {
                Ok(200) => {}
                other => times.failures.push(format!("a new token: {other:?}")),
            }
            times.connections += 1;
            times.slowest_connection = times.slowest_connection.max(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    times
}

/// Results of the attackers.
struct Done {
    forged: u64,
    answered: u32,
    took: Duration,
}

/// Runs the attacks in separate threads.
fn attack(clients: &Clients, token: &str, good: String) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let forged = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let ((), (), answered) = runtime.expect("a runtime").block_on(async {
        let strangers = tokio::spawn(attackers::strangers(clients.clone(), DURING));
        let forgers = attackers::forgers(clients.clone(), good, DURING, FORGED[0], forged.clone());
        let forgers = tokio::spawn(forgers);
        let instances = attackers::instances(clients.clone(), token.to_owned(), INSTANCES);
        let (strangers, forgers, answered) = tokio::join!(strangers, forgers, instances);
        (
            strangers.expect("strangers"),
            forgers.expect("forgers"),
            answered,
        )
    });
    Done {
        forged: forged.load(Ordering::Relaxed),
        answered,
        took: begun.elapsed(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_do_not_stop_other_proxies() {
    weir::serve::listener::raise_file_limit();
    let server = ApiServer::start();
    let account = |namespace: &str| {
        server.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: buyer, namespace: {namespace} }}\n"
        ));
        let kubectl = server.kubectl_client();
        let uid = "jsonpath={.metadata.uid}";
        let uid = kubectl.run(&["get", "serviceaccount", "buyer", "-n", namespace, "-o", uid]);
        uid.trim().to_owned()
    };
    server.crds(&[&root().join("deploy/crds")]);
    server.apply(&manifest([1, 1]));
    let good = Good {
        key: key_of(&server),
        uid: account("shop"),
    };
    let token_of = |namespace: &str| {
        let claims = claims(
            [namespace, "buyer", &account(namespace)],
            "weir.dev",
            3600,
            0,
        );
        signed(&good.key, &claims)
    };
    let crowd: Vec<(String, String)> = (0..NAMESPACES)
        .map(|number| format!("crowd{number}"))
        .map(|namespace| (format!("?namespace={namespace}"), token_of(&namespace)))
        .collect();

    let authority = Authority::new();
    let certificate = authority.sign(&[NAME]);
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("tls.crt"), &certificate.pem).expect("a file");
    std::fs::write(path("tls.key"), &certificate.key).expect("a file");
    let (pem, key) = (path("tls.crt"), path("tls.key"));
    let arguments = ["--tls-cert", &pem, "--tls-key", &key];
    let plane = Plane::of_cluster_in_shipped_memory(&server.kubeconfig(ADMIN), &arguments);
    plane.wait_until_ready().await;
    let clients = Clients::new(plane.listen);
    println!("at the start: {} KiB", plane.memory());

    // Each account opens as many connections as it may have, and tries to open more.
    let begun = Instant::now();
    let filling = crowd.iter().map(|(scope, token)| {
        tokio::spawn(attackers::held(
            clients.clone(),
            token.clone(),
            scope.clone(),
            300,
        ))
    });
    let mut open = Vec::new();
    for filled in filling.collect::<Vec<_>>() {
        open.extend(filled.await.expect("held polls"));
    }
    let held = plane.metric("weir_polls_held").await;
    println!(
        "{held} polls held after {:?}: {} KiB",
        begun.elapsed(),
        plane.memory()
    );
    assert!(held > 1_000.0, "{held}");

    let over = Arc::new(AtomicBool::new(false));
    let (flag, others) = (over.clone(), clients.clone());
    // The good proxies have their own thread, so that the attackers in this process do not delay them.
    let good = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(good_proxies(&others, &good, &flag))
    });
    let (attackers, token) = (clients.clone(), crowd[0].1.clone());
    let to_forge = server.account_token("shop", "buyer", Some("weir.dev"));
    let attack = std::thread::spawn(move || attack(&attackers, &token, to_forge));
    let Done {
        forged,
        answered,
        took,
    } = attack.join().expect("the attacks");
    over.store(true, Ordering::Relaxed);
    let times = good.join().expect("good proxies");
    let peak = plane.peak_memory();
    let measured = format!(
        "{held} held, {} strangers, {forged} forged tokens, {answered} of {INSTANCES} instances in {took:?}: {times:?}; peak {peak} KiB",
        attackers::STRANGERS
    );
    println!("{measured}");
    drop(open);
    assert!(held <= 2_048.0, "{measured}");
    assert!(times.failures.is_empty(), "{measured}");
    assert!(times.polls > 50 && times.connections > 10, "{measured}");
    assert!(times.slowest_poll < SOON, "{measured}");
    assert!(times.slowest_connection < SOON, "{measured}");
    assert!(
        forged >= u64::from(FORGED[1]) * DURING.as_secs(),
        "{measured}"
    );
    assert!(answered > INSTANCES / 2, "{measured}");
    plane.assert_within_shipped_memory();
    assert!(plane.metric("weir_proxies").await < 4_000.0);
    let reviews = plane
        .metric("weir_token_reviews_total{result=\"good\"}")
        .await;
    assert!(reviews < 200.0, "{reviews} reviews");
    // The server refused all forged tokens because of their signatures.
    let refused = plane
        .metric("weir_token_reviews_total{result=\"forged\"}")
        .await;
    assert!(
        refused >= f64::from(u32::try_from(forged).expect("few")),
        "{refused}"
    );
}
