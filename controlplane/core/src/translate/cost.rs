//! Computes the cost of each object before translation: the bytes that the object adds to the configuration of each
//! proxy that gets the object.
//!
//! A place is a port of a Service, or a host or port of a Gateway. If several objects select the same place, only some
//! of these objects may get requests there. The cost ignores such conflicts, so it does not depend on other objects. If
//! many parts are equal, such as the same backends at each port, this module computes the bytes of one part and
//! multiplies.

mod match_count;
mod route_cost;
mod split_cost;
mod split_ports;
mod target_cost;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use serde::Serialize;
use weir_split::wire::{Filters, Match, Permission};

use self::split_ports::SplitPorts;
use crate::api::service::Service;
use crate::api::smi::route_group::HttpRouteGroup;
use crate::api::smi::traffic_target::Policy;
use crate::manifest::patterns::Programs;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::plan::Audience;
use crate::translate::budget::{Cost, Costly, Limits, Parts, over};
use crate::translate::precedence::Seniority;
use crate::world::{Key, World};

/// Bytes of the field names, the punctuation and the numbers of a backend, of a match, and of a host set (hosts with
/// their matches). A host set counts 70 bytes more than its text, because a proxy needs more memory for a host set than
/// for other text of the same length.
const BACKEND: u64 = 70;
const MATCH: u64 = 20;
const SET: u64 = 220;
/// Bytes of the field names, the punctuation and the numbers of a mirror, including the list around it.
const MIRROR: u64 = 160;
/// A rule can name the Service that clients call. Bytes of the field names, the punctuation and the numbers of this
/// name.
const CALLED: u64 = 80;

/// Leaves out the objects that have too many matches or are over a limit, and adds a problem for each. Returns a world
/// without these objects; None if no object is left out.
pub fn within(
    world: &World,
    policy: Policy,
    limits: &Limits,
    problems: &mut BTreeSet<Problem>,
) -> Option<World> {
    let too_many = match_count::too_many(world);
    let counted = without(world, &too_many);
    problems.extend(too_many);
    let world = counted.as_ref().unwrap_or(world);
    let mut costs = Costs::new(world, policy);
    let objects = costs.costly();
    let over = over(objects, limits, |object| costs.of(object));
    let within = without(world, &over);
    problems.extend(over);
    within.or(counted)
}

fn without(world: &World, problems: &[Problem]) -> Option<World> {
    let out: BTreeSet<&ObjectRef> = problems.iter().map(|problem| &problem.object).collect();
    (!out.is_empty()).then(|| world.without(&out))
}

