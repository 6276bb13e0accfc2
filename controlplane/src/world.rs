//! The world: a plain snapshot of every object that translation looks at.
//!
//! It does not say where the objects came from, and it does not depend on the order in which they
//! came.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::access::TrafficTarget;
use crate::cluster::{self, Service};
use crate::gateway::{CONTROLLER, Gateway, ReferenceGrant};
use crate::object::{Kind, Object};
use crate::problem::{Problem, Reason};
use crate::route::{Route, RouteKind};
use crate::smi::TrafficSplit;
use crate::specs::{HttpRouteGroup, TcpRoute};
use crate::workload::Workload;

/// Namespace and name.
pub type Key = (String, String);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    services: BTreeMap<Key, Service>,
    gateways: BTreeMap<Key, Gateway>,
    /// The class of every Gateway that there is, also of one that is wrong.
    classes: BTreeMap<Key, String>,
    /// Those classes that are Weir's.
    own_classes: BTreeSet<String>,
    /// Labels of the namespaces that have an object of their own.
    labels: BTreeMap<String, BTreeMap<String, String>>,
    /// By their namespace, which is that of what they permit.
    grants: BTreeMap<String, Vec<ReferenceGrant>>,
    /// By namespace and name.
    pub(crate) splits: Vec<TrafficSplit>,
    /// By kind, namespace and name.
    pub(crate) routes: Vec<Route>,
    groups: BTreeMap<Key, HttpRouteGroup>,
    access: OfPolicy,
    /// Every namespace that is known: its object was seen, or an object in it.
    pub(crate) namespaces: BTreeSet<String>,
}

/// What only the access policy looks at; where there is none it makes no difference, but is kept.
#[derive(Clone, Debug, Default, PartialEq)]
struct OfPolicy {
    tcp_routes: BTreeMap<Key, TcpRoute>,
    /// By namespace and name.
    targets: Vec<TrafficTarget>,
    /// By namespace.
    workloads: BTreeMap<String, Vec<Workload>>,
    /// Sorted.
    problems: Vec<Problem>,
}

impl World {
    /// An object that is wrong in itself is left out with a problem and never stops the others. Of
    /// two objects with the same kind, namespace and name the first by file and place stays.
    pub fn from_objects(objects: impl IntoIterator<Item = Object>) -> (World, Vec<Problem>) {
        let mut first: BTreeMap<(Kind, String, String), Object> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut of_policy = Vec::new();
        let mut objects: Vec<Object> = objects.into_iter().collect();
        objects.sort_by(|a, b| (&a.source, a.position).cmp(&(&b.source, b.position)));
        for mut object in objects {
            if let Some(problem) = object.refused.take() {
                let problem = problem.of_whole();
                if object.kind.is_of_policy() {
                    of_policy.push(problem);
                } else if !Route::is_foreign(&object) {
                    problems.push(problem);
                }
                continue;
            }
            let mut key = (object.kind, object.namespace.clone(), object.name.clone());
            if key.2.is_empty() {
                // A Pod that is to be named by the cluster is its own.
                key.2 = format!("{}#{}", object.source, object.position);
            }
            match first.get(&key) {
                None => {
                    first.insert(key, object);
                }
                Some(other) => {
                    let wrong = if object.kind.is_of_policy() {
                        &mut of_policy
                    } else {
                        &mut problems
                    };
                    wrong.push(object.reference().problem(
                        "",
                        Reason::Duplicate,
                        format!(
                            "stands in {:?} and in {:?}; the first holds",
                            other.source, object.source
                        ),
                        "take one of them out",
                    ));
                }
            }
        }
        let mut world = World::default();
        for object in first.values() {
            let wrong = if object.kind.is_of_policy() {
                &mut of_policy
            } else {
                &mut problems
            };
            if let Err(problem) = world.add(object, wrong) {
                wrong.push(problem.of_whole());
            }
        }
        of_policy.sort();
        world.access.problems = of_policy;
        problems.sort();
        (world, problems)
    }

