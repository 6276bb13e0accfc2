use serde_json::{Value, json};

use weir_split::module;

use super::*;
use crate::api::smi::traffic_target::Policy;
use crate::manifest::object;
use crate::translate::translate;
use crate::world::World;

fn plan() -> Plan {
    let text = "
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v1 }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v2 }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v3 }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: db }, spec: { ports: [{ port: 3306, name: tcp }] } }
- { apiVersion: v1, kind: Service, metadata: { name: db-v2 }, spec: { ports: [{ port: 3306 }] } }
- apiVersion: split.smi-spec.io/v1alpha2
  kind: TrafficSplit
  metadata: { name: db }
  spec: { service: db, backends: [{ service: db, weight: 1 }, { service: db-v2, weight: 1 }] }
- apiVersion: split.smi-spec.io/v1alpha2
  kind: TrafficSplit
  metadata: { name: canary }
  spec:
    service: web
    backends:
    - { service: web, weight: 4 }
    - { service: web-v1, weight: 5 }
    - { service: web-v2, weight: 1 }
    - { service: web-v3, weight: 0 }
";
    let objects = object::read("test.yaml", text).unwrap().objects;
    let (plan, problems) = translate(&World::from_objects(objects).0, Policy::Unstated);
    assert!(problems.is_empty(), "{problems:?}");
    plan
}

fn wasm(plugin: Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": "weir", "failure_policy": "FAIL_RELOAD", "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": plugin.to_string(),
        } },
    })
}

mod states;

fn web(name: &str) -> String {
    format!("{name}.default.svc.cluster.local:80")
}

/// Returns a response of `/config_dump`, with one listener for each filter.
fn dump(filters: &[Value], clusters: &[String], routes: &Value) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump");
    let listener = |(place, filter): (usize, &Value)| {
        let filters = json!([{ "name": "weir", "typed_config": filter }]);
        let manager = json!({ "name": "hcm", "typed_config": {
            "http_filters": filters,
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "early_header_mutation_extensions": [
                { "name": "weir", "typed_config": { "mutations": [{ "remove": "x-weir-cluster" }] } },
            ],
            "rds": { "route_config_name": "edge" },
        } });
        let tls = json!({
            "require_client_certificate": true,
            "common_tls_context": { "validation_context": { "trusted_ca": { "filename": "ca.crt" } } },
        });
        let socket = json!({ "name": "tls", "typed_config": tls });
        let chains = json!([{ "filters": [manager], "transport_socket": socket }]);
        json!({ "listener": { "name": format!("l{place}"), "filter_chains": chains } })
    };
    let listeners: Vec<Value> = filters.iter().enumerate().map(listener).collect();
    let cluster = |name: &String| json!({ "cluster": { "name": name } });
    let clusters: Vec<Value> = clusters.iter().map(cluster).collect();
    json!({ "configs": [
        { "@type": kind("Bootstrap"), "bootstrap": {
            "layered_runtime": { "layers": [{ "name": "admin", "admin_layer": {} }] },
        } },
        { "@type": kind("Clusters"), "dynamic_active_clusters": clusters },
        { "@type": kind("Listeners"), "static_listeners": listeners },
        { "@type": kind("Routes"), "static_route_configs": [{ "route_config": {
            "name": "edge",
            "request_headers_to_remove": ["x-weir-cluster"],
            "virtual_hosts": [{ "name": "shop", "domains": ["*"], "routes": routes }],
        } }] },
    ] })
}

fn lines(dump: &Value) -> Vec<String> {
    let dump = EnvoyDump::read(dump).unwrap();
    let lines = findings(&dump, &plan());
    lines.iter().map(Finding::to_string).collect()
}

#[test]
fn missing_cluster_is_found() {
    let clusters = ["weir".to_owned(), web("web"), web("web-v1")];
    let filter = wasm(json!({ "control_plane": "weir" }));
    assert_eq!(
        lines(&dump(&[filter], &clusters, &json!([]))),
        [
            "envoy, listener l0: TrafficSplit default/canary (rule TrafficSplit/default/canary:80/http): \
             ClusterNotFound: backend web-v2.default:80 has weight 1, and its cluster \
             web-v2.default.svc.cluster.local:80 does not exist: requests for this backend are answered 503; define \
             the cluster, or put its real name into \"clusters\" of the plugin configuration: \
             { \"web-v2.default:80\": \"NAME\" }"
        ]
    );
}

