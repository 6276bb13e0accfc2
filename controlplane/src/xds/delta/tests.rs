use std::collections::BTreeMap;

use axum::body::Bytes;

use super::*;
use crate::xds::encoded_resource::Resource;
use crate::xds::message::{RequestError, RequestNode};

/// The resources of a control plane, and one stream. Scopes name the clusters of `named`.
#[derive(Default)]
struct Scene {
    named: Vec<Arc<ClusterNames>>,
    clusters: BTreeMap<Arc<str>, Resource>,
    endpoints: BTreeMap<Arc<str>, Resource>,
    extensions: BTreeMap<Arc<str>, Option<Resource>>,
    stream: Delta,
}

fn resource(name: &str, version: &str) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        body: Bytes::from(format!("{name} {version}")),
    }
}

fn all(resources: &[(&str, &str)]) -> BTreeMap<Arc<str>, Resource> {
    let resources = resources.iter();
    resources
        .map(|(name, version)| ((*name).into(), resource(name, version)))
        .collect()
}

fn request(kind: ResourceType, subscribe: &[&str]) -> Request {
    Request {
        node: Some(RequestNode { id: "a".into() }),
        type_url: kind.url().into(),
        subscribe: subscribe.iter().map(|it| (*it).to_owned()).collect(),
        ..Request::default()
    }
}

fn answer(response: &Response, error: Option<&str>) -> Request {
    Request {
        type_url: response.kind.url().into(),
        nonce: response.nonce.clone(),
        error: error.map(|message| RequestError {
            message: message.into(),
        }),
        ..Request::default()
    }
}

impl Scene {
    /// A control plane with these clusters, and endpoints with version 1 for each.
    fn of(clusters: &[(&str, &str)]) -> Scene {
        let mut scene = Scene::default();
        scene.set_clusters(clusters);
        scene
    }

    /// Replaces the clusters, and names all of them.
    fn set_clusters(&mut self, clusters: &[(&str, &str)]) {
        self.clusters = all(clusters);
        for (name, _) in clusters {
            let own = || resource(name, "1");
            self.endpoints.entry((*name).into()).or_insert_with(own);
        }
        let names: Vec<&str> = clusters.iter().map(|(name, _)| *name).collect();
        self.set_named(&names);
    }

    fn set_named(&mut self, names: &[&str]) {
        let names = names.iter().map(|it| Arc::from(*it)).collect();
        self.named = vec![Arc::new(names)];
        self.with(|stream, newest| stream.refresh(newest));
    }

    /// Sets a filter. Without a version the stream may not send the filter.
    fn set_extension(&mut self, name: &str, version: Option<&str>) {
        let extension = version.map(|version| resource(name, version));
        self.extensions.insert(name.into(), extension);
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Delta, Newest<'_>) -> T) -> T {
        let clusters = |name: &str| self.clusters.get(name).cloned();
        let endpoints = |name: &str| self.endpoints.get(name).cloned();
        let newest = Newest {
            scopes: &self.named,
            clusters: &clusters,
            endpoints: &endpoints,
            extensions: &self.extensions,
        };
        act(&mut self.stream, newest)
    }

    fn send(&mut self, request: &Request) -> Option<Nack> {
        self.with(|stream, newest| stream.request(request, newest))
    }

    fn subscribe(&mut self, kind: ResourceType, names: &[&str]) {
        self.send(&request(kind, names));
    }

    fn next(&mut self) -> Option<Response> {
        self.with(|stream, newest| stream.next_response(newest))
    }

    /// Returns all responses as text, and accepts each of them.
    fn accepted(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(response) = self.next() {
            texts.push(text(&response));
            self.send(&answer(&response, None));
        }
        texts
    }

