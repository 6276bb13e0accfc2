//! Decides from the status of an object whether proxies run the object's current generation.

use serde_json::Value;

use super::condition::{LIVE, find, list};
use super::route_parents::is_same;
use crate::api::gateway::CONTROLLER;
use crate::api::route::{ParentKind, RouteKind, parent_ref};
use crate::manifest::object::{Kind, SUPPORTED_KINDS, SupportedKind};

/// Returns the kind with this name, if Weir writes a status for it. The name is the singular, the plural or the short
/// name of the kind, with or without `.GROUP`, as in a command of kubectl.
pub fn parse_kind(text: &str) -> Option<SupportedKind> {
    let (name, group) = text.split_once('.').unwrap_or((text, ""));
    let name = name.to_ascii_lowercase();
    SUPPORTED_KINDS.into_iter().find(|it| {
        let singular = it.name.to_ascii_lowercase();
        let is_split = it.kind == Kind::TrafficSplit;
        (is_split || RouteKind::of(it.kind).is_some())
            && (group.is_empty() || group == it.group)
            && (name == singular || name == format!("{singular}s") || (is_split && name == "ts"))
    })
}

/// Returns the messages of the condition `weir.dev/Live`. A split has one message. A route has one message for each
/// parent that Weir serves. `object` is the whole object.
///
/// Returns Err if the current generation is not live at one or more of these places. The error has one line for each
/// place where it is not live.
pub fn liveness(kind: Kind, object: &Value) -> Result<Vec<String>, Vec<String>> {
    let generation = object["metadata"]["generation"].as_i64();
    let generation = generation.unwrap_or_default();
    if object["metadata"].get("deletionTimestamp").is_some() {
        return Err(vec!["it is being deleted".to_owned()]);
    }
    let status = &object["status"];
    let results = match RouteKind::of(kind) {
        None => vec![of_conditions(list(status, "conditions"), generation)],
        Some(kind) => of_parents(kind, object, list(status, "parents"), generation),
    };
    if results.is_empty() {
        return Err(vec!["Weir serves none of its parents".to_owned()]);
    }
    let mut live = Vec::new();
    let mut missing = Vec::new();
    for result in results {
        match result {
            Ok(message) => live.push(message),
            Err(message) => missing.push(message),
        }
    }
    if missing.is_empty() {
        Ok(live)
    } else {
        Err(missing)
    }
}

fn of_parents(
    kind: RouteKind,
    object: &Value,
    entries: &[Value],
    generation: i64,
) -> Vec<Result<String, String>> {
    let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let refs = object.get("spec").map(|spec| list(spec, "parentRefs"));
    let mut results = Vec::new();
    for reference in refs.unwrap_or_default() {
        let Some(parent) = parent_ref::kind_of(kind, reference) else {
            continue;
        };
        let mut of_parent = entries
            .iter()
            .filter(|it| is_same(reference, &it["parentRef"], own));
        let of_weir = of_parent
            .clone()
            .find(|it| it["controllerName"] == CONTROLLER);
        let result = match of_weir {
            Some(entry) => of_conditions(list(entry, "conditions"), generation),
            // Another controller serves this Gateway.
            None if parent == ParentKind::Gateway && of_parent.next().is_some() => continue,
            None => Err(
                "it has no status: Weir has not read the route yet, or serves no such parent"
                    .to_owned(),
            ),
        };
        let place = describe(parent, reference, own);
        results.push(match result {
            Ok(message) => Ok(format!("{place}: {message}")),
            Err(message) => Err(format!("{place}: {message}")),
        });
    }
    results
}

fn of_conditions(conditions: &[Value], generation: i64) -> Result<String, String> {
    let Some(live) = find(conditions, LIVE) else {
        return Err(format!(
            "it has no condition {LIVE}: Weir has not read it yet, or the definition of its kind has no status"
        ));
    };
    let observed = live["observedGeneration"].as_i64().unwrap_or_default();
    if observed != generation {
        return Err(format!(
            "the condition {LIVE} is about generation {observed}, and the object has generation {generation}: Weir has \
             not reported on the newest edit yet"
        ));
    }
    let says = |condition: &Value| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    };
    let (status, reason, message) = says(live);
    if status == "True" {
        return Ok(message);
    }
    let accepted = find(conditions, "Accepted").map(says);
    Err(match accepted {
        Some((status, reason, message)) if status == "False" => {
            format!("the condition Accepted is False ({reason}): {message}")
        }
        _ => format!("the condition {LIVE} is {status} ({reason}): {message}"),
    })
}

