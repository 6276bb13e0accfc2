//! The streams and pollers of other replicas.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pollers::{FORGET, PollerId, RunningClusters};
use super::stream_report::{NodeReport, OnePoller, OneStream, StreamReport};
use super::{ClusterNames, ClusterState, Node, Progress, StreamClusters, StreamTable};

/// Time for which the streams of a replica still count after its last answer. An Envoy opens a new stream within this
/// time.
const LOST: Duration = Duration::from_secs(5);
/// Maximum number of replicas.
const MAX_REPLICAS: usize = 64;

/// A stream at another replica. Most streams have accepted the same clusters, so they share one set.
#[derive(Debug)]
pub(super) struct RemoteStream {
    pub accepted: Arc<ClusterNames>,
    pub others: StreamClusters,
}

#[derive(Debug, Default)]
pub(super) struct RemoteNode {
    pub streams: Vec<RemoteStream>,
    pub pollers: Vec<(PollerId, RunningClusters)>,
}

#[derive(Default)]
pub(super) struct Remotes {
    by_replica: HashMap<String, RemoteReplica>,
    /// True while an address of another replica does not answer.
    is_incomplete: bool,
}

#[derive(Default)]
struct RemoteReplica {
    nodes: HashMap<Node, RemoteNode>,
    /// Since when the replica does not answer.
    lost: Option<Instant>,
}

impl RemoteStream {
    fn of(stream: OneStream, sets: &[Arc<ClusterNames>]) -> RemoteStream {
        RemoteStream {
            accepted: sets.get(stream.accepted).cloned().unwrap_or_default(),
            others: stream.others,
        }
    }

    fn state(&self, name: &str) -> &ClusterState {
        match self.others.get(name) {
            Some(state) => state,
            None if self.accepted.contains(name) => &ClusterState::Accepted,
            None => &ClusterState::Sent,
        }
    }
}

fn poller_of(poller: OnePoller, sets: &[Arc<ClusterNames>]) -> (PollerId, RunningClusters) {
    let running = poller.running.and_then(|index| sets.get(index).cloned());
    (poller.id, running)
}

impl Remotes {
    pub(super) fn are_complete(&self) -> bool {
        !self.is_incomplete
    }

    /// Adds the streams of the node at other replicas to `progress`. If a replica does not answer, its streams count
    /// only if the node has no other stream.
    pub(super) fn add_progress(
        &self,
        node: &Node,
        needed: &ClusterNames,
        progress: &mut Progress,
        now: Instant,
    ) {
        for is_lost in [false, true] {
            if is_lost && progress.has_stream {
                return;
            }
            let remotes = self.by_replica.values();
            let remotes = remotes.filter(|remote| match remote.lost {
                None => !is_lost,
                Some(at) => is_lost && now.saturating_duration_since(at) < LOST,
            });
            for stream in remotes
                .filter_map(|it| it.nodes.get(node))
                .flat_map(|it| &it.streams)
            {
                progress.add_stream(needed, |name| stream.state(name));
            }
        }
    }

    /// Adds the clusters of the node's pollers at other replicas to `names`, and returns the number of these pollers.
    /// Returns None if the document of a poller is unknown.
    pub(super) fn add_running(&self, node: &Node, names: &mut ClusterNames) -> Option<usize> {
        let nodes = self.by_replica.values().filter_map(|it| it.nodes.get(node));
        let mut count = 0_usize;
        for (_, running) in nodes.flat_map(|it| &it.pollers) {
            names.extend(running.as_ref()?.iter().cloned());
            count = count.saturating_add(1);
        }
        Some(count)
    }

    /// Forgets the replicas that have not answered for a minute.
    pub(super) fn sweep(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FORGET;
        self.by_replica.retain(|_, it| !it.lost.is_some_and(is_old));
    }
}

impl StreamTable {
    /// Stores an answer of another replica. An answer has the nodes that have changed since the previous answer. The
    /// first answer has all nodes.
    pub fn replace_remote(&self, report: StreamReport) {
        let mut nodes = self.lock();
        let remotes = &mut nodes.remotes.by_replica;
        if remotes.len() >= MAX_REPLICAS && !remotes.contains_key(&report.replica) {
            tracing::warn!(
                "there are more than {MAX_REPLICAS} replicas: the streams of some of them are ignored"
            );
            return;
        }
        let mut changed: Vec<Node> = Vec::new();
        let remote = remotes.entry(report.replica.clone()).or_default();
        if report.since == 0 || remote.lost.take().is_some() {
            changed.extend(remote.nodes.keys().cloned());
        }
        if report.since == 0 {
            remote.nodes.clear();
        }
        let sets = report.sets;
        for NodeReport {
            node,
            streams,
            pollers,
        } in report.nodes
        {
            let own = RemoteNode {
                streams: streams
                    .into_iter()
                    .map(|it| RemoteStream::of(it, &sets))
                    .collect(),
                pollers: pollers.into_iter().map(|it| poller_of(it, &sets)).collect(),
            };
            if own.streams.is_empty() && own.pollers.is_empty() {
                remote.nodes.remove(&node);
            } else {
                remote.nodes.insert(node.clone(), own);
            }
            changed.push(node);
        }
        for node in changed {
            nodes.notify(&node);
        }
    }

    /// Records that the replica does not answer.
    pub fn lose_remote(&self, replica: &str) {
        let now = Instant::now();
        let mut nodes = self.lock();
        if let Some(remote) = nodes.remotes.by_replica.get_mut(replica) {
            remote.lost.get_or_insert(now);
        }
    }

    /// Records whether every address of another replica answers. While one of them does not answer,
    /// [`StreamTable::names_in_use`] returns None.
    pub fn set_complete(&self, is_complete: bool) {
        self.lock().remotes.is_incomplete = !is_complete;
    }
}
