use super::*;
use crate::matching::pattern::Effort;

/// `name=value` for set, `name+=value` for add, `-name` for remove.
fn describe(edits: &[Edit]) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let show = |edit: &Edit| match edit {
        Edit::Set(name, value) => format!("{name}={}", text(value)),
        Edit::Add(name, value) => format!("{name}+={}", text(value)),
        Edit::Remove(name) => format!("-{name}"),
    };
    edits.iter().map(show).collect()
}

fn level(json: &str) -> Result<FilterLevel, Refusal> {
    FilterLevel::compile(Some(&serde_json::from_str(json).unwrap()))
}

fn request(edits: &Edits, path: &str) -> Vec<String> {
    let mut read = |name: &str| (name == ":path").then(|| path.as_bytes().to_vec());
    describe(&edits.request(&mut RequestView::new(b"a", &Effort::default(), &mut read)))
}

#[test]
fn rule_edits_come_before_backend_edits() {
    let rule = level(
        r#"{"request_headers":{"remove":["X-Gone"],"add":[{"name":"x-a","value":"1"}],"set":[{"name":"X-S","value":"rule"},{"name":"Host","value":"c"}]},
            "response_headers":{"set":[{"name":"x-r","value":"rule"}]},
            "rewrite":{"hostname":"B.example","path":{"full":"/v1/old"}}}"#,
    );
    let backend = level(
        r#"{"request_headers":{"set":[{"name":"x-s","value":"backend"}]},
            "response_headers":{"remove":["x-r"]},
            "rewrite":{"path":{"prefix":{"prefix":"/v1","replacement":"/v2"}}}}"#,
    );
    let time = [set("x-t", "5"), Edit::Remove("x-s".into())];
    let edits = Edits::new(&rule.unwrap(), backend.unwrap(), &time).unwrap();
    assert_eq!(
        request(&edits, "/new?q"),
        [
            "-x-s",
            "x-s=rule",
            ":authority=c",
            "x-a+=1",
            "-x-gone",
            ":authority=b.example",
            "x-s=backend",
            "x-t=5",
            ":path=/v2/old?q"
        ]
    );
    assert_eq!(describe(&edits.response.unwrap()), ["x-r=rule", "-x-r"]);
}

#[test]
fn no_filters_give_no_edits() {
    assert!(Edits::new(&FilterLevel::default(), FilterLevel::default(), &[]).is_none());
    let response = level(r#"{"response_headers":{"remove":["a"]}}"#).unwrap();
    let edits = Edits::new(&response, FilterLevel::default(), &[]).unwrap();
    assert!(request(&edits, "/").is_empty());
    let one = level(r#"{"request_headers":{"remove":["a"]}}"#).unwrap();
    let edits = Edits::new(&one, FilterLevel::default(), &[]).unwrap();
    assert_eq!(edits.response, None);
}

#[test]
fn timeouts_and_retries_become_headers() {
    let retry_edits = |timeouts: &str, retry: &str| {
        let timeouts = serde_json::from_str(timeouts).unwrap();
        retry_edits(&timeouts, &serde_json::from_str(retry).unwrap())
    };
    assert_eq!(describe(&retry_edits("{}", "null").unwrap()), [""; 0]);
    assert_eq!(
        describe(&retry_edits(r#"{"request":0,"backend_request":500}"#, "null").unwrap()),
        [
            "x-envoy-upstream-rq-timeout-ms=0",
            "x-envoy-upstream-rq-per-try-timeout-ms=500",
            "-x-envoy-hedge-on-per-try-timeout",
            "-x-envoy-max-retries",
            "-x-envoy-retry-on",
            "-x-envoy-retry-grpc-on",
            "-x-envoy-retriable-status-codes",
            "-x-envoy-retriable-header-names"
        ]
    );
    assert_eq!(
        describe(&retry_edits("{}", r#"{"attempts":2,"codes":[500,503]}"#).unwrap()),
        [
            "x-envoy-max-retries=2",
            "x-envoy-retry-on=connect-failure,refused-stream,reset,retriable-status-codes",
            "x-envoy-retriable-status-codes=500,503",
            "-x-envoy-upstream-rq-timeout-ms",
            "-x-envoy-upstream-rq-per-try-timeout-ms",
            "-x-envoy-hedge-on-per-try-timeout",
            "-x-envoy-retry-grpc-on",
            "-x-envoy-retriable-header-names"
        ]
    );
    assert_eq!(
        describe(&retry_edits("{}", r#"{"attempts":1}"#).unwrap()),
        [
            "x-envoy-max-retries=1",
            "x-envoy-retry-on=connect-failure,refused-stream,reset",
            "-x-envoy-upstream-rq-timeout-ms",
            "-x-envoy-upstream-rq-per-try-timeout-ms",
            "-x-envoy-hedge-on-per-try-timeout",
            "-x-envoy-retry-grpc-on",
            "-x-envoy-retriable-status-codes",
            "-x-envoy-retriable-header-names"
        ]
    );
    for (bad, place) in [
        (r#"{"attempts":0}"#, "retry.attempts"),
        (r#"{"attempts":1,"codes":[200]}"#, "retry.codes"),
    ] {
        let refusal = retry_edits("{}", bad).unwrap_err().to_string();
        assert!(refusal.starts_with(place), "{refusal}");
    }
}

#[test]
fn refusal_names_the_bad_filter() {
    for (bad, place) in [
        (
            r#"{"request_headers":{"set":[{"name":"a b","value":""}]}}"#,
            "request_headers.set[0].name",
        ),
        (
            r#"{"request_headers":{"add":[{"name":":path","value":"/"}]}}"#,
            "request_headers.add[0].name",
        ),
        (
            r#"{"request_headers":{"remove":["a","Host"]}}"#,
            "request_headers",
        ),
        (
            r#"{"request_headers":{"remove":[""]}}"#,
            "request_headers.remove[0].name",
        ),
        (
            r#"{"response_headers":{"set":[{"name":"a","value":"b\r\nset-cookie: c"}]}}"#,
            "response_headers.set[0].value",
        ),
        (r#"{"rewrite":{"hostname":"a/b"}}"#, "rewrite.hostname"),
        (
            r#"{"rewrite":{"path":{"full":"/\n"}}}"#,
            "rewrite.path.full",
        ),
        (r#"{"redirect":{"status":200}}"#, "redirect.status"),
    ] {
        let refusal = level(bad).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("{place}: ")), "{refusal}");
    }
}

#[test]
fn framing_headers_cannot_be_edited() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ] {
        for side in ["request_headers", "response_headers"] {
            for (list, entry, place) in [
                (
                    "set",
                    format!(r#"{{"name":"{name}","value":"3"}}"#),
                    "set[0].name",
                ),
                (
                    "add",
                    format!(r#"{{"name":"{name}","value":"3"}}"#),
                    "add[0].name",
                ),
                ("remove", format!(r#""{name}""#), "remove[0].name"),
            ] {
                let refusal = level(&format!(r#"{{"{side}":{{"{list}":[{entry}]}}}}"#));
                let refusal = refusal.unwrap_err().to_string();
                assert!(
                    refusal.starts_with(&format!("{side}.{place}: ")),
                    "{refusal}"
                );
            }
        }
    }
}
