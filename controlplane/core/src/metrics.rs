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
use prometheus_client::registry::{Metric, Registry};

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    pub polls_held: Gauge,
    polls: Family<CodeLabel, Counter>,
    objects: Family<KindLabel, Gauge<u64, AtomicU64>>,
    problems: Family<SeverityLabel, Gauge<u64, AtomicU64>>,
    watch_errors: Family<ResourceLabel, Counter>,
    pub files_unreadable: Gauge<u64, AtomicU64>,
    pub revisions_published: Counter,
    pub refused_plans: Counter,
    pub proxies: Gauge,
    pub proxies_refusing: Gauge,
    pub proxies_without_cluster: Gauge,
    proxies_behind: Gauge,
    proxies_by_revision: Family<RevisionLabel, Gauge>,
    connections_refused: Family<ReasonLabel, Counter>,
    pub certificates_refused: Counter,
    /// In Unix seconds; 0 without TLS.
    pub certificate_ends: Gauge,
    token_reviews: Family<ResultLabel, Counter>,
    /// Seconds from the publication of a plan until a proxy reports that all its workers run it.
    pub propagation: Histogram,
    proxies_by_module: Family<ModuleLabel, Gauge>,
    /// 1 if the rollout of the filter has stopped, else 0.
    pub filter_rollout_stopped: Gauge,
    /// Open delta streams.
    pub streams: Gauge,
    pushes: Family<TypeLabel, Counter>,
    nacks: Family<TypeLabel, Counter>,
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
struct SeverityLabel {
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevisionLabel {
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModuleLabel {
    module: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The most revisions, and also modules, with their own time series. Proxies with any other value count as `other`.
const MAX_VALUES: usize = 10;
/// The number of digits of the hash of a module in a label.
const SHORT_HASH: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: String,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("weir");
        let r = &mut registry;
        Metrics {
            polls_held: add(r, "polls_held", "Polls that wait for a new revision"),
            polls: add(r, "polls", "Responses to GET /v1/config, by HTTP status"),
            objects: add(
                r,
                "objects",
                "Objects in the cluster or the folder that Weir reads, by kind",
            ),
            problems: add(
                r,
                "problems",
                "Problems of objects and files, by severity; a warning changes no traffic",
            ),
            watch_errors: add(
                r,
                "watch_errors",
                "Failed list and watch requests to the Kubernetes API server, by resource",
            ),
            files_unreadable: add(
                r,
                "files_unreadable",
                "Files and folders that cannot be read; Weir still uses their last valid objects",
            ),
            revisions_published: add(
                r,
                "revisions_published",
                "Published plans; a plan has the rules of all proxies",
            ),
            refused_plans: add(
                r,
                "refused_plans",
                "Plans that were not published because a proxy would refuse them",
            ),
            proxies: add(
                r,
                "proxies",
                "Proxies that polled within the last minute; an Envoy process counts once for each namespace or Gateway that it polls for",
            ),
            proxies_refusing: add(
                r,
                "proxies_refusing",
                "Proxies that refuse a revision of their configuration",
            ),
            proxies_without_cluster: add(
                r,
                "proxies_without_cluster",
                "Proxies that lack a cluster of their configuration, with clusters_from weir",
            ),
            proxies_behind: add(
                r,
                "proxies_behind",
                "Proxies with a worker that does not run the newest revision",
            ),
            proxies_by_revision: add(
                r,
                "proxies_by_revision",
                "Proxies by the revision that they run, for the ten most frequent revisions; the revision is empty while workers of one proxy run different revisions",
            ),
            connections_refused: add(
                r,
                "connections_refused",
                "Refused connections: failed TLS handshake, plain HTTP from another machine, too many connections, or no identity in time",
            ),
            certificates_refused: add(
                r,
                "certificates_refused",
                "Changed certificate files that cannot be used; the previous certificate stays in use",
            ),
            certificate_ends: add(
                r,
                "certificate_ends_timestamp_seconds",
                "Expiry of the server certificate in Unix seconds; 0 without TLS",
            ),
            token_reviews: add(
                r,
                "token_reviews",
                "Results of token reviews; the result is forged, without a review, if the API server has not signed the token",
            ),
            propagation: register(
                r,
                "propagation_seconds",
                "Time from the publication of a plan until a proxy reports that all its workers run it",
                Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            ),
            proxies_by_module: add(
                r,
                "proxies_by_filter",
                "Envoys with an open stream that get the filter from Weir, by the first 12 digits of the filter's SHA-256, for the ten most frequent filters; empty while an Envoy has no filter or different filters",
            ),
            filter_rollout_stopped: add(
                r,
                "filter_rollout_stopped",
                "1 if the rollout of the filter has stopped because of a failure, else 0",
            ),
            streams: add(r, "ads_streams", "Open ADS streams; an Envoy has one"),
            pushes: add(
                r,
                "ads_pushes",
                "Responses on ADS streams, by type: cds, eds or ecds",
            ),
            nacks: add(
                r,
                "ads_nacks",
                "Responses on ADS streams that a proxy refused, by type: cds, eds or ecds",
            ),
            status_writes: add(r, "status_writes", "Writes of the status of objects"),
            events: add(r, "events", "Events written for objects"),
            leader: add(
                r,
                "leader",
                "1 if this replica writes status and Events, else 0",
            ),
            registry,
        }
    }
}

/// Adds a metric that begins at zero.
fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    register(registry, name, help, M::default())
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts a response to a poll, by its HTTP status.
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

