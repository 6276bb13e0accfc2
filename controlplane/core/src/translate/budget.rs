//! Limits for the cost of objects in proxies.
//!
//! A scope is the part of all rules that a group of proxies gets, such as the proxies of one namespace. A document is
//! the configuration of one scope as JSON. Every proxy keeps the whole document of its scope in memory. Without limits,
//! the objects of one namespace could fill the memory of all proxies.
//!
//! So there are limits for one object, for all objects of one namespace, and for the document of one scope. If a
//! namespace is over its limit, Weir leaves out its youngest objects. If a document is over its limit, Weir leaves out
//! the youngest objects of the namespace with the highest cost. All other objects stay.
//!
//! The functions are pure: they get costs, and return a problem for each object that Weir must leave out.
//! `crate::translate::cost` computes the costs.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::manifest::problem::messages::budget as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::plan::{Audience, Scope};
use crate::translate::precedence::Seniority;

/// The limits. [`Cost`] describes how bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum bytes of one object.
    pub object: u64,
    /// Maximum bytes of all objects of one namespace.
    pub namespace: u64,
    /// Maximum bytes of the document of one scope. Envoy accepts at most 32 MiB.
    pub scope: u64,
    /// Maximum number of regular expressions in all objects of one namespace.
    pub namespace_expressions: u64,
    /// Maximum number of regular expressions in the document of one scope.
    pub scope_expressions: u64,
}

/// An Envoy with two workers needs about 24 bytes of memory for each byte of cost if the objects are small splits.
/// Other objects need less. So with the default limits, the objects of one namespace take at most 25 MiB in each Envoy.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            object: 1 << 20,
            namespace: 1 << 20,
            scope: 16 << 20,
            namespace_expressions: 256,
            scope_expressions: 2_048,
        }
    }
}

impl Limits {
    /// Returns the limit for objects of all namespaces in one document: the limit of a scope minus the limit of a
    /// namespace. The rest of the document is reserved for objects that only the proxies of one namespace get, so that
    /// these objects never displace objects of other namespaces.
    fn shared(&self) -> Cost {
        Cost {
            bytes: self.scope.saturating_sub(self.namespace),
            expressions: self
                .scope_expressions
                .saturating_sub(self.namespace_expressions),
        }
    }

    fn of_namespace(&self) -> Cost {
        Cost {
            bytes: self.namespace,
            expressions: self.namespace_expressions,
        }
    }

    fn of_scope(&self) -> Cost {
        Cost {
            bytes: self.scope,
            expressions: self.scope_expressions,
        }
    }
}

/// A number of bytes on the command line, such as `1048576`, `1024Ki` or `1Mi`. The number is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Bytes, &'static str> {
        let (digits, shift) = match (text.strip_suffix("Ki"), text.strip_suffix("Mi")) {
            (Some(digits), _) => (digits, 10),
            (_, Some(digits)) => (digits, 20),
            (None, None) => (text, 0),
        };
        let number = digits.parse::<u64>().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << shift));
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Bytes)
            .ok_or("write a number of bytes, such as 1Mi, 512Ki or 1048576")
    }
}

/// The cost of an object in each proxy that gets the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Bytes of the object in the document, plus three times the bytes of its compiled regular expressions. A compiled
    /// expression counts once for itself, and twice for the automata of two workers.
    pub bytes: u64,
    /// Number of regular expressions. Equal expressions of one object count once.
    pub expressions: u64,
}

impl Cost {
    pub fn of_bytes(bytes: u64) -> Cost {
        Cost {
            bytes,
            expressions: 0,
        }
    }

    #[must_use]
    pub fn plus(self, other: Cost) -> Cost {
        Cost {
            bytes: self.bytes.saturating_add(other.bytes),
            expressions: self.expressions.saturating_add(other.expressions),
        }
    }

    fn minus(self, other: Cost) -> Cost {
        Cost {
            bytes: self.bytes.saturating_sub(other.bytes),
            expressions: self.expressions.saturating_sub(other.expressions),
        }
    }

    fn fits(self, limit: Cost) -> bool {
        self.bytes <= limit.bytes && self.expressions <= limit.expressions
    }
}

