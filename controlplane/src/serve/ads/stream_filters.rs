//! The filters of one stream: which of them the stream may send now, and what the proxy has done with them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use weir_core::plan::Scope;
use weir_core::rollout::{Rollout, proxy_name};
use weir_split::wire::VERSION;

use crate::publish::Published;
use crate::xds::delta::{Delta, Nack};
use crate::xds::encoded_resource::Resource;
use crate::xds::extensions::{Extension, MAX_INITIAL, extensions, may_send};
use crate::xds::filter_request::FilterRequest;
use crate::xds::message::ResourceType;
use crate::xds::module_file::ModuleReceiver;
use crate::xds::module_slots::{ModuleSlot, ModuleSlots};
use crate::xds::module_table::OpenModules;
use crate::xds::stream_table::Node;

/// Maximum time for which a stream keeps a slot. A slow proxy may still compile the module after this time.
const SLOT: Duration = Duration::from_secs(15);

/// Maximum time for which a proxy without a filter waits for its clusters, so that its filter comes with a document.
/// Envoy starts without a filter after one second.
const CLUSTERS: Duration = Duration::from_millis(500);

/// Where the filters of all streams come from.
#[derive(Clone)]
pub struct FilterSource {
    pub module: ModuleReceiver,
    pub rollout: watch::Receiver<Rollout>,
    pub slots: ModuleSlots,
}

impl Default for FilterSource {
    /// Serves no filter.
    fn default() -> FilterSource {
        FilterSource {
            module: watch::channel(None).1,
            rollout: watch::channel(Rollout::default()).1,
            slots: ModuleSlots::default(),
        }
    }
}

pub(super) struct StreamFilters {
    requests: Vec<Arc<FilterRequest>>,
    source: FilterSource,
    /// All filters with the newest module; empty without a module.
    newest: Vec<Extension>,
    /// What the stream may send now, see [`crate::xds::delta::Newest`].
    offers: BTreeMap<Arc<str>, Option<Resource>>,
    slot: SlotState,
    /// The end of [`CLUSTERS`]. None before the proxy has asked for a filter.
    cluster_deadline: Option<Instant>,
}

enum SlotState {
    /// The proxy has all filters that it may have now.
    Idle,
    Waiting(Pin<Box<dyn Future<Output = Option<ModuleSlot>> + Send>>),
    Held {
        until: Instant,
        _slot: ModuleSlot,
    },
}

impl StreamFilters {
    pub(super) fn new(requests: Vec<FilterRequest>, source: FilterSource) -> StreamFilters {
        let mut filters = StreamFilters {
            requests: requests.into_iter().map(Arc::new).collect(),
            source,
            newest: Vec::new(),
            offers: BTreeMap::new(),
            slot: SlotState::Idle,
            cluster_deadline: None,
        };
        filters.read_module();
        filters
    }

