//! The control plane's own numbers, in the text format that Prometheus scrapes.

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
    /// Seconds from a plan's publication to a proxy's word that all its workers run it.
    pub propagation: Histogram,
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
            propagation: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
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
            "propagation_seconds",
            "From publication to the word that every worker of a proxy runs it",
            metrics.propagation.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Counts an answer with this HTTP status.
    pub fn polled(&self, code: u16) {
        self.polls.get_or_create(&Code { code }).inc();
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
            "weir_propagation_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }
}
