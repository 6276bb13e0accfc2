//! Which of two matches that both fit decides (1.5), said as the list of the specification.

use std::cmp::Ordering;

use super::{Call, Candidate, Path, Pattern, Value, specificity};

/// Whether `a` decides rather than `b`.
pub fn goes_before(a: &Candidate, b: &Candidate) -> bool {
    // Linkerd's hostnames at a Service: the more specific one, before all else.
    let by_host = specificity(a.hostname).cmp(&specificity(b.hostname));
    // Exact, then regular expressions, then prefixes; among these the longer.
    // Of calls instead of paths: the longer service, then the longer method.
    let by_service = length_of(a, |call| &call.service).cmp(&length_of(b, |call| &call.service));
    let by_call = length_of(a, |call| &call.method).cmp(&length_of(b, |call| &call.method));
    let by_kind = kind(a).cmp(&kind(b));
    let by_length = length(a).cmp(&length(b));
    let has_method = |it: &Candidate| it.wanted.method.is_some();
    let by_method = has_method(a).cmp(&has_method(b));
    let by_headers = a.wanted.headers.len().cmp(&b.wanted.headers.len());
    let by_query = a.wanted.query.len().cmp(&b.wanted.query.len());
    for more in [
        by_host, by_service, by_call, by_kind, by_length, by_method, by_headers, by_query,
    ] {
        match more {
            Ordering::Greater => return true,
            Ordering::Less => return false,
            Ordering::Equal => {}
        }
    }
    // Then the older route, the first by name, and the first in order.
    let age = |it: &Candidate| it.route.created.unwrap_or(u8::MAX);
    let name = |it: &Candidate| format!("{}/{}", it.route.namespace, it.route.name);
    let order = |it: &Candidate| (it.route.kind, it.rule, it.position);
    (age(a), name(a), order(a)) < (age(b), name(b), order(b))
}

fn kind(it: &Candidate) -> u8 {
    match &it.wanted.path {
        Some(Path::Exact(_)) => 2,
        Some(Path::Regex(pattern)) if !fits_every_path(pattern) => 1,
        Some(Path::Regex(_)) => 0,
        // Without a path it is the prefix "/".
        Some(Path::Prefix(_)) | None => 0,
    }
}

/// In characters. A slash at the end of a prefix is none of them, but "/" is one.
fn length(it: &Candidate) -> usize {
    match &it.wanted.path {
        Some(Path::Exact(path)) => path.chars().count(),
        Some(Path::Regex(pattern)) if fits_every_path(pattern) => 1,
        Some(Path::Regex(pattern)) => pattern.to_string().chars().count(),
        Some(Path::Prefix(prefix)) => prefix.trim_end_matches('/').chars().count().max(1),
        None => 1,
    }
}

/// Of each length it fits a path of a character that no pattern names, so any path of that length.
fn fits_every_path(pattern: &Pattern) -> bool {
    (0..20).all(|length| pattern.is_all_of(&format!("/{}", "~".repeat(length))))
}

fn length_of(it: &Candidate, part: impl Fn(&Call) -> &Option<Value>) -> usize {
    match it.wanted.call.as_ref().and_then(|call| part(call).as_ref()) {
        None => 0,
        Some(Value::Exact(name)) => name.chars().count(),
        Some(Value::Regex(pattern)) => pattern.to_string().chars().count(),
    }
}
