//! From objects to what is served: translate, check as the filter would, and put in force.
//!
//! A [`Publisher`] has one current plan; everybody who serves it holds a receiver of [`Current`].
//! A plan that a proxy would refuse never gets there: the one before stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use weir_split::wire;
use weir_split::{Refusal, Site, Table};

use crate::access::Policy;
use crate::metrics::Metrics;
use crate::object::Object;
use crate::plan::{Plan, Scope, scope};
use crate::problem::{Problem, Reason};
use crate::revision::{Beyond, Rendered, Unsayable, render_in};
use crate::translate::translate;
use crate::world::World;

/// Scopes of one plan that are kept rendered; those beyond are rendered each time.
const MAX_RENDERED: usize = 4096;

/// What a proxy can be given now.
pub enum Current {
    /// Nothing has been published yet, and why.
    Nothing {
        why: String,
    },
    Plan(Arc<Published>),
}

/// What a proxy of a scope, reading documents up to a version, is given.
type Given = Result<Rendered, Unsayable>;

/// A plan in force, and each scope of it rendered once in each version.
pub struct Published {
    plan: Plan,
    /// When it came in force.
    pub at: Instant,
    beyond: Beyond,
    rendered: Mutex<HashMap<(Scope, u32), Given>>,
}

/// A plan that proxies would refuse: a defect of the translation.
#[derive(Debug, thiserror::Error)]
#[error("{scope:?}: {refusal}")]
pub struct Refused {
    scope: Scope,
    refusal: Refusal,
}

/// The only one who writes [`Current`].
pub struct Publisher {
    current: watch::Sender<Current>,
    metrics: Arc<Metrics>,
    policy: Policy,
    /// The problems that are known, as they were logged.
    known: BTreeSet<String>,
}

