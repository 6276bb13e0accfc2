//! Answers `GET /v1/streams` of other replicas: the streams and pollers of this replica, see
//! [`crate::xds::stream_table`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::reader::Refusal;
use super::{Server, poll_headers};
use crate::serve::listener::{ConnectionSlot, Peer};
use weir_core::manifest::problem::messages::answer as messages;

/// Time from a change to the answer. One answer has all changes of this time.
const COLLECT: Duration = Duration::from_millis(5);

/// What the other replica has read already.
#[derive(Deserialize)]
pub(super) struct ReadCount {
    /// The name of the replica from which the other replica has read; empty for the first request.
    #[serde(default)]
    replica: String,
    /// The count of changes that the other replica has read.
    #[serde(default)]
    since: u64,
    /// The newest count when the other replica began from the beginning.
    #[serde(default)]
    began: u64,
}

pub(super) async fn streams(
    State(server): State<Server>,
    peer: Option<Extension<Peer>>,
    slot: Option<Extension<Arc<ConnectionSlot>>>,
    Query(read): Query<ReadCount>,
    headers: HeaderMap,
) -> Response {
    let end = Instant::now() + poll_headers::wait(&headers).unwrap_or_default();
    match server.authenticate(peer, slot, &headers).await {
        Err(refusal) => refusal.into_response(),
        Ok(reader) if server.authentication.is_replica(&reader) => {
            let replica = server.proxies.replica();
            let (since, began) = if read.replica == replica {
                (read.since, read.began)
            } else {
                (0, 0)
            };
            server.wait_for_streams(since, end).await;
            let report = server.streams.report(replica, since, began);
            let json = [(CONTENT_TYPE, "application/json")];
            // Serialization cannot fail: all keys are strings.
            (json, serde_json::to_vec(&report).unwrap_or_default()).into_response()
        }
        Ok(_) => Refusal::Forbidden(messages::replicas_only().to_string()).into_response(),
    }
}

impl Server {
    async fn wait_for_streams(&self, since: u64, end: Instant) {
        let mut count = self.streams.count();
        let changed = async {
            // The server has the table, so there is no error.
            let _ = count.wait_for(|count| *count > since).await;
        };
        tokio::select! {
            biased;
            () = changed => sleep(COLLECT).await,
            () = sleep_until(end) => {}
            () = self.ending.cancelled() => {}
        }
    }
}
