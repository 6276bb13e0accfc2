//! Tests `weir serve` with a folder of manifests: after a broken edit it serves the last valid form of the object.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::Value;
use weir_tests::{Connection, Plane, root};

const RULE: &str = "TrafficSplit/shop/web:80/http";

/// Returns a manifest as its author saved it: one weight has the letter O instead of a zero.
fn broken() -> String {
    let path = root().join("tests/manifests/cases/smi/00-typo-at-0-100.yaml");
    std::fs::read_to_string(path).expect("the case")
}

fn good(weight: &str) -> String {
    broken().replace("weight: 10O", &format!("weight: {weight}"))
}

/// Returns the served configuration and the weights of [`RULE`]. The weights are empty if the configuration lacks the
/// rule.
async fn served(plane: &Plane) -> (Value, Vec<u64>) {
    let mut connection = Connection::open(plane.listen).await;
    let config = connection.get("weir", "/v1/config").await.json();
    let rules = config["rules"].as_object().into_iter().flatten();
    let rule = rules
        .filter(|(name, _)| *name == RULE)
        .map(|(_, rule)| rule);
    let backends = rule.flat_map(|rule| rule["backends"].as_array().into_iter().flatten());
    let weights = backends.filter_map(|backend| backend["weight"].as_u64());
    let weights = weights.collect();
    (config, weights)
}

async fn wait_for_log(plane: &Plane, text: &str) {
    for _ in 0..200 {
        if plane.log().contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no {text:?} in:\n{}", plane.log());
}

const STAYS: &str = "the form before this edit stays in force";

#[tokio::test]
async fn last_valid_form_serves_until_fixed() {
    let mut plane = Plane::start(&[("a.yaml", &good("100"))]);
    plane.wait_until_ready().await;
    let (before, weights) = served(&plane).await;
    assert_eq!(weights, [0, 100], "{before}");

    let edits = [
        broken(),
        good("-1"),
        good("0100"),
        good("1").replace("split.smi-spec.io", "split.smi-specs.io"),
        good("1").replace("v1alpha2", "v1alpha9"),
        good("1").replace("kind: TrafficSplit", "kind: Trafficsplit"),
        good("1").replace(
            "name: web, namespace: shop }\nspec:\n",
            "name: Web!, namespace: shop }\nspec:\n",
        ),
        // An invalid Service of the split.
        good("100").replacen("port: 80", "port: http", 1),
    ];
    for (index, edit) in edits.iter().enumerate() {
        plane.rename_into_place("a.yaml", edit);
        // The control plane logs a problem of this second file only after it has read the edit.
        let marker = format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: Bad{index} }}\n");
        plane.rename_into_place("b.yaml", &marker);
        wait_for_log(&plane, &format!("Bad{index}")).await;
        assert_eq!(served(&plane).await.0, before, "{edit}");
        assert_eq!(
            plane.metric(r#"weir_problems{severity="error"}"#).await,
            2.0,
            "{edit}"
        );
    }
    wait_for_log(&plane, STAYS).await;

    plane.rename_into_place("a.yaml", &good("50"));
    wait_for_log(&plane, "resolved: ").await;
    let mut weights = Vec::new();
    for _ in 0..200 {
        weights = served(&plane).await.1;
        if weights == [0, 50] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(weights, [0, 50]);

    // An object that is invalid when the control plane starts has no last valid form.
    plane.rename_into_place("a.yaml", &broken());
    plane.restart_with(&[]);
    plane.wait_until_ready().await;
    let (config, weights) = served(&plane).await;
    assert!(weights.is_empty(), "{config}");
    wait_for_log(&plane, "the object is not in force").await;
}

#[tokio::test]
async fn each_server_remembers_its_own_forms() {
    let older = Plane::start(&[("a.yaml", &good("100"))]);
    older.wait_until_ready().await;
    older.rename_into_place("a.yaml", &broken());
    wait_for_log(&older, STAYS).await;

    let younger = Plane::start(&[]);
    symlink(older.path("a.yaml"), younger.path("a.yaml")).expect("a link");
    younger.wait_until_ready().await;
    assert_eq!(served(&older).await.1, [0, 100]);
    assert!(served(&younger).await.1.is_empty());

    older.rename_into_place("a.yaml", &good("50"));
    for plane in [&older, &younger] {
        let mut weights = Vec::new();
        for _ in 0..400 {
            weights = served(plane).await.1;
            if weights == [0, 50] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(weights, [0, 50], "{}", plane.log());
    }
}
