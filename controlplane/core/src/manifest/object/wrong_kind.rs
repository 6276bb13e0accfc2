//! Finds mistakes in the group or the kind of a document. Weir does not read such a document, but the user most likely
//! means a supported kind.
//!
//! Many products have kinds of the same names (`Gateway` of `networking.istio.io`, `Service` of `serving.knative.dev`,
//! `HTTPRoute` of other gateways), so the name of a kind alone proves little. [`mistaken`] finds a mistake in three
//! cases:
//! - The group is right and the kind is misspelled: upper or lower case differs, the kind is a plural, or it differs by
//!   one edit (by two edits in a long name). The group has no kind with the misspelled name.
//! - The group is wrong, and the kind exists in only one group ([`UNIQUE_KINDS`]).
//! - The kind is right. The group is missing, differs from the right group by at most [`GROUP_EDITS`] edits, or is a
//!   group that users often write for this kind ([`OTHER_GROUPS`]).

use super::{Kind, SUPPORTED_KINDS, SupportedKind};
use crate::manifest::problem::messages::{Message, object as messages};
use crate::manifest::spelling::edit_distance;

/// Kinds that exist in only one group.
const UNIQUE_KINDS: [&str; 2] = ["TrafficSplit", "HTTPRouteGroup"];

/// The most edits between a misspelled group and the right group.
const GROUP_EDITS: usize = 3;

/// Groups that users often write for a kind, although the group does not have this kind.
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

/// Kinds of the supported groups that Weir does not read. Their names look like misspelled names of supported kinds,
/// but are not mistakes.
const OTHER_KINDS: [&str; 11] = [
    "TLSRoute",
    "UDPRoute",
    "ListenerSet",
    "BackendTrafficPolicy",
    "Server",
    "ServerAuthorization",
    "Secret",
    "Event",
    "Endpoints",
    "Node",
    "ServiceAccount",
];

/// Returns the supported kind that the user most likely means by this group and kind, and a message about the mistake.
/// Returns None for a kind of another product.
pub(super) fn mistaken(group: &str, kind: &str) -> Option<(Kind, Message)> {
    let misspelled = SUPPORTED_KINDS
        .iter()
        .find(|it| is_of_traffic(it) && it.group == group && is_misspelled(kind, it.name));
    if let Some(right) = misspelled {
        return Some((right.kind, wrong_kind(group, kind, right.name)));
    }
    let candidates = SUPPORTED_KINDS
        .iter()
        .filter(|it| is_of_traffic(it) && kind.eq_ignore_ascii_case(it.name));
    let right = candidates.min_by_key(|it| group_distance(group, it.group))?;
    let is_mistake = UNIQUE_KINDS.contains(&right.name)
        || OTHER_GROUPS.contains(&(group, right.name))
        || (!right.group.is_empty()
            && (group.is_empty() || edits_of_group(group, right.group) <= GROUP_EDITS));
    is_mistake.then(|| (right.kind, wrong_group(group, kind, right)))
}

/// Returns a message for a document that may be a supported object with a mistake. Also returns the kind of this object
/// if the kind is clear. There are two cases:
/// - The document has a supported or misspelled kind, and a group that no other product would use.
/// - The document has a supported group, and a kind that this group does not have.
pub(super) fn edited_object(group: &str, kind: &str) -> Option<(Option<Kind>, Message)> {
    if OTHER_KINDS.contains(&kind) {
        return None;
    }
    let candidates = SUPPORTED_KINDS
        .iter()
        .filter(|it| it.name == kind || is_misspelled(kind, it.name));
    let nearest = candidates.min_by_key(|it| group_distance(group, it.group));
    if let Some(right) = nearest.filter(|_| is_of_no_other_product(group)) {
        let message = if right.group == group {
            wrong_kind(group, kind, right.name)
        } else {
            wrong_group(group, kind, right)
        };
        return Some((Some(right.kind), message));
    }
    let kinds_of_group: Vec<&str> = SUPPORTED_KINDS
        .iter()
        .filter(|it| !matches!(it.kind, Kind::Workload(_)) && it.group == group)
        .map(|it| it.name)
        .collect();
    let is_supported_group = !group.is_empty() && !kinds_of_group.is_empty();
    is_supported_group.then(|| {
        let message = messages::other_kind(kind, group, kinds_of_group.join(" or "));
        (None, message)
    })
}

