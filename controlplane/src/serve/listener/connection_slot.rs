//! Each connection needs a slot, and the number of slots is limited. A client is a stranger until it has shown a valid
//! token or certificate. The slots of strangers are counted by IP address. The slots of other clients are counted by
//! owner (pod, ServiceAccount or namespace), and by the namespace of the owner. A namespace has no fixed limit: when all
//! slots are taken, the namespace with the most slots loses its oldest slot.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::slot_pool::{Slot, SlotPool};
use weir_core::owner::Owner;

/// The limits of a listener.
pub struct Limits {
    /// Maximum number of connections of strangers.
    pub strangers: usize,
    /// Maximum number of connections of clients that have shown a valid token or certificate. None if the listener
    /// requires no authentication.
    pub known: Option<usize>,
    /// Maximum size of a request's head (request line and headers) in bytes. This limit is at least 8 KiB.
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

    /// True if a client must show a valid token or certificate.
    pub(super) fn must_authenticate(&self) -> bool {
        self.known.is_some()
    }

    /// Returns a slot for a new connection, or None if no slot is free.
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
    /// Moves the connection from the strangers to its owner. Returns false if the owner or its namespace gets no slot.
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

    /// Waits until the slot is given to another connection.
    pub(super) async fn reassigned(&self) {
        self.end.cancelled().await;
    }
}
