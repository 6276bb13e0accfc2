//! Reads the routes in the matcher tree of a virtual host (xds.type.matcher.v3.Matcher).

use serde_json::Value;

use super::dump_fields::{items, message, text};

/// A route of a tree, and the conditions on the way to it.
pub struct TreeRoute<'v> {
    pub route: &'v Value,
    pub predicates: Vec<Predicate>,
    pub branches: Vec<Branch>,
}

/// A condition of a matcher_list.
#[derive(Clone, Debug)]
pub struct Predicate {
    /// The header that the condition reads, in lower case; empty if it reads something else.
    pub header: String,
    /// The only value of the header that fits, if there is one.
    pub exact: Option<String>,
    /// The condition as JSON.
    pub json: String,
}

/// A branch of a map. A request takes only one branch of each map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The place of the map in the tree.
    map: usize,
    key: String,
}

impl Branch {
    /// True if no request takes both branches.
    pub fn excludes(&self, other: &Branch) -> bool {
        self.map == other.map && self.key != other.key
    }
}

/// Returns the routes in the order in which Envoy tries them.
pub fn routes(matcher: &Value) -> Vec<TreeRoute<'_>> {
    let mut walk = Walk {
        routes: Vec::new(),
        maps: 0,
    };
    walk.matcher(matcher, &[], &[]);
    walk.routes
}

struct Walk<'v> {
    routes: Vec<TreeRoute<'v>>,
    maps: usize,
}

impl<'v> Walk<'v> {
    fn matcher(&mut self, matcher: &'v Value, predicates: &[Predicate], branches: &[Branch]) {
        let list = matcher.get("matcher_list").unwrap_or(&Value::Null);
        for entry in items(list, "matchers") {
            let own = entry.get("predicate").map(predicate);
            let predicates: Vec<_> = predicates.iter().cloned().chain(own).collect();
            self.on_match(entry.get("on_match"), &predicates, branches);
        }
        if let Some(tree) = matcher.get("matcher_tree") {
            let map = self.maps;
            self.maps = map.saturating_add(1);
            let maps = ["exact_match_map", "prefix_match_map"];
            let found = maps.iter().filter_map(|key| tree.get(key)?.get("map"));
            let found = found.filter_map(Value::as_object).flatten();
            let mut found: Vec<_> = found.collect();
            // Envoy takes the branch with the longest prefix.
            found.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
            for (key, on_match) in found {
                let key = key.clone();
                let own = Branch { map, key };
                let branches: Vec<_> = branches.iter().cloned().chain([own]).collect();
                self.on_match(Some(on_match), predicates, &branches);
            }
        }
        self.on_match(matcher.get("on_no_match"), predicates, branches);
    }

    fn on_match(
        &mut self,
        on_match: Option<&'v Value>,
        predicates: &[Predicate],
        branches: &[Branch],
    ) {
        let Some(on_match) = on_match else { return };
        if let Some(matcher) = on_match.get("matcher") {
            self.matcher(matcher, predicates, branches);
        }
        let Some(action) = on_match.pointer("/action/typed_config") else {
            return;
        };
        let mut add = |route| {
            self.routes.push(TreeRoute {
                route,
                predicates: predicates.to_vec(),
                branches: branches.to_vec(),
            });
        };
        match message(action) {
            "Route" => add(action),
            "RouteList" => items(action, "routes").for_each(add),
            _ => {}
        }
    }
}

fn predicate(predicate: &Value) -> Predicate {
    let single = predicate.get("single_predicate").unwrap_or(&Value::Null);
    let input = single.pointer("/input/typed_config");
    let header = input.map(|input| text(input, "header_name"));
    let exact = single.pointer("/value_match/exact");
    Predicate {
        header: header.unwrap_or_default().to_ascii_lowercase(),
        exact: exact.and_then(Value::as_str).map(str::to_owned),
        json: predicate.to_string(),
    }
}
