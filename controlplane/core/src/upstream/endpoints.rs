//! Chooses the endpoints of one port of a Service from its EndpointSlices, as kube-proxy does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::PortSelection;
use crate::api::endpoint_slice::{EndpointSlice, EndpointView, Readiness};

/// Maximum number of addresses of one cluster. The first addresses in order are kept.
const MAX_ADDRESSES: usize = 4_096;

/// The endpoints of a cluster, by name of the zone. The name is empty for endpoints without a zone.
///
/// If every endpoint has a hint (`hints.forZones`), the names come from the hints.
pub type Endpoints = BTreeMap<Box<str>, BTreeSet<SocketAddr>>;

/// Returns the endpoints for a port of a Service. `slices` are all EndpointSlices of the Service, in any order.
///
/// The ready endpoints are used. If no endpoint is ready, the endpoints that serve and terminate are used. A pod with
/// addresses of both families is one endpoint. An address that several slices list is one endpoint. Returns at most 4,096
/// addresses.
pub fn endpoints<'s>(
    slices: impl IntoIterator<Item = &'s EndpointSlice>,
    selection: &PortSelection,
) -> Endpoints {
    let mut candidates = Candidates::default();
    for slice in slices {
        let Some(port) = slice.port(&selection.port_name) else {
            continue;
        };
        let family = if slice.is_ipv6 == selection.prefers_ipv6 {
            &mut candidates.preferred
        } else {
            &mut candidates.other
        };
        for endpoint in slice.endpoints() {
            add(family, port, endpoint);
        }
    }
    let all = candidates.merge();
    let usable = |readiness| all.values().filter(move |it| it.readiness == readiness);
    let best = all.values().map(|it| it.readiness).max();
    let Some(best @ (Readiness::Ready | Readiness::ServingTerminating)) = best else {
        return Endpoints::new();
    };
    let has_hints = usable(best).all(|it| !it.hint.is_empty());
    let mut endpoints = Endpoints::new();
    let best_endpoints = all.iter().filter(|(_, it)| it.readiness == best);
    for (address, endpoint) in best_endpoints.take(MAX_ADDRESSES) {
        let zone = if has_hints {
            endpoint.hint
        } else {
            endpoint.zone
        };
        endpoints.entry(zone.into()).or_default().insert(*address);
    }
    endpoints
}

type Family<'s> = BTreeMap<SocketAddr, EndpointView<'s>>;

#[derive(Default)]
struct Candidates<'s> {
    preferred: Family<'s>,
    other: Family<'s>,
}

/// Adds an endpoint. While Kubernetes moves endpoints between slices, two slices can have the same address. Then the
/// better readiness counts.
fn add<'s>(family: &mut Family<'s>, port: u16, endpoint: EndpointView<'s>) {
    let address = SocketAddr::new(endpoint.address, port);
    // The zones break ties, so that the order of the slices has no effect.
    let rank = |it: &EndpointView<'s>| (it.readiness, it.zone, it.hint, it.target);
    match family.get_mut(&address) {
        Some(known) if rank(known) >= rank(&endpoint) => {}
        Some(known) => *known = endpoint,
        None => drop(family.insert(address, endpoint)),
    }
}

impl<'s> Candidates<'s> {
    /// Returns the endpoints of both families, without a second address of the same pod.
    fn merge(self) -> Family<'s> {
        let targets: BTreeSet<u64> = self.preferred.values().filter_map(|it| it.target).collect();
        let mut all = self.preferred;
        let more = self.other.into_iter();
        all.extend(more.filter(|(_, it)| it.target.is_none_or(|it| !targets.contains(&it))));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;

