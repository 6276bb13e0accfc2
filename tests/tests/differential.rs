//! Generates random routes, policies and requests. The control plane and the filter's table together must decide like a
//! second implementation of the specifications, `weir_tests::reference`.
//!
//! Each run compares a million pairs of a route and a request. `scripts/differential N` compares N pairs. Set the
//! variable `WEIR_SEED` to repeat a run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::Object;
use weir_core::manifest::problem::Problem;
use weir_core::plan::{Plan, Scope, scope};
use weir_core::translate::translate;
use weir_split::{Decision, Live, Plugin, Table, UntilConfigured};
use weir_tests::reference::{
    ACCOUNTS, Answer, CLIENTS, ListenerNames, PORTS, Proxy, Random, Request, World, shrink,
};

/// Requests for each proxy.
const REQUESTS: usize = 100;
/// The port of a proxy's first socket. No listener of a Gateway has this port.
const SOCKET: u16 = 1000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.replace('_', "").parse().expect("a number"))
}

fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let clock = clock.map_or(1, |time| time.as_micros() as u64);
    let seed = number("WEIR_SEED").unwrap_or(clock);
    println!("WEIR_SEED={seed}");
    seed
}

#[test]
fn routes_decide_as_the_specification_says() {
    let seed = seed();
    let most = number("WEIR_COMPARISONS").unwrap_or(1_000_000);
    let mut random = Random::new(seed);
    let mut printed = Instant::now();
    let (mut comparisons, mut worlds, mut requests, mut by_rule) = (0, 0, 0, 0);
    while comparisons < most {
        let world = random.world();
        let (plan, _) = plan(&world);
        worlds += 1;
        for proxy in random.proxies(&world) {
            let mut live = live(&plan, &proxy);
            for _ in 0..REQUESTS {
                let request = random.request(&proxy);
                let expected = world.answer(&proxy, &request);
                by_rule += u64::from(matches!(expected, Answer::Rule(_)));
                if expected == Answer::Unspecified {
                    continue;
                }
                if decide(&mut live, &proxy, &request) != expected {
                    fail(seed, world, &proxy, &request);
                }
                comparisons += world.routes.len() as u64;
                requests += 1;
            }
        }
        if printed.elapsed() > Duration::from_secs(10) {
            printed = Instant::now();
            println!("{comparisons} of {most} comparisons, {worlds} worlds");
        }
    }
    println!(
        "{comparisons} comparisons, {worlds} worlds, {by_rule} of {requests} requests matched a rule"
    );
    // If few requests match a rule, the generated worlds have too few rules to test anything.
    assert!(by_rule * 10 > requests, "{by_rule} of {requests}");
}

