//! One delta stream: what a proxy has asked for, what it has, and what it must get next.
//!
//! ```text
//! request, change of a plan, cluster or endpoints --> names that are due --> response --> ACK or NACK
//! ```
//!
//! A response is built when it can be sent, from the newest resources. So a client that never answers costs no memory.

mod newest;
#[cfg(test)]
mod tests;
mod type_stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Request, ResourceType, Response};
use super::stream_table::{ClusterNames, ClusterState};
pub use newest::Newest;
use type_stream::TypeStream;

/// Time from the moment at which nothing uses a cluster until the stream removes the cluster. Requests in progress and
/// their retries may still use it.
const RETIREMENT: Duration = Duration::from_secs(30);
/// The subscription to all clusters.
const WILDCARD: &str = "*";

/// A change of what the proxy has done with a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterChange {
    pub name: Arc<str>,
    /// None if the proxy no longer has the cluster by this stream, or if no scope names it.
    pub state: Option<ClusterState>,
}

/// A response that the client has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    pub kind: ResourceType,
    pub message: String,
    /// The resource that the client does not accept. None if the response had several resources: then the stream sends
    /// smaller parts of the response.
    pub refused: Option<Arc<str>>,
}

/// The state of a stream.
pub struct Delta {
    clusters: TypeStream,
    endpoints: TypeStream,
    extensions: TypeStream,
    /// The clusters that a scope named at the last refresh.
    named: ClusterNames,
    /// The named clusters with old endpoints. While no scope names a cluster, its endpoints stay as they are. When a
    /// scope names it again, requests must wait until the client has the new endpoints.
    stale: ClusterNames,
    changes: Vec<ClusterChange>,
}

impl Default for Delta {
    fn default() -> Delta {
        Delta {
            clusters: TypeStream::new(ResourceType::Clusters),
            endpoints: TypeStream::new(ResourceType::Endpoints),
            extensions: TypeStream::new(ResourceType::Extensions),
            named: ClusterNames::new(),
            stale: ClusterNames::new(),
            changes: Vec::new(),
        }
    }
}

impl Delta {
    /// Reads a request. Ignores a type that Weir does not serve, and a nonce that no open response has.
    pub fn request(&mut self, request: &Request, newest: Newest<'_>) -> Option<Nack> {
        let kind = ResourceType::of_url(&request.type_url)?;
        let error = request.error.as_ref().map(|it| it.message.as_str());
        let nack = self.answer(kind, &request.nonce, error);
        let is_first = self.of(kind).open();
        if is_first {
            let stated = self.of(kind).state_versions(&request.versions, newest);
            self.record(kind, stated);
        }
        for name in &request.unsubscribe {
            let removed = self.of(kind).unsubscribe(name);
            self.record(kind, removed);
        }
        let asks_for_all = (is_first && request.subscribe.is_empty())
            || request.subscribe.iter().any(|name| name == WILDCARD);
        if kind == ResourceType::Clusters && asks_for_all {
            self.clusters.is_wildcard = true;
            self.refresh_clusters(newest);
        }
        // Envoy warms a changed cluster until it gets its endpoints again.
        let changed = match kind {
            ResourceType::Endpoints if is_first => self.clusters.unanswered(),
            _ => BTreeSet::new(),
        };
        for name in request.subscribe.iter().filter(|it| *it != WILDCARD) {
            let has_version = request.versions.contains_key(name) && !changed.contains(&**name);
            self.of(kind)
                .subscribe(name, is_first && has_version, newest);
        }
        nack
    }

    /// Finds what is due after a change of a scope, of clusters or of filters.
    pub fn refresh(&mut self, newest: Newest<'_>) {
        self.refresh_clusters(newest);
        self.endpoints.set_all_due();
        self.refresh_extensions(newest);
    }

    fn refresh_clusters(&mut self, newest: Newest<'_>) {
        let named: ClusterNames = newest.named_clusters().cloned().collect();
        let before = std::mem::replace(&mut self.named, named);
        let (mut changed, mut stale) = (Vec::new(), Vec::new());
        for name in before.symmetric_difference(&self.named) {
            if self.clusters.state(name).is_some() {
                changed.push(name.clone());
            }
            self.stale.remove(name);
            if self.named.contains(name) && !self.endpoints.has_newest(name, newest) {
                stale.push(name.clone());
            }
        }
        self.stale.extend(stale);
        self.record(ResourceType::Clusters, changed);
        for name in newest.named_clusters() {
            self.clusters.learn(name);
            self.endpoints.learn(name);
            self.clusters.set_due(name);
        }
    }

    /// Finds what is due after a change of this cluster, if the scopes name the same clusters as before.
    pub fn change_cluster(&mut self, name: &Arc<str>) {
        self.clusters.set_due(name);
        self.endpoints.set_due(name);
    }

    /// Finds what is due after a change of the endpoints of this cluster.
    pub fn change_endpoints(&mut self, name: &Arc<str>) {
        self.endpoints.set_due(name);
    }

    /// Finds what is due after changes of endpoints, if the caller does not know which clusters they belong to.
    pub fn change_all_endpoints(&mut self) {
        self.endpoints.set_all_due();
    }