    /// Sets the number of proxies for each module. `modules` has the hash of the module of each proxy.
    pub fn set_modules<'a>(&self, modules: impl Iterator<Item = &'a str>) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for module in modules {
            let short = module.chars().take(SHORT_HASH).collect();
            *counts.entry(short).or_default() += 1;
        }
        self.proxies_by_module.clear();
        for (module, count) in most_frequent(counts) {
            self.proxies_by_module
                .get_or_create(&ModuleLabel { module })
                .set(gauge_value(count));
        }
    }

    /// Counts a response on a delta stream.
    pub fn count_push(&self, r#type: &'static str) {
        self.pushes.get_or_create(&TypeLabel { r#type }).inc();
    }

    /// Counts a response on a delta stream that a proxy has refused.
    pub fn count_nack(&self, r#type: &'static str) {
        self.nacks.get_or_create(&TypeLabel { r#type }).inc();
    }

    /// Sets the number of proxies for each revision. `behind` is the number of proxies with a worker that does not run
    /// the newest revision.
    pub fn set_proxies(&self, by_revision: BTreeMap<String, usize>, behind: usize) {
        self.proxies_behind.set(gauge_value(behind));
        self.proxies_by_revision.clear();
        for (revision, count) in most_frequent(by_revision) {
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

    /// Sets the numbers of errors and of warnings.
    pub fn set_problems(&self, errors: usize, warnings: usize) {
        for (severity, count) in [("error", errors), ("warning", warnings)] {
            let gauge = self.problems.get_or_create(&SeverityLabel { severity });
            gauge.set(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// Sets the number of objects of each kind. Kinds that are not in `counts` have no time series.
    pub fn set_objects(&self, counts: &BTreeMap<String, u64>) {
        self.objects.clear();
        for (kind, count) in counts {
            let kind = kind.clone();
            self.objects.get_or_create(&KindLabel { kind }).set(*count);
        }
    }

    /// Returns the OpenMetrics text of all metrics, with `# EOF` at the end.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Returns the most frequent values. Counts every other value as `other`.
fn most_frequent(counts: BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let others = counts.split_off(counts.len().min(MAX_VALUES));
    if !others.is_empty() {
        let others = others.into_iter().map(|(_, count)| count).sum();
        counts.push(("other".into(), others));
    }
    counts
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
        metrics.set_problems(2, 1);
        metrics.count_refused_connection("plain");
        metrics.count_token_review("good");
        metrics.count_push("cds");
        metrics.count_nack("eds");
        let proxies = (1..=12_usize).map(|number| (format!("r{number}"), number));
        metrics.set_proxies(proxies.collect(), 7);
        metrics.set_modules(["0123456789abcdef", "0123456789abcdef", ""].into_iter());
        let text = metrics.text();
        for line in [
            "weir_polls_held 0",
            "weir_polls_total{code=\"304\"} 1",
            "weir_objects{kind=\"Service\"} 3",
            "weir_problems{severity=\"error\"} 2",
            "weir_problems{severity=\"warning\"} 1",
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
            "weir_proxies_by_filter{module=\"0123456789ab\"} 2",
            "weir_proxies_by_filter{module=\"\"} 1",
            "weir_filter_rollout_stopped 0",
            "weir_ads_streams 0",
            "weir_ads_pushes_total{type=\"cds\"} 1",
            "weir_ads_nacks_total{type=\"eds\"} 1",
            "weir_status_writes_total 0",
            "weir_events_total 0",
            "weir_leader 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }
}
