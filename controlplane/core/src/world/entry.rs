//! An entry is one parsed object: its checked form, and the problems that depend on this object alone. A source may
//! keep an entry until the object changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::api::backend_tls_policy::{self, BackendTlsPolicy};
use crate::api::endpoint_slice::EndpointSlice;
use crate::api::gateway::{CONTROLLER, Gateway};
use crate::api::known_fields;
use crate::api::reference_grant::ReferenceGrant;
use crate::api::route::Route;
use crate::api::service::{self, Service};
use crate::api::smi::route_group::{HttpRouteGroup, TcpRoute};
use crate::api::smi::traffic_split::TrafficSplit;
use crate::api::smi::traffic_target::TrafficTarget;
use crate::api::workload::Workload;
use crate::manifest::object::{Kind, Object};
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem};

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub kind: Kind,
    pub(super) source: String,
    pub(super) position: usize,
    /// The place of the object in its file, as in [`Object::place`].
    document: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) part: WorldPart,
    pub(super) problems: Vec<Problem>,
}

/// The checked form of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WorldPart {
    /// The object is refused, so it has no effect.
    None,
    /// The object exists, but only its name is used.
    Name,
    /// A GatewayClass with the controller name of Weir.
    OwnClass,
    Namespace(Arc<BTreeMap<String, String>>),
    Service(Arc<Service>),
    Endpoints(Arc<EndpointSlice>),
    TlsPolicy(Arc<BackendTlsPolicy>),
    /// The certificates of a ConfigMap.
    Certificates(Arc<str>),
    Gateway(Arc<Gateway>),
    Grant(Arc<ReferenceGrant>),
    Split(Arc<TrafficSplit>),
    Route(Arc<Route>),
    Group(Arc<HttpRouteGroup>),
    SmiTcpRoute(Arc<TcpRoute>),
    Target(Arc<TrafficTarget>),
    Workload(Arc<Workload>),
}

impl Entry {
    /// Parses an object. If the object cannot be parsed, the entry has only its name and the problem.
    pub fn of(object: &Object) -> Entry {
        let mut problems = Vec::new();
        let part = match &object.refused {
            Some(problem) => {
                let is_ours = object.kind.is_of_policy() || !Route::is_foreign(object);
                problems.extend(is_ours.then(|| problem.clone().of_whole()));
                WorldPart::None
            }
            None => WorldPart::of(object, &mut problems).unwrap_or_else(|problem| {
                problems.push(problem.of_whole());
                WorldPart::Name
            }),
        };
        Entry {
            kind: object.kind,
            source: object.source.clone(),
            position: object.position,
            document: object.place.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            part,
            problems,
        }
    }

    /// Returns an entry for an object that Weir does not keep in memory. The entry has only the name of the object and
    /// the problem.
    pub fn left_out(kind: Kind, problem: Problem) -> Entry {
        Entry {
            kind,
            source: problem.object.source.clone(),
            position: 0,
            document: String::new(),
            namespace: problem.object.namespace.clone(),
            name: problem.object.name.clone(),
            part: WorldPart::Name,
            problems: vec![problem],
        }
    }

    /// Returns the path of the file; empty for an object of a cluster.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the file, and the position of the object among the objects of the file. If two objects have the same
    /// name, Weir uses the object with the lower place.
    pub fn place(&self) -> (&str, usize) {
        (&self.source, self.position)
    }

