//! The polls of proxies that get their clusters from Weir. Such a proxy gets a document only after it has accepted the
//! clusters that the document names: make before break.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::time::{Instant, sleep_until};
use weir_core::manifest::problem::messages::{self, answer};
use weir_core::plan::Scope;
use weir_core::status::cluster_gaps::{ClusterGap, ClusterGaps};
use weir_split::wire::headers::{APPLIED, CLUSTERS, FROM_WEIR, NODE, REFUSED};

use super::Server;
use super::answer::Answer;
use super::cluster_wait::{Present, Release, SharedWait};
use super::poll_headers::KnownRevisions;
use super::polls::Poller;
use super::proxies::{ClusterStatus, ExpectedPartial};
use super::reader::Reader;
use super::recent_documents::KnownDocument;
use crate::publish::Published;
use crate::xds::stream_table::{
    ClusterNames, ClusterState, Node, NodeChanges, PollerId, Progress, RunningClusters,
};

pub(super) struct ClusterPoll {
    node: Node,
    changes: NodeChanges,
    wait: SharedWait,
    /// The document that the proxy has, if this replica knows it.
    present: Option<Arc<KnownDocument>>,
    has_document: bool,
    running: RunningClusters,
    pub status: ClusterStatus,
    /// True if the answer depends on the clusters of the node.
    is_waiting: bool,
    /// When the answer changes without a change of the clusters; None for never.
    until: Option<Instant>,
}

