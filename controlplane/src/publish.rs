//! From objects to what is served: translate, check as the filter would, and put in force.
//!
//! A [`Publisher`] has one current plan; everybody who serves it holds a receiver of [`Current`].
//! A plan that a proxy would refuse never gets there: the one before stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use weir_split::{Refusal, Site, Table};

use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::Manifests;
use weir_core::manifest::problem::{Extent, Problem, Reason};
use weir_core::metrics::Metrics;
use weir_core::plan::document::{self, FeaturesAfter, NeedsNewerVersion, Rendered, render_in};
use weir_core::plan::{Audience, EditedShares, Plan, Scope, scope};
use weir_core::status::subject::Subject;
use weir_core::translate::budget::Limits;
use weir_core::translate::translate_within;
use weir_core::watermark::Watermark;
use weir_core::world::{Entry, Key, World};

/// Bytes of one plan that are kept rendered, beside the producers'; further scopes are rendered each time.
const MAX_KEPT: usize = 128 << 20;

/// What a source has read.
#[derive(Default)]
pub struct Reading {
    pub objects: Vec<Arc<Entry>>,
    /// What could not be read; translation adds its own.
    pub problems: Vec<Problem>,
    /// Those of the objects that are told what became of them.
    pub subjects: Vec<Arc<Subject>>,
    pub watermark: Watermark,
}

impl From<Manifests> for Reading {
    fn from(manifests: Manifests) -> Reading {
        let entry = |object| Arc::new(Entry::of(object));
        Reading {
            objects: manifests.objects.iter().map(entry).collect(),
            problems: manifests.problems(),
            ..Reading::default()
        }
    }
}

/// What became of the newest reading.
#[derive(Clone, Default)]
pub struct Outcome {
    pub subjects: Vec<Arc<Subject>>,
    /// All of them, of the source, the world and translation.
    pub problems: Arc<[Problem]>,
    /// What is in force: the plan of this reading, unless `refused`.
    pub published: Option<Arc<Published>>,
    pub watermark: Watermark,
    /// That of the newest reading whose plan came in force.
    pub in_force: Arc<Watermark>,
    /// Every Gateway, and whether its class is Weir's.
    pub gateways: Arc<BTreeMap<Key, bool>>,
    /// Why a proxy would refuse the plan of this reading.
    pub refused: Option<String>,
}

/// What a proxy can be given now.
pub enum Current {
    /// Nothing has been published yet, and why.
    Nothing {
        why: String,
    },
    Plan(Arc<Published>),
}

/// What a proxy of a scope, reading documents up to a version, is given.
type RenderResult = Result<Rendered, NeedsNewerVersion>;

/// A plan in force, and the scopes of it that were asked for, rendered.
pub struct Published {
    plan: Plan,
    /// Those of the plan.
    scopes: BTreeSet<Scope>,
    /// How many rules there are for each audience.
    rules: BTreeMap<Audience, usize>,
    /// When it came in force.
    pub at: Instant,
    /// How far the source had been read for it.
    reached: Mutex<Arc<Watermark>>,
    features_after: FeaturesAfter,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By scope and version, of scopes of the plan alone: whoever asks for others cannot fill it.
    rendered: HashMap<(Scope, u32), RenderResult>,
    bytes: usize,
}

/// A plan that proxies would refuse: a defect of the translation.
#[derive(Debug, thiserror::Error)]
#[error("{piece}: {refusal}")]
pub struct Refused {
    /// Where in the plan, in words.
    piece: String,
    refusal: Refusal,
}

/// The only one who writes [`Current`].
pub struct Publisher {
    current: watch::Sender<Current>,
    /// Never ahead of `current`: raised after it, so whoever looks has to look here first.
    watermark: watch::Sender<Arc<Watermark>>,
    outcome: watch::Sender<Arc<Outcome>>,
    metrics: Arc<Metrics>,
    policy: Policy,
    limits: Limits,
    features_after: FeaturesAfter,
    /// The problems that are known, as they were logged, and what is logged when each is gone.
    known: BTreeMap<String, String>,
}

impl Publisher {
    pub fn new(metrics: Arc<Metrics>, policy: Policy) -> Publisher {
        Publisher::with(metrics, policy, document::features_after)
    }