    /// Returns the place of the object in the file, such as `documents[2]`.
    pub fn document(&self) -> &str {
        &self.document
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the endpoints if the object is an EndpointSlice with endpoints that proxies can use.
    pub fn endpoint_slice(&self) -> Option<&Arc<EndpointSlice>> {
        match &self.part {
            WorldPart::Endpoints(slice) => Some(slice),
            _ => None,
        }
    }

    pub fn tls_policy(&self) -> Option<&BackendTlsPolicy> {
        match &self.part {
            WorldPart::TlsPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    /// True if the object is refused: its metadata is invalid, or kubectl would read one of its numbers differently.
    /// The kind is known, but the object has no effect. See [`Object::refused`].
    pub fn is_refused(&self) -> bool {
        self.part == WorldPart::None
    }

    /// True if no problem of the object itself has an effect on traffic.
    pub fn is_valid(&self) -> bool {
        let mut problems = self.problems.iter();
        problems.all(|problem| problem.effect.extent == Extent::Nothing)
            && self.translation_problems().next().is_none()
    }

    /// Returns the problems of the object that translation reports. These problems depend on the object alone, but
    /// translation can add information to them. All of them have an effect on traffic.
    fn translation_problems(&self) -> impl Iterator<Item = Problem> {
        let route = match &self.part {
            WorldPart::Route(route) => Some(route),
            _ => None,
        };
        route.into_iter().flat_map(|route| route.port_names())
    }

    /// True if the configuration of proxies contains at least a part of the object.
    pub fn is_served(&self) -> bool {
        let mut problems = self.problems.iter();
        problems.all(|problem| problem.effect.extent != Extent::Whole)
    }

    /// Returns the path and the code of each problem with an effect on traffic.
    fn faults(&self) -> BTreeSet<(String, &'static str)> {
        let problems = self.problems.iter().cloned();
        let problems = problems.chain(self.translation_problems());
        let faults = problems.filter(|problem| problem.effect.extent != Extent::Nothing);
        faults.map(|problem| (problem.path, problem.code)).collect()
    }

    /// True if an older form of the same object (`form`) already has all problems of this entry. Ignores problems
    /// without an effect on traffic.
    pub fn is_no_worse_than(&self, form: &Entry) -> bool {
        self.is_valid() || self.faults().is_subset(&form.faults())
    }

    /// Returns this entry with the content of `form`, an older form of the object. Proxies continue to use `form`. A
    /// problem that `form` has too keeps its effect on traffic. All other problems of this entry get `effect`.
    pub fn held_as(&self, form: &Entry, effect: Effect) -> Entry {
        let form_faults = form.faults();
        let is_of_form = |it: &Problem| form_faults.contains(&(it.path.clone(), it.code));
        let own = self.problems.iter().cloned().map(|problem| {
            if is_of_form(&problem) {
                problem
            } else {
                problem.with_effect(effect.clone())
            }
        });
        // Translation reads `form`, so translation already reports the problems that `form` has too.
        let new_problems = self.translation_problems().filter(|it| !is_of_form(it));
        let new_problems = new_problems.map(|it| it.with_effect(effect.clone()));
        Entry {
            part: form.part.clone(),
            problems: own.chain(new_problems).collect(),
            ..self.clone()
        }
    }

    /// Returns the problems that depend on the object alone.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the same object with more problems.
    pub fn with_problems(&self, more: impl IntoIterator<Item = Problem>) -> Entry {
        let mut entry = self.clone();
        entry.problems.extend(more);
        entry
    }

    /// Returns the same object after its file was renamed.
    pub fn moved_to(&self, source: &str) -> Entry {
        let mut entry = self.clone();
        entry.source = source.to_owned();
        for problem in &mut entry.problems {
            problem.object.source = source.to_owned();
        }
        entry
    }

    /// True if both entries have the same kind, namespace and name.
    pub(super) fn is_same_object(&self, other: &Entry) -> bool {
        let is_named = !self.name.is_empty();
        is_named
            && (self.kind, &self.namespace, &self.name)
                == (other.kind, &other.namespace, &other.name)
    }

    pub(super) fn reference(&self) -> ObjectRef {
        ObjectRef {
            source: self.source.clone(),
            kind: self.kind.to_string(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl WorldPart {
    fn of(object: &Object, problems: &mut Vec<Problem>) -> Result<WorldPart, Problem> {
        if matches!(
            object.kind,
            Kind::Namespace | Kind::Service | Kind::Gateway | Kind::ReferenceGrant
        ) {
            problems.extend(known_fields::problems(object));
        }
        Ok(match object.kind {
            Kind::GatewayClass => {
                let controller = object.body.pointer("/spec/controllerName");
                if controller.and_then(Value::as_str) == Some(CONTROLLER) {
                    WorldPart::OwnClass
                } else {
                    WorldPart::Name
                }
            }
            Kind::Namespace => WorldPart::Namespace(service::namespace_labels(object)?.into()),
            Kind::Service => WorldPart::Service(Service::parse(object, problems)?.into()),
            Kind::EndpointSlice => match EndpointSlice::parse(object, problems)? {
                None => WorldPart::Name,
                Some(slice) => WorldPart::Endpoints(slice.into()),
            },
            Kind::BackendTlsPolicy => {
                WorldPart::TlsPolicy(BackendTlsPolicy::parse(object, problems)?.into())
            }
            // A ConfigMap without certificates is not for Weir.
            Kind::ConfigMap => match backend_tls_policy::certificates(object) {
                None => WorldPart::None,
                Some(certificates) => WorldPart::Certificates(certificates),
            },
            Kind::Gateway => {
                let (gateway, listener_problems) = Gateway::parse(object)?;
                problems.extend(listener_problems);
                WorldPart::Gateway(gateway.into())
            }
            Kind::ReferenceGrant => {
                let grant = ReferenceGrant::parse(object)?;
                problems.extend(grant.mistakes());
                WorldPart::Grant(grant.into())
            }
            Kind::TrafficSplit => WorldPart::Split(TrafficSplit::parse(object)?.into()),
            Kind::HttpRoute | Kind::LinkerdHttpRoute | Kind::GrpcRoute | Kind::TcpRoute => {
                match Route::parse(object, problems)? {
                    None => WorldPart::Name,
                    Some(route) => WorldPart::Route(route.into()),
                }
            }
            Kind::HttpRouteGroup => {
                let (group, match_problems) = HttpRouteGroup::parse(object)?;
                problems.extend(match_problems);
                WorldPart::Group(group.into())
            }
            Kind::SmiTcpRoute => WorldPart::SmiTcpRoute(TcpRoute::parse(object)?.into()),
            Kind::TrafficTarget => {
                let (target, part_problems) = TrafficTarget::parse(object)?;
                problems.extend(part_problems);
                WorldPart::Target(target.into())
            }
            Kind::Workload(_) => match Workload::parse(object)? {
                None => WorldPart::Name,
                Some(workload) => WorldPart::Workload(workload.into()),
            },
        })
    }
}
