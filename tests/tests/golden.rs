//! Every golden case, in the pure core and, in one pass, on a real Envoy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::json;
use weir_split::wire::Target;
use weir_tests::golden::{Case, Eyes, Fate, Outcome, Question, Request, Who, cases, outcomes};
use weir_tests::tls::Authority;
use weir_tests::{Bootstrap, Caller, Connection, Echo, Envoy, FreePorts, Greeter, InProcess};

#[test]
fn cases_say_what_the_core_does() {
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
fn there_are_enough_cases_and_each_asks() {
    let cases = cases();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    for case in cases {
        assert!(
            case.text.starts_with("# "),
            "{} does not say why it is there",
            case.name()
        );
        assert!(!case.requests.is_empty(), "{} asks nothing", case.name());
    }
}

fn difference(old: &str, new: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.lines().collect(), new.lines().collect());
    let gone = old.difference(&new).map(|line| format!("  - {line}"));
    let come = new.difference(&old).map(|line| format!("  + {line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

/// One proxy of the pass: a listener for each case and asker.
fn listener(case: &Case, who: &Who) -> String {
    format!("{}|{who:?}", case.name())
}

/// A client with a certificate of its own before such a listener.
fn client(case: &Case, request: &Request) -> String {
    let (Question::Inbound(peer, _) | Question::InboundTcp(peer, _)) = &request.question else {
        return listener(case, &request.who);
    };
    format!("{}|{peer:?}", listener(case, &request.who))
}

/// All proxies of all cases in one Envoy, and the clients of those that stand before workloads in another.
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
            let plane = InProcess::start(&case.text, case.policy()).await;
            bootstrap = bootstrap.cluster(&case.name(), plane.listen);
            planes.push(plane);
            for who in case.askers() {
                scopes.insert((case.name(), who.scope()));
                let port = match who.names_its_socket() {
                    true => ports.next(),
                    false => 0,
                };
                let (name, plugin) = (listener(case, &who), who.plugin(&case.name(), port));
                let rules = case.configuration(&who).rules;
                let is_tcp = matches!(who, Who::Tcp(..));
                let listen = |bootstrap: Bootstrap, name: &str| match is_tcp {
                    true => bootstrap.tcp_listener(name, &plugin, "ordinary"),
                    false => bootstrap.listener(name, &plugin, None),
                };
                bootstrap = listen(bootstrap, &name);
                bootstrap = bootstrap.port(port);
                if who.is_inbound() {
                    bootstrap = bootstrap.mutual_tls(&certificate);
                }
                if has_lean(case, &who) {
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

    /// Of the filters that are asked, each with a module of its own.
    fn addresses(&self, case: &Case, request: &Request) -> Vec<SocketAddr> {
        if request.who.is_inbound() {
            return vec![self.clients.listener(&client(case, request))];
        }
        let name = listener(case, &request.who);
        let mut addresses = vec![self.envoy.listener(&name)];
        if has_lean(case, &request.who) {
            addresses.push(self.envoy.listener(&lean(&name)));
        }
        addresses
    }

    /// What happened, and how often: all of a short rule, so that counts are exact; the beginning of a long one.
    async fn hold(&self, case: &Case, request: &Request) -> u64 {
        let mut asked = 0;
        for address in self.addresses(case, request) {
            asked += hold_at(address, case, request).await;
        }
        asked
    }
}

/// The same at one address.
async fn hold_at(address: SocketAddr, case: &Case, request: &Request) -> u64 {
    let outcomes = outcomes(request, &case.configuration(&request.who));
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut got = expected.clone();
    let total: u64 = outcomes.values().sum();
    let asked = total.clamp(1, 200);
    match &request.question {
        Question::Http(http) => {
            let eyes = Eyes::new(http, &outcomes);
            for (outcome, count) in &outcomes {
                *expected.entry(eyes.expected(outcome)).or_default() += count;
            }
            let mut connection = Connection::open(address).await;
            for _ in 0..asked {
                let answer = connection
                    .ask(&http.method, &http.host, &http.path, &http.lines())
                    .await;
                *got.entry(eyes.seen(&answer)).or_default() += 1;
            }
        }
        Question::Inbound(_, http) => {
            for (outcome, count) in &outcomes {
                let status = if outcome.fate == Fate::Denied {
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
            for _ in 0..asked {
                let line = Caller::open(address).await.line().await;
                *got.entry(line.unwrap_or_else(|| "closed".into()))
                    .or_default() += 1;
            }
        }
    }
    let line = format!("{}: {}", case.name(), request.text);
    assert_shares(&line, &got, &expected, asked, total);
    asked
}

/// Cases that are asked with `dist/weir-lean.wasm` as well. None of them edits responses or checks inbound connections.
fn has_lean(case: &Case, who: &Who) -> bool {
    case.name().starts_with("both/") && !who.is_inbound()
}

/// The listener with that module, beside the listener of this name.
fn lean(name: &str) -> String {
    format!("{name} lean")
}

/// Clients of the proxies before workloads, each with its certificate. Nobody has one without a name.
fn clients(cases: &[Case], authority: &Authority, envoy: &Envoy) -> Bootstrap {
    let mut bootstrap = Bootstrap::default();
    let mut known = BTreeSet::new();
    let plugin = json!({ "initial": { "version": 1 } });
    let mut tcp_plugin = plugin.clone();
    tcp_plugin["protocol"] = "tcp".into();
    tcp_plugin["root"] = "any.any:1".into();
    for (case, request) in questions(cases) {
        let (Question::Inbound(peer, _) | Question::InboundTcp(peer, _)) = &request.question else {
            continue;
        };
        let name = client(case, request);
        if !known.insert(name.clone()) {
            continue;
        }
        let identity = peer.as_ref().and_then(|peer| peer.split_once('/'));
        let identity = identity.map(|(namespace, account)| {
            format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
        });
        let names: Vec<&str> = identity.iter().map(String::as_str).collect();
        let certificate = authority.sign(&names);
        let address = envoy.listener(&listener(case, &request.who));
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

/// Who greets a connection.
fn greeting(outcome: &Outcome) -> String {
    match (&outcome.fate, &outcome.backend) {
        (Fate::Backend, Some(backend)) => backend.clone(),
        (Fate::Untouched | Fate::Allowed, _) => "ordinary".into(),
        _ => "closed".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_hold_on_envoy() {
    let pass = Pass::start().await;
    let mut asked = BTreeMap::new();
    for (case, request) in questions(&pass.cases) {
        let kind = match &request.question {
            Question::Http(_) => "requests",
            Question::Tcp(_) => "connections",
            Question::Inbound(..) => "requests that come in",
            Question::InboundTcp(..) => "connections that come in",
        };
        *asked.entry(kind).or_insert(0) += pass.hold(case, request).await;
    }
    println!(
        "{} cases, {} scopes, {asked:?}",
        pass.cases.len(),
        pass.scopes
    );
    pass.envoy.assert_no_traps().await;
    let log = pass.envoy.log();
    for said in ["have different routes for it", "has nothing for port"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

/// A whole reduced total is exact. Of a longer rule the requests may begin in the middle of its sequence (an
/// earlier line asked it too): a count is off by less than twice the depth of a tree over these backends.
fn assert_shares(
    line: &str,
    got: &BTreeMap<String, u64>,
    expected: &BTreeMap<String, u64>,
    asked: u64,
    total: u64,
) {
    let unknown = got.keys().find(|backend| !expected.contains_key(*backend));
    assert_eq!(unknown, None, "{line}: {got:?} for {expected:?}");
    let depth = expected.len().saturating_sub(1) as u64;
    for (backend, weight) in expected {
        let count = got.get(backend).copied().unwrap_or(0);
        let off = (count * total).abs_diff(asked * weight);
        let exact = off == 0 || asked != total && off < 2 * depth * total;
        assert!(exact, "{line}: {got:?} of {asked} for {expected:?}");
    }
}
