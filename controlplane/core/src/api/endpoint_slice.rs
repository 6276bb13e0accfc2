//! EndpointSlice of discovery.k8s.io/v1: addresses of the pods of a Service.
//!
//! A cluster can have tens of thousands of endpoints, so the checked form has 48 bytes for each endpoint.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use serde::Deserialize;

use crate::manifest::object::Object;
use crate::manifest::problem::messages::endpoint_slice as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::at_most;

/// The label with the name of the Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The limit of the API server for the endpoints of one EndpointSlice.
const MAX_ENDPOINTS: usize = 1_000;
/// The limit of the API server for the ports of one EndpointSlice.
const MAX_PORTS: usize = 20_000;

/// The endpoints of one Service, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// The name of the Service.
    pub service: Box<str>,
    pub is_ipv6: bool,
    /// The TCP ports, by name. The name is empty if the port has no name.
    ports: Box<[(Box<str>, u16)]>,
    /// The names of the zones that `endpoints` refers to. The first name is empty: it means that no zone is known.
    zones: Box<[Box<str>]>,
    endpoints: Box<[SliceEndpoint]>,
}

/// Whether an endpoint may get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    Unready,
    /// The pod is ending and still serves. It gets requests only if no endpoint of the Service is ready.
    ServingTerminating,
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SliceEndpoint {
    address: IpAddr,
    readiness: Readiness,
    /// Indexes in [`EndpointSlice::zones`].
    zone: u16,
    hint: u16,
    /// The hash of `targetRef`; None without a `targetRef`.
    target: Option<u64>,
}

/// One endpoint with the names of its zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointView<'s> {
    pub address: IpAddr,
    pub readiness: Readiness,
    /// The zone of the endpoint; empty if the zone is unknown.
    pub zone: &'s str,
    /// The zone whose clients should use the endpoint, from `hints.forZones`; empty without hints.
    pub hint: &'s str,
    /// Equal for endpoints of the same pod. None if the pod is unknown.
    pub target: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SliceManifest {
    metadata: SliceMetadata,
    address_type: String,
    ports: Option<Vec<PortManifest>>,
    endpoints: Option<Vec<EndpointManifest>>,
}

