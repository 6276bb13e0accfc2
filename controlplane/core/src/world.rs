//! The world is a snapshot of all objects that translation reads. The order of the input objects does not change the
//! world.

mod entry;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use entry::Entry;
use entry::WorldPart;

use crate::api::backend_tls_policy::BackendTlsPolicy;
use crate::api::endpoint_slice::EndpointSlice;
use crate::api::gateway::Gateway;
use crate::api::reference_grant::ReferenceGrant;
use crate::api::route::{Route, RouteKind};
use crate::api::service::Service;
use crate::api::smi::route_group::{HttpRouteGroup, TcpRoute};
use crate::api::smi::traffic_split::TrafficSplit;
use crate::api::smi::traffic_target::TrafficTarget;
use crate::api::workload::Workload;
use crate::manifest::object::{Kind, Object};
use crate::manifest::problem::messages::object as messages;
use crate::manifest::problem::{ObjectRef, Problem};

/// The namespace and the name of an object.
pub type Key = (String, String);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    services: BTreeMap<Key, Arc<Service>>,
    /// Sorted by namespace and name. Empty if the source reads EndpointSlices apart from the other objects.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Sorted by namespace and name.
    pub tls_policies: Vec<Arc<BackendTlsPolicy>>,
    /// The certificates in ConfigMaps.
    certificates: BTreeMap<Key, Arc<str>>,
    gateways: BTreeMap<Key, Arc<Gateway>>,
    /// GatewayClasses with the controller name of Weir.
    own_classes: BTreeSet<String>,
    /// The labels of Namespace objects, by name of the namespace.
    labels: BTreeMap<String, Arc<BTreeMap<String, String>>>,
    /// The grants by their namespace. A grant permits references to objects in its own namespace.
    grants: BTreeMap<String, Vec<Arc<ReferenceGrant>>>,
    /// Sorted by namespace and name.
    pub splits: Vec<Arc<TrafficSplit>>,
    /// Sorted by kind, namespace and name.
    pub routes: Vec<Arc<Route>>,
    groups: BTreeMap<Key, Arc<HttpRouteGroup>>,
    /// HTTPRouteGroups that Weir cannot use because of their own problems.
    broken_groups: BTreeSet<Key>,
    access: PolicyObjects,
    /// Every namespace with a Namespace object, or with an object in it.
    pub namespaces: BTreeSet<String>,
}

/// The objects that only the access policy uses. They are in the world even without an access policy, but have no
/// effect then.
#[derive(Clone, Debug, Default, PartialEq)]
struct PolicyObjects {
    tcp_routes: BTreeMap<Key, Arc<TcpRoute>>,
    /// Sorted by namespace and name.
    targets: Vec<Arc<TrafficTarget>>,
    /// The workloads by namespace.
    workloads: BTreeMap<String, Vec<Arc<Workload>>>,
    /// The problems of these objects, sorted.
    problems: Vec<Problem>,
}

impl World {
    /// Parses objects and returns the same as [`World::of`].
    pub fn from_objects(objects: impl IntoIterator<Item = Object>) -> (World, Vec<Problem>) {
        let entries = objects.into_iter().map(|object| Entry::of(&object));
        World::of(&entries.collect::<Vec<_>>())
    }

