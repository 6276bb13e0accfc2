//! Tests of a watch. The API server of these tests sends the answers of a script, one after another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;

use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request as HttpRequest, Response};
use kube::client::Body;
use tokio::sync::Notify;

use super::*;
use crate::source::kubernetes::cluster_versions::ClusterVersions;
use crate::source::kubernetes::resource::ApiResource;
use weir_core::api::smi::traffic_target::Policy;

const VERSION_0: Served = Served {
    version: "v1alpha4",
    has_status: true,
};

/// A status code and two texts. The first text is sent at once. The second text is sent each minute until the term of a
/// watch is over. If the second text is empty, the answer ends at once.
type Answer = (u16, String, String);

/// The status code of an answer that never comes.
const NEVER: u16 = 0;

fn list(version: &str, more: &str, names: &[&str]) -> Answer {
    let item = |name: &&str| format!(r#"{{"metadata":{{"name":"{name}","namespace":"shop"}}}}"#);
    let items: Vec<String> = names.iter().map(item).collect();
    let metadata = format!(r#"{{"resourceVersion":"{version}","continue":"{more}"}}"#);
    let items = items.join(",");
    (
        200,
        format!(r#"{{"metadata":{metadata},"items":[{items}]}}"#),
        String::new(),
    )
}

fn event(kind: &str, name: &str, version: &str) -> String {
    format!(
        r#"{{"type":"{kind}","object":{{"apiVersion":"a/v1","kind":"K","metadata":{{"name":"{name}","namespace":"shop","resourceVersion":"{version}"}}}}}}"#
    ) + "\n"
}

fn events(events: &[String]) -> Answer {
    (200, events.concat(), String::new())
}

/// Returns the answer to a watch that lasts for its whole term.
fn lasting(events: &[String], version: &str) -> Answer {
    (200, events.concat(), event("BOOKMARK", "", version))
}

fn body(text: String, each_minute: String) -> UnsyncBoxBody<Bytes, Infallible> {
    let term = if each_minute.is_empty() { 0 } else { TERM };
    let minutes = stream::iter(0..term / 60).then(move |_| {
        let bookmark = each_minute.clone();
        async move {
            sleep(Duration::from_secs(60)).await;
            bookmark
        }
    });
    let rest = stream::once(async move {
        sleep(Duration::from_secs((term % 60).into())).await;
        String::new()
    });
    let parts = stream::iter([text]).chain(minutes).chain(rest);
    let frame = |text: String| Ok(Frame::data(Bytes::from(text)));
    StreamBody::new(parts.map(frame)).boxed_unsync()
}

fn status(code: u16, reason: &str) -> Answer {
    let text = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"so","reason":"{reason}","code":{code}}}"#
    );
    (code, text, String::new())
}

/// Runs a watch until the script has ended. Returns the requests of the watch, and its events.
async fn follow(script: impl IntoIterator<Item = Answer>) -> (Vec<String>, Vec<String>) {
    let script = Mutex::new(script.into_iter().collect::<VecDeque<_>>());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(Notify::new());
    let (seen, at_end) = (requests.clone(), over.clone());
    let service = tower::service_fn(move |request: HttpRequest<Body>| {
        let next = script.lock().unwrap().pop_front();
        let (seen, at_end) = (seen.clone(), at_end.clone());
        async move {
            let Some((code, text, each_minute)) = next else {
                at_end.notify_one();
                return std::future::pending().await;
            };
            let target = request.uri().to_string();
            let target = target.trim_start_matches("/apis/split.smi-spec.io/");
            seen.lock().unwrap().push(target.to_owned());
            if code == NEVER {
                return std::future::pending().await;
            }
            let answer = Response::builder().status(code);
            Ok::<_, Infallible>(answer.body(body(text, each_minute)).unwrap())
        }
    });
    let client = kube::Client::new(service, "default");
    let (events, mut receiver) = mpsc::channel(100);
    let resource = ApiResource::all(Policy::Unstated)
        .find(|it| it.name == "TrafficSplit")
        .unwrap();
    let source = Source::of(resource, &[]).remove(0);
    let location = ListLocation::of(&source, VERSION_0);
    let handle = ClusterVersions::default().register(&source.id, location);
    let watch = Watch::new(
        client,
        source,
        VERSION_0,
        handle,
        events,
        Arc::default(),
        &Limits::default(),
    );
    tokio::select! {
        () = watch.run() => {}
        () = over.notified() => {}
    }
    let mut log = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        let name = |(_, name): &(String, String)| name.clone();
        log.push(match event {
            SourceEvent::Listed(_, objects, version, _) => {
                let line = |(key, kept): (&Key, &ReadObject)| name(key) + mark(kept);
                let names: Vec<_> = objects.iter().map(line).collect();
                format!("listed {} at {version}", names.join(" "))
            }
            SourceEvent::Applied(_, key, kept, version) => {
                format!("applied {}{} at {version}", name(&key), mark(&kept))
            }
            SourceEvent::Deleted(_, key, version) => format!("deleted {} at {version}", name(&key)),
            SourceEvent::Reached(_, version) => format!("reached {version}"),
            SourceEvent::Failing(_, why) => format!("failing {why}"),
            SourceEvent::Gone(_) => "gone".to_owned(),
            SourceEvent::Begun(_) | SourceEvent::Discovered(_) => "of the supervisor".to_owned(),
        });
    }
    let requests = requests.lock().unwrap().clone();
    (requests, log)
}