    fn add(&mut self, object: &Object, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let namespace = match object.kind {
            Kind::Namespace => &object.name,
            _ => &object.namespace,
        };
        if !namespace.is_empty() && !object.kind.is_of_policy() {
            self.namespaces.insert(namespace.clone());
        }
        let key = (object.namespace.clone(), object.name.clone());
        match object.kind {
            Kind::GatewayClass => {
                let controller = object.body.pointer("/spec/controllerName");
                if controller.and_then(Value::as_str) == Some(CONTROLLER) {
                    self.own_classes.insert(object.name.clone());
                }
            }
            Kind::Namespace => {
                let labels = cluster::namespace_labels(object)?;
                self.labels.insert(object.name.clone(), labels);
            }
            Kind::Service => {
                self.services.insert(key, Service::parse(object)?);
            }
            Kind::Gateway => {
                let class = object.body.pointer("/spec/gatewayClassName");
                let class = class.and_then(Value::as_str).unwrap_or_default();
                self.classes.insert(key.clone(), class.to_owned());
                let (gateway, of_listeners) = Gateway::parse(object)?;
                problems.extend(of_listeners);
                self.gateways.insert(key, gateway);
            }
            Kind::ReferenceGrant => {
                let grants = self.grants.entry(object.namespace.clone());
                grants.or_default().push(ReferenceGrant::parse(object)?);
            }
            Kind::TrafficSplit => self.splits.push(TrafficSplit::parse(object)?),
            Kind::HttpRoute | Kind::LinkerdHttpRoute | Kind::GrpcRoute | Kind::TcpRoute => {
                if let Some((route, of_route)) = Route::parse(object)? {
                    problems.extend(of_route);
                    self.routes.push(route);
                }
            }
            Kind::HttpRouteGroup => {
                let (group, of_matches) = HttpRouteGroup::parse(object)?;
                problems.extend(of_matches);
                self.groups.insert(key, group);
            }
            Kind::SmiTcpRoute => {
                self.access.tcp_routes.insert(key, TcpRoute::parse(object)?);
            }
            Kind::TrafficTarget => {
                let (target, of_parts) = TrafficTarget::parse(object)?;
                problems.extend(of_parts);
                self.access.targets.push(target);
            }
            Kind::Workload(_) => {
                let workloads = self.access.workloads.entry(object.namespace.clone());
                workloads.or_default().extend(Workload::parse(object)?);
            }
        }
        Ok(())
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub fn gateway(&self, namespace: &str, name: &str) -> Option<&Gateway> {
        self.gateways.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Every Gateway, and whether its class is Weir's.
    pub fn owned_gateways(&self) -> BTreeMap<Key, bool> {
        let owned = |class: &String| self.own_classes.contains(class);
        let classes = self.classes.iter();
        classes
            .map(|(key, class)| (key.clone(), owned(class)))
            .collect()
    }

    /// The labels of a namespace, with the one that every namespace of a cluster bears.
    pub fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut labels = self.labels.get(namespace).cloned().unwrap_or_default();
        let name = "kubernetes.io/metadata.name".to_owned();
        labels.insert(name, namespace.to_owned());
        labels
    }

    pub fn group(&self, namespace: &str, name: &str) -> Option<&HttpRouteGroup> {
        self.groups.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// That of `specs.smi-spec.io`.
    pub fn smi_tcp_route(&self, namespace: &str, name: &str) -> Option<&TcpRoute> {
        let key = (namespace.to_owned(), name.to_owned());
        self.access.tcp_routes.get(&key)
    }

    /// By namespace and name.
    pub fn traffic_targets(&self) -> &[TrafficTarget] {
        &self.access.targets
    }

    /// What is wrong with objects that only the access policy looks at: no problem where there is none.
    pub fn problems_of_policy(&self) -> &[Problem] {
        &self.access.problems
    }

    /// The ServiceAccounts of the pods that the Service selects, `NAMESPACE/NAME`; none where there are
    /// none, or where it selects none itself.
    pub fn accounts(&self, service: &Service) -> BTreeSet<String> {
        let namespace = &service.object.namespace;
        let workloads = self.access.workloads.get(namespace).into_iter().flatten();
        let behind = workloads.filter(|workload| workload.fits(&service.selector));
        behind
            .map(|workload| format!("{namespace}/{}", workload.account))
            .collect()
    }

    /// Whether a route of that kind in `from` may refer to the Service `name` in `to`.
    pub fn permits_service(&self, kind: RouteKind, from: &str, to: &str, name: &str) -> bool {
        let mut grants = self.grants.get(to).into_iter().flatten();
        from == to || grants.any(|grant| grant.permits_service(kind, from, to, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::read;

    fn service(source: &str, name: &str, spec: &str) -> Vec<Object> {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        );
        read(source, &text).unwrap().objects
    }

    #[test]
    fn duplicates_do_not_depend_on_the_order() {
        let a = service("a.yaml", "web", "{ports: [{port: 1}]}");
        let b = service("b.yaml", "web", "{ports: [{port: 2}]}");
        let c = service("c.yaml", "other", "{ports: [{port: x}]}");
        let forward = [a.clone(), b.clone(), c.clone()].concat();
        let backward = [c, b, a].concat();
        let (world, problems) = World::from_objects(forward);
        assert_eq!(
            (world.clone(), problems.clone()),
            World::from_objects(backward)
        );
        assert!(world.service("shop", "web").unwrap().ports.contains_key(&1));
        assert!(world.service("shop", "other").is_none());
        let reasons: Vec<_> = problems.iter().map(|p| p.reason).collect();
        assert_eq!(reasons, [Reason::Duplicate, Reason::InvalidValue]);
        assert!(problems[0].message.contains("a.yaml") && problems[0].message.contains("b.yaml"));
        assert!(world.namespaces.contains("shop"));
    }

    #[test]
    fn what_is_nobodys_business_is_no_problem() {
        let text = "{apiVersion: access.smi-spec.io/v1alpha4, kind: TrafficTarget, metadata: {name: t, namespace: far}}
---
{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {name: T}, spec: {}}
---
{apiVersion: policy.linkerd.io/v1beta1, kind: HTTPRoute, metadata: {name: inbound}, spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: s}]}}
---
{apiVersion: policy.linkerd.io/v1beta1, kind: HTTPRoute, metadata: {name: outbound}, spec: {parentRefs: [{group: core, kind: Service, name: s}]}}
---
{apiVersion: policy.linkerd.io/v1beta1, kind: HTTPRoute, metadata: {name: nowhere}}
";
        let (world, problems) = World::from_objects(read("a.yaml", text).unwrap().objects);
        let named = |problems: &[Problem]| {
            let line = |p: &Problem| format!("{} {}", p.object.name, p.reason);
            problems.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(
            named(&problems),
            ["nowhere UnknownVersion", "outbound UnknownVersion"]
        );
        assert_eq!(
            named(world.problems_of_policy()),
            ["T InvalidValue", "t UnknownVersion"]
        );
        assert!(world.routes.is_empty() && !world.namespaces.contains("far"));
    }
}
