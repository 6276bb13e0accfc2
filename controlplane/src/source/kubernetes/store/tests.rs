use serde_json::value::RawValue;

use super::*;
use crate::source::kubernetes::reading::Head;
use crate::source::kubernetes::resource::{Resource, Served};
use weir_core::api::smi::traffic_target::Policy;

const SPLITS: &str = "trafficsplits.split.smi-spec.io";

/// A split as an API server tells of it.
fn split(name: &str, version: u64, generation: u64, spec: &str) -> (Key, Kept) {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}","resourceVersion":"{version}",
            "generation":{generation}}},"spec":{spec},"status":{{"seen":{version}}}}}"#
    );
    let text = RawValue::from_string(text).unwrap();
    let mut all = Resource::all(Policy::Unstated);
    let resource = all.find(|it| it.name == "TrafficSplit").unwrap();
    let served = Served {
        version: "v1alpha4",
        has_status: true,
    };
    let head = Head::of(&text);
    let kept = Kept::of(&text, &head, &resource, served, SPLITS);
    (head.key, kept)
}

const GOOD: &str = r#"{"service":"web","backends":[{"service":"v1","weight":1}]}"#;
const BAD: &str = r#"{"service":1}"#;

fn listed(objects: impl IntoIterator<Item = (Key, Kept)>, version: u64) -> News {
    News::Listed(
        SPLITS.into(),
        objects.into_iter().collect(),
        version,
        version,
    )
}

fn applied((key, kept): (Key, Kept), version: u64) -> News {
    News::Applied(SPLITS.into(), key, kept, version)
}

fn since(store: &Store) -> Vec<u64> {
    store.subjects().iter().map(|it| it.since).collect()
}

#[test]
fn nothing_is_whole_before_everything_was_read() {
    let mut store = Store::default();
    store.take(News::Discovered(Err("GET /apis answers 503".into())));
    assert_eq!(store.obstacle().as_deref(), Some("GET /apis answers 503"));
    for id in [SPLITS, "services", "httproutes.policy.linkerd.io"] {
        store.take(News::Begun(id.into()));
    }
    store.take(News::Discovered(Ok(())));
    assert!(!store.is_whole() && store.obstacle().is_none());
    store.take(listed([], 7));
    store.take(News::Failing("services".into(), "403 Forbidden".into()));
    let obstacle = store.obstacle();
    assert_eq!(
        obstacle.as_deref(),
        Some("not read yet: services (403 Forbidden)")
    );
    store.take(News::Listed("services".into(), BTreeMap::new(), 9, 0));
    assert!(!store.is_whole());
    store.take(News::Gone("httproutes.policy.linkerd.io".into()));
    assert!(store.is_whole() && store.obstacle().is_none());
    // There may have been a service until just before.
    let watermark = format!("services=9,{SPLITS}=7");
    assert_eq!(store.watermark().to_string(), watermark);
}

#[test]
fn a_list_tells_of_a_deletion_that_nobody_saw() {
    let mut store = Store::default();
    let mut told = |objects: &[(&str, u64)], version: u64| {
        let objects = objects.iter().map(|(name, at)| split(name, *at, 1, GOOD));
        let newest = objects.clone().map(|(_, kept)| kept.subject.unwrap().since);
        let newest = newest.max().unwrap_or_default();
        store.take(News::Listed(
            SPLITS.into(),
            objects.collect(),
            version,
            newest,
        ));
        store.watermark().get(SPLITS).unwrap()
    };
    assert_eq!(told(&[("a", 3), ("b", 4)], 5), 5);
    assert_eq!(told(&[("a", 3), ("b", 4)], 9), 5);
    assert_eq!(told(&[("a", 3), ("b", 10)], 12), 10);
    assert_eq!(told(&[("a", 3)], 20), 20);
    // Restored from a backup.
    assert_eq!(told(&[("a", 3)], 7), 7);
}

#[test]
fn only_what_is_translated_is_worth_a_translation() {
    let mut store = Store::default();
    let mut worth = |news: News| store.take(news);
    let (outcome, translation) = (Worth::Outcome, Worth::Translation);
    assert_eq!(worth(listed([split("a", 3, 1, GOOD)], 5)), translation);
    assert_eq!(worth(News::Reached(SPLITS.into(), 6)), outcome);
    // A status.
    assert_eq!(worth(applied(split("a", 7, 1, GOOD), 7)), outcome);
    assert_eq!(worth(listed([split("a", 7, 1, GOOD)], 8)), outcome);
    assert_eq!(
        worth(News::Failing(SPLITS.into(), String::new())),
        Worth::Nothing
    );
    assert_eq!(worth(applied(split("a", 9, 2, BAD), 9)), translation);
    assert_eq!(worth(applied(split("b", 10, 1, GOOD), 10)), translation);
    let key = split("b", 0, 0, GOOD).0;
    assert_eq!(
        worth(News::Deleted(SPLITS.into(), key.clone(), 11)),
        translation
    );
    assert_eq!(worth(News::Deleted(SPLITS.into(), key, 11)), outcome);
    assert_eq!(worth(listed([], 12)), translation);
    assert_eq!(worth(News::Gone(SPLITS.into())), outcome);
    assert!(store.watermark().is_empty());
}

#[test]
fn a_generation_is_known_since_it_was_first_seen() {
    let mut store = Store::default();
    store.take(listed([split("a", 3, 1, GOOD)], 5));
    assert_eq!(since(&store), [3]);
    store.take(applied(split("a", 7, 1, GOOD), 7));
    assert_eq!(since(&store), [3]);
    assert_eq!(store.subjects()[0].resource_version, "7");
    store.take(listed([split("a", 8, 1, GOOD)], 9));
    assert_eq!(since(&store), [3]);
    store.take(applied(split("a", 10, 2, GOOD), 10));
    assert_eq!(since(&store), [10]);
    // A cluster that was restored counts anew, whatever the generation.
    store.take(listed([split("a", 6, 2, GOOD)], 8));
    assert_eq!(since(&store), [6]);
    assert_eq!(store.watermark().get(SPLITS), Some(8));
}