/// Checks the decisions of the client's proxy and of the called workload's proxy.
#[test]
fn targets_allow_as_the_specification_says() {
    let seed = seed();
    let mut random = Random::new(seed);
    let (mut compared, mut allowed) = (0, 0);
    for _ in 0..300 {
        let policy = random.policy();
        let (plan, problems) = planned(policy.manifests(), Policy::Smi);
        for (client, destination) in CLIENTS.iter().flat_map(|it| ACCOUNTS.map(|to| (*it, to))) {
            let (namespace, account) = client.split_once('/').expect("a namespace");
            let own = format!(r#""namespace":"{namespace}","service_account":"{account}""#);
            let there = format!(
                r#""namespace":"shop","service_account":"{destination}","direction":"inbound","trust_domain":"cluster.local""#
            );
            let scope_ = Scope::Namespace(namespace.into());
            let mut outbound = install(&plan, &scope_, &own);
            let inbound = install(&plan, &Scope::Namespace("shop".into()), &there);
            for _ in 0..20 {
                let mut request = random.request(&Proxy::Client(None));
                request.host = format!("to-{destination}.shop:80");
                let expected = policy.lets_request(client, destination, &request);
                let read = |name: &str| header(&request, name);
                let sent = outbound
                    .decide(request.host.as_bytes(), || None, read)
                    .decision;
                let let_out = sent == Decision::Cluster(destination);
                assert!(let_out || matches!(sent, Decision::Denied(_)), "{sent:?}");
                let let_in =
                    inbound.admit(|| Some(client.to_owned()), request.host.as_bytes(), read);
                let let_in = let_in.decision == Decision::Ordinary;
                let both = [let_out, let_in];
                assert_eq!(
                    both, [expected; 2],
                    "WEIR_SEED={seed}: {client} {request:?} {policy:#?} {problems:?}"
                );
                compared += 2;
                allowed += 2 * u64::from(expected);
            }
            for port in PORTS {
                let expected = policy.lets_connection(client, destination, port);
                let let_in = inbound.admit_connection(Some(client), port).decision;
                let mut got = vec![let_in == Decision::Ordinary];
                if port != PORTS[0] {
                    let tcp =
                        format!(r#"{own},"protocol":"tcp","root":"to-{destination}.shop:{port}""#);
                    let mut live = install(&plan, &scope_, &tcp);
                    got.push(live.connect(None).decision == Decision::Cluster(destination));
                }
                let fits = got.iter().all(|it| *it == expected);
                assert!(
                    fits,
                    "WEIR_SEED={seed}: {client} {destination}:{port} {got:?} {policy:#?} {problems:?}"
                );
                compared += got.len() as u64;
                allowed += got.len() as u64 * u64::from(expected);
            }
            let anonymous = inbound.admit_connection(None, PORTS[0]).decision;
            assert!(matches!(anonymous, Decision::Denied(_)), "{anonymous:?}");
        }
    }
    println!("{compared} comparisons, {allowed} allowed");
    assert!(allowed * 10 > compared, "{allowed} of {compared}");
}

fn plan(world: &World) -> (Plan, Vec<Problem>) {
    planned(world.manifests(), Policy::Unstated)
}

fn planned(manifests: Vec<serde_json::Value>, policy: Policy) -> (Plan, Vec<Problem>) {
    let objects = manifests.into_iter().map(|body| {
        let object = Object::parse(body).expect("an object");
        object.expect("a supported kind")
    });
    let (world, mut problems) = weir_core::world::World::from_objects(objects);
    let (plan, more) = translate(&world, policy);
    problems.extend(more);
    (plan, problems)
}

fn live(plan: &Plan, proxy: &Proxy) -> Live {
    let (keys, scope_) = match proxy {
        Proxy::Gateway(names) => {
            let listeners = match names {
                ListenerNames::Unset => String::new(),
                ListenerNames::Listener(name) => format!(r#","listener":"{name}""#),
                ListenerNames::Sockets(sockets, _) => {
                    let sockets = sockets.iter().zip(SOCKET..);
                    let sockets = sockets.map(|(names, port)| format!(r#""{port}":{names:?}"#));
                    let sockets: Vec<_> = sockets.collect();
                    format!(r#","listeners":{{{}}}"#, sockets.join(","))
                }
            };
            let scope = Scope::Gateway {
                namespace: "shop".into(),
                name: "edge".into(),
            };
            let keys = format!(r#""gateway":"shop/edge"{listeners}"#);
            (keys, scope)
        }
        Proxy::Client(Some(namespace)) => {
            let keys = format!(r#""namespace":"{namespace}""#);
            (keys, Scope::Namespace(namespace.clone()))
        }
        Proxy::Client(None) => (r#""until_configured":"pass""#.to_owned(), Scope::Producers),
    };
    install(plan, &scope_, &keys)
}

/// Returns the state of a filter that has installed the configuration of this scope. `keys` are more keys for its
/// plugin configuration.
fn install(plan: &Plan, scope_: &Scope, keys: &str) -> Live {
    let keys = format!(r#"{{"control_plane":"weir","cluster":"{{service}}",{keys}}}"#);
    let plugin = Plugin::parse(keys.as_bytes()).expect("a plugin");
    let table = Table::compile(&scope(plan, scope_), &plugin.site);
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(table.expect("the configuration compiles"));
    live
}

fn header(request: &Request, name: &str) -> Option<Vec<u8>> {
    let one = |text: &str| Some(text.as_bytes().to_vec());
    match name {
        ":authority" => one(&request.host),
        ":path" => one(&request.path),
        ":method" => one(&request.method),
        name => {
            let lines = request.headers.iter();
            let lines = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let values: Vec<_> = lines.map(|(_, value)| value.as_str()).collect();
            (!values.is_empty()).then(|| values.join(",").into_bytes())
        }
    }
}

fn decide(live: &mut Live, proxy: &Proxy, request: &Request) -> Answer {
    let socket = || match proxy {
        Proxy::Gateway(ListenerNames::Sockets(_, Some(via))) => Some(SOCKET + *via as u16),
        Proxy::Gateway(_) | Proxy::Client(_) => Some(1),
    };
    let decided = live.decide(request.host.as_bytes(), socket, |name| {
        header(request, name)
    });
    match decided.decision {
        Decision::Ordinary => Answer::Untouched,
        Decision::Answer(404) => Answer::NotFound,
        Decision::UnknownListener(_) => Answer::UnknownListener,
        Decision::Cluster(cluster) => Answer::Rule(cluster.to_owned()),
        other => panic!("{other:?} for {request:?}"),
    }
}

/// Makes the world smaller while the decision still differs from the specification. Prints the smallest world, and
/// panics.
fn fail(seed: u64, world: World, proxy: &Proxy, request: &Request) -> ! {
    let got = |world: &World| decide(&mut live(&plan(world).0, proxy), proxy, request);
    let world = shrink(world, |it| {
        let expected = it.answer(proxy, request);
        expected != Answer::Unspecified && got(it) != expected
    });
    for manifest in world.manifests() {
        println!("---\n{manifest}");
    }
    for problem in plan(&world).1 {
        println!("# {problem}");
    }
    panic!(
        "WEIR_SEED={seed}: {proxy:?} sends {request:?}\n  specification: {:?}\n  table:         {:?}",
        world.answer(proxy, request),
        got(&world)
    );
}
