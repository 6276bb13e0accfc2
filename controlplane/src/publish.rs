//! Publishes objects: translates the objects into a plan, checks the plan as the filter does, and gives the plan to the
//! servers.
//!
//! A [`Publisher`] has one published plan: the plan in force. Each server has a receiver of [`Current`]. If a proxy
//! would refuse a new plan, the publisher keeps the previous plan.
//!
//! A watermark has a resource version for each kind: the source has read every object of the kind up to this version.

mod plan_in_force;
mod problem_log;
mod refusal;
mod render_cache;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use problem_log::ProblemLog;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::Manifests;
use weir_core::manifest::problem::{Extent, Problem, Reason};
use weir_core::metrics::Metrics;
use weir_core::plan::Plan;
use weir_core::plan::backends::service_of_cluster;
use weir_core::plan::document::{self, FeaturesAfter};
use weir_core::status::proxy::Proxy;
use weir_core::status::subject::Subject;
use weir_core::status::{Evidence, PlanState};
use weir_core::translate::budget::Limits;
use weir_core::translate::{Translation, translate_objects};
use weir_core::watermark::Watermark;
use weir_core::world::{Entry, Key};
use weir_split::wire::Service;

use crate::xds::catalog::Catalog;
pub use plan_in_force::Published;
pub use refusal::Refused;

/// What a source has read.
#[derive(Default)]
pub struct Snapshot {
    pub objects: Vec<Arc<Entry>>,
    /// The problems of objects that could not be read. Translation adds its own problems.
    pub problems: Vec<Problem>,
    /// The objects that get a status or Events.
    pub subjects: Vec<Arc<Subject>>,
    pub watermark: Watermark,
    /// True if the source writes EndpointSlices into [`Publisher::catalog`] itself. False if they are among the
    /// objects.
    pub has_own_endpoints: bool,
}

impl From<Manifests> for Snapshot {
    fn from(manifests: Manifests) -> Snapshot {
        let entry = |object| Arc::new(Entry::of(object));
        Snapshot {
            objects: manifests.objects.iter().map(entry).collect(),
            problems: manifests.problems(),
            ..Snapshot::default()
        }
    }
}

/// The result of the newest snapshot.
#[derive(Clone, Default)]
pub struct Outcome {
    pub subjects: Vec<Arc<Subject>>,
    /// The problems of the source, of the objects and of their translation.
    pub problems: Arc<[Problem]>,
    /// The plan in force: the plan of this snapshot, or an older plan if `refused` has a reason.
    pub published: Option<Arc<Published>>,
    pub watermark: Watermark,
    /// The watermark of the newest snapshot with a plan that proxies accept.
    pub in_force: Arc<Watermark>,
    /// Every Gateway. The value is true if its GatewayClass belongs to Weir.
    pub gateways: Arc<BTreeMap<Key, bool>>,
    /// Why a proxy would refuse the plan of this snapshot; None if proxies accept the plan.
    pub refused: Option<String>,
}

impl Outcome {
    /// Returns the inputs for the statuses of all objects.
    pub fn evidence<'o>(&'o self, proxies: &'o [Proxy]) -> Evidence<'o> {
        let published = self.published.as_deref();
        let splits_of_literals = published.map(Published::splits_of_literals);
        let edited = published.map(Published::edited_shares);
        // Most of the time no proxy lacks a cluster, and then no rule needs a look.
        let missing: BTreeSet<&str> = proxies.iter().flat_map(|it| it.gaps.names()).collect();
        let missing: HashSet<Service> =
            missing.into_iter().filter_map(service_of_cluster).collect();
        let has_more = proxies.iter().any(|it| it.gaps.has_more());
        let published = published.filter(|_| !missing.is_empty());
        let is_missing = |service: &Service| has_more || missing.contains(service);
        let cluster_users = published.map(|it| it.cluster_users(is_missing));
        let state = PlanState {
            problems: &self.problems,
            gateways: &self.gateways,
            splits_of_literals: splits_of_literals.unwrap_or_default(),
            edited: edited.unwrap_or_default(),
            cluster_users: cluster_users.unwrap_or_default(),
            refused: self.refused.as_deref(),
            in_force: &self.in_force,
        };
        Evidence::new(state, proxies)
    }
}

/// What a proxy can get now.
pub enum Current {
    /// Nothing has been published yet. `why` is the reason.
    Nothing {
        why: String,
    },
    Plan(Arc<Published>),
}

/// The only writer of [`Current`].
pub struct Publisher {
    current: watch::Sender<Current>,
    /// The watermark of `current`. The publisher sets `current` before this watermark. A server must read this
    /// watermark before `current`. So the watermark of a server is never newer than its plan.
    watermark: watch::Sender<Arc<Watermark>>,
    outcome: watch::Sender<Arc<Outcome>>,
    metrics: Arc<Metrics>,
    policy: Policy,
    limits: Limits,
    features_after: FeaturesAfter,
    problem_log: ProblemLog,
    catalog: Arc<Catalog>,
}

impl Publisher {
    pub fn new(metrics: Arc<Metrics>, policy: Policy) -> Publisher {
        Publisher::with(metrics, policy, document::features_after)
    }

