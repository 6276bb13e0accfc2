//! Who may reach whom, between two real Envoys over mutual TLS.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_tests::fault::{Liar, Manner};
use weir_tests::tls::{Authority, Certificate};
use weir_tests::{Bootstrap, Caller, Connection, Echo, Envoy, Greeter};

const SERVER: &str = "spiffe://cluster.local/ns/bookstore/sa/bookstore";
const BUYER: &str = "spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer";
const THIEF: &str = "spiffe://cluster.local/ns/bookthief/sa/bookthief";

/// The bookbuyer may `GET` what begins with `/books`, and connect to the port 14002.
fn granted() -> Value {
    json!({
        "version": 2,
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
        "control_plane": "weir",
    });
    for (key, value) in more.as_object().expect("keys") {
        plugin[key] = value.clone();
    }
    plugin.to_string()
}

/// The bookstore behind a proxy of its own, whose control plane says [`granted`] until it is told otherwise.
struct Bookstore {
    authority: Authority,
    liar: Liar,
    envoy: Envoy,
    greeter: Greeter,
    _echo: Echo,
}

impl Bookstore {
    async fn start() -> Bookstore {
        let authority = Authority::new();
        let certificate = authority.sign(&[SERVER]);
        let liar = Liar::start(serve("r1", granted())).await;
        let echo = Echo::start("bookstore").await;
        let greeter = Greeter::start("bookstore").await;
        let tcp = inbound(json!({ "protocol": "tcp", "root": "bookstore.bookstore:14002" }));
        let bootstrap = Bootstrap::default()
            .cluster("weir", liar.address)
            .cluster("workload", echo.address)
            .cluster("workload-tcp", greeter.address)
            .listener("http", &inbound(json!({})), Some("workload"))
            .mutual_tls(&certificate)
            .tcp_listener("tcp", &tcp, "workload-tcp")
            .mutual_tls(&certificate)
            .full();
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        // Two modules, and so two fleets of one scope: one of them polls.
        envoy.wait_for_updates(1).await;
        Bookstore {
            authority,
            liar,
            envoy,
            greeter,
            _echo: echo,
        }
    }

    /// A client's proxy: what goes in at `http` and `tcp` comes to the bookstore with this certificate.
    async fn client(&self, certificate: Option<&Certificate>) -> Client {
        let plugin = json!({ "namespace": "bookbuyer", "initial": { "version": 2 } }).to_string();
        let tcp = json!({
            "namespace": "bookbuyer", "initial": { "version": 2 }, "protocol": "tcp",
            "root": "bookstore.bookstore:14002",
        });
        let mut bootstrap = Bootstrap::default();
        for name in ["http", "tcp"] {
            let address = self.envoy.listener(name);
            bootstrap = bootstrap.tls_cluster(name, address, &self.authority, certificate);
        }
        let bootstrap = bootstrap
            .listener("http", &plugin, Some("http"))
            .tcp_listener("tcp", &tcp.to_string(), "tcp");
        Client(Envoy::start(&bootstrap.build(), 1).await)
    }
}

fn serve(revision: &str, document: Value) -> Manner {
    Manner::Serve {
        revision: revision.into(),
        body: document.to_string(),
    }
}

struct Client(Envoy);

impl Client {
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> weir_tests::Answer {
        let mut connection = Connection::open(self.0.listener("http")).await;
        connection
            .get_with("bookstore.bookstore", path, headers)
            .await
    }

    /// The greeting, and what comes back of a word; None where the connection ends before that.
    async fn talk(&self) -> (Option<String>, Option<String>) {
        let mut caller = Caller::open(self.0.listener("tcp")).await;
        let talk = async {
            let greeting = caller.line().await;
            caller.say("word\n").await;
            (greeting, caller.line().await)
        };
        let talk = tokio::time::timeout(Duration::from_secs(10), talk).await;
        talk.expect("an answer or an end")
    }