#[test]
fn each_filter_has_own_cluster_names() {
    let clusters = ["a", "b", "c", "weir"].map(str::to_owned);
    let named = |v2: &str| {
        let exceptions =
            json!({ "web.default:80": "a", "web-v1.default:80": "b", "web-v2.default:80": v2 });
        wasm(json!({ "control_plane": "weir", "namespace": "default", "clusters": exceptions }))
    };
    assert_eq!(
        lines(&dump(&[named("c")], &clusters, &json!([]))),
        [""; 0],
        "weight 0 needs no cluster"
    );
    let both = lines(&dump(
        &[named("c"), named("d"), named("d")],
        &clusters,
        &json!([]),
    ));
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(
        both[0].starts_with("envoy, listener l1, listener l2: "),
        "{both:?}"
    );
    assert!(both[0].contains("its cluster d does not exist"), "{both:?}");
}

#[test]
fn unused_clusters_may_be_missing() {
    // The ordinary route serves the root of the first plugin. The second plugin does not poll.
    let clusters = ["weir".to_owned(), web("web-v1"), web("web-v2")];
    let initial = json!({ "version": 1, "hosts": [], "rules": {} });
    for plugin in [
        json!({ "control_plane": "weir", "ordinary_route_serves_root": true }),
        json!({ "initial": initial, "cluster": "none" }),
    ] {
        let found = lines(&dump(&[wasm(plugin.clone())], &clusters, &json!([])));
        assert_eq!(found, [""; 0], "{plugin}");
    }
    let mistyped = wasm(json!({ "control_plane": "wier", "gateway": "default/edge" }));
    let found = lines(&dump(&[mistyped], &clusters, &json!([])));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("control_plane names the cluster wier"));
    assert!(found[1].contains("NoRules"));
}

#[test]
fn redirect_needs_no_cluster() {
    let to = |name: &str, filters: Value| json!({ "weight": 1, "to": { "service": { "name": name, "namespace": "default", "port": 80 } }, "filters": filters });
    let redirect = json!({ "redirect": { "status": 302 } });
    let root = json!({ "root": { "service": "web", "namespace": "default", "port": 80 } });
    let set = |rule: &str, path: &str| json!({ "path": { "exact": path }, "rule": rule });
    let initial = json!({
        "version": 1,
        "hosts": [{ "hosts": root, "matches": [set("a", "/a"), set("b", "/b")] }],
        "rules": {
            "a": { "backends": [to("web-v1", json!({}))], "filters": redirect },
            "b": { "backends": [to("web-v2", redirect.clone()), to("web-v3", json!({}))] },
        },
    });
    let plugin = json!({ "initial": initial, "cluster": "none" });
    let found = lines(&dump(&[wasm(plugin)], &[], &json!([])));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("backend web-v3.default:80"), "{found:?}");
}

