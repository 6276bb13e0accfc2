//! The table of streams: for each node, the clusters that its proxies have accepted, and the clusters that the
//! documents of its filters name.
//!
//! A node is an Envoy as its streams and its polls name it: the owner of the token, and Envoy's node id. Several
//! processes can have the same node, for example during a hot restart. Then a cluster counts as accepted only if every
//! stream of the node has accepted it.
//!
//! A stream may reach another replica than the polls of the same proxy. So the table has the streams and the pollers of
//! all replicas, see [`StreamTable::replace_remote`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

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

/// What a proxy has done with the newest version of a cluster that this stream has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// The proxy has not answered yet. It may still warm this cluster or another one.
    Sent,
    Accepted,
    /// The proxy has refused the cluster, with this message.
    Refused(String),
}

/// The clusters of one stream, by name.
pub type StreamClusters = BTreeMap<Arc<str>, ClusterState>;

/// How far the clusters of a document are at a node.
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
    nodes: HashMap<Node, NodeState>,
}

#[derive(Default)]
struct NodeState {
    streams: BTreeMap<u64, StreamClusters>,
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
        state.changes.send_replace(());
        drop(nodes);
        OpenStream {
            table: self.clone(),
            node,
            number,
        }
    }

    /// Returns which of the needed clusters a stream of the node has not accepted.
    pub fn progress(&self, node: &Node, needed: &ClusterNames) -> Progress {
        let nodes = self.lock();
        let streams = nodes.nodes.get(node).map(|it| &it.streams);
        let mut progress = Progress::default();
        for stream in streams.into_iter().flat_map(BTreeMap::values) {
            progress.has_stream = true;
            for name in needed {
                let state = stream.get(name).unwrap_or(&ClusterState::Sent);
                let known = progress.missing.get(name);
                let is_refused = matches!(known, Some(ClusterState::Refused(_)));
                if *state != ClusterState::Accepted && !is_refused {
                    progress.missing.insert(name.clone(), state.clone());
                }
            }
        }
        progress
    }

    /// Returns a receiver that changes when [`StreamTable::progress`] of the node may have changed.
    pub fn changes(&self, node: &Node) -> watch::Receiver<()> {
        let mut nodes = self.lock();
        let state = nodes.nodes.entry(node.clone()).or_default();
        state.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenStream {
    /// Changes what the proxy has done with the clusters of this stream.
    pub fn update(&self, change: impl FnOnce(&mut StreamClusters)) {
        let mut nodes = self.table.lock();
        let Some(state) = nodes.nodes.get_mut(&self.node) else {
            return;
        };
        if let Some(clusters) = state.streams.get_mut(&self.number) {
            change(clusters);
            state.changes.send_replace(());
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut nodes = self.table.lock();
        if let Some(state) = nodes.nodes.get_mut(&self.node) {
            state.streams.remove(&self.number);
            state.changes.send_replace(());
            if state.streams.is_empty() && state.changes.receiver_count() == 0 {
                nodes.nodes.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_must_accept() {
        let table = Arc::new(StreamTable::default());
        let node = Node {
            owner: Arc::default(),
            id: "a".into(),
        };
        let needed = ClusterNames::from(["one".into(), "two".into()]);
        let missing = || {
            let progress = table.progress(&node, &needed);
            let names = progress.missing.keys().map(|it| it.to_string());
            (progress.has_stream, names.collect::<Vec<_>>())
        };
        assert_eq!(missing(), (false, vec![]));
        let mut changes = table.changes(&node);
        let first = table.open(node.clone());
        assert_eq!(missing(), (true, vec!["one".into(), "two".into()]));
        let accept = |stream: &OpenStream, name: &str| {
            stream.update(|it| drop(it.insert(name.into(), ClusterState::Accepted)));
        };
        accept(&first, "one");
        accept(&first, "two");
        assert!(changes.has_changed().unwrap());
        changes.borrow_and_update();
        assert_eq!(missing(), (true, vec![]));
        let second = table.open(node.clone());
        accept(&second, "two");
        assert_eq!(missing(), (true, vec!["one".into()]));
        drop(second);
        assert_eq!(missing(), (true, vec![]));
        drop((first, changes));
        assert!(table.changes(&node).has_changed().is_ok());
    }
}
