//! Reads objects again when the memory limit has room for them. The watch reads the objects in small batches, and
//! handles its events between two batches.

use std::time::Duration;

use kube::api::ListParams;
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Interrupted, MAX_PAUSE, OBJECT_BYTES, ObjectList, Watch, read};
use crate::source::kubernetes::read_object::{Head, Key};

/// Maximum number of objects in a batch.
const BATCH: usize = 20;
/// After this time no read of the batch begins.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// Pause between two batches.
const BATCH_PAUSE: Duration = Duration::from_millis(200);

impl Watch {
    /// Reads some of the objects in the queue, and returns the time of the next batch. If an object cannot be read, a
    /// later batch reads the object again, without a new list.
    pub(super) async fn read_again(&mut self, version: u64) -> Result<Instant, Interrupted> {
        let start = Instant::now();
        for _ in 0..BATCH {
            let Some(key) = self.budget.to_read.take() else {
                break;
            };
            match self.read_one(&key).await {
                Ok(items) => {
                    for text in items {
                        let head = Head::of(&text);
                        let kept = self.read_object(&text, &head);
                        self.send_applied(head.key, kept, version).await?;
                    }
                }
                Err(why) => {
                    let (resource, (namespace, name)) = (&self.source.id, &key);
                    tracing::debug!(%resource, "{namespace}/{name} cannot be read: {why}");
                    self.metrics.count_watch_error(resource);
                    self.budget.to_read.add(key);
                    return Ok(Instant::now() + MAX_PAUSE);
                }
            }
            if start.elapsed() >= BATCH_TIME {
                break;
            }
        }
        Ok(Instant::now() + BATCH_PAUSE)
    }

    /// Reads one object. Returns an empty list if the object is gone or too large.
    async fn read_one(&self, (namespace, name): &Key) -> Result<Vec<Box<RawValue>>, Interrupted> {
        let path = self.source.path_in(self.served.version, namespace);
        // Requests a list with a field selector, because `get` would need another permission than `list`.
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let request = Request::new(path).list(&params);
        let text = match self.request(request, OBJECT_BYTES).await {
            Ok(Some(text)) => text,
            Ok(None) | Err(Interrupted::Absent) => return Ok(Vec::new()),
            Err(other) => return Err(other),
        };
        let ObjectList { items, .. } = read(&text)?;
        Ok(items.unwrap_or_default())
    }
}