    /// With another judgement of what a document version can say; for tests of versions to come.
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
            known: BTreeMap::new(),
        }
    }

    /// With other limits of what objects may cost.
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

    pub fn subscribe(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }

    /// How far the source had been read, at the least, when what is current now was published.
    pub fn watermark(&self) -> watch::Receiver<Arc<Watermark>> {
        self.watermark.subscribe()
    }

    /// What there is to tell the objects' authors.
    pub fn outcome(&self) -> watch::Receiver<Arc<Outcome>> {
        self.outcome.subscribe()
    }

    /// The source cannot be published yet.
    pub fn hold_back(&mut self, why: &str, problems: &[Problem]) {
        self.tell(problems);
        let news = self.current.send_if_modified(|current| match current {
            Current::Nothing { why: known } if known != why => {
                *known = why.into();
                true
            }
            _ => false,
        });
        if news {
            tracing::warn!("nothing is published yet: {why}");
        }
    }

    /// Puts the translation of what was read in force, where it differs from what is.
    pub fn publish(&mut self, reading: Reading) {
        let start = Instant::now();
        let Reading {
            objects,
            mut problems,
            subjects,
            watermark,
        } = reading;
        let count = objects.len();
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for object in &objects {
            *kinds.entry(object.kind.to_string()).or_default() += 1;
        }
        self.metrics.set_objects(&kinds);

        let (world, of_world) = World::of(&objects);
        let (plan, of_plan) = translate_within(&world, self.policy, &self.limits);
        problems.extend(of_world);
        problems.extend(of_plan);
        self.tell(&problems);

        let gateways = world.owned_gateways();

        let mut refused = None;
        if !self.is_current(&plan) {
            match Published::compile(plan, self.features_after) {
                Ok(mut published) => {
                    published.reached = Mutex::new(Arc::new(watermark.clone()));
                    self.current
                        .send_replace(Current::Plan(Arc::new(published)));
                    self.metrics.revisions_published.inc();
                    tracing::info!(
                        objects = count,
                        problems = problems.len(),
                        duration = ?start.elapsed(),
                        "published"
                    );
                }
                Err(reason) => {
                    self.metrics.refused_plans.inc();
                    tracing::error!("not published, the plan before stays in force: {reason}");
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
            gateways: Arc::new(gateways),
            refused,
        });
    }

    /// The source has read more, and nothing of it that is translated.
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
        matches!(&*self.current.borrow(), Current::Plan(published) if published.plan == *plan)
    }

    /// Logs each problem when it appears and when it goes.
    fn tell(&mut self, problems: &[Problem]) {
        let is_unreadable =
            |p: &&Problem| p.reason == Reason::Unreadable && p.effect.extent > Extent::Nothing;
        let unreadable = problems.iter().filter(is_unreadable);
        self.metrics.files_unreadable.set(unreadable.count() as u64);
        self.metrics.problems.set(problems.len() as u64);
        let lines = problems.iter().map(|it| (it.to_string(), it.head()));
        let now: BTreeMap<String, String> = lines.collect();
        for line in now.keys().filter(|line| !self.known.contains_key(*line)) {
            tracing::warn!("problem: {line}");
        }
        for head in gone(&self.known, &now) {
            tracing::info!("resolved: {head}");
        }
        self.known = now;
    }
}

/// What was wrong and is not any more. What is still wrong, with another effect or remedy, is not gone.
fn gone<'k>(
    known: &'k BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> BTreeSet<&'k str> {
    let now: BTreeSet<&str> = now.values().map(String::as_str).collect();
    let known = known.values().map(String::as_str);
    known.filter(|head| !now.contains(head)).collect()
}

impl Published {
    /// Compiles every piece of the plan as a proxy would. `features_after` tells what a document version that can
    /// say a match.
    ///
    /// That is enough for every scope, and takes time and memory for the plan, not for each scope. What
    /// [`Table::compile`] refuses, it refuses for one grant, for one rule, or for one host set or one of the
    /// connections together with the rules that it leads to: of two that claim the same host the earlier wins,
    /// and nothing counts them all. A scope is a choice of such pieces, whole but for what an access policy
    /// takes from grants and from the accounts of backends, and each with all of its rules. What a plugin
    /// configuration adds ([`Site`]) leaves out matches or names more hosts; it refuses nothing.
    pub fn compile(plan: Plan, features_after: FeaturesAfter) -> Result<Published, Refused> {
        let site = Site::default();
        for (piece, config) in plan.pieces() {
            if let Err(refusal) = Table::compile(&config, &site) {
                return Err(Refused { piece, refusal });
            }
        }
        Ok(Published {
            scopes: plan.scopes(),
            rules: plan.rules_by_audience(),
            plan,
            at: Instant::now(),
            reached: Mutex::default(),
            features_after,
            kept: Mutex::default(),
        })
    }

    /// The splits of hosts that are no Services: they are for clients of their namespace, and for the edge.
    pub fn splits_of_literals(&self) -> BTreeMap<Key, Audience> {
        self.plan.splits_of_literals()
    }