/// Returns the parent as a text, such as `Service shop/web port 80`.
fn describe(kind: ParentKind, reference: &Value, own: &str) -> String {
    let text = |field: &str| reference[field].as_str().filter(|it| !it.is_empty());
    let kind = match kind {
        ParentKind::Service => "Service",
        ParentKind::Gateway => "Gateway",
    };
    let namespace = text("namespace").unwrap_or(own);
    let mut place = format!("{kind} {namespace}/{}", text("name").unwrap_or_default());
    if let Some(section) = text("sectionName") {
        place.push_str(&format!(" listener {section}"));
    }
    if let Some(port) = reference["port"].as_u64() {
        place.push_str(&format!(" port {port}"));
    }
    place
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(kind: &str, status: &str, generation: i64, message: &str) -> Value {
        json!({ "type": kind, "status": status, "reason": "R", "message": message, "observedGeneration": generation })
    }

    fn live(status: &str, generation: i64) -> Value {
        condition(LIVE, status, generation, "on 1 of 2 proxies")
    }

    fn split(conditions: &[Value]) -> Result<Vec<String>, Vec<String>> {
        let object =
            json!({ "metadata": { "generation": 4 }, "status": { "conditions": conditions } });
        liveness(Kind::TrafficSplit, &object)
    }

    #[test]
    fn split_is_live_by_generation() {
        let on = vec!["on 1 of 2 proxies".to_owned()];
        assert_eq!(split(&[live("True", 4)]), Ok(on));
        for (conditions, says) in [
            (vec![], "no condition weir.dev/Live"),
            (vec![live("True", 3)], "about generation 3"),
            (vec![live("False", 4)], "False (R): on 1 of 2 proxies"),
            (
                vec![
                    condition("Accepted", "False", 4, "a typo"),
                    live("False", 4),
                ],
                "Accepted is False (R): a typo",
            ),
        ] {
            let missing = split(&conditions).unwrap_err();
            assert!(missing.join("").contains(says), "{missing:?}");
        }
        let object = json!({ "metadata": { "generation": 4 } });
        assert!(liveness(Kind::TrafficSplit, &object).is_err());
        let object = json!({
            "metadata": { "generation": 4, "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "status": { "conditions": [live("True", 4)] },
        });
        let missing = liveness(Kind::TrafficSplit, &object).unwrap_err();
        assert_eq!(missing, ["it is being deleted"]);
    }

    /// Returns the result for a route with a Service and two Gateways as parents.
    fn route(entries: &[(&str, usize, Value)]) -> Result<Vec<String>, Vec<String>> {
        let refs = [
            json!({ "group": "", "kind": "Service", "name": "web", "port": 80 }),
            json!({ "name": "edge", "sectionName": "https" }),
            json!({ "name": "other", "namespace": "infra" }),
        ];
        let entries: Vec<Value> = entries
            .iter()
            .map(|(controller, parent, live)| {
                json!({ "controllerName": controller, "parentRef": refs[*parent], "conditions": [live] })
            })
            .collect();
        let object = json!({
            "metadata": { "generation": 4, "namespace": "shop" },
            "spec": { "parentRefs": refs },
            "status": { "parents": entries },
        });
        liveness(Kind::HttpRoute, &object)
    }

    #[test]
    fn route_needs_all_own_parents() {
        let foreign = ("example.com/other", 2, live("False", 1));
        let first = (CONTROLLER, 0, live("True", 4));
        let second = (CONTROLLER, 1, live("True", 4));
        let all = route(&[first.clone(), second.clone(), foreign.clone()]).unwrap();
        assert_eq!(
            all,
            [
                "Service shop/web port 80: on 1 of 2 proxies",
                "Gateway shop/edge listener https: on 1 of 2 proxies"
            ]
        );
        let old = (CONTROLLER, 1, live("True", 3));
        for (entries, says) in [
            (
                vec![second.clone(), foreign.clone()],
                "Service shop/web port 80: it has no status",
            ),
            (
                vec![first.clone(), old, foreign],
                "listener https: the condition weir.dev/Live is about",
            ),
            (vec![first, second], "Gateway infra/other: it has no status"),
        ] {
            let missing = route(&entries).unwrap_err();
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert!(missing[0].contains(says), "{missing:?}");
        }
        let object = json!({ "metadata": { "generation": 4 }, "spec": {} });
        assert!(liveness(Kind::GrpcRoute, &object).is_err());
    }

    #[test]
    fn kinds_have_kubectl_names() {
        for (text, kind) in [
            ("ts", Some(Kind::TrafficSplit)),
            ("TrafficSplit", Some(Kind::TrafficSplit)),
            ("trafficsplits.split.smi-spec.io", Some(Kind::TrafficSplit)),
            ("httproute", Some(Kind::HttpRoute)),
            ("httproutes.policy.linkerd.io", Some(Kind::LinkerdHttpRoute)),
            ("grpcroutes", Some(Kind::GrpcRoute)),
            ("tcproute", Some(Kind::TcpRoute)),
            ("tcproute.specs.smi-spec.io", None),
            ("httproutegroup", None),
            ("service", None),
            ("httproute.example.com", None),
            ("", None),
        ] {
            assert_eq!(parse_kind(text).map(|it| it.kind), kind, "{text}");
        }
    }
}