    /// The same where the client speaks first.
    async fn speak(&self) -> Option<String> {
        let mut caller = Caller::open(self.0.listener("tcp")).await;
        caller.say("first\n").await;
        let line = tokio::time::timeout(Duration::from_secs(10), caller.line()).await;
        line.expect("an answer or an end")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_alone_says_who_a_client_is() {
    let bookstore = Bookstore::start().await;
    let sign = |names: &[&str]| bookstore.authority.sign(names);
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

    // Who is named by a grant, in either form.
    for names in [&[BUYER][..], &["bookbuyer.bookbuyer.cluster.local"]] {
        let client = bookstore.client(Some(&sign(names))).await;
        let answer = client.get("/books-bought", &[]).await;
        assert_eq!(
            answer.header("identity"),
            "bookstore",
            "{names:?} {answer:?}"
        );
        // What the grant does not say is denied to it too.
        let answer = client.get("/admin", &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{names:?}");
        let word = |word: &str| Some(word.to_owned());
        assert_eq!(
            client.talk().await,
            (word("bookstore"), word("word")),
            "{names:?}"
        );
        assert_eq!(client.speak().await, word("bookstore"), "{names:?}");
    }
    let heard = bookstore.greeter.heard();

    // Others of the same authority: another account, no form of an identity, no name at all.
    for names in [
        &[THIEF][..],
        &["https://bookbuyer/bookbuyer"],
        &["bookbuyer"],
        &[],
    ] {
        let client = bookstore.client(Some(&sign(names))).await;
        let answer = client.get("/books-bought", &claims).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{names:?} {answer:?}");
        assert_eq!(answer.header("identity"), "", "{names:?}");
        assert!(
            answer.header("x-weir-denied").contains("TrafficTarget"),
            "{answer:?}"
        );
        assert_eq!(client.talk().await, (None, None), "{names:?}");
        assert_eq!(client.speak().await, None, "{names:?}");
    }

    // Whoever has no certificate, or one of another authority, does not get through the handshake.
    let stranger = Authority::new().sign(&[BUYER]);
    for certificate in [None, Some(&stranger)] {
        let client = bookstore.client(certificate).await;
        let answer = client.get("/books-bought", &claims).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert_eq!(answer.header("identity"), "");
        assert_eq!(client.talk().await, (None, None));
        assert_eq!(client.speak().await, None);
    }
    assert_eq!(
        bookstore.greeter.heard(),
        heard,
        "bytes of a denied client got through"
    );
    let log = bookstore.envoy.log();
    assert!(log.contains("bookthief/bookthief"), "{log}");
    bookstore.envoy.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_revoked_closes_the_way() {
    let bookstore = Bookstore::start().await;
    let buyer = bookstore.authority.sign(&[BUYER]);
    let client = bookstore.client(Some(&buyer)).await;
    assert_eq!(client.get("/books", &[]).await.status, StatusCode::OK);
    assert!(client.talk().await.0.is_some());

    let nothing = json!({ "version": 2, "access": { "grants": {} } });
    bookstore.liar.switch(serve("r2", nothing));
    bookstore.envoy.wait_for_updates(2).await;
    let answer = client.get("/books", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(client.talk().await, (None, None));

    // Everyone may do everything again.
    bookstore.liar.switch(serve("r3", json!({ "version": 2 })));
    bookstore.envoy.wait_for_updates(3).await;
    assert_eq!(client.get("/admin", &[]).await.status, StatusCode::OK);
    assert!(client.talk().await.0.is_some());
    bookstore.envoy.assert_no_traps().await;
}

/// A proxy that checks lets nobody in while it does not know who may.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_everything_is_denied() {
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
    let plugin = json!({ "initial": { "version": 2 } }).to_string();
    let client = Bootstrap::default()
        .tls_cluster("http", server.listener("http"), &authority, Some(&buyer))
        .listener("http", &plugin, Some("http"));
    let client = Client(Envoy::start(&client.build(), 1).await);
    let answer = client.get("/books", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert!(
        answer.header("x-weir-denied").contains("configuration"),
        "{answer:?}"
    );
}
