//! Routes of a virtual host (envoy.config.route.v3.Route) as far as one can take another's requests.

use std::collections::BTreeSet;

use serde_json::Value;

use super::json::text;
use super::policy::Policies;

#[derive(Debug)]
pub struct VirtualHost {
    /// Name of its route configuration.
    pub configuration: String,
    pub name: String,
    pub routes: Vec<Route>,
}

#[derive(Debug)]
pub struct Route {
    /// `route NAME (routes[3])`, without the name where it has none.
    pub label: String,
    path: Path,
    /// What else a request must show, one by one.
    conditions: BTreeSet<Condition>,
    /// The header that names its cluster.
    pub cluster_header: Option<String>,
    pub policies: Policies,
}

/// The path matchers of a RouteMatch, case-sensitive.
#[derive(Debug)]
enum Path {
    Prefix(String),
    /// By path element: the path itself, or what follows it behind a slash.
    Separated(String),
    Exact(String),
    /// A regular expression, a template, CONNECT: equal or unknown.
    Other(String),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Condition {
    field: String,
    /// Name of the header, where it is one.
    header: String,
    /// As JSON.
    value: String,
}

impl VirtualHost {
    /// A virtual host that finds its routes by a matcher tree instead of a list has none here.
    pub fn read(configuration: &str, host: &Value) -> VirtualHost {
        let routes = host.get("routes").and_then(Value::as_array);
        let routes = routes.into_iter().flatten().enumerate();
        VirtualHost {
            configuration: configuration.to_owned(),
            name: text(host, "name"),
            routes: routes
                .map(|(place, route)| Route::read(place, route))
                .collect(),
        }
    }
}

impl Route {
    fn read(place: usize, route: &Value) -> Route {
        let name = text(route, "name");
        let label = match name.as_str() {
            "" => format!("route routes[{place}]"),
            name => format!("route {name} (routes[{place}])"),
        };
        let mut path = Path::Prefix(String::new());
        let mut conditions = BTreeSet::new();
        let fields = route.get("match").and_then(Value::as_object);
        for (field, value) in fields.into_iter().flatten() {
            let string = value.as_str().unwrap_or_default().to_owned();
            match field.as_str() {
                "prefix" => path = Path::Prefix(string),
                "path_separated_prefix" => path = Path::Separated(string),
                "path" => path = Path::Exact(string),
                "safe_regex" | "path_match_policy" | "connect_matcher" => {
                    path = Path::Other(format!("{field} {value}"));
                }
                "case_sensitive" => {}
                _ => {
                    let items = value.as_array().map(Vec::as_slice);
                    for item in items.unwrap_or(std::slice::from_ref(value)) {
                        conditions.insert(Condition {
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
        Route {
            label,
            path,
            conditions,
            cluster_header: header.and_then(Value::as_str).map(str::to_ascii_lowercase),
            policies: Policies::read(route),
        }
    }

    /// What a split request still has to show: a route that follows the header is asked neither for the
    /// header, which the filter has written, nor for the switch, which is on.
    fn conditions_once_split(&self, header: &str) -> BTreeSet<&Condition> {
        let follows = self.follows(header);
        let conditions = self.conditions.iter();
        conditions
            .filter(|it| !follows || (it.header != header && it.field != "runtime_fraction"))
            .collect()
    }

    /// Its cluster is the one that the filter writes into `header`.
    pub fn follows(&self, header: &str) -> bool {
        self.cluster_header.as_deref() == Some(header)
    }

    /// Some request may fit both.
    pub fn meets(&self, other: &Route) -> bool {
        self.path.meets(&other.path)
    }

    /// Every request with the routing header that fits both of `these` fits this one as well.
    pub fn covers(&self, these: [&Route; 2], header: &str) -> bool {
        let [one, other] = these;
        let mut shown = one.conditions_once_split(header);
        shown.extend(other.conditions_once_split(header));
        (self.path.covers(&one.path) || self.path.covers(&other.path))
            && self.conditions_once_split(header).is_subset(&shown)
    }
}

impl Path {
    fn covers(&self, other: &Path) -> bool {
        let below = |path: &str, of: &str| {
            let rest = path.strip_prefix(of.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        match (self, other) {
            (Path::Prefix(prefix), Path::Prefix(it) | Path::Separated(it) | Path::Exact(it)) => {
                it.starts_with(prefix.as_str())
            }
            (Path::Prefix(prefix), Path::Other(_)) => matches!(prefix.as_str(), "" | "/"),
            (Path::Separated(path), Path::Separated(it) | Path::Exact(it)) => {
                it == path || below(it, path)
            }
            (Path::Separated(path), Path::Prefix(it)) => below(it, path),
            (Path::Exact(path), Path::Exact(it)) => it == path,
            (Path::Other(matcher), Path::Other(it)) => it == matcher,
            (Path::Exact(_), _) | (_, Path::Other(_)) | (Path::Other(_), _) => false,
        }
    }

    /// Of two that are no regular expressions and meet, one covers the other.
    fn meets(&self, other: &Path) -> bool {
        let unknown = |path: &Path| matches!(path, Path::Other(_));
        unknown(self) || unknown(other) || self.covers(other) || other.covers(self)
    }
}
