//! Reads a route of Envoy (envoy.config.route.v3.Route), and compares which requests fit two routes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dump_fields::{items, text};
use super::header_value;
use super::matcher_tree::{Branch, TreeRoute};
use super::path_matcher::PathMatcher;
use super::policy::Policies;
use super::route_settings::RouteSettings;
use super::runtime_switch::RuntimeSwitch;
use crate::manifest::spelling::is_misspelling_of;

#[derive(Debug)]
pub struct EnvoyRoute {
    /// The route in messages: `route NAME (routes[3])`, or `route routes[3]` if the route has no name.
    pub label: String,
    pub path: PathMatcher,
    /// The path in lower case, if Envoy ignores the case of paths for this route.
    lower_path: Option<PathMatcher>,
    /// All conditions on a request except the path.
    pub conditions: BTreeSet<MatchCondition>,
    branches: Vec<Branch>,
    pub target: RouteTarget,
    pub settings: RouteSettings,
    pub policies: Policies,
    pub switch: Option<RuntimeSwitch>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum RouteTarget {
    Redirect,
    /// Envoy answers itself.
    Answer {
        /// 0 if the route has no status.
        status: u64,
    },
    Clusters {
        /// The names, in lower case, of the headers whose values choose the cluster.
        headers: BTreeSet<String>,
        /// True if the route also has clusters that no header chooses.
        is_partial: bool,
        /// The plugin that chooses the cluster, as JSON; empty if the route has no plugin.
        plugin: String,
    },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchCondition {
    field: String,
    /// Name of the header in lower case, for a condition on a header; else empty.
    pub header: String,
    /// The only value of the header that fits, if there is one.
    exact: Option<String>,
    /// True if only requests without the header fit.
    is_absence: bool,
    /// The condition as JSON.
    value: String,
}

impl MatchCondition {
    fn of_header(matcher: &Value) -> MatchCondition {
        let inverts = matcher.get("invert_match") == Some(&Value::Bool(true));
        let is_present = matcher.get("present_match").and_then(Value::as_bool);
        let exact = matcher.pointer("/string_match/exact");
        let exact = exact.or_else(|| matcher.get("exact_match"));
        let exact = exact.filter(|_| !inverts).and_then(Value::as_str);
        MatchCondition {
            field: "headers".into(),
            header: text(matcher, "name").to_ascii_lowercase(),
            exact: exact.map(str::to_owned),
            is_absence: is_present.is_some_and(|is_present| is_present == inverts),
            value: matcher.to_string(),
        }
    }

    /// Returns whether this value of the header fits; None if that is unknown.
    fn fits(&self, value: &str) -> Option<bool> {
        match &self.exact {
            Some(exact) => Some(exact == value),
            None if self.is_absence => Some(false),
            None if self.field == "headers" => {
                header_value::fits(&serde_json::from_str(&self.value).ok()?, value)
            }
            None => None,
        }
    }

    fn other(field: &str, value: &Value) -> MatchCondition {
        MatchCondition {
            field: field.to_owned(),
            header: String::new(),
            exact: None,
            is_absence: false,
            value: value.to_string(),
        }
    }
}

impl RouteTarget {
    fn read(route: &Value) -> RouteTarget {
        if route.get("redirect").is_some() {
            return RouteTarget::Redirect;
        }
        let Some(action) = route.get("route") else {
            let status = route.pointer("/direct_response/status");
            return RouteTarget::Answer {
                status: status.and_then(Value::as_u64).unwrap_or_default(),
            };
        };
        let header = |holder: &Value| {
            let header = holder.get("cluster_header")?.as_str()?;
            Some(header.to_ascii_lowercase())
        };
        let weighted = action.get("weighted_clusters").unwrap_or(&Value::Null);
        let weighted: Vec<Option<String>> = items(weighted, "clusters")
            .filter(|it| it.get("weight").and_then(Value::as_u64) != Some(0))
            .map(header)
            .collect();
        let plugin = action
            .get("cluster_specifier_plugin")
            .or_else(|| action.get("inline_cluster_specifier_plugin"));
        RouteTarget::Clusters {
            plugin: plugin.map(Value::to_string).unwrap_or_default(),
            is_partial: weighted.iter().any(Option::is_none),
            headers: header(action)
                .into_iter()
                .chain(weighted.into_iter().flatten())
                .collect(),
        }
    }
}

impl EnvoyRoute {
    /// Reads a route with the settings of its virtual host. `place` names the route in messages.
    pub fn read(place: &str, route: &Value, settings: &RouteSettings) -> EnvoyRoute {
        let label = match text(route, "name").as_str() {
            "" => format!("route {place}"),
            name => format!("route {name} ({place})"),
        };
        let mut path = PathMatcher::Prefix(String::new());
        let mut conditions = BTreeSet::new();
        let fields = route.get("match").and_then(Value::as_object);
        for (field, value) in fields.into_iter().flatten() {
            if let Some(read) = PathMatcher::read(field, value) {
                path = read;
                continue;
            }
            let list = value.as_array().map(Vec::as_slice);
            let list = list.unwrap_or(std::slice::from_ref(value)).iter();
            match field.as_str() {
                "case_sensitive" => {}
                "headers" => conditions.extend(list.map(MatchCondition::of_header)),
                _ => conditions.extend(list.map(|it| MatchCondition::other(field, it))),
            }
        }
        let fraction = route.pointer("/match/runtime_fraction");
        let ignores_case = route.pointer("/match/case_sensitive") == Some(&Value::Bool(false));
        EnvoyRoute {
            label,
            lower_path: ignores_case.then(|| path.lower_case()).flatten(),
            path,
            conditions,
            branches: Vec::new(),
            target: RouteTarget::read(route),
            settings: settings.and(route),
            policies: Policies::read(route),
            switch: fraction.and_then(RuntimeSwitch::read),
        }
    }

    /// Adds the conditions on the way to this route in the matcher tree.
    pub fn in_tree(mut self, place: TreeRoute<'_>) -> EnvoyRoute {
        self.branches = place.branches;
        let of_maps = self.branches.iter().map(|it| &it.condition);
        let of_maps = of_maps.filter(|it| !it.is_null());
        self.conditions
            .extend(of_maps.map(MatchCondition::of_header));
        let conditions = place.predicates.into_iter().map(|it| MatchCondition {
            field: "matcher".into(),
            header: it.header,
            exact: it.exact,
            is_absence: it.is_absence,
            value: it.json,
        });
        self.conditions.extend(conditions);
        self
    }

    /// Returns the conditions of the route, without the conditions that every split request fits. A split request has
    /// `header`, so the condition on `header` is left out if the route takes its cluster from `header`. While requests
    /// are split, the runtime switch is on. So the condition on the switch is left out of routes for split requests.
    pub fn conditions_once_split(&self, header: &str) -> BTreeSet<&MatchCondition> {
        let (follows, takes) = (self.follows(header), self.takes_splits(header));
        let conditions = self.conditions.iter();
        conditions
            .filter(|it| !(takes && it.field == "runtime_fraction"))
            .filter(|it| !(follows && it.header == header))
            .collect()
    }

    /// True if the route takes its cluster from `header`, which the filter writes.
    pub fn follows(&self, header: &str) -> bool {
        let RouteTarget::Clusters { headers, .. } = &self.target else {
            return false;
        };
        let own = |it: &&MatchCondition| it.header == header;
        let mut own = self.conditions.iter().filter(own);
        headers.contains(header) && own.all(|it| !it.is_absence && it.exact.is_none())
    }

    /// Returns the value of `header` that the route requires; None if it does not require a certain value.
    pub fn value_of(&self, header: &str) -> Option<&str> {
        let own = |it: &&MatchCondition| it.header == header;
        let mut own = self.conditions.iter().filter(own);
        own.find_map(|it| it.exact.as_deref())
    }

    /// True if the route is for requests to which the filter has added `header`.
    pub fn takes_splits(&self, header: &str) -> bool {
        self.follows(header) || self.value_of(header).is_some() || self.chooses_by_plugin(header)
    }

    /// True if a plugin may choose the cluster by `header`. Weir cannot read plugins other than Lua code.
    fn chooses_by_plugin(&self, header: &str) -> bool {
        let RouteTarget::Clusters { plugin, .. } = &self.target else {
            return false;
        };
        !plugin.is_empty() && (plugin.contains(header) || !plugin.contains("inline_string"))
    }

    /// Returns the header from which the route takes its cluster, if it is only for requests with `header` and takes the
    /// cluster from another header.
    pub fn other_cluster_header(&self, header: &str) -> Option<&str> {
        let RouteTarget::Clusters { headers, .. } = &self.target else {
            return None;
        };
        let is_for_splits = !self.fits_without(header) && !self.requires_absence_of(header);
        let other = headers.first().filter(|_| !headers.contains(header));
        other.filter(|_| is_for_splits).map(String::as_str)
    }

    /// Returns the name in a condition that looks like a misspelling of `header`.
    pub fn misspelling_of(&self, header: &str) -> Option<&str> {
        let mut names = self.conditions.iter().map(|it| it.header.as_str());
        names.find(|it| is_misspelling_of(it, header))
    }

    /// True if only requests without `header` fit.
    pub fn requires_absence_of(&self, header: &str) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|it| it.header == header && it.is_absence)
    }

