//! `GET /v1/config`: each proxy's part of the plan, held back until there is something new.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::hostname;
use crate::metrics::Metrics;
use crate::plan::Scope;
use crate::publish::Current;
use crate::revision::{Rendered, Unsayable};

mod conditions;
mod polls;
mod proxies;

use conditions::Held;
use polls::{Polls, Turn};
use proxies::{Proxies, Report};

/// Longer values of `weir-instance` are no instance.
const MAX_INSTANCE: usize = 256;

#[derive(Clone)]
struct Shared {
    current: watch::Receiver<Current>,
    /// True when the process is about to end.
    ending: watch::Receiver<bool>,
    polls: Arc<Polls>,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
}

/// The answer to a poll.
enum Answer {
    New(Rendered),
    /// The poller holds this one.
    Same(Rendered),
    Nothing {
        why: String,
    },
    BadRequest(String),
    /// The version that the proxy reads cannot say all that it should know.
    Unsayable(Unsayable),
}

/// The routes that proxies use. Once `ending` is true every held poll is answered.
pub fn app(
    current: watch::Receiver<Current>,
    ending: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) -> Router {
    let shared = Shared {
        current,
        ending,
        polls: Arc::default(),
        proxies: Arc::default(),
        metrics,
    };
    Router::new()
        .route("/v1/config", get(config))
        .with_state(shared)
}

async fn config(
    State(mut shared): State<Shared>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let wait = conditions::wait(&headers);
    let asked = query
        .map_err(|rejection| rejection.body_text())
        .and_then(|Query(pairs)| scope_of(&pairs));
    let answer = match asked {
        Ok(scope) => shared.answer(scope, &headers, wait).await,
        Err(message) => Answer::BadRequest(message),
    };
    let mut response = answer.into_response();
    if wait.is_some() {
        let applied = axum::http::HeaderValue::from_static("wait");
        response.headers_mut().insert("preference-applied", applied);
    }
    shared.metrics.polled(response.status().as_u16());
    response
}

/// `namespace=NS` or `gateway=NS/NAME` or neither; other parameters are for later versions.
fn scope_of(pairs: &[(String, String)]) -> Result<Scope, String> {
    let mut scope = Scope::Producers;
    for (key, value) in pairs {
        let this = match key.as_str() {
            "namespace" if hostname::is_label(value) => Scope::Namespace(value.clone()),
            "namespace" => return Err("namespace: not the name of a namespace".into()),
            "gateway" => gateway(value).ok_or("gateway: write NAMESPACE/NAME")?,
            _ => continue,
        };
        if scope != Scope::Producers {
            return Err("namespace, gateway: at most one of the two, and once".into());
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

impl Shared {
    async fn answer(
        &mut self,
        scope: Scope,
        headers: &HeaderMap,
        wait: Option<Duration>,
    ) -> Answer {
        let held = Held::of(headers);
        let version = match conditions::version(headers) {
            Ok(version) => version,
            Err(message) => return Answer::BadRequest(message.into()),
        };
        let mut turn = self.take_turn(headers, &scope);
        let now = self.look(&scope, version, &held);
        if let Some(turn) = &turn {
            let mut report = Report::of(headers, version);
            if let Answer::Unsayable(unsayable) = &now {
                report.refused = unsayable.to_string();
            }
            let wanted = match &*self.current.borrow() {
                Current::Plan(published) => now.revision().zip(Some(published.at)),
                Current::Nothing { .. } => None,
            };
            self.proxies
                .note(&turn.poller, report, wanted, &self.metrics);
        }
        let Some(wait) = wait.filter(|wait| !wait.is_zero()) else {
            return now;
        };
        if matches!(now, Answer::New(_) | Answer::Unsayable(_)) {
            return now;
        }
        let _held = Gauged::new(&self.metrics);
        let end = sleep_until(Instant::now() + wait);
        tokio::pin!(end);
        loop {
            let ended = async {
                match &mut turn {
                    // The only message is that the other end is gone.
                    Some(turn) => drop((&mut turn.ended).await),
                    None => std::future::pending().await,
                }
            };
            let over = tokio::select! {
                biased;
                changed = self.current.changed() => changed.is_err(),
                _ = self.ending.wait_for(|ending| *ending) => true,
                () = ended => true,
                () = &mut end => true,
            };
            let answer = self.look(&scope, version, &held);
            if over || matches!(answer, Answer::New(_) | Answer::Unsayable(_)) {
                return answer;
            }
        }
    }

    fn take_turn(&self, headers: &HeaderMap, scope: &Scope) -> Option<Turn> {
        let instance = headers.get("weir-instance")?.as_bytes();
        if instance.is_empty() || instance.len() > MAX_INSTANCE {
            return None;
        }
        self.polls.enter((instance.to_vec(), scope.clone()))
    }

    fn look(&mut self, scope: &Scope, version: u32, held: &Held) -> Answer {
        let published = match &*self.current.borrow_and_update() {
            Current::Nothing { why } => return Answer::Nothing { why: why.clone() },
            Current::Plan(published) => published.clone(),
        };
        let rendered = match published.rendered(scope, version) {
            Ok(rendered) => rendered,
            Err(unsayable) => return Answer::Unsayable(unsayable),
        };
        if held.contains(&rendered.revision) {
            Answer::Same(rendered)
        } else {
            Answer::New(rendered)
        }
    }
}

/// Counts a held poll for as long as it is held.
struct Gauged(Arc<Metrics>);

impl Gauged {
    fn new(metrics: &Arc<Metrics>) -> Gauged {
        metrics.polls_held.inc();
        Gauged(metrics.clone())
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.polls_held.dec();
    }
}

impl Answer {
    /// The revision that the poller should run.
    fn revision(&self) -> Option<&str> {
        match self {
            Answer::New(rendered) | Answer::Same(rendered) => Some(&rendered.revision),
            Answer::Nothing { .. } | Answer::BadRequest(_) | Answer::Unsayable(_) => None,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Answer::New(rendered) => (
                [
                    (ETAG, etag(&rendered)),
                    (CONTENT_TYPE, "application/json".into()),
                ],
                Body::from(Bytes::from_owner(rendered.body)),
            )
                .into_response(),
            Answer::Same(rendered) => {
                (StatusCode::NOT_MODIFIED, [(ETAG, etag(&rendered))]).into_response()
            }
            Answer::Unsayable(unsayable) => {
                error(StatusCode::NOT_ACCEPTABLE, &unsayable.to_string())
            }
            Answer::Nothing { why } => {
                let why = format!("nothing is published yet: {why}");
                let mut response = error(StatusCode::SERVICE_UNAVAILABLE, &why);
                let second = axum::http::HeaderValue::from_static("1");
                response.headers_mut().insert(RETRY_AFTER, second);
                response
            }
            Answer::BadRequest(message) => error(StatusCode::BAD_REQUEST, &message),
        }
    }
}

fn etag(rendered: &Rendered) -> String {
    format!("\"{}\"", rendered.revision)
}

fn error(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "error": message }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests;