    /// Returns the world and the problems of the objects. An object with a mistake has no effect on the other objects.
    /// If several objects have the same kind, namespace and name, the world has only the first by file and position.
    pub fn of<E: Borrow<Entry>>(entries: &[E]) -> (World, Vec<Problem>) {
        let mut entries: Vec<&Entry> = entries.iter().map(Borrow::borrow).collect();
        entries.sort_by_key(|entry| {
            // Two objects without a name, such as Pods with generateName, are never duplicates.
            let nameless = entry.name.is_empty();
            let place = (&entry.source, entry.position);
            let own = nameless.then_some(place);
            (entry.kind, &entry.namespace, &entry.name, own, place)
        });
        let mut world = World::default();
        let mut problems = Vec::new();
        let mut first: Option<&Entry> = None;
        for entry in entries {
            let target = if entry.kind.is_of_policy() {
                &mut world.access.problems
            } else {
                &mut problems
            };
            if entry.part == WorldPart::None {
                target.extend(entry.problems.iter().cloned());
                continue;
            }
            match first.filter(|first| entry.is_same_object(first)) {
                Some(other) => {
                    let message = messages::duplicate(&other.source, &entry.source);
                    target.push(entry.reference().problem("", message));
                }
                None => {
                    target.extend(entry.problems.iter().cloned());
                    world.add(entry);
                    first = Some(entry);
                }
            }
        }
        world.access.problems.sort();
        problems.sort();
        (world, problems)
    }

    fn add(&mut self, entry: &Entry) {
        let namespace = match entry.kind {
            Kind::Namespace => &entry.name,
            _ => &entry.namespace,
        };
        let is_new = !namespace.is_empty() && !self.namespaces.contains(namespace);
        if is_new && !entry.kind.is_of_policy() && entry.kind != Kind::ConfigMap {
            self.namespaces.insert(namespace.clone());
        }
        let own = || entry.namespace.clone();
        let key = || (own(), entry.name.clone());
        let access = &mut self.access;
        match &entry.part {
            WorldPart::Name if entry.kind == Kind::HttpRouteGroup => {
                self.broken_groups.insert(key());
            }
            WorldPart::None | WorldPart::Name => {}
            WorldPart::OwnClass => drop(self.own_classes.insert(entry.name.clone())),
            WorldPart::Namespace(it) => drop(self.labels.insert(entry.name.clone(), it.clone())),
            WorldPart::Service(it) => drop(self.services.insert(key(), it.clone())),
            WorldPart::Endpoints(it) => self.slices.push(it.clone()),
            WorldPart::TlsPolicy(it) => self.tls_policies.push(it.clone()),
            WorldPart::Certificates(it) => drop(self.certificates.insert(key(), it.clone())),
            WorldPart::Gateway(it) => drop(self.gateways.insert(key(), it.clone())),
            WorldPart::Grant(it) => self.grants.entry(own()).or_default().push(it.clone()),
            WorldPart::Split(it) => self.splits.push(it.clone()),
            WorldPart::Route(it) => self.routes.push(it.clone()),
            WorldPart::Group(it) => drop(self.groups.insert(key(), it.clone())),
            WorldPart::SmiTcpRoute(it) => drop(access.tcp_routes.insert(key(), it.clone())),
            WorldPart::Target(it) => access.targets.push(it.clone()),
            WorldPart::Workload(it) => access.workloads.entry(own()).or_default().push(it.clone()),
        }
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.services.get(&key)
    }

    /// Returns the certificates in the ConfigMap, in PEM.
    pub fn certificates(&self, namespace: &str, name: &str) -> Option<&str> {
        let key = (namespace.to_owned(), name.to_owned());
        self.certificates.get(&key).map(Arc::as_ref)
    }

    pub fn gateway(&self, namespace: &str, name: &str) -> Option<&Gateway> {
        let key = (namespace.to_owned(), name.to_owned());
        self.gateways.get(&key).map(Arc::as_ref)
    }

    /// Returns the namespaces that have a Gateway with this name.
    pub fn namespaces_of_gateways(&self, name: &str) -> Vec<&str> {
        let gateways = self.gateways.keys();
        let named = gateways.filter(|(_, it)| it == name);
        named.map(|(namespace, _)| namespace.as_str()).collect()
    }

    /// Returns every Gateway. The value is true if the class of the Gateway belongs to Weir.
    pub fn owned_gateways(&self) -> BTreeMap<Key, bool> {
        let is_own = |gateway: &Gateway| self.own_classes.contains(&gateway.class);
        let gateways = self.gateways.iter();
        gateways
            .map(|(key, gateway)| (key.clone(), is_own(gateway)))
            .collect()
    }

