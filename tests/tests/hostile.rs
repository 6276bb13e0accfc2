//! Requests that nobody sends by accident: no byte of them traps the filter, decides for it, or brings the
//! routing header to a backend.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weir_tests::fault::{Web, document, raw, raw_request};
use weir_tests::{Answer, Connection, Echo, Envoy};

const V2_CLUSTER: &str = "web-v2.default.svc.cluster.local:80";

#[tokio::test(flavor = "multi_thread")]
async fn probe() {
    let proxy = Proxy::start(json!({})).await;
    let long = vec![b'a'; 60 << 10];
    let long_path = [b"/", long.as_slice()].concat();
    let hosts: Vec<&[u8]> = vec![b"web", b"WEB.", b"caf\xe9", b"\xff\xfe", b"web\xff", b"", &long, b"web%00", b"[::1]", b"[::1]:80", b"::1", b"web:80:80", b"web:", b":80", b"web:80", b"web:99999", b"[", b"web:0080", b"a b", b"web/", b"web\x00", b"user@web", b".", b"web..", b"we,b", b"web\t"];
    for l in ["sidecar", "edge"] {
    for host in hosts.iter() {
        let a = raw(proxy.envoy.listener(l), &raw_request(host, b"/edge", &[])).await;
        println!("{l} host {} -> {} {} {}", host[..host.len().min(20)].escape_ascii(), a.status, a.header("identity"), a.text().chars().take(50).collect::<String>());
    }
    let paths: Vec<&[u8]> = vec![b"/two", b"/two\xff", b"/\xc3\xa9", b"", b"*", b"two", &long_path, b"/two/%00", b"/two%00", b"/%2e%2e/two", b"/x/../two", b"//two", b"/two?\xff", b"/two#x", b"/two\x00", b"http://web/two", b"http://web:80/two", b"/two;a", b"/edge", b"/edge/\xff\xfe", b"http://\xff/edge", b"http://[::1]/edge"];
    for path in paths.iter() {
        let a = raw(proxy.envoy.listener(l), &raw_request(b"web", path, &[])).await;
        println!("{l} path {} -> {} {} {}", path[..path.len().min(20)].escape_ascii(), a.status, a.header("identity"), a.text().chars().take(50).collect::<String>());
    }
    }
    proxy.envoy.assert_no_traps().await;
    println!("{}", proxy.envoy.log());
}

struct Proxy {
    envoy: Envoy,
    _web: Web,
    _ordinary: Echo,
}
impl Proxy {
    async fn start(_more: Value) -> Proxy {
        let web = Web::start().await;
        let ordinary = Echo::start("ordinary").await;
        let mut sidecar = document([1, 0]);
        sidecar["rules"]["two"] = document([0, 1])["rules"]["web"].take();
        sidecar["hosts"][0]["matches"] = json!([
            { "path": { "prefix": "/two" }, "rule": "two" }, { "rule": "web" },
        ]);
        let mut edge = document([1, 0]);
        edge["hosts"] = json!([{
            "hosts": { "gateway": {} },
            "matches": [{ "path": { "prefix": "/edge" }, "rule": "web" }],
            "unmatched": "not_found",
        }]);
        let sidecar = json!({ "namespace": "default", "initial": sidecar });
        let edge = json!({ "gateway": "default/edge", "initial": edge });
        let bootstrap = web.bootstrap(ordinary.address).cluster("ordinary", ordinary.address)
            .listener("sidecar", &sidecar.to_string(), Some("ordinary"))
            .listener("edge", &edge.to_string(), Some("ordinary"));
        Proxy { envoy: Envoy::start(&bootstrap.build(), 1).await, _web: web, _ordinary: ordinary }
    }
}
