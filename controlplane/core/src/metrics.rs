//! The metrics of the control plane, as OpenMetrics text.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    pub polls_held: Gauge,
    polls: Family<CodeLabel, Counter>,
    objects: Family<KindLabel, Gauge<u64, AtomicU64>>,
    pub problems: Gauge<u64, AtomicU64>,
    watch_errors: Family<ResourceLabel, Counter>,
    pub files_unreadable: Gauge<u64, AtomicU64>,
    pub revisions_published: Counter,
    pub refused_plans: Counter,
    pub proxies: Gauge,
    pub proxies_refusing: Gauge,
    proxies_behind: Gauge,
    proxies_by_revision: Family<RevisionLabel, Gauge>,
    connections_refused: Family<ReasonLabel, Counter>,
    pub certificates_refused: Counter,
    /// In Unix seconds; 0 without TLS.
    pub certificate_ends: Gauge,
    token_reviews: Family<ResultLabel, Counter>,
    /// Seconds from the publication of a plan until a proxy reports that all its workers run it.
    pub propagation: Histogram,
    pub status_writes: Counter,
    pub events: Counter,
    /// 1 if this replica writes status and Events, else 0.
    pub leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevisionLabel {
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The most revisions with a time series of their own. The proxies of all other revisions count as `other`.
const MAX_REVISIONS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: String,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("weir"),
            polls_held: Gauge::default(),
            polls: Family::default(),
            objects: Family::default(),
            problems: Gauge::default(),
            watch_errors: Family::default(),
            files_unreadable: Gauge::default(),
            revisions_published: Counter::default(),
            refused_plans: Counter::default(),
            proxies: Gauge::default(),
            proxies_refusing: Gauge::default(),
            proxies_behind: Gauge::default(),
            proxies_by_revision: Family::default(),
            connections_refused: Family::default(),
            certificates_refused: Counter::default(),
            certificate_ends: Gauge::default(),
            token_reviews: Family::default(),
            propagation: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            status_writes: Counter::default(),
            events: Counter::default(),
            leader: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "polls_held",
            "Polls that wait for a new revision",
            metrics.polls_held.clone(),
        );
        registry.register("polls", "Answers to GET /v1/config", metrics.polls.clone());
        registry.register(
            "objects",
            "Objects that the source has",
            metrics.objects.clone(),
        );
        registry.register(
            "problems",
            "Problems of objects and files",
            metrics.problems.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed lists and watches of the cluster",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "files_unreadable",
            "Files and folders that cannot be read; their last valid objects stay in force",
            metrics.files_unreadable.clone(),
        );
        registry.register(
            "revisions_published",
            "Plans that were published",
            metrics.revisions_published.clone(),
        );
        registry.register(
            "refused_plans",
            "Plans that were not published because a proxy would refuse them",
            metrics.refused_plans.clone(),
        );
        registry.register(
            "proxies",
            "Proxies (instance and scope) that polled within the last minute",
            metrics.proxies.clone(),
        );
        registry.register(
            "proxies_refusing",
            "Proxies that refuse a revision",
            metrics.proxies_refusing.clone(),
        );
        registry.register(
            "proxies_behind",
            "Proxies with a worker that does not run the newest revision",
            metrics.proxies_behind.clone(),
        );
        registry.register(
            "proxies_by_revision",
            "Proxies by the revision that all their workers run, for the ten most frequent revisions; the revision is empty while workers differ",
            metrics.proxies_by_revision.clone(),
        );
        registry.register(
            "connections_refused",
            "Refused connections: failed TLS handshake, plain HTTP from another machine, too many connections, or no identity in time",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "certificates_refused",
            "Changed certificates that cannot be used; the previous certificate stays in use",
            metrics.certificates_refused.clone(),
        );
        registry.register(
            "certificate_ends_timestamp_seconds",
            "Expiry of the server certificate in Unix seconds; 0 without TLS",
            metrics.certificate_ends.clone(),
        );
        registry.register(
            "token_reviews",
            "Results of token reviews; forged counts tokens that the API server has not signed, for which no review is sent",
            metrics.token_reviews.clone(),
        );
        registry.register(
            "propagation_seconds",
            "Time from the publication of a plan until a proxy reports that all its workers run it",
            metrics.propagation.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of the status of objects",
            metrics.status_writes.clone(),
        );
        registry.register(
            "events",
            "Events written for objects",
            metrics.events.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica writes status and Events",
            metrics.leader.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Counts an answer to a poll, by its HTTP status.
    pub fn count_poll(&self, code: u16) {
        self.polls.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts a refused connection.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.connections_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Counts the result of a token review.
    pub fn count_token_review(&self, result: &'static str) {
        self.token_reviews
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    /// Sets the number of proxies for each revision, and the number of proxies that do not run the newest revision.
    pub fn set_proxies(&self, by_revision: BTreeMap<String, usize>, behind: usize) {
        self.proxies_behind.set(gauge_value(behind));
        let mut counts: Vec<_> = by_revision.into_iter().collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        let others = counts.split_off(counts.len().min(MAX_REVISIONS));
        if !others.is_empty() {
            let others = others.into_iter().map(|(_, count)| count).sum();
            counts.push(("other".into(), others));
        }
        self.proxies_by_revision.clear();
        for (revision, count) in counts {
            self.proxies_by_revision
                .get_or_create(&RevisionLabel { revision })
                .set(gauge_value(count));
        }
    }

    /// Counts a failed list or watch of this resource.
    pub fn count_watch_error(&self, resource: &str) {
        let resource = resource.to_owned();
        self.watch_errors
            .get_or_create(&ResourceLabel { resource })
            .inc();
    }

    /// Sets the number of objects of each kind. Kinds that are not in `counts` have no time series.
    pub fn set_objects(&self, counts: &BTreeMap<String, u64>) {
        self.objects.clear();
        for (kind, count) in counts {
            let kind = kind.clone();
            self.objects.get_or_create(&KindLabel { kind }).set(*count);
        }
    }

    /// The OpenMetrics text of all metrics, with `# EOF` at the end.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_documented_names() {
        let metrics = Metrics::default();
        metrics.count_poll(304);
        metrics.count_watch_error("services");
        metrics.set_objects(&BTreeMap::from([("Service".to_owned(), 3)]));
        metrics.count_refused_connection("plain");
        metrics.count_token_review("good");
        let proxies = (1..=12_usize).map(|number| (format!("r{number}"), number));
        metrics.set_proxies(proxies.collect(), 7);
        let text = metrics.text();
        for line in [
            "weir_polls_held 0",
            "weir_polls_total{code=\"304\"} 1",
            "weir_objects{kind=\"Service\"} 3",
            "weir_problems 0",
            "weir_watch_errors_total{resource=\"services\"} 1",
            "weir_files_unreadable 0",
            "weir_revisions_published_total 0",
            "weir_refused_plans_total 0",
            "weir_proxies 0",
            "weir_proxies_refusing 0",
            "weir_proxies_behind 7",
            "weir_proxies_by_revision{revision=\"r12\"} 12",
            "weir_proxies_by_revision{revision=\"other\"} 3",
            "weir_connections_refused_total{reason=\"plain\"} 1",
            "weir_certificates_refused_total 0",
            "weir_token_reviews_total{result=\"good\"} 1",
            "weir_propagation_seconds_count 0",
            "weir_status_writes_total 0",
            "weir_events_total 0",
            "weir_leader 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }
}
