//! What proxies ask for: `GET /v1/config`, each one's part of the plan, held back until there is something new; and
//! what other replicas ask for: `GET /v1/proxies`.

use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tokio::time::Instant;
use weir_split::EVERY_NAMESPACE;

use crate::publish::{Current, Publisher};
use crate::serve::listener::{Peer, Seat, say_last};
use crate::source::kubernetes::horizon::Horizon;
use weir_core::manifest::hostname;
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::metrics::Metrics;
use weir_core::plan::Scope;
use weir_core::watermark::Watermark;

pub mod admin;
mod answer;
mod auth;
mod certificate;
pub mod listener;
mod long_poll;
mod loopback;
mod marks;
mod poll_headers;
mod polls;
mod proxies;
mod reader;
mod tokens;

use answer::Answer;
pub use auth::Readers;
pub use certificate::CertificateRules;
use polls::Polls;
pub use proxies::Proxies;
use reader::{Reader, Refusal};
pub use tokens::{AUDIENCE, OWN_TOKEN, Tokens};

/// What is served, and to whom.
#[derive(Clone)]
pub struct Server {
    current: watch::Receiver<Current>,
    watermark: watch::Receiver<Arc<Watermark>>,
    horizon: Horizon,
    /// True when the process is about to end.
    ending: watch::Receiver<bool>,
    readers: Readers,
    polls: Arc<Polls>,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Serves what is published to these readers. Once `ending` is true every held poll is answered.
    pub fn new(
        publisher: &Publisher,
        horizon: Horizon,
        readers: Readers,
        ending: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Server {
        Server {
            current: publisher.subscribe(),
            watermark: publisher.watermark(),
            horizon,
            ending,
            readers,
            polls: Arc::default(),
            proxies: Arc::new(Proxies::new(publisher, metrics.clone())),
            metrics,
        }
    }

    /// Those that poll here.
    pub fn proxies(&self) -> Arc<Proxies> {
        self.proxies.clone()
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/config", get(config))
            .route("/v1/proxies", get(proxies))
            .layer(middleware::from_fn(without_body))
            .with_state(self)
    }
}

/// Nothing here reads a body, so none is waited for.
async fn without_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let mut response = answer::error(StatusCode::PAYLOAD_TOO_LARGE, &messages::body().to_string());
    say_last(&mut response);
    response
}

async fn config(
    State(mut server): State<Server>,
    peer: Option<Extension<Peer>>,
    seat: Option<Extension<Arc<Seat>>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    // What it takes to know who asks is a part of the hold: the proxy waits for no longer.
    let begun = Instant::now();
    let wait = poll_headers::wait(&headers);
    let asked = query
        .map_err(|rejection| messages::query_unreadable(rejection.body_text()).to_string())
        .and_then(|Query(pairs)| scope_of(&pairs));
    let mut response = match server.who(peer, seat, &headers).await {
        Err(refusal) => refusal.into_response(),
        Ok(reader) => match asked {
            Err(message) => Answer::BadRequest(message).into_response(),
            Ok(scope) => match reader.may_read(&scope) {
                Err(refusal) => refusal.into_response(),
                Ok(()) => {
                    let answer = server.answer(scope, &reader, headers, begun, wait).await;
                    answer.into_response()
                }
            },
        },
    };
    if wait.is_some() {
        let applied = HeaderValue::from_static("wait");
        response.headers_mut().insert("preference-applied", applied);
    }
    server.metrics.polled(response.status().as_u16());
    response
}

async fn proxies(
    State(server): State<Server>,
    peer: Option<Extension<Peer>>,
    seat: Option<Extension<Arc<Seat>>>,
    headers: HeaderMap,
) -> Response {
    match server.who(peer, seat, &headers).await {
        Err(refusal) => refusal.into_response(),
        Ok(reader) if server.readers.is_replica(&reader) => {
            let known = server.proxies.known();
            let json = [(CONTENT_TYPE, "application/json")];
            // Cannot fail: there are no keys but strings.
            (json, serde_json::to_vec(&known).unwrap_or_default()).into_response()
        }
        Ok(_) => Refusal::Forbidden(messages::replicas_only().to_string()).into_response(),
    }
}

impl Server {
    async fn who(
        &self,
        peer: Option<Extension<Peer>>,
        seat: Option<Extension<Arc<Seat>>>,
        headers: &HeaderMap,
    ) -> Result<Reader, Refusal> {
        let Extension(peer) = peer.unwrap_or_default();
        let reader = self.readers.who(&peer, headers).await?;
        if let Some(Extension(seat)) = seat
            && !seat.know(&reader.owner())
        {
            return Err(Refusal::Full);
        }
        Ok(reader)
    }
}

/// `namespace=NS` or `namespace=*` or `gateway=NS/NAME` or neither; other parameters are for later versions.
fn scope_of(pairs: &[(String, String)]) -> Result<Scope, String> {
    let mut scope = Scope::Producers;
    for (key, value) in pairs {
        let this = match key.as_str() {
            "namespace" if value == EVERY_NAMESPACE => Scope::Edge,
            "namespace" if hostname::is_label(value) => Scope::Namespace(value.clone()),
            "namespace" => return Err(messages::namespace_unclear().to_string()),
            "gateway" => gateway(value).ok_or_else(|| messages::gateway_unclear().to_string())?,
            _ => continue,
        };
        if scope != Scope::Producers {
            return Err(messages::two_scopes().to_string());
        }
        scope = this;
    }
    Ok(scope)
}

/// A Gateway written as `NAMESPACE/NAME`.
pub fn gateway(text: &str) -> Option<Scope> {
    let (namespace, name) = text.split_once('/')?;
    (hostname::is_label(namespace) && hostname::is_dns_name(name)).then(|| Scope::Gateway {
        namespace: namespace.into(),
        name: name.into(),
    })
}

#[cfg(test)]
mod tests;