#[test]
fn tcp_and_inbound_filters_are_checked() {
    let network = |plugin: Value| {
        let mut wasm = wasm(plugin);
        wasm["@type"] = "x/envoy.extensions.filters.network.wasm.v3.Wasm".into();
        wasm
    };
    let tcp = |key: &str, value: Value| {
        let mut plugin =
            json!({ "control_plane": "weir", "protocol": "tcp", "cluster": "{service}" });
        plugin[key] = value;
        network(plugin)
    };
    let account = json!({
        "control_plane": "weir", "direction": "inbound", "namespace": "default", "service_account": "web", "trust_domain": "cluster.local",
    });
    let clusters = ["weir", "db"].map(str::to_owned);
    let closed = "its cluster db-v2 does not exist: connections for this backend are closed;";
    for (filter, expected) in [
        (tcp("root", json!("db.default:3306")), closed),
        (
            tcp("root", json!("other.default:3306")),
            "no rule in force is for connections to other.default:3306",
        ),
        (
            tcp("root", json!("db.default:3307")),
            "write db.default:3306 into \"root\"",
        ),
        (
            tcp("root", json!("bd.default:3306")),
            "write db.default:3306 into \"root\"",
        ),
        (
            tcp("root", json!("web.default:80")),
            "the rules of web.default:80 are for HTTP requests",
        ),
        (tcp("log_rule", json!(false)), closed),
    ] {
        let found = lines(&dump(std::slice::from_ref(&filter), &clusters, &json!([])));
        assert_eq!(found.len(), 1, "{filter} {found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    let found = lines(&dump(&[wasm(account)], &clusters, &json!([])));
    assert_eq!(found, [""; 0]);
}

#[test]
fn chain_of_another_protocol_is_found() {
    for (protocol, kind, remedy) in [
        ("tcp", "http", "\"protocol\": \"http\""),
        ("http", "network", "\"protocol\": \"tcp\""),
    ] {
        let mut filter = wasm(json!({ "control_plane": "weir", "protocol": protocol }));
        filter["@type"] = format!("x/envoy.extensions.filters.{kind}.wasm.v3.Wasm").into();
        let clusters = ["weir", "web-v1", "web-v2", "db", "db-v2"].map(str::to_owned);
        let found = lines(&dump(&[filter], &clusters, &json!([])));
        let found: Vec<_> = found
            .iter()
            .filter(|it| it.contains("WrongChain"))
            .collect();
        assert!(found.len() == 1 && found[0].contains(remedy), "{found:?}");
    }
}

#[test]
fn filters_are_found_in_all_places() {
    let inner = wasm(json!({ "control_plane": "weir" }));
    let wrapped = json!({ "extension_config": { "typed_config": inner } });
    let typed_struct = json!({
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "value": { "config": { "configuration": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": { "control_plane": "weir" },
        } } },
    });
    for filter in [inner, wrapped, typed_struct] {
        let found = EnvoyDump::read(&dump(std::slice::from_ref(&filter), &[], &json!([]))).unwrap();
        assert_eq!(found.filters.len(), 1, "{filter}");
    }
    let discovered = json!({ "configs": [
        { "@type": "envoy.admin.v3.ClustersConfigDump" },
        { "@type": "envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
            { "name": "in", "active_state": { "listener": {
                "name": "in", "filters": [wasm(json!({ "control_plane": "weir" }))],
            } } },
        ] },
        { "@type": "envoy.admin.v3.EcdsConfigDump", "ecds_filters": [
            { "ecds_filter": { "name": "w", "typed_config": wasm(json!({ "control_plane": "weir" })) } },
        ] },
    ] });
    let found = EnvoyDump::read(&discovered).unwrap();
    let at: Vec<_> = found.filters.iter().flat_map(|it| &it.at).collect();
    assert_eq!(at, ["extension w", "listener in"]);
}

#[test]
fn envoy_without_filter_is_found() {
    let other = wasm(json!({ "rules": [] }));
    let found = lines(&dump(&[other], &[], &json!([])));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("envoy: NoFilter: "), "{found:?}");
}

#[test]
fn other_json_is_refused() {
    for text in [
        "null",
        "[]",
        "{}",
        r#"{"configs":[]}"#,
        r#"{"configs":[{}]}"#,
    ] {
        let json = serde_json::from_str(text).unwrap();
        assert!(EnvoyDump::read(&json).is_err(), "{text}");
    }
}

/// Returns the findings about lost policies of these routes. All clusters exist.
fn lost(routes: Value) -> Vec<String> {
    let clusters = ["weir", "a"].map(str::to_owned);
    let filter = wasm(json!({ "control_plane": "weir", "cluster": "a" }));
    let mut lines = lines(&dump(&[filter], &clusters, &routes));
    lines.retain(|line| line.contains("PoliciesLost"));
    lines
}

fn split(matching: Value, policies: Value) -> Value {
    let mut matching = matching;
    matching["headers"] = json!([{ "name": "X-Weir-Cluster", "present_match": true }]);
    matching["runtime_fraction"] =
        json!({ "default_value": { "numerator": 100 }, "runtime_key": "weir.enabled" });
    let mut route = json!({ "match": matching, "route": policies });
    route["route"]["cluster_header"] = json!("x-weir-cluster");
    route
}