/// Returns a message if `kind` is a misspelled `List`.
pub(super) fn misspelled_list(kind: &str) -> Option<Message> {
    is_misspelled(kind, "List").then(|| wrong_kind("", kind, "List"))
}

/// True if most likely no other product uses this group. Such a group has no dot, differs little from a supported
/// group, or is the end of a supported group.
fn is_of_no_other_product(group: &str) -> bool {
    let lower = group.to_ascii_lowercase();
    !group.contains('.')
        || SUPPORTED_KINDS.iter().any(|it| {
            edits_of_group(group, it.group) <= GROUP_EDITS
                || it.group.ends_with(&format!(".{lower}"))
        })
}

/// Returns the number of edits from a group to a supported group. Returns 0 for an empty group: then all supported
/// groups are equally near, and the first kind in [`SUPPORTED_KINDS`] wins.
fn group_distance(group: &str, supported: &str) -> usize {
    match group {
        "" => 0,
        group => edits_of_group(group, supported),
    }
}

fn edits_of_group(group: &str, supported: &str) -> usize {
    edit_distance(&group.to_ascii_lowercase(), supported)
}

fn wrong_kind(group: &str, kind: &str, right: &str) -> Message {
    let group = if group.is_empty() { "v1" } else { group };
    messages::other_kind(kind, group, right)
}

fn wrong_group(group: &str, kind: &str, right: &SupportedKind) -> Message {
    let version = newest(right.versions);
    match (group, right.group) {
        (_, "") => messages::other_group(kind, group, version),
        ("", right) => messages::no_group(kind, format!("{right}/{version}")),
        (group, right) => messages::other_group(kind, group, format!("{right}/{version}")),
    }
}

/// True if this kind splits traffic. False for a kind of the access policy and for ConfigMaps: many products have kinds
/// with these names, so a similar name is not a sign of a mistake.
fn is_of_traffic(supported: &SupportedKind) -> bool {
    !supported.kind.is_of_policy() && supported.kind != Kind::ConfigMap
}

/// Returns `v1` if it is one of the versions, else the last version, which is the highest.
pub(super) fn newest(versions: &[&'static str]) -> &'static str {
    let stable = versions.iter().find(|version| **version == "v1");
    stable.or(versions.last()).copied().unwrap_or("v1")
}

/// True if `kind` is a plural of `right`, or differs from it by at most one edit (two edits in a long name). Upper and
/// lower case count as equal. False for [`OTHER_KINDS`].
pub(super) fn is_misspelled(kind: &str, right: &str) -> bool {
    const LONG: usize = 9;
    let bound = if right.len() > LONG { 2 } else { 1 };
    let singular = kind.strip_suffix('s').unwrap_or(kind);
    kind != right
        && !OTHER_KINDS.contains(&kind)
        && (singular.eq_ignore_ascii_case(right)
            || edit_distance(&kind.to_ascii_lowercase(), &right.to_ascii_lowercase()) <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause_and_remedy(group: &str, kind: &str) -> String {
        let (_, message) = mistaken(group, kind).unwrap_or_else(|| panic!("{kind} of {group}"));
        assert_eq!(
            message.effect.extent,
            crate::manifest::problem::Extent::Nothing
        );
        format!("{}; {}", message.cause, message.remedy)
    }

    #[test]
    fn mistakes_name_right_group_or_kind() {
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
            assert_eq!(cause_and_remedy(group, kind), expected);
        }
    }

    #[test]
    fn kinds_of_other_products_pass() {
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
            assert!(mistaken(group, kind).is_none(), "{kind} of {group}");
        }
    }
}