impl Publisher {
    pub fn new(metrics: Arc<Metrics>, policy: Policy) -> Publisher {
        let why = "nothing has been read yet".into();
        Publisher {
            current: watch::Sender::new(Current::Nothing { why }),
            metrics,
            policy,
            known: BTreeSet::new(),
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
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

    /// Puts the translation of `objects` in force, where it differs from what is. `problems` are
    /// those of the source; translation adds its own.
    pub fn publish(&mut self, objects: Vec<Object>, mut problems: Vec<Problem>) {
        let start = Instant::now();
        let count = objects.len();
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for object in &objects {
            *kinds.entry(object.kind.to_string()).or_default() += 1;
        }
        self.metrics.set_objects(&kinds);

        let (world, of_world) = World::from_objects(objects);
        let (plan, of_plan) = translate(&world, self.policy);
        problems.extend(of_world);
        problems.extend(of_plan);
        self.tell(&problems);

        if matches!(&*self.current.borrow(), Current::Plan(published) if published.plan == plan) {
            return;
        }
        match Published::compile(plan, wire::Config::beyond) {
            Ok(published) => {
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
            Err(refused) => {
                self.metrics.refused_plans.inc();
                tracing::error!("not published, the plan before stays in force: {refused}");
            }
        }
    }

    /// Logs each problem when it appears and when it goes.
    fn tell(&mut self, problems: &[Problem]) {
        let unreadable = problems.iter().filter(|p| p.reason == Reason::Unreadable);
        self.metrics.files_unreadable.set(unreadable.count() as u64);
        self.metrics.problems.set(problems.len() as u64);
        let now: BTreeSet<String> = problems.iter().map(Problem::to_string).collect();
        for line in now.difference(&self.known) {
            tracing::warn!("problem: {line}");
        }
        for line in self.known.difference(&now) {
            tracing::info!("no longer a problem: {line}");
        }
        self.known = now;
    }
}

impl Published {
    /// Compiles every scope of the plan as a proxy of that scope would. `beyond` tells what a document
    /// version that can say a match.
    pub fn compile(plan: Plan, beyond: Beyond) -> Result<Published, Refused> {
        let mut rendered = HashMap::new();
        for one in plan.scopes() {
            let config = scope(&plan, &one);
            if let Err(refusal) = Table::compile(&config, &site(&one)) {
                return Err(Refused {
                    scope: one,
                    refusal,
                });
            }
            let given = render_in(config, wire::VERSION, beyond);
            rendered.insert((one, wire::VERSION), given);
        }
        Ok(Published {
            plan,
            at: Instant::now(),
            beyond,
            rendered: Mutex::new(rendered),
        })
    }

    /// Revision and bytes of what a proxy of this scope may see, in this version of the document.
    pub fn rendered(&self, wanted: &Scope, version: u32) -> Given {
        let cache = || self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (wanted.clone(), version);
        if let Some(known) = cache().get(&key) {
            return known.clone();
        }
        let mut given = render_in(scope(&self.plan, wanted), version, self.beyond);
        let mut cache = cache();
        // Most namespaces see the producer rules alone; one copy of the bytes is enough.
        if let Some(producers) = cache.get(&(Scope::Producers, version))
            && *producers == given
        {
            given = producers.clone();
        }
        if cache.len() < MAX_RENDERED {
            cache.insert(key, given.clone());
        }
        given
    }
}

fn site(scope: &Scope) -> Site {
    match scope {
        Scope::Namespace(namespace) => Site {
            namespace: namespace.clone(),
            ..Site::default()
        },
        Scope::Producers | Scope::Gateway { .. } => Site::default(),
    }
}

#[cfg(test)]
mod tests {
    use weir_split::wire::{Gateway, HostSet, Hosts, Unmatched};

    use super::*;
    use crate::object;
    use crate::plan::{Audience, PlannedSet};

    fn split(weight: u64) -> Vec<Object> {
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
        object::read("test.yaml", &text).unwrap().objects
    }

    fn published(current: &mut watch::Receiver<Current>) -> Arc<Published> {
        match &*current.borrow_and_update() {
            Current::Plan(published) => published.clone(),
            Current::Nothing { why } => panic!("{why}"),
        }
    }

    #[test]
    fn only_what_differs_is_published() {
        let metrics = Arc::new(Metrics::default());
        let mut publisher = Publisher::new(metrics.clone(), Policy::Permissive);
        let mut current = publisher.subscribe();
        publisher.publish(split(1), Vec::new());
        let first = published(&mut current).rendered(&Scope::Producers, 1);
        let mut objects = split(1);
        objects.reverse();
        publisher.publish(objects, Vec::new());
        publisher.hold_back("of no interest any more", &[]);
        assert!(!current.has_changed().unwrap());
        publisher.publish(split(2), Vec::new());
        assert_ne!(
            published(&mut current).rendered(&Scope::Producers, 1),
            first
        );
        assert_eq!(metrics.revisions_published.get(), 2);
    }

    #[test]
    fn namespaces_without_rules_share_one_copy_and_their_number_is_bounded() {
        let mut publisher = Publisher::new(Arc::default(), Policy::Permissive);
        let mut current = publisher.subscribe();
        publisher.publish(split(1), Vec::new());
        let published = published(&mut current);
        let producers = published.rendered(&Scope::Producers, 1).unwrap();
        for number in 0..=MAX_RENDERED {
            let namespace = Scope::Namespace(format!("n{number}"));
            published.rendered(&namespace, 1).unwrap();
        }
        let one = published
            .rendered(&Scope::Namespace("n1".into()), 1)
            .unwrap();
        assert!(Arc::ptr_eq(&one.body, &producers.body));
        assert_eq!(published.rendered.lock().unwrap().len(), MAX_RENDERED);
    }

    #[test]
    fn what_a_proxy_would_refuse_is_not_published() {
        let astray = wire::Match {
            rule: "no such rule".into(),
            ..wire::Match::default()
        };
        let set = HostSet {
            hosts: Hosts::Gateway(Gateway::default()),
            matches: vec![astray],
            unmatched: Unmatched::NotFound,
        };
        let audience = Audience::Gateway {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        let plan = Plan::new(vec![PlannedSet { audience, set }], vec![], BTreeMap::new());
        let refused = Published::compile(plan, wire::Config::beyond)
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("edge"), "{refused}");
        assert!(refused.contains("no such rule"), "{refused}");
    }
}