fn ordinary(name: &str, matching: Value, policies: Value) -> Value {
    let mut route = json!({ "name": name, "match": matching, "route": policies });
    route["route"]["cluster"] = json!("a");
    route
}

/// A twin has the mirrors of its route, and the policies for mirrors of rules.
#[test]
fn twins_may_add_mirror_policies() {
    let own = json!({ "cluster": "shadow" });
    let of_rule = json!({ "cluster_header": "x-weir-mirror" });
    let found = |policies: &[&Value]| {
        let split = json!({ "prefix": "/", "headers": [{ "name": "x-weir-cluster", "present_match": true }] });
        lost(json!([
            { "match": split, "route": { "cluster_header": "x-weir-cluster", "request_mirror_policies": policies } },
            { "match": { "prefix": "/" }, "route": { "cluster": "a", "request_mirror_policies": [own] } },
        ]))
    };
    assert_eq!(found(&[&own, &of_rule]), [""; 0]);
    let lines = found(&[&of_rule]);
    assert!(
        lines.len() == 1 && lines[0].contains("ignores request_mirror_policies of route routes[1]"),
        "{lines:#?}"
    );
}

#[test]
fn header_route_above_all_loses_policies() {
    let mut filtered = ordinary("filtered", json!({ "path": "/f" }), json!({}));
    filtered["typed_per_filter_config"] = json!({ "rbac": {}, "limit": {} });
    let redirect = json!({ "name": "moved", "match": { "prefix": "/old" }, "redirect": {} });
    let denied = json!({ "match": { "prefix": "/no" }, "direct_response": { "status": 403 } });
    let nothing = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 404 } });
    let found = lost(json!([
        split(json!({ "prefix": "/" }), json!({ "timeout": "1s" })),
        ordinary(
            "same",
            json!({ "prefix": "/same" }),
            json!({ "timeout": "1s" })
        ),
        ordinary(
            "slow",
            json!({ "safe_regex": { "regex": "/slow.*" } }),
            json!({ "timeout": "9s" })
        ),
        filtered,
        redirect,
        denied,
        ordinary(
            "two",
            json!({ "path_separated_prefix": "/two" }),
            json!({
                "hash_policy": [], "retry_policy": {},
            })
        ),
        nothing,
    ]));
    let expected = [
        "route slow (routes[2]): for these requests Envoy ignores timeout of route slow (routes[2]);",
        "route filtered (routes[3]): for these requests Envoy ignores typed_per_filter_config[limit], typed_per_filter_config[rbac] of route filtered (routes[3]);",
        "route moved (routes[4]), which redirects requests itself: these requests go to the backends of the split;",
        "route routes[5], which answers requests itself: these requests go to the backends of the split;",
        "route two (routes[6]): for these requests Envoy ignores hash_policy, retry_policy of route two (routes[6]);",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let place = "envoy, route configuration edge, virtual host shop: PoliciesLost: \
                 route routes[0] receives the split requests instead of ";
    for (line, expected) in found.iter().zip(expected) {
        assert!(line.starts_with(&format!("{place}{expected}")), "{line}");
    }
}

#[test]
fn equal_header_routes_keep_policies() {
    let slow = json!({ "timeout": "9s" });
    let by_user = json!({ "hash_policy": [{ "header": { "header_name": "x-user" } }] });
    let get = json!({ "prefix": "/slow", "grpc": {} });
    let pairs = |of_slow: Value| {
        json!([
            split(get.clone(), of_slow),
            ordinary("slow", get.clone(), slow.clone()),
            split(json!({ "prefix": "/" }), by_user.clone()),
            ordinary("all", json!({ "prefix": "/" }), by_user.clone()),
        ])
    };
    assert_eq!(lost(pairs(slow.clone())), [""; 0]);
    let found = lost(pairs(json!({ "timeout": "1s" })));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(
        "routes[0] receives the split requests instead of route slow (routes[1]): for these requests Envoy ignores timeout of route slow (routes[1])"
    ));
}

