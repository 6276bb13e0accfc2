//! Tokens of ServiceAccounts, judged by a real API server.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{KeyPair, SigningKey};
use serde_json::json;
use weir_cluster::ApiServer;
use weir_cluster::server::ADMIN;
use weir_tests::fault::manifest;
use weir_tests::tls::Authority;
use weir_tests::{Echo, Envoy, Plane, dist, shipped};

use crate::scene::{Ask, Files, NAME};

const AUDIENCE: &str = "weir.dev";

/// As the API server itself signs one, which gives none that has expired.
fn signed(server: &ApiServer, uid: &str, audience: &str, seconds: i64) -> String {
    let key = std::fs::read_to_string(server.folder().join("accounts.key")).expect("accounts.key");
    let key = KeyPair::from_pem(&key).expect("a key");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    let now = i64::try_from(now).expect("a time");
    let claims = json!({
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:shop:buyer",
        "aud": [audience],
        "iat": now - 7200,
        "nbf": now - 7200,
        "exp": now + seconds,
        "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "buyer", "uid": uid } },
    });
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!(
        "{}.{}",
        part(json!({ "alg": "ES256", "typ": "JWT" })),
        part(claims)
    );
    let signature = plain_signature(&key.sign(text.as_bytes()).expect("a signature"));
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The two numbers of a signature, out of the sequence that ASN.1 makes of them.
fn plain_signature(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut plain = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let digits = &number[number.len().saturating_sub(32)..];
        plain.resize(plain.len() + 32 - digits.len(), 0);
        plain.extend_from_slice(digits);
        rest = after;
    }
    plain
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_the_namespace_of_its_account() {
    let mut server = ApiServer::start();
    server.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: buyer, namespace: shop }\n",
    );
    let crds = weir_tests::root().join("deploy/crds");
    server.crds(&[&crds]);
    server.apply(&manifest([1, 1]));
    let uid = [
        "get",
        "serviceaccount",
        "buyer",
        "-n",
        "shop",
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    let uid = server.kubectl_client().run(&uid);

    let authority = Authority::new();
    let [clients, strangers] = [(); 2].map(|()| Authority::new());
    let operator = clients.sign(&["edge.example.com"]);
    let files = Files::new(&authority.sign(&[NAME]), Some(&operator));
    let admin = server.kubeconfig(ADMIN);
    let plane = Plane::of_cluster(&admin, &files.arguments());
    plane.wait_until_ready().await;
    let ask = Ask::new(plane.listen, &authority);

    let good = server.account_token("shop", "buyer", Some(AUDIENCE));
    let elsewhere = server.account_token("shop", "buyer", Some("elsewhere"));
    let of_api_server = server.account_token("shop", "buyer", None);
    let [soon, expired, lasting] = [("soon", 60), ("expired", -60), ("lasting", 6000)]
        .map(|(_, seconds)| signed(&server, uid.trim(), AUDIENCE, seconds));
    let foreign = good.rsplit_once('.').expect("a token").0.to_owned() + ".c2lnbmF0dXJl";
    for (what, token, query, status) in [
        ("its namespace", &*good, "?namespace=shop", 200),
        ("its Gateway", &good, "?gateway=shop/edge", 200),
        ("what is for all", &good, "", 200),
        ("signed like the others", &soon, "?namespace=shop", 200),
        ("of another namespace", &good, "?namespace=default", 403),
        (
            "of another namespace's Gateway",
            &good,
            "?gateway=default/edge",
            403,
        ),
        ("no token", "", "?namespace=shop", 401),
        ("expired", &expired, "?namespace=shop", 401),
        ("of another audience", &elsewhere, "?namespace=shop", 401),
        ("of the API server's audience", &of_api_server, "", 401),
        ("of a signature that is none", &foreign, "", 401),
        ("no token at all", "password", "", 401),
    ] {
        let answer = ask.with(None, query, token).await.expect(what);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.text().contains("\"rules\""), status == 200, "{what}");
        if status != 200 {
            assert!(answer.json()["error"].is_string(), "{what}: {answer:?}");
        }
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
        }
    }
    // Proxies outside of the cluster.
    for (certificate, works) in [
        (operator, true),
        (strangers.sign(&["edge.example.com"]), false),
    ] {
        let answer = ask.with(Some(&certificate), "?namespace=other", "").await;
        assert_eq!(answer.is_ok_and(|it| it.status == 200), works);
    }
    // Of its own proxies a replica tells nobody else.
    let proxies = Ask::new(plane.listen, &authority).path("/v1/proxies");
    let answer = proxies.with(None, "", &good).await.expect("an answer");
    assert_eq!(answer.status, 403, "{answer:?}");

    // One that the API server knew goes on while it is away; of another it cannot be told.
    server.kill_apiserver("KILL");
    let answer = ask
        .with(None, "?namespace=shop", &good)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = ask
        .with(None, "?namespace=shop", &lasting)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 503, "{answer:?}");
}

