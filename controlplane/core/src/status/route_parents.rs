//! Computes the status of a route: one entry for each parent that belongs to Weir. Entries of other controllers stay.

use serde_json::{Value, json};

use super::condition::{Condition, Status, find, list};
use super::{Evidence, accepted, join_some, resolved, split_barring};
use crate::api::gateway::CONTROLLER;
use crate::api::route::parent_ref;
use crate::api::route::{ParentKind, RouteKind};
use crate::manifest::problem::{About, Extent, Problem, Reason};
use crate::plan::Audience;
use crate::status::subject::Subject;

/// Maximum length of the list RouteStatus.parents (Gateway API v1).
const MAX_PARENTS: usize = 32;

/// An entry of `spec.parentRefs` whose parent belongs to Weir.
struct Parent<'s> {
    index: usize,
    reference: &'s Value,
    kind: ParentKind,
    namespace: &'s str,
    name: &'s str,
}

/// Returns the new value of `status.parents`. Entries of other controllers keep their content and place.
pub fn parents(
    evidence: &Evidence,
    subject: &Subject,
    kind: RouteKind,
    current: &Value,
    now: &str,
) -> Value {
    let entries_before = list(current, "parents");
    let refs = subject.parent_refs.value();
    let own = own_parents(evidence, subject, kind, &refs, entries_before);
    let mut has_entry: Vec<bool> = own.iter().map(|_| false).collect();
    let mut entries = Vec::with_capacity(entries_before.len() + own.len());
    for entry in entries_before {
        if entry["controllerName"] != CONTROLLER {
            entries.push(entry.clone());
            continue;
        }
        let index = own
            .iter()
            .position(|it| is_same(it.reference, &entry["parentRef"], &subject.object.namespace));
        // Entries of removed parents, and second entries of a parent, are dropped.
        if let Some((parent, has_entry)) =
            index.and_then(|at| own.get(at).zip(has_entry.get_mut(at)))
            && !*has_entry
        {
            *has_entry = true;
            entries.push(parent.entry(evidence, subject, Some(entry), now));
        }
    }
    let missing = own
        .iter()
        .zip(has_entry)
        .filter(|(_, has_entry)| !has_entry);
    for (parent, _) in missing {
        if entries.len() < MAX_PARENTS {
            entries.push(parent.entry(evidence, subject, None, now));
        }
    }
    Value::from(entries)
}

/// Returns the parents that belong to Weir. A Gateway belongs to Weir if its class belongs to Weir, if a proxy has the
/// scope of the Gateway, or if the status already has an entry of Weir for the Gateway. The class alone is not enough,
/// because users run an Envoy with Weir for Gateways of other classes.
fn own_parents<'s>(
    evidence: &Evidence,
    subject: &'s Subject,
    kind: RouteKind,
    refs: &'s Value,
    entries_before: &[Value],
) -> Vec<Parent<'s>> {
    let refs = refs.as_array();
    let refs = refs.map(Vec::as_slice).unwrap_or_default();
    let mut own = Vec::new();
    for (index, reference) in refs.iter().enumerate() {
        let Some(parent) = parent_ref::kind_of(kind, reference) else {
            continue;
        };
        let text = |field: &str| reference.get(field).and_then(Value::as_str);
        let namespace = text("namespace").filter(|it| !it.is_empty());
        let parent = Parent {
            index,
            reference,
            kind: parent,
            namespace: namespace.unwrap_or(&subject.object.namespace),
            name: text("name").unwrap_or_default(),
        };
        let was_own = || {
            entries_before.iter().any(|entry| {
                entry["controllerName"] == CONTROLLER
                    && is_same(reference, &entry["parentRef"], &subject.object.namespace)
            })
        };
        let is_own = match parent.kind {
            ParentKind::Service => true,
            ParentKind::Gateway => {
                let key = (parent.namespace.to_owned(), parent.name.to_owned());
                evidence.gateways.get(&key).is_some_and(|has_own_class| {
                    let has_proxies = || evidence.fleet.of(&parent.audience(subject)).count() > 0;
                    *has_own_class || has_proxies() || was_own()
                })
            }
        };
        if is_own
            && !own
                .iter()
                .any(|it: &Parent| is_same(it.reference, reference, &subject.object.namespace))
        {
            own.push(parent);
        }
    }
    own
}

/// True if two references of a route in namespace `own` name the same parent. An absent field has its default.
pub(super) fn is_same(one: &Value, other: &Value, own: &str) -> bool {
    let text = |reference: &Value, field: &str, default: &str| {
        let text = reference.get(field).and_then(Value::as_str);
        text.unwrap_or(default).to_owned()
    };
    // The core group is "", or "core" for Linkerd. An absent group is not the core group.
    let group = |reference: &Value| match reference.get("group").and_then(Value::as_str) {
        Some(group) if group.is_empty() || group.eq_ignore_ascii_case("core") => String::new(),
        Some(group) => group.to_owned(),
        None => "?".to_owned(),
    };
    let namespace = |reference: &Value| match text(reference, "namespace", own) {
        empty if empty.is_empty() => own.to_owned(),
        namespace => namespace,
    };
    let number = |reference: &Value| reference.get("port").and_then(Value::as_i64);
    group(one) == group(other)
        && text(one, "kind", "Gateway") == text(other, "kind", "Gateway")
        && namespace(one) == namespace(other)
        && text(one, "name", "") == text(other, "name", "")
        && text(one, "sectionName", "") == text(other, "sectionName", "")
        && number(one) == number(other)
}