    /// Removes the clusters that no scope names and that nothing has used for `RETIREMENT`. `in_use` has the clusters
    /// that the filters of the proxy use; None if this is not known, and then every cluster counts as used. Returns true
    /// if a cluster waits for its removal, so the caller must call again later.
    pub fn retire(
        &mut self,
        newest: Newest<'_>,
        in_use: Option<&ClusterNames>,
        now: Instant,
    ) -> bool {
        let is_used = |name: &str| in_use.is_none_or(|it| it.contains(name));
        let (removed, waits) = self.clusters.retire(newest, is_used, now);
        self.record(ResourceType::Clusters, removed);
        waits
    }

    /// Returns the next response. Returns None if nothing is due, or if too many responses are not answered yet.
    pub fn next_response(&mut self, newest: Newest<'_>) -> Option<Response> {
        self.end_waits_for_endpoints(newest);
        let response = ResourceType::ALL
            .into_iter()
            .find_map(|kind| self.of(kind).next_response(newest))?;
        if response.kind == ResourceType::Clusters {
            let names = response.resources.iter().map(|it| it.name.clone());
            for name in names {
                // Envoy does not ask for the endpoints of a changed cluster, and would warm it without them.
                self.endpoints.send_again(&name);
                self.record(ResourceType::Clusters, vec![name]);
            }
        }
        Some(response)
    }

    /// Finds clusters whose old endpoints are the newest again, or whose endpoints the client no longer has.
    fn end_waits_for_endpoints(&mut self, newest: Newest<'_>) {
        if self.stale.is_empty() {
            return;
        }
        let endpoints = &self.endpoints;
        let unanswered = endpoints.unanswered();
        let is_refused = |name: &str| {
            let state = endpoints.state(name);
            matches!(state, Some(ClusterState::Refused(_))) || endpoints.is_in_half(name)
        };
        let has_newest = |name: &str| {
            endpoints.has_newest(name, newest) && !unanswered.contains(name) && !is_refused(name)
        };
        let over = self.stale.iter().filter(|name| has_newest(name));
        let over: Vec<_> = over.cloned().collect();
        for name in &over {
            self.stale.remove(name);
        }
        self.record(ResourceType::Clusters, over);
    }

    /// Returns what has changed since the previous call.
    pub fn take_changes(&mut self) -> Vec<ClusterChange> {
        std::mem::take(&mut self.changes)
    }

    /// Finds which filters are due after a change of the filters.
    pub fn refresh_extensions(&mut self, newest: Newest<'_>) {
        for name in newest.extensions.keys() {
            self.extensions.learn(name);
        }
        self.extensions.set_all_due();
    }

    /// Returns the version of a filter that the proxy has or has refused, or that is on its way.
    pub fn extension_version(&self, name: &str) -> Option<&Arc<str>> {
        self.extensions.version(name)
    }

    /// Returns the version of a filter that the proxy has accepted. Returns None while another version is on its way.
    pub fn accepted_extension(&self, name: &str) -> Option<&Arc<str>> {
        let is_accepted = self.extensions.state(name) == Some(&ClusterState::Accepted);
        self.extensions
            .version(name)
            .filter(|_| is_accepted && !self.extensions.is_in_flight(name))
    }

    /// True if the proxy has asked for the filter and does not have this version.
    pub fn lacks_extension(&self, name: &str, version: &str) -> bool {
        self.extensions.lacks(name, version)
    }

    /// True if the proxy has not answered a response with this filter.
    pub fn is_extension_in_flight(&self, name: &str) -> bool {
        self.extensions.is_in_flight(name)
    }

    /// True if the proxy has accepted all these clusters.
    pub fn has_clusters(&self, names: &ClusterNames) -> bool {
        let mut states = names.iter().map(|name| self.clusters.state(name));
        states.all(|state| state == Some(&ClusterState::Accepted))
    }

    fn of(&mut self, kind: ResourceType) -> &mut TypeStream {
        match kind {
            ResourceType::Clusters => &mut self.clusters,
            ResourceType::Endpoints => &mut self.endpoints,
            ResourceType::Extensions => &mut self.extensions,
        }
    }

    fn answer(&mut self, kind: ResourceType, nonce: &str, error: Option<&str>) -> Option<Nack> {
        let answered = self.of(kind).answer(nonce, error)?;
        let message = error.map(type_stream::shortened);
        let refused = answered.refused;
        if kind == ResourceType::Endpoints && error.is_none() {
            let renewed = answered.names.iter();
            let renewed = renewed.filter(|name| self.stale.remove(*name)).cloned();
            let renewed = renewed.collect();
            self.record(ResourceType::Clusters, renewed);
        }
        self.record(kind, answered.names);
        message.map(|message| Nack {
            kind,
            message,
            refused,
        })
    }

    /// Records that these resources have a new state.
    fn record(&mut self, kind: ResourceType, names: Vec<Arc<str>>) {
        if kind != ResourceType::Clusters {
            return;
        }
        for name in names {
            let own = self.clusters.state(&name);
            let state = match own.filter(|_| self.named.contains(&name)) {
                Some(ClusterState::Accepted | ClusterState::Changed)
                    if self.stale.contains(&name) =>
                {
                    Some(ClusterState::Sent)
                }
                state => state.cloned(),
            };
            self.changes.push(ClusterChange { name, state });
        }
    }
}