#[derive(Deserialize)]
struct SliceMetadata {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct PortManifest {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointManifest {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    zone: Option<String>,
    hints: Option<Hints>,
    target_ref: Option<TargetRef>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<ForZone>>,
}

#[derive(Deserialize)]
struct ForZone {
    name: String,
}

#[derive(Deserialize, Hash)]
struct TargetRef {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

impl Conditions {
    /// Returns the readiness as kube-proxy sees it.
    fn readiness(&self) -> Readiness {
        if self.ready.unwrap_or(true) {
            Readiness::Ready
        } else if self.serving == Some(true) && self.terminating == Some(true) {
            Readiness::ServingTerminating
        } else {
            Readiness::Unready
        }
    }
}

impl TargetRef {
    fn hash_of(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.uid {
            Some(uid) => uid.hash(&mut hasher),
            None => self.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// The zones of a slice, each name once.
#[derive(Default)]
struct ZoneNames {
    names: Vec<Box<str>>,
    indexes: BTreeMap<String, u16>,
}

impl ZoneNames {
    /// Returns the index of the name; 0 for None. A u16 is enough for two names of each of [`MAX_ENDPOINTS`] endpoints.
    fn index(&mut self, name: Option<String>) -> u16 {
        if self.names.is_empty() {
            self.names.push("".into());
        }
        let Some(name) = name.filter(|it| !it.is_empty()) else {
            return 0;
        };
        if let Some(index) = self.indexes.get(&name) {
            return *index;
        }
        let index = u16::try_from(self.names.len()).unwrap_or_default();
        self.names.push(name.as_str().into());
        self.indexes.insert(name, index);
        index
    }
}

impl EndpointSlice {
    /// Parses an EndpointSlice. Returns None if the slice belongs to no Service, or has host names instead of
    /// addresses. kube-proxy ignores both kinds of slices, too. An endpoint with an invalid address is left out with a
    /// problem.
    pub fn parse(
        object: &Object,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<EndpointSlice>, Problem> {
        object.reject_other_fields(&["addressType", "endpoints", "ports"])?;
        let manifest: SliceManifest = object.decode()?;
        let reference = object.reference();
        let is_ipv6 = match manifest.address_type.as_str() {
            "IPv4" => false,
            "IPv6" => true,
            "FQDN" => {
                problems.push(reference.problem("addressType", messages::host_names()));
                return Ok(None);
            }
            other => {
                return Err(reference.problem("addressType", messages::bad_address_type(other)));
            }
        };
        let mut labels = manifest.metadata.labels.unwrap_or_default();
        let Some(service) = labels.remove(SERVICE_NAME).filter(|it| !it.is_empty()) else {
            let path = "metadata.labels";
            problems.push(reference.problem(path, messages::no_service_name()));
            return Ok(None);
        };
        let ports = manifest.ports.unwrap_or_default();
        at_most(&ports, MAX_PORTS, &reference, "ports")?;
        let endpoints = manifest.endpoints.unwrap_or_default();
        at_most(&endpoints, MAX_ENDPOINTS, &reference, "endpoints")?;
        let mut zones = ZoneNames::default();
        let mut checked = Vec::with_capacity(endpoints.len());
        for (index, endpoint) in endpoints.into_iter().enumerate() {
            match parse_address(&reference, index, &endpoint, is_ipv6) {
                Ok(address) => checked.push(SliceEndpoint::of(endpoint, address, &mut zones)),
                Err(problem) => problems.push(problem),
            }
        }
        Ok(Some(EndpointSlice {
            namespace: object.namespace.as_str().into(),
            name: object.name.as_str().into(),
            service: service.into(),
            is_ipv6,
            ports: ports.into_iter().filter_map(tcp_port).collect(),
            zones: zones.names.into(),
            endpoints: checked.into(),
        }))
    }

    /// Returns the number of the port with this name. An empty name means the port without a name.
    pub fn port(&self, name: &str) -> Option<u16> {
        let mut ports = self.ports.iter();
        let (_, number) = ports.find(|(it, _)| **it == *name)?;
        Some(*number)
    }

    pub fn endpoints(&self) -> impl Iterator<Item = EndpointView<'_>> {
        let zone = |index: u16| {
            let name = self.zones.get(usize::from(index));
            name.map(|it| &**it).unwrap_or_default()
        };
        self.endpoints.iter().map(move |it| EndpointView {
            address: it.address,
            readiness: it.readiness,
            zone: zone(it.zone),
            hint: zone(it.hint),
            target: it.target,
        })
    }

    /// Returns the approximate number of bytes in memory.
    pub fn weight(&self) -> usize {
        const TEXT: usize = 32;
        let texts = [&self.namespace, &self.name, &self.service].into_iter();
        let ports = self.ports.iter().map(|(name, _)| name);
        let texts = texts.chain(ports).chain(&self.zones);
        let endpoints = size_of_val(&*self.endpoints);
        texts.fold(endpoints, |sum, it| sum + TEXT + it.len())
    }
}

impl SliceEndpoint {
    fn of(endpoint: EndpointManifest, address: IpAddr, zones: &mut ZoneNames) -> SliceEndpoint {
        let hints = endpoint.hints.and_then(|it| it.for_zones);
        let hint = hints.unwrap_or_default().into_iter().next();
        SliceEndpoint {
            address,
            readiness: endpoint.conditions.readiness(),
            zone: zones.index(endpoint.zone),
            hint: zones.index(hint.map(|it| it.name)),
            target: endpoint.target_ref.as_ref().map(TargetRef::hash_of),
        }
    }
}

/// Returns None for a port that is not TCP, and for a port without a number.
fn tcp_port(port: PortManifest) -> Option<(Box<str>, u16)> {
    let is_tcp = port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let number = port.port.filter(|number| is_tcp && *number != 0)?;
    Some((port.name.unwrap_or_default().into(), number))
}

/// Returns the first address. Kubernetes defines no meaning for more addresses of one endpoint.
fn parse_address(
    object: &ObjectRef,
    index: usize,
    endpoint: &EndpointManifest,
    is_ipv6: bool,
) -> Result<IpAddr, Problem> {
    let text = endpoint.addresses.first().map_or("", String::as_str);
    let address = text.parse::<IpAddr>().ok();
    let usable =
        address.filter(|it| it.is_ipv6() == is_ipv6 && !it.is_unspecified() && !it.is_multicast());
    usable.ok_or_else(|| {
        let family = if is_ipv6 { "IPv6" } else { "IPv4" };
        let path = format!("endpoints[{index}].addresses[0]");
        object.problem(path, messages::bad_address(text, family))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;

    fn parse(rest: &str) -> (Result<Option<EndpointSlice>, String>, Vec<String>) {
        let text = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: a-1, labels: {{kubernetes.io/service-name: a}}}}\n{rest}\n"
        );
        let object = &read("a.yaml", &text).unwrap().objects[0];
        let mut problems = Vec::new();
        let slice = EndpointSlice::parse(object, &mut problems);
        let paths = problems.into_iter().map(|it| it.path);
        (slice.map_err(|it| it.path), paths.collect())
    }

    #[test]
    fn readiness_is_that_of_kube_proxy() {
        let readiness = |conditions: &str| {
            let (slice, _) = parse(&format!(
                "addressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], conditions: {conditions}}}]"
            ));
            let slice = slice.unwrap().unwrap();
            slice.endpoints().next().unwrap().readiness
        };
        for (conditions, expected) in [
            ("{}", Readiness::Ready),
            ("{ready: null}", Readiness::Ready),
            ("{ready: true, serving: true}", Readiness::Ready),
            ("{ready: false}", Readiness::Unready),
            ("{ready: false, serving: true}", Readiness::Unready),
            ("{ready: false, terminating: true}", Readiness::Unready),
            (
                "{ready: false, serving: true, terminating: true}",
                Readiness::ServingTerminating,
            ),
        ] {
            assert_eq!(readiness(conditions), expected, "{conditions}");
        }
    }

    #[test]
    fn ports_and_zones_are_parsed() {
        let (slice, problems) = parse(
            "addressType: IPv6
ports: [{name: http, port: 8080}, {port: 9090, protocol: TCP}, {name: dns, port: 53, protocol: UDP}, {name: any}]
endpoints:
- {addresses: ['fd00::1'], zone: a, hints: {forZones: [{name: b}, {name: c}]}, targetRef: {uid: '1'}}
- {addresses: ['fd00::2', 'fd00::3'], zone: b, targetRef: {uid: '1', name: x}}
- {addresses: ['10.0.0.1']}
- {addresses: ['::']}
- {addresses: []}",
        );
        let slice = slice.unwrap().unwrap();
        assert_eq!(problems.len(), 3);
        assert_eq!(problems[0], "endpoints[2].addresses[0]");
        let ports = ["http", "", "dns", "any"].map(|it| slice.port(it));
        assert_eq!(ports, [Some(8080), Some(9090), None, None]);
        let views: Vec<_> = slice.endpoints().collect();
        let zones: Vec<_> = views.iter().map(|it| (it.zone, it.hint)).collect();
        assert_eq!(zones, [("a", "b"), ("b", "")]);
        assert!(views[0].target.is_some() && views[0].target == views[1].target);
        assert!(size_of::<SliceEndpoint>() <= 48);
    }

    #[test]
    fn slice_needs_service_and_addresses() {
        assert_eq!(
            parse("addressType: FQDN"),
            (Ok(None), vec!["addressType".into()])
        );
        assert_eq!(parse("addressType: ip").0, Err("addressType".into()));
        assert_eq!(
            parse("addressType: IPv4\nspec: {a: 1}").0,
            Err("spec".into())
        );
        let other = "addressType: IPv4\nendpoints: [{addresses: [1]}]";
        assert_eq!(parse(other).0, Err("endpoints[0].addresses[0]".into()));
    }
}
