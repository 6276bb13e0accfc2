//! What is known of one object's status beside what was read of it, and when it may be written again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use weir_core::status::subject::{Subject, Written};

/// How often one object may be written: so many at once, and one each second.
const BURST: f64 = 4.0;
/// Where nothing but words have changed, such as the count of proxies.
const WORDS: Duration = Duration::from_secs(1);

pub struct Page {
    /// What was written last: resource version and status.
    pub written: Option<(u64, Written)>,
    pub at: Option<Instant>,
    pub allowance: f64,
    pub is_in_flight: bool,
    /// There was nothing to write of this subject by this evidence, see [`super::desk::Desk`].
    pub settled: Option<Settled>,
    /// Not before then, and where there is a resource version not before another one was read.
    pub not_before: Option<(Instant, Option<String>)>,
}

pub struct Settled {
    pub subject: Arc<Subject>,
    pub epoch: u64,
    /// Where it waits for proxies, see there.
    pub reads: Option<u64>,
}

/// Resource version and status of an object as they are known best.
pub fn newest<'s>(subject: &'s Subject, page: &'s Page) -> (String, &'s Written) {
    let read: u64 = subject.resource_version.parse().unwrap_or_default();
    match &page.written {
        Some((version, status)) if *version > read => (version.to_string(), status),
        _ => (subject.resource_version.clone(), &subject.status),
    }
}

impl Default for Page {
    fn default() -> Page {
        Page {
            written: None,
            at: None,
            allowance: BURST,
            is_in_flight: false,
            settled: None,
            not_before: None,
        }
    }
}

impl Page {
    pub fn is_settled(&self, subject: &Arc<Subject>, epoch: u64, reads: u64) -> bool {
        self.settled.as_ref().is_some_and(|it| {
            Arc::ptr_eq(&it.subject, subject)
                && it.epoch == epoch
                && it.reads.is_none_or(|known| known == reads)
        })
    }

    pub fn must_wait(&self, subject: &Subject, is: &Value, wanted: &Value, now: Instant) -> bool {
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
        let passed = passed.unwrap_or(WORDS);
        let only_words = || essence(wanted) == essence(&same_fields(is, wanted));
        self.allowance + passed.as_secs_f64() < 1.0 || (passed < WORDS && only_words())
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

/// Those fields of a status that a patch writes.
fn same_fields(status: &Value, patch: &Value) -> Value {
    let fields = patch.as_object().into_iter().flatten();
    let fields = fields.map(|(name, _)| (name.clone(), status[name.as_str()].clone()));
    Value::Object(fields.collect())
}

/// A status without the words for people.
fn essence(status: &Value) -> Value {
    match status {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "message");
            Value::Object(
                fields
                    .map(|(name, it)| (name.clone(), essence(it)))
                    .collect(),
            )
        }
        Value::Array(entries) => Value::Array(entries.iter().map(essence).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::fixtures::split_subject;
    use serde_json::json;

    use super::*;

    fn status(is: &str, says: &str) -> Value {
        json!({"conditions": [{"type": "weir.dev/Live", "status": is, "message": says}]})
    }

    /// How often an object is written when something has changed each 10 ms for ten seconds.
    fn writes(next: impl Fn(u32) -> Value) -> (u32, Value) {
        let (start, subject) = (Instant::now(), split_subject(true));
        let (mut page, mut is, mut writes) = (Page::default(), Value::Null, 0);
        for step in 0..1_200_u32 {
            let now = start + Duration::from_millis(10) * step;
            let wanted = next(step.min(1_000));
            if is == wanted || page.must_wait(&subject, &is, &wanted, now) {
                continue;
            }
            page.begin(now);
            page.is_in_flight = false;
            is = wanted;
            writes += 1;
        }
        (writes, is)
    }

    #[test]
    fn proxies_that_follow_one_by_one_are_no_storm_and_the_last_state_is_written() {
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
    fn what_was_written_holds_until_something_newer_is_read() {
        let read = split_subject(true);
        let written = Written::from(&json!({"conditions": []}));
        let mut page = Page {
            written: Some((2, written.clone())),
            ..Page::default()
        };
        assert_eq!(newest(&read, &page), ("2".to_owned(), &written));
        page.written = Some((1, written));
        assert_eq!(newest(&read, &page), ("1".to_owned(), &Written::default()));

        // After a conflict, not before the object was read again.
        let (now, wanted) = (Instant::now(), status("True", ""));
        page.not_before = Some((now + Duration::from_secs(2), Some("1".to_owned())));
        assert!(page.must_wait(&read, &Value::Null, &wanted, now));
        let again = Subject {
            resource_version: "3".into(),
            ..read
        };
        assert!(!page.must_wait(&again, &Value::Null, &wanted, now));
    }
}
