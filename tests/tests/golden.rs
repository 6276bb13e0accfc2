//! Runs every golden case (`tests/golden`) in the crate `weir_core` and on a real Envoy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::json;
use weir_split::wire::Target;
use weir_tests::golden::{
    Action, Case, Comparison, Outcome, Proxy, Question, Request, cases, outcomes,
};
use weir_tests::tls::Authority;
use weir_tests::{Bootstrap, Connection, Echo, Envoy, FreePorts, Greeter, InProcess, TcpClient};

#[test]
fn cases_agree_with_the_core() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut stale = Vec::new();
    for case in cases() {
        let rendered = case.rendered();
        if rendered == case.text {
            continue;
        }
        if update {
            std::fs::write(&case.path, rendered).expect("written");
        } else {
            stale.push(format!(
                "{}\n{}",
                case.name(),
                difference(&case.text, &rendered)
            ));
        }
    }
    assert!(
        stale.is_empty(),
        "{} cases differ (UPDATE_GOLDEN=1 rewrites them):\n{}",
        stale.len(),
        stale.join("\n")
    );
}

#[test]
fn every_case_has_a_request() {
    let cases = cases();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    for case in cases {
        assert!(
            case.text.starts_with("# "),
            "{} does not begin with a comment",
            case.name()
        );
        assert!(!case.requests.is_empty(), "{} has no request", case.name());
    }
}

