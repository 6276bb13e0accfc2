//! Tests proxies that move between replicas, and the watermarks of proxies. A watermark has a resource version for each
//! kind of object.

use super::*;
use weir_core::watermark::Watermark;

impl Plane {
    /// Publishes a split, with a watermark that contains `version` for Services.
    fn publish_at(&mut self, weight: u64, version: u64) {
        self.publish_with(weight, format!("services={version}").parse().unwrap());
    }

    fn watermark(&self, instance: &str) -> String {
        let proxies = self.proxies.list().proxies;
        let found = proxies.into_iter().find(|it| it.instance == instance);
        found.unwrap_or_else(|| panic!("no {instance}")).watermark
    }
}

fn watermark(response: &Response) -> Option<&str> {
    response
        .headers()
        .get("weir-watermark")
        .map(|it| it.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn proxy_gets_no_older_configuration() {
    let (mut ahead, mut behind) = (Plane::new(), Plane::new());
    behind.publish_at(9, 5);
    ahead.publish_at(1, 7);
    let response = ahead.get("", &[]).await;
    assert_eq!(watermark(&response), Some("services=7"));
    let tag = revision(&response);
    let poll = [
        ("if-none-match", tag.as_str()),
        ("weir-watermark", "services=7"),
        ("prefer", "wait=20"),
    ];
    let start = Instant::now();
    let response = behind.get("", &poll).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(start.elapsed().as_secs(), 20);
    assert_eq!(
        (watermark(&response), response.headers().get(ETAG)),
        (None, None)
    );
    // A client that has no document and does not wait gets 503.
    let response = behind.get("", &poll[1..2]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);

    // The replica catches up. The poll is held until there is a new document.
    let mut held = Box::pin(behind.get("", &poll));
    begin(&mut held).await;
    behind.publish_at(9, 6);
    begin(&mut held).await;
    behind.publish_at(1, 7);
    begin(&mut held).await;
    behind.publish_at(2, 8);
    let response = held.await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(watermark(&response), Some("services=8"));
}

#[tokio::test(start_paused = true)]
async fn missing_resource_delays_poll_briefly() {
    let mut behind = Plane::new();
    behind.publish_at(9, 7);
    let poll = [
        ("if-none-match", "\"other\""),
        ("weir-watermark", "httproutes=3,services=7"),
        ("prefer", "wait=20"),
    ];
    let start = Instant::now();
    let response = behind.get("", &poll).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(watermark(&response), Some("services=7"));

    let mut held = Box::pin(behind.get("", &poll));
    begin(&mut held).await;
    let both = "httproutes=4,services=7".parse().unwrap();
    behind.publish_with(2, both);
    let response = held.await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(watermark(&response), Some("httproutes=4,services=7"));
}

#[tokio::test(start_paused = true)]
async fn equal_revision_gets_304_despite_lag() {
    let mut plane = Plane::new();
    plane.publish_at(9, 5);
    let tag = plane.revision().await;
    let poll = |seen: &'static str| {
        plane.get(
            "",
            &[("if-none-match", tag.as_str()), ("weir-watermark", seen)],
        )
    };
    let response = poll("services=7").await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(watermark(&response), None, "the proxy keeps its watermark");
    for seen in ["services=4", "", "pods=9", "nonsense"] {
        assert_eq!(watermark(&poll(seen).await), Some("services=5"), "{seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_watermark_follows_its_revision() {
    let mut plane = Plane::new();
    plane.publish_at(1, 5);
    let first = plane.revision().await;
    let poll = [("weir-instance", "a"), ("weir-applied", first.as_str())];
    plane.get("", &[("weir-instance", "a")]).await;
    assert_eq!(
        plane.watermark("a"),
        "",
        "the proxy has reported no revision"
    );
    plane.get("", &poll).await;
    assert_eq!(plane.watermark("a"), "services=5");
    plane.publish_at(1, 8);
    assert_eq!(
        plane.watermark("a"),
        "services=8",
        "the change does not affect this proxy's revision"
    );
    plane.publish_at(2, 9);
    assert_eq!(plane.watermark("a"), "services=8");
    let second = plane.revision().await;
    // While the workers run different revisions, the watermark does not change.
    plane.get("", &[("weir-instance", "a")]).await;
    assert_eq!(plane.watermark("a"), "services=8");
    plane
        .get("", &[("weir-instance", "a"), ("weir-applied", &second)])
        .await;
    assert_eq!(plane.watermark("a"), "services=9");

    // The cluster was restored from a backup, so the version is lower.
    plane.publish_at(2, 3);
    assert_eq!(plane.watermark("a"), "services=3");
}

#[tokio::test(start_paused = true)]
async fn moved_proxy_brings_its_watermark() {
    let mut plane = Plane::new();
    plane.publish_at(1, 5);
    let own = plane.revision().await;
    let unknown = "\"cafe\"";
    for (instance, tags, applied, refused, mark) in [
        ("a", unknown, unknown, "", "services=4"),
        ("b", unknown, "\"other\"", "", ""),
        (
            "c",
            "\"cafe\", \"bad\"",
            unknown,
            "\"bad\" for a reason",
            "",
        ),
        ("d", own.as_str(), own.as_str(), "", "services=5"),
    ] {
        let poll = [
            ("weir-instance", instance),
            ("if-none-match", tags),
            ("weir-applied", applied),
            ("weir-refused", refused),
            ("weir-watermark", "services=4"),
        ];
        plane.get("", &poll).await;
        assert_eq!(plane.watermark(instance), mark, "{instance}");
    }
}

#[tokio::test]
async fn watermark_before_restore_is_replaced() {
    let mut plane = Plane::new();
    plane.publish_at(1, 5);
    let own = plane.revision().await;
    for (applied, seen, mark) in [
        ("\"cafe\"", "services=9", "services=9"),
        (own.as_str(), "", "services=5"),
    ] {
        let poll = [
            ("weir-instance", "a"),
            ("if-none-match", applied),
            ("weir-applied", applied),
            ("weir-watermark", seen),
        ];
        plane.get("", &poll).await;
        assert_eq!(plane.watermark("a"), mark);
    }
}

#[tokio::test(start_paused = true)]
async fn closed_poll_is_reported() {
    let mut plane = Plane::published(9);
    let tag = plane.revision().await;
    let poll = [
        ("weir-instance", "a"),
        ("if-none-match", tag.as_str()),
        ("prefer", "wait=20"),
    ];
    let closed = |plane: &Plane| plane.proxies.list().proxies[0].closed;
    let mut older = Box::pin(plane.get("", &poll));
    begin(&mut older).await;
    assert_eq!(closed(&plane), None);
    let mut newer = Box::pin(plane.get("", &poll));
    begin(&mut newer).await;
    drop(older);
    assert_eq!(closed(&plane), None, "the proxy has polled again");
    drop(newer);
    assert_eq!(closed(&plane), Some(0));
    let mut answered = Box::pin(plane.get("", &poll));
    begin(&mut answered).await;
    plane.publish(1);
    answered.await;
    assert_eq!(closed(&plane), None);
}

#[tokio::test]
async fn proxy_list_contains_scopes() {
    let mut plane = Plane::new();
    plane.publish_with(1, Watermark::default());
    let mut changes = plane.proxies.changes();
    let poll = [("weir-instance", "a"), ("weir-node", "n")];
    plane.get("?namespace=shop", &poll).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    plane.get("?namespace=shop", &poll).await;
    assert!(!changes.has_changed().unwrap(), "no change");
    let request = Request::get("/v1/proxies").body(Body::empty()).unwrap();
    let response = plane.app.clone().oneshot(request).await.unwrap();
    let list = json(response).await;
    assert_eq!(list["replica"].as_str().unwrap().len(), 16);
    let proxy = &list["proxies"][0];
    assert_eq!(proxy["scope"]["namespace"], "shop");
    assert_eq!(
        (&proxy["instance"], &proxy["node"]),
        (&"a".into(), &"n".into())
    );
}

#[tokio::test]
async fn answer_carries_watermark_of_plan() {
    let mut plane = Plane::new();
    plane.publish_at(1, 5);
    let mut server = plane.server.clone();
    // The state between the two steps of a publication: the plan is new, and the watermark is still the previous one.
    server.watermark = watch::Sender::new(Arc::new("services=4".parse().unwrap())).subscribe();
    let app = server.router();
    let request = Request::get("/v1/config").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(watermark(&response), Some("services=5"));

    // A cluster that was restored from a backup has the same objects with a lower version.
    plane.publish_at(1, 3);
    assert_eq!(watermark(&plane.get("", &[]).await), Some("services=3"));
}

/// Simulates an attack with one token. The attacker polls with many instance names. Each poll sends a watermark with
/// thousands of resources that the replica does not watch.
#[tokio::test(start_paused = true)]
async fn invented_resources_are_not_kept() {
    let mut plane = Plane::new();
    plane.publish_at(9, 5);
    let own = plane.revision().await;
    let made_up: String = (0..4_000).map(|number| format!("{number:x}=1,")).collect();
    let made_up = format!("{made_up}services=5");
    for instance in 0..1_000 {
        let instance = instance.to_string();
        let other = [
            ("weir-instance", instance.as_str()),
            ("if-none-match", "\"r\""),
            ("weir-applied", "\"r\""),
            ("weir-watermark", &made_up),
        ];
        let response = plane.get("", &other).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(revision(&response), own);
    }
    assert_eq!(plane.watermark("7"), "services=5");
    let list = serde_json::to_vec(&plane.proxies.list()).unwrap();
    assert!(list.len() < 1_000 * 400, "{} bytes", list.len());
}
