//! HTTP for proxies and other replicas. With `GET /v1/config` a proxy polls for its configuration. With
//! `GET /v1/proxies` another replica reads the list of the proxies that poll this replica, and with `GET /v1/streams` the
//! streams that send clusters to proxies. With a delta stream (module `ads`) a proxy gets its clusters.
//!
//! A scope is the part of the plan that one proxy may see. A reader is an authenticated client.

use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::publish::{Current, Publisher};
use crate::serve::listener::{ConnectionSlot, Peer, set_connection_close};
use crate::source::kubernetes::cluster_versions::ClusterVersions;
use crate::xds::catalog::Catalog;
use crate::xds::stream_table::StreamTable;
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::metrics::Metrics;
use weir_core::plan::Scope;
use weir_core::watermark::Watermark;

pub mod admin;
mod ads;
mod answer;
mod auth;
mod certificate;
mod cluster_poll;
mod cluster_wait;
pub mod listener;
mod long_poll;
mod loopback;
mod poll_headers;
mod polls;
mod proxies;
mod reader;
mod recent_documents;
mod revision_watermarks;
mod stream_reports;
mod tokens;

pub use ads::FilterSource;
use ads::StreamSlots;
use answer::Answer;
pub use auth::Authentication;
pub use certificate::CertificateRules;
use cluster_wait::ClusterWaits;
use polls::Polls;
pub use proxies::Proxies;
use reader::{Reader, Refusal};
use recent_documents::RecentDocuments;
pub use tokens::{AUDIENCE, OWN_TOKEN, Tokens};

/// The state that all requests share.
#[derive(Clone)]
pub struct Server {
    current: watch::Receiver<Current>,
    watermark: watch::Receiver<Arc<Watermark>>,
    versions: ClusterVersions,
    /// Cancelled when the process is about to end.
    ending: CancellationToken,
    authentication: Authentication,
    polls: Arc<Polls>,
    /// The streams that send clusters to proxies.
    streams: Arc<StreamTable>,
    documents: Arc<RecentDocuments>,
    waits: Arc<ClusterWaits>,
    proxies: Arc<Proxies>,
    catalog: Arc<Catalog>,
    stream_slots: StreamSlots,
    filters: FilterSource,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Returns a server for the plans of `publisher`. When `ending` is cancelled, the server answers every poll that it
    /// holds.
    pub fn new(
        publisher: &Publisher,
        versions: ClusterVersions,
        authentication: Authentication,
        ending: CancellationToken,
        metrics: Arc<Metrics>,
    ) -> Server {
        Server {
            current: publisher.subscribe(),
            watermark: publisher.watermark(),
            versions,
            ending,
            authentication,
            polls: Arc::default(),
            streams: Arc::default(),
            documents: Arc::default(),
            waits: Arc::default(),
            proxies: Arc::new(Proxies::new(publisher, metrics.clone())),
            catalog: publisher.catalog(),
            stream_slots: StreamSlots::default(),
            filters: FilterSource::default(),
            metrics,
        }
    }

    /// Returns the table of the streams that send clusters to proxies.
    pub fn streams(&self) -> Arc<StreamTable> {
        self.streams.clone()
    }

    /// Returns the same server, which also sends filters.
    #[must_use]
    pub fn with_filters(self, filters: FilterSource) -> Server {
        Server { filters, ..self }
    }

    /// Returns the proxies that poll this replica.
    pub fn proxies(&self) -> Arc<Proxies> {
        self.proxies.clone()
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/config", get(config))
            .route("/v1/proxies", get(proxies))
            .route("/v1/streams", get(stream_reports::streams))
            .layer(middleware::from_fn(without_body))
            .route(ads::PATH, post(ads::open))
            .with_state(self)
    }
}

/// Refuses a request with a body, because only the handler of streams reads a body. Closes the connection, so that the server does not
/// wait for the body.
async fn without_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let mut response = answer::error(StatusCode::PAYLOAD_TOO_LARGE, &messages::body().to_string());
    set_connection_close(&mut response);
    response
}

async fn config(
    State(mut server): State<Server>,
    peer: Option<Extension<Peer>>,
    slot: Option<Extension<Arc<ConnectionSlot>>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    // The wait begins before the authentication, because the proxy counts the wait from its request.
    let start = Instant::now();
    let wait = poll_headers::wait(&headers);
    let scope = query
        .map_err(|rejection| messages::query_unreadable(rejection.body_text()).to_string())
        .and_then(|Query(pairs)| parse_scope(&pairs));
    let mut response = match server.authenticate(peer, slot, &headers).await {
        Err(refusal) => refusal.into_response(),
        Ok(reader) => match scope {
            Err(message) => Answer::BadRequest(message).into_response(),
            Ok(scope) => match reader.may_read(&scope) {
                Err(refusal) => refusal.into_response(),
                Ok(()) => {
                    let answer = server.answer(scope, &reader, headers, start, wait).await;
                    answer.into_response()
                }
            },
        },
    };
    if wait.is_some() {
        let value = HeaderValue::from_static("wait");
        response.headers_mut().insert("preference-applied", value);
    }
    server.metrics.count_poll(response.status().as_u16());
    response
}

async fn proxies(
    State(server): State<Server>,
    peer: Option<Extension<Peer>>,
    slot: Option<Extension<Arc<ConnectionSlot>>>,
    headers: HeaderMap,
) -> Response {
    match server.authenticate(peer, slot, &headers).await {
        Err(refusal) => refusal.into_response(),
        Ok(reader) if server.authentication.is_replica(&reader) => {
            let replica = server.proxies.list();
            let json = [(CONTENT_TYPE, "application/json")];
            // Serialization cannot fail: all keys are strings.
            (json, serde_json::to_vec(&replica).unwrap_or_default()).into_response()
        }
        Ok(_) => Refusal::Forbidden(messages::replicas_only().to_string()).into_response(),
    }
}

impl Server {
    async fn authenticate(
        &self,
        peer: Option<Extension<Peer>>,
        slot: Option<Extension<Arc<ConnectionSlot>>>,
        headers: &HeaderMap,
    ) -> Result<Reader, Refusal> {
        let Extension(peer) = peer.unwrap_or_default();
        let reader = self.authentication.reader(&peer, headers).await?;
        if let Some(Extension(slot)) = slot
            && !slot.assign_owner(&reader.owner())
        {
            return Err(Refusal::Full);
        }
        Ok(reader)
    }
}

/// Returns the scope of a query with `namespace=NS`, `namespace=*` or `gateway=NS/NAME`. Returns [`Scope::Producers`]
/// if all of them are absent. Ignores other parameters, because newer filters may send them.
fn parse_scope(pairs: &[(String, String)]) -> Result<Scope, String> {
    let mut scope = Scope::Producers;
    for (key, value) in pairs {
        let parsed = match key.as_str() {
            "namespace" => Scope::of_namespace(value).ok_or_else(messages::namespace_unclear),
            "gateway" => Scope::of_gateway(value).ok_or_else(messages::gateway_unclear),
            _ => continue,
        };
        let parsed = parsed.map_err(|message| message.to_string())?;
        if scope != Scope::Producers {
            return Err(messages::two_scopes().to_string());
        }
        scope = parsed;
    }
    Ok(scope)
}

#[cfg(test)]
mod tests;
