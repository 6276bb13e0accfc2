//! What operators and Kubernetes ask of the process: alive, ready, and the numbers.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::watch;

use crate::publish::Current;
use crate::serve::Proxies;
use weir_core::metrics::Metrics;

/// `/healthz`, `/readyz` (200 once something is published and until `leaving` is true, else 503 and the reason),
/// `/metrics`.
pub fn app(
    current: watch::Receiver<Current>,
    leaving: watch::Receiver<bool>,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
) -> Router {
    let ready = move || async move {
        if *leaving.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, "ending\n".to_owned());
        }
        match &*current.borrow() {
            Current::Plan(_) => (StatusCode::OK, "ready\n".to_owned()),
            Current::Nothing { why } => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("nothing is published yet: {why}\n"),
            ),
        }
    };
    let numbers = move || async move {
        let (by_revision, behind) = proxies.by_revision();
        metrics.set_proxies(by_revision, behind);
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
