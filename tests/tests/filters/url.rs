//! Tests redirects and rewrites, with each row of Gateway API's tables for paths and ports.

use serde_json::{Value, json};
use weir_tests::fault::Web;
use weir_tests::{Bootstrap, Connection, Envoy};

use super::received;

/// A redirect filter, a request, and the expected answer. The status is 302 if `redirect` has no status.
struct Row {
    redirect: Value,
    host: &'static str,
    path: &'static str,
    status: u16,
    location: &'static str,
}

/// Returns rows for HTTPRequestRedirectFilter. Fields that the filter omits come from the request, except the port.
fn redirects() -> Vec<Row> {
    let row = |redirect: Value, host, path, location| Row {
        status: redirect["status"].as_u64().unwrap_or(302) as u16,
        redirect,
        host,
        path,
        location,
    };
    let prefix = |prefix: &str, replacement: &str| json!({ "path": { "prefix": { "prefix": prefix, "replacement": replacement } } });
    let mut rows = vec![
        row(
            json!({ "hostname": "other.example" }),
            "a.example",
            "/x?y=1",
            "http://other.example:8080/x?y=1",
        ),
        row(
            json!({ "port": 81 }),
            "a.example",
            "/x",
            "http://a.example:81/x",
        ),
        row(json!({ "port": 80 }), "a.example", "/", "http://a.example/"),
        row(
            json!({ "scheme": "https" }),
            "a.example",
            "/x",
            "https://a.example/x",
        ),
        row(
            json!({ "scheme": "https", "port": 443 }),
            "a.example",
            "/x",
            "https://a.example/x",
        ),
        row(
            json!({ "scheme": "https", "port": 80 }),
            "a.example",
            "/x",
            "https://a.example:80/x",
        ),
        row(
            json!({ "scheme": "https", "port": 8443 }),
            "a.example",
            "/x",
            "https://a.example:8443/x",
        ),
        row(
            json!({ "scheme": "http" }),
            "a.example",
            "/x",
            "http://a.example/x",
        ),
        row(
            json!({ "scheme": "http", "port": 443 }),
            "a.example",
            "/x",
            "http://a.example:443/x",
        ),
        row(
            json!({ "hostname": "b.example", "port": 80, "path": { "full": "/new" } }),
            "a.example",
            "/x/y?z",
            "http://b.example/new?z",
        ),
        // The port in the Host may be the port of a load balancer, so the redirect uses the listener's port.
        row(
            json!({ "path": { "full": "/new" } }),
            "a.example:9999",
            "/x",
            "http://a.example:8080/new",
        ),
    ];
    for status in [301, 302, 303, 307, 308] {
        let redirect = json!({ "port": 80, "status": status });
        rows.push(row(redirect, "a.example", "/", "http://a.example/"));
    }
    for (from, to, path, expected) in PREFIXES {
        let mut redirect = prefix(from, to);
        redirect["port"] = json!(80);
        let location = format!("http://a.example{expected}").leak();
        rows.push(row(redirect, "a.example", path, location));
    }
    rows
}

/// Rows for ReplacePrefixMatch: prefix, replacement, path, new path.
const PREFIXES: [(&str, &str, &str, &str); 14] = [
    ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
    ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
    ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
    ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
    ("/foo", "/xyz", "/foo", "/xyz"),
    ("/foo", "/xyz", "/foo/", "/xyz/"),
    ("/foo/", "/xyz", "/foo", "/xyz"),
    ("/foo", "", "/foo/bar", "/bar"),
    ("/foo", "/", "/foo/bar", "/bar"),
    ("/foo", "", "/foo", "/"),
    ("/foo", "/", "/foo", "/"),
    ("/foo", "", "/foo/", "/"),
    ("/foo", "/", "/foo/", "/"),
    ("/", "/xyz", "/bar?a=/foo", "/xyz/bar?a=/foo"),
];

/// Returns the configuration of a Gateway. Its listener `http` has the port 8080, and its only rule has these filters.
fn edge(filters: &Value) -> Value {
    json!({
        "version": 1,
        "listeners": { "http": { "port": 8080 } },
        "hosts": [{
            "hosts": { "gateway": { "ports": { "http": 8080 } } },
            "matches": [{ "listeners": ["http"], "rule": "web" }],
        }],
        "rules": { "web": {
            "filters": filters,
            "backends": [{
                "weight": 1,
                "to": { "service": { "name": "web-v1", "namespace": "default", "port": 80 } },
            }],
        } },
    })
}

pub fn edge_plugin(filters: &Value) -> String {
    let plugin = json!({
        "gateway": "default/edge",
        "listener": "http",
        "initial": edge(filters),
    });
    plugin.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_follow_the_specification() {
    let rows = redirects();
    let mut bootstrap = Bootstrap::default();
    for (index, row) in rows.iter().enumerate() {
        let mut redirect = row.redirect.clone();
        redirect["status"] = json!(row.status);
        let plugin = edge_plugin(&json!({ "redirect": redirect }));
        bootstrap = bootstrap.listener(&format!("edge-{index}"), &plugin, None);
    }
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    for (index, row) in rows.iter().enumerate() {
        let address = envoy.listener(&format!("edge-{index}"));
        let mut connection = Connection::open(address).await;
        let answer = connection.get(row.host, row.path).await;
        let got = (answer.status.as_u16(), answer.header("location"));
        assert_eq!(
            got,
            (row.status, row.location),
            "{} {}",
            row.redirect,
            row.path
        );
        assert_eq!(answer.text(), "", "{}", row.redirect);
    }
    envoy.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_follow_the_specification() {
    let rewrite = |rewrite: Value| edge_plugin(&json!({ "rewrite": rewrite }));
    let web = Web::start().await;
    let mut bootstrap = web.bootstrap(web.v1.address).listener(
        "host",
        &rewrite(json!({ "hostname": "inner.example", "path": { "full": "/all" } })),
        None,
    );
    for (index, (prefix, replacement, ..)) in PREFIXES.iter().enumerate() {
        let edit = json!({ "prefix": prefix, "replacement": replacement });
        let plugin = rewrite(json!({ "path": { "prefix": edit } }));
        bootstrap = bootstrap.listener(&format!("prefix-{index}"), &plugin, None);
    }
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let mut connection = Connection::open(envoy.listener("host")).await;
    let answer = connection.get("a.example:99", "/x?y=1").await;
    assert_eq!(answer.json()["path"], "/all?y=1");
    assert_eq!(received(&answer, "host"), ["inner.example"]);
    for (index, (prefix, replacement, path, expected)) in PREFIXES.iter().enumerate() {
        let address = envoy.listener(&format!("prefix-{index}"));
        let answer = Connection::open(address).await.get("a.example", path).await;
        let why = format!("{prefix:?} -> {replacement:?} on {path}");
        assert_eq!(answer.json()["path"], *expected, "{why}");
        assert_eq!(received(&answer, "host"), ["a.example"], "{why}");
    }
}
