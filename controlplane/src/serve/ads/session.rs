//! Serves one delta stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use weir_core::metrics::Metrics;
use weir_core::owner::Owner;
use weir_core::plan::Scope;
use weir_split::wire::VERSION;

use super::grpc::{Replies, Requests, SlowReader};
use super::stream_filters::StreamFilters;
use super::stream_slots::StreamSlot;
use crate::publish::{Current, Published};
use crate::serve::Server;
use crate::serve::listener::Http2Connection;
use crate::serve::tokens::TokenSession;
use crate::xds::catalog::Catalog;
use crate::xds::delta::{Delta, Newest};
use crate::xds::encoded_resource::Resource;
use crate::xds::lazy_cluster::{Clusters, cluster_in};
use crate::xds::message::{Request, ResourceType};
use crate::xds::module_table::{ModuleTable, OpenModules};
use crate::xds::stream_table::{ClusterNames, Node, OpenStream, StreamTable};
use weir_core::manifest::problem::messages::answer as messages;

/// Time limit for the first request.
const FIRST_REQUEST: Duration = Duration::from_secs(15);
/// Time between two checks whether a cluster can be removed.
const RETIRE: Duration = Duration::from_secs(5);

/// Maximum number of refusals of one stream in the log. The metrics count all of them.
const MAX_LOGGED: u32 = 100;

/// Why a stream may have to end although its client has not closed it.
pub(super) struct StreamEnds {
    pub connection: Arc<Http2Connection>,
    pub slot: StreamSlot,
    pub token: Option<TokenSession>,
}

pub(super) struct Session {
    current: watch::Receiver<Current>,
    clusters: watch::Receiver<Arc<Clusters>>,
    changed_endpoints: broadcast::Receiver<Arc<str>>,
    catalog: Arc<Catalog>,
    streams: Arc<StreamTable>,
    metrics: Arc<Metrics>,
    owner: Arc<Owner>,
    filters: StreamFilters,
    modules: Arc<ModuleTable>,
    /// The plan of the last refresh. None before the first refresh.
    published: Option<Arc<Published>>,
    /// For each scope: the names of the clusters that its document in `published` needs.
    scopes: Vec<Arc<ClusterNames>>,
    /// The clusters of the last refresh.
    known_clusters: Arc<Clusters>,
    delta: Delta,
    /// Number of refusals in the log.
    logged_refusals: u32,
}

impl StreamEnds {
    /// Waits until the stream must end. The status is Ok if nothing is wrong and the client only has to connect again.
    async fn over(&self) -> Status {
        let token = async {
            match &self.token {
                Some(token) => token.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.connection.ending() => Status::ok(""),
            () = self.slot.reassigned() => Status::resource_exhausted(messages::full().to_string()),
            why = token => Status::unauthenticated(why),
        }
    }
}

impl Session {
    pub(super) fn new(server: Server, owner: Arc<Owner>, filters: StreamFilters) -> Session {
        Session {
            current: server.current,
            clusters: server.catalog.clusters(),
            changed_endpoints: server.catalog.changed_endpoints(),
            catalog: server.catalog,
            streams: server.streams,
            metrics: server.metrics,
            owner,
            filters,
            modules: server.proxies.modules(),
            published: None,
            scopes: Vec::new(),
            known_clusters: Arc::default(),
            delta: Delta::default(),
            logged_refusals: 0,
        }
    }

    /// Serves the stream until the client or the server ends it.
    pub(super) async fn run(mut self, ends: StreamEnds, mut requests: Requests, replies: Replies) {
        let _open = ends.connection.open_request();
        let _gauge = StreamGauge::new(&self.metrics);
        let status = tokio::select! {
            status = ends.over() => status,
            () = replies.closed() => Status::cancelled("the client has closed the stream"),
            served = self.serve(&mut requests, &replies) => match served {
                Ok(()) => Status::ok(""),
                Err(StreamError::Status(status)) => status,
                Err(StreamError::SlowReader) => {
                    ends.connection.close();
                    Status::deadline_exceeded("the client reads no responses")
                }
            },
        };
        tracing::debug!(owner = self.owner.name, code = ?status.code(), "a stream has ended: {}", status.message());
        replies.end(&status);
    }

