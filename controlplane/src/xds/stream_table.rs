//! The table of streams: for each node, the clusters that its proxies have accepted, and the clusters that the
//! documents of its filters name.
//!
//! A node is an Envoy as its streams and its polls name it: the owner of the token, and Envoy's node id. Several
//! processes can have the same node, for example during a hot restart. Then a cluster counts as accepted only if every
//! stream of the node has accepted it.
//!
//! A stream may reach another replica than the polls of the same proxy. So the table has the streams and the pollers of
//! all replicas, see [`StreamTable::replace_remote`].

mod pollers;
mod remote;
mod stream_report;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use pollers::Pollers;
pub use pollers::{PollerId, RunningClusters};
use remote::Remotes;
use stream_report::ChangeLog;
pub use stream_report::StreamReport;
use weir_core::owner::Owner;

/// The names of clusters.
pub type ClusterNames = BTreeSet<Arc<str>>;

/// An Envoy, as its streams and its polls name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    pub owner: Arc<Owner>,
    /// Envoy's node id.
    pub id: Arc<str>,
}

/// Time between two searches for pollers that no longer poll.
const SWEEP: Duration = Duration::from_secs(1);
/// Maximum number of characters of a node id. The filter cuts the id in the same way.
const MAX_ID: usize = 400;

impl Node {
    /// Returns the node with this id. Envoy sends the raw id in a stream, and the filter sends only visible ASCII
    /// characters in a poll. So this function replaces every other character with `?`.
    pub fn new(owner: Arc<Owner>, id: &str) -> Node {
        let visible = |c: char| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        };
        let id: String = id.chars().take(MAX_ID).map(visible).collect();
        Node {
            owner,
            id: id.into(),
        }
    }
}

/// What a proxy has done with the newest version of a cluster that this stream has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// The proxy has not answered yet. It may still warm this cluster or another one.
    Sent,
    /// The proxy has not answered yet, and has another version of the cluster from an earlier stream.
    Changed,
    Accepted,
    /// The proxy has refused the cluster, with this message.
    Refused(String),
}

impl ClusterState {
    /// Returns a number that is higher if the proxy has less of the cluster.
    fn rank(&self) -> u8 {
        match self {
            ClusterState::Accepted => 0,
            ClusterState::Changed => 1,
            ClusterState::Sent => 2,
            ClusterState::Refused(_) => 3,
        }
    }
}

/// The clusters of one stream, by name.
pub type StreamClusters = BTreeMap<Arc<str>, ClusterState>;

/// Which of the clusters of a document a node still lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// False if no stream of the node is known, so the node may have any clusters.
    pub has_stream: bool,
    /// The needed clusters that at least one stream has not accepted.
    pub missing: StreamClusters,
}

#[derive(Default)]
pub struct StreamTable {
    state: Mutex<Nodes>,
}

#[derive(Default)]
struct Nodes {
    next: u64,
    /// The nodes with streams, pollers or waiting polls at this replica.
    nodes: HashMap<Node, NodeState>,
    /// The number of pollers of all these nodes.
    pollers: usize,
    /// The node with which each poller has polled last.
    node_of: HashMap<(Arc<Owner>, PollerId), Node>,
    log: ChangeLog,
    remotes: Remotes,
    start: Option<Instant>,
    last_sweep: Option<Instant>,
}

#[derive(Default)]
struct NodeState {
    streams: BTreeMap<u64, StreamClusters>,
    pollers: Pollers,
    /// Changes when the progress of the node may have changed.
    changes: watch::Sender<()>,
}

/// Keeps a stream in the table until this value is dropped.
pub struct OpenStream {
    table: Arc<StreamTable>,
    node: Node,
    number: u64,
}

impl StreamTable {
    /// Adds a stream without clusters.
    pub fn open(self: &Arc<Self>, node: Node) -> OpenStream {
        let mut nodes = self.lock();
        nodes.next = nodes.next.wrapping_add(1);
        let number = nodes.next;
        let state = nodes.nodes.entry(node.clone()).or_default();
        state.streams.insert(number, StreamClusters::new());
        nodes.changed(&node);
        drop(nodes);
        OpenStream {
            table: self.clone(),
            node,
            number,
        }
    }

    /// Returns the needed clusters that at least one stream of the node has not accepted. The streams of all replicas
    /// count.
    pub fn progress(&self, node: &Node, needed: &ClusterNames) -> Progress {
        let nodes = self.lock();
        let streams = nodes.nodes.get(node).map(|it| &it.streams);
        let mut progress = Progress::default();
        for stream in streams.into_iter().flat_map(BTreeMap::values) {
            let state = |name: &str| stream.get(name).unwrap_or(&ClusterState::Sent);
            progress.add_stream(needed, state);
        }
        let now = Instant::now();
        nodes.remotes.add_progress(node, needed, &mut progress, now);
        progress
    }