fn difference(old: &str, new: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.lines().collect(), new.lines().collect());
    let gone = old.difference(&new).map(|line| format!("  - {line}"));
    let come = new.difference(&old).map(|line| format!("  + {line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

/// Returns the name of the Envoy listener for a case and a proxy.
fn listener(case: &Case, proxy: &Proxy) -> String {
    format!("{}|{proxy:?}", case.name())
}

/// Returns the name of the listener to which the test sends a request. For an inbound proxy this is a listener of the
/// second Envoy, which connects to the proxy with the client's certificate.
fn client(case: &Case, request: &Request) -> String {
    let (Question::Inbound(peer, _) | Question::InboundTcp(peer, _)) = &request.question else {
        return listener(case, &request.proxy);
    };
    format!("{}|{peer:?}", listener(case, &request.proxy))
}

/// One Envoy with the proxies of all cases, and a second Envoy with the clients of inbound proxies.
struct Pass {
    cases: Vec<Case>,
    scopes: usize,
    envoy: Envoy,
    clients: Envoy,
    _parts: (Echo, Vec<Greeter>, Vec<InProcess>),
}

impl Pass {
    async fn start() -> Pass {
        let cases = cases();
        let echo = Echo::start("echo").await;
        let ordinary = Greeter::start("ordinary").await;
        let authority = Authority::new();
        let certificate = authority.sign(&["spiffe://cluster.local/ns/any/sa/workload"]);
        let mut bootstrap = Bootstrap::default().cluster("ordinary", ordinary.address);
        let mut planes = Vec::new();
        let mut greeters = vec![ordinary];
        let mut clusters = BTreeSet::new();
        let mut scopes = BTreeSet::new();
        let mut ports = FreePorts::default();
        for case in &cases {
            let plane = InProcess::start(&case.manifests(), case.policy()).await;
            bootstrap = bootstrap.cluster(&case.name(), plane.listen);
            planes.push(plane);
            for proxy in case.proxies() {
                scopes.insert((case.name(), proxy.scope()));
                let port = if proxy.names_its_socket() {
                    ports.next()
                } else {
                    0
                };
                let (name, plugin) = (listener(case, &proxy), proxy.plugin(&case.name(), port));
                let rules = case.configuration(&proxy).rules;
                let is_tcp = matches!(proxy, Proxy::Tcp(..));
                let listen = |bootstrap: Bootstrap, name: &str| {
                    if is_tcp {
                        bootstrap.tcp_listener(name, &plugin, "ordinary")
                    } else {
                        bootstrap.listener(name, &plugin, None)
                    }
                };
                bootstrap = listen(bootstrap, &name);
                bootstrap = bootstrap.port(port);
                let mut filters = rules.values().flat_map(|rule| rule.all_filters());
                let has_mirrors = filters.any(|filters| !filters.mirrors.is_empty());
                drop(filters);
                if has_mirrors {
                    bootstrap = bootstrap.mirroring();
                }
                if proxy.is_inbound() {
                    bootstrap = bootstrap.mutual_tls(&certificate);
                }
                if also_runs_lean(case, &proxy) {
                    bootstrap = listen(bootstrap, &lean(&name)).lean();
                }
                for backend in rules.into_values().flat_map(|rule| rule.backends) {
                    if let Target::Service(service) = backend.to {
                        clusters.insert((is_tcp, service.to_string()));
                    }
                }
            }
        }
        for (is_tcp, cluster) in clusters {
            if is_tcp {
                let greeter = Greeter::start(&cluster).await;
                bootstrap = bootstrap.cluster(&format!("tcp/{cluster}"), greeter.address);
                greeters.push(greeter);
            } else {
                bootstrap = bootstrap.cluster(&cluster, echo.address);
            }
        }
        let start = std::time::Instant::now();
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        println!("Envoy is up after {:?}", start.elapsed());
        envoy.wait_for_updates(scopes.len() as u64).await;
        let clients = clients(&cases, &authority, &envoy);
        let clients = Envoy::start(&clients.build(), 1).await;
        Pass {
            scopes: scopes.len(),
            cases,
            envoy,
            clients,
            _parts: (echo, greeters, planes),
        }
    }

    /// Returns the addresses of all listeners that must give the same answer: one with `weir.wasm`, and for some cases
    /// one with `weir-lean.wasm`.
    fn addresses(&self, case: &Case, request: &Request) -> Vec<SocketAddr> {
        if request.proxy.is_inbound() {
            return vec![self.clients.listener(&client(case, request))];
        }
        let name = listener(case, &request.proxy);
        let mut addresses = vec![self.envoy.listener(&name)];
        if also_runs_lean(case, &request.proxy) {
            addresses.push(self.envoy.listener(&lean(&name)));
        }
        addresses
    }

    /// Sends the request to each address, and returns the number of requests.
    async fn hold(&self, case: &Case, request: &Request) -> u64 {
        let mut requests = 0;
        for address in self.addresses(case, request) {
            requests += hold_at(address, case, request).await;
        }
        requests
    }
}

/// Sends one request for each pick of the sequence, but at most 200 requests. Compares the count of each outcome with
/// the expected count.
async fn hold_at(address: SocketAddr, case: &Case, request: &Request) -> u64 {
    let outcomes = outcomes(request, &case.configuration(&request.proxy));
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut got = expected.clone();
    let total: u64 = outcomes.values().sum();
    let requests = total.clamp(1, 200);
    match &request.question {
        Question::Http(http) => {
            let comparison = Comparison::new(http, &outcomes);
            for (outcome, count) in &outcomes {
                *expected.entry(comparison.expected(outcome)).or_default() += count;
            }
            let mut connection = Connection::open(address).await;
            for _ in 0..requests {
                let answer = connection
                    .ask(&http.method, &http.host, &http.path, &http.lines())
                    .await;
                *got.entry(comparison.seen(&answer)).or_default() += 1;
            }
        }
        Question::Inbound(_, http) => {
            for (outcome, count) in &outcomes {
                let status = if outcome.action == Action::Denied {
                    403
                } else {
                    200
                };
                expected.insert(status.to_string(), *count);
            }
            let mut connection = Connection::open(address).await;
            let answer = connection
                .ask(&http.method, &http.host, &http.path, &http.lines())
                .await;
            let is_denied = !answer.header("x-weir-denied").is_empty();
            assert_eq!(is_denied, answer.status == 403, "{answer:?}");
            got.insert(answer.status.as_u16().to_string(), 1);
        }
        Question::Tcp(_) | Question::InboundTcp(..) => {
            for (outcome, count) in &outcomes {
                *expected.entry(greeting(outcome)).or_default() += count;
            }
            for _ in 0..requests {
                let line = TcpClient::open(address).await.line().await;
                *got.entry(line.unwrap_or_else(|| "closed".into()))
                    .or_default() += 1;
            }
        }
    }
    let line = format!("{}: {}", case.name(), request.text);
    assert_shares(&line, &got, &expected, requests, total);
    requests
}

/// True if the case also runs with `dist/weir-lean.wasm`, which cannot edit responses or check inbound
/// connections.
fn also_runs_lean(case: &Case, proxy: &Proxy) -> bool {
    case.name().starts_with("both/") && !proxy.is_inbound()
}

/// Returns the name of the listener with `weir-lean.wasm`.
fn lean(name: &str) -> String {
    format!("{name} lean")
}

/// Returns an Envoy configuration with a listener for each client of an inbound proxy. Each client has its own
/// certificate. An anonymous client has a certificate without names.
fn clients(cases: &[Case], authority: &Authority, envoy: &Envoy) -> Bootstrap {
    let mut bootstrap = Bootstrap::default();
    let mut seen = BTreeSet::new();
    let plugin = json!({ "initial": { "version": 1 } });
    let mut tcp_plugin = plugin.clone();
    tcp_plugin["protocol"] = "tcp".into();
    tcp_plugin["root"] = "any.any:1".into();
    for (case, request) in questions(cases) {
        let (Question::Inbound(peer, _) | Question::InboundTcp(peer, _)) = &request.question else {
            continue;
        };
        let name = client(case, request);
        if !seen.insert(name.clone()) {
            continue;
        }
        let identity = peer.as_ref().and_then(|peer| peer.split_once('/'));
        let identity = identity.map(|(namespace, account)| {
            format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
        });
        let names: Vec<&str> = identity.iter().map(String::as_str).collect();
        let certificate = authority.sign(&names);
        let address = envoy.listener(&listener(case, &request.proxy));
        bootstrap = bootstrap.tls_cluster(&name, address, authority, Some(&certificate));
        bootstrap = match request.question {
            Question::InboundTcp(..) => {
                bootstrap.tcp_listener(&name, &tcp_plugin.to_string(), &name)
            }
            _ => bootstrap.listener(&name, &plugin.to_string(), Some(&name)),
        };
    }
    bootstrap
}

fn questions(cases: &[Case]) -> impl Iterator<Item = (&Case, &Request)> {
    let of = |case| -> Vec<(&Case, &Request)> {
        let case: &Case = case;
        case.requests
            .iter()
            .map(|request| (case, request))
            .collect()
    };
    cases.iter().flat_map(of)
}

/// Returns what a TCP client must see: the name of the backend that greets it, or `closed`.
fn greeting(outcome: &Outcome) -> String {
    match (&outcome.action, &outcome.backend) {
        (Action::Backend, Some(backend)) => backend.clone(),
        (Action::Untouched | Action::Allowed, _) => "ordinary".into(),
        _ => "closed".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_hold_on_envoy() {
    let pass = Pass::start().await;
    let mut requests = BTreeMap::new();
    for (case, request) in questions(&pass.cases) {
        let kind = match &request.question {
            Question::Http(_) => "requests",
            Question::Tcp(_) => "connections",
            Question::Inbound(..) => "inbound requests",
            Question::InboundTcp(..) => "inbound connections",
        };
        *requests.entry(kind).or_insert(0) += pass.hold(case, request).await;
    }
    println!(
        "{} cases, {} scopes, {requests:?}",
        pass.cases.len(),
        pass.scopes
    );
    pass.envoy.assert_no_traps().await;
    let log = pass.envoy.log();
    for said in [
        "have different routes for this host",
        "has nothing for port",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

/// A whole sequence of picks has exact counts. A part of a longer sequence may begin anywhere, because earlier requests
/// used the same sequence. In such a part each count is off by less than twice the depth of the sampler's tree.
fn assert_shares(
    line: &str,
    got: &BTreeMap<String, u64>,
    expected: &BTreeMap<String, u64>,
    requests: u64,
    total: u64,
) {
    let unknown = got.keys().find(|backend| !expected.contains_key(*backend));
    assert_eq!(unknown, None, "{line}: {got:?} for {expected:?}");
    let depth = expected.len().saturating_sub(1) as u64;
    for (backend, weight) in expected {
        let count = got.get(backend).copied().unwrap_or(0);
        let off = (count * total).abs_diff(requests * weight);
        let exact = off == 0 || requests != total && off < 2 * depth * total;
        assert!(exact, "{line}: {got:?} of {requests} for {expected:?}");
    }
}