/// An object that needs memory in proxies.
#[derive(Clone, Debug)]
pub struct Costly {
    pub object: ObjectRef,
    pub age: Seniority,
    /// A lower bound for the bytes of the object. The bound is cheap to compute.
    pub min_bytes: u64,
}

/// The cost of an object for each audience (group of proxies) that gets the object. The sum of these costs counts
/// toward the limit of the object's namespace.
pub type Parts = BTreeMap<Audience, CostShare>;

/// The cost of an object in the proxies of one audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostShare {
    /// The part of the cost that no other namespace can change. In this part, a Service of another namespace counts as
    /// if it had one port and no ServiceAccounts. The limits of an object and of a namespace apply to this part.
    pub own: Cost,
    /// The whole cost. The limits of scopes apply to this cost.
    pub all: Cost,
}

impl From<Cost> for CostShare {
    fn from(all: Cost) -> CostShare {
        CostShare { own: all, all }
    }
}

impl CostShare {
    #[must_use]
    pub fn plus(self, other: CostShare) -> CostShare {
        CostShare {
            own: self.own.plus(other.own),
            all: self.all.plus(other.all),
        }
    }
}

/// Returns one problem for each object that Weir must leave out because of a limit. The result does not depend on the
/// order of `objects`.
///
/// This function calls `cost` for the oldest objects of a namespace first. As soon as a namespace is over its limit of
/// bytes, the function does not call `cost` for the younger objects of this namespace.
pub fn over(
    mut objects: Vec<Costly>,
    limits: &Limits,
    mut cost: impl FnMut(&ObjectRef) -> Parts,
) -> Vec<Problem> {
    objects.sort_by(|a, b| (&a.age, &a.object).cmp(&(&b.age, &b.object)));
    let mut by_namespace: BTreeMap<&str, Vec<&Costly>> = BTreeMap::new();
    for costly in &objects {
        let namespace = costly.object.namespace.as_str();
        by_namespace.entry(namespace).or_default().push(costly);
    }
    let mut problems = Vec::new();
    let mut fitting = Vec::new();
    for oldest_first in by_namespace.into_values() {
        fit_namespace(oldest_first, limits, &mut cost, &mut fitting, &mut problems);
    }
    problems.extend(over_scope(&fitting, limits));
    problems
}

/// An object that fits into the budget of its namespace.
struct FittingObject<'o> {
    object: &'o ObjectRef,
    parts: Parts,
}

/// Adds the objects of one namespace that fit to `fitting`, the oldest first. Adds a problem to `problems` for each
/// object that does not fit. As soon as the namespace is over its limit of bytes, no younger object fits. If the
/// namespace is over its limit of expressions, younger objects without expressions may still fit.
fn fit_namespace<'o>(
    oldest_first: Vec<&'o Costly>,
    limits: &Limits,
    cost: &mut impl FnMut(&ObjectRef) -> Parts,
    fitting: &mut Vec<FittingObject<'o>>,
    problems: &mut Vec<Problem>,
) {
    let limit = limits.of_namespace();
    // An object that alone is over the limit of its namespace is left out, and younger objects may still fit.
    let object_limit = limits.object.min(limits.namespace);
    let mut sum = Cost::default();
    let mut full = Full::default();
    for costly in oldest_first {
        let object = &costly.object;
        let namespace = &object.namespace;
        let mut leave_out = |message| problems.push(object.problem("", message));
        if costly.min_bytes > object_limit {
            leave_out(messages::over_object(costly.min_bytes, object_limit));
            continue;
        }
        let over_bytes = |bytes| messages::over_namespace(bytes, namespace, limit.bytes);
        if full.of_bytes {
            leave_out(over_bytes(costly.min_bytes));
            continue;
        }
        let parts = cost(object);
        let own = parts.values().map(|part| part.own);
        let own = own.fold(Cost::default(), Cost::plus);
        let with_own = sum.plus(own);
        let is_over = with_own.expressions > limit.expressions || full.of_expressions;
        if own.bytes > object_limit {
            leave_out(messages::over_object(own.bytes, object_limit));
        } else if own.expressions > 0 && is_over {
            full.of_expressions |= own.expressions <= limit.expressions;
            let (count, most) = (own.expressions, limit.expressions);
            leave_out(messages::over_namespace_expressions(count, namespace, most));
        } else if with_own.bytes > limit.bytes {
            full.of_bytes = true;
            leave_out(over_bytes(own.bytes));
        } else {
            sum = with_own;
            fitting.push(FittingObject { object, parts });
        }
    }
}

