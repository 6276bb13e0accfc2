//! What objects may cost proxies: an object, a namespace, and the document of one scope.
//!
//! Every proxy holds the whole document of its scope, so the objects of one namespace could fill the memory of all
//! proxies. Over a limit, the youngest objects of the costliest namespace are not in force. Other objects stay as they
//! are.
//!
//! Pure: costs in, objects that are over a limit out. [`crate::translate`] finds out what an object costs.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::manifest::problem::messages::budget as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::plan::{Audience, Scope};
use crate::translate::precedence::Seniority;

/// What objects may cost. Bytes are counted as in [`Cost`]: of the document as a proxy receives it, and of the programs
/// of regular expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one object may cost.
    pub object: u64,
    /// Bytes that the objects of one namespace may cost together.
    pub namespace: u64,
    /// Bytes that the document of one proxy may have. Envoy takes at most 32 MiB.
    pub scope: u64,
    /// Regular expressions that the objects of one namespace may have together.
    pub namespace_expressions: u64,
    /// Regular expressions that the document of one proxy may have.
    pub scope_expressions: u64,
}

/// An Envoy with two workers takes about 24 bytes of memory for each byte of the cost of small splits, and less for other
/// objects: with this limit one namespace costs each Envoy less than 25 MiB.
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
    /// What all namespaces together may put into a scope. The rest is kept for the namespace of the scope, so that
    /// its own objects never displace objects of other namespaces.
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

/// A number of bytes on the command line: `1048576`, `1024Ki` or `1Mi`; at least 1.
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

/// What an object costs each proxy that gets all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Bytes of the document, and bytes of programs. The program of an expression counts three times: once for the
    /// program, and twice for the automata that two workers build while they match.
    pub bytes: u64,
    /// Number of regular expressions. An expression that an object has several times counts once.
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
    pub fn and(self, other: Cost) -> Cost {
        Cost {
            bytes: self.bytes.saturating_add(other.bytes),
            expressions: self.expressions.saturating_add(other.expressions),
        }
    }

    fn without(self, other: Cost) -> Cost {
        Cost {
            bytes: self.bytes.saturating_sub(other.bytes),
            expressions: self.expressions.saturating_sub(other.expressions),
        }
    }

    fn fits(self, limit: Cost) -> bool {
        self.bytes <= limit.bytes && self.expressions <= limit.expressions
    }
}

/// An object that costs something.
#[derive(Clone, Debug)]
pub struct Costly {
    pub object: ObjectRef,
    pub age: Seniority,
    /// Bytes that are written in the object: a lower bound of its cost.
    pub written: u64,
}

/// What an object costs, by the proxies that get it. Its namespace is charged the sum.
pub type Parts = BTreeMap<Audience, Part>;

/// What an object costs the proxies of one audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What its author decides: a Service of another namespace counts as one with one port and no ServiceAccounts.
    /// The limits of an object and of a namespace hold for this, or another namespace could fill them.
    pub own: Cost,
    /// All that these proxies get.
    pub all: Cost,
}

impl From<Cost> for Part {
    fn from(all: Cost) -> Part {
        Part { own: all, all }
    }
}

impl Part {
    #[must_use]
    pub fn and(self, other: Part) -> Part {
        Part {
            own: self.own.and(other.own),
            all: self.all.and(other.all),
        }
    }
}

/// One problem for each object that is over a limit and therefore not to be in force. The result does not depend on the
/// order of `objects`. `cost` is called from the oldest object of a namespace on, and no more once the bytes of the
/// namespace are over its limit.
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
    let mut taken = Vec::new();
    for of_namespace in by_namespace.into_values() {
        take(of_namespace, limits, &mut cost, &mut taken, &mut problems);
    }
    problems.extend(over_scope(&taken, limits));
    problems
}

/// An object that fits into the budget of its namespace.
struct Taken<'o> {
    object: &'o ObjectRef,
    parts: Parts,
}

