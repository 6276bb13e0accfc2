//! What a replica reports to other replicas about its streams and pollers: the answer to `GET /v1/streams`.
//!
//! The table counts its changes. Another replica names the count up to which it has read the table, and gets the nodes
//! that have changed since.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::pollers::PollerId;
use super::{ClusterNames, ClusterState, Node, StreamClusters, StreamTable};

/// Maximum number of nodes in one answer.
const MAX_NODES: usize = 1_024;
/// Maximum number of names of clusters in one answer.
const MAX_NAMES: usize = 1 << 18;
/// Maximum number of removed nodes that the table remembers.
const MAX_REMOVED: usize = 1 << 14;

/// The streams and pollers of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// The random name of the replica's process.
    pub replica: String,
    /// The nodes in the answer have changed after this count. With 0 the answer begins with the oldest change.
    pub since: u64,
    /// The newest count when the reader began from the beginning. The reader has none of the nodes that were removed before.
    #[serde(default)]
    pub began: u64,
    /// The count up to which the answer has the changes.
    pub until: u64,
    /// Sets of clusters, to which streams and pollers refer.
    pub sets: Vec<Arc<ClusterNames>>,
    pub nodes: Vec<NodeReport>,
}

/// The streams and pollers of one node. Both are empty if the node is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    pub node: Node,
    pub streams: Vec<OneStream>,
    pub pollers: Vec<OnePoller>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneStream {
    /// The accepted clusters, as an index into [`StreamReport::sets`].
    pub accepted: usize,
    /// The other clusters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: StreamClusters,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnePoller {
    pub id: PollerId,
    /// The clusters of the running document, as an index into [`StreamReport::sets`]. None if they are unknown.
    pub running: Option<usize>,
}

/// The order in which the nodes of this replica have changed.
#[derive(Default)]
pub(super) struct ChangeLog {
    count: watch::Sender<u64>,
    by_count: BTreeMap<u64, Node>,
    pub(super) counts: HashMap<Node, u64>,
    removed: VecDeque<u64>,
    /// The log has every change after this count.
    complete_after: u64,
}

impl ChangeLog {
    pub(super) fn record(&mut self, node: &Node, is_removed: bool) {
        let count = self.count.borrow().wrapping_add(1);
        if let Some(before) = self.counts.insert(node.clone(), count) {
            self.by_count.remove(&before);
        }
        self.by_count.insert(count, node.clone());
        if is_removed {
            self.removed.push_back(count);
        }
        while self.removed.len() > MAX_REMOVED {
            let oldest = self.removed.pop_front().unwrap_or_default();
            // The node may have come back, and then it has a higher count.
            if let Some(node) = self.by_count.remove(&oldest) {
                self.counts.remove(&node);
                self.complete_after = oldest;
            }
        }
        self.count.send_replace(count);
    }
}

/// Numbers the sets of an answer.
#[derive(Default)]
struct Sets {
    all: Vec<Arc<ClusterNames>>,
    indexes: HashMap<Arc<ClusterNames>, usize>,
    names: usize,
}

impl Sets {
    fn index(&mut self, set: Arc<ClusterNames>) -> usize {
        if let Some(index) = self.indexes.get(&set) {
            return *index;
        }
        let index = self.all.len();
        self.names = self.names.saturating_add(set.len());
        self.all.push(set.clone());
        self.indexes.insert(set, index);
        index
    }
}

impl StreamTable {
    /// Returns the count of changes, as a receiver of newer counts.
    pub fn count(&self) -> watch::Receiver<u64> {
        self.lock().log.count.subscribe()
    }

    /// Returns the nodes that have changed after the count `since`, at most 1,024 of them. `replica` is the name of this
    /// replica, and `began` comes from the previous report, or is 0.
    pub fn report(&self, replica: &str, since: u64, began: u64) -> StreamReport {
        let nodes = self.lock();
        let newest = *nodes.log.count.borrow();
        // A reader that began from the beginning lacks no removal before `began`: it never had those nodes.
        let is_known = since > 0
            && since <= newest
            && began <= newest
            && since.max(began) >= nodes.log.complete_after;
        let (since, began) = if is_known {
            (since, began)
        } else {
            (0, newest)
        };
        let mut report = StreamReport {
            replica: replica.to_owned(),
            since,
            began,
            until: newest,
            sets: Vec::new(),
            nodes: Vec::new(),
        };
        let mut sets = Sets::default();
        let mut others = 0_usize;
        for (count, node) in nodes.log.by_count.range(since.saturating_add(1)..) {
            let names = sets.names.saturating_add(others);
            if report.nodes.len() >= MAX_NODES || names >= MAX_NAMES {
                break;
            }
            report.until = *count;
            let state = nodes.nodes.get(node);
            let streams = state.into_iter().flat_map(|it| it.streams.values());
            let streams = streams.map(|clusters| {
                let (accepted, other) = split(clusters);
                others = others.saturating_add(other.len());
                OneStream {
                    accepted: sets.index(Arc::new(accepted)),
                    others: other,
                }
            });
            let streams = streams.collect();
            let pollers = state.into_iter().flat_map(|it| it.pollers.iter());
            let pollers = pollers.map(|(id, running)| OnePoller {
                id: id.clone(),
                running: running.clone().map(|set| sets.index(set)),
            });
            report.nodes.push(NodeReport {
                node: node.clone(),
                streams,
                pollers: pollers.collect(),
            });
        }
        report.sets = sets.all;
        report
    }
}

/// Splits the clusters of a stream into the accepted clusters and all others.
fn split(clusters: &StreamClusters) -> (ClusterNames, StreamClusters) {
    let mut accepted = ClusterNames::new();
    let mut others = StreamClusters::new();
    for (name, state) in clusters {
        match state {
            ClusterState::Accepted => {
                accepted.insert(name.clone());
            }
            ClusterState::Sent | ClusterState::Changed | ClusterState::Refused(_) => {
                others.insert(name.clone(), state.clone());
            }
        }
    }
    (accepted, others)
}