    /// Returns whether a request fits whose `header` has this value; None if that is unknown.
    pub fn fits_value(&self, header: &str, value: &str) -> Option<bool> {
        let own = self.conditions.iter().filter(|it| it.header == header);
        let fits = own.map(|it| it.fits(value));
        fits.reduce(|one, other| match (one, other) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (None, _) | (_, None) => None,
            _ => Some(true),
        })
        .unwrap_or(Some(true))
    }

    /// Returns the value of the header `name` in an example of a request for this route.
    pub fn example_of(&self, name: &str) -> Option<&str> {
        let mut conditions = self.conditions.iter();
        conditions.find_map(|it| it.exact.as_deref().filter(|_| it.header == name))
    }

    /// Returns the conditions of this route that a request of `other` may not fit after the filter has written
    /// `header`. `path` is the path of the requests, if it is narrower than the path of `other`.
    pub fn narrower_than(
        &self,
        other: &EnvoyRoute,
        path: &PathMatcher,
        header: &str,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let covers_path = self.lower_path.is_none() && self.path.covers(path);
        if !covers_path && !self.covers_path_of(other) {
            found.push(
                match self.lower_path.is_none() && other.lower_path.is_some() {
                    true => format!("{}, case-sensitive", self.path),
                    false => self.path.to_string(),
                },
            );
        }
        let mut branches = self.branches.iter();
        let own_map = |it: &Branch| it.condition.get("name").is_some_and(|it| *it == *header);
        if branches.any(|it| !own_map(it) && !other.branches.contains(it)) {
            found.push("its place in the matcher".to_owned());
        }
        let conditions = self.conditions_once_split(header).into_iter();
        let conditions = conditions.filter(|it| it.header != header);
        let conditions = conditions.filter(|it| !other.conditions.contains(it));
        found.extend(conditions.map(|it| format!("{}: {}", it.field, it.value)));
        found
    }

    /// True if a request without `header` may fit.
    pub fn fits_without(&self, header: &str) -> bool {
        let own = |it: &&MatchCondition| it.header == header;
        self.conditions.iter().filter(own).all(|it| it.is_absence)
    }

    /// True if the path of a request may fit both routes.
    pub fn overlaps(&self, other: &EnvoyRoute) -> bool {
        let mut branches = self.branches.iter();
        let is_apart =
            branches.any(|branch| other.branches.iter().any(|other| branch.excludes(other)));
        let lower = |route: &EnvoyRoute| route.path.lower_case();
        let paths_overlap = match self.lower_path.is_some() || other.lower_path.is_some() {
            true => match (lower(self), lower(other)) {
                (Some(own), Some(other)) => own.overlaps(&other),
                _ => true,
            },
            false => self.path.overlaps(&other.path),
        };
        !is_apart && paths_overlap
    }

    /// True if a path of this matcher may fit the route.
    pub fn may_have(&self, path: &PathMatcher) -> bool {
        self.lower_path.is_some() || self.path.overlaps(path)
    }

    /// True if every path that fits `other` also fits this route.
    pub fn covers_path_of(&self, other: &EnvoyRoute) -> bool {
        match (&self.lower_path, other.path.lower_case()) {
            (Some(own), Some(other)) => own.covers(&other),
            _ if other.lower_path.is_some() && !self.path.is_without_letters() => false,
            _ => self.path.covers(&other.path),
        }
    }

    /// True if every request that fits `other` also fits this route.
    pub fn covers_all_of(&self, other: &EnvoyRoute) -> bool {
        self.overlaps(other)
            && self.branches.iter().all(|it| other.branches.contains(it))
            && self.covers_path_of(other)
            && self.conditions.is_subset(&other.conditions)
    }

    /// True if every request that has `header` and fits both `routes` also fits this route.
    pub fn covers(&self, routes: [&EnvoyRoute; 2], header: &str) -> bool {
        let [one, other] = routes;
        let mut conditions = one.conditions_once_split(header);
        conditions.extend(other.conditions_once_split(header));
        let has = |it: &Branch| one.branches.contains(it) || other.branches.contains(it);
        (self.covers_path_of(one) || self.covers_path_of(other))
            && self.branches.iter().all(has)
            && self.conditions_once_split(header).is_subset(&conditions)
    }
}