/// Takes the objects of one namespace, the oldest first, as long as they fit. Once there are too many expressions,
/// younger objects without expressions may still fit.
fn take<'o>(
    oldest_first: Vec<&'o Costly>,
    limits: &Limits,
    cost: &mut impl FnMut(&ObjectRef) -> Parts,
    taken: &mut Vec<Taken<'o>>,
    problems: &mut Vec<Problem>,
) {
    let limit = limits.of_namespace();
    // An object that is over the limit of its namespace by itself leaves the budget to the others.
    let object_limit = limits.object.min(limits.namespace);
    let mut sum = Cost::default();
    let mut full = Full::default();
    for costly in oldest_first {
        let object = &costly.object;
        let namespace = &object.namespace;
        let mut leave_out = |message| problems.push(object.problem("", message));
        if costly.written > object_limit {
            leave_out(messages::over_object(costly.written, object_limit));
            continue;
        }
        let over_bytes = |bytes| messages::over_namespace(bytes, namespace, limit.bytes);
        if full.of_bytes {
            leave_out(over_bytes(costly.written));
            continue;
        }
        let parts = cost(object);
        let own = parts.values().map(|part| part.own);
        let own = own.fold(Cost::default(), Cost::and);
        let with_own = sum.and(own);
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
            taken.push(Taken { object, parts });
        }
    }
}

/// Which budgets of a namespace are used up.
#[derive(Default)]
struct Full {
    of_bytes: bool,
    of_expressions: bool,
}

/// The objects that do not fit into a scope, each once.
fn over_scope(taken: &[Taken], limits: &Limits) -> Vec<Problem> {
    let Shared {
        everyone,
        scopes,
        elsewhere,
    } = Shared::of(taken);
    let mut out: BTreeMap<usize, Problem> = BTreeMap::new();
    fit(taken, &everyone, limits.shared(), &mut out);
    let of_everyone = sum(&everyone);
    for (scope, shared) in &scopes {
        let mut shared = shared.clone();
        let is_gateway = matches!(scope, Scope::Gateway { .. });
        let limit = match is_gateway {
            true => limits.of_scope(),
            false => limits.shared(),
        };
        let mut all = sum(&shared);
        if !is_gateway {
            all = all.and(of_everyone);
        }
        if all.fits(limit) {
            continue;
        }
        if !is_gateway {
            shared.extend(&everyone);
            // The youngest of a namespace are the last.
            shared.sort_by_key(|(index, _)| *index);
        }
        fit(taken, &shared, limit, &mut out);
    }
    for (namespace, elsewhere) in elsewhere {
        let of_scope = scopes.get(&Scope::Namespace(namespace.to_owned()));
        let shared = everyone.iter().chain(of_scope.into_iter().flatten());
        let shared = shared.filter(|(index, _)| !out.contains_key(index));
        let shared = shared.fold(Cost::default(), |sum, it| sum.and(it.1));
        let left = limits.shared().without(shared).bytes;
        fit_elsewhere(taken, &elsewhere, left.min(limits.namespace), &mut out);
    }
    out.into_values().collect()
}

fn sum(costs: &[(usize, Cost)]) -> Cost {
    let costs = costs.iter().map(|it| it.1);
    costs.fold(Cost::default(), Cost::and)
}

