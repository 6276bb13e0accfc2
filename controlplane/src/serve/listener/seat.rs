//! Where a connection is counted: by its address until the client has shown a good token or certificate, then by its
//! owner and by its owner's namespace.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::places::{Place, Places};
use weir_core::owner::Owner;

/// How many connections a listener has at a time, and what they may send.
pub struct Limits {
    /// Connections of clients that have not shown a good token or certificate.
    pub strangers: usize,
    /// Connections of clients that have; None if the listener asks for neither.
    pub known: Option<usize>,
    /// Most bytes of a request's head: at least 8 KiB.
    pub head: usize,
}

/// The places of one listener.
pub(super) struct Hall {
    strangers: Arc<Places<IpAddr>>,
    known: Option<Known>,
}

struct Known {
    by_namespace: Arc<Places<Option<String>>>,
    by_owner: Arc<Places<Arc<Owner>>>,
}

/// A connection's place.
pub struct Seat {
    hall: Arc<Hall>,
    end: Arc<Notify>,
    held: Mutex<Held>,
}

enum Held {
    Stranger {
        _place: Place<IpAddr>,
    },
    Known {
        owner: Arc<Owner>,
        _of_namespace: Place<Option<String>>,
        _of_owner: Place<Arc<Owner>>,
    },
}

impl Hall {
    pub(super) fn new(limits: &Limits) -> Arc<Hall> {
        Arc::new(Hall {
            strangers: Places::new(limits.strangers),
            known: limits.known.map(|known| Known {
                by_namespace: Places::new(known),
                by_owner: Places::new(usize::MAX),
            }),
        })
    }

    pub(super) fn asks_who(&self) -> bool {
        self.known.is_some()
    }

    /// None if no place is left.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Seat>> {
        let end = Arc::new(Notify::new());
        let address = address.to_canonical();
        let place = self.strangers.take(address, usize::MAX, &end)?;
        Some(Arc::new(Seat {
            hall: self.clone(),
            end,
            held: Mutex::new(Held::Stranger { _place: place }),
        }))
    }
}

impl Seat {
    /// Moves the connection from the strangers to its owner. False if the owner or its namespace has no place left.
    pub fn know(&self, owner: &Arc<Owner>) -> bool {
        let Some(known) = &self.hall.known else {
            return true;
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*held, Held::Known { owner: before, .. } if before == owner) {
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
        *held = Held::Known {
            owner: owner.clone(),
            _of_namespace: of_namespace,
            _of_owner: of_owner,
        };
        true
    }

    pub(super) fn is_stranger(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*held, Held::Stranger { .. })
    }

    /// Returns when its place is given to another connection.
    pub(super) async fn given_up(&self) {
        self.end.notified().await;
    }
}
