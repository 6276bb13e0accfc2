//! What operators and Kubernetes ask of the process: alive, ready, and the numbers.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::publish::Current;

/// `/healthz`, `/readyz` (200 once something is published, else 503 and the reason), `/metrics`.
pub fn app(current: watch::Receiver<Current>, metrics: Arc<Metrics>) -> Router {
    let ready = move || async move {
        match &*current.borrow() {
            Current::Plan(_) => (StatusCode::OK, "ready\n".to_owned()),
            Current::Nothing { why } => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("nothing is published yet: {why}\n"),
            ),
        }
    };
    let numbers = move || async move {
        (
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            metrics.text(),
        )
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
}
