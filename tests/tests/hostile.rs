//! Sends requests like an attacker. No byte must trap the filter or change its decision. The routing header
//! (`x-weir-cluster`) must never reach a backend.

use std::net::SocketAddr;

use serde_json::json;
use weir_tests::fault::{Web, document, raw, raw_request};
use weir_tests::{Answer, Connection, Echo, Envoy};

/// A cluster that an attacker wants to reach.
const WISH: &str = "web-v2.default.svc.cluster.local:80";

/// Lua script that runs before the filter. It moves the headers `x-as-host` and `x-as-path` into the host and the path,
/// because Envoy rejects some bytes in a client's host or path.
const ALTER: &str = r#"
function envoy_on_request(handle)
  for name, header in pairs({ ["x-as-host"] = ":authority", ["x-as-path"] = ":path" }) do
    local value = handle:headers():get(name)
    if value then
      handle:headers():replace(header, value)
      handle:headers():remove(name)
    end
  end
end
"#;

/// An Envoy with two listeners and without a control plane.
///
/// - At `sidecar`, requests to the host `web` go to `v2` if the path is `/two` or below `/two`, otherwise to `v1`.
///   Requests to other hosts go to `ordinary`.
/// - At `edge`, requests to any host go to `v1` if the path is `/edge` or below `/edge`. Other requests get 404.
struct Proxy {
    envoy: Envoy,
    _web: Web,
    _ordinary: Echo,
}

impl Proxy {
    async fn start() -> Proxy {
        let web = Web::start().await;
        let ordinary = Echo::start("ordinary").await;
        let mut sidecar = document([1, 0]);
        sidecar["rules"]["two"] = document([0, 1])["rules"]["web"].take();
        sidecar["hosts"][0]["matches"] = json!([
            { "path": { "prefix": "/two" }, "rule": "two" },
            { "rule": "web" },
        ]);
        let mut edge = document([1, 0]);
        edge["listeners"] = json!({ "http": { "port": 80 } });
        edge["hosts"] = json!([{
            "hosts": { "gateway": { "ports": { "http": 80 } } },
            "matches": [{ "path": { "prefix": "/edge" }, "rule": "web" }],
            "unmatched": "not_found",
        }]);
        let sidecar = json!({ "namespace": "default", "initial": sidecar });
        let edge = json!({ "gateway": "default/edge", "initial": edge });
        let bootstrap = web
            .bootstrap(ordinary.address)
            .lua(ALTER)
            .cluster("ordinary", ordinary.address)
            .listener("sidecar", &sidecar.to_string(), Some("ordinary"))
            .listener("edge", &edge.to_string(), Some("ordinary"));
        Proxy {
            envoy: Envoy::start(&bootstrap.build(), 2).await,
            _web: web,
            _ordinary: ordinary,
        }
    }

    async fn send(&self, listener: &str, host: &[u8], path: &[u8], lines: &[&[u8]]) -> Answer {
        let request = raw_request(host, path, lines);
        raw(self.envoy.listener(listener), &request).await
    }

    async fn assert_unharmed(&self) {
        self.envoy.assert_no_traps().await;
        let log = self.envoy.log();
        assert!(!log.contains("[critical]"), "{log}");
    }
}

/// Returns the backend that answered. Returns the status if no backend answered.
#[track_caller]
fn who(answer: &Answer) -> String {
    match answer.header("identity") {
        "" => answer.status.as_u16().to_string(),
        backend => {
            assert_eq!(routing_headers(answer), 0, "{answer:?}");
            backend.to_owned()
        }
    }
}