#[test]
fn only_affected_routes_lose_policies() {
    let policies = json!({ "timeout": "9s" });
    // The header route takes requests for /new, which the ordinary route `all` would get without a split.
    let part = lost(json!([
        split(json!({ "prefix": "/new" }), json!({})),
        ordinary("all", json!({ "prefix": "/" }), policies.clone()),
    ]));
    assert_eq!(part.len(), 1, "{part:#?}");
    for routes in [
        // The ordinary route is above the header route.
        json!([
            ordinary("own", json!({ "prefix": "/own" }), policies.clone()),
            split(json!({ "prefix": "/" }), json!({})),
        ]),
        // The routes have different paths.
        json!([
            split(json!({ "prefix": "/new" }), json!({})),
            ordinary("own", json!({ "prefix": "/own" }), policies.clone()),
            ordinary("path", json!({ "path": "/ne" }), policies.clone()),
            ordinary(
                "element",
                json!({ "path_separated_prefix": "/ne" }),
                policies.clone()
            ),
        ]),
        // Without a split, the requests of the header route go to `new`, and not to `all`.
        json!([
            split(json!({ "prefix": "/new/" }), json!({})),
            ordinary("new", json!({ "path_separated_prefix": "/new" }), json!({})),
            ordinary("all", json!({ "prefix": "/" }), policies.clone()),
        ]),
        // The first header route takes all requests, so the second gets none.
        json!([
            split(json!({ "prefix": "/" }), policies.clone()),
            split(json!({ "prefix": "/" }), json!({})),
            ordinary("all", json!({ "prefix": "/" }), policies.clone()),
        ]),
    ] {
        assert_eq!(lost(routes.clone()), [""; 0], "{routes:#}");
    }
}

/// Returns the plan of a route of the Service `web`. The first rule edits the responses of one backend. The second rule
/// edits the headers of a redirect.
fn editing_plan() -> Plan {
    let text = "
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v1 }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v2 }, spec: { ports: [{ port: 80 }] } }
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: { name: r }
  spec:
    parentRefs: [{ group: '', kind: Service, name: web }]
    rules:
    - name: canary
      backendRefs:
      - { name: web-v1, port: 80, weight: 95 }
      - name: web-v2
        port: 80
        weight: 5
        filters: [&edit { type: ResponseHeaderModifier, responseHeaderModifier: { remove: [server] } }]
      - { name: web, port: 80, weight: 0, filters: [*edit] }
      - { name: gone, port: 80, filters: [*edit] }
    - name: redirect
      matches: [{ path: { value: /old } }]
      filters:
      - *edit
      - { type: RequestRedirect, requestRedirect: { hostname: example.com } }
";
    let objects = object::read("test.yaml", text).unwrap().objects;
    translate(&World::from_objects(objects).0, Policy::Unstated).0
}

#[test]
fn lean_module_cannot_edit_responses() {
    let of_file = |file: &str| {
        let mut filter = wasm(json!({ "control_plane": "weir", "namespace": "default" }));
        filter["config"]["vm_config"] = json!({ "code": { "local": { "filename": file } } });
        filter
    };
    let configuration = json!({ "control_plane": "weir", "namespace": "default" }).to_string();
    let gauge = module::gauge(&configuration);
    let clusters = ["weir".to_owned(), web("web"), web("web-v1"), web("web-v2")];
    let lines = |files: &[&str], stats: &str| -> Vec<String> {
        let filters: Vec<Value> = files.iter().map(|file| of_file(file)).collect();
        let mut parsed = EnvoyDump::read(&dump(&filters, &clusters, &json!([]))).unwrap();
        if !stats.is_empty() {
            parsed.read_stats(stats);
        }
        let found = findings(&parsed, &editing_plan());
        found.iter().map(Finding::to_string).collect()
    };
    let cannot = |at: &str| {
        let share = |rule: &str, share: &str| {
            format!(
                "envoy, listener {at}: HTTPRoute default/r (rule HTTPRoute/default/r@web.default:80#{rule}): \
                 Unsupported: {share}, which the loaded module weir-lean.wasm cannot do: these requests are \
                 answered 500; load weir.wasm instead of weir-lean.wasm"
            )
        };
        [
            share(
                "canary",
                "backend web-v2.default:80 has weight 5, and the headers of its responses are edited",
            ),
            share(
                "redirect",
                "the rule redirects and edits the headers of the redirect",
            ),
        ]
    };
    let lean = format!("cluster.x.upstream_cx_total: 1\nwasmcustom.{gauge}: 1\n");
    let full = format!("wasmcustom.{gauge}: 0\n");
    assert_eq!(lines(&["/a/weir.wasm"], &lean), cannot("l0"));
    assert_eq!(lines(&["/a/weir-lean.wasm"], &full), [""; 0]);
    // Without statistics, the name of the file decides.
    assert_eq!(
        lines(&["/a/weir.wasm", "/a/weir-lean.wasm"], ""),
        cannot("l1")
    );
}

