//! Tests which clients can read the configuration from a real `weir serve`: only clients with a valid token, with a
//! valid certificate, or on loopback.

mod hostile;
mod jwt;
mod rights;
mod scene;
mod tokens;

use std::time::Duration;

use scene::{Ask, Files, NAME, serve_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_tests::fault::manifest;
use weir_tests::tls::Authority;
use weir_tests::{Connection, serve_refused};

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_other_authority_are_refused() {
    let [server, clients, others] = [(); 3].map(|()| Authority::new());
    let files = Files::new(&server.sign(&[NAME]), Some(&clients.sign(&[])));
    let plane = serve_tls(&files).await;
    let ask = Ask::new(plane.listen, &server);

    let of = |names: &[&str]| clients.sign(names);
    let spiffe = of(&["spiffe://cluster.local/ns/shop/sa/buyer"]);
    let dns = of(&["buyer.shop.cluster.local"]);
    let operator = of(&["edge.example.com"]);
    let nameless = of(&[]);
    let unclear = of(&["spiffe://cluster.local/shop"]);
    let partner = of(&["spiffe://partner.example/ns/shop/sa/buyer"]);
    let linkerd = of(&["web.shop.serviceaccount.identity.linkerd.cluster.local"]);
    for (certificate, scope, status) in [
        (&operator, "?namespace=shop", 200),
        (&operator, "?gateway=other/edge", 200),
        (&spiffe, "", 200),
        (&spiffe, "?namespace=shop", 200),
        (&spiffe, "?gateway=shop/edge", 200),
        (&spiffe, "?namespace=default", 403),
        (&spiffe, "?gateway=other/edge", 403),
        (&dns, "?namespace=shop", 200),
        (&dns, "?namespace=other", 403),
        (&nameless, "", 403),
        (&unclear, "", 403),
        (&partner, "?namespace=shop", 403),
        (&linkerd, "?namespace=shop", 403),
    ] {
        let answer = ask.with(Some(certificate), scope, "").await;
        let answer = answer.unwrap_or_else(|error| panic!("{scope}: {error}"));
        assert_eq!(answer.status, status, "{scope}: {answer:?}");
        assert_eq!(
            answer.text().contains("\"rules\""),
            status == 200,
            "{scope}"
        );
        if status == 403 {
            let error = answer.json()["error"].to_string();
            assert!(error.to_lowercase().contains("namespace"), "{error}");
        }
    }
    for stranger in [Some(&others.sign(&["edge.example.com"])), None] {
        let answer = ask.with(stranger, "", "").await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let answer = ask.with(Some(&spiffe), "", "").await.expect("an answer");
    assert!(answer.text().contains("\"version\""));
    let path = Ask::new(plane.listen, &server).path("/v1/proxies");
    let answer = path.with(Some(&operator), "", "").await.expect("an answer");
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(
        plane
            .metric("weir_connections_refused_total{reason=\"handshake\"}")
            .await
            >= 2.0
    );
    // The log names the causes, because Envoy reports the same words for all of them.
    let log = plane.log();
    let unknown = "the certificate of the client is not valid";
    assert!(log.contains(unknown), "{log}");
    assert!(log.contains("the client has shown no certificate"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_only_for_loopback() {
    let server = Authority::new();
    let files = Files::new(&server.sign(&[NAME]), Some(&server.sign(&[])));
    let plane = serve_tls(&files).await;
    let answer = scene::plain(plane.listen, "/v1/config").await;
    assert!(
        !answer.contains("rules") && !answer.contains("200"),
        "{answer}"
    );
    let log = plane.log();
    assert!(log.contains("the client does not use TLS"), "{log}");

    for (arguments, remedy) in [
        (vec!["--listen", "0.0.0.0:0"], "--tls-cert"),
        (vec!["--listen", "[::]:0"], "--tls-cert"),
        (files.arguments_without_authority(), "--client-ca"),
        (vec!["--namespaces", "shop"], "'--namespaces <NS,...>'"),
        (vec!["--lease", "a/b"], "'--lease <NS/NAME>'"),
        (vec!["--peers", "weir:9900"], "'--peers <HOST:PORT>'"),
    ] {
        let log = serve_refused(&arguments, &[("web.yaml", &manifest([1, 1]))]);
        assert!(log.contains(remedy), "{arguments:?}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_certificate_replaces_old_one() {
    let [first, second, clients] = [(); 3].map(|()| Authority::new());
    let client = clients.sign(&["edge.example.com"]);
    let files = Files::new(&first.sign(&[NAME]), Some(&client));
    let plane = serve_tls(&files).await;
    let works = async |authority: &Authority| {
        let ask = Ask::new(plane.listen, authority);
        ask.with(Some(&client), "", "")
            .await
            .is_ok_and(|it| it.status == 200)
    };
    let wait = async |authority: &Authority| {
        for _ in 0..100 {
            if works(authority).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not use the certificate:\n{}", plane.log());
    };
    wait(&first).await;

    let ends = plane
        .metric("weir_certificate_ends_timestamp_seconds")
        .await;
    assert!(ends > 4e9, "{ends}");

    // The certificate is new, but the key is still old, because a tool writes one file after the other.
    let next = second.sign(&[NAME]);
    files.put("tls.crt", &next.pem);
    let refused = "weir_certificates_refused_total";
    for _ in 0..100 {
        if plane.metric(refused).await > 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(plane.metric(refused).await, 1.0);
    assert!(
        plane
            .log()
            .contains("the previous certificate stays in use"),
        "{}",
        plane.log()
    );
    assert!(works(&first).await && !works(&second).await);
    files.put("tls.key", &next.key);
    wait(&second).await;

    // An update of a mounted Secret replaces all files at once, because it changes one link.
    files.project(&first.sign(&[NAME]), &client);
    wait(&first).await;
    let admin = Connection::open(plane.admin)
        .await
        .get("admin", "/readyz")
        .await;
    assert_eq!(admin.status, 200);
}

/// The certificate, the key and the client CA change several times, one file after the other, while clients connect. A
/// handshake never mixes old and new files. After a change of the CA, the control plane refuses new connections with
/// certificates of the old CA. It closes open connections with such certificates after the next answer.
#[tokio::test(flavor = "multi_thread")]
async fn certificate_changes_admit_no_old_client() {
    let own = [(); 2].map(|()| Authority::new());
    let clients = [(); 2].map(|()| Authority::new().sign(&["edge.example.com"]));
    let [first, second] = [0, 1].map(|turn: usize| own[turn].sign(&[NAME]));
    let files = Files::new(&first, Some(&clients[0]));
    let plane = serve_tls(&files).await;
    let is_let_in = async |turn: usize, client: usize| {
        let ask = Ask::new(plane.listen, &own[turn]);
        let answer = ask.with(Some(&clients[client]), "", "").await;
        answer.is_ok_and(|it| it.status == 200)
    };
    let until = async |turn: usize| {
        for _ in 0..400 {
            if is_let_in(turn, turn).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the files of turn {turn} are not in use:\n{}", plane.log());
    };
    until(0).await;
    for turn in [1, 0, 1] {
        let before = 1 - turn;
        let ask = Ask::new(plane.listen, &own[before]);
        let mut idle = ask
            .connect(Some(&clients[before]))
            .await
            .expect("a connection");
        let next = [&first, &second][turn];
        for (name, text) in [
            ("tls.crt", &next.pem),
            ("ca.crt", &clients[turn].authority),
            ("tls.key", &next.key),
        ] {
            files.put(name, text);
            // A mix of old and new files is never in use.
            for _ in 0..5 {
                assert!(!is_let_in(turn, before).await && !is_let_in(before, turn).await);
            }
        }
        until(turn).await;
        assert!(!is_let_in(turn, before).await && !is_let_in(before, before).await);
        // The server still answers one request on the open connection, because the client may have sent this request
        // before the change.
        let request = b"GET /v1/config HTTP/1.1\r\nhost: weir\r\n\r\n";
        let twice = [request.as_slice(), request].concat();
        idle.write_all(&twice)
            .await
            .expect("the connection is open");
        let mut read = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut read)).await;
        let read = String::from_utf8_lossy(&read);
        assert!(end.is_ok(), "the connection is still open: {read}");
        assert!(read.contains("\r\nconnection: close\r\n"), "{read}");
        assert_eq!(read.matches("HTTP/1.1 200 OK").count(), 1, "{read}");
    }
}
