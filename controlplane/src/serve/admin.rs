//! HTTP for operators and Kubernetes: liveness, readiness and metrics.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::publish::Current;
use crate::serve::Proxies;
use weir_core::metrics::Metrics;

/// `/healthz` answers 200. `/readyz` answers 200 after the first plan has been published, until `leaving` is cancelled.
/// Otherwise `/readyz` answers 503 with the reason. `/metrics` answers in OpenMetrics text format 1.0.
pub fn app(
    current: watch::Receiver<Current>,
    leaving: CancellationToken,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
) -> Router {
    let ready = move || async move {
        if leaving.is_cancelled() {
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
    let metrics = move || async move {
        proxies.set_metrics();
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
        .route("/metrics", get(metrics))
}
