//! Limits the number of streams. An owner is a pod, a ServiceAccount, or the clients with certificates of a namespace.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::serve::listener::slot_pool::{Slot, SlotPool};
use weir_core::owner::Owner;

/// Maximum number of streams of all proxies. A stream needs about 30 KiB of memory.
const MAX_STREAMS: usize = 1 << 14;
/// Maximum number of large requests in memory.
const MAX_LARGE: usize = 32;
/// An owner may have one stream for this number of connections that it may have. An Envoy has one stream, and one or
/// more connections for polls.
const CONNECTIONS_OF_STREAM: usize = 4;

#[derive(Clone)]
pub(in crate::serve) struct StreamSlots {
    by_namespace: Arc<SlotPool<Option<String>>>,
    by_owner: Arc<SlotPool<Arc<Owner>>>,
    large_requests: Arc<SlotPool<Option<String>>>,
}

/// Keeps a place for a stream until this value is dropped.
pub(super) struct StreamSlot {
    pub large_requests: LargeRequests,
    end: CancellationToken,
    _of_namespace: Slot<Option<String>>,
    _of_owner: Slot<Arc<Owner>>,
}

/// Limits how many large requests are in memory. If there are too many, the namespace with the most of them loses its
/// oldest one, and the stream of this request ends.
#[derive(Clone)]
pub(super) struct LargeRequests {
    pool: Arc<SlotPool<Option<String>>>,
    namespace: Option<String>,
    end: CancellationToken,
}

/// Keeps a place for a large request until this value is dropped.
pub(super) struct LargeRequest {
    _slot: Slot<Option<String>>,
}

impl LargeRequests {
    /// Returns None if no place is free.
    pub(super) fn take(&self) -> Option<LargeRequest> {
        let slot = self
            .pool
            .take(self.namespace.clone(), usize::MAX, &self.end);
        slot.map(|slot| LargeRequest { _slot: slot })
    }
}

impl Default for StreamSlots {
    fn default() -> StreamSlots {
        StreamSlots {
            by_namespace: SlotPool::new(MAX_STREAMS),
            by_owner: SlotPool::new(usize::MAX),
            large_requests: SlotPool::new(MAX_LARGE),
        }
    }
}

impl StreamSlots {
    /// Returns None if the owner or its namespace gets no slot.
    pub(super) fn take(&self, owner: &Arc<Owner>) -> Option<StreamSlot> {
        let end = CancellationToken::new();
        let limit = (owner.limit() / CONNECTIONS_OF_STREAM).max(1);
        let namespace = owner.namespace.clone();
        Some(StreamSlot {
            large_requests: LargeRequests {
                pool: self.large_requests.clone(),
                namespace: namespace.clone(),
                end: end.clone(),
            },
            _of_owner: self.by_owner.take(owner.clone(), limit, &end)?,
            _of_namespace: self.by_namespace.take(namespace, usize::MAX, &end)?,
            end,
        })
    }
}

impl StreamSlot {
    /// Waits until the slot is given to another stream.
    pub(super) async fn reassigned(&self) {
        self.end.cancelled().await;
    }
}
