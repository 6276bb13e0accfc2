//! The routes for split requests. A split changes the cluster and nothing else, so each of these routes has the match and
//! the policies of an ordinary route.

use super::Editor;
use crate::manifest::problem::messages::bootstrap as messages;
use crate::paste::fragments::{self, ROUTING_HEADER};
use crate::paste::text_draft::NoPlace;
use crate::paste::yaml_tree::{self, YamlNode};
use crate::paste::yaml_value::YamlValue;

/// The fields of a route action that choose the cluster.
const CLUSTER_FIELDS: [&str; 5] = [
    "cluster",
    "cluster_header",
    "weighted_clusters",
    "cluster_specifier_plugin",
    "inline_cluster_specifier_plugin",
];

impl Editor<'_> {
    pub(super) fn virtual_host(&mut self, place: &str, host: &YamlNode) {
        self.mirrors(place, host, false);
        if let Some(matcher) = host.get("matcher") {
            self.remark(matcher.start, place, messages::routes_in_matcher());
        }
        let Some(routes) = host.get("routes") else {
            return;
        };
        let items = routes.items();
        let uncovered: Vec<usize> = (0..items.len())
            .filter(|index| is_uncovered(routes, *index))
            .collect();
        let has_other_splits = items.iter().any(|it| is_split(&it.value));
        if !has_other_splits && !uncovered.is_empty() && is_plain_host(routes) {
            let done = self.draft.add_item(routes, 0, &fragments::split_route());
            self.check(done, routes, place, "routes");
            return;
        }
        for index in uncovered {
            let Some(route) = items.get(index) else {
                continue;
            };
            if has_policies_of_clusters(&route.value) {
                self.remark(route.start, place, messages::policies_of_clusters());
            }
            let Some(twin) = twin(self.draft.text, &route.value) else {
                self.check(Err(NoPlace), routes, place, "routes");
                continue;
            };
            let column = yaml_tree::column(self.draft.text, route.start);
            let lines = twin.lines_of_item(column);
            let done = self.draft.add_item(routes, index, &lines);
            self.check(done, routes, place, "routes");
        }
    }
}

/// True if the route sends requests to a cluster, and no route above it takes its split requests.
fn is_uncovered(routes: &YamlNode, index: usize) -> bool {
    let items = routes.items();
    let Some(route) = items.get(index).map(|it| &it.value) else {
        return false;
    };
    let action = route.get("route");
    let has_cluster = action.is_some_and(|it| {
        let mut fields = CLUSTER_FIELDS.iter();
        fields.any(|field| it.get(field).is_some())
    });
    if !has_cluster || is_split(route) {
        return false;
    }
    let above = items.iter().take(index);
    let mut above = above.map(|it| &it.value).filter(|it| is_split(it));
    let is_right_above = |it: &&YamlNode| {
        let right_above = index.checked_sub(1).and_then(|it| items.get(it));
        right_above.is_some_and(|right_above| std::ptr::eq(*it, right_above.value.as_ref()))
    };
    !above.any(|it| is_right_above(&it.as_ref()) || takes_all_splits(it))
}

/// True if the route takes its cluster from the header of the filter.
fn is_split(route: &YamlNode) -> bool {
    let header = route.at(&["route", "cluster_header"]);
    let header = header.and_then(YamlNode::text).unwrap_or_default();
    header.eq_ignore_ascii_case(ROUTING_HEADER)
}

/// True if the match of a route for split requests has no other condition than the header and the switch.
fn takes_all_splits(route: &YamlNode) -> bool {
    let Some(conditions) = route.get("match") else {
        return false;
    };
    let headers = conditions.get("headers").map(|it| it.items().len());
    let allowed = ["prefix", "headers", "runtime_fraction"];
    let has_only = |fields: &[&str]| {
        let mut entries = conditions.entries().iter();
        entries.all(|it| fields.contains(&it.key.as_str()))
    };
    conditions.text_of("prefix") == "/" && headers.unwrap_or(0) <= 1 && has_only(&allowed)
}

/// True if no route of the virtual host has a policy, all lead to clusters, and the last takes all requests. One route
/// for all split requests is enough for such a virtual host.
fn is_plain_host(routes: &YamlNode) -> bool {
    let is_plain = |route: &YamlNode| {
        let mut fields = route.entries().iter();
        let has_policy = fields.any(|it| !["match", "route", "name"].contains(&it.key.as_str()));
        let action = route.get("route").map(|it| it.entries());
        let has_only_cluster =
            action.is_some_and(|it| it.len() == 1 && it.iter().all(|it| it.key == "cluster"));
        !has_policy && has_only_cluster
    };
    let takes_all = |route: &YamlNode| {
        let conditions = route.get("match").map(|it| it.entries());
        conditions.is_some_and(|it| it.len() == 1)
            && route.at(&["match", "prefix"]).and_then(YamlNode::text) == Some("/")
    };
    let items = routes.items();
    let last = items.last();
    items.iter().all(|it| is_plain(&it.value)) && last.is_some_and(|it| takes_all(&it.value))
}

/// True if a weighted cluster of the route has policies of its own, such as `request_headers_to_add`.
fn has_policies_of_clusters(route: &YamlNode) -> bool {
    let clusters = route.at(&["route", "weighted_clusters", "clusters"]);
    let clusters = clusters.map(YamlNode::items).unwrap_or_default();
    let mut fields = clusters.iter().flat_map(|it| it.value.entries());
    fields.any(|it| !["name", "weight"].contains(&it.key.as_str()))
}

/// Returns a copy of the route for split requests.
fn twin(text: &str, route: &YamlNode) -> Option<YamlValue> {
    let mut twin = YamlValue::copy(text, route);
    for (key, value) in twin.entries_mut()? {
        match key.as_str() {
            "name" => {
                let name = format!("{}-split", route.text_of("name"));
                *value = YamlValue::text(&name);
            }
            "match" => add_conditions(value)?,
            "route" => replace_cluster(value)?,
            _ => {}
        }
    }
    Some(twin)
}

fn add_conditions(conditions: &mut YamlValue) -> Option<()> {
    let header = parsed(&fragments::header_condition())?;
    conditions.list_mut("headers")?.push(header);
    let entries = conditions.entries_mut()?;
    // A route can have only one fraction. If it has one, it gets no switch: the switch around the filter is enough.
    if !entries.iter().any(|(key, _)| key == "runtime_fraction") {
        entries.push(("runtime_fraction".into(), parsed(fragments::switch())?));
    }
    Some(())
}

fn replace_cluster(action: &mut YamlValue) -> Option<()> {
    let entries = action.entries_mut()?;
    entries.retain(|(key, _)| !CLUSTER_FIELDS.contains(&key.as_str()));
    let header = YamlValue::text(ROUTING_HEADER);
    entries.insert(0, ("cluster_header".into(), header));
    const MIRRORS: &str = "request_mirror_policies";
    if entries.iter().any(|(key, _)| key == MIRRORS) {
        let policies = parsed(&fragments::mirror_policies())?;
        if let YamlValue::List(policies) = policies {
            action.list_mut(MIRRORS)?.extend(policies);
        }
    }
    Some(())
}

fn parsed(fragment: &str) -> Option<YamlValue> {
    let node = yaml_tree::parse(fragment).ok()?;
    Some(YamlValue::copy(fragment, &node))
}