    /// Returns the newest state of each cluster that has changed.
    fn states(&mut self) -> Vec<String> {
        let mut states = BTreeMap::new();
        for change in self.stream.take_changes() {
            states.insert(change.name, change.state);
        }
        let text = |(name, state): (Arc<str>, Option<ClusterState>)| match state {
            None => format!("{name} gone"),
            Some(ClusterState::Sent) => format!("{name} sent"),
            Some(ClusterState::Changed) => format!("{name} changed"),
            Some(ClusterState::Accepted) => format!("{name} accepted"),
            Some(ClusterState::Refused(why)) => format!("{name} refused: {why}"),
        };
        states.into_iter().map(text).collect()
    }
}

/// `cds a:1 b:2 -c`
fn text(response: &Response) -> String {
    let mut text = response.kind.label().to_owned();
    for resource in &response.resources {
        text += &format!(" {}:{}", resource.name, resource.version);
    }
    for name in &response.removed {
        text += &format!(" -{name}");
    }
    text
}

const CDS: ResourceType = ResourceType::Clusters;
const EDS: ResourceType = ResourceType::Endpoints;
const ECDS: ResourceType = ResourceType::Extensions;

#[test]
fn wildcard_gets_named_clusters() {
    for subscribe in [&[] as &[&str], &["*"], &["*", "a"]] {
        let mut scene = Scene::of(&[("a", "1"), ("b", "1"), ("secret", "1")]);
        scene.set_named(&["a", "b"]);
        scene.subscribe(CDS, subscribe);
        assert_eq!(scene.accepted(), ["cds a:1 b:1"]);
        assert_eq!(scene.states(), ["a accepted", "b accepted"]);
        scene.set_clusters(&[("a", "1"), ("b", "2"), ("c", "1")]);
        assert_eq!(scene.accepted(), ["cds b:2 c:1"]);
        scene.set_clusters(&[("a", "1"), ("b", "2"), ("c", "1")]);
        assert_eq!(scene.accepted(), [""; 0]);
    }
}

#[test]
fn empty_subscription_is_wildcard_only_first() {
    let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
    scene.subscribe(CDS, &["a"]);
    assert_eq!(scene.accepted(), ["cds a:1"]);
    scene.subscribe(CDS, &[]);
    assert_eq!(scene.accepted(), [""; 0]);
    scene.subscribe(CDS, &["*"]);
    assert_eq!(scene.accepted(), ["cds b:1"]);
}

#[test]
fn cluster_of_another_scope_is_removed() {
    let mut scene = Scene::of(&[("a", "1"), ("secret", "1")]);
    scene.set_named(&["a", "later"]);
    scene.subscribe(CDS, &["a", "secret", "later", "invented"]);
    assert_eq!(scene.accepted(), ["cds a:1 -invented -later -secret"]);
    scene.set_clusters(&[("a", "1"), ("later", "1"), ("invented", "1")]);
    assert_eq!(scene.accepted(), ["cds invented:1 later:1"]);
}

#[test]
fn endpoints_of_another_scope_are_empty() {
    let mut scene = Scene::of(&[("a", "1"), ("secret", "1")]);
    scene.set_named(&["a"]);
    scene.subscribe(EDS, &["a", "secret"]);
    assert_eq!(scene.accepted(), ["eds a:1 secret:none"]);
    let mut claim = request(EDS, &["secret"]);
    claim.versions.insert("secret".into(), "0".into());
    let mut scene = Scene::of(&[("secret", "1")]);
    scene.set_named(&[]);
    scene.send(&claim);
    assert_eq!(scene.accepted(), [""; 0]);
}