impl Server {
    /// Returns None if the proxy has its clusters from its own configuration.
    pub(super) fn cluster_poll(
        &self,
        headers: &HeaderMap,
        reader: &Reader,
        scope: &Scope,
        known: &KnownRevisions,
        poller: Option<&Poller>,
    ) -> Option<ClusterPoll> {
        if headers.get(CLUSTERS)?.as_bytes() != FROM_WEIR.as_bytes() {
            return None;
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let node = Node::new(reader.owner(), text(NODE).unwrap_or_default());
        let refused = text(REFUSED).and_then(|it| it.strip_prefix('"')?.split('"').next());
        let mut running = known.running(refused.unwrap_or_default());
        let has_document = *known == KnownRevisions::Any || running.clone().next().is_some();
        let present = running.find_map(|revision| self.documents.find(scope, revision));
        let applied = text(APPLIED).unwrap_or_default().trim_matches('"');
        let applied = self.documents.find(scope, applied);
        let nothing = (!has_document).then(Arc::default);
        let running = applied.map(|it| it.named.clone()).or(nothing);
        let wait = poller.map(|poller| self.waits.of(poller, Instant::now()));
        Some(ClusterPoll {
            changes: self.streams.changes(&node),
            node,
            wait: wait.unwrap_or_default(),
            present,
            has_document,
            running,
            status: ClusterStatus::default(),
            is_waiting: false,
            until: None,
        })
    }

    /// Records which clusters the proxy uses. `is_listed` is false if the owner of the proxy has too many proxies.
    pub(super) fn record_running(&self, clusters: &ClusterPoll, poller: &Poller, is_listed: bool) {
        let id = PollerId {
            instance: String::from_utf8_lossy(&poller.instance).into_owned(),
            scope: poller.scope.clone(),
        };
        let running = clusters.running.clone();
        self.streams
            .record_poll(&clusters.node, id, running, is_listed);
    }

    /// Returns the answer to a poll. `answer` is the answer that a proxy with all clusters would get.
    pub(super) fn with_clusters(
        &self,
        clusters: &mut ClusterPoll,
        (scope, version): (&Scope, u32),
        known: &KnownRevisions,
        published: &Published,
        answer: Answer,
    ) -> Answer {
        clusters.is_waiting = false;
        clusters.until = None;
        clusters.status = ClusterStatus::default();
        let (rendered, watermark, elsewhere) = match answer {
            Answer::New {
                rendered,
                watermark,
                elsewhere,
            } => (rendered, watermark, elsewhere),
            Answer::Same { ref rendered, .. } => {
                self.documents.keep(scope, rendered);
                clusters.wait.lock().reset();
                return answer;
            }
            other => return other,
        };
        let document = self.documents.keep(scope, &rendered);
        let whole = Answer::New {
            rendered,
            watermark: watermark.clone(),
            elsewhere,
        };
        let lacking = clusters.lacking(&document);
        if lacking.is_empty() {
            clusters.wait.lock().reset();
            return whole;
        }
        clusters.changes.mark_seen();
        let progress = self.streams.progress(&clusters.node, &lacking);
        let mut wait = clusters.wait.lock();
        let missing = match wait.decide(
            clusters.kind(&document),
            &lacking,
            &progress,
            Instant::now(),
        ) {
            Release::Whole => {
                wait.reset();
                return whole;
            }
            Release::Hold { until } => {
                drop(wait);
                clusters.status.gaps = gaps(&lacking, &progress, &ClusterNames::new());
                let why = match progress.has_stream {
                    true => answer::clusters_missing(messages::list(progress.missing.keys())),
                    false => answer::no_stream(&clusters.node.id),
                };
                return clusters.hold(until, why);
            }
            Release::Partial { missing, until } => {
                clusters.status.gaps = gaps(&lacking, &progress, &missing.given_up);
                clusters.until = until;
                missing
            }
        };
        let present = clusters.present.as_deref();
        let present = present.map(|it| (it.revision.as_str(), &*it.body));
        let Some(rendered) = published.partial(scope, version, present, &missing) else {
            drop(wait);
            let names = missing.awaited.iter().chain(&missing.given_up);
            let why = answer::clusters_missing(messages::list(names));
            return clusters.hold(clusters.until, why);
        };
        wait.end_hold();
        drop(wait);
        clusters.is_waiting = true;
        self.documents.keep(scope, &rendered);
        clusters.status.partial = Some(ExpectedPartial {
            revision: rendered.revision.clone(),
            whole: document.revision.clone(),
            watermark: watermark.clone(),
        });
        if known.contains(&rendered.revision) {
            let watermark = Some(watermark);
            Answer::Same {
                rendered,
                watermark,
                elsewhere,
            }
        } else {
            Answer::New {
                rendered,
                watermark,
                elsewhere,
            }
        }
    }
}

/// Returns what the proxy lacks. `given_up` are the clusters for which its rules no longer wait.
fn gaps(lacking: &ClusterNames, progress: &Progress, given_up: &ClusterNames) -> ClusterGaps {
    let gap = |name: &Arc<str>| match progress.missing.get(name) {
        _ if !progress.has_stream => Some(ClusterGap::NoStream),
        None => None,
        Some(ClusterState::Refused(message)) => Some(ClusterGap::Refused(message.clone())),
        Some(_) if given_up.contains(name) => Some(ClusterGap::Late),
        Some(_) => Some(ClusterGap::Awaited),
    };
    let gaps = lacking
        .iter()
        .filter_map(|name| Some((name.to_string(), gap(name)?)));
    ClusterGaps::new(gaps)
}

impl ClusterPoll {
    /// True if the last answer was not the whole document.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Waits until the answer may change because of the clusters of the node.
    pub(super) async fn changed(&mut self) {
        if !self.is_waiting {
            return std::future::pending().await;
        }
        let deadline = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.changes.changed() => {}
            () = deadline => {}
        }
    }

    /// Returns the clusters that the document needs and the present document does not need. A proxy has every cluster of
    /// its present document, because Weir removes only clusters that no running document names.
    fn lacking(&self, document: &KnownDocument) -> ClusterNames {
        let is_new = |name: &&Arc<str>| {
            let present = self.present.as_ref();
            present.is_none_or(|present| !present.needed.contains(*name))
        };
        document.needed.iter().filter(is_new).cloned().collect()
    }

    fn kind(&self, document: &KnownDocument) -> Present {
        match (&self.present, self.has_document) {
            (Some(_), _) => Present::Known,
            (None, true) => Present::Unknown {
                may_revoke: document.has_grants,
            },
            (None, false) => Present::Nothing,
        }
    }

    fn hold(&mut self, until: Option<Instant>, why: messages::Message) -> Answer {
        self.is_waiting = true;
        self.until = until;
        Answer::AwaitsClusters {
            has_document: self.has_document,
            why,
        }
    }
}