/// Returns the plan of a Gateway with two listeners: `http` has a redirect, and `https` has a backend.
fn two_listeners() -> Plan {
    let text = "
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { ports: [{ port: 80 }] } }
- apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: { name: edge }
  spec: { gatewayClassName: weir, listeners: [{ name: http, port: 80, protocol: HTTP }, { name: https, port: 443, protocol: HTTPS }] }
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: { name: redirect }
  spec:
    parentRefs: [{ name: edge, sectionName: http }]
    hostnames: [a.x, b.x, c.x, d.x, e.x]
    rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }] }]
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: { name: app }
  spec:
    parentRefs: [{ name: edge, sectionName: https }]
    hostnames: [a.x, b.x, c.x, d.x, e.x]
    rules: [{ backendRefs: [{ name: web, port: 80 }] }]
";
    let objects = object::read("test.yaml", text).unwrap().objects;
    let (plan, problems) = translate(&World::from_objects(objects).0, Policy::Unstated);
    assert!(problems.is_empty(), "{problems:?}");
    plan
}

#[test]
fn differing_listeners_are_found() {
    let plugin = |keys: Value| {
        let mut plugin = json!({ "control_plane": "weir", "gateway": "default/edge" });
        for (key, value) in keys.as_object().unwrap() {
            plugin[key] = value.clone();
        }
        wasm(plugin)
    };
    let clusters = ["weir".to_owned(), web("web")];
    let found = |plugin: &Value, ports: &[u16]| -> Vec<String> {
        let filters = vec![plugin.clone(); ports.len().max(1)];
        let mut dump = dump(&filters, &clusters, &json!([]));
        for (place, port) in ports.iter().enumerate() {
            let address = json!({ "socket_address": { "address": "0.0.0.0", "port_value": port } });
            dump["configs"][2]["static_listeners"][place]["listener"]["address"] = address;
        }
        let parsed = EnvoyDump::read(&dump).unwrap();
        let findings = findings(&parsed, &two_listeners());
        findings.iter().map(Finding::to_string).collect()
    };
    let unnamed = plugin(json!({}));
    let differ = "ListenerUnknown: the listeners http, https of Gateway default/edge have different routes for \
                  a.x, b.x, c.x and 2 more hosts, and the filter does not know which of these listeners receives a request: \
                  these requests are answered 500; write";
    for (ports, remedy) in [
        (
            &[8080, 8443][..],
            "\"listeners\": { \"8080\": [\"NAME\"], \"8443\": [\"NAME\"] } into the plugin configuration. Replace each \
             NAME with the names of the listeners that clients reach at the port before NAME (possible: http, https)",
        ),
        (
            &[8080],
            "\"listener\": \"http\" or \"listener\": \"https\" into the plugin configuration",
        ),
        (
            &[],
            "\"listeners\": { \"PORT\": [\"NAME\"], \"PORT\": [\"NAME\"] } into the plugin configuration. Replace each \
             NAME with the names of the listeners that clients reach at the port before NAME (possible: http, https)",
        ),
    ] {
        let lines = found(&unnamed, ports);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].ends_with(&format!("{differ} {remedy}")),
            "{lines:?}"
        );
    }

    for listeners in [
        json!({ "listener": "http" }),
        json!({ "listeners": { "8080": ["http"], "8443": ["https"] } }),
    ] {
        assert_eq!(found(&plugin(listeners), &[8080, 8443]), [""; 0]);
    }
    let unlisted = plugin(json!({ "listeners": { "8080": ["http"], "9443": ["https"] } }));
    let lines = found(&unlisted, &[8080, 8443]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("has no entry for port 8443"), "{lines:?}");
    assert!(lines[0].ends_with(
        "add \"8443\": [\"NAME\"] with the names of the listeners that clients reach at this port"
    ));

    let merged = plugin(json!({ "listeners": { "8080": ["http", "https"] } }));
    let lines = found(&merged, &[8080]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("only listeners that have the same routes"),
        "{lines:?}"
    );

    for (listeners, key) in [
        (json!({ "listener": "htp" }), "listener"),
        (json!({ "listeners": { "8080": ["htp"] } }), "listeners"),
    ] {
        let lines = found(&plugin(listeners), &[8080]);
        let expected = format!(
            "envoy, listener l0: ListenerUnknown: \"{key}\" of the plugin configuration names the listener htp, but \
             Gateway default/edge has no HTTP listener of this name: requests to this listener get no route; write one of http, https"
        );
        assert_eq!(lines, [expected]);
    }
}

