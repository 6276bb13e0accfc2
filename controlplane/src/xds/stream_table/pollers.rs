//! The pollers of nodes. A poller is one Envoy process that polls for one scope. Each poll names the document that the
//! process runs, so the table knows which clusters a node uses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use weir_core::owner::Owner;
use weir_core::plan::Scope;

use super::{ClusterNames, Node, NodeState, Nodes, StreamTable};

/// A poller that has not polled for this time does not count. A process polls at least every 30 seconds.
pub(super) const FORGET: Duration = Duration::from_secs(60);
/// Maximum number of pollers of one node. The clusters of a node with more pollers always count as used.
const MAX_OF_NODE: usize = 256;
/// Maximum number of pollers of all nodes.
const MAX_POLLERS: usize = 1 << 16;

/// An Envoy process and the scope for which it polls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PollerId {
    /// The header `weir-instance`.
    pub instance: String,
    pub scope: Scope,
}

/// The clusters of the document that a poller runs. None if the document is unknown, or if the workers of the process
/// run different documents.
pub type RunningClusters = Option<Arc<ClusterNames>>;

/// The pollers of one node.
#[derive(Debug, Default)]
pub(super) struct Pollers {
    by_id: HashMap<PollerId, (RunningClusters, Instant)>,
    /// When a poll was not recorded, because there were too many pollers.
    unrecorded: Option<Instant>,
}

impl Pollers {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.unrecorded.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, id: &PollerId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PollerId, &RunningClusters)> {
        self.by_id.iter().map(|(id, (running, _))| (id, running))
    }

    /// Records a poll. Returns true if the clusters of the node may have changed.
    fn record(
        &mut self,
        id: PollerId,
        running: RunningClusters,
        may_add: bool,
        now: Instant,
    ) -> bool {
        if let Some((known, last_poll)) = self.by_id.get_mut(&id) {
            *last_poll = now;
            let is_new = *known != running;
            *known = running;
            return is_new;
        }
        if !may_add || self.by_id.len() >= MAX_OF_NODE {
            return self.unrecorded.replace(now).is_none();
        }
        self.by_id.insert(id, (running, now));
        true
    }

    /// Forgets the pollers that no longer poll. Returns true if it has forgotten a poller.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FORGET;
        let before = self.by_id.len();
        self.by_id.retain(|_, (_, at)| !is_old(*at));
        let overflow = self.unrecorded.take_if(|at| is_old(*at));
        self.by_id.len() < before || overflow.is_some()
    }

    /// Adds the clusters of all pollers to `names`. Returns None if the document of a poller is unknown.
    fn add_to(&self, names: &mut ClusterNames) -> Option<()> {
        if self.unrecorded.is_some() {
            return None;
        }
        for (_, running) in self.iter() {
            names.extend(running.as_ref()?.iter().cloned());
        }
        Some(())
    }
}

impl Nodes {
    /// Removes the poller from its old node if it polls with another node now. So a client that changes its node id keeps
    /// only one poller.
    fn leave_old_node(&mut self, key: &(Arc<Owner>, PollerId), node: &Node) {
        if self.node_of.get(key).is_none_or(|old| old == node) {
            return;
        }
        let Some(old) = self.node_of.remove(key) else {
            return;
        };
        let state = self.nodes.get_mut(&old);
        if state.is_some_and(|it| it.pollers.by_id.remove(&key.1).is_some()) {
            self.pollers = self.pollers.saturating_sub(1);
            self.changed(&old);
            self.forget_unused(&old);
        }
    }
}

impl StreamTable {
    /// Records a poll of a proxy that gets its clusters from Weir. `running` are the clusters of the document that the
    /// proxy runs. If `may_add` is false, a new poller is not kept, and the clusters of the node count as used.
    pub fn record_poll(&self, node: &Node, id: PollerId, running: RunningClusters, may_add: bool) {
        let now = Instant::now();
        let mut nodes = self.lock();
        nodes.sweep(now);
        let key = (node.owner.clone(), id.clone());
        nodes.leave_old_node(&key, node);
        let may_add = may_add && nodes.pollers < MAX_POLLERS;
        // A poll that waits has already added its node, even without a stream or a poller.
        let has_nothing = nodes.nodes.get(node).is_none_or(NodeState::has_nothing);
        if !may_add && has_nothing {
            // The clusters of a node without a poller count as used.
            return;
        }
        let state = nodes.nodes.entry(node.clone()).or_default();
        let before = state.pollers.len();
        let is_new = state.pollers.record(id, running, may_add, now);
        let added = state.pollers.len().saturating_sub(before);
        let is_recorded = state.pollers.contains(&key.1);
        nodes.pollers = nodes.pollers.saturating_add(added);
        if is_recorded {
            nodes.node_of.insert(key, node.clone());
        }
        if is_new {
            nodes.changed(node);
        }
    }

    /// Returns the clusters that the documents of the node's pollers name. Returns None if they may be unknown: if the
    /// node has no poller, if a poller runs an unknown document, or if this replica does not know all pollers.
    pub fn names_in_use(&self, node: &Node) -> Option<ClusterNames> {
        let now = Instant::now();
        let mut nodes = self.lock();
        nodes.sweep(now);
        // After a restart a poller may not have polled yet.
        let start = *nodes.start.get_or_insert(now);
        if now.saturating_duration_since(start) < FORGET || !nodes.remotes.are_complete() {
            return None;
        }
        let own = nodes.nodes.get(node).map(|state| &state.pollers);
        let own = own.filter(|pollers| !pollers.is_empty());
        let mut names = ClusterNames::new();
        let of_others = nodes.remotes.add_running(node, &mut names)?;
        if let Some(own) = own {
            own.add_to(&mut names)?;
        }
        (own.is_some() || of_others > 0).then_some(names)
    }
}