#[test]
fn endpoints_follow_cluster() {
    let mut scene = Scene::of(&[("a", "1")]);
    scene.subscribe(CDS, &[]);
    scene.subscribe(EDS, &["a"]);
    assert_eq!(scene.accepted(), ["cds a:1", "eds a:1"]);
    scene.set_clusters(&[("a", "2")]);
    assert_eq!(scene.accepted(), ["cds a:2", "eds a:1"]);
    scene.endpoints = all(&[("a", "2")]);
    scene.stream.change_endpoints(&"a".into());
    scene.stream.change_endpoints(&"b".into());
    assert_eq!(scene.accepted(), ["eds a:2"]);
    scene.endpoints = all(&[("a", "3")]);
    scene.stream.change_all_endpoints();
    assert_eq!(scene.accepted(), ["eds a:3"]);
    // A second subscription gets the resource a second time.
    scene.subscribe(EDS, &["a"]);
    assert_eq!(scene.accepted(), ["eds a:3"]);
}

#[test]
fn present_version_is_not_sent_again() {
    for (version, expected) in [("1", &[] as &[&str]), ("0", &["cds a:1", "eds a:1"])] {
        let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
        let mut clusters = request(CDS, &[]);
        clusters.versions = [("a", version), ("b", "1")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into();
        scene.send(&clusters);
        let early = scene.next().map(|it| text(&it));
        let mut endpoints = request(EDS, &["a", "b"]);
        for name in ["a", "b"] {
            endpoints.versions.insert(name.into(), "1".into());
        }
        scene.send(&endpoints);
        let sent: Vec<String> = early.into_iter().chain(scene.accepted()).collect();
        assert_eq!(sent, expected);
        let a = if version == "1" {
            "accepted"
        } else {
            "changed"
        };
        assert_eq!(scene.states(), [&format!("a {a}"), "b accepted"]);
    }
}

#[test]
fn refused_response_is_sent_in_parts() {
    let clusters = ["a", "b", "c", "d", "e"].map(|name| (name, "1"));
    let mut scene = Scene::of(&clusters);
    scene.subscribe(CDS, &[]);
    let mut refused = Vec::new();
    while let Some(response) = scene.next() {
        let is_bad = response.resources.iter().any(|it| *it.name == *"d");
        let nack = scene.send(&answer(&response, is_bad.then_some("bad d")));
        refused.extend(nack.map(|it| (it.message, it.refused)));
    }
    assert_eq!(refused.last(), Some(&("bad d".into(), Some("d".into()))));
    let mut expected = ["a", "b", "c", "d", "e"].map(|name| format!("{name} accepted"));
    expected[3] = "d refused: bad d".into();
    assert_eq!(scene.states(), expected);
    // The refused version is not sent again, and the next version is.
    scene.set_clusters(&clusters);
    assert_eq!(scene.accepted(), [""; 0]);
    scene.set_clusters(&["a", "b", "c", "d", "e"].map(|name| (name, "2")));
    assert_eq!(scene.accepted(), ["cds a:2 b:2 c:2 d:2 e:2"]);
    assert_eq!(scene.states()[3], "d accepted");
}

#[test]
fn new_cluster_precedes_refused_halves() {
    let mut scene = Scene::of(&["a", "b", "c", "d"].map(|name| (name, "1")));
    scene.subscribe(CDS, &[]);
    let first = scene.next().unwrap();
    scene.send(&answer(&first, Some("bad a")));
    scene.set_clusters(&["a", "b", "c", "d", "e"].map(|name| (name, "1")));
    assert_eq!(scene.accepted(), ["cds e:1", "cds a:1 b:1", "cds c:1 d:1"]);
    // A changed cluster leaves its half.
    scene.set_clusters(&["a", "b", "c", "d"].map(|name| (name, "2")));
    let second = scene.next().unwrap();
    scene.send(&answer(&second, Some("bad a")));
    scene.clusters.insert("b".into(), resource("b", "3"));
    assert_eq!(scene.accepted(), ["cds a:2", "cds b:3", "cds c:2 d:2"]);
}

#[test]
fn new_cluster_needs_no_ack() {
    let mut scene = Scene::of(&[("a", "1")]);
    scene.subscribe(CDS, &[]);
    let first = scene.next().unwrap();
    scene.set_clusters(&[("a", "1"), ("b", "1")]);
    let second = scene.next().unwrap();
    assert_eq!(text(&second), "cds b:1");
    scene.send(&answer(&second, None));
    assert_eq!(scene.states(), ["a sent", "b accepted"]);
    scene.send(&answer(&first, None));
    assert_eq!(scene.states(), ["a accepted"]);
}

#[test]
fn client_without_answers_gets_few_responses() {
    let mut scene = Scene::of(&[("a", "0")]);
    scene.subscribe(CDS, &[]);
    let mut last = None;
    for version in 1..100 {
        if let Some(response) = scene.next() {
            last = Some((version, response));
        }
        scene.set_clusters(&[("a", &version.to_string())]);
    }
    let (version, response) = last.unwrap();
    assert_eq!(version, 8);
    scene.send(&answer(&response, None));
    assert_eq!(text(&scene.next().unwrap()), "cds a:99");
}

#[test]
fn unexpected_nonces_change_nothing() {
    let mut scene = Scene::of(&[("a", "1")]);
    scene.subscribe(CDS, &[]);
    let response = scene.next().unwrap();
    scene.states();
    for nonce in ["", "0", "2", "x", "18446744073709551616"] {
        let mut garbage = answer(&response, Some("no"));
        garbage.nonce = nonce.into();
        assert_eq!(scene.send(&garbage), None, "{nonce}");
    }
    assert_eq!(scene.states(), [""; 0]);
    scene.send(&answer(&response, None));
    assert_eq!(scene.send(&answer(&response, Some("late"))), None);
    assert_eq!(scene.states(), ["a accepted"]);
}

#[test]
fn answer_to_older_version_is_ignored() {
    let mut scene = Scene::of(&[("a", "1")]);
    scene.subscribe(CDS, &[]);
    let first = scene.next().unwrap();
    scene.set_clusters(&[("a", "2")]);
    let second = scene.next().unwrap();
    scene.send(&answer(&first, None));
    assert_eq!(scene.states(), ["a sent"]);
    scene.send(&answer(&second, None));
    assert_eq!(scene.states(), ["a accepted"]);
}

#[test]
fn unused_cluster_is_removed_later() {
    let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
    scene.subscribe(CDS, &[]);
    scene.subscribe(EDS, &["a", "b"]);
    scene.accepted();
    scene.states();
    scene.set_named(&["a"]);
    let start = Instant::now();
    let mut removed_at = |in_use: Option<&[&str]>, seconds: u64| {
        let in_use: Option<ClusterNames> =
            in_use.map(|names| names.iter().map(|it| Arc::from(*it)).collect());
        let now = start + Duration::from_secs(seconds);
        let waits = scene.with(|stream, newest| stream.retire(newest, in_use.as_ref(), now));
        (waits, scene.accepted())
    };
    assert_eq!(removed_at(Some(&["a", "b"]), 0), (true, vec![]));
    assert_eq!(removed_at(None, 100), (true, vec![]));
    assert_eq!(removed_at(Some(&["a"]), 200), (true, vec![]));
    assert_eq!(removed_at(Some(&["a", "b"]), 220), (true, vec![]));
    assert_eq!(removed_at(Some(&["a"]), 240), (true, vec![]));
    assert_eq!(removed_at(Some(&["a"]), 269), (true, vec![]));
    let removed = vec!["cds -b".to_owned()];
    assert_eq!(removed_at(Some(&["a"]), 270), (true, removed));
    assert_eq!(removed_at(Some(&["a"]), 271), (false, vec![]));
    assert_eq!(scene.states(), ["b gone"]);
    scene.set_named(&["a", "b"]);
    assert_eq!(scene.accepted(), ["cds b:1", "eds b:1"]);
}

#[test]
fn endpoints_of_unnamed_cluster_are_frozen() {
    let mut scene = Scene::of(&[("a", "1")]);
    scene.subscribe(CDS, &[]);
    scene.subscribe(EDS, &["a"]);
    scene.accepted();
    scene.set_named(&[]);
    scene.endpoints = all(&[("a", "2")]);
    scene.stream.change_endpoints(&"a".into());
    assert_eq!(scene.accepted(), [""; 0]);
    scene.endpoints.clear();
    scene.stream.change_all_endpoints();
    assert_eq!(scene.accepted(), [""; 0]);
    assert_eq!(scene.states(), ["a gone"]);
    scene.endpoints = all(&[("a", "3")]);
    scene.set_named(&["a"]);
    assert_eq!(scene.states(), ["a sent"]);
    assert_eq!(scene.accepted(), ["eds a:3"]);
    assert_eq!(scene.states(), ["a accepted"]);
    // The endpoints are the same as before.
    scene.set_named(&[]);
    scene.set_named(&["a"]);
    assert_eq!(scene.states(), ["a accepted"]);
    assert_eq!(scene.accepted(), [""; 0]);
}

#[test]
fn left_over_cluster_stays_until_unused() {
    let mut scene = Scene::of(&[("a", "1")]);
    let mut clusters = request(CDS, &["*", "old"]);
    clusters.versions.insert("old".into(), "1".into());
    scene.send(&clusters);
    let mut endpoints = request(EDS, &["old"]);
    endpoints.versions.insert("old".into(), "1".into());
    scene.send(&endpoints);
    assert_eq!(scene.accepted(), ["cds a:1"]);
    assert_eq!(scene.states(), ["a accepted", "old gone"]);
    let start = Instant::now();
    let used = ClusterNames::new();
    for seconds in [0, 30] {
        let now = start + Duration::from_secs(seconds);
        scene.with(|stream, newest| stream.retire(newest, Some(&used), now));
    }
    assert_eq!(scene.accepted(), ["cds -old"]);
}

/// A stream begins while no scope names a cluster that the client has. Then a scope names the cluster again.
#[test]
fn left_over_cluster_gets_new_endpoints() {
    let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
    scene.set_named(&["a"]);
    for kind in [CDS, EDS] {
        let mut first = request(kind, &["*", "a", "b"][usize::from(kind == EDS)..]);
        for name in ["a", "b"] {
            first.versions.insert(name.into(), "1".into());
        }
        scene.send(&first);
    }
    assert_eq!(scene.accepted(), [""; 0]);
    scene.states();
    scene.endpoints.insert("b".into(), resource("b", "2"));
    scene.set_named(&["a", "b"]);
    assert_eq!(scene.states(), ["b sent"]);
    assert_eq!(scene.accepted(), ["eds b:2"]);
    assert_eq!(scene.states(), ["b accepted"]);
}

#[test]
fn extension_is_never_removed() {
    let mut scene = Scene::default();
    scene.subscribe(ECDS, &["weir", "other"]);
    assert_eq!(scene.accepted(), [""; 0]);
    scene.set_extension("weir", Some("1"));
    scene.set_named(&[]);
    assert_eq!(scene.accepted(), ["ecds weir:1"]);
    let accepted = |scene: &Scene| scene.stream.accepted_extension("weir").cloned();
    assert_eq!(accepted(&scene).as_deref(), Some("1"));
    scene.set_extension("weir", Some("2"));
    scene.set_named(&[]);
    let response = scene.next().unwrap();
    assert_eq!(accepted(&scene), None);
    let nack = scene.send(&answer(&response, Some("broken"))).unwrap();
    assert_eq!(nack.refused.as_deref(), Some("weir"));
    assert_eq!(accepted(&scene), None);
    assert!(!scene.stream.lacks_extension("weir", "2"));
    scene.extensions.clear();
    scene.set_named(&[]);
    assert_eq!(scene.accepted(), [""; 0]);
}

#[test]
fn held_back_extension_comes_later() {
    let mut scene = Scene::default();
    scene.set_extension("weir", None);
    let mut first = request(ECDS, &["weir"]);
    first.versions = [("weir".to_owned(), "1".to_owned())].into();
    scene.send(&first);
    assert_eq!(scene.accepted(), [""; 0]);
    let accepted = |scene: &Scene| scene.stream.accepted_extension("weir").cloned();
    assert_eq!(accepted(&scene).as_deref(), Some("1"));
    assert!(scene.stream.lacks_extension("weir", "2"));
    scene.set_extension("weir", Some("2"));
    scene.with(|stream, newest| stream.refresh_extensions(newest));
    assert_eq!(scene.accepted(), ["ecds weir:2"]);
    assert_eq!(accepted(&scene).as_deref(), Some("2"));
}

#[test]
fn extensions_have_their_own_responses() {
    let mut scene = Scene::default();
    scene.set_extension("weir", Some("1"));
    scene.set_extension("weir-upstream", Some("1"));
    scene.subscribe(ECDS, &["weir", "weir-upstream"]);
    assert_eq!(scene.accepted(), ["ecds weir:1", "ecds weir-upstream:1"]);
}

#[test]
fn unsubscribed_names_get_nothing() {
    let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
    scene.subscribe(CDS, &["a", "b"]);
    scene.subscribe(EDS, &["a"]);
    scene.accepted();
    scene.states();
    for kind in [CDS, EDS] {
        let mut leave = request(kind, &[]);
        leave.unsubscribe = vec!["a".into()];
        scene.send(&leave);
    }
    assert_eq!(scene.states(), ["a gone"]);
    scene.set_clusters(&[("a", "2"), ("b", "1")]);
    scene.stream.change_endpoints(&"a".into());
    assert_eq!(scene.accepted(), [""; 0]);
    scene.subscribe(CDS, &["a"]);
    assert_eq!(scene.accepted(), ["cds a:2"]);
}

#[test]
fn unknown_types_are_ignored() {
    let mut scene = Scene::of(&[("a", "1")]);
    let mut other = request(CDS, &["*"]);
    for url in ["", "type.googleapis.com/envoy.config.listener.v3.Listener"] {
        other.type_url = url.into();
        scene.send(&other);
    }
    assert_eq!(scene.accepted(), [""; 0]);
}

#[test]
fn large_responses_are_split() {
    let mut scene = Scene::default();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        let body = vec![0; 80 << 10].into();
        let large = Resource {
            body,
            ..resource(name, "1")
        };
        scene.clusters.insert(name.into(), large);
    }
    scene.set_named(&names);
    scene.subscribe(CDS, &[]);
    assert_eq!(scene.accepted(), ["cds a:1 b:1 c:1", "cds d:1 e:1"]);
}