    /// `features_after` returns the rules that a document version cannot express. Tests simulate later versions with
    /// their own function.
    pub fn with(metrics: Arc<Metrics>, policy: Policy, features_after: FeaturesAfter) -> Publisher {
        let why = "nothing has been read yet".into();
        Publisher {
            current: watch::Sender::new(Current::Nothing { why }),
            watermark: watch::Sender::default(),
            outcome: watch::Sender::default(),
            metrics,
            policy,
            limits: Limits::default(),
            features_after,
            problem_log: ProblemLog::default(),
            catalog: Arc::default(),
        }
    }

    /// Returns the same publisher with other limits for the cost of objects.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Publisher {
        Publisher { limits, ..self }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Returns the clusters of the newest plan, and their endpoints. A cluster is there before a plan that names it is
    /// published. It is gone when no rule of the newest plan names it; its endpoints stay for a minute.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }

    /// Returns a receiver of the watermark of the current plan. The plan contains every object up to this watermark,
    /// and maybe newer objects.
    pub fn watermark(&self) -> watch::Receiver<Arc<Watermark>> {
        self.watermark.subscribe()
    }

    /// Returns a receiver of the newest outcome. Status and Events are made from it.
    pub fn outcome(&self) -> watch::Receiver<Arc<Outcome>> {
        self.outcome.subscribe()
    }

    /// Records why nothing can be published yet. If there is a published plan, only reports the problems.
    pub fn hold_back(&mut self, why: &str, problems: &[Problem]) {
        self.report_problems(problems);
        let is_new_reason = self.current.send_if_modified(|current| match current {
            Current::Nothing { why: before } if before != why => {
                *before = why.into();
                true
            }
            _ => false,
        });
        if is_new_reason {
            tracing::warn!("nothing is published yet: {why}");
        }
    }

    /// Translates a snapshot. Publishes the plan if the plan has changed and proxies accept it.
    pub fn publish(&mut self, snapshot: Snapshot) {
        let start = Instant::now();
        let Snapshot {
            objects,
            mut problems,
            subjects,
            watermark,
            has_own_endpoints,
        } = snapshot;
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for object in &objects {
            *kinds.entry(object.kind.to_string()).or_default() += 1;
        }
        self.metrics.set_objects(&kinds);

        let translation = translate_objects(&objects, self.policy, &self.limits);
        let Translation {
            world,
            plan,
            clusters,
            problems: of_objects,
        } = translation;
        problems.extend(of_objects);
        self.report_problems(&problems);

        let slices = (!has_own_endpoints).then(|| world.slices.clone());
        let mut refused = None;
        if self.is_current(&plan) {
            self.catalog.replace(clusters, slices);
        } else {
            match Published::compile(plan, self.features_after) {
                Ok(mut published) => {
                    // A proxy must have a cluster before it gets a document that names the cluster.
                    self.catalog.replace(clusters, slices);
                    published.set_watermark(watermark.clone());
                    self.current
                        .send_replace(Current::Plan(Arc::new(published)));
                    self.metrics.revisions_published.inc();
                    tracing::info!(
                        objects = objects.len(),
                        problems = problems.len(),
                        duration = ?start.elapsed(),
                        "published"
                    );
                }
                Err(reason) => {
                    if let Some(slices) = slices {
                        self.catalog.keep_clusters(slices);
                    }
                    self.metrics.refused_plans.inc();
                    tracing::error!(
                        "the new plan is not published, and the previous plan stays in force: {reason}"
                    );
                    refused = Some(reason.to_string());
                }
            }
        }
        let published = match &*self.current.borrow() {
            Current::Plan(published) => Some(published.clone()),
            Current::Nothing { .. } => None,
        };
        self.conclude(Outcome {
            subjects,
            problems: problems.into(),
            published,
            watermark,
            in_force: Arc::default(),
            gateways: Arc::new(world.owned_gateways()),
            refused,
        });
    }

    /// Records that the source was read up to `watermark` without a change that needs a translation.
    pub fn read_on(&mut self, subjects: Vec<Arc<Subject>>, watermark: Watermark) {
        let before = self.outcome.borrow().clone();
        self.conclude(Outcome {
            subjects,
            watermark,
            ..(*before).clone()
        });
    }

    fn conclude(&mut self, mut outcome: Outcome) {
        if let Some(published) = &outcome.published {
            published.follow(&outcome.watermark);
        }
        if outcome.refused.is_none() && **self.watermark.borrow() != outcome.watermark {
            let watermark = outcome.watermark.clone();
            self.watermark.send_replace(Arc::new(watermark));
        }
        outcome.in_force = self.watermark.borrow().clone();
        self.outcome.send_replace(Arc::new(outcome));
    }

    fn is_current(&self, plan: &Plan) -> bool {
        matches!(&*self.current.borrow(), Current::Plan(published) if published.plan() == plan)
    }

    /// Sets the metrics, and logs each problem when it appears and when it is resolved.
    fn report_problems(&mut self, problems: &[Problem]) {
        let is_unreadable =
            |p: &&Problem| p.reason == Reason::Unreadable && p.effect.extent > Extent::Nothing;
        let unreadable = problems.iter().filter(is_unreadable);
        self.metrics.files_unreadable.set(unreadable.count() as u64);
        let warnings = problems.iter().filter(|it| it.is_warning()).count();
        let errors = problems.len().saturating_sub(warnings);
        self.metrics.set_problems(errors, warnings);
        self.problem_log.update(problems);
    }
}
