use serde_json::value::RawValue;

use super::*;
use crate::source::kubernetes::read_object::Head;
use crate::source::kubernetes::resource::{ApiResource, Served};
use weir_core::api::smi::traffic_target::Policy;

const SPLITS: &str = "trafficsplits.split.smi-spec.io";

/// Returns a TrafficSplit as an API server sends it.
fn split(name: &str, version: u64, generation: u64, spec: &str) -> (Key, ReadObject) {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}","resourceVersion":"{version}",
            "generation":{generation}}},"spec":{spec},"status":{{"seen":{version}}}}}"#
    );
    let text = RawValue::from_string(text).unwrap();
    let mut all = ApiResource::all(Policy::Unstated);
    let resource = all.find(|it| it.name == "TrafficSplit").unwrap();
    let served = Served {
        version: "v1alpha4",
        has_status: true,
    };
    let head = Head::of(&text);
    let kept = ReadObject::of(&text, &head, &resource, served, SPLITS);
    (head.key, kept)
}

const GOOD: &str = r#"{"service":"web","backends":[{"service":"v1","weight":1}]}"#;
const BAD: &str = r#"{"service":1}"#;

fn listed(objects: impl IntoIterator<Item = (Key, ReadObject)>, version: u64) -> SourceEvent {
    SourceEvent::Listed(
        SPLITS.into(),
        objects.into_iter().collect(),
        version,
        version,
    )
}

fn applied((key, kept): (Key, ReadObject), version: u64) -> SourceEvent {
    SourceEvent::Applied(SPLITS.into(), key, kept, version)
}

fn since(store: &ObjectStore) -> Vec<u64> {
    store.subjects().iter().map(|it| it.since).collect()
}

#[test]
fn store_is_complete_after_all_lists() {
    let mut store = ObjectStore::default();
    store.apply(SourceEvent::Discovered(Err("GET /apis answers 503".into())));
    assert_eq!(store.obstacle().as_deref(), Some("GET /apis answers 503"));
    for id in [SPLITS, "services", "httproutes.policy.linkerd.io"] {
        store.apply(SourceEvent::Begun(id.into()));
    }
    store.apply(SourceEvent::Discovered(Ok(())));
    assert!(!store.is_complete() && store.obstacle().is_none());
    store.apply(listed([], 7));
    store.apply(SourceEvent::Failing(
        "services".into(),
        "403 Forbidden".into(),
    ));
    let obstacle = store.obstacle();
    assert_eq!(
        obstacle.as_deref(),
        Some("not read yet: services (403 Forbidden)")
    );
    store.apply(SourceEvent::Listed(
        "services".into(),
        BTreeMap::new(),
        9,
        0,
    ));
    assert!(!store.is_complete());
    store.apply(SourceEvent::Gone("httproutes.policy.linkerd.io".into()));
    assert!(store.is_complete() && store.obstacle().is_none());
    // A list does not show whether a Service was deleted just before, so the version of the list counts.
    let watermark = format!("services=9,{SPLITS}=7");
    assert_eq!(store.watermark().to_string(), watermark);
}

#[test]
fn list_reveals_missed_deletion() {
    let mut store = ObjectStore::default();
    let mut changed = |objects: &[(&str, u64)], version: u64| {
        let objects = objects.iter().map(|(name, at)| split(name, *at, 1, GOOD));
        let newest = objects.clone().map(|(_, kept)| kept.subject.unwrap().since);
        let newest = newest.max().unwrap_or_default();
        store.apply(SourceEvent::Listed(
            SPLITS.into(),
            objects.collect(),
            version,
            newest,
        ));
        store.watermark().get(SPLITS).unwrap()
    };
    assert_eq!(changed(&[("a", 3), ("b", 4)], 5), 5);
    assert_eq!(changed(&[("a", 3), ("b", 4)], 9), 5);
    assert_eq!(changed(&[("a", 3), ("b", 10)], 12), 10);
    assert_eq!(changed(&[("a", 3)], 20), 20);
    // The cluster was restored from a backup.
    assert_eq!(changed(&[("a", 3)], 7), 7);
}

#[test]
fn status_change_needs_no_translation() {
    let mut store = ObjectStore::default();
    let mut impact = |event: SourceEvent| store.apply(event);
    let (outcome, translation) = (Impact::Outcome, Impact::Translation);
    assert_eq!(impact(listed([split("a", 3, 1, GOOD)], 5)), translation);
    assert_eq!(impact(SourceEvent::Reached(SPLITS.into(), 6)), outcome);
    // Only the status differs.
    assert_eq!(impact(applied(split("a", 7, 1, GOOD), 7)), outcome);
    assert_eq!(impact(listed([split("a", 7, 1, GOOD)], 8)), outcome);
    assert_eq!(
        impact(SourceEvent::Failing(SPLITS.into(), String::new())),
        Impact::Nothing
    );
    assert_eq!(impact(applied(split("a", 9, 2, BAD), 9)), translation);
    assert_eq!(impact(applied(split("b", 10, 1, GOOD), 10)), translation);
    let key = split("b", 0, 0, GOOD).0;
    assert_eq!(
        impact(SourceEvent::Deleted(SPLITS.into(), key.clone(), 11)),
        translation
    );
    assert_eq!(
        impact(SourceEvent::Deleted(SPLITS.into(), key, 11)),
        outcome
    );
    assert_eq!(impact(listed([], 12)), translation);
    assert_eq!(impact(SourceEvent::Gone(SPLITS.into())), outcome);
    assert!(store.watermark().is_empty());
}

#[test]
fn generation_keeps_first_seen_version() {
    let mut store = ObjectStore::default();
    store.apply(listed([split("a", 3, 1, GOOD)], 5));
    assert_eq!(since(&store), [3]);
    store.apply(applied(split("a", 7, 1, GOOD), 7));
    assert_eq!(since(&store), [3]);
    assert_eq!(store.subjects()[0].resource_version, "7");
    store.apply(listed([split("a", 8, 1, GOOD)], 9));
    assert_eq!(since(&store), [3]);
    store.apply(applied(split("a", 10, 2, GOOD), 10));
    assert_eq!(since(&store), [10]);
    // After a restore from a backup the cluster counts from a lower version. Then the generation does not matter.
    store.apply(listed([split("a", 6, 2, GOOD)], 8));
    assert_eq!(since(&store), [6]);
    assert_eq!(store.watermark().get(SPLITS), Some(8));
}

#[test]
fn policies_need_config_maps() {
    let mut store = ObjectStore::default();
    assert!(store.needed_config_maps().is_empty());
    let text = "{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: p, namespace: shop}, spec: {targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a.b, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}";
    let policies = weir_core::manifest::object::read("", text).unwrap().objects;
    let object = ReadObject {
        entry: Some(Arc::new(weir_core::world::Entry::of(&policies[0]))),
        problem: None,
        subject: None,
    };
    let key = |name: &str| ("shop".to_owned(), name.to_owned());
    let id = "backendtlspolicies.gateway.networking.k8s.io".into();
    store.apply(SourceEvent::Applied(id, key("p"), object, 1));
    let needed = store.needed_config_maps();
    assert_eq!(needed, [key("ca")].into());
    assert_eq!(store.unread_config_maps(needed.clone()), needed);
    let absent = ReadObject {
        entry: None,
        problem: None,
        subject: None,
    };
    let list = BTreeMap::from([(key("ca"), absent)]);
    store.apply(SourceEvent::Listed(CONFIG_MAPS.into(), list, 0, 0));
    assert!(store.unread_config_maps(needed).is_empty());
    assert_eq!(store.watermark().get(CONFIG_MAPS), None);
}