/// A client asks for a million names in many requests.
#[test]
fn invented_names_are_not_kept() {
    for kind in ResourceType::ALL {
        let mut scene = Scene::of(&[("a", "1")]);
        let mut size = 0;
        for number in 0..100 {
            let names: Vec<String> = (0..10_000).map(|it| format!("{number}-{it}")).collect();
            let mut many = request(kind, &[]);
            many.versions = names[..5_000]
                .iter()
                .map(|name| (name.clone(), "1".to_owned()))
                .collect();
            many.subscribe = names;
            scene.send(&many);
            while let Some(response) = scene.next() {
                size += response.resources.len() + response.removed.len();
            }
        }
        let kept = match kind {
            CDS => scene.stream.clusters.size(),
            EDS => scene.stream.endpoints.size(),
            ECDS => scene.stream.extensions.size(),
        };
        assert!(kept < 4_000 && size < 10_000, "{kind:?} {kept} {size}");
    }
}

#[test]
fn stated_versions_have_limits() {
    let long = |count: usize| "v".repeat(count);
    for (name, version, count, kept) in [
        ("", long(1), 2_000, 1_024),
        ("", long(80), 2_000, 1_024),
        ("", long(81), 2_000, 0),
        (&long(388) as &str, long(8), 2_000, 326),
        (&long(600), long(1), 10, 0),
    ] {
        let mut scene = Scene::of(&[]);
        let mut first = request(CDS, &["*"]);
        let names = (0..count).map(|it| format!("{name}{it:05}"));
        first.versions = names.map(|name| (name, version.clone())).collect();
        scene.send(&first);
        let size = scene.stream.clusters.size();
        assert_eq!(size, kept, "{} {}", name.len(), version.len());
    }
    let mut scene = Scene::of(&[("a", "1")]);
    let mut first = request(CDS, &["*"]);
    first.versions.insert("a".into(), long(81));
    scene.send(&first);
    assert_eq!(scene.accepted(), ["cds a:1"]);
    assert_eq!(scene.states(), ["a accepted"]);
}

