//! Conditions of Kubernetes (`metav1.Condition`), and how a new condition replaces the old one.

use serde_json::{Value, json};

/// The type of the condition that shows how many proxies run the current generation of an object.
pub const LIVE: &str = "weir.dev/Live";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: &'static str,
    pub status: Status,
    pub reason: String,
    pub message: String,
}

impl Condition {
    pub fn new(
        kind: &'static str,
        status: Status,
        reason: impl ToString,
        message: impl Into<String>,
    ) -> Condition {
        Condition {
            kind,
            status,
            reason: reason.to_string(),
            message: message.into(),
        }
    }

    /// Returns the JSON of the condition. `before` is the old condition. If both have the same status, the new
    /// condition keeps the `lastTransitionTime` of the old condition.
    pub fn write(&self, before: Option<&Value>, generation: i64, now: &str) -> Value {
        let status = match self.status {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        };
        let before = before.filter(|it| it["status"] == status);
        let since = before.and_then(|it| it["lastTransitionTime"].as_str());
        json!({
            "type": self.kind,
            "status": status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": generation,
            "lastTransitionTime": since.unwrap_or(now),
        })
    }
}

/// Returns the condition of this type.
pub fn find<'v>(conditions: &'v [Value], kind: &str) -> Option<&'v Value> {
    conditions.iter().find(|it| it["type"] == kind)
}

/// Returns the items of a list field; an empty slice if the field is absent.
pub fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    let list = value.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
