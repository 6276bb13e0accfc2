//! The slot of a connection. Until a client has shown a good token or certificate, its address has the slot. After that
//! its owner and the owner's namespace have the slot.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::slot_pool::{Slot, SlotPool};
use weir_core::owner::Owner;

/// The limits of a listener.
pub struct Limits {
    /// Connections of clients that have not shown a good token or certificate.
    pub strangers: usize,
    /// Connections of clients that have shown a good token or certificate. None if the listener asks for neither.
    pub known: Option<usize>,
    /// Most bytes of a request's head: at least 8 KiB.
    pub head: usize,
}

/// The slots of one listener.
pub(super) struct ConnectionSlots {
    strangers: Arc<SlotPool<IpAddr>>,
    known: Option<KnownClients>,
}

struct KnownClients {
    by_namespace: Arc<SlotPool<Option<String>>>,
    by_owner: Arc<SlotPool<Arc<Owner>>>,
}

/// The slot of one connection.
pub struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    end: CancellationToken,
    holder: Mutex<SlotHolder>,
}

enum SlotHolder {
    Stranger {
        _slot: Slot<IpAddr>,
    },
    Known {
        owner: Arc<Owner>,
        _of_namespace: Slot<Option<String>>,
        _of_owner: Slot<Arc<Owner>>,
    },
}

impl ConnectionSlots {
    pub(super) fn new(limits: &Limits) -> Arc<ConnectionSlots> {
        Arc::new(ConnectionSlots {
            strangers: SlotPool::new(limits.strangers),
            known: limits.known.map(|known| KnownClients {
                by_namespace: SlotPool::new(known),
                by_owner: SlotPool::new(usize::MAX),
            }),
        })
    }

    /// Whether a client must show a good token or certificate.
    pub(super) fn must_authenticate(&self) -> bool {
        self.known.is_some()
    }

    /// A slot for a new connection; None if no slot is left.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<ConnectionSlot>> {
        let end = CancellationToken::new();
        let address = address.to_canonical();
        let slot = self.strangers.take(address, usize::MAX, &end)?;
        Some(Arc::new(ConnectionSlot {
            slots: self.clone(),
            end,
            holder: Mutex::new(SlotHolder::Stranger { _slot: slot }),
        }))
    }
}

impl ConnectionSlot {
    /// Counts the connection for its owner from now on. Returns false if the owner or its namespace has no free slot.
    pub fn assign_owner(&self, owner: &Arc<Owner>) -> bool {
        let Some(known) = &self.slots.known else {
            return true;
        };
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*holder, SlotHolder::Known { owner: before, .. } if before == owner) {
            return true;
        }
        let namespace = owner.namespace.clone();
        let end = &self.end;
        let Some(of_owner) = known.by_owner.take(owner.clone(), owner.limit(), end) else {
            return false;
        };
        let Some(of_namespace) = known.by_namespace.take(namespace, usize::MAX, end) else {
            return false;
        };
        *holder = SlotHolder::Known {
            owner: owner.clone(),
            _of_namespace: of_namespace,
            _of_owner: of_owner,
        };
        true
    }

    pub(super) fn is_stranger(&self) -> bool {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*holder, SlotHolder::Stranger { .. })
    }

    /// Returns when the slot is given to another connection.
    pub(super) async fn reassigned(&self) {
        self.end.cancelled().await;
    }
}
