//! The answer to a poll, as it goes over the wire.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use weir_core::manifest::problem::messages::answer as messages;
use weir_core::plan::document::{NeedsNewerVersion, Rendered};
use weir_core::watermark::Watermark;

pub(super) const WATERMARK: &str = "weir-watermark";
/// How many rules are in force for other scopes.
const ELSEWHERE: &str = "weir-elsewhere";

pub(super) enum Answer {
    New {
        rendered: Rendered,
        watermark: Arc<Watermark>,
        elsewhere: usize,
    },
    /// The poller holds this one.
    Same {
        rendered: Rendered,
        /// None where the poller has seen one that is ahead of ours.
        watermark: Option<Arc<Watermark>>,
        elsewhere: usize,
    },
    /// The poller has been told what is newer than all that is known here.
    Behind {
        /// Whether it holds anything.
        holds: bool,
    },
    Nothing {
        why: String,
    },
    BadRequest(String),
    /// The version that the proxy reads cannot say all that it should know.
    NeedsNewerVersion(NeedsNewerVersion),
}

impl Answer {
    /// The revision that the poller should run, as far as it is known here.
    pub(super) fn revision(&self) -> Option<&str> {
        match self {
            Answer::New { rendered, .. } | Answer::Same { rendered, .. } => {
                Some(&rendered.revision)
            }
            Answer::Behind { .. }
            | Answer::Nothing { .. }
            | Answer::BadRequest(_)
            | Answer::NeedsNewerVersion(_) => None,
        }
    }

    /// Whether it is worth no waiting for another one.
    pub(super) fn is_news(&self) -> bool {
        match self {
            Answer::New { .. } | Answer::NeedsNewerVersion(_) | Answer::BadRequest(_) => true,
            Answer::Same { .. } | Answer::Behind { .. } | Answer::Nothing { .. } => false,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Answer::New {
                rendered,
                watermark,
                elsewhere,
            } => {
                let headers = [
                    (ETAG, etag(&rendered)),
                    (CONTENT_TYPE, "application/json".into()),
                ];
                let body = Body::from(Bytes::from_owner(rendered.body));
                let response = (headers, body).into_response();
                marked(response, Some(&watermark), elsewhere)
            }
            Answer::Same {
                rendered,
                watermark,
                elsewhere,
            } => {
                let headers = [(ETAG, etag(&rendered))];
                let response = (StatusCode::NOT_MODIFIED, headers).into_response();
                marked(response, watermark.as_deref(), elsewhere)
            }
            Answer::Behind { holds: true } => StatusCode::NOT_MODIFIED.into_response(),
            Answer::Behind { holds: false } => unavailable(&messages::behind().to_string()),
            Answer::NeedsNewerVersion(unsayable) => {
                let NeedsNewerVersion { version, rules } = unsayable;
                let message = messages::older_version(version, rules.join(", "));
                error(StatusCode::NOT_ACCEPTABLE, &message.to_string())
            }
            Answer::Nothing { why } => unavailable(&messages::nothing_published(why).to_string()),
            Answer::BadRequest(message) => error(StatusCode::BAD_REQUEST, &message),
        }
    }
}

fn marked(mut response: Response, watermark: Option<&Watermark>, elsewhere: usize) -> Response {
    let headers = response.headers_mut();
    headers.insert(ELSEWHERE, HeaderValue::from(elsewhere));
    let text = watermark.filter(|watermark| !watermark.is_empty());
    let value = text.and_then(|text| HeaderValue::try_from(text.to_string()).ok());
    if let Some(value) = value {
        headers.insert(WATERMARK, value);
    }
    response
}

fn etag(rendered: &Rendered) -> String {
    format!("\"{}\"", rendered.revision)
}

fn unavailable(why: &str) -> Response {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, why);
    let second = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, second);
    response
}

pub(super) fn error(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "error": message }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
