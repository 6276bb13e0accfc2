//! The precedence of two matches that both fit (section 1.5), in the order of the specification's list.

use std::cmp::Ordering;

use super::{Call, Candidate, Path, Pattern, Value, specificity};

/// True if `a` goes before `b`.
pub fn goes_before(a: &Candidate, b: &Candidate) -> bool {
    // Linkerd: the more specific hostname at a Service goes before everything else.
    let by_host = specificity(a.hostname).cmp(&specificity(b.hostname));
    // Exact paths come first, then regular expressions, then prefixes. Longer paths come before shorter paths. For gRPC
    // calls the longer service comes first, then the longer method.
    let by_service = length_of(a, |call| &call.service).cmp(&length_of(b, |call| &call.service));
    let by_call = length_of(a, |call| &call.method).cmp(&length_of(b, |call| &call.method));
    let by_kind = kind(a).cmp(&kind(b));
    let by_length = length(a).cmp(&length(b));
    let has_method = |it: &Candidate| it.conditions.method.is_some();
    let by_method = has_method(a).cmp(&has_method(b));
    let by_headers = a.conditions.headers.len().cmp(&b.conditions.headers.len());
    let by_query = a.conditions.query.len().cmp(&b.conditions.query.len());
    for more in [
        by_host, by_service, by_call, by_kind, by_length, by_method, by_headers, by_query,
    ] {
        match more {
            Ordering::Greater => return true,
            Ordering::Less => return false,
            Ordering::Equal => {}
        }
    }
    // Then the older route comes first, then the route whose name sorts first, then the earlier rule and match.
    let age = |it: &Candidate| it.route.created.unwrap_or(u8::MAX);
    let name = |it: &Candidate| format!("{}/{}", it.route.namespace, it.route.name);
    let order = |it: &Candidate| (it.route.kind, it.rule, it.position);
    (age(a), name(a), order(a)) < (age(b), name(b), order(b))
}

fn kind(it: &Candidate) -> u8 {
    match &it.conditions.path {
        Some(Path::Exact(_)) => 2,
        Some(Path::Regex(pattern)) if !fits_every_path(pattern) => 1,
        Some(Path::Regex(_)) => 0,
        // A match without a path has the prefix "/".
        Some(Path::Prefix(_)) | None => 0,
    }
}

/// Returns the length of the path in characters. A slash at the end of a prefix does not count, but "/" has length 1.
fn length(it: &Candidate) -> usize {
    match &it.conditions.path {
        Some(Path::Exact(path)) => path.chars().count(),
        Some(Path::Regex(pattern)) if fits_every_path(pattern) => 1,
        Some(Path::Regex(pattern)) => pattern.to_string().chars().count(),
        Some(Path::Prefix(prefix)) => prefix.trim_end_matches('/').chars().count().max(1),
        None => 1,
    }
}

/// True if the pattern matches every path. Paths of `~` are enough for this test, because no pattern contains `~`.
pub(super) fn fits_every_path(pattern: &Pattern) -> bool {
    (0..20).all(|length| pattern.is_all_of(&format!("/{}", "~".repeat(length))))
}

fn length_of(it: &Candidate, part: impl Fn(&Call) -> &Option<Value>) -> usize {
    match it
        .conditions
        .call
        .as_ref()
        .and_then(|call| part(call).as_ref())
    {
        None => 0,
        Some(Value::Exact(name)) => name.chars().count(),
        Some(Value::Regex(pattern)) => pattern.to_string().chars().count(),
    }
}
