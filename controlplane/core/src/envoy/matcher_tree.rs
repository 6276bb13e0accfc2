//! Reads the routes in the matcher tree of a virtual host (xds.type.matcher.v3.Matcher).

use serde_json::{Value, json};

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
    /// True if only requests without the header fit.
    pub is_absence: bool,
    /// The condition as JSON.
    pub json: String,
}

/// A branch of a map. A request takes only one branch of each map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The place of the map in the tree.
    map: usize,
    key: String,
    /// The condition on a header, as a HeaderMatcher; null if the map reads something else, such as the path.
    pub condition: Value,
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
            let own = entry.get("predicate").map(self::predicates);
            let own = own.into_iter().flatten();
            let predicates: Vec<_> = predicates.iter().cloned().chain(own).collect();
            self.on_match(entry.get("on_match"), &predicates, branches);
        }
        if let Some(tree) = matcher.get("matcher_tree") {
            let map = self.maps;
            self.maps = map.saturating_add(1);
            let header = header(tree);
            let kinds = ["exact", "prefix"].into_iter();
            let found = kinds.filter_map(|kind| {
                let found = tree.get(format!("{kind}_match_map"))?.get("map")?;
                Some(found.as_object()?.iter().map(move |entry| (kind, entry)))
            });
            let mut found: Vec<_> = found.flatten().collect();
            // Envoy takes the branch with the longest prefix.
            found.sort_by_key(|(_, (key, _))| std::cmp::Reverse(key.len()));
            for (kind, (key, on_match)) in found {
                let own = Branch {
                    map,
                    key: key.clone(),
                    condition: match header.as_str() {
                        "" => Value::Null,
                        name if name.starts_with(':') => Value::Null,
                        name => json!({ "name": name, "string_match": { kind: key } }),
                    },
                };
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

/// Returns the conditions that a request must fit all.
fn predicates(predicate: &Value) -> Vec<Predicate> {
    if let Some(all) = predicate.get("and_matcher") {
        let all = items(all, "predicate").flat_map(predicates);
        return all.collect();
    }
    let single = |holder: &Value| holder.get("single_predicate").cloned();
    let positive = single(predicate).unwrap_or_default();
    let negative = predicate.get("not_matcher").and_then(single);
    let is_any = |single: &Value| {
        let regex = single.pointer("/value_match/safe_regex/regex");
        let prefix = single.pointer("/value_match/prefix");
        let is = |value: Option<&Value>, texts: &[&str]| {
            value
                .and_then(Value::as_str)
                .is_some_and(|it| texts.contains(&it))
        };
        is(regex, &[".*", ".+"]) || is(prefix, &[""])
    };
    let absent = negative.filter(is_any);
    let every_path = ["/", ""].map(|it| Some(Value::from(it)));
    let prefix = positive.pointer("/value_match/prefix").cloned();
    let regex = positive.pointer("/value_match/safe_regex/regex");
    if header(&positive) == ":path"
        && (every_path.contains(&prefix) || regex == Some(&Value::from("/.*")))
    {
        return Vec::new();
    }
    let exact = positive.pointer("/value_match/exact");
    vec![Predicate {
        header: header(absent.as_ref().unwrap_or(&positive)),
        exact: exact.and_then(Value::as_str).map(str::to_owned),
        is_absence: absent.is_some(),
        json: predicate.to_string(),
    }]
}

/// Returns the header that this condition or map reads, in lower case; empty if it reads something else.
fn header(holder: &Value) -> String {
    let input = holder.pointer("/input/typed_config");
    let header = input.map(|input| text(input, "header_name"));
    header.unwrap_or_default().to_ascii_lowercase()
}