/// Returns the number of routing headers that the backend received, in upper or lower case.
fn routing_headers(answer: &Answer) -> usize {
    let body = answer.json();
    let headers = body["headers"].as_array().expect("headers").iter();
    let name = |pair: &serde_json::Value| pair[0].as_str().expect("a name").to_lowercase();
    headers
        .filter(|pair| name(pair) == "x-weir-cluster")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_hosts_are_harmless() {
    let proxy = Proxy::start().await;
    let long = vec![b'a'; 60 << 10];
    // The expected answers at `sidecar`. At `edge` every host that Envoy accepts goes to `v1`.
    let hosts: &[(&[u8], &str)] = &[
        (b"web", "v1"),
        (b"WEB.", "v1"),
        (b"web:80", "v1"),
        (b"web:0080", "v1"),
        (b"web\t", "v1"),
        (b"", "ordinary"),
        (&long, "ordinary"),
        (b"web%00", "ordinary"),
        (b"[::1]", "ordinary"),
        (b"[::1]:80", "ordinary"),
        (b"[web]:80", "ordinary"),
        (b"::1", "ordinary"),
        (b"[", "ordinary"),
        (b"web:80:80", "ordinary"),
        (b"web::80", "ordinary"),
        (b"web:", "ordinary"),
        (b":80", "ordinary"),
        (b"web:99999", "ordinary"),
        (b"web:-1", "ordinary"),
        (b"user@web", "ordinary"),
        (b".", "ordinary"),
        (b"web..", "ordinary"),
        (b"we,b", "ordinary"),
        // Envoy rejects these hosts.
        (b"caf\xe9", "400"),
        (b"web\x00", "400"),
        (b"web/", "400"),
    ];
    for (host, expected) in hosts {
        let shown = host[..host.len().min(40)].escape_ascii();
        let answer = proxy.send("sidecar", host, b"/edge", &[]).await;
        assert_eq!(who(&answer), *expected, "sidecar {shown}");
        let expected = if *expected == "400" { "400" } else { "v1" };
        let answer = proxy.send("edge", host, b"/edge", &[]).await;
        assert_eq!(who(&answer), expected, "edge {shown}");
    }
    proxy.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_are_harmless() {
    let proxy = Proxy::start().await;
    let long = [b"/two/".as_slice(), &vec![b'a'; 60 << 10]].concat();
    // The expected answers at `sidecar`. At `edge` none of these paths matches a rule.
    let paths: &[(&[u8], &str)] = &[
        (b"/two", "v2"),
        (b"/two/", "v2"),
        (b"/two?/x", "v2"),
        (b"/two/%00", "v2"),
        (b"/two/%ff%fe", "v2"),
        (&long, "v2"),
        (b"http://web/two", "v2"),
        (b"http://web:80/two", "v2"),
        (b"/", "v1"),
        (b"/two%00", "v1"),
        (b"/%2e%2e/two", "v1"),
        (b"/x/../two", "v1"),
        (b"//two", "v1"),
        (b"/Two", "v1"),
        (b"/two;a", "v1"),
        (b"/?/two", "v1"),
        (b"http://web", "v1"),
        (b"http://[::1]/two", "ordinary"),
        (b"http://user@web/two", "v2"),
        // Envoy rejects these paths.
        (b"", "400"),
        (b"*", "400"),
        (b"two", "400"),
        (b"/two\xff", "400"),
        (b"/two\x00", "400"),
        (b"/two#x", "400"),
    ];
    for (path, expected) in paths {
        let shown = path[..path.len().min(40)].escape_ascii();
        let answer = proxy.send("sidecar", b"web", path, &[]).await;
        assert_eq!(who(&answer), *expected, "sidecar {shown}");
        let expected = if *expected == "400" { "400" } else { "404" };
        let answer = proxy.send("edge", b"web", path, &[]).await;
        assert_eq!(who(&answer), expected, "edge {shown}");
    }
    proxy.assert_unharmed().await;
}

/// Envoy's HTTP/1 codec rejects these bytes in a Host or a path. Other codecs or filters may accept them.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_above_127_are_harmless() {
    let proxy = Proxy::start().await;
    let long = [b"x-as-host: ".as_slice(), &vec![0xff; 60 << 10]].concat();
    let long_path = [b"x-as-path: /two/".as_slice(), &vec![0xff; 60 << 10]].concat();
    let web = WISH.replace("-v2", "-v1");
    let cases: &[(&[u8], &str, &str)] = &[
        (b"x-as-host: caf\xe9", "ordinary", ""),
        (b"x-as-host: web\xff", "ordinary", ""),
        (b"x-as-host: \xff\xfe:80", "ordinary", ""),
        (b"x-as-host: web:8\xff", "ordinary", ""),
        (b"x-as-host: [\xff", "ordinary", ""),
        (&long, "ordinary", ""),
        (b"x-as-path: /two\xff", &web, ""),
        (b"x-as-path: /two/\xff\xfe", WISH, ""),
        (b"x-as-path: /edge/\xc3\xa9", &web, &web),
        (b"x-as-path: /\xff", &web, ""),
        (&long_path, WISH, ""),
    ];
    for (line, sidecar, edge) in cases {
        let shown = line[..line.len().min(40)].escape_ascii();
        let path: &[u8] = b"/none";
        for (listener, expected) in [("sidecar", sidecar), ("edge", edge)] {
            let answer = proxy.send(listener, b"web", path, &[line]).await;
            if expected.is_empty() {
                assert_eq!(answer.status, 404, "{listener} {shown}");
                assert!(answer.text().starts_with("weir: no rule"), "{answer:?}");
            } else {
                // Compare only the cluster, because some backends reject such a request.
                assert_eq!(answer.header("x-cluster"), *expected, "{listener} {shown}");
            }
        }
    }
    proxy.assert_unharmed().await;
}

/// Law 5 of ARCHITECTURE.md: a header that names a cluster never comes from outside and never reaches a backend.
#[tokio::test(flavor = "multi_thread")]
async fn routing_header_of_clients_is_removed() {
    let proxy = Proxy::start().await;
    let wish = |name: &str| format!("{name}: {WISH}").into_bytes();
    let (lower, upper) = (wish("x-weir-cluster"), wish("X-WEIR-CLUSTER"));
    let sent: &[&[&[u8]]] = &[
        &[],
        &[&lower],
        &[&upper],
        &[&lower, &lower],
        &[&upper, &lower],
        &[b"x-weir-cluster:"],
        &[b"x-weir-cluster: \xff\xfe"],
        &[b"x-weir-cluster: ordinary", &upper],
    ];
    let mut admin = Connection::open(proxy.envoy.admin).await;
    for lines in sent {
        let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii()).collect();
        let cases = [
            // One request matches, two requests do not match, and the filter itself answers the last request.
            ("sidecar", b"web".as_slice(), "v1"),
            ("sidecar", b"elsewhere", "ordinary"),
            ("sidecar", b"", "ordinary"),
            ("edge", b"web", "404"),
        ];
        for (listener, host, expected) in cases {
            let answer = proxy.send(listener, host, b"/", lines).await;
            assert_eq!(who(&answer), expected, "{listener} {host:?} {shown:?}");
        }
        // Switch splits off, and then on again.
        for (percent, expected) in [(0, "ordinary"), (100, "v1")] {
            let switch = format!("/runtime_modify?weir.enabled={percent}");
            assert_eq!(admin.post("admin", &switch).await.status, 200);
            let answer = proxy.send("sidecar", b"web", b"/", lines).await;
            assert_eq!(who(&answer), expected, "{percent} % {shown:?}");
        }
    }
    proxy.assert_unharmed().await;
}