    async fn serve(
        &mut self,
        requests: &mut Requests,
        replies: &Replies,
    ) -> Result<(), StreamError> {
        let is_plan = |current: &Current| matches!(current, Current::Plan(_));
        let published = self.current.wait_for(is_plan).await;
        drop(published.map_err(|_| stopped())?);
        self.refresh();
        let first = timeout(FIRST_REQUEST, requests.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the first request is missing"))?;
        let Some(first) = first? else {
            return Ok(());
        };
        let node = Node::new(self.owner.clone(), node_id(&first)?);
        tracing::debug!(owner = self.owner.name, node = %node.id, "a stream has opened");
        // The first request may have come long after the first refresh.
        self.refresh();
        let open = self.streams.open(node.clone());
        let modules = self.modules.open(node.clone());
        self.update_filters(&node);
        self.read(&first, &node, &modules);
        let mut waits = self.retire(&node);
        // Frequent events must not delay the check.
        let mut check = Instant::now() + RETIRE;
        loop {
            self.push(replies, &open).await?;
            tokio::select! {
                request = requests.next() => match request? {
                    Some(request) => self.read(&request, &node, &modules),
                    None => return Ok(()),
                },
                changed = self.current.changed() => {
                    changed.map_err(|_| stopped())?;
                    self.refresh();
                    waits = self.retire(&node);
                }
                changed = self.clusters.changed() => {
                    changed.map_err(|_| stopped())?;
                    self.refresh();
                    waits = self.retire(&node);
                }
                name = self.changed_endpoints.recv() => self.change_endpoints(name),
                () = self.filters.changed() => self.update_filters(&node),
                () = sleep_until(check), if waits => {
                    waits = self.retire(&node);
                    check = Instant::now() + RETIRE;
                }
            }
        }
    }

    /// Sends what is due, and writes into the table what the proxy has.
    async fn push(&mut self, replies: &Replies, open: &OpenStream) -> Result<(), StreamError> {
        loop {
            let response = self.with_newest(|delta, newest| delta.next_response(newest));
            let changes = self.delta.take_changes();
            if !changes.is_empty() {
                open.record(changes.into_iter().map(|it| (it.name, it.state)));
            }
            let Some(mut response) = response else {
                return Ok(());
            };
            if response.kind == ResourceType::Extensions {
                self.encode_filters(&mut response.resources);
            }
            self.metrics.count_push(response.kind.label());
            replies.send(response).await?;
        }
    }

    fn update_filters(&mut self, node: &Node) {
        let has_clusters = has_clusters(&self.delta, self.names_by_scope());
        self.filters.update(&self.delta, node, has_clusters);
        self.with_newest(|delta, newest| delta.refresh_extensions(newest));
    }

    /// A filter gets the document of the last refresh, because the stream has not learned the clusters of a newer one.
    fn encode_filters(&self, resources: &mut [Resource]) {
        let has_clusters = has_clusters(&self.delta, self.names_by_scope());
        self.filters
            .encode(resources, self.published.as_deref(), has_clusters);
    }

    /// Returns the names of the clusters that the document of each scope needs.
    fn names_by_scope(&self) -> BTreeMap<Scope, Arc<ClusterNames>> {
        let scopes = self.filters.scopes().cloned();
        scopes.zip(self.scopes.iter().cloned()).collect()
    }

    fn read(&mut self, request: &Request, node: &Node, modules: &OpenModules) {
        let nack = self.with_newest(|delta, newest| delta.request(request, newest));
        if ResourceType::of_url(&request.type_url) == Some(ResourceType::Extensions) {
            self.filters.report(&self.delta, nack.as_ref(), modules);
        }
        self.update_filters(node);
        if let Some(nack) = nack {
            let (label, refused) = (nack.kind.label(), nack.refused.as_deref());
            self.metrics.count_nack(label);
            if self.logged_refusals >= MAX_LOGGED {
                return;
            }
            self.logged_refusals = self.logged_refusals.saturating_add(1);
            tracing::warn!(
                owner = self.owner.name,
                node = %node.id,
                r#type = label,
                resource = refused,
                "a proxy refuses a response: {}",
                nack.message
            );
        }
    }

    /// Reads the newest plan and the newest clusters.
    fn refresh(&mut self) {
        let published = match &*self.current.borrow_and_update() {
            Current::Plan(published) => Some(published.clone()),
            Current::Nothing { .. } => None,
        };
        let before = self.scopes.clone();
        if let Some(published) = published {
            let scopes = self.filters.scopes();
            self.scopes = scopes.map(|it| needed_clusters(&published, it)).collect();
            self.published = Some(published);
        }
        let clusters = self.clusters.borrow_and_update().clone();
        let clusters_before = std::mem::replace(&mut self.known_clusters, clusters);
        if before != self.scopes {
            self.with_newest(|delta, newest| delta.refresh(newest));
            return;
        }
        // Most changes of other Services change nothing for this proxy.
        for name in self.scopes.iter().flat_map(|names| names.iter()) {
            let of = |clusters: &Clusters| clusters.get(name).map(Arc::as_ptr);
            if of(&clusters_before) != of(&self.known_clusters) {
                self.delta.change_cluster(name);
            }
        }
    }

    fn change_endpoints(&mut self, first: Result<Arc<str>, RecvError>) {
        let mut lags = match first {
            Ok(name) => {
                self.delta.change_endpoints(&name);
                false
            }
            // A closed channel is impossible, because `catalog` has the sender.
            Err(_) => true,
        };
        loop {
            match self.changed_endpoints.try_recv() {
                Ok(name) => self.delta.change_endpoints(&name),
                Err(TryRecvError::Lagged(_)) => lags = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if lags {
            self.delta.change_all_endpoints();
        }
    }

    /// Removes unused clusters. Returns true if other clusters wait for their removal.
    fn retire(&mut self, node: &Node) -> bool {
        let in_use = self.streams.names_in_use(node);
        let now = Instant::now().into_std();
        self.with_newest(|delta, newest| delta.retire(newest, in_use.as_ref(), now))
    }

    fn with_newest<T>(&mut self, act: impl FnOnce(&mut Delta, Newest<'_>) -> T) -> T {
        let clusters = |name: &str| cluster_in(&self.known_clusters, name);
        let endpoints = |name: &str| self.catalog.endpoints(name);
        let newest = Newest {
            scopes: &self.scopes,
            clusters: &clusters,
            endpoints: &endpoints,
            extensions: self.filters.offers(),
        };
        act(&mut self.delta, newest)
    }
}

/// Why a stream ends.
enum StreamError {
    Status(Status),
    SlowReader,
}

impl From<Status> for StreamError {
    fn from(status: Status) -> StreamError {
        StreamError::Status(status)
    }
}

impl From<SlowReader> for StreamError {
    fn from(_: SlowReader) -> StreamError {
        StreamError::SlowReader
    }
}

fn stopped() -> Status {
    Status::unavailable("the control plane stops")
}

/// Returns the node id in the first request of a stream.
fn node_id(first: &Request) -> Result<&str, Status> {
    let id = first.node.as_ref().map(|node| node.id.as_str());
    let id = id.filter(|id| !id.is_empty());
    id.ok_or_else(|| Status::invalid_argument(messages::no_node().to_string()))
}

/// Returns the names of the clusters that the document of a scope needs.
fn needed_clusters(published: &Published, scope: &Scope) -> Arc<ClusterNames> {
    // An error is impossible, because the newest version can express every document.
    let rendered = published.rendered(scope, VERSION);
    rendered.map(|it| it.clusters).unwrap_or_default()
}

/// Returns a function that is true for a scope if the proxy has accepted every cluster that the document of the scope
/// needs.
fn has_clusters(
    delta: &Delta,
    names: BTreeMap<Scope, Arc<ClusterNames>>,
) -> impl Fn(&Scope) -> bool {
    move |scope| {
        let names = names.get(scope);
        names.is_some_and(|names| delta.has_clusters(names))
    }
}

/// Counts an open stream in the metrics until this value is dropped.
struct StreamGauge(Arc<Metrics>);

impl StreamGauge {
    fn new(metrics: &Arc<Metrics>) -> StreamGauge {
        metrics.streams.inc();
        StreamGauge(metrics.clone())
    }
}

impl Drop for StreamGauge {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}
