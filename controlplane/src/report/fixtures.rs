//! Objects for the tests in this folder.

use weir_core::manifest::object::Kind;
use weir_core::manifest::problem::ObjectRef;
use weir_core::status::subject::{JsonText, Subject};

/// Returns TrafficSplit `shop/web` with generation 1.
pub fn split_subject(has_status: bool) -> Subject {
    Subject {
        kind: Kind::TrafficSplit,
        object: ObjectRef {
            source: String::new(),
            kind: Kind::TrafficSplit.to_string(),
            namespace: "shop".into(),
            name: "web".into(),
        },
        api_version: "split.smi-spec.io/v1alpha4".into(),
        resource: "trafficsplits.split.smi-spec.io".into(),
        uid: "1".into(),
        generation: 1,
        since: 1,
        resource_version: "1".into(),
        parent_refs: JsonText::default(),
        status: JsonText::default(),
        has_status,
    }
}