/// Returns the number after `limit=` of each request.
fn limits(requests: &[String]) -> Vec<&str> {
    let limits = requests.iter().map(|it| it.split("limit=").nth(1).unwrap());
    limits.map(|it| it.split('&').next().unwrap()).collect()
}

/// Returns the reason why an object is a stub: no room in the memory limit, or too large. Returns an empty text for an
/// object that is not a stub.
fn mark(kept: &ReadObject) -> &'static str {
    let problems = kept.entry.iter().flat_map(|entry| entry.problems());
    let codes: Vec<_> = problems.map(|problem| problem.code).collect();
    match codes.as_slice() {
        ["no_room"] => " (no room)",
        ["no_room_for_more"] => " (no room for more)",
        ["text_over_object"] => " (too large)",
        _ => "",
    }
}

/// Returns a split with `backends` backends, which was created on `day`.
fn large(name: &str, day: u8, backends: usize) -> String {
    let backends =
        vec![r#"{"service":"a-service-with-a-long-name","weight":1}"#; backends].join(",");
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","resourceVersion":"7","creationTimestamp":"2026-01-{day:02}T00:00:00Z"}},"spec":{{"service":"web","backends":[{backends}]}}}}"#
    )
}

fn list_of(more: &str, items: &[String]) -> Answer {
    let items = items.join(",");
    let text = format!(
        r#"{{"metadata":{{"resourceVersion":"5","continue":"{more}"}},"items":[{items}]}}"#
    );
    (200, text, String::new())
}

#[tokio::test(start_paused = true)]
async fn large_page_is_split() {
    let padding = " ".repeat(5 << 20);
    let (requests, log) = follow([
        list_of("", &[large("a", 1, 1), padding.clone()]),
        list_of("more", &[large("a", 1, 1)]),
        list_of("more", &[large("b", 1, 1), padding]),
        list_of("", &[large("b", 1, 1)]),
    ])
    .await;
    assert_eq!(log, ["listed a b at 5"]);
    assert_eq!(limits(&requests), ["250", "62", "124", "31"]);
}

#[tokio::test(start_paused = true)]
async fn slow_list_restarts_with_smaller_pages() {
    let never = || (NEVER, String::new(), String::new());
    let (requests, log) = follow([
        never(),
        never(),
        list_of("more", &[large("a", 1, 1)]),
        never(),
        list_of("", &[large("a", 1, 1)]),
        status(410, "Expired"),
        list_of("", &[large("a", 1, 1)]),
    ])
    .await;
    let silent = "failing no answer within 10 s";
    let listed = "listed a at 5";
    assert_eq!(log, [silent, silent, silent, listed, listed]);
    let lists: Vec<String> = requests
        .into_iter()
        .filter(|it| it.contains("limit="))
        .collect();
    assert_eq!(limits(&lists), ["250", "62", "15", "30", "7", "250"]);
}

#[tokio::test(start_paused = true)]
async fn object_above_limit_becomes_stub() {
    let text = large("b", 2, 1).replace("web", &"w".repeat(1 << 20));
    let (_, log) = follow([list_of("", &[large("a", 1, 1), text])]).await;
    assert_eq!(log, ["listed a b (too large) at 5"]);
}

