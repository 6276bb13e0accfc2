//! Every golden case, in the pure core and, in one pass, on a real Envoy.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Rule, Target};
use weir_tests::golden::{Case, Fate, Http, Outcome, Question, Who, cases, outcomes};
use weir_tests::{Answer, Bootstrap, Connection, Echo, Envoy, InProcess};

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
    let mut scopes = BTreeSet::new();
    for case in &cases {
        let plane = InProcess::start(&case.text, case.policy()).await;
        bootstrap = bootstrap.cluster(&case.name(), plane.listen);
        planes.push(plane);
        for who in case.askers() {
            if matches!(who, Who::Tcp(..) | Who::Into(..)) {
                continue;
            }
            scopes.insert((case.name(), who.scope()));
            let plugin = who.plugin(&case.name());
            let rules = case.configuration(&who).rules;
            bootstrap = bootstrap.listener(&listener(case, &who), &plugin, None);
            if rules.values().any(edits_responses) {
                bootstrap = bootstrap.full();
            }
            for rule in rules.into_values() {
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
    envoy.wait_for_updates(scopes.len() as u64).await;

    let mut requests = 0;
    let mut in_process_only = 0;
    for case in &cases {
        for request in &case.requests {
            let Question::Http(http) = &request.question else {
                in_process_only += 1;
                continue;
            };
            let outcomes = outcomes(request, &case.configuration(&request.who));
            let address = envoy.listener(&listener(case, &request.who));
            let mut connection = Connection::open(address).await;
            let mut expected = BTreeMap::new();
            for (outcome, count) in &outcomes {
                *expected.entry(visible(http, outcome)).or_insert(0) += count;
            }
            let total: u64 = expected.values().sum();
            // All of a short rule, so that counts are exact; the beginning of a long one.
            let asked = total.clamp(1, 200);
            let mut got: BTreeMap<String, u64> = BTreeMap::new();
            for _ in 0..asked {
                let headers = http.headers.iter();
                let headers: Vec<(&str, &str)> = headers
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                let answer = connection
                    .ask(&http.method, &http.host, &http.path, &headers)
                    .await;
                *got.entry(seen(http, &answer)).or_default() += 1;
                requests += 1;
            }
            let line = format!("{}: {}", case.name(), request.text);
            assert_shares(&line, &got, &expected, asked, total);
        }
    }
    println!(
        "{} cases, {} scopes, {requests} requests, {in_process_only} questions in process only",
        cases.len(),
        scopes.len(),
    );
    assert_eq!(
        envoy.stat("wasm.weir.vm_reload").await,
        0,
        "{}",
        envoy.log()
    );
}

/// Which needs the build of the filter that sees responses.
fn edits_responses(rule: &Rule) -> bool {
    let backends = rule.backends.iter().map(|backend| &backend.filters);
    let mut filters = backends.chain([&rule.filters]);
    filters.any(|filters| !filters.response_headers.is_empty())
}

/// What Envoy adds to a request, or takes from it, of its own accord.
fn is_envoys_own(name: &str) -> bool {
    name.starts_with("x-envoy-")
        || matches!(
            name,
            "x-forwarded-proto" | "x-request-id" | "content-length" | "x-weir-cluster"
        )
}

/// An outcome as a client and a backend see it together: who answered, and what arrived there.
fn visible(http: &Http, outcome: &Outcome) -> String {
    let backend = outcome.backend.as_deref().unwrap_or_default();
    match &outcome.fate {
        Fate::Untouched | Fate::Allowed => "untouched".into(),
        Fate::Answer(status) => status.to_string(),
        Fate::Redirect(status, location) => format!("{status} {location}"),
        Fate::Denied => "403 denied".into(),
        Fate::Backend if http.method == "HEAD" => backend.into(),
        Fate::Backend => {
            let (path, headers) = outcome.received(http);
            arrived(backend, &http.method, &path, headers)
        }
    }
}

fn arrived(backend: &str, method: &str, path: &str, mut headers: Vec<(String, String)>) -> String {
    headers.retain(|(name, _)| !is_envoys_own(name));
    // Envoy keeps the order of the lines of one name alone.
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    format!("{backend} got {method} {path} {headers:?}")
}

fn seen(http: &Http, answer: &Answer) -> String {
    let status = answer.status.as_u16();
    match (status, answer.header("x-cluster")) {
        (200, "") => "untouched".into(),
        (200, cluster) if http.method == "HEAD" => cluster.into(),
        (200, cluster) => {
            let body = answer.json();
            let headers = serde_json::from_value(body["headers"].clone()).expect("headers");
            let [method, path] = ["method", "path"].map(|key| body[key].as_str().unwrap_or("?"));
            arrived(cluster, method, path, headers)
        }
        (300..=399, _) => format!("{status} {}", answer.header("location")),
        (403, _) => {
            assert_ne!(answer.header("x-weir-denied"), "", "{answer:?}");
            "403 denied".into()
        }
        (status, _) => {
            let said = http.method == "HEAD" || answer.text().starts_with("weir: ");
            assert!(said, "{answer:?}");
            status.to_string()
        }
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
