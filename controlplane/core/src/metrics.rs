//! The control plane's own numbers, in the text format that Prometheus scrapes.

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

/// One value for a process, shared by those who count and the one who shows.
pub struct Metrics {
    registry: Registry,
    pub polls_held: Gauge,
    polls: Family<Code, Counter>,
    objects: Family<Kind, Gauge<u64, AtomicU64>>,
    pub problems: Gauge<u64, AtomicU64>,
    watch_errors: Family<Resource, Counter>,
    pub files_unreadable: Gauge<u64, AtomicU64>,
    pub revisions_published: Counter,
    pub refused_plans: Counter,
    pub proxies: Gauge,
    pub proxies_refusing: Gauge,
    proxies_behind: Gauge,
    proxies_by_revision: Family<Revision, Gauge>,
    connections_refused: Family<Cause, Counter>,
    pub certificates_refused: Counter,
    /// Unix seconds; 0 without TLS.
    pub certificate_ends: Gauge,
    token_reviews: Family<Verdict, Counter>,
    /// Seconds from a plan's publication to a proxy's word that all its workers run it.
    pub propagation: Histogram,
    pub status_writes: Counter,
    pub events: Counter,
    /// 1 where this replica writes status.
    pub leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revision {
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    result: &'static str,
}

/// Revisions that have a line of their own; the proxies of the others are in one.
const REVISIONS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
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
            "Objects in force, as read",
            metrics.objects.clone(),
        );
        registry.register(
            "problems",
            "What could not be honoured",
            metrics.problems.clone(),
        );
        registry.register(
            "watch_errors",
            "Lists and watches of the cluster that failed",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "files_unreadable",
            "Files and folders whose last good state is in force",
            metrics.files_unreadable.clone(),
        );
        registry.register(
            "revisions_published",
            "Plans put in force",
            metrics.revisions_published.clone(),
        );
        registry.register(
            "refused_plans",
            "Plans that a proxy would have refused, and that were not served",
            metrics.refused_plans.clone(),
        );
        registry.register(
            "proxies",
            "Instances and scopes that polled within the last minute",
            metrics.proxies.clone(),
        );
        registry.register(
            "proxies_refusing",
            "Those of them that could not put a revision in force",
            metrics.proxies_refusing.clone(),
        );
        registry.register(
            "proxies_behind",
            "Those of them that do not run the revision in force, all workers of them",
            metrics.proxies_behind.clone(),
        );
        registry.register(
            "proxies_by_revision",
            "By the revision that all their workers run, of the most frequent ones; empty while workers differ",
            metrics.proxies_by_revision.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were turned away: no good handshake, plain HTTP from elsewhere, too many, or not said in time who asks",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "certificates_refused",
            "Changed certificates that could not be used; the one before stays",
            metrics.certificates_refused.clone(),
        );
        registry.register(
            "certificate_ends_timestamp_seconds",
            "When the certificate for proxies ends; 0 without TLS",
            metrics.certificate_ends.clone(),
        );
        registry.register(
            "token_reviews",
            "What the API server said of tokens; forged are those that it has not signed, about which it is not asked",
            metrics.token_reviews.clone(),
        );
        registry.register(
            "propagation_seconds",
            "From publication to the word that every worker of a proxy runs it",
            metrics.propagation.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of an object's status",
            metrics.status_writes.clone(),
        );
        registry.register(
            "events",
            "Events written about objects",
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
    /// Counts an answer with this HTTP status.
    pub fn polled(&self, code: u16) {
        self.polls.get_or_create(&Code { code }).inc();
    }

    /// Counts a connection that was not answered.
    pub fn turned_away(&self, reason: &'static str) {
        self.connections_refused
            .get_or_create(&Cause { reason })
            .inc();
    }

    /// Counts a question to the API server.
    pub fn token_reviewed(&self, result: &'static str) {
        self.token_reviews.get_or_create(&Verdict { result }).inc();
    }

    /// How many proxies run each revision, and how many of all another one than they should.
    pub fn set_proxies(&self, by_revision: BTreeMap<String, usize>, behind: usize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.proxies_behind.set(gauge(behind));
        let mut counts: Vec<_> = by_revision.into_iter().collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        let others = counts.split_off(counts.len().min(REVISIONS));
        if !others.is_empty() {
            let others = others.into_iter().map(|(_, count)| count).sum();
            counts.push(("other".into(), others));
        }
        self.proxies_by_revision.clear();
        for (revision, count) in counts {
            self.proxies_by_revision
                .get_or_create(&Revision { revision })
                .set(gauge(count));
        }
    }

    /// Counts a list or a watch of this resource that failed.
    pub fn watch_failed(&self, resource: &str) {
        let resource = resource.to_owned();
        self.watch_errors
            .get_or_create(&Resource { resource })
            .inc();
    }

    /// Objects by kind; kinds that are not named have none.
    pub fn set_objects(&self, counts: &BTreeMap<String, u64>) {
        self.objects.clear();
        for (kind, count) in counts {
            let kind = kind.clone();
            self.objects.get_or_create(&Kind { kind }).set(*count);
        }
    }

    /// OpenMetrics text, with its `# EOF`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_documented_ones() {
        let metrics = Metrics::default();
        metrics.polled(304);
        metrics.watch_failed("services");
        metrics.set_objects(&BTreeMap::from([("Service".to_owned(), 3)]));
        metrics.turned_away("plain");
        metrics.token_reviewed("good");
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
