//! Tests requests with ServiceAccount tokens. A real API server reviews the tokens.

use std::time::{Duration, Instant};

use weir_cluster::ApiServer;
use weir_cluster::server::ADMIN;
use weir_tests::fault::manifest;
use weir_tests::tls::Authority;
use weir_tests::{Echo, Envoy, Plane, dist, shipped};

use crate::jwt::{claims, key_of, signed};
use crate::scene::{Ask, Files, NAME};

const AUDIENCE: &str = "weir.dev";

#[tokio::test(flavor = "multi_thread")]
async fn token_is_valid_for_its_namespace() {
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
    let [soon, expired, lasting] =
        [("soon", 60), ("expired", -60), ("lasting", 6000)].map(|(_, seconds)| {
            let account = ["shop", "buyer", uid.trim()];
            signed(&key_of(&server), &claims(account, AUDIENCE, seconds, 0))
        });
    let foreign = good.rsplit_once('.').expect("a token").0.to_owned() + ".c2lnbmF0dXJl";
    for (what, token, query, status) in [
        ("the token's namespace", &*good, "?namespace=shop", 200),
        (
            "a Gateway in the token's namespace",
            &good,
            "?gateway=shop/edge",
            200,
        ),
        ("no scope", &good, "", 200),
        ("signed by this test", &soon, "?namespace=shop", 200),
        ("another namespace", &good, "?namespace=default", 403),
        (
            "a Gateway in another namespace",
            &good,
            "?gateway=default/edge",
            403,
        ),
        ("no token", "", "?namespace=shop", 401),
        ("expired", &expired, "?namespace=shop", 401),
        ("another audience", &elsewhere, "?namespace=shop", 401),
        ("the API server's audience", &of_api_server, "", 401),
        ("an invalid signature", &foreign, "", 401),
        ("not a JWT", "password", "", 401),
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
    // Proxies outside of the cluster have a client certificate instead of a token.
    for (certificate, works) in [
        (operator, true),
        (strangers.sign(&["edge.example.com"]), false),
    ] {
        let answer = ask.with(Some(&certificate), "?namespace=other", "").await;
        assert_eq!(answer.is_ok_and(|it| it.status == 200), works);
    }
    // The control plane returns its list of proxies only to its other replicas.
    let proxies = Ask::new(plane.listen, &authority).path("/v1/proxies");
    let answer = proxies.with(None, "", &good).await.expect("an answer");
    assert_eq!(answer.status, 403, "{answer:?}");

    let forged = "weir_token_reviews_total{result=\"forged\"}";
    assert_eq!(
        plane.metric(forged).await,
        1.0,
        "the token with an invalid signature"
    );

    // While the API server is down, tokens that it has reviewed stay valid, and new tokens get 503.
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

/// The tokens are bound to pods, like the tokens that the kubelet requests. The control plane counts at most 32 proxies
/// (Envoy instances) for each pod.
#[tokio::test(flavor = "multi_thread")]
async fn pod_counts_as_few_proxies() {
    let server = ApiServer::start();
    server.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: buyer, namespace: shop }\n",
    );
    let authority = Authority::new();
    let files = Files::new(&authority.sign(&[NAME]), None);
    let plane = Plane::of_cluster(&server.kubeconfig(ADMIN), &files.arguments());
    plane.wait_until_ready().await;
    let ask = Ask::new(plane.listen, &authority);
    let poll = async |token: &str, instance: usize| {
        let head = format!(
            "GET /v1/config?namespace=shop HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {token}\r\n\
             weir-instance: {instance}\r\nconnection: close\r\n\r\n"
        );
        let answer = ask.send(None, head.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let mut known = 0.0;
    for (pod, instances, more) in [("a", 40, 32.0), ("b", 1, 1.0)] {
        server.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {pod}, namespace: shop }}\n\
             spec: {{ serviceAccountName: buyer, automountServiceAccountToken: false, containers: [{{ name: a, image: a }}] }}\n"
        ));
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod];
        let create = [
            "create",
            "token",
            "buyer",
            "-n",
            "shop",
            "--audience",
            AUDIENCE,
        ];
        let token = server
            .kubectl_client()
            .run(&[&create[..], &bound[..]].concat());
        for instance in 0..instances {
            poll(token.trim(), instance).await;
        }
        known += more;
        assert_eq!(plane.metric("weir_proxies").await, known, "{pod}");
    }
}

/// Runs `envoy-config/kubernetes-sidecar.yaml`. The files of its volumes are in a folder of the test.
#[tokio::test(flavor = "multi_thread")]
async fn pod_envoy_sends_its_token() {
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
    // The filter starts the next poll after it has installed the configuration.
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