/// The limits of a namespace that are used up.
#[derive(Default)]
struct Full {
    of_bytes: bool,
    of_expressions: bool,
}

/// Returns a problem for each object that does not fit into the document of a scope.
fn over_scope(fitting: &[FittingObject], limits: &Limits) -> Vec<Problem> {
    let Shared {
        everyone,
        scopes,
        elsewhere,
    } = Shared::of(fitting);
    let mut out: BTreeMap<usize, Problem> = BTreeMap::new();
    drop_youngest(fitting, &everyone, limits.shared(), &mut out);
    let of_everyone = sum(&everyone);
    for (scope, shared) in &scopes {
        let mut shared = shared.clone();
        let is_gateway = matches!(scope, Scope::Gateway { .. });
        let limit = if is_gateway {
            limits.of_scope()
        } else {
            limits.shared()
        };
        let mut all = sum(&shared);
        if !is_gateway {
            all = all.plus(of_everyone);
        }
        if all.fits(limit) {
            continue;
        }
        if !is_gateway {
            shared.extend(&everyone);
            // `drop_youngest` drops the last object of a namespace, so the youngest object must be the last.
            shared.sort_by_key(|(index, _)| *index);
        }
        drop_youngest(fitting, &shared, limit, &mut out);
    }
    for (namespace, elsewhere) in elsewhere {
        let of_scope = scopes.get(&Scope::Namespace(namespace.to_owned()));
        let shared = everyone.iter().chain(of_scope.into_iter().flatten());
        let shared = shared.filter(|(index, _)| !out.contains_key(index));
        let shared = shared.fold(Cost::default(), |sum, it| sum.plus(it.1));
        let left = limits.shared().minus(shared).bytes;
        drop_elsewhere(fitting, &elsewhere, left.min(limits.namespace), &mut out);
    }
    out.into_values().collect()
}

fn sum(costs: &[(usize, Cost)]) -> Cost {
    let costs = costs.iter().map(|it| it.1);
    costs.fold(Cost::default(), Cost::plus)
}

/// Limits the cost that Services of other namespaces add to the objects of one namespace. `elsewhere` contains these
/// added costs, the oldest object first. Drops each object whose added cost does not fit. Objects without an added cost
/// are not dropped.
fn drop_elsewhere(
    fitting: &[FittingObject],
    elsewhere: &[(usize, Cost)],
    limit: u64,
    out: &mut BTreeMap<usize, Problem>,
) {
    let mut sum = 0_u64;
    for (index, cost) in elsewhere {
        let Some(it) = fitting.get(*index).filter(|_| !out.contains_key(index)) else {
            continue;
        };
        let with_own = sum.saturating_add(cost.bytes);
        if with_own <= limit {
            sum = with_own;
            continue;
        }
        let message = messages::over_elsewhere(cost.bytes, &it.object.namespace, limit);
        out.insert(*index, it.object.problem("", message));
    }
}

/// Drops the youngest objects of the costliest namespaces until the remaining objects fit.
fn drop_youngest(
    fitting: &[FittingObject],
    shared: &[(usize, Cost)],
    limit: Cost,
    out: &mut BTreeMap<usize, Problem>,
) {
    let mut pool = Pool::default();
    for (index, cost) in shared {
        if let Some(it) = fitting.get(*index).filter(|_| !out.contains_key(index)) {
            pool.add(&it.object.namespace, *index, *cost);
        }
    }
    while !pool.sum.fits(limit) {
        let is_over_bytes = pool.sum.bytes > limit.bytes;
        let Some((index, cost)) = pool.drop_youngest_of_costliest(limit) else {
            break;
        };
        if let Some(it) = fitting.get(index) {
            let namespace = &it.object.namespace;
            let message = if is_over_bytes {
                messages::over_scope(cost.bytes, namespace, limit.bytes)
            } else {
                let (count, most) = (cost.expressions, limit.expressions);
                messages::over_scope_expressions(count, namespace, most)
            };
            out.insert(index, it.object.problem("", message));
        }
    }
}

