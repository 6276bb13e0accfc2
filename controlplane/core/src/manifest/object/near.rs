//! Near misses: documents that are no object here because of their group or kind, and were most likely meant to be.
//!
//! Many products have kinds of the same names (`Gateway` of `networking.istio.io`, `Service` of
//! `serving.knative.dev`, `HTTPRoute` of other gateways), so a name alone proves little. A document is a near miss
//! only if
//! - its group is right and its kind is misspelled: another case, a plural, or one edit (two in a long name), and no
//!   kind of that group that exists; or
//! - its kind is one that exists nowhere else ([`OURS_ALONE`]); or
//! - its kind is right and its group is missing, or is the right group but for [`GROUP_EDITS`] edits, or is one of
//!   the groups that the kind once had or is often looked for in ([`OTHER_GROUPS`]).

use super::{Kind, UNDERSTOOD};
use crate::manifest::problem::messages::{Message, object as messages};

const OURS_ALONE: [&str; 2] = ["TrafficSplit", "HTTPRouteGroup"];

const GROUP_EDITS: usize = 3;

/// Groups of no such kind, in which it is written all the same.
const OTHER_GROUPS: [(&str, &str); 8] = [
    ("core", "Service"),
    ("core", "Namespace"),
    ("apps", "Service"),
    ("networking.k8s.io", "HTTPRoute"),
    ("networking.k8s.io", "Gateway"),
    ("networking.x-k8s.io", "HTTPRoute"),
    ("networking.x-k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRouteGroup"),
];

/// Kinds of the known groups that are not read, and are no misspelling of one that is.
const OTHER_KINDS: [&str; 12] = [
    "TLSRoute",
    "UDPRoute",
    "ListenerSet",
    "BackendTLSPolicy",
    "BackendTrafficPolicy",
    "Server",
    "ServerAuthorization",
    "Secret",
    "Event",
    "Endpoints",
    "Node",
    "ServiceAccount",
];

/// The kind that was most likely meant, and what is wrong.
pub(super) fn miss(group: &str, kind: &str) -> Option<(Kind, Message)> {
    let near_kind = UNDERSTOOD.iter().find(|(known_group, known, _, meant)| {
        is_of_traffic(*meant) && *known_group == group && is_misspelled(kind, known)
    });
    if let Some((_, known, _, meant)) = near_kind {
        return Some((*meant, wrong_kind(group, kind, known)));
    }
    let candidates = UNDERSTOOD.iter().filter(|(_, known, _, meant)| {
        is_of_traffic(*meant) && (*known == kind || is_in_another_case(kind, known))
    });
    let meant @ (right, known, ..) =
        candidates.min_by_key(|(known_group, ..)| distance(group, known_group))?;
    let is_near = OURS_ALONE.contains(known)
        || OTHER_GROUPS.contains(&(group, known))
        || (!right.is_empty() && (group.is_empty() || edits_of_group(group, right) <= GROUP_EDITS));
    is_near.then(|| (meant.3, wrong_group(group, kind, meant)))
}

/// What is wrong with a kind and a group that are not read, if an object has become of them by an edit: the kind is one
/// of Weir's or nearly so and the group no other product's, or the group is one of Weir's and has no such kind.
pub(super) fn stranger(group: &str, kind: &str) -> Option<(Option<Kind>, Message)> {
    if OTHER_KINDS.contains(&kind) {
        return None;
    }
    let candidates = UNDERSTOOD
        .iter()
        .filter(|(_, known, ..)| *known == kind || is_misspelled(kind, known));
    let meant = candidates.min_by_key(|(known_group, ..)| distance(group, known_group));
    if let Some(meant) = meant.filter(|_| is_no_product(group)) {
        let message = match meant.0 == group {
            true => wrong_kind(group, kind, meant.1),
            false => wrong_group(group, kind, meant),
        };
        return Some((Some(meant.3), message));
    }
    let known = UNDERSTOOD.iter().filter(|(known_group, _, _, meant)| {
        !matches!(meant, Kind::Workload(_)) && *known_group == group
    });
    let known: Vec<&str> = known.map(|(_, known, ..)| *known).collect();
    let is_stranger = !group.is_empty() && !known.is_empty();
    is_stranger.then(|| (None, messages::other_kind(kind, group, known.join(" or "))))
}

/// Whether `kind` was meant to be `List`.
pub(super) fn list(kind: &str) -> Option<Message> {
    is_misspelled(kind, "List").then(|| wrong_kind("", kind, "List"))
}

/// Whether a group is none that another product would choose: it has no domain, or nearly one of Weir's.
fn is_no_product(group: &str) -> bool {
    let lower = group.to_ascii_lowercase();
    !group.contains('.')
        || UNDERSTOOD.iter().any(|(known, ..)| {
            edits_of_group(group, known) <= GROUP_EDITS || known.ends_with(&format!(".{lower}"))
        })
}

/// How far a group is from a known one. Of several kinds without a group the first one is meant.
fn distance(group: &str, known: &str) -> usize {
    match group {
        "" => 0,
        group => edits_of_group(group, known),
    }
}

fn edits_of_group(group: &str, known: &str) -> usize {
    edits(&group.to_ascii_lowercase(), known)
}

fn wrong_kind(group: &str, kind: &str, known: &str) -> Message {
    let group = if group.is_empty() { "v1" } else { group };
    messages::other_kind(kind, group, known)
}

