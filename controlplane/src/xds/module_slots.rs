//! Limits how many streams send a module at the same time. A module has about one megabyte, and a message with a module
//! stays in memory until the client has read it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use weir_core::owner::Owner;

/// Maximum number of modules in transit.
const ALL: usize = 96;
/// Maximum number of modules in transit to the clients of one namespace.
const OF_NAMESPACE: usize = 32;

/// The slots of all streams.
#[derive(Clone)]
pub struct ModuleSlots {
    all: Arc<Semaphore>,
    namespaces: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// A slot, which is free again when this value is dropped.
pub struct ModuleSlot {
    _of_namespace: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Default for ModuleSlots {
    fn default() -> ModuleSlots {
        ModuleSlots {
            all: Arc::new(Semaphore::new(ALL)),
            namespaces: Arc::default(),
        }
    }
}

impl ModuleSlots {
    /// Waits for a slot. Returns None only if the semaphore is closed, which never happens.
    pub async fn take(self, owner: Arc<Owner>) -> Option<ModuleSlot> {
        let of_namespace = match &owner.namespace {
            // Clients that may read everything belong to the operator.
            None => None,
            Some(namespace) => {
                let semaphore = self.of_namespace(namespace);
                Some(semaphore.acquire_owned().await.ok()?)
            }
        };
        Some(ModuleSlot {
            _of_namespace: of_namespace,
            _of_all: self.all.acquire_owned().await.ok()?,
        })
    }

    fn of_namespace(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return semaphore;
        }
        namespaces.retain(|_, it| it.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(OF_NAMESPACE));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn one_namespace_leaves_slots_to_others() {
        let slots = ModuleSlots::default();
        let take = |namespace: &str, pod: usize| {
            let owner = Owner::of_pod(namespace, &pod.to_string());
            slots.clone().take(Arc::new(owner)).now_or_never().flatten()
        };
        let mut held: Vec<_> = (0..OF_NAMESPACE).map(|it| take("a", it).unwrap()).collect();
        assert!(take("a", 99).is_none());
        let other = take("b", 1).unwrap();
        held.pop();
        assert!(take("a", 99).is_some());
        drop((held, other));
        assert!(take("c", 1).is_some());
        assert_eq!(slots.namespaces.lock().unwrap().len(), 1);
    }
}