/// Returns the plan of a split of a host in namespace `shop`, and of a route of the Gateway `shop/edge`.
fn plan_of_others() -> Plan {
    let text = "
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Service, metadata: { name: web, namespace: shop }, spec: { ports: [{ port: 80 }] } }
- apiVersion: split.smi-spec.io/v1alpha2
  kind: TrafficSplit
  metadata: { name: host, namespace: shop }
  spec: { service: shop.example.com, backends: [{ service: web, weight: 1 }] }
- apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: { name: edge, namespace: shop }
  spec: { gatewayClassName: weir, listeners: [{ name: http, port: 80, protocol: HTTP }] }
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: { name: route, namespace: shop }
  spec: { parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] }
";
    let objects = object::read("test.yaml", text).unwrap().objects;
    translate(&World::from_objects(objects).0, Policy::Unstated).0
}

#[test]
fn filter_without_rules_is_found() {
    let clusters = [
        "weir".to_owned(),
        "web.shop.svc.cluster.local:80".to_owned(),
    ];
    let found = |plugin: Value, plan: &Plan| -> Vec<String> {
        let parsed = EnvoyDump::read(&dump(&[wasm(plugin)], &clusters, &json!([]))).unwrap();
        let lines = findings(&parsed, plan);
        lines.iter().map(Finding::to_string).collect()
    };
    let others = plan_of_others();
    assert_eq!(
        found(json!({ "control_plane": "weir" }), &others),
        [
            "envoy, listener l0: NoRules: the plugin configuration has neither namespace nor gateway, and all rules in \
             force (2) are for other proxies: this proxy splits nothing; write into its plugin configuration \
             \"namespace\": \"*\" for the hosts of every namespace, or \"namespace\" with \"shop\" for clients of \
             that namespace, or \"gateway\" with \"shop/edge\" for the routes of that Gateway"
        ]
    );
    for (plugin, said) in [
        (
            json!({ "control_plane": "weir", "namespace": "other" }),
            "has \"namespace\": \"other\", and all rules in force (2) are",
        ),
        (
            json!({ "control_plane": "weir", "gateway": "shop/egde" }),
            "has \"gateway\": \"shop/egde\", and all rules in force (2) are",
        ),
    ] {
        let lines = found(plugin, &others);
        assert!(lines.len() == 1 && lines[0].contains(said), "{lines:?}");
    }
    for good in [
        json!({ "control_plane": "weir", "namespace": "*" }),
        json!({ "control_plane": "weir", "namespace": "shop" }),
        json!({ "control_plane": "weir", "gateway": "shop/edge" }),
        json!({ "initial": { "version": 1, "rules": {}, "hosts": [] } }),
        json!({
            "control_plane": "weir", "namespace": "other", "service_account": "web", "direction": "inbound",
            "trust_domain": "cluster.local"
        }),
    ] {
        assert_eq!(found(good.clone(), &others), [""; 0], "{good}");
    }
    let lost = json!({ "control_plane": "weir", "gateway": "shop/edge" });
    let lines = found(lost, &plan());
    let way = "\"namespace\" instead of \"gateway\" for the rules of Services";
    assert!(lines.len() == 1 && lines[0].ends_with(way), "{lines:?}");
    let nothing = json!({ "control_plane": "weir" });
    assert_eq!(found(nothing, &Plan::default()), [""; 0]);
}
