//! Tests of findings about the state of a running Envoy: statistics, runtime keys, and resources that it waits for.

use super::*;

/// Returns the dump of an Envoy without mistakes.
fn good() -> Value {
    let clusters = ["weir", "web", "web-v1", "web-v2", "ordinary"].map(str::to_owned);
    let plugin = json!({ "control_plane": "weir", "namespace": "default", "cluster": "{service}" });
    let twin = json!({
        "match": { "prefix": "/", "headers": [{ "name": "x-weir-cluster", "present_match": true }] },
        "route": { "cluster_header": "x-weir-cluster" },
    });
    let ordinary = json!({ "match": { "prefix": "/" }, "route": { "cluster": "ordinary" } });
    dump(&[wasm(plugin)], &clusters, &json!([twin, ordinary]))
}

const CONFIGURED: &str = "wasmcustom.weir_configured.scope=.=namespace=default;.;: 1
wasmcustom.weir_rules.scope=.=namespace=default;.;: 2
wasmcustom.weir_poll_failures_total: 0
cluster.weir.upstream_rq_active: 1
";

/// Returns the statistics of the Envoy of this dump: [`CONFIGURED`], and the gauge of the plugin configuration.
fn stats(dump: &Value) -> String {
    let text = dump.pointer(&format!(
        "{MANAGER}/http_filters/0/typed_config/config/configuration/value"
    ));
    let gauge = module::gauge(text.unwrap().as_str().unwrap());
    format!("{CONFIGURED}wasmcustom.{gauge}: 0\n")
}

const LISTENER: &str = "/configs/2/static_listeners/0/listener";
const MANAGER: &str =
    "/configs/2/static_listeners/0/listener/filter_chains/0/filters/0/typed_config";

fn lines_with(dump: &Value, stats: &str) -> Vec<String> {
    let mut running = EnvoyDump::read(dump).unwrap();
    running.read_stats(stats);
    let found = findings(&running, &plan());
    let text = |it: &Finding| match it.is_warning() {
        true => format!("warning: {it}"),
        false => it.to_string(),
    };
    found.iter().map(text).collect()
}

fn only(lines: &[String], expected: &str) {
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(expected), "{lines:?}");
}

#[test]
fn running_filter_has_no_finding() {
    let dump = good();
    assert_eq!(lines_with(&dump, &stats(&dump)), [""; 0]);
}

#[test]
fn each_filter_needs_its_gauge() {
    let found = lines_with(&good(), CONFIGURED);
    only(&found, "l0: FilterRefused: Envoy does not run this filter");
}

#[test]
fn filter_without_configuration_is_found() {
    let dump = good();
    let none = "scope=.=namespace=default;.;: 0";
    let stats = stats(&dump).replace("scope=.=namespace=default;.;: 1", none);
    let found = lines_with(&dump, &stats);
    only(
        &found,
        "NotConfigured: the filter has no configuration: its metric weir_configured is 0",
    );
    let mut running = EnvoyDump::read(&dump).unwrap();
    running.read_stats(&stats);
    assert!(may_fail_to_poll(&running), "the first poll may be open");
}

#[test]
fn rules_of_another_folder_are_found() {
    let dump = good();
    let stats = stats(&dump).replace("default;.;: 2", "default;.;: 0");
    let found = lines_with(&dump, &stats);
    only(
        &found,
        "warning: envoy, listener l0: OtherRules: the filter has 0 rules in force",
    );
}

#[test]
fn warming_cluster_is_found() {
    let mut dump = good();
    let active = dump["configs"][1]["dynamic_active_clusters"]
        .as_array_mut()
        .unwrap();
    let place = active
        .iter()
        .position(|it| it["cluster"]["name"] == "web-v2")
        .unwrap();
    let warming = json!([active.remove(place)]);
    dump["configs"][1]["dynamic_warming_clusters"] = warming.clone();
    let found = lines(&dump);
    only(
        &found,
        "Warming: backend web-v2.default:80 has weight 1, and its cluster web-v2 is warming",
    );
    // The cluster has an older version.
    let active = dump["configs"][1]["dynamic_active_clusters"]
        .as_array_mut()
        .unwrap();
    active.push(warming[0].clone());
    assert_eq!(lines(&dump), [""; 0]);
}

#[test]
fn warming_listener_is_found() {
    let mut dump = good();
    let listener = dump.pointer(LISTENER).unwrap().clone();
    dump["configs"][2] = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
        "dynamic_listeners": [{ "name": "l0", "warming_state": { "listener": listener } }],
    });
    only(
        &lines(&dump),
        "listener l0: Warming: this listener is warming",
    );
    let mut old = listener;
    old["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"] = json!([]);
    dump["configs"][2]["dynamic_listeners"][0]["active_state"] = json!({ "listener": old });
    let found = lines(&dump).join(" ");
    assert!(
        found.contains("Warming: the newest version of this listener is warming"),
        "{found}"
    );
}