    /// Returns a value that reports when [`StreamTable::progress`] of the node may have changed.
    pub fn changes(self: &Arc<Self>, node: &Node) -> NodeChanges {
        let mut nodes = self.lock();
        let state = nodes.nodes.entry(node.clone()).or_default();
        NodeChanges {
            receiver: Some(state.changes.subscribe()),
            table: self.clone(),
            node: node.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn add_stream<'s>(&mut self, needed: &ClusterNames, state: impl Fn(&str) -> &'s ClusterState) {
        self.has_stream = true;
        for name in needed {
            let state = state(name);
            let before = self.missing.get(name).map_or(0, ClusterState::rank);
            if state.rank() > before {
                self.missing.insert(name.clone(), state.clone());
            }
        }
    }
}

impl OpenStream {
    /// Records what the proxy has done with clusters of this stream. None means that the proxy no longer has the cluster
    /// by this stream.
    pub fn record(&self, changes: impl IntoIterator<Item = (Arc<str>, Option<ClusterState>)>) {
        let mut nodes = self.table.lock();
        let state = nodes.nodes.get_mut(&self.node);
        let Some(clusters) = state.and_then(|it| it.streams.get_mut(&self.number)) else {
            return;
        };
        let mut is_changed = false;
        for (name, state) in changes {
            is_changed |= clusters.get(&name) != state.as_ref();
            match state {
                Some(state) => clusters.insert(name, state),
                None => clusters.remove(&name),
            };
        }
        if is_changed {
            nodes.changed(&self.node);
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut nodes = self.table.lock();
        if let Some(state) = nodes.nodes.get_mut(&self.node) {
            state.streams.remove(&self.number);
        }
        nodes.changed(&self.node);
        nodes.forget_unused(&self.node);
    }
}

/// Reports the changes of one node.
pub struct NodeChanges {
    table: Arc<StreamTable>,
    node: Node,
    /// None only while the value is dropped.
    receiver: Option<watch::Receiver<()>>,
}

impl NodeChanges {
    /// Waits for a change after the last call of [`NodeChanges::changed`] or [`NodeChanges::mark_seen`].
    pub async fn changed(&mut self) {
        match &mut self.receiver {
            // The table has the sender while this value exists, so there is no error.
            Some(receiver) => drop(receiver.changed().await),
            None => std::future::pending().await,
        }
    }

    /// Ignores all changes until now. Call this function before [`StreamTable::progress`].
    pub fn mark_seen(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver.mark_unchanged();
        }
    }
}

impl Drop for NodeChanges {
    fn drop(&mut self) {
        let mut nodes = self.table.lock();
        self.receiver = None;
        nodes.forget_unused(&self.node);
    }
}

impl Nodes {
    /// Records a change of a node's streams or pollers, for this replica and for other replicas.
    fn changed(&mut self, node: &Node) {
        let state = self.nodes.get(node);
        let is_removed = state.is_none_or(NodeState::has_nothing);
        self.log.record(node, is_removed);
        self.notify(node);
    }

    /// Ends the waits of the node's polls.
    fn notify(&self, node: &Node) {
        if let Some(state) = self.nodes.get(node) {
            state.changes.send_replace(());
        }
    }

    /// Forgets a node without streams and pollers if no poll waits for it. A client may invent the node ids of its
    /// polls.
    fn forget_unused(&mut self, node: &Node) {
        let is_unused = |it: &NodeState| it.has_nothing() && it.changes.receiver_count() == 0;
        if self.nodes.get(node).is_some_and(is_unused) {
            self.nodes.remove(node);
        }
    }

    /// Forgets pollers and replicas that are gone, at most once in each second.
    fn sweep(&mut self, now: Instant) {
        let is_due = |swept: Instant| now.saturating_duration_since(swept) >= SWEEP;
        if !self.last_sweep.is_none_or(is_due) {
            return;
        }
        self.last_sweep = Some(now);
        self.start.get_or_insert(now);
        self.remotes.sweep(now);
        let mut changed = Vec::new();
        let mut pollers = 0_usize;
        for (node, state) in &mut self.nodes {
            if state.pollers.sweep(now) {
                changed.push(node.clone());
            }
            pollers = pollers.saturating_add(state.pollers.len());
        }
        self.pollers = pollers;
        let all = &self.nodes;
        self.node_of.retain(|(_, id), node| {
            let state = all.get(node);
            state.is_some_and(|it| it.pollers.contains(id))
        });
        for node in changed {
            self.changed(&node);
            self.forget_unused(&node);
        }
    }
}

impl NodeState {
    fn has_nothing(&self) -> bool {
        self.streams.is_empty() && self.pollers.is_empty()
    }
}

#[cfg(test)]
mod tests;
