//! What the proxies say of themselves: which of them are there, what they run, what they refuse.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use super::polls::Poller;
use crate::metrics::Metrics;

/// A proxy that has not polled for so long is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// Proxies beyond this are served, but not known.
const MAX_PROXIES: usize = 1 << 16;
/// Bytes of a header that are kept.
const MAX_TEXT: usize = 512;

#[derive(Default)]
pub(super) struct Proxies(Mutex<HashMap<Poller, Proxy>>);

struct Proxy {
    seen: Instant,
    report: Report,
}

/// What a poll says of its proxy. Nothing of it is trusted: it is shown and counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Envoy's node id; may be empty or shared.
    node: String,
    /// The revision that every worker runs; empty while they differ.
    applied: String,
    /// `"REVISION" REASON`, or what could not be said to it; empty where nothing is refused.
    pub refused: String,
    /// The document version that it is answered in.
    version: u32,
}

impl Report {
    pub(super) fn of(headers: &HeaderMap, version: u32) -> Report {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| value.as_bytes());
            let value = value.unwrap_or_default();
            let value = value.get(..value.len().min(MAX_TEXT)).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        Report {
            node: text("weir-node"),
            applied: text("weir-applied").trim_matches('"').into(),
            refused: text("weir-refused"),
            version,
        }
    }
}

impl Proxies {
    /// Takes a poll into account. `wanted` is the revision that the poller should run, and when it was
    /// published.
    pub(super) fn note(
        &self,
        poller: &Poller,
        report: Report,
        wanted: Option<(&str, Instant)>,
        metrics: &Metrics,
    ) {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, proxy| now.duration_since(proxy.seen) < FORGET);
        if known.len() >= MAX_PROXIES && !known.contains_key(poller) {
            return;
        }
        let seen = now;
        let before = known.insert(poller.clone(), Proxy { seen, report });
        let Some(Proxy { report, .. }) = known.get(poller) else {
            return;
        };
        let before = before.as_ref().map(|proxy| &proxy.report);
        let instance = String::from_utf8_lossy(&poller.0);
        if let Some((revision, at)) = wanted
            && report.applied == revision
            && before.is_some_and(|it| it.applied != revision)
        {
            metrics.propagation.observe((now - at).as_secs_f64());
            tracing::debug!(%instance, node = report.node, revision, "applied");
        }
        if !report.refused.is_empty() && before.is_none_or(|it| it.refused != report.refused) {
            let Report {
                node,
                refused,
                version,
                applied: _,
            } = report;
            let scope = &poller.1;
            tracing::warn!(%instance, node, version, ?scope, "a proxy refuses {refused}");
        }
        let refusing = known
            .values()
            .filter(|proxy| !proxy.report.refused.is_empty())
            .count();
        metrics
            .proxies
            .set(i64::try_from(known.len()).unwrap_or(i64::MAX));
        metrics
            .proxies_refusing
            .set(i64::try_from(refusing).unwrap_or(i64::MAX));
    }
}
