//! Converts the answer to a poll into an HTTP response.
//!
//! A document is the configuration for one proxy as JSON. A watermark has a resource version for each kind: the answer
//! includes every object of the kind up to this version. `elsewhere` is the number of rules that the proxy does not
//! get.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use weir_core::manifest::problem::messages::{Message, answer as messages};
use weir_core::plan::document::{NeedsNewerVersion, RenderedConfig};
use weir_core::watermark::Watermark;
use weir_split::wire::headers::{ELSEWHERE, WATERMARK};

pub(super) enum Answer {
    /// 200 with a document.
    New {
        rendered: RenderedConfig,
        watermark: Arc<Watermark>,
        elsewhere: usize,
    },
    /// 304: the client already has this document.
    Same {
        rendered: RenderedConfig,
        /// None if the client's watermark comes from another replica and is newer than the state of this replica.
        watermark: Option<Arc<Watermark>>,
        elsewhere: usize,
    },
    /// Another replica has already answered this client from a newer state of the cluster. The answer is 304, or 503 if
    /// the client has no document.
    Behind { has_document: bool },
    /// The proxy must wait for clusters. The answer is 304, or 503 with the reason if the client has no document.
    AwaitsClusters { has_document: bool, why: Message },
    /// 503: nothing is published yet.
    Nothing { why: String },
    /// 400: the request is invalid.
    BadRequest(String),
    /// 406: the configuration needs a newer document version than the proxy can read.
    NeedsNewerVersion(NeedsNewerVersion),
}

impl Answer {
    /// Returns the revision that the client should run. Returns None if this replica does not know it.
    pub(super) fn revision(&self) -> Option<&str> {
        match self {
            Answer::New { rendered, .. } | Answer::Same { rendered, .. } => {
                Some(&rendered.revision)
            }
            Answer::Behind { .. }
            | Answer::AwaitsClusters { .. }
            | Answer::Nothing { .. }
            | Answer::BadRequest(_)
            | Answer::NeedsNewerVersion(_) => None,
        }
    }

    /// True if a long poll ends with this answer at once.
    pub(super) fn is_immediate(&self) -> bool {
        match self {
            Answer::New { .. } | Answer::NeedsNewerVersion(_) | Answer::BadRequest(_) => true,
            Answer::Same { .. }
            | Answer::Behind { .. }
            | Answer::AwaitsClusters { .. }
            | Answer::Nothing { .. } => false,
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
                with_headers(response, Some(&watermark), elsewhere)
            }
            Answer::Same {
                rendered,
                watermark,
                elsewhere,
            } => {
                let headers = [(ETAG, etag(&rendered))];
                let response = (StatusCode::NOT_MODIFIED, headers).into_response();
                with_headers(response, watermark.as_deref(), elsewhere)
            }
            Answer::Behind { has_document: true }
            | Answer::AwaitsClusters {
                has_document: true, ..
            } => StatusCode::NOT_MODIFIED.into_response(),
            Answer::Behind {
                has_document: false,
            } => unavailable(&messages::behind().to_string()),
            Answer::AwaitsClusters {
                has_document: false,
                why,
            } => unavailable(&why.to_string()),
            Answer::NeedsNewerVersion(NeedsNewerVersion { version, rules }) => {
                let message = messages::older_version(version, rules.join(", "));
                error(StatusCode::NOT_ACCEPTABLE, &message.to_string())
            }
            Answer::Nothing { why } => unavailable(&messages::nothing_published(why).to_string()),
            Answer::BadRequest(message) => error(StatusCode::BAD_REQUEST, &message),
        }
    }
}

fn with_headers(
    mut response: Response,
    watermark: Option<&Watermark>,
    elsewhere: usize,
) -> Response {
    let headers = response.headers_mut();
    headers.insert(ELSEWHERE, HeaderValue::from(elsewhere));
    let text = watermark.filter(|watermark| !watermark.is_empty());
    let value = text.and_then(|text| HeaderValue::try_from(text.to_string()).ok());
    if let Some(value) = value {
        headers.insert(WATERMARK, value);
    }
    response
}

fn etag(rendered: &RenderedConfig) -> String {
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