/// With `ordinary_route_serves_root` the ordinary route serves the root, which is the Service that the client calls.
/// If the filter picks the root, it must set no routing header and must remove the client's routing header.
#[tokio::test(flavor = "multi_thread")]
async fn root_pick_sends_no_routing_header() {
    let web = Web::start().await;
    let root = Echo::start("root").await;
    let mut config = document([1, 0]);
    config["rules"]["web"]["backends"][0]["to"]["service"]["name"] = "web".into();
    let plugin = json!({
        "namespace": "default",
        "ordinary_route_serves_root": true,
        "initial": config,
    });
    let bootstrap = web
        .bootstrap(root.address)
        .cluster("web.default.svc.cluster.local:80", root.address)
        .cluster("ordinary", root.address)
        .listener("sidecar", &plugin.to_string(), Some("ordinary"));
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let address: SocketAddr = envoy.listener("sidecar");
    for name in ["x-weir-cluster", "X-Weir-Cluster"] {
        let line = format!("{name}: {WISH}");
        let lines: [&[&[u8]]; 3] = [&[], &[line.as_bytes()], &[line.as_bytes(), line.as_bytes()]];
        for lines in lines {
            let answer = raw(address, &raw_request(b"web", b"/", lines)).await;
            assert_eq!(who(&answer), "root");
            assert_eq!(
                answer.header("x-cluster"),
                "ordinary",
                "the cluster of the ordinary route"
            );
        }
    }
    envoy.assert_no_traps().await;
}