#[test]
fn refusal_of_everything_ends() {
    let names: Vec<String> = (0..1_000).map(|it| format!("{it}")).collect();
    let clusters: Vec<(&str, &str)> = names.iter().map(|it| (it.as_str(), "1")).collect();
    let mut scene = Scene::of(&clusters);
    scene.subscribe(CDS, &[]);
    let mut responses = 0;
    let long = "x".repeat(100_000);
    while let Some(response) = scene.next() {
        responses += 1;
        scene.send(&answer(&response, Some(&long)));
    }
    assert_eq!(responses, 1_999);
    let states = scene.states();
    assert_eq!(states.len(), 1_000);
    let size: usize = states.iter().map(String::len).sum();
    assert!(size < 200_000, "{size}");
}

/// A client refuses each response and asks for the same clusters again, while its other responses stay unanswered.
#[test]
fn repeated_refusals_need_no_memory() {
    let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
    scene.subscribe(CDS, &["a", "b"]);
    let mut sizes = Vec::new();
    for _ in 0..100 {
        let Some(response) = scene.next() else {
            break;
        };
        let mut refusal = answer(&response, Some("no"));
        refusal.subscribe = vec!["a".into(), "b".into()];
        scene.send(&refusal);
        sizes.push(scene.stream.clusters.size());
    }
    assert_eq!(sizes.len(), 100);
    let largest = sizes[10..].iter().max();
    assert_eq!(largest, sizes[..10].iter().max(), "{sizes:?}");
}