    /// Returns the labels of a namespace. Always includes the label `kubernetes.io/metadata.name`, because Kubernetes
    /// adds this label to each namespace.
    pub fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let labels = self.labels.get(namespace);
        let mut labels = labels.map_or_else(BTreeMap::new, |labels| labels.as_ref().clone());
        let name = "kubernetes.io/metadata.name".to_owned();
        labels.insert(name, namespace.to_owned());
        labels
    }

    pub fn groups(&self) -> impl Iterator<Item = &HttpRouteGroup> {
        self.groups.values().map(Arc::as_ref)
    }

    /// Returns the world without these objects. If one of these objects is an HTTPRouteGroup, it becomes a broken
    /// group.
    #[must_use]
    pub fn without(&self, out: &BTreeSet<&ObjectRef>) -> World {
        let mut world = self.clone();
        world.splits.retain(|it| !out.contains(&it.object));
        world.routes.retain(|it| !out.contains(&it.object));
        world.access.targets.retain(|it| !out.contains(&it.object));
        for (key, group) in &self.groups {
            if out.contains(&group.object) {
                world.groups.remove(key);
                world.broken_groups.insert(key.clone());
            }
        }
        world
    }

    pub fn group(&self, namespace: &str, name: &str) -> Option<&HttpRouteGroup> {
        let key = (namespace.to_owned(), name.to_owned());
        self.groups.get(&key).map(Arc::as_ref)
    }

    /// True if the HTTPRouteGroup exists, but Weir cannot use it because of a problem of the group itself.
    pub fn has_broken_group(&self, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        self.broken_groups.contains(&key)
    }

    /// Returns the TCPRoute of the group `specs.smi-spec.io`.
    pub fn smi_tcp_route(&self, namespace: &str, name: &str) -> Option<&TcpRoute> {
        let key = (namespace.to_owned(), name.to_owned());
        self.access.tcp_routes.get(&key).map(Arc::as_ref)
    }

    /// Returns the TrafficTargets, sorted by namespace and name.
    pub fn traffic_targets(&self) -> &[Arc<TrafficTarget>] {
        &self.access.targets
    }

    /// Returns the problems of objects that only the access policy uses. Weir does not report these problems if there
    /// is no access policy.
    pub fn problems_of_policy(&self) -> &[Problem] {
        &self.access.problems
    }

    /// Returns the ServiceAccounts (`NAMESPACE/NAME`) of the pods that the Service selects. Returns an empty set if the
    /// Service selects no pods.
    pub fn accounts(&self, service: &Service) -> BTreeSet<String> {
        let namespace = &service.object.namespace;
        let workloads = self.access.workloads.get(namespace).into_iter().flatten();
        let selected = workloads.filter(|workload| workload.fits(&service.selector));
        selected
            .map(|workload| format!("{namespace}/{}", workload.account))
            .collect()
    }

    /// True if a route of this kind in namespace `from` may refer to the Service `name` in namespace `to`.
    pub fn permits_service(&self, kind: RouteKind, from: &str, to: &str, name: &str) -> bool {
        let mut grants = self.grants.get(to).into_iter().flatten();
        from == to || grants.any(|grant| grant.permits_service(kind, from, to, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;
    use crate::manifest::problem::Reason;

    fn service(source: &str, name: &str, spec: &str) -> Vec<Object> {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        );
        read(source, &text).unwrap().objects
    }

    #[test]
    fn order_of_duplicates_does_not_matter() {
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
        assert!(world.service("shop", "web").unwrap().port(1).is_some());
        assert!(world.service("shop", "other").is_none());
        let reasons: Vec<_> = problems.iter().map(|p| p.reason).collect();
        assert_eq!(reasons, [Reason::Duplicate, Reason::InvalidValue]);
        assert!(problems[0].cause.contains("a.yaml") && problems[0].cause.contains("b.yaml"));
        assert!(world.namespaces.contains("shop"));
    }

    #[test]
    fn foreign_objects_are_no_problem() {
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
