//! Tests of TrafficSplits, alone and together with routes.

use super::*;

#[test]
fn split_has_one_rule_per_port() {
    check(
        &split(
            "s",
            "null",
            "{service: web.shop, backends: [{service: web-v1, weight: 90}, {service: web-v2, weight: 10}, {service: soon, weight: 0}]}",
        ),
        Scope::Producers,
        &[
            "web.shop:80! -> / TrafficSplit/shop/s:80/http",
            "web.shop:9090 -> / TrafficSplit/shop/s:9090/http",
            "TrafficSplit/shop/s:80/http = web-v1.shop:80 90, web-v2.shop:80 10",
            "TrafficSplit/shop/s:9090/http = web-v1.shop:9090 90",
        ],
        &["shop/s spec.backends[1].service PortNotFound"],
    );
}

#[test]
fn root_keeps_traffic_without_backends() {
    check(
        &split(
            "s",
            "null",
            "{service: 'web:80', backends: [{service: web-v1, weight: 0}, {service: gone, weight: 1}]}",
        ),
        Scope::Producers,
        &[
            "web.shop:80! -> / TrafficSplit/shop/s:80/http",
            "TrafficSplit/shop/s:80/http = web.shop:80 1",
        ],
        &["shop/s spec.backends[1].service BackendNotFound"],
    );
}

#[test]
fn missing_roots_are_problems() {
    let manifests = [
        split("a", "null", "{service: gone, backends: []}"),
        split("b", "null", "{service: far.back, backends: []}"),
        split("c", "null", "{service: 'web:81', backends: []}"),
        split("d", "null", "{service: '', backends: []}"),
    ];
    check(
        &manifests.concat(),
        Scope::Producers,
        &[],
        &[
            "shop/d spec.service InvalidValue",
            "shop/a spec.service RootNotFound",
            "shop/b spec.service RefNotPermitted",
            "shop/c spec.service PortNotFound",
        ],
    );
}

#[test]
fn literal_host_serves_its_namespace() {
    let host = split(
        "s",
        "null",
        "{service: Shop.Example.com, backends: [{service: web-v1, weight: 1}, {service: web-v2, weight: 0}]}",
    );
    let expected = [
        "shop.example.com:80!* -> / TrafficSplit/shop/s:80/http",
        "shop.example.com:9090 -> / TrafficSplit/shop/s:9090/http",
        "TrafficSplit/shop/s:80/http = web-v1.shop:80 1, web-v2.shop:80 0",
        "TrafficSplit/shop/s:9090/http = web-v1.shop:9090 1",
    ];
    let limit = ["shop/s spec.service OwnNamespaceOnly"];
    check(&host, namespace("shop"), &expected, &limit);
    check(&host, namespace("front"), &[], &limit);
    check(&host, Scope::Edge, &expected, &limit);
    check(&host, Scope::Producers, &[], &limit);
    check(&host, edge(), &[], &limit);
    let idle = split(
        "s",
        "null",
        "{service: shop.example.com, backends: [{service: web-v1, weight: 0}]}",
    );
    check(
        &idle,
        namespace("shop"),
        &[],
        &["shop/s spec.backends NoTraffic"],
    );
}

#[test]
fn split_without_port_loses_host() {
    let host = |name: &str, created: &str, backend: &str| {
        split(
            name,
            created,
            &format!(
                "{{service: 'shop.example.com:8080', backends: [{{service: {backend}, weight: 1}}]}}"
            ),
        )
    };
    let splits = host("old", "2020-01-01T00:00:00Z", "web-v1")
        + &host("young", "2021-01-01T00:00:00Z", "two");
    check(
        &splits,
        namespace("shop"),
        &[
            "shop.example.com:8080 -> / TrafficSplit/shop/young:8080/http",
            "TrafficSplit/shop/young:8080/http = two.shop:8080 1",
        ],
        &[
            "shop/old spec.backends PortNotFound",
            "shop/young spec.service OwnNamespaceOnly",
        ],
    );
}

#[test]
fn routes_then_oldest_splits_win() {
    let backends = "backends: [{service: web-v1, weight: 1}]";
    let splits = [
        split("a", "null", &format!("{{service: 'web:80', {backends}}}")),
        split(
            "b",
            "2021-01-01T00:00:00Z",
            &format!("{{service: web, {backends}}}"),
        ),
        split(
            "c",
            "2020-01-01T00:00:00Z",
            &format!("{{service: 'web:80', {backends}}}"),
        ),
    ]
    .concat();
    check(
        &splits,
        Scope::Producers,
        &[
            "web.shop:80! -> / TrafficSplit/shop/c:80/http",
            "web.shop:9090 -> / TrafficSplit/shop/b:9090/http",
            "TrafficSplit/shop/b:9090/http = web-v1.shop:9090 1",
            "TrafficSplit/shop/c:80/http = web-v1.shop:80 1",
        ],
        &[
            "shop/a spec.service Conflicted",
            "shop/b spec.service Conflicted",
        ],
    );
    let with_route = splits
        + &route(
            "shop",
            "{parentRefs: [{group: '', kind: Service, name: web, port: 9090}], rules: [{backendRefs: [{name: web-v2, port: 80}]}]}",
        );
    let (plan, problems) = translated(&with_route);
    assert_eq!(
        lines(&scope(&plan, &Scope::Producers))[1],
        "web.shop:9090 -> / HTTPRoute/shop/r@web.shop:9090"
    );
    // b loses port 80 to c, and port 9090 to the route.
    let lost = ["a", "b", "b"].map(|name| format!("shop/{name} spec.service Conflicted"));
    assert_eq!(problems, lost);
}