    /// Returns the scope of each filter, in a fixed order.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.requests.iter().map(|it| &it.scope)
    }

    pub(super) fn offers(&self) -> &BTreeMap<Arc<str>, Option<Resource>> {
        &self.offers
    }

    fn read_module(&mut self) {
        let module = self.source.module.borrow_and_update().clone();
        self.newest = match module {
            Some(module) => extensions(&self.requests, &module),
            None => Vec::new(),
        };
    }

    /// Waits until [`StreamFilters::update`] has something to do: there is a new module, the rollout has changed, the
    /// stream has got a slot or has lost it, or a wait for clusters is over.
    pub(super) async fn changed(&mut self) {
        let cluster_deadline = self.cluster_deadline.filter(|it| *it > Instant::now());
        let clusters = async {
            match cluster_deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let slot = async {
            match &mut self.slot {
                SlotState::Idle => std::future::pending().await,
                SlotState::Held { until, .. } => {
                    sleep_until(*until).await;
                    SlotState::Idle
                }
                SlotState::Waiting(slot) => match slot.await {
                    Some(slot) => SlotState::Held {
                        until: Instant::now() + SLOT,
                        _slot: slot,
                    },
                    None => SlotState::Idle,
                },
            }
        };
        let FilterSource {
            module, rollout, ..
        } = &mut self.source;
        // Both senders may be gone when the process ends. Then the stream ends too.
        let module = async {
            if module.changed().await.is_err() {
                std::future::pending().await
            }
        };
        let rollout = async {
            if rollout.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            slot = slot => self.slot = slot,
            () = module => self.read_module(),
            () = rollout => {}
            () = clusters => {}
        }
    }

    /// Finds what the stream may send now. `has_clusters` is true if the proxy has the clusters of a scope. The caller
    /// must then call [`Delta::refresh_extensions`].
    pub(super) fn update(
        &mut self,
        delta: &Delta,
        node: &Node,
        has_clusters: impl Fn(&Scope) -> bool,
    ) {
        let proxy = proxy_name(&node.id, &node.owner);
        let may_send = |extension: &&Extension| {
            let held = delta.extension_version(&extension.name);
            let rollout = self.source.rollout.borrow();
            may_send(held.map(|it| &**it), &extension.version, &rollout, &proxy)
        };
        let lacks = |it: &Extension| delta.lacks_extension(&it.name, &it.version);
        let mut sendable: Vec<_> = self.newest.iter().filter(may_send).collect();
        if sendable.iter().any(|it| lacks(it)) {
            let now = Instant::now();
            let deadline = *self.cluster_deadline.get_or_insert(now + CLUSTERS);
            sendable.retain(|it| {
                let is_first = delta.extension_version(&it.name).is_none();
                let awaits_clusters = it.request().is_some_and(|it| !has_clusters(&it.scope));
                !(is_first && awaits_clusters && now < deadline)
            });
        }
        let is_lacking = sendable.iter().any(|it| lacks(it));
        let is_busy = is_lacking
            || self
                .newest
                .iter()
                .any(|it| delta.is_extension_in_flight(&it.name));
        match self.slot {
            SlotState::Idle if is_lacking => {
                let slot = self.source.slots.clone().take(node.owner.clone());
                self.slot = SlotState::Waiting(Box::pin(slot));
            }
            SlotState::Held { .. } | SlotState::Waiting(_) if !is_busy => {
                self.slot = SlotState::Idle;
            }
            _ => {}
        }
        let has_slot = matches!(self.slot, SlotState::Held { .. });
        let names = self.requests.iter().map(|it| &it.name);
        let mut offers: BTreeMap<_, _> = names.map(|name| (name.clone(), None)).collect();
        for extension in &self.newest {
            offers.insert(extension.name.clone(), None);
        }
        for extension in sendable.into_iter().filter(|_| has_slot) {
            offers.insert(extension.name.clone(), Some(extension.without_body()));
        }
        self.offers = offers;
    }

    /// Encodes the filters of a response. A filter gets the document of its scope if the proxy has the clusters of the
    /// document.
    pub(super) fn encode(
        &self,
        resources: &mut [Resource],
        published: Option<&Published>,
        has_clusters: impl Fn(&Scope) -> bool,
    ) {
        for resource in resources {
            let extension = self.newest.iter().find(|it| it.name == resource.name);
            let Some(extension) = extension.filter(|it| it.version == resource.version) else {
                continue;
            };
            let scope = extension.request().map(|it| &it.scope);
            let scope = scope.filter(|scope| has_clusters(scope));
            let document = published
                .zip(scope)
                .and_then(|(published, scope)| document(published, scope));
            *resource = extension.resource(document.as_deref());
        }
    }

    /// Writes into the table what the proxy has.
    pub(super) fn report(&self, delta: &Delta, nack: Option<&Nack>, modules: &OpenModules) {
        for name in self.offers.keys() {
            if let Some(version) = delta.accepted_extension(name) {
                modules.accept(name, version, std::time::Instant::now());
            }
        }
        if let Some(nack) = nack.filter(|it| it.kind == ResourceType::Extensions)
            && let Some(name) = &nack.refused
            && let Some(version) = delta.extension_version(name)
        {
            modules.refuse(version, &nack.message);
        }
    }
}

/// Returns the present document of a scope. Returns None if it is too large to travel with the filter.
fn document(published: &Published, scope: &Scope) -> Option<Box<RawValue>> {
    let rendered = published.rendered(scope, VERSION).ok()?;
    if rendered.body.len() > MAX_INITIAL {
        return None;
    }
    serde_json::from_slice(&Bytes::copy_from_slice(&rendered.body)).ok()
}
