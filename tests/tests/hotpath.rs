//! Counts the calls between a real Envoy and the filter for one request. `scripts/bench` measures the time.

use serde_json::{Value, json};
use weir_tests::fault::{Web, document};
use weir_tests::{Bootstrap, Connection, Envoy};

/// Returns the calls for one request to this host, in order. `>` marks a call from Envoy to the filter. `<` marks a
/// call from the filter to Envoy.
async fn calls(envoy: &Envoy, listener: &str, host: &str) -> Vec<String> {
    let mut connection = Connection::open(envoy.listener(listener)).await;
    let mut admin = Connection::open(envoy.admin).await;
    admin.post("admin", "/logging?wasm=trace").await;
    let before = envoy.log().len();
    connection.get(host, "/").await;
    admin.post("admin", "/logging?wasm=info").await;
    let log = envoy.log()[before..].to_owned();

    let mut lines = log
        .lines()
        .skip_while(|line| !line.contains("proxy_on_context_create("));
    let first = lines.next().unwrap_or_else(|| panic!("{log}"));
    // A line of the log begins with `[date][thread][level]`.
    let thread = first.split(['[', ']']).nth(3).expect("a thread");
    let lines = lines.filter(|line| line.contains(&format!("[{thread}]")));
    let (mut calls, mut in_tick) = (vec![">context_create".to_owned()], false);
    for line in lines {
        in_tick = in_tick || line.contains("[host->vm] proxy_on_tick");
        let call = [
            ("[host->vm] proxy_on_", '>'),
            ("[vm->host] env.proxy_", '<'),
        ];
        let call = call.iter().find_map(|(mark, way)| {
            let (_, call) = line.split_once(mark)?;
            Some(format!("{way}{}", call.split('(').next()?))
        });
        calls.extend(call.filter(|_| !in_tick));
        in_tick = in_tick && !line.contains("[host<-vm] proxy_on_tick");
        if line.contains("[host->vm] proxy_on_delete") {
            return calls;
        }
    }
    panic!("the log lacks the end of the request:\n{log}");
}

fn plugin(document: &Value) -> String {
    json!({ "namespace": "default", "initial": document }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_cost_one_read_one_write() {
    let weights = document([1, 1]);
    let mut header = document([1, 1]);
    header["hosts"][0]["matches"] = json!([
        { "headers": [{ "name": "x-user", "value": { "exact": "a" } }], "rule": "web" },
        { "rule": "web" },
    ]);
    let everyone = json!({ "version": 1, "access": "everyone" });
    let inbound = json!({
        "namespace": "default", "service_account": "web", "direction": "inbound",
        "trust_domain": "cluster.local", "initial": everyone,
    });
    let web = Web::start().await;
    let bootstrap: Bootstrap = web
        .bootstrap(web.v1.address)
        .listener("weights", &plugin(&weights), None)
        .listener("header", &plugin(&header), None)
        .listener("inbound", &inbound.to_string(), None)
        .listener("lean", &plugin(&weights), None)
        .lean();
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    // If the header exists, Envoy also allocates memory in the filter for the value.
    let reads = [
        ">context_create",
        ">request_headers",
        "<get_header_map_value",
        ">memory_allocate",
    ];
    // Envoy calls `weir.wasm` for every response, even without edits. It does not call `weir-lean.wasm`.
    let end = [">response_headers", ">delete"];
    for (listener, host, more, end) in [
        (
            "weights",
            "web",
            &["<replace_header_map_value"][..],
            &end[..],
        ),
        ("weights", "other", &["<remove_header_map_value"], &end),
        // The request lacks the header x-user, so this read allocates no memory.
        (
            "header",
            "web",
            &["<get_header_map_value", "<replace_header_map_value"],
            &end,
        ),
        ("header", "other", &["<remove_header_map_value"], &end),
        // The filter reads the path to check for dot segments. It does not read the identity of the client, because
        // everyone has access.
        (
            "inbound",
            "web",
            &[
                "<get_header_map_value",
                ">memory_allocate",
                "<remove_header_map_value",
            ],
            &end,
        ),
        ("lean", "web", &["<replace_header_map_value"], &[">delete"]),
    ] {
        let got = calls(&envoy, listener, host).await;
        let expected = [&reads[..], more, end].concat();
        assert_eq!(got, expected, "{listener} {host}");
    }
}