fn wrong_group(group: &str, kind: &str, meant: &(&str, &str, &[&'static str], Kind)) -> Message {
    let (right, _, versions, _) = meant;
    let version = newest(versions);
    match (group, *right) {
        (_, "") => messages::other_group(kind, group, version),
        ("", right) => messages::no_group(kind, format!("{right}/{version}")),
        (group, right) => messages::other_group(kind, group, format!("{right}/{version}")),
    }
}

/// Kinds that only an access policy looks at are too many to guess at.
fn is_of_traffic(kind: Kind) -> bool {
    !kind.is_of_policy()
}

/// A stable version, else the highest.
pub(super) fn newest(versions: &[&'static str]) -> &'static str {
    let stable = versions.iter().find(|version| **version == "v1");
    stable.or(versions.last()).copied().unwrap_or("v1")
}

fn is_in_another_case(kind: &str, known: &str) -> bool {
    kind.eq_ignore_ascii_case(known)
}

pub(super) fn is_misspelled(kind: &str, known: &str) -> bool {
    const LONG: usize = 9;
    let bound = if known.len() > LONG { 2 } else { 1 };
    let plural = kind.strip_suffix('s').unwrap_or(kind);
    let is_other = OTHER_KINDS.contains(&kind);
    kind != known
        && !is_other
        && (is_in_another_case(plural, known)
            || edits(&kind.to_ascii_lowercase(), &known.to_ascii_lowercase()) <= bound)
}

/// Levenshtein's distance, by bytes.
pub fn edits(one: &str, other: &str) -> usize {
    const LONGEST: usize = 64;
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().max(other.len()) > LONGEST {
        return LONGEST;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, expected) in row.iter_mut().skip(1).zip(other) {
            let replaced = diagonal + usize::from(byte != expected);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(group: &str, kind: &str) -> String {
        let (_, message) = miss(group, kind).unwrap_or_else(|| panic!("{kind} of {group}"));
        assert_eq!(
            message.effect.extent,
            crate::manifest::problem::Extent::Nothing
        );
        format!("{}; {}", message.cause, message.remedy)
    }

    #[test]
    fn groups_and_kinds_that_were_meant() {
        for (group, kind, expected) in [
            (
                "split.smi-specs.io",
                "TrafficSplit",
                "TrafficSplit is not read under the group split.smi-specs.io; write apiVersion: split.smi-spec.io/v1alpha4",
            ),
            (
                "split.linkerd.io",
                "TrafficSplit",
                "TrafficSplit is not read under the group split.linkerd.io; write apiVersion: split.smi-spec.io/v1alpha4",
            ),
            (
                "",
                "TrafficSplit",
                "TrafficSplit is not read without a group; write apiVersion: split.smi-spec.io/v1alpha4",
            ),
            (
                "split.smi-spec.io",
                "TrafficSplits",
                "there is no kind TrafficSplits in split.smi-spec.io; write kind: TrafficSplit",
            ),
            (
                "split.smi-spec.io",
                "TrafficSpilt",
                "there is no kind TrafficSpilt in split.smi-spec.io; write kind: TrafficSplit",
            ),
            (
                "gateway.networking.k8s.io",
                "Httproute",
                "there is no kind Httproute in gateway.networking.k8s.io; write kind: HTTPRoute",
            ),
            (
                "gateway.networking.k8.io",
                "HTTPRoute",
                "HTTPRoute is not read under the group gateway.networking.k8.io; write apiVersion: gateway.networking.k8s.io/v1",
            ),
            (
                "networking.k8s.io",
                "HTTPRoute",
                "HTTPRoute is not read under the group networking.k8s.io; write apiVersion: gateway.networking.k8s.io/v1",
            ),
            (
                "policy.linkerd.oi",
                "HTTPRoute",
                "HTTPRoute is not read under the group policy.linkerd.oi; write apiVersion: policy.linkerd.io/v1beta3",
            ),
            (
                "",
                "HTTPRoute",
                "HTTPRoute is not read without a group; write apiVersion: gateway.networking.k8s.io/v1",
            ),
            (
                "Gateway.Networking.K8s.io",
                "HTTPRoute",
                "HTTPRoute is not read under the group Gateway.Networking.K8s.io; write apiVersion: gateway.networking.k8s.io/v1",
            ),
            (
                "",
                "service",
                "there is no kind service in v1; write kind: Service",
            ),
            (
                "",
                "Services",
                "there is no kind Services in v1; write kind: Service",
            ),
            (
                "core",
                "Service",
                "Service is not read under the group core; write apiVersion: v1",
            ),
        ] {
            assert_eq!(said(group, kind), expected);
        }
    }

    #[test]
    fn kinds_of_other_products_and_those_that_exist() {
        for (group, kind) in [
            ("networking.istio.io", "Gateway"),
            ("networking.istio.io", "VirtualService"),
            ("serving.knative.dev", "Service"),
            ("gateway.solo.io", "Gateway"),
            ("gateway.solo.io", "HTTPRoute"),
            ("gateway.networking.k8s.io", "TLSRoute"),
            ("gateway.networking.k8s.io", "UDPRoute"),
            ("gateway.networking.k8s.io", "ListenerSet"),
            ("policy.linkerd.io", "Server"),
            ("specs.smi-spec.io", "UDPRoute"),
            ("apps", "Deployment"),
            ("", "Secret"),
            ("", "ServiceAccount"),
            ("batch", "Job"),
            ("flagger.app", "Canary"),
        ] {
            assert!(miss(group, kind).is_none(), "{kind} of {group}");
        }
    }
}