#[test]
fn listener_without_the_filter_is_found() {
    let mut dump = good();
    let mut other = dump
        .pointer("/configs/2/static_listeners/0")
        .unwrap()
        .clone();
    other["listener"]["name"] = "l1".into();
    let filters = "/listener/filter_chains/0/filters/0/typed_config/http_filters/0";
    let awaited = json!({ "name": "weir", "config_discovery": {
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        "default_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors" },
    } });
    *other.pointer_mut(filters).unwrap() = awaited;
    let listeners = dump["configs"][2]["static_listeners"]
        .as_array_mut()
        .unwrap();
    listeners.push(other);
    only(
        &lines(&dump),
        "listener l1: FilterAwaited: the filter \"weir\" comes by ECDS",
    );
    let other = "/configs/2/static_listeners/1";
    *dump.pointer_mut(&format!("{other}{filters}")).unwrap() = json!({ "name": "router" });
    only(&lines(&dump), "listener l1: FilterMissing");
    let shared = lines_with(&dump, &stats(&dump));
    assert!(
        shared[0].starts_with("warning: "),
        "the listeners share routes of RDS: {shared:?}"
    );
    // A listener for HTTP/3 has the same port.
    for listener in 0..2 {
        let listener = format!("/configs/2/static_listeners/{listener}/listener");
        let address = json!({ "socket_address": { "port_value": 443 } });
        dump.pointer_mut(&listener).unwrap()["address"] = address;
    }
    let same_port = lines_with(&dump, &stats(&dump));
    assert!(same_port[0].starts_with("envoy, "), "{same_port:?}");
}

#[test]
fn runtime_values_are_read_like_envoy() {
    let structure = "goo.gle/debugstr \nfields {\n key: \"denominator\"\n value {\n string_value: \"HUNDRED\"\n }\n}\n\
                     fields {\n key: \"numerator\"\n value {\n number_value: 0\n }\n}\n";
    let off = "SwitchedOff: the runtime key weir.enabled is 0";
    let ignored = "SwitchIgnored: the runtime key weir.enabled has the value false";
    for (value, expected) in [
        ("0", off),
        ("0.4", off),
        ("0 ", off),
        (structure, off),
        ("numerator: 0", off),
        ("false", ignored),
        ("100", ""),
        ("0.5e2", ""),
        ("numerator: 5\ndenominator: MILLION", ""),
    ] {
        let mut dump = good();
        let twin = "/configs/3/static_route_configs/0/route_config/virtual_hosts/0/routes/0/match";
        dump.pointer_mut(twin).unwrap()["runtime_fraction"] =
            json!({ "default_value": { "numerator": 100 }, "runtime_key": "weir.enabled" });
        let mut running = EnvoyDump::read(&dump).unwrap();
        running.read_runtime(&json!({ "entries": { "weir.enabled": { "final_value": value } } }));
        let found: Vec<String> = findings(&running, &plan())
            .iter()
            .map(Finding::to_string)
            .collect();
        match expected {
            "" => assert_eq!(found, [""; 0], "{value}"),
            expected => only(&found, expected),
        }
    }
}

#[test]
fn filters_of_connections_are_checked() {
    let mut filter = wasm(json!({
        "control_plane": "weir", "namespace": "default", "protocol": "tcp", "cluster": "{service}",
        "root": "db.default:3306",
    }));
    filter["@type"] = "x/envoy.extensions.filters.network.wasm.v3.Wasm".into();
    let state = json!({ "on_new_connection": [{ "object_key": "envoy.tcp_proxy.cluster" }] });
    let proxy = json!({ "@type": "x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" });
    let found = |filters: &[&Value]| {
        let filters = filters
            .iter()
            .map(|it| json!({ "name": "f", "typed_config": it }));
        let filters: Vec<Value> = filters.collect();
        let clusters = ["weir", "db", "db-v2"].map(str::to_owned);
        let mut dump = dump(&[Value::Null], &clusters, &json!([]));
        dump.pointer_mut(LISTENER).unwrap()["filter_chains"] = json!([{ "filters": filters }]);
        lines(&dump)
    };
    assert_eq!(found(&[&filter, &proxy]), [""; 0]);
    assert_eq!(found(&[&state, &filter, &proxy]), [""; 0]);
    only(&found(&[&filter, &state, &proxy]), "ClusterOverwritten");
    only(&found(&[&filter]), "NoTcpProxy");
    let text = filter.pointer_mut("/config/configuration/value").unwrap();
    *text = text
        .as_str()
        .unwrap()
        .replace("\"root\":\"db.default:3306\"", "\"log_rule\":false")
        .into();
    only(&found(&[&filter, &proxy]), "NoDestination");
}

/// Returns the findings if a matcher around the filter skips requests that fit `predicate`.
fn skipping(predicate: &Value) -> Vec<String> {
    let mut dump = good();
    let place = format!("{MANAGER}/http_filters/0/typed_config");
    let filter = dump.pointer_mut(&place).unwrap();
    let skip = json!({ "@type": "x/envoy.extensions.filters.common.matcher.action.v3.SkipFilter" });
    *filter = json!({
        "xds_matcher": { "matcher_list": { "matchers": [{
            "predicate": predicate,
            "on_match": { "action": { "name": "skip", "typed_config": skip } },
        }] } },
        "extension_config": { "name": "weir", "typed_config": filter.clone() },
    });
    lines(&dump)
}

