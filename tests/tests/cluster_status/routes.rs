//! Tests the status of users' routes. All cases share one API server, and each case has its own namespace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::Plane;

use super::cases::{CASES, Case, ExpectedCondition, REFUSED, accepted, entire};
use super::scene::{Scene, condition};

fn route(namespace: &str, text: &str) -> String {
    let (kind, rest) = text.split_once(' ').expect("KIND NAME: SPEC");
    let (name, spec) = rest.split_once(": ").expect("KIND NAME: SPEC");
    let parent = if spec.starts_with("parentRefs") {
        ""
    } else {
        "parentRefs: [{ name: g }], "
    };
    let spec = spec
        .replace("A }", "backendRefs: [{ name: a, port: 80 }] }")
        .replace("B }", "backendRefs: [{ name: b, port: 80 }] }");
    format!(
        "{{ apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{ name: {name}, namespace: {namespace} }}, spec: {{ {parent}{spec} }} }}\n---\n"
    )
}

/// Returns the manifests of a namespace with the Services `a` and `b` and the Gateway `g`.
fn ground(case: &Case) -> String {
    let Case {
        namespace,
        listeners,
        ..
    } = case;
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{ name: {namespace} }}
---
apiVersion: v1
kind: Service
metadata: {{ name: a, namespace: {namespace} }}
spec: {{ ports: [{{ port: 80 }}] }}
---
apiVersion: v1
kind: Service
metadata: {{ name: b, namespace: {namespace} }}
spec: {{ ports: [{{ port: 80 }}] }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: g, namespace: {namespace} }}
spec: {{ gatewayClassName: weir, listeners: [{listeners}] }}
---
"
    )
}

/// Routes by namespace and name.
type Routes = BTreeMap<(String, String), Value>;

fn routes(scene: &Scene) -> Routes {
    let kubectl = scene.server.kubectl_client();
    let text = kubectl.run(&["get", "httproutes,grpcroutes", "-A", "-o", "json"]);
    let mut list: Value = serde_json::from_str(&text).expect("a list");
    let Value::Array(items) = list["items"].take() else {
        panic!("no list: {text}")
    };
    let name = |route: &Value| {
        let text = |field: &str| route["metadata"][field].as_str().unwrap_or("").to_owned();
        (text("namespace"), text("name"))
    };
    items
        .into_iter()
        .map(|route| (name(&route), route))
        .collect()
}

/// Returns the difference between the status of a route and the expected status. None if they are equal.
fn wrong(routes: &Routes, namespace: &str, expected: &ExpectedCondition) -> Option<String> {
    let Some(route) = routes.get(&(namespace.to_owned(), expected.route.to_owned())) else {
        return Some("the route is missing".to_owned());
    };
    let is_of_this_generation =
        |found: &Value| found["observedGeneration"] == route["metadata"]["generation"];
    if !condition(route, "Accepted").is_some_and(|it| is_of_this_generation(&it)) {
        return Some("there is no condition Accepted of this generation".to_owned());
    }
    let found = condition(route, expected.kind);
    let (found, [status, reason]) = match (found, expected.says) {
        (None, None) => return None,
        (Some(found), Some(says)) => (found, says),
        (found, says) => return Some(format!("expected {says:?}, found {found:?}")),
    };
    let message = found["message"].as_str().unwrap_or_default();
    let is_right = match expected.message.strip_suffix("...") {
        Some(start) => message.starts_with(start),
        None => message == expected.message,
    };
    let all = found["status"] == status && found["reason"] == reason && is_right;
    (!all || !is_of_this_generation(&found)).then(|| format!("{found:#}"))
}

/// Waits until each route has its expected status; panics with all differences.
fn wait_for_status<'t>(
    scene: &Scene,
    expected: impl Iterator<Item = (&'t str, &'t ExpectedCondition)> + Clone,
) {
    let start = Instant::now();
    loop {
        let routes = routes(scene);
        let problems: Vec<String> = expected
            .clone()
            .filter_map(|(namespace, expected)| {
                let ExpectedCondition { route, kind, .. } = expected;
                let problem = wrong(&routes, namespace, expected)?;
                Some(format!("{namespace}/{route} {kind}: {problem}"))
            })
            .collect();
        if problems.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{}",
            problems.join("\n")
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn route_status_names_unsupported_parts() {
    let scene = Scene::new(&[]);
    scene.apply(
        "{ apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: { name: weir }, spec: { controllerName: weir.dev/gateway-controller } }",
    );
    let grounds: String = CASES.iter().map(ground).collect();
    scene.apply(&grounds);
    let _plane = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    let most = CASES.iter().map(|case| case.routes.len()).max();
    for at in 0..most.unwrap_or_default() {
        // The routes of a case need different creation times, and creation times have whole seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let of_turn = CASES
            .iter()
            .filter_map(|case| Some(route(case.namespace, case.routes.get(at)?)));
        scene.apply(&of_turn.collect::<String>());
    }
    let all = CASES.iter().flat_map(|case| {
        case.expected
            .iter()
            .map(|expected| (case.namespace, expected))
    });
    assert_eq!(
        routes(&scene).len(),
        CASES.iter().map(|it| it.routes.len()).sum::<usize>()
    );
    wait_for_status(&scene, all);

    // After a correction the condition Accepted has no message, and PartiallyInvalid is gone.
    let corrected = [
        (
            "same-rules",
            "HTTPRoute r: rules: [{ matches: [{ path: { value: /same } }], A }, { matches: [{ path: { value: /other } }], B }]",
        ),
        (
            "look-around",
            "HTTPRoute r: rules: [{ A }, { matches: [{ path: { value: /admin } }], B }]",
        ),
        (
            "wrong-section",
            "HTTPRoute r: parentRefs: [{ name: g, sectionName: internal }], rules: [{ A }]",
        ),
    ];
    scene.apply(
        &corrected
            .map(|(namespace, text)| route(namespace, text))
            .concat(),
    );
    let right = [accepted("r"), entire("r")];
    let namespaces = corrected.iter().map(|(namespace, _)| *namespace);
    wait_for_status(
        &scene,
        namespaces.flat_map(|it| right.iter().map(move |expected| (it, expected))),
    );

    let kubectl = scene.server.kubectl_client();
    for (spec, words) in REFUSED {
        let text = route("star", &format!("HTTPRoute refused: {spec}"));
        let outcome = kubectl.try_with_input(&["apply", "--validate=ignore", "-f", "-"], &text);
        let errors = outcome.expect_err(spec);
        assert!(
            errors.contains(words),
            "{words:?} is not in {errors:?}: {spec}"
        );
    }
}
