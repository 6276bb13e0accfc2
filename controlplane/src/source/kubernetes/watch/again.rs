//! Objects for which there is room again are read, a few at a time: other changes of the source are heard in between.

use std::time::Duration;

use kube::api::ListParams;
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Interrupted, LAST_WAIT, List, OBJECT_BYTES, Watch, read};
use crate::source::kubernetes::reading::{Head, Key};

/// Most objects that are read in a row.
const AGAIN: usize = 20;
/// The time after which no other object is read in a row.
const AGAIN_TIME: Duration = Duration::from_millis(500);
/// The pause until more objects are read.
const AGAIN_PAUSE: Duration = Duration::from_millis(200);

impl Watch {
    /// Reads some of the objects that were not kept, and for which there is room now. The outcome is when the next ones
    /// may be read. An object that cannot be read is read later: it is no reason to list all again.
    pub(super) async fn read_again(&mut self, version: u64) -> Result<Instant, Interrupted> {
        let start = Instant::now();
        for _ in 0..AGAIN {
            let Some(key) = self.room.wanted.take() else {
                break;
            };
            match self.read_one(&key).await {
                Ok(items) => {
                    for text in items {
                        let head = Head::of(&text);
                        let kept = self.kept(&text, &head);
                        self.tell_applied(head.key, kept, version).await?;
                    }
                }
                Err(why) => {
                    let (resource, (namespace, name)) = (&self.source.id, &key);
                    tracing::debug!(%resource, "{namespace}/{name} cannot be read: {why}");
                    self.metrics.watch_failed(resource);
                    self.room.wanted.add(key);
                    return Ok(Instant::now() + LAST_WAIT);
                }
            }
            if start.elapsed() >= AGAIN_TIME {
                break;
            }
        }
        Ok(Instant::now() + AGAIN_PAUSE)
    }

    /// One object, or none if it is gone or too large: then the watch brings its deletion.
    async fn read_one(&self, (namespace, name): &Key) -> Result<Vec<Box<RawValue>>, Interrupted> {
        let path = self.source.path_in(self.served.version, namespace);
        // A list with a field selector, because `get` would need another permission than `list`.
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let request = Request::new(path).list(&params);
        let text = match self.ask(request, OBJECT_BYTES).await {
            Ok(Some(text)) => text,
            Ok(None) | Err(Interrupted::Absent) => return Ok(Vec::new()),
            Err(other) => return Err(other),
        };
        let List { items, .. } = read(&text)?;
        Ok(items.unwrap_or_default())
    }
}
