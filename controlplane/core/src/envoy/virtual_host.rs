//! Reads the routes of a virtual host (envoy.config.route.v3.Route), and compares which requests fit two routes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dump_fields::text;
use super::policy::Policies;

#[derive(Debug)]
pub struct VirtualHost {
    /// Name of the route configuration.
    pub configuration: String,
    pub name: String,
    pub routes: Vec<EnvoyRoute>,
}

#[derive(Debug)]
pub struct EnvoyRoute {
    /// The route in messages: `route NAME (routes[3])`, or `route routes[3]` if the route has no name.
    pub label: String,
    path: PathMatcher,
    /// All conditions on a request except the path.
    conditions: BTreeSet<MatchCondition>,
    /// The request header with the name of the cluster, in lower case; None if the route uses no such header.
    pub cluster_header: Option<String>,
    pub policies: Policies,
}

/// The path matcher of a RouteMatch. The comparison of paths is case-sensitive.
#[derive(Debug)]
enum PathMatcher {
    Prefix(String),
    /// Envoy's `path_separated_prefix`: the path itself, or the path with a slash behind it.
    Separated(String),
    Exact(String),
    /// A regular expression, a URI template or CONNECT. Such a matcher covers only an equal matcher.
    Other(String),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MatchCondition {
    field: String,
    /// Name of the header, for a condition on a header; else empty.
    header: String,
    /// The condition as JSON.
    value: String,
}

impl VirtualHost {
    /// Reads the list of routes. If the virtual host has a matcher tree instead of this list, the result has no routes.
    pub fn read(configuration: &str, host: &Value) -> VirtualHost {
        let routes = host.get("routes").and_then(Value::as_array);
        let routes = routes.into_iter().flatten().enumerate();
        VirtualHost {
            configuration: configuration.to_owned(),
            name: text(host, "name"),
            routes: routes
                .map(|(place, route)| EnvoyRoute::read(place, route))
                .collect(),
        }
    }
}

impl EnvoyRoute {
    fn read(place: usize, route: &Value) -> EnvoyRoute {
        let name = text(route, "name");
        let label = match name.as_str() {
            "" => format!("route routes[{place}]"),
            name => format!("route {name} (routes[{place}])"),
        };
        let mut path = PathMatcher::Prefix(String::new());
        let mut conditions = BTreeSet::new();
        let fields = route.get("match").and_then(Value::as_object);
        for (field, value) in fields.into_iter().flatten() {
            let string = value.as_str().unwrap_or_default().to_owned();
            match field.as_str() {
                "prefix" => path = PathMatcher::Prefix(string),
                "path_separated_prefix" => path = PathMatcher::Separated(string),
                "path" => path = PathMatcher::Exact(string),
                "safe_regex" | "path_match_policy" | "connect_matcher" => {
                    path = PathMatcher::Other(format!("{field} {value}"));
                }
                "case_sensitive" => {}
                _ => {
                    let items = value.as_array().map(Vec::as_slice);
                    for item in items.unwrap_or(std::slice::from_ref(value)) {
                        conditions.insert(MatchCondition {
                            header: match field.as_str() {
                                "headers" => text(item, "name").to_ascii_lowercase(),
                                _ => String::new(),
                            },
                            field: field.clone(),
                            value: item.to_string(),
                        });
                    }
                }
            }
        }
        let header = route.pointer("/route/cluster_header");
        EnvoyRoute {
            label,
            path,
            conditions,
            cluster_header: header.and_then(Value::as_str).map(str::to_ascii_lowercase),
            policies: Policies::read(route),
        }
    }

    /// Returns the conditions of the route that a split request may not fit. If the route takes its cluster from
    /// `header`, two conditions are left out, because a split request always fits them. The first is the condition on
    /// `header`, which the filter writes. The second is the condition on the runtime switch, which is on.
    fn conditions_once_split(&self, header: &str) -> BTreeSet<&MatchCondition> {
        let follows = self.follows(header);
        let conditions = self.conditions.iter();
        conditions
            .filter(|it| !follows || (it.header != header && it.field != "runtime_fraction"))
            .collect()
    }

    /// True if the route takes its cluster from `header`, which the filter writes.
    pub fn follows(&self, header: &str) -> bool {
        self.cluster_header.as_deref() == Some(header)
    }

    /// True if the paths of a request may fit both routes.
    pub fn overlaps(&self, other: &EnvoyRoute) -> bool {
        self.path.overlaps(&other.path)
    }

    /// True if every request that has `header` and fits both `routes` also fits this route.
    pub fn covers(&self, routes: [&EnvoyRoute; 2], header: &str) -> bool {
        let [one, other] = routes;
        let mut conditions = one.conditions_once_split(header);
        conditions.extend(other.conditions_once_split(header));
        (self.path.covers(&one.path) || self.path.covers(&other.path))
            && self.conditions_once_split(header).is_subset(&conditions)
    }
}

impl PathMatcher {
    /// True if every path that fits `other` also fits this matcher.
    fn covers(&self, other: &PathMatcher) -> bool {
        let below = |path: &str, of: &str| {
            let rest = path.strip_prefix(of.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        match (self, other) {
            (
                PathMatcher::Prefix(prefix),
                PathMatcher::Prefix(it) | PathMatcher::Separated(it) | PathMatcher::Exact(it),
            ) => it.starts_with(prefix.as_str()),
            (PathMatcher::Prefix(prefix), PathMatcher::Other(_)) => {
                matches!(prefix.as_str(), "" | "/")
            }
            (PathMatcher::Separated(path), PathMatcher::Separated(it) | PathMatcher::Exact(it)) => {
                it == path || below(it, path)
            }
            (PathMatcher::Separated(path), PathMatcher::Prefix(it)) => below(it, path),
            (PathMatcher::Exact(path), PathMatcher::Exact(it)) => it == path,
            (PathMatcher::Other(matcher), PathMatcher::Other(it)) => it == matcher,
            (PathMatcher::Exact(_), _)
            | (_, PathMatcher::Other(_))
            | (PathMatcher::Other(_), _) => false,
        }
    }

    /// True if a path may fit both matchers. If two matchers overlap and neither is `Other`, one covers the other.
    fn overlaps(&self, other: &PathMatcher) -> bool {
        let is_unknown = |path: &PathMatcher| matches!(path, PathMatcher::Other(_));
        is_unknown(self) || is_unknown(other) || self.covers(other) || other.covers(self)
    }
}