#[tokio::test(start_paused = true)]
async fn youngest_objects_become_stubs() {
    let status = format!(r#"}},"status":{{"x":"{}"}}}}"#, "x".repeat(900_000));
    let of = |name: &str, day: u8| large(name, day, 1).replace("}]}}", &format!("}}]{status}"));
    let gone = format!(r#"{{"type":"DELETED","object":{}}}"#, of("j", 1)) + "\n";
    let names = ["j", "i", "h", "g", "f", "e", "d", "c", "b", "a"];
    let pages = (1..).zip(names).map(|(day, name)| {
        let more = if name == "a" { "" } else { "more" };
        list_of(more, &[of(name, day)])
    });
    let read_again = list_of("", &[of("a", 10)]);
    let (requests, log) = follow(pages.chain([events(&[gone]), read_again])).await;
    assert_eq!(
        log[..3],
        [
            "listed a (no room) b c d e f g h i j at 5",
            "deleted j at 7",
            "applied a at 7"
        ]
    );
    assert_eq!(
        requests[11],
        "v1alpha4/namespaces/shop/trafficsplits?&fieldSelector=metadata.name%3Da"
    );
}

/// Returns a split with `bytes` bytes of status, which was created on `day`.
fn with_status(name: &str, day: u8, bytes: usize) -> String {
    let status = format!(r#"}},"status":{{"x":"{}"}}}}"#, "x".repeat(bytes));
    large(name, day, 1).replace("}]}}", &format!("}}]{status}"))
}

/// Returns the pages of a list. The list has ten large objects, which fill the memory limit, and then the objects of
/// `rest`.
fn full(rest: &[String]) -> Vec<Answer> {
    let large = (0..9).map(|it| list_of("more", &[with_status(&format!("a{it}"), 1, 900_000)]));
    let last = list_of("more", &[with_status("a9", 1, 272_000)]);
    large.chain([last, list_of("", rest)]).collect()
}

fn deleted(object: &str) -> String {
    format!(r#"{{"type":"DELETED","object":{object}}}"#) + "\n"
}

#[tokio::test(start_paused = true)]
async fn reread_leaves_time_for_events() {
    let name = |it: &u8| format!("s{it:02}");
    let small: Vec<_> = (0..30)
        .map(|it| with_status(&name(&it), 2, 20_000))
        .collect();
    let gone = deleted(&with_status("a0", 1, 900_000));
    let watch = lasting(&[gone, event("BOOKMARK", "", "8")], "9");
    let again = small.iter().map(|it| list_of("", std::slice::from_ref(it)));
    let script = full(&small).into_iter().chain([watch]).chain(again);
    let (requests, log) = follow(script).await;
    assert!(log[0].contains("s00 (no room) s01 (no room)"), "{}", log[0]);
    let applied = |it: u8, version: u8| format!("applied {} at {version}", name(&it));
    let first = (0..20).map(|it| applied(it, 7));
    let rest = (20..30).map(|it| applied(it, 8));
    let expected = ["deleted a0 at 7".to_owned()].into_iter().chain(first);
    let expected = expected.chain(["reached 8".to_owned()]).chain(rest);
    let expected: Vec<_> = expected.collect();
    assert_eq!(log[1..][..expected.len()], expected);
    let lists = requests.iter().filter(|it| it.contains("limit="));
    assert_eq!(lists.count(), 11);
}

#[tokio::test(start_paused = true)]
async fn failed_reread_is_retried() {
    let small = with_status("s", 2, 20_000);
    let watch = lasting(&[deleted(&with_status("a0", 1, 900_000))], "9");
    let script = full(std::slice::from_ref(&small)).into_iter();
    let failed = status(500, "InternalError");
    let (requests, log) = follow(script.chain([watch, failed, list_of("", &[small])])).await;
    assert_eq!(log[1..3], ["deleted a0 at 7", "applied s at 7"]);
    let again = "v1alpha4/namespaces/shop/trafficsplits?&fieldSelector=metadata.name%3Ds";
    assert_eq!(requests[12..14], [again, again]);
}

#[tokio::test(start_paused = true)]
async fn number_of_stubs_is_limited() {
    let rest: Vec<_> = (0..200)
        .map(|it| with_status(&format!("s{it:03}"), 2, 20_000))
        .collect();
    let mut pages = full(&rest[100..]);
    pages.insert(0, list_of("more", &rest[..100]));
    let (_, log) = follow(pages).await;
    assert!(log[0].contains("a9 s000 (no room for more) s001 (no room)"));
    assert!(log[0].ends_with("s099 (no room) at 5"), "{}", log[0]);
}

const WATCH: &str =
    "v1alpha4/trafficsplits?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true";

#[tokio::test(start_paused = true)]
async fn watch_begins_at_listed_version() {
    let (requests, mut log) = follow([
        list("5", "more", &["a", "b"]),
        list("5", "", &["c"]),
        lasting(&[event("ADDED", "d", "6"), event("DELETED", "a", "7")], "9"),
        events(&[event("MODIFIED", "d", "10")]),
    ])
    .await;
    log.dedup();
    assert_eq!(
        log,
        [
            "listed a b c at 5",
            "applied d at 6",
            "deleted a at 7",
            "reached 9",
            "applied d at 10"
        ]
    );
    assert!(requests[1].contains("continue=more"), "{requests:?}");
    let from = |version: u64| format!("{WATCH}&resourceVersion={version}");
    assert_eq!(requests[2..], [from(5), from(9)]);
}

#[tokio::test(start_paused = true)]
async fn early_watch_end_causes_list() {
    let start = Instant::now();
    let mut script = vec![list("5", "", &["a"]), events(&[event("ADDED", "b", "6")])];
    for _ in 0..6 {
        script.extend([list("6", "", &["a", "b"]), events(&[])]);
    }
    let (requests, log) = follow(script).await;
    let lists = log.iter().filter(|it| *it == "listed a b at 6");
    assert_eq!(lists.count(), 6, "{log:?}");
    assert!(!log.iter().any(|it| it.starts_with("failing")), "{log:?}");
    assert!(requests[3].ends_with("resourceVersion=6"), "{requests:?}");
    // The first pause is 100 ms. Each further pause is twice as long, up to `MAX_PAUSE`.
    assert!(start.elapsed() >= MAX_PAUSE * 3, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn expired_or_failed_watch_causes_list() {
    let gone = event("ERROR", "", "").replace(
        r#""apiVersion":"a/v1","kind":"K","#,
        r#""status":"Failure","message":"old","reason":"Expired","code":410,"#,
    );
    let (requests, log) = follow([
        list("5", "", &[]),
        status(410, "Expired"),
        list("6", "", &["a"]),
        events(&[event("ADDED", "b", "7"), gone]),
        list("8", "", &["b"]),
        status(403, "Forbidden"),
        list("9", "", &["b"]),
        events(&["not JSON\n".to_owned()]),
        status(500, "InternalError"),
        list("10", "", &["c"]),
    ])
    .await;
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    assert_eq!(
        log[..4],
        [
            "listed  at 5",
            "listed a at 6",
            "applied b at 7",
            "listed b at 8"
        ]
    );
    assert_eq!(log[4], "failing 403 Forbidden: so");
    assert_eq!(log[5], "listed b at 9");
    assert!(log[6].starts_with("failing "), "{log:?}");
    assert_eq!(
        log[7..],
        ["failing 500 InternalError: so", "listed c at 10"]
    );
    let watches = requests.iter().filter(|it| it.contains("watch=true"));
    assert_eq!(watches.count(), 4, "{requests:#?}");
}

#[tokio::test(start_paused = true)]
async fn source_is_gone_after_404_everywhere() {
    let absent = || status(404, "NotFound");
    let all = (0..5).map(|_| absent());
    let (requests, log) = follow(all).await;
    assert_eq!(log, ["gone"]);
    assert!(
        requests[4].starts_with("v1alpha4/trafficsplits?&limit=1"),
        "{requests:?}"
    );

    let (requests, log) = follow([
        list("5", "", &["a"]),
        absent(),
        absent(),
        status(503, "ServiceUnavailable"),
        absent(),
        absent(),
        list("6", "", &["a"]),
        list("6", "", &["a"]),
    ])
    .await;
    assert_eq!(
        log,
        [
            "listed a at 5",
            "failing 503 ServiceUnavailable: so",
            "listed a at 6"
        ]
    );
    assert!(
        requests[7].starts_with("v1alpha2/trafficsplits?"),
        "{requests:?}"
    );
}