/// The costs of objects in the documents that several namespaces share. Each entry has the index of the object in the
/// list of fitting objects, and the cost.
///
/// If only proxies of the object's own namespace get the object, the part [`CostShare::own`] is not included. The
/// limit of the namespace already bounds this part.
#[derive(Default)]
struct Shared<'o> {
    /// Objects that proxies of every namespace get, and splits of host names. Proxies at the edge get the splits of
    /// host names from all namespaces.
    everyone: Vec<(usize, Cost)>,
    /// Objects that the proxies of one namespace get from other namespaces, and objects that one Gateway gets.
    scopes: BTreeMap<Scope, Vec<(usize, Cost)>>,
    /// For each namespace, the objects that only proxies of this namespace get, the oldest first. The cost is the part
    /// that Services of other namespaces add.
    elsewhere: BTreeMap<&'o str, Vec<(usize, Cost)>>,
}

impl<'o> Shared<'o> {
    fn of(fitting: &[FittingObject<'o>]) -> Shared<'o> {
        let mut shared = Shared::default();
        for (index, it) in fitting.iter().enumerate() {
            let mut of_everyone = Cost::default();
            for (audience, part) in &it.parts {
                let cost = part.all;
                let scope = match audience {
                    Audience::Everyone | Audience::Edge | Audience::NamespaceAndEdge(_) => {
                        of_everyone = of_everyone.plus(cost);
                        continue;
                    }
                    Audience::Namespace(namespace) if *namespace == it.object.namespace => {
                        let more = cost.minus(part.own);
                        if more != Cost::default() {
                            let own = it.object.namespace.as_str();
                            shared.elsewhere.entry(own).or_default().push((index, more));
                        }
                        continue;
                    }
                    Audience::Namespace(namespace) => Scope::Namespace(namespace.clone()),
                    Audience::Gateway { namespace, name } => Scope::Gateway {
                        namespace: namespace.clone(),
                        name: name.clone(),
                    },
                };
                shared.scopes.entry(scope).or_default().push((index, cost));
            }
            if of_everyone != Cost::default() {
                shared.everyone.push((index, of_everyone));
            }
        }
        shared
    }
}

/// The cost of all objects of a namespace, and a list of these objects. Each item of the list has the index of the
/// object among the fitting objects, and the cost of the object. The youngest object is the last.
type NamespaceCosts = (Cost, Vec<(usize, Cost)>);

/// The costs of all namespaces in one scope.
#[derive(Default)]
struct Pool<'o> {
    sum: Cost,
    namespaces: BTreeMap<&'o str, NamespaceCosts>,
    by_bytes: BTreeSet<(u64, &'o str)>,
    by_expressions: BTreeSet<(u64, &'o str)>,
}

impl<'o> Pool<'o> {
    fn add(&mut self, namespace: &'o str, index: usize, cost: Cost) {
        let (sum, objects) = self.namespaces.entry(namespace).or_default();
        objects.push((index, cost));
        let before = *sum;
        *sum = sum.plus(cost);
        let after = *sum;
        self.sum = self.sum.plus(cost);
        self.rank(namespace, before, after);
    }

    fn rank(&mut self, namespace: &'o str, before: Cost, after: Cost) {
        self.by_bytes.remove(&(before.bytes, namespace));
        self.by_bytes.insert((after.bytes, namespace));
        self.by_expressions.remove(&(before.expressions, namespace));
        self.by_expressions.insert((after.expressions, namespace));
    }

    /// Drops the youngest object of the namespace with the highest cost, and returns the index and the cost of the
    /// object. Namespaces are compared by bytes if there are too many bytes, else by expressions. If two namespaces
    /// have the same cost, the last one by name loses an object.
    fn drop_youngest_of_costliest(&mut self, limit: Cost) -> Option<(usize, Cost)> {
        let ranked = if self.sum.bytes > limit.bytes {
            &self.by_bytes
        } else {
            &self.by_expressions
        };
        let (_, namespace) = *ranked.last()?;
        let (sum, objects) = self.namespaces.get_mut(namespace)?;
        let (index, cost) = objects.pop()?;
        let before = *sum;
        *sum = sum.minus(cost);
        let after = *sum;
        self.sum = self.sum.minus(cost);
        self.rank(namespace, before, after);
        Some((index, cost))
    }
}

#[cfg(test)]
mod tests;
