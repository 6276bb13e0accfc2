//! Every golden case, in the pure core and, in one pass, on a real Envoy.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::Target;
use weir_tests::golden::{Case, Who, cases};
use weir_tests::{Bootstrap, Connection, Echo, Envoy, InProcess};

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

#[tokio::test(flavor = "multi_thread")]
async fn cases_hold_on_envoy() {
    let cases = cases();
    let echo = Echo::start("echo").await;
    let mut bootstrap = Bootstrap::default();
    let mut planes = Vec::new();
    let mut clusters = BTreeSet::new();
    for case in &cases {
        let plane = InProcess::start(&case.text).await;
        bootstrap = bootstrap.cluster(&case.name(), plane.listen);
        planes.push(plane);
        for who in case.askers() {
            let plugin = who.plugin(&case.name());
            bootstrap = bootstrap.listener(&listener(case, &who), &plugin, None);
            for rule in case.configuration(&who).rules.into_values() {
                clusters.extend(rule.backends.into_iter().filter_map(|it| match it.to {
                    Target::Service(service) => Some(service.to_string()),
                    Target::Status(_) => None,
                }));
            }
        }
    }
    for cluster in &clusters {
        bootstrap = bootstrap.cluster(cluster, echo.address);
    }
    let start = std::time::Instant::now();
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    println!("Envoy is up after {:?}", start.elapsed());
    let scopes: usize = cases.iter().map(Case::scopes).sum();
    envoy.wait_for_updates(scopes as u64).await;

    let mut requests = 0;
    for case in &cases {
        for request in &case.requests {
            let address = envoy.listener(&listener(case, &request.who));
            let mut connection = Connection::open(address).await;
            let expected = request.shares();
            let total: u64 = expected.values().sum();
            // All of a short rule, so that counts are exact; the beginning of a long one.
            let asked = total.clamp(1, 200);
            let mut got: BTreeMap<String, u64> = BTreeMap::new();
            for _ in 0..asked {
                let answer = connection.get(&request.host, &request.request_path).await;
                let outcome = match (answer.status.as_u16(), answer.header("x-cluster")) {
                    (200, "") => "untouched".to_owned(),
                    (200, cluster) => cluster.to_owned(),
                    (status, _) => {
                        assert!(answer.text().starts_with("weir: "), "{answer:?}");
                        status.to_string()
                    }
                };
                *got.entry(outcome).or_default() += 1;
                requests += 1;
            }
            let line = format!("{}: {} {}", case.name(), request.host, request.request_path);
            if total == 0 {
                assert_eq!(
                    got,
                    BTreeMap::from([(request.expected.clone(), 1)]),
                    "{line}"
                );
            } else {
                assert_shares(&line, &got, &expected, asked, total);
            }
        }
    }
    println!(
        "{} cases, {scopes} scopes, {requests} requests",
        cases.len()
    );
    assert_eq!(
        envoy.stat("wasm.weir.vm_reload").await,
        0,
        "{}",
        envoy.log()
    );
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