#[test]
fn matcher_that_skips_is_found() {
    let single = |header: &str, condition: Value| {
        let kind = "x/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
        let input = json!({ "typed_config": { "@type": kind, "header_name": header } });
        json!({ "single_predicate": { "input": input, "value_match": condition } })
    };
    let not = |predicate: &Value| json!({ "not_matcher": predicate });
    let never = "runs it for no request of this virtual host: requests for web.default.svc.cluster.local are not split";
    let service = single(
        ":authority",
        json!({ "prefix": "WEB", "ignore_case": true }),
    );
    only(&skipping(&service), never);
    assert_eq!(skipping(&not(&service)), [""; 0]);
    let other = single(":authority", json!({ "exact": "www.example.com" }));
    only(&skipping(&not(&other)), never);
    assert_eq!(skipping(&other), [""; 0]);
    let every = single("host", json!({ "safe_regex": { "regex": ".*" } }));
    only(
        &skipping(&json!({ "or_matcher": { "predicate": [other, every] } })),
        never,
    );
    assert_eq!(
        skipping(&json!({ "and_matcher": { "predicate": [other, every] } })),
        [""; 0]
    );
    let path = single(":path", json!({ "exact": "/healthz" }));
    assert_eq!(skipping(&path), [""; 0]);
    assert_eq!(skipping(&not(&path)), [""; 0]);
    let header = single("x-beta", json!({ "exact": "1" }));
    assert_eq!(skipping(&header), [""; 0]);
    only(
        &skipping(&not(&header)),
        "only for requests with certain headers",
    );
}

/// Adds to the dump the stream by which `weir serve` sends clusters.
fn with_stream(mut dump: Value) -> Value {
    let bootstrap = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
        "bootstrap": {
            "layered_runtime": { "layers": [{ "name": "admin", "admin_layer": {} }] },
            "dynamic_resources": { "ads_config": { "grpc_services": [{
                "envoy_grpc": { "cluster_name": "weir" },
                "initial_metadata": [{ "key": "weir-filters", "value": "{}" }],
            }] } },
        },
    });
    dump["configs"].as_array_mut().unwrap().push(bootstrap);
    dump
}

#[test]
fn open_stream_has_no_finding() {
    let dump = with_stream(good());
    let stats =
        stats(&dump) + "control_plane.connected_state: 1\ncluster.web-v1.membership_total: 1\n";
    assert_eq!(lines_with(&dump, &stats), [""; 0]);
}

#[test]
fn closed_stream_is_found() {
    let dump = with_stream(good());
    let stats = stats(&dump) + "control_plane.connected_state: 0\n";
    only(
        &lines_with(&dump, &stats),
        "PollsFail: the stream to the cluster weir is not open",
    );
}

#[test]
fn filter_may_be_on_its_way() {
    let other = wasm(json!({ "rules": [] }));
    let dump = with_stream(dump(&[other], &[], &json!([])));
    only(
        &lines_with(&dump, "control_plane.connected_state: 1\n"),
        "envoy: FilterAwaited: the control plane has not sent a filter",
    );
    let closed = lines_with(&dump, "control_plane.connected_state: 0\n");
    assert_eq!(closed.len(), 2);
    assert!(
        closed.iter().any(|it| it.starts_with("envoy: PollsFail")),
        "{closed:?}"
    );
}

#[test]
fn stream_is_not_a_poll() {
    let dump = with_stream(good());
    let stats = stats(&dump) + "control_plane.connected_state: 1\n";
    let stats = stats.replace("failures_total: 0", "failures_total: 1");
    only(
        &lines_with(&dump, &stats),
        "PollsFail: polls of the cluster weir fail",
    );
}

#[test]
fn empty_cluster_is_found() {
    let dump = with_stream(good());
    let empty = "cluster.web-v1.membership_total: 0\n";
    let found = lines_with(&dump, &(stats(&dump) + empty));
    only(&found, "its cluster web-v1 has no endpoints");
    // An operator's own cluster may have endpoints that Envoy resolves later.
    assert_eq!(lines_with(&good(), &(stats(&good()) + empty)), [""; 0]);
}

#[test]
fn unsent_and_refused_clusters_differ() {
    let mut dump = with_stream(good());
    let clusters = dump["configs"][1].to_string();
    dump["configs"][1] =
        serde_json::from_str(&clusters.replace("\"web-v1\"", "\"other\"")).unwrap();
    let stats = stats(&dump);
    only(
        &lines_with(&dump, &stats),
        "`weir serve` has not sent its cluster web-v1",
    );
    let stats = stats + "cluster_manager.cds.update_rejected: 2\n";
    only(
        &lines_with(&dump, &stats),
        "has refused clusters of `weir serve`",
    );
}
