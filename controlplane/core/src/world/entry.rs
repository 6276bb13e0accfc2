//! One object as the world takes it in: what is read of it, and what is wrong with it in itself. It depends on
//! nothing but the object, so a source may keep it for as long as the object stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

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
    /// As [`Object::place`].
    document: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) problems: Vec<Problem>,
}

/// What of the world an object is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// As if it were not there.
    None,
    /// It is there, and nothing in it is of use.
    Name,
    /// A GatewayClass that is Weir's.
    OwnClass,
    Namespace(Arc<BTreeMap<String, String>>),
    Service(Arc<Service>),
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
    /// Of an object that is wrong in itself only the problem is left.
    pub fn of(object: &Object) -> Entry {
        let mut problems = Vec::new();
        let part = match &object.refused {
            Some(problem) => {
                let is_ours = object.kind.is_of_policy() || !Route::is_foreign(object);
                problems.extend(is_ours.then(|| problem.clone().of_whole()));
                Part::None
            }
            None => Part::of(object, &mut problems).unwrap_or_else(|problem| {
                problems.push(problem.of_whole());
                Part::Name
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

    /// An object of a cluster that is not kept: only its name and the problem are.
    pub fn left_out(kind: Kind, problem: Problem) -> Entry {
        Entry {
            kind,
            source: problem.object.source.clone(),
            position: 0,
            document: String::new(),
            namespace: problem.object.namespace.clone(),
            name: problem.object.name.clone(),
            part: Part::Name,
            problems: vec![problem],
        }
    }

    /// The file.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// File and place among its objects; of two equal objects the first one counts.
    pub fn place(&self) -> (&str, usize) {
        (&self.source, self.position)
    }

    /// The place in the file, in words.
    pub fn document(&self) -> &str {
        &self.document
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it could not even be told which object it is.
    pub fn is_refused(&self) -> bool {
        self.part == Part::None
    }

    /// Whether all of it is done as it is written, as far as that depends on itself.
    pub fn is_valid(&self) -> bool {
        let mut problems = self.problems.iter();
        problems.all(|problem| problem.effect.extent == Extent::Nothing)
            && self.left_to_translation().next().is_none()
    }

    /// What is wrong with the object in itself and said by translation, which can say more of it.
    fn left_to_translation(&self) -> impl Iterator<Item = Problem> {
        let route = match &self.part {
            Part::Route(route) => Some(route),
            _ => None,
        };
        route.into_iter().flat_map(|route| route.port_names())
    }

    /// Whether at least a part of it does something.
    pub fn is_served(&self) -> bool {
        let mut problems = self.problems.iter();
        problems.all(|problem| problem.effect.extent != Extent::Whole)
    }

    /// Where and how it is not done as it is written: paths and codes.
    fn faults(&self) -> BTreeSet<(String, &'static str)> {
        let problems = self.problems.iter().cloned();
        let problems = problems.chain(self.left_to_translation());
        let faults = problems.filter(|problem| problem.effect.extent != Extent::Nothing);
        faults.map(|problem| (problem.path, problem.code)).collect()
    }

    /// Whether all that is wrong with it is wrong with `form` too, which is in force.
    pub fn is_no_worse_than(&self, form: &Entry) -> bool {
        self.is_valid() || self.faults().is_subset(&form.faults())
    }

    /// `form`, an older form of this object, in its place. What is wrong with this one alone has `effect`.
    pub fn held_as(&self, form: &Entry, effect: Effect) -> Entry {
        let of_form = form.faults();
        let is_of_form = |it: &Problem| of_form.contains(&(it.path.clone(), it.code));
        let own = self
            .problems
            .iter()
            .cloned()
            .map(|problem| match is_of_form(&problem) {
                true => problem,
                false => problem.with_effect(effect.clone()),
            });
        // Translation says those that the form has as well.
        let of_translation = self.left_to_translation().filter(|it| !is_of_form(it));
        let of_translation = of_translation.map(|it| it.with_effect(effect.clone()));
        Entry {
            part: form.part.clone(),
            problems: own.chain(of_translation).collect(),
            ..self.clone()
        }
    }

    /// What is wrong with it in itself.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The same object, with more to say of it.
    pub fn with_problems(&self, more: impl IntoIterator<Item = Problem>) -> Entry {
        let mut entry = self.clone();
        entry.problems.extend(more);
        entry
    }

    /// The same object, after its file got another name.
    pub fn moved_to(&self, source: &str) -> Entry {
        let mut entry = self.clone();
        entry.source = source.to_owned();
        for problem in &mut entry.problems {
            problem.object.source = source.to_owned();
        }
        entry
    }

    /// Whether it is the same object, in another place.
    pub(super) fn is_also(&self, other: &Entry) -> bool {
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

impl Part {
    fn of(object: &Object, problems: &mut Vec<Problem>) -> Result<Part, Problem> {
        if matches!(
            object.kind,
            Kind::Namespace | Kind::Service | Kind::Gateway | Kind::ReferenceGrant
        ) {
            problems.extend(known_fields::problems(object));
        }
        Ok(match object.kind {
            Kind::GatewayClass => {
                let controller = object.body.pointer("/spec/controllerName");
                match controller.and_then(Value::as_str) == Some(CONTROLLER) {
                    true => Part::OwnClass,
                    false => Part::Name,
                }
            }
            Kind::Namespace => Part::Namespace(service::namespace_labels(object)?.into()),
            Kind::Service => Part::Service(Service::parse(object)?.into()),
            Kind::Gateway => {
                let (gateway, of_listeners) = Gateway::parse(object)?;
                problems.extend(of_listeners);
                Part::Gateway(gateway.into())
            }
            Kind::ReferenceGrant => {
                let grant = ReferenceGrant::parse(object)?;
                problems.extend(grant.slips());
                Part::Grant(grant.into())
            }
            Kind::TrafficSplit => Part::Split(TrafficSplit::parse(object)?.into()),
            Kind::HttpRoute | Kind::LinkerdHttpRoute | Kind::GrpcRoute | Kind::TcpRoute => {
                match Route::parse(object, problems)? {
                    None => Part::Name,
                    Some(route) => Part::Route(route.into()),
                }
            }
            Kind::HttpRouteGroup => {
                let (group, of_matches) = HttpRouteGroup::parse(object)?;
                problems.extend(of_matches);
                Part::Group(group.into())
            }
            Kind::SmiTcpRoute => Part::SmiTcpRoute(TcpRoute::parse(object)?.into()),
            Kind::TrafficTarget => {
                let (target, of_parts) = TrafficTarget::parse(object)?;
                problems.extend(of_parts);
                Part::Target(target.into())
            }
            Kind::Workload(_) => match Workload::parse(object)? {
                None => Part::Name,
                Some(workload) => Part::Workload(workload.into()),
            },
        })
    }
}