    /// The shares that a proxy with `weir-lean.wasm` cannot serve.
    pub fn edited_shares(&self) -> EditedShares {
        self.plan.edited_shares()
    }

    /// How many rules are in force for other scopes than this one. A reader of one namespace learns only of rules that
    /// it may ask for.
    pub fn rules_elsewhere(&self, asked: &Scope, reader: Option<&str>) -> usize {
        let may_ask = |audience: &Audience| match audience {
            Audience::Everyone => true,
            // Each of its rules is also one of a namespace.
            Audience::Edge => false,
            _ => reader.is_none() || audience.namespace() == reader,
        };
        let elsewhere = self
            .rules
            .iter()
            .filter(|(audience, _)| may_ask(audience) && !audience.concerns(asked));
        elsewhere.map(|(_, count)| count).sum()
    }

    /// How far the source had been read for what it says: as far as it had been when it came in force, and as it has
    /// been `since`, which was looked up before it.
    pub fn watermark(&self, since: &Arc<Watermark>) -> Arc<Watermark> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        match since.covers(&reached) {
            true => since.clone(),
            // It came in force in between.
            false => reached.clone(),
        }
    }

    /// It is right for a cluster that was restored from a backup, which counts from lower numbers.
    fn follow(&self, watermark: &Watermark) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if !watermark.covers(&reached) {
            *reached = Arc::new(watermark.clone());
        }
    }

    /// Revision and bytes of what a proxy of this scope may see, in this version of the document.
    pub fn rendered(&self, wanted: &Scope, version: u32) -> RenderResult {
        let is_own = self.scopes.contains(wanted);
        let wanted = match wanted {
            // Most namespaces see the producer rules alone; one copy of the bytes is enough.
            Scope::Namespace(_) | Scope::Edge if !is_own => &Scope::Producers,
            wanted => wanted,
        };
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (wanted.clone(), version);
        if let Some(known) = kept().rendered.get(&key) {
            return known.clone();
        }
        let result = render_in(scope(&self.plan, wanted), version, self.features_after);
        kept().keep(key, &result, &self.scopes);
        result
    }
}

