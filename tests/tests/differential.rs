//! Random routes, policies and requests: the control plane and the table decide as the specification's text does.
//!
//! A million comparisons of a route and a request in each run; `scripts/differential N` makes more.
//! `WEIR_SEED` repeats a run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::Object;
use weir_core::manifest::problem::Problem;
use weir_core::plan::{Plan, Scope, scope};
use weir_core::translate::translate;
use weir_split::{Decision, Live, Plugin, Table, UntilConfigured};
use weir_tests::naive::{
    ACCOUNTS, Answer, Asker, CLIENTS, Dice, PORTS, Request, Told, World, shrink,
};

const REQUESTS: usize = 100;
/// The port of the first socket of a proxy; no listener has such a one.
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
    let wanted = number("WEIR_COMPARISONS").unwrap_or(1_000_000);
    let mut dice = Dice::new(seed);
    let mut told = Instant::now();
    let (mut comparisons, mut worlds, mut requests, mut by_rule) = (0, 0, 0, 0);
    while comparisons < wanted {
        let world = dice.world();
        let (plan, _) = plan(&world);
        worlds += 1;
        for asker in dice.askers(&world) {
            let mut live = live(&plan, &asker);
            for _ in 0..REQUESTS {
                let request = dice.request(&asker);
                let expected = world.answer(&asker, &request);
                by_rule += u64::from(matches!(expected, Answer::Rule(_)));
                if expected == Answer::Unsaid {
                    continue;
                }
                if decide(&mut live, &asker, &request) != expected {
                    fail(seed, world, &asker, &request);
                }
                comparisons += world.routes.len() as u64;
                requests += 1;
            }
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{comparisons} of {wanted} comparisons, {worlds} worlds");
        }
    }
    println!(
        "{comparisons} comparisons, {worlds} worlds, {by_rule} of {requests} requests fell to a rule"
    );
    // Or the worlds would be so empty that they say nothing.
    assert!(by_rule * 10 > requests, "{by_rule} of {requests}");
}

/// At both ends: what a client's proxy lets out, and what a workload's lets in.
#[test]
fn targets_allow_as_the_specification_says() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let (mut compared, mut allowed) = (0, 0);
    for _ in 0..300 {
        let policy = dice.policy();
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
                let mut request = dice.request(&Asker::Client(None));
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
            let nobody = inbound.admit_connection(None, PORTS[0]).decision;
            assert!(matches!(nobody, Decision::Denied(_)), "{nobody:?}");
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
        object.expect("a kind that is understood")
    });
    let (world, mut problems) = weir_core::world::World::from_objects(objects);
    let (plan, more) = translate(&world, policy);
    problems.extend(more);
    (plan, problems)
}

fn live(plan: &Plan, asker: &Asker) -> Live {
    let (keys, scope_) = match asker {
        Asker::Gateway(told) => {
            let listeners = match told {
                Told::Nothing => String::new(),
                Told::Listener(name) => format!(r#","listener":"{name}""#),
                Told::Sockets(sockets, _) => {
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
        Asker::Client(Some(namespace)) => {
            let keys = format!(r#""namespace":"{namespace}""#);
            (keys, Scope::Namespace(namespace.clone()))
        }
        Asker::Client(None) => (r#""until_configured":"pass""#.to_owned(), Scope::Producers),
    };
    install(plan, &scope_, &keys)
}

/// The table of a proxy with this scope and these keys of a plugin configuration.
fn install(plan: &Plan, scope_: &Scope, keys: &str) -> Live {
    let keys = format!(r#"{{"control_plane":"weir","cluster":"{{service}}",{keys}}}"#);
    let plugin = Plugin::parse(keys.as_bytes()).expect("a plugin");
    let table = Table::compile(&scope(plan, scope_), &plugin.site);
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(table.expect("what is published compiles"));
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

fn decide(live: &mut Live, asker: &Asker, request: &Request) -> Answer {
    let socket = || match asker {
        Asker::Gateway(Told::Sockets(_, Some(via))) => Some(SOCKET + *via as u16),
        Asker::Gateway(_) | Asker::Client(_) => Some(1),
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

/// Prints the smallest world that still disagrees.
fn fail(seed: u64, world: World, asker: &Asker, request: &Request) -> ! {
    let got = |world: &World| decide(&mut live(&plan(world).0, asker), asker, request);
    let world = shrink(world, |it| {
        let expected = it.answer(asker, request);
        expected != Answer::Unsaid && got(it) != expected
    });
    for manifest in world.manifests() {
        println!("---\n{manifest}");
    }
    for problem in plan(&world).1 {
        println!("# {problem}");
    }
    panic!(
        "WEIR_SEED={seed}: {asker:?} asks {request:?}\n  specification: {:?}\n  table:         {:?}",
        world.answer(asker, request),
        got(&world)
    );
}