    fn slice(name: &str, rest: &str) -> EndpointSlice {
        let text = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}, labels: {{kubernetes.io/service-name: a}}}}\n{rest}"
        );
        let objects = read("a.yaml", &text).unwrap().objects;
        EndpointSlice::parse(&objects[0], &mut Vec::new())
            .unwrap()
            .unwrap()
    }

    fn lines(slices: &[EndpointSlice], prefers_ipv6: bool) -> Vec<String> {
        let selection = PortSelection {
            port_name: "http".into(),
            prefers_ipv6,
        };
        let found = endpoints(slices, &selection);
        let reversed = endpoints(slices.iter().rev(), &selection);
        assert_eq!(found, reversed);
        let lines = found
            .iter()
            .flat_map(|(zone, it)| it.iter().map(move |it| format!("{zone} {it}")));
        lines.collect()
    }

    #[test]
    fn terminating_endpoints_serve_as_last() {
        let head = "addressType: IPv4\nports: [{name: http, port: 80}]\nendpoints:\n";
        let leaving = "- {addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}\n";
        let gone = "- {addresses: [10.0.0.2], conditions: {ready: false, serving: false, terminating: true}}\n";
        let ready = "- {addresses: [10.0.0.3], conditions: {ready: true}}\n";
        let of = |parts: &[&str]| slice("x", &format!("{head}{}", parts.concat()));
        assert_eq!(
            lines(&[of(&[leaving, gone, ready])], false),
            [" 10.0.0.3:80"]
        );
        assert_eq!(lines(&[of(&[leaving, gone])], false), [" 10.0.0.1:80"]);
        assert!(lines(&[of(&[gone])], false).is_empty());
        // Another slice can have the ready endpoint.
        let two = [of(&[leaving]), of(&[ready])];
        assert_eq!(lines(&two, false), [" 10.0.0.3:80"]);
    }

    #[test]
    fn ports_are_found_by_name() {
        let old = "addressType: IPv4\nports: [{name: http, port: 80}, {name: grpc, port: 90}]\nendpoints: [{addresses: [10.0.0.1]}]";
        let new = "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}]";
        let none = "addressType: IPv4\nports: [{name: grpc, port: 90}]\nendpoints: [{addresses: [10.0.0.4]}]";
        let copy = "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.2], zone: a}]";
        let slices = [
            slice("a", old),
            slice("b", new),
            slice("c", none),
            slice("d", copy),
        ];
        assert_eq!(
            lines(&slices, false),
            [" 10.0.0.1:80", " 10.0.0.3:8080", "a 10.0.0.2:8080"]
        );
    }

    #[test]
    fn first_addresses_are_kept() {
        let of = |name: &str, third: usize, count: usize| {
            let endpoints = (0..count).map(|it| format!("{{addresses: [10.0.{third}.{it}]}}"));
            let endpoints = endpoints.collect::<Vec<_>>().join(", ");
            let head = "addressType: IPv4\nports: [{name: http, port: 80}]\nendpoints: ";
            slice(name, &format!("{head}[{endpoints}]"))
        };
        let full: Vec<_> = (0..16).map(|it| of(&format!("s{it}"), it, 256)).collect();
        assert_eq!(lines(&full, false).len(), MAX_ADDRESSES);
        let more = [vec![of("more", 16, 256)], full.clone()].concat();
        assert_eq!(lines(&more, false), lines(&full, false));
    }

    #[test]
    fn dual_stack_pod_counts_once() {
        let v4 = "addressType: IPv4\nports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.0.0.1], targetRef: {uid: a}}, {addresses: [10.0.0.2], targetRef: {uid: b}, conditions: {ready: false}}]";
        let v6 = "addressType: IPv6\nports: [{name: http, port: 80}]\nendpoints: [{addresses: ['fd00::1'], targetRef: {uid: a}}, {addresses: ['fd00::2'], targetRef: {uid: b}}, {addresses: ['fd00::3'], targetRef: {uid: c}}]";
        let slices = [slice("a", v4), slice("b", v6)];
        // The family of the Service decides about the readiness of a pod, too.
        assert_eq!(lines(&slices, false), [" 10.0.0.1:80", " [fd00::3]:80"]);
        assert_eq!(
            lines(&slices, true),
            [" [fd00::1]:80", " [fd00::2]:80", " [fd00::3]:80"]
        );
    }

    #[test]
    fn hints_count_if_all_have_them() {
        let head = "addressType: IPv4\nports: [{name: http, port: 80}]\nendpoints:\n- {addresses: [10.0.0.1], zone: a, hints: {forZones: [{name: b}]}}\n";
        let one = slice("a", head);
        assert_eq!(lines(std::slice::from_ref(&one), false), ["b 10.0.0.1:80"]);
        let other = "- {addresses: [10.0.0.2], zone: c}\n";
        let two = slice("a", &format!("{head}{other}"));
        assert_eq!(lines(&[two], false), ["a 10.0.0.1:80", "c 10.0.0.2:80"]);
        // An endpoint that gets no requests needs no hint.
        let unready = "- {addresses: [10.0.0.2], zone: c, conditions: {ready: false}}\n";
        let two = slice("a", &format!("{head}{unready}"));
        assert_eq!(lines(&[two], false), ["b 10.0.0.1:80"]);
    }
}