impl Kept {
    fn keep(&mut self, key: (Scope, u32), result: &RenderResult, scopes: &BTreeSet<Scope>) {
        let size = result.as_ref().map_or(0, |rendered| rendered.body.len());
        let total = self.bytes.saturating_add(size);
        let has_room = key.0 == Scope::Producers || total <= MAX_KEPT;
        if has_room && scopes.contains(&key.0) && !self.rendered.contains_key(&key) {
            self.rendered.insert(key, result.clone());
            self.bytes = total;
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_split::wire::{Access, Connections, Destination, HostSet, Hosts, Literal, Unmatched};

    use super::*;
    use weir_core::manifest::object;
    use weir_core::manifest::problem::{Effect, ObjectRef, messages};
    use weir_core::plan::{PlannedConnections, PlannedSet};
    use weir_split::wire;

    fn split(weight: u64) -> Reading {
        let text = format!(
            "
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {{name: web}}
spec: {{service: web, backends: [{{service: web, weight: {weight}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}]}}
"
        );
        object::read("test.yaml", &text).unwrap().into()
    }

    fn published(current: &mut watch::Receiver<Current>) -> Arc<Published> {
        match &*current.borrow_and_update() {
            Current::Plan(published) => published.clone(),
            Current::Nothing { why } => panic!("{why}"),
        }
    }

    #[test]
    fn a_problem_is_resolved_when_its_cause_is_gone() {
        let object = ObjectRef {
            source: "a.yaml".into(),
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        let problem = object.problem("spec", messages::split::split_no_weight("web"));
        let elsewhere = problem.clone().with_effect(Effect::not_in_force());
        let lines = |problems: &[&Problem]| -> BTreeMap<String, String> {
            let lines = problems.iter().map(|it| (it.to_string(), it.head()));
            lines.collect()
        };
        let known = lines(&[&problem]);
        assert_eq!(
            Vec::from_iter(gone(&known, &lines(&[]))),
            ["a.yaml: TrafficSplit shop/web spec: NoTraffic: no backend has a weight above 0"]
        );
        assert!(gone(&known, &lines(&[&problem])).is_empty());
        assert!(gone(&known, &lines(&[&elsewhere])).is_empty());
    }

    #[test]
    fn only_what_differs_is_published() {
        let metrics = Arc::new(Metrics::default());
        let mut publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let mut current = publisher.subscribe();
        publisher.publish(split(1));
        let first = published(&mut current).rendered(&Scope::Producers, 1);
        let mut again = split(1);
        again.objects.reverse();
        publisher.publish(again);
        publisher.hold_back("of no interest any more", &[]);
        assert!(!current.has_changed().unwrap());
        publisher.publish(split(2));
        assert_ne!(
            published(&mut current).rendered(&Scope::Producers, 1),
            first
        );
        assert_eq!(metrics.revisions_published.get(), 2);
    }

    #[test]
    fn namespaces_without_rules_share_one_copy_and_others_cannot_fill_memory() {
        let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
        let mut current = publisher.subscribe();
        publisher.publish(split(1));
        let published = published(&mut current);
        let producers = published.rendered(&Scope::Producers, 1).unwrap();
        for number in 0..10 {
            let name = format!("n{number}");
            let one = published.rendered(&Scope::Namespace(name.clone()), 1);
            assert!(Arc::ptr_eq(&one.unwrap().body, &producers.body));
            let namespace = "shop".to_owned();
            let unknown = Scope::Gateway { namespace, name };
            assert_ne!(published.rendered(&unknown, 1).unwrap(), producers);
        }
        assert_eq!(published.kept.lock().unwrap().rendered.len(), 1);
    }

    #[test]
    fn rules_elsewhere_are_those_that_the_reader_may_ask_for() {
        let text = "
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: host, namespace: shop}
spec: {service: shop.example.com, backends: [{service: web, weight: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";
        let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
        let mut current = publisher.subscribe();
        publisher.publish(object::read("test.yaml", text).unwrap().into());
        let published = published(&mut current);
        let namespace = |name: &str| Scope::Namespace(name.into());
        let elsewhere = |asked: Scope, reader: Option<&str>| {
            let rendered = published.rendered(&asked, wire::VERSION).unwrap();
            let config: wire::Config = serde_json::from_slice(&rendered.body).unwrap();
            (
                config.rules.len(),
                published.rules_elsewhere(&asked, reader),
            )
        };
        assert_eq!(elsewhere(Scope::Producers, None), (0, 1));
        assert_eq!(elsewhere(namespace("other"), None), (0, 1));
        assert_eq!(elsewhere(namespace("other"), Some("other")), (0, 0));
        assert_eq!(elsewhere(Scope::Producers, Some("shop")), (0, 1));
        assert_eq!(elsewhere(namespace("shop"), None), (1, 0));
        assert_eq!(elsewhere(Scope::Edge, None), (1, 0));
    }

    #[test]
    fn what_is_kept_rendered_has_an_end() {
        let scopes: BTreeSet<Scope> = ["a", "b", "c"]
            .map(|name| Scope::Namespace(name.into()))
            .into_iter()
            .chain([Scope::Producers])
            .collect();
        let given = Ok(Rendered {
            revision: String::new(),
            body: vec![0; MAX_KEPT / 2 - 1].into(),
        });
        let mut kept = Kept::default();
        // The producers stand first.
        for one in scopes.iter().rev().chain(&scopes) {
            kept.keep((one.clone(), 1), &given, &scopes);
        }
        let mut names: Vec<Scope> = kept.rendered.into_keys().map(|(scope, _)| scope).collect();
        names.sort();
        let two = ["b", "c"].map(|name| Scope::Namespace(name.into()));
        assert_eq!(names[1..], two);
        assert_eq!(names[0], Scope::Producers);
    }

    #[test]
    fn what_a_proxy_would_refuse_is_not_published() {
        let missing = || "no such rule".to_owned();
        let astray = wire::Match {
            rule: missing(),
            ..wire::Match::default()
        };
        let audience = || Audience::Gateway {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        let set = PlannedSet {
            audience: audience(),
            set: HostSet {
                hosts: Hosts::Literal(Literal {
                    name: "a".into(),
                    port: 80,
                    default_port: false,
                    every_port: false,
                }),
                matches: vec![astray],
                unmatched: Unmatched::NotFound,
            },
        };
        let connections = PlannedConnections {
            audience: audience(),
            connections: Connections {
                to: Destination::Listeners(BTreeMap::new()),
                rule: missing(),
            },
        };
        let of_nobody = Access::Grants([("nobody".to_owned(), vec![])].into());
        let plan = |sets, connections| Plan::new(sets, connections, BTreeMap::new());
        for (plan, expected) in [
            (plan(vec![set], vec![]), ["edge", "no such rule"]),
            (plan(vec![], vec![connections]), ["edge", "no such rule"]),
            (
                plan(vec![], vec![]).with_access(of_nobody),
                ["nobody", "write NAMESPACE/NAME"],
            ),
        ] {
            let refused = Published::compile(plan, document::features_after);
            let refused = refused.err().unwrap().to_string();
            let says = |part: &&str| refused.contains(*part);
            assert!(expected.iter().all(says), "{refused}");
        }
    }
}
