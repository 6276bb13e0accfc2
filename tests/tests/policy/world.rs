//! The bookstore with its control plane, its proxies and its clients.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::json;
use weir_tests::tls::Authority;
use weir_tests::{Answer, Bootstrap, Connection, Echo, Envoy, Plane, root};

use Outcome::{DeniedAtClient, DeniedAtStore, Served, Unconfigured};

pub const SMI: [&str; 2] = ["--policy", "smi"];
pub const HOST: &str = "bookstore.bookstore.svc.cluster.local:14001";
pub const BUY: &str = "/buy-a-book/new";
pub const LOOK: &str = "/books-bought";

/// Each Service with its ServiceAccount.
pub const STORES: [(&str, &str); 2] = [
    ("bookstore-v1", "bookstore"),
    ("bookstore-v2", "bookstore-v2"),
];

/// Clients, named like their ServiceAccounts; the last two have no valid certificate.
pub const CLIENTS: [&str; 4] = ["bookbuyer", "bookthief", "anonymous", "stranger"];

fn file(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn target(of: &str) -> String {
    file(&format!("tests/manifests/smi/{of}"))
}

fn split(name: &str) -> String {
    file(&format!("demo/splits/{name}.yaml"))
}

pub struct World {
    pub plane: Plane,
    /// The clients' proxy. Its listeners `bookbuyer` and `bookthief` check permissions. Its listeners `CLIENT-STORE`
    /// check nothing, and forward to the store's proxy with the client's certificate.
    pub client: Envoy,
    pub client_config: String,
    /// The proxy of both versions, with one listener for each version.
    pub server: Envoy,
    stores: [Echo; 2],
}

impl World {
    pub async fn start(weights: &str) -> World {
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
                "namespace": "bookstore", "service_account": account, "trust_domain": "cluster.local",
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
        // Wait until all proxies have the policy.
        for (way, expected) in [
            ("bookbuyer", Served),
            ("bookbuyer-bookstore-v1", Served),
            ("bookbuyer-bookstore-v2", Served),
            ("bookthief", DeniedAtClient),
        ] {
            world.customer(way).await.until(BUY, expected).await;
        }
        world
    }

    pub async fn customer(&self, listener: &str) -> Customer {
        Customer::of(&self.client, listener).await
    }

    /// The number of requests that each version received.
    pub fn request_counts(&self) -> [usize; 2] {
        [
            self.stores[0].request_count(),
            self.stores[1].request_count(),
        ]
    }

    pub fn revoke(&self, name: &str) {
        std::fs::remove_file(self.plane.path(name)).expect("removed");
    }

    pub fn grant(&self, name: &str) {
        self.plane.rename_into_place(name, &target(name));
    }

    /// Edits the manifests, and repeats `meanwhile` until the clients' proxy has applied this number of configurations.
    pub async fn change(
        &self,
        edit: impl FnOnce(&World),
        configurations: u64,
        mut meanwhile: impl AsyncFnMut(),
    ) {
        let start = Instant::now();
        let name = "wasmcustom.weir_config_updates_total";
        let before = self.client.stat(name).await;
        edit(self);
        while self.client.stat(name).await < before + configurations {
            assert!(start.elapsed() < Duration::from_secs(10), "nothing new");
            meanwhile().await;
        }
    }

    /// Changes the split, which is in the configurations of both namespaces.
    pub async fn shift(&self, weights: &str, meanwhile: impl AsyncFnMut()) {
        let text = split(weights);
        let edit = |world: &World| world.plane.rename_into_place("split.yaml", &text);
        self.change(edit, 2, meanwhile).await;
    }

    pub async fn assert_no_traps(&self) {
        self.client.assert_no_traps().await;
        self.server.assert_no_traps().await;
    }
}

pub fn spiffe(namespace: &str, account: &str) -> String {
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
            let unchecked = json!({ "initial": { "version": 1 } }).to_string();
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

/// A connection of any client. Its requests have the bookbuyer's headers.
pub struct Customer(pub Connection);

impl Customer {
    pub async fn of(envoy: &Envoy, listener: &str) -> Customer {
        Customer(Connection::open(envoy.listener(listener)).await)
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", HOST, path, &[]).await
    }

    pub async fn ask(
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

    pub async fn buy(&mut self) -> Outcome {
        outcome(&self.get(BUY).await)
    }

    /// Repeats the request until it has this outcome.
    pub async fn until(&mut self, path: &str, expected: Outcome) {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            if outcome(&answer) == expected {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Served,
    /// Denied by the client's proxy, which names the backend.
    DeniedAtClient,
    /// Denied by the bookstore's proxy, which names only the account.
    DeniedAtStore,
    /// Denied by a proxy without a configuration, which names no permission.
    Unconfigured,
}

pub fn outcome(answer: &Answer) -> Outcome {
    if answer.status == StatusCode::OK && answer.header("identity").starts_with("bookstore-v") {
        return Served;
    }
    match denied(answer) {
        missing if missing.contains(".bookstore:14001") => DeniedAtClient,
        missing if missing.contains(" to bookstore/bookstore") => DeniedAtStore,
        missing => {
            assert!(missing.contains("configuration"), "{answer:?}");
            Unconfigured
        }
    }
}

/// The missing permission in an answer.
pub fn denied(answer: &Answer) -> &str {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert_eq!(answer.header("identity"), "", "{answer:?}");
    answer.header("x-weir-denied")
}
