//! Three attacks at the same time: 16,000 connections that never show a token, 1,000 forged tokens a second, and good
//! tokens that use all connections and instances that they may have. Other proxies are served meanwhile, and the control
//! plane stays within the memory limit of `deploy/weir/deployment.yaml`.

mod client;
mod crowd;
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
const FORGED_A_SECOND: u32 = 1_000;
const INSTANCES: u32 = 8_192;
/// Namespaces with an account that holds as many polls as it may.
const NAMESPACES: u32 = 8;
/// An answer that takes longer is late.
const SOON: Duration = Duration::from_secs(1);
/// One of so many answers may be late, and may take twice as long: this machine runs the attacks too.
const LATE: u32 = 20;

/// The limit of the Deployment, in KiB.
fn shipped_limit() -> u64 {
    let path = root().join("deploy/weir/deployment.yaml");
    let text = std::fs::read_to_string(path).expect("deployment.yaml");
    let (_, limits) = text.split_once("limits:").expect("limits");
    let (_, memory) = limits.split_once("memory: ").expect("memory");
    let mib = memory.split("Mi").next().expect("Mi");
    mib.parse::<u64>().expect("a number") << 10
}

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

/// The number of answers, and how long the slowest took.
#[derive(Debug, Default)]
struct Times {
    polls: u32,
    slowest_poll: Duration,
    connections: u32,
    slowest_connection: Duration,
    late: u32,
    failures: Vec<String>,
}

/// A proxy that polls, and about every half a second a new connection with a new token.
async fn good_proxies(clients: &Clients, good: &Good, over: &AtomicBool) -> Times {
    let mut times = Times::default();
    let known = head(&good.token(0), "?namespace=shop", "weir-instance: good\r\n");
    let mut stream = clients.tls([1, 1]).await.expect("a connection");
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match ask(&mut stream, &known).await {
            Ok(200) => {}
            other => times.failures.push(format!("a poll: {other:?}")),
        }
        times.polls += 1;
        times.slowest_poll = times.slowest_poll.max(begun.elapsed());
        times.late += u32::from(begun.elapsed() > SOON);
        number += 1;
        if number % 5 == 0 {
            let begun = Instant::now();
            let token = good.token(number);
            let asked = async {
                let mut stream = clients.tls([1, 2]).await?;
                ask(&mut stream, &head(&token, "?namespace=shop", "")).await
            };
            match asked.await {
                Ok(200) => {}
                other => times.failures.push(format!("a new token: {other:?}")),
            }
            times.connections += 1;
            times.slowest_connection = times.slowest_connection.max(begun.elapsed());
            times.late += u32::from(begun.elapsed() > SOON);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_connections_and_tokens_do_not_stop_other_proxies() {
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
    let plane = Plane::of_cluster(&server.kubeconfig(ADMIN), &arguments);
    plane.wait_until_ready().await;
    let clients = Clients::new(plane.listen);
    println!("at the start: {} KiB", plane.memory());

    // Each account opens as many connections as it may have, and tries to open more.
    let begun = Instant::now();
    let filling = crowd.iter().map(|(scope, token)| {
        tokio::spawn(crowd::held(
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
    // The good proxies have a thread of their own, so that the server is measured and not this process.
    let good = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(good_proxies(&others, &good, &flag))
    });
    let forged = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let ((), (), answered) = tokio::join!(
        crowd::strangers(clients.clone(), DURING),
        crowd::forgers(clients.clone(), DURING, FORGED_A_SECOND, forged.clone()),
        crowd::instances(clients.clone(), crowd[0].1.clone(), INSTANCES),
    );
    let took = begun.elapsed();
    over.store(true, Ordering::Relaxed);
    let times = good.join().expect("good proxies");
    let peak = plane.peak_memory();
    let forged = forged.load(Ordering::Relaxed);
    let measured = format!(
        "{held} held, {} strangers, {forged} forged tokens, {answered} of {INSTANCES} instances in {took:?}: {times:?}; peak {peak} KiB",
        crowd::STRANGERS
    );
    println!("{measured}");
    drop(open);
    assert!(held <= 2_048.0, "{measured}");
    assert!(times.failures.is_empty(), "{measured}");
    assert!(times.polls > 50 && times.connections > 10, "{measured}");
    assert!(times.slowest_poll < 2 * SOON, "{measured}");
    assert!(times.slowest_connection < 2 * SOON, "{measured}");
    assert!(times.late * LATE <= times.connections, "{measured}");
    assert!(forged > 1_000, "{measured}");
    assert!(answered > INSTANCES / 2, "{measured}");
    assert!(peak < shipped_limit(), "{measured}");
    assert!(plane.metric("weir_proxies").await < 4_000.0);
    let reviews = plane
        .metric("weir_token_reviews_total{result=\"good\"}")
        .await;
    assert!(reviews < 200.0, "{reviews} reviews");
    // All forged tokens were refused by their signatures.
    let told = plane
        .metric("weir_token_reviews_total{result=\"forged\"}")
        .await;
    assert!(
        told >= f64::from(u32::try_from(forged).expect("few")),
        "{told}"
    );
}
