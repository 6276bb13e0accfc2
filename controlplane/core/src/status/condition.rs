//! Conditions, as Kubernetes writes them (`metav1.Condition`), and how they replace those that are there.

use serde_json::{Value, json};

/// The condition that tells on how many proxies an object is in force.
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

    /// In the place of `before`: the time of the last transition stays where the status does.
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

/// The one of that type.
pub fn find<'v>(conditions: &'v [Value], kind: &str) -> Option<&'v Value> {
    conditions.iter().find(|it| it["type"] == kind)
}

pub fn list<'v>(of: &'v Value, field: &str) -> &'v [Value] {
    let list = of.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