impl Parent<'_> {
    fn entry(
        &self,
        evidence: &Evidence,
        subject: &Subject,
        before: Option<&Value>,
        now: &str,
    ) -> Value {
        let before = before.map(|entry| list(entry, "conditions"));
        let before = before.unwrap_or_default();
        let conditions = self.conditions(evidence, subject);
        let conditions = conditions.iter().map(|condition| {
            condition.write(find(before, condition.kind), subject.generation, now)
        });
        json!({
            "parentRef": self.reference,
            "controllerName": CONTROLLER,
            "conditions": conditions.collect::<Vec<_>>(),
        })
    }

    fn conditions(&self, evidence: &Evidence, subject: &Subject) -> Vec<Condition> {
        let of_parent = self.problems(evidence.problems_of(subject), &subject.object.namespace);
        let (barring, parts) = split_barring(&of_parent);
        let (references, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|it| is_of_reference(it));
        let (dropped, notes): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|it| is_of_rule(it.effect.extent));

        let accepted = accepted(&barring, evidence.held_back(subject), &notes);
        let is_unread = barring.iter().any(|it| it.effect.extent == Extent::Whole);
        let resolved = resolved(&references, is_unread);
        let mut conditions = vec![accepted, resolved];
        if !dropped.is_empty() && !is_unread {
            let message = join_some(dropped.iter().map(|it| dropped_words(it)));
            let condition = Condition::new(
                "PartiallyInvalid",
                Status::True,
                "UnsupportedValue",
                message,
            );
            conditions.push(condition);
        }
        conditions.push(if barring.is_empty() {
            evidence.live(subject, &self.audience(subject))
        } else {
            super::live::not_in_force()
        });
        conditions
    }

    /// Returns the problems of the object for the status of this parent, with the most severe problem first.
    fn problems<'p>(&self, of_object: &[&'p Problem], route_namespace: &str) -> Vec<&'p Problem> {
        let is_own = |problem: &Problem| match (problem.effect.extent, problem.about) {
            (Extent::Whole, _) => true,
            (_, About::Parent(index)) => index == self.index,
            _ => true,
        };
        // Without a ReferenceGrant, the status must show nothing about objects in the other namespace.
        let needs_grant = parent_ref::needs_grant(self.kind, self.namespace, route_namespace);
        let is_not_permitted = |about: About| {
            let mut not_permitted = of_object
                .iter()
                .filter(|it| it.reason == Reason::RefNotPermitted);
            not_permitted.any(|it| it.about == about)
        };
        let concerns = |problem: &Problem| match (problem.reason, problem.about) {
            (Reason::RefNotPermitted, _) => needs_grant,
            (_, About::BackendRef { .. } | About::Mirror { .. }) => {
                !needs_grant || !is_not_permitted(problem.about)
            }
            _ => true,
        };
        let mut problems: Vec<_> = of_object
            .iter()
            .copied()
            .filter(|problem| is_own(problem) && concerns(problem))
            .collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.effect.extent));
        problems
    }

    fn audience(&self, subject: &Subject) -> Audience {
        let own = &subject.object.namespace;
        match self.kind {
            ParentKind::Gateway => Audience::Gateway {
                namespace: self.namespace.to_owned(),
                name: self.name.to_owned(),
            },
            ParentKind::Service if self.namespace == own => Audience::Everyone,
            ParentKind::Service => Audience::Namespace(own.clone()),
        }
    }
}

/// True if requests for a backend get an error, or a mirror gets no copies, because the reference is wrong.
fn is_of_reference(problem: &Problem) -> bool {
    let is_of_reference = matches!(
        problem.reason,
        Reason::InvalidKind
            | Reason::BackendNotFound
            | Reason::RefNotPermitted
            | Reason::UnsupportedProtocol
    );
    problem.effect.extent == Extent::Share && (is_of_reference || problem.code == EXTERNAL_NAME)
}

/// The code of the problem of a backend Service of type ExternalName. It is the name of the message in
/// [`crate::manifest::problem::messages::backend`].
const EXTERNAL_NAME: &str = "external_name";

/// True if proxies do not use a rule, or a part of a rule, because of the problem.
fn is_of_rule(extent: Extent) -> bool {
    matches!(extent, Extent::Rule | Extent::Match | Extent::Share)
}

/// Returns the message for the condition PartiallyInvalid. Gateway API (RouteConditionPartiallyInvalid) requires that
/// the message begins with "Dropped Rule".
fn dropped_words(problem: &Problem) -> String {
    let rule = problem.rule().map(|rule| format!(" {rule}"));
    let rule = rule.unwrap_or_default();
    let in_part = match problem.effect.extent {
        Extent::Rule => "",
        _ => " in part",
    };
    let (path, message) = (problem.path.as_str(), problem.message());
    format!("Dropped Rule{rule}{in_part}: {path}: {message}")
}
