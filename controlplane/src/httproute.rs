//! HTTPRoute of Gateway API (v1, v1beta1) and of Linkerd (policy.linkerd.io v1beta2, v1beta3): the
//! manifest, into the form of [`crate::route`].

use serde::Deserialize;
use serde_json::Value;

use crate::fields::Rest;
use crate::object::Object;
use crate::problem::Problem;
use crate::route::backends::{self, BackendRefSpec};
use crate::route::filters::{self, FilterSpec};
use crate::route::head;
use crate::route::matching::{self, MatchSpec};
use crate::route::patterns::Patterns;
use crate::route::place::Place;
use crate::route::rules::{self, Keys};
use crate::route::timeouts::{self, RetrySpec, TimeoutsSpec};
use crate::route::{Route, RouteKind, RouteRule};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleSpec {
    name: Option<String>,
    matches: Option<Vec<MatchSpec>>,
    filters: Option<Vec<FilterSpec>>,
    backend_refs: Option<Vec<BackendRefSpec>>,
    timeouts: Option<TimeoutsSpec>,
    retry: Option<RetrySpec>,
    session_persistence: Option<Value>,
    #[serde(flatten)]
    rest: Rest,
}

/// See [`Route::parse`].
pub fn parse(object: &Object, kind: RouteKind) -> Result<(Route, Vec<Problem>), Problem> {
    head::parse(object, kind, |place, written, problems| {
        parse_rules(place, kind, &object.namespace, written, problems)
    })
}

fn parse_rules(
    place: &Place,
    kind: RouteKind,
    namespace: &str,
    written: Vec<RuleSpec>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<RouteRule>, Problem> {
    let counts = written
        .iter()
        .filter_map(|rule| Some(rule.matches.as_ref()?.len()));
    rules::check_total(place, counts)?;
    let mut keys = Keys::new(place, written.iter().map(|rule| rule.name.as_ref()))?;
    let mut patterns = Patterns::default();
    let mut rules = Vec::with_capacity(written.len());
    for (index, spec) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&spec.rest, &[])?;
        if kind == RouteKind::LinkerdHttp && spec.retry.is_some() {
            return Err(place.field("retry").unsupported(
                "retry is no field of policy.linkerd.io",
                "use an HTTPRoute of gateway.networking.k8s.io",
            ));
        }
        let matches = matching::parse(&place.field("matches"), spec.matches, &mut patterns)?;
        let prefix = matching::only_prefix(&matches);

        let parsed = filters::parse(&place.field("filters"), kind, prefix, spec.filters)?;
        let mut found = parsed.dropped(&place, kind, index, spec.session_persistence.is_some());
        let dropped = !found.is_empty();
        let backends = backends::parse(
            &place.field("backendRefs"),
            kind,
            namespace,
            prefix,
            spec.backend_refs,
            &mut found,
        )?;
        if parsed.filters.redirect.is_some() && !backends.is_empty() {
            return Err(place.field("backendRefs").invalid(
                "a rule that redirects has no backends",
                "take the backends or the filter RequestRedirect out",
            ));
        }
        let timeouts = timeouts::parse(&place.field("timeouts"), spec.timeouts)?;
        let retry = timeouts::parse_retry(&place.field("retry"), spec.retry)?;
        let Some(key) = keys.next(spec.name, &matches) else {
            continue;
        };
        rules.push(RouteRule {
            index,
            key,
            matches,
            dropped,
            backends,
            filters: parsed.filters,
            timeouts,
            retry,
        });
        problems.extend(found);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests;