/// An object that adds bytes to documents (configurations of proxies as JSON), so it has a cost.
#[derive(Clone, Copy)]
enum CostlyObject<'w> {
    Route(&'w crate::api::route::Route),
    Split(&'w crate::api::smi::traffic_split::TrafficSplit),
    Target(&'w crate::api::smi::traffic_target::TrafficTarget),
    Group(&'w HttpRouteGroup),
}

struct Costs<'w> {
    world: &'w World,
    policy: Policy,
    subjects: BTreeMap<&'w ObjectRef, CostlyObject<'w>>,
    /// Bytes of the ServiceAccounts of a Service, by namespace and name of the Service.
    accounts: BTreeMap<Key, u64>,
    /// Matches of an HTTPRouteGroup, by namespace and name of the group.
    groups: BTreeMap<Key, Vec<GroupMatch<'w>>>,
    split_ports: SplitPorts,
}

/// A match of an HTTPRouteGroup.
#[derive(Clone, Copy)]
struct GroupMatch<'w> {
    name: &'w str,
    /// Bytes of the match as JSON.
    bytes: u64,
    /// Number of methods, at least 1. A split has one match for each method.
    methods: u64,
}

impl<'w> Costs<'w> {
    fn new(world: &'w World, policy: Policy) -> Costs<'w> {
        let routes = world.routes.iter();
        let routes = routes.map(|it| (&it.object, CostlyObject::Route(it)));
        let splits = world.splits.iter();
        let splits = splits.map(|it| (&it.object, CostlyObject::Split(it)));
        let targets = match policy {
            Policy::Unstated | Policy::Permissive => &[],
            Policy::Smi => world.traffic_targets(),
        };
        let targets = targets
            .iter()
            .map(|it| (&it.object, CostlyObject::Target(it)));
        let groups = world
            .groups()
            .map(|it| (&it.object, CostlyObject::Group(it)));
        Costs {
            world,
            policy,
            subjects: routes.chain(splits).chain(targets).chain(groups).collect(),
            accounts: BTreeMap::new(),
            groups: BTreeMap::new(),
            split_ports: SplitPorts::of(world),
        }
    }

    fn costly(&self) -> Vec<Costly> {
        let costly = |(object, subject): (&&ObjectRef, &CostlyObject)| {
            let (created, min_bytes) = match subject {
                CostlyObject::Route(it) => (it.created, route_cost::min_bytes(it)),
                CostlyObject::Split(it) => (it.created, split_cost::min_bytes(it)),
                CostlyObject::Target(it) => (it.created, target_cost::min_bytes(it)),
                CostlyObject::Group(it) => (it.created, programs(it.programs).bytes),
            };
            Costly {
                object: (*object).clone(),
                age: Seniority::new(object, created),
                min_bytes,
            }
        };
        self.subjects.iter().map(costly).collect()
    }

    fn of(&mut self, object: &ObjectRef) -> Parts {
        match self.subjects.get(object) {
            Some(CostlyObject::Route(it)) => self.of_route(it),
            Some(CostlyObject::Split(it)) => self.of_split(it),
            Some(CostlyObject::Target(it)) => self.of_target(it),
            // The matches of a group count in the cost of the objects that refer to the group.
            Some(CostlyObject::Group(it)) => {
                [(Audience::Everyone, programs(it.programs).into())].into()
            }
            None => Parts::new(),
        }
    }

    /// Returns the bytes of the ServiceAccounts of the pods that a backend selects.
    fn accounts(&mut self, namespace: &str, name: &str) -> u64 {
        let Some(service) = self.service_of_policy(namespace, name) else {
            return 0;
        };
        let world = self.world;
        let accounts = self.accounts.entry((namespace.to_owned(), name.to_owned()));
        *accounts.or_insert_with(|| world.accounts(service).iter().map(|it| text(it)).sum())
    }

    fn service_of_policy(&self, namespace: &str, name: &str) -> Option<&'w Service> {
        match self.policy {
            Policy::Unstated | Policy::Permissive => None,
            Policy::Smi => self.world.service(namespace, name).map(Arc::as_ref),
        }
    }

    fn group(&mut self, namespace: &str, name: &str) -> &[GroupMatch<'w>] {
        let world = self.world;
        let group = self.groups.entry((namespace.to_owned(), name.to_owned()));
        group.or_insert_with(|| {
            let group = world.group(namespace, name);
            let matches = group.into_iter().flat_map(|group| &group.matches);
            let matches = matches.filter_map(|it| {
                let condition: &Permission = it.condition.as_ref()?;
                Some(GroupMatch {
                    name: &it.name,
                    bytes: json(condition),
                    methods: count(condition.methods.len()).max(1),
                })
            });
            matches.collect()
        })
    }
}

fn programs(programs: Programs) -> Cost {
    Cost {
        bytes: count(programs.bytes).saturating_mul(3),
        expressions: count(programs.count),
    }
}

/// Returns the bytes of the host set of a Service, without the matches.
fn set_of_service(service: &Service) -> u64 {
    let ips = service.cluster_ips.len();
    let name = text(&service.object.name) + text(&service.object.namespace);
    SET + name + count(ips).saturating_mul(45)
}

/// Returns the bytes of a text in a document, with its quotes and a comma.
fn text(text: &str) -> u64 {
    count(text.len()) + 3
}

fn filters(filters: &Filters) -> u64 {
    if filters.is_empty() {
        0
    } else {
        json(filters) + 12
    }
}

/// Returns the bytes of a match without the identity of its rule.
fn bytes_of_match(wire: &Match) -> u64 {
    json(wire)
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Returns the bytes of a value as JSON.
fn json(value: &impl Serialize) -> u64 {
    struct Counter(u64);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(count(bytes.len()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        // This cannot happen. With this cost, which is over every limit, Weir would leave out the object.
        Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests;