/// The configuration that is shipped, with its volumes in a folder instead of at their own places.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_of_a_pod_shows_its_token() {
    let server = ApiServer::start();
    server.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: { name: bookbuyer }\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: bookbuyer, namespace: bookbuyer }\n",
    );
    let authority = Authority::new();
    let certificate = authority.sign(&[NAME]);
    let files = Files::new(&certificate, None);
    let plane = Plane::of_cluster(&server.kubeconfig(ADMIN), &files.arguments());
    plane.wait_until_ready().await;

    let volumes = tempfile::TempDir::new().expect("a folder");
    let place = |name: &str| volumes.path().join(name).display().to_string();
    let put = |name: &str, text: &str| std::fs::write(place(name), text).expect("a file");
    put("ca.crt", &certificate.authority);
    let account = |namespace| server.account_token(namespace, namespace, Some(AUDIENCE));
    put("token", &account("bookbuyer"));
    let secret = weir_tests::root().join("envoy-config/kubernetes-token.yaml");
    let secret = std::fs::read_to_string(secret).expect("kubernetes-token.yaml");
    put(
        "weir-token.yaml",
        &secret.replace("/var/run/secrets/weir.dev", &place("")),
    );
    let backend = Echo::start("backend").await;
    let cluster = |name: &str| format!("{name}.bookstore.svc.cluster.local:14001");
    let [v1, v2] = ["bookstore-v1", "bookstore-v2"].map(cluster);
    let addresses = [
        (&*v1, backend.address),
        (&v2, backend.address),
        ("weir", plane.listen),
    ];
    let mut config = shipped("kubernetes-sidecar.yaml", &addresses);
    for (there, here) in [
        ("/etc/weir/ca.crt", place("ca.crt")),
        ("/etc/envoy/weir-token.yaml", place("weir-token.yaml")),
        ("/filter/weir.wasm", dist("weir.wasm").display().to_string()),
        (
            "address: bookstore-v1.bookstore.svc.cluster.local,",
            "address: 127.0.0.1,".into(),
        ),
        (
            "address: bookstore-v2.bookstore.svc.cluster.local,",
            "address: 127.0.0.1,".into(),
        ),
        (
            "address: weir.weir-system.svc.cluster.local,",
            "address: 127.0.0.1,".into(),
        ),
    ] {
        assert!(config.contains(there), "no {there}");
        config = config.replace(there, &here);
    }
    let envoy = Envoy::start(&config, 1).await;
    envoy.wait_for_updates(1).await;
    assert_eq!(plane.metric("weir_polls_total{code=\"200\"}").await, 1.0);
    assert_eq!(
        plane
            .metric("weir_token_reviews_total{result=\"good\"}")
            .await,
        1.0
    );
    // The next poll is on its way when the table is in force.
    let start = Instant::now();
    while plane.metric("weir_polls_held").await != 1.0 {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "no poll is held\n{}",
            envoy.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(envoy.stat("cluster.weir.upstream_rq_4xx").await, 0);
    assert_eq!(envoy.stat("wasmcustom.weir_poll_failures_total").await, 0);
}