/// The endpoints change while no scope names the cluster, and change back before the client gets them.
#[test]
fn endpoints_that_change_back_count() {
    let mut scene = Scene::of(&[("a", "1")]);
    scene.subscribe(CDS, &[]);
    scene.subscribe(EDS, &["a"]);
    scene.accepted();
    scene.set_named(&[]);
    scene.endpoints.insert("a".into(), resource("a", "2"));
    scene.set_named(&["a"]);
    scene.endpoints.insert("a".into(), resource("a", "1"));
    scene.with(|stream, _| stream.change_endpoints(&"a".into()));
    scene.stream.take_changes();
    assert!(scene.next().is_none());
    let changes = scene.stream.take_changes();
    assert_eq!(
        changes.last().map(|it| it.state.clone()),
        Some(Some(ClusterState::Accepted))
    );
}

/// The error is about an older version of another cluster of the same response.
#[test]
fn error_of_older_version_refuses_nothing() {
    let mut scene = Scene::of(&[("a", "1"), ("b", "1")]);
    scene.subscribe(CDS, &[]);
    let first = scene.next().unwrap();
    scene.set_clusters(&[("a", "2"), ("b", "1")]);
    let second = scene.next().unwrap();
    scene.send(&answer(&first, Some("a is wrong")));
    scene.send(&answer(&second, None));
    assert_eq!(scene.accepted(), ["cds b:1"]);
    assert_eq!(
        scene.states().last().map(String::as_str),
        Some("b accepted")
    );
}
