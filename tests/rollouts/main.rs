//! Runs the commands of docs/argo-rollouts.md under load, with the real controller of Argo Rollouts. `scripts/rollouts`
//! starts this test; `scripts/test` does not, because it would build Argo Rollouts for some minutes.

mod argo;
#[path = "../tests/kubernetes_guides/installed.rs"]
mod installed;
#[path = "../tests/kubernetes_guides/podinfo.rs"]
mod podinfo;
mod release;
mod traffic;

use std::sync::mpsc;

use weir_tests::pages::blocks;

use installed::Installed;
use podinfo::{PROMETHEUS, start_client};
use release::{Place, Release};
use traffic::{Load, WeightState};

const PAGE: &str = "docs/argo-rollouts.md";
const MARK: &str = "run-by=rollouts";

/// Returns the block of commands of the page that has this text.
fn commands(text: &str) -> String {
    let block = blocks(PAGE)
        .into_iter()
        .find(|block| block.mark == MARK && block.text.contains(text));
    block
        .unwrap_or_else(|| panic!("{PAGE}: no block {text}"))
        .text
}

/// Returns the same commands for the place. The page has them for a TrafficSplit in the namespace `test`.
fn at(place: &Place, commands: &str) -> String {
    commands
        .replace("-n test", &format!("-n {}", place.namespace))
        .replace("rollout-smi.yaml", place.rollout)
        .replace("trafficsplit/", &format!("{}/", place.kind))
}

/// The number of answers by which an exact share may be off: each of the two workers of the client's Envoy makes its
/// own exact share.
const EXACT: u64 = 4;

/// Returns the share of the canary, in percent, for requests without a header.
fn weight(state: &WeightState) -> u64 {
    state.weight
}

/// A canary that is promoted, and a canary that answers with errors and is rolled back.
fn releases(weir: &Installed, place: &Place) -> Vec<Release> {
    let plain = [Load::plain()];
    let promoted = Release::run(
        weir,
        place,
        "canary",
        &at(place, &commands("value\": \"v2")),
        &plain,
    );
    promoted.expect_no_failure();
    promoted.expect_shares(0, ["v1", "v2"], EXACT, weight);
    promoted.expect_promotion("v1");
    let failing = Release::run(
        weir,
        place,
        "failing canary",
        &at(place, &commands("v3")),
        &plain,
    );
    failing.expect_failures_of("v3");
    failing.expect_shares(0, ["v2", "v3"], EXACT, weight);
    failing.expect_rollback("v3");
    argo::used_analyses(weir, place);
    vec![promoted, failing]
}

/// Requests with a header go to the canary.
fn ab_test(weir: &Installed, place: &Place) -> Release {
    let loads = [Load::plain(), Load::with(&["-H", "x-canary: yes"])];
    let release = Release::run(weir, place, "A/B test", &commands("steps-ab"), &loads);
    release.expect_no_failure();
    release.expect_shares(0, ["v2", "v4"], EXACT, weight);
    let tester = |state: &WeightState| {
        if state.has_rule("testers") {
            100
        } else {
            state.weight
        }
    };
    release.expect_shares(1, ["v2", "v4"], EXACT, tester);
    release.expect_promotion("v2");
    release
}

/// A client with the cookie of the canary stays at the canary.
fn affinity(weir: &Installed, place: &Place) -> Release {
    // curl keeps cookies for the requests of one client.
    let loads = [Load::plain(), Load::with(&["-b", ""])];
    let release = Release::run(weir, place, "affinity", &commands("steps-affinity"), &loads);
    release.expect_no_failure();
    // Both loads share the sequence of picks, so the share of one load is not exact.
    release.expect_shares(0, ["v4", "v5"], 60, weight);
    release.expect_clients_stay(1, ["v4", "v5"], "returning");
    release.expect_promotion("v4");
    release
}

/// The canary gets copies, and its answers reach no client.
fn mirror(weir: &Installed, place: &Place) -> Release {
    let loads = [Load::plain()];
    let release = Release::run(weir, place, "mirror", &commands("steps-mirror"), &loads);
    release.expect_no_failure();
    release.expect_shares(0, ["v5", "v6"], EXACT, weight);
    release.expect_copies("mirror");
    release.expect_promotion("v5");
    release
}

/// While the control plane is away, the gate holds the release at its first step.
fn outage(weir: &Installed, place: &Place) -> Release {
    const SCRIPT: &str = r#"
kubectl scale -n weir-system deployment/weir --replicas=0
kubectl wait -n weir-system pod -l app.kubernetes.io/name=weir --for=delete --timeout=1m
kubectl patch -n test rollout/podinfo --type=json -p '[{ "op": "replace", "path": "/spec/template/spec/containers/0/env", "value": [{ "name": "PODINFO_UI_MESSAGE", "value": "v4" }] }]'
kubectl wait -n test rollout/podinfo --for=jsonpath='{.status.currentStepIndex}'=1 --timeout=1m
sleep 20
test "$(kubectl get -n test rollout/podinfo -o jsonpath='{.status.currentStepIndex}')" = 1
kubectl scale -n weir-system deployment/weir --replicas=2
kubectl wait -n test rollout/podinfo --for=jsonpath='{.status.phase}'=Healthy --timeout=4m
"#;
    let release = Release::run(weir, place, "control plane away", SCRIPT, &[Load::plain()]);
    release.expect_no_failure();
    release.expect_promotion("v2");
    release
}

#[test]
fn argo_releases_fail_no_request() {
    let weir = &Installed::start(argo::images());
    weir.cluster.apply(PROMETHEUS);
    argo::install(weir);
    let (is_good, text) = weir.bash(&commands("-k deploy/argo-rollouts"));
    assert!(is_good, "{text}");
    weir.available("monitoring", "prometheus");
    let places = [
        ("trafficsplit", "test", "rollout-smi.yaml"),
        ("httproute", "routed", "rollout-gatewayapi.yaml"),
    ];
    let (sender, done) = mpsc::channel();
    std::thread::scope(|scope| {
        for (kind, namespace, rollout) in places {
            let sender = sender.clone();
            scope.spawn(move || {
                let pod = start_client(weir, namespace, &["podinfo", "podinfo-canary"]);
                let place = Place {
                    kind,
                    namespace,
                    rollout,
                    pod,
                };
                let (is_good, text) = weir.bash(&at(&place, &commands("rollout-smi.yaml")));
                assert!(is_good, "{text}\n{}", argo::log(weir));
                let mut all = releases(weir, &place);
                if kind == "httproute" {
                    all.extend([ab_test, affinity, mirror].map(|run| run(weir, &place)));
                }
                argo::expect_no_warning(weir, &place);
                sender.send((place, all)).expect("the test waits");
            });
        }
    });
    drop(sender);
    let mut done: Vec<_> = done.into_iter().collect();
    done.sort_by_key(|(place, _)| place.rollout);
    let (split, releases) = &mut done[1];
    releases.push(outage(weir, split));
    argo::refuses_managed_routes(weir, split);
    println!("\n{}", Release::HEADING);
    for release in done.iter().flat_map(|(_, releases)| releases) {
        println!("{}", release.row());
    }
}
