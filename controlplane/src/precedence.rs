//! Which of several matches or objects comes first.

use std::cmp::Reverse;

use jiff::Timestamp;
use weir_split::wire::PathMatch;

use crate::httproute::{Group, HttpRoute};
use crate::problem::ObjectRef;

/// Among objects that claim the same: the oldest (one without a time counts as the youngest), then
/// the first by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    undated: bool,
    created: Option<Timestamp>,
    /// `{namespace}/{name}`, compared as one string: `a-b/x` stands before `a/x`.
    name: String,
}

impl Seniority {
    pub fn new(object: &ObjectRef, created: Option<Timestamp>) -> Seniority {
        Seniority {
            undated: created.is_none(),
            created,
            name: format!("{}/{}", object.namespace, object.name),
        }
    }
}

/// The place of one match among all matches of all routes on one host.
///
/// Gateway API v1, HTTPRouteRule.matches: on a conflict the match wins that has
/// 1. an exact path,
/// 2. the path prefix with the most characters,
///
/// then, across routes,
/// 3. the oldest route by creation timestamp,
/// 4. the first route by `{namespace}/{name}`,
///
/// and within one route
/// 5. the first rule in order, and the first match in it.
///
/// Methods, headers and query parameters stand between 2 and 3; no route with them gets here yet.
/// Where a route of either group has the same age and name, that of Gateway API is first.
// Derived `Ord` compares the fields in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    exact_path: Reverse<bool>,
    prefix_length: Reverse<usize>,
    seniority: Seniority,
    group: Group,
    rule: usize,
    position: usize,
}

impl Precedence {
    /// `rule` and `position` are the places of the rule in the route and of the match in the rule.
    pub fn new(route: &HttpRoute, rule: usize, position: usize, path: Option<&PathMatch>) -> Self {
        let (exact, prefix_length) = match path {
            Some(PathMatch::Exact(_)) => (true, 0),
            Some(PathMatch::Prefix(prefix) | PathMatch::Regex(prefix)) => {
                (false, prefix.chars().count())
            }
            // What fits every path is the prefix "/".
            None => (false, 1),
        };
        Precedence {
            exact_path: Reverse(exact),
            prefix_length: Reverse(prefix_length),
            seniority: Seniority::new(&route.object, route.created),
            group: route.group,
            rule,
            position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, created: Option<&str>) -> HttpRoute {
        HttpRoute {
            object: ObjectRef {
                namespace: "shop".into(),
                name: name.into(),
                ..ObjectRef::default()
            },
            group: Group::GatewayApi,
            created: created.map(|text| text.parse().unwrap()),
            parents: vec![],
            hostnames: vec![],
            rules: vec![],
        }
    }

    fn prefix(text: &str) -> Option<PathMatch> {
        Some(PathMatch::Prefix(text.into()))
    }

    const OLD: Option<&str> = Some("2020-01-01T00:00:00Z");
    const NEW: Option<&str> = Some("2021-01-01T00:00:00Z");

    #[test]
    fn exact_path_first() {
        let (old, new) = (route("a", OLD), route("a", NEW));
        let exact = Some(PathMatch::Exact("/a".into()));
        let longer = prefix("/a/b/c");
        assert!(
            Precedence::new(&new, 9, 9, exact.as_ref())
                < Precedence::new(&old, 0, 0, longer.as_ref())
        );
    }

    #[test]
    fn then_the_longest_prefix() {
        let (old, new) = (route("a", OLD), route("a", NEW));
        let [long, short] = [prefix("/ab"), prefix("/a")];
        assert!(
            Precedence::new(&new, 9, 9, long.as_ref())
                < Precedence::new(&old, 0, 0, short.as_ref())
        );
        assert!(Precedence::new(&new, 9, 9, short.as_ref()) < Precedence::new(&old, 0, 0, None));
    }

    #[test]
    fn then_the_oldest_route() {
        let (old, new, undated) = (route("b", OLD), route("a", NEW), route("a", None));
        assert!(Precedence::new(&old, 9, 9, None) < Precedence::new(&new, 0, 0, None));
        assert!(Precedence::new(&new, 9, 9, None) < Precedence::new(&undated, 0, 0, None));
    }

    #[test]
    fn then_the_first_by_name() {
        let (a, b) = (route("a", OLD), route("b", OLD));
        assert!(Precedence::new(&a, 9, 9, None) < Precedence::new(&b, 0, 0, None));
        let mut elsewhere = route("a", OLD);
        elsewhere.object.namespace = "a-shop".into();
        assert!(Precedence::new(&elsewhere, 9, 9, None) < Precedence::new(&a, 0, 0, None));
    }

    #[test]
    fn then_the_first_rule_and_match() {
        let a = route("a", OLD);
        assert!(Precedence::new(&a, 0, 9, None) < Precedence::new(&a, 1, 0, None));
        assert!(Precedence::new(&a, 0, 0, None) < Precedence::new(&a, 0, 1, None));
    }
}