/// Drops what does not fit of the objects of one namespace that cost more than their author decides, the oldest first.
/// Its other objects stay as they are.
fn fit_elsewhere(
    taken: &[Taken],
    elsewhere: &[(usize, Cost)],
    limit: u64,
    out: &mut BTreeMap<usize, Problem>,
) {
    let mut sum = 0_u64;
    for (index, cost) in elsewhere {
        let Some(it) = taken.get(*index).filter(|_| !out.contains_key(index)) else {
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

/// Drops the youngest objects of the costliest namespaces until the others fit.
fn fit(taken: &[Taken], shared: &[(usize, Cost)], limit: Cost, out: &mut BTreeMap<usize, Problem>) {
    let mut pool = Pool::default();
    for (index, cost) in shared {
        if let Some(it) = taken.get(*index).filter(|_| !out.contains_key(index)) {
            pool.add(&it.object.namespace, *index, *cost);
        }
    }
    while !pool.sum.fits(limit) {
        let is_over_bytes = pool.sum.bytes > limit.bytes;
        let Some((index, cost)) = pool.drop_youngest_of_costliest(limit) else {
            break;
        };
        if let Some(it) = taken.get(index) {
            let namespace = &it.object.namespace;
            let message = match is_over_bytes {
                true => messages::over_scope(cost.bytes, namespace, limit.bytes),
                false => {
                    let (count, most) = (cost.expressions, limit.expressions);
                    messages::over_scope_expressions(count, namespace, most)
                }
            };
            out.insert(index, it.object.problem("", message));
        }
    }
}

/// The costs in scopes that get objects of several namespaces. What an author decides of objects that only their own
/// namespace gets is not here: the limit of the namespace bounds it.
#[derive(Default)]
struct Shared<'o> {
    /// Objects that every namespace gets, and splits of literal hosts, which the edge gets from all namespaces.
    everyone: Vec<(usize, Cost)>,
    /// Objects of other namespaces that one namespace gets, and objects that one Gateway gets.
    scopes: BTreeMap<Scope, Vec<(usize, Cost)>>,
    /// By namespace: what Services of other namespaces add to the objects that only their own namespace gets, the oldest
    /// object first.
    elsewhere: BTreeMap<&'o str, Vec<(usize, Cost)>>,
}

impl<'o> Shared<'o> {
    fn of(taken: &[Taken<'o>]) -> Shared<'o> {
        let mut shared = Shared::default();
        for (index, it) in taken.iter().enumerate() {
            let mut of_everyone = Cost::default();
            for (audience, part) in &it.parts {
                let cost = part.all;
                let scope = match audience {
                    Audience::Everyone | Audience::Edge | Audience::NamespaceAndEdge(_) => {
                        of_everyone = of_everyone.and(cost);
                        continue;
                    }
                    Audience::Namespace(namespace) if *namespace == it.object.namespace => {
                        let more = cost.without(part.own);
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

/// The sum of a namespace, and each of its objects by its index in the objects that were taken, the youngest last.
type OfNamespace = (Cost, Vec<(usize, Cost)>);

/// What namespaces put into one scope.
#[derive(Default)]
struct Pool<'o> {
    sum: Cost,
    namespaces: BTreeMap<&'o str, OfNamespace>,
    by_bytes: BTreeSet<(u64, &'o str)>,
    by_expressions: BTreeSet<(u64, &'o str)>,
}

impl<'o> Pool<'o> {
    fn add(&mut self, namespace: &'o str, index: usize, cost: Cost) {
        let (sum, objects) = self.namespaces.entry(namespace).or_default();
        objects.push((index, cost));
        let before = *sum;
        *sum = sum.and(cost);
        let after = *sum;
        self.sum = self.sum.and(cost);
        self.rank(namespace, before, after);
    }

    fn rank(&mut self, namespace: &'o str, before: Cost, after: Cost) {
        self.by_bytes.remove(&(before.bytes, namespace));
        self.by_bytes.insert((after.bytes, namespace));
        self.by_expressions.remove(&(before.expressions, namespace));
        self.by_expressions.insert((after.expressions, namespace));
    }

    /// Drops the youngest object of the namespace that costs most, in bytes if there are too many bytes, else in
    /// expressions. Of two namespaces that cost the same, it is the last by name.
    fn drop_youngest_of_costliest(&mut self, limit: Cost) -> Option<(usize, Cost)> {
        let ranked = match self.sum.bytes > limit.bytes {
            true => &self.by_bytes,
            false => &self.by_expressions,
        };
        let (_, namespace) = *ranked.last()?;
        let (sum, objects) = self.namespaces.get_mut(namespace)?;
        let (index, cost) = objects.pop()?;
        let before = *sum;
        *sum = sum.without(cost);
        let after = *sum;
        self.sum = self.sum.without(cost);
        self.rank(namespace, before, after);
        Some((index, cost))
    }
}

#[cfg(test)]
mod tests;
