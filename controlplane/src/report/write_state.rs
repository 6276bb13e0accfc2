//! Remembers the last written status of one object, and decides when the next status may be written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use weir_core::status::subject::{JsonText, Subject};

/// A status may be written this many times without a pause, and then once per second.
const BURST: f64 = 4.0;
/// Shortest time between two writes if only messages have changed. A message may contain the number of proxies, which
/// changes often.
const MESSAGES: Duration = Duration::from_secs(1);

pub struct ObjectWriteState {
    /// Resource version and status of the last write.
    pub written: Option<(u64, JsonText)>,
    /// When the last write began.
    pub at: Option<Instant>,
    pub allowance: f64,
    pub is_in_flight: bool,
    /// The inputs of the last check, if the status needed no write.
    pub settled: Option<Settled>,
    /// No write begins before this time. If there is a resource version, the wait also ends when the object has another
    /// version.
    pub not_before: Option<(Instant, Option<String>)>,
}

/// The inputs of a status that needed no write. `epoch` and `reads` are counters of `StatusWriter`.
pub struct Settled {
    pub subject: Arc<Subject>,
    pub epoch: u64,
    /// None if the status does not wait for proxies.
    pub reads: Option<u64>,
}

/// Returns the resource version and the status of the object from the last read or the last write, whichever is newer.
pub fn newest<'s>(subject: &'s Subject, state: &'s ObjectWriteState) -> (String, &'s JsonText) {
    let read: u64 = subject.resource_version.parse().unwrap_or_default();
    match &state.written {
        Some((version, status)) if *version > read => (version.to_string(), status),
        _ => (subject.resource_version.clone(), &subject.status),
    }
}

impl Default for ObjectWriteState {
    fn default() -> ObjectWriteState {
        ObjectWriteState {
            written: None,
            at: None,
            allowance: BURST,
            is_in_flight: false,
            settled: None,
            not_before: None,
        }
    }
}

impl ObjectWriteState {
    pub fn is_settled(&self, subject: &Arc<Subject>, epoch: u64, reads: u64) -> bool {
        self.settled.as_ref().is_some_and(|it| {
            Arc::ptr_eq(&it.subject, subject)
                && it.epoch == epoch
                && it.reads.is_none_or(|known| known == reads)
        })
    }

    /// True if it is too early to replace the status `current` by `patch`.
    pub fn must_wait(
        &self,
        subject: &Subject,
        current: &Value,
        patch: &Value,
        now: Instant,
    ) -> bool {
        if self.is_in_flight {
            return true;
        }
        if let Some((until, version)) = &self.not_before
            && now < *until
            && version
                .as_ref()
                .is_none_or(|it| *it == subject.resource_version)
        {
            return true;
        }
        let passed = self.at.map(|at| now.saturating_duration_since(at));
        let passed = passed.unwrap_or(MESSAGES);
        let only_messages =
            || without_messages(patch) == without_messages(&same_fields(current, patch));
        self.allowance + passed.as_secs_f64() < 1.0 || (passed < MESSAGES && only_messages())
    }

    pub fn begin(&mut self, now: Instant) {
        let passed = self
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.allowance = (self.allowance + passed).min(BURST) - 1.0;
        self.at = Some(now);
        self.is_in_flight = true;
    }
}

/// Returns only the fields of `status` that are also in `patch`.
fn same_fields(status: &Value, patch: &Value) -> Value {
    let fields = patch.as_object().into_iter().flatten();
    let fields = fields.map(|(name, _)| (name.clone(), status[name.as_str()].clone()));
    Value::Object(fields.collect())
}

/// Returns the status without its messages.
fn without_messages(status: &Value) -> Value {
    match status {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "message");
            Value::Object(
                fields
                    .map(|(name, it)| (name.clone(), without_messages(it)))
                    .collect(),
            )
        }
        Value::Array(entries) => Value::Array(entries.iter().map(without_messages).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::fixtures::split_subject;
    use serde_json::json;

    use super::*;

    fn status(value: &str, message: &str) -> Value {
        json!({"conditions": [{"type": "weir.dev/Live", "status": value, "message": message}]})
    }

    /// Changes a status every 10 ms for ten seconds. Returns the number of writes, and the last written status.
    fn writes(next: impl Fn(u32) -> Value) -> (u32, Value) {
        let (start, subject) = (Instant::now(), split_subject(true));
        let (mut state, mut current, mut writes) = (ObjectWriteState::default(), Value::Null, 0);
        for step in 0..1_200_u32 {
            let now = start + Duration::from_millis(10) * step;
            let patch = next(step.min(1_000));
            if current == patch || state.must_wait(&subject, &current, &patch, now) {
                continue;
            }
            state.begin(now);
            state.is_in_flight = false;
            current = patch;
            writes += 1;
        }
        (writes, current)
    }

    #[test]
    fn frequent_changes_are_written_rarely() {
        let count = |step: u32| match step {
            1_000 => status("True", "on 1000 of 1000 proxies"),
            step => status("False", &format!("on {step} of 1000 proxies")),
        };
        let (counts, last) = writes(count);
        assert_eq!(last, count(1_000));
        assert!((8..=13).contains(&counts), "{counts} writes");

        let flap = |step: u32| {
            status(
                if step.is_multiple_of(2) {
                    "True"
                } else {
                    "False"
                },
                "",
            )
        };
        let (flaps, last) = writes(flap);
        assert_eq!(last, flap(1_000));
        assert!((10..=15).contains(&flaps), "{flaps} writes");
    }

    #[test]
    fn written_status_counts_until_newer_read() {
        let read = split_subject(true);
        let written = JsonText::from(&json!({"conditions": []}));
        let mut state = ObjectWriteState {
            written: Some((2, written.clone())),
            ..ObjectWriteState::default()
        };
        assert_eq!(newest(&read, &state), ("2".to_owned(), &written));
        state.written = Some((1, written));
        assert_eq!(
            newest(&read, &state),
            ("1".to_owned(), &JsonText::default())
        );

        // After a conflict the write waits until the object has been read again.
        let (now, patch) = (Instant::now(), status("True", ""));
        state.not_before = Some((now + Duration::from_secs(2), Some("1".to_owned())));
        assert!(state.must_wait(&read, &Value::Null, &patch, now));
        let again = Subject {
            resource_version: "3".into(),
            ..read
        };
        assert!(!state.must_wait(&again, &Value::Null, &patch, now));
    }
}
