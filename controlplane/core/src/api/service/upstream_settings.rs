//! The part of a Service that only the proxies' clusters need: the external name and the annotations `weir.dev/...`.
//!
//! A wrong value switches off its own setting and no other setting.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use crate::api::route::timeouts::milliseconds;
use crate::manifest::hostname::is_dns_name;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::{Message, list, service as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::spelling::edit_distance;

const PREFIX: &str = "weir.dev/";
/// Maximum number of addresses in one annotation.
const MAX_ADDRESSES: usize = 256;
/// Maximum of a duration: one day.
const MAX_MILLISECONDS: u64 = 86_400_000;

/// Maximum of the seconds of TCP keepalive that Linux accepts.
const MAX_KEEPALIVE_SECONDS: u64 = 32_767;
/// Maximum of the probes of TCP keepalive that Linux accepts.
const MAX_PROBES: u32 = 127;

/// The settings of the clusters of one Service. Most Services have none, so a Service has them in a box.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// `spec.externalName` of a Service of type ExternalName.
    pub external_name: Option<HostAddress>,
    /// The value of the annotation `weir.dev/addresses`.
    pub addresses: Box<[UpstreamAddress]>,
    pub policies: UpstreamPolicies,
}

/// A host without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostAddress {
    Ip(IpAddr),
    /// A host name in lower case, without a trailing dot.
    Name(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamAddress {
    pub host: HostAddress,
    /// None means the number of the Service's port.
    pub port: Option<u16>,
}

/// How a proxy uses the endpoints of a Service. An absent value means the default of Envoy, except where a field says
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamPolicies {
    /// Milliseconds. The default is 5 seconds.
    pub connect_timeout: Option<u64>,
    pub load_balancing: Option<LoadBalancing>,
    pub limits: CircuitBreakers,
    /// None switches outlier detection off.
    pub outliers: Option<OutlierDetection>,
    /// None switches TCP keepalive off.
    pub keepalive: Option<TcpKeepalive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancing {
    RoundRobin,
    LeastRequest,
    Random,
}

/// Limits for each proxy. The default of each limit is 1024, except for retries: 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreakers {
    pub connections: Option<u32>,
    pub pending_requests: Option<u32>,
    pub requests: Option<u32>,
    pub retries: Option<u32>,
}

/// Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    pub consecutive_5xx: Option<u32>,
    pub interval: Option<u64>,
    pub ejection_time: Option<u64>,
    pub max_ejection_percent: Option<u32>,
}

/// Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    pub time: Option<u32>,
    pub interval: Option<u32>,
    pub probes: Option<u32>,
}

/// Reads the value of one annotation into the settings. Returns a description of possible values if the value is
/// wrong.
type Reader = fn(&mut UpstreamSettings, &str) -> Result<(), &'static str>;

/// Each annotation without its prefix, sorted.
const ANNOTATIONS: [(&str, Reader); 14] = [
    ("addresses", |to, text| {
        to.addresses = addresses(text).ok_or(ADDRESSES)?;
        Ok(())
    }),
    ("connect-timeout", |to, text| {
        to.policies.connect_timeout = Some(duration(text)?);
        Ok(())
    }),
    ("load-balancing", |to, text| {
        to.policies.load_balancing = Some(match text {
            "round_robin" => LoadBalancing::RoundRobin,
            "least_request" => LoadBalancing::LeastRequest,
            "random" => LoadBalancing::Random,
            _ => return Err("round_robin, least_request or random"),
        });
        Ok(())
    }),
    ("max-connections", |to, text| {
        to.policies.limits.connections = Some(number(text)?);
        Ok(())
    }),
    ("max-pending-requests", |to, text| {
        to.policies.limits.pending_requests = Some(number(text)?);
        Ok(())
    }),
    ("max-requests", |to, text| {
        to.policies.limits.requests = Some(number(text)?);
        Ok(())
    }),
    ("max-retries", |to, text| {
        to.policies.limits.retries = Some(number(text)?);
        Ok(())
    }),
    ("outlier-consecutive-5xx", |to, text| {
        outliers(to).consecutive_5xx = Some(number(text)?);
        Ok(())
    }),
    ("outlier-ejection-time", |to, text| {
        outliers(to).ejection_time = Some(duration(text)?);
        Ok(())
    }),
    ("outlier-interval", |to, text| {
        outliers(to).interval = Some(duration(text)?);
        Ok(())
    }),
    ("outlier-max-ejection-percent", |to, text| {
        let percent = text.parse().ok().filter(|it| *it <= 100);
        outliers(to).max_ejection_percent = Some(percent.ok_or("a whole number from 0 to 100")?);
        Ok(())
    }),
    ("tcp-keepalive-interval", |to, text| {
        keepalive(to).interval = Some(seconds(text)?);
        Ok(())
    }),
    ("tcp-keepalive-probes", |to, text| {
        let probes = number(text).ok().filter(|it| *it <= MAX_PROBES);
        keepalive(to).probes = Some(probes.ok_or(PROBES)?);
        Ok(())
    }),
    ("tcp-keepalive-time", |to, text| {
        keepalive(to).time = Some(seconds(text)?);
        Ok(())
    }),
];

const ADDRESSES: &str = "addresses such as 10.0.0.1:8080,host.example:443";
const DURATION: &str = "a duration such as 5s or 500ms, from 1ms to 24h";
const SECONDS: &str = "a duration in whole seconds such as 30s, from 1s to 32767s";
const PROBES: &str = "a whole number from 1 to 127";
const NUMBER: &str = "a whole number from 1 to 4294967295";

impl UpstreamSettings {
    /// Reads the settings of a Service. Returns None if the Service has none. Adds a problem for each unknown
    /// annotation of Weir, and for each wrong value.
    pub fn parse(
        object: &Object,
        external_name: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> Option<Box<UpstreamSettings>> {
        let reference = object.reference();
        let mut settings = UpstreamSettings::default();
        if let Some(text) = external_name {
            settings.external_name = host(text);
            if settings.external_name.is_none() {
                problems.push(reference.problem("spec.externalName", messages::bad_host(text)));
            }
        }
        let annotations = object.body.pointer("/metadata/annotations");
        let annotations = annotations.and_then(Value::as_object);
        for (name, value) in annotations.into_iter().flatten() {
            let Some(own) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if let Err(message) = settings.read(&reference, own, value) {
                let path = format!("metadata.annotations[{name}]");
                problems.push(reference.problem(path, message));
            }
        }
        (settings != UpstreamSettings::default()).then(|| Box::new(settings))
    }

    fn read(&mut self, object: &ObjectRef, name: &str, value: &Value) -> Result<(), Message> {
        let Some((_, reader)) = ANNOTATIONS.iter().find(|(it, _)| *it == name) else {
            return Err(unknown(name));
        };
        let Some(text) = value.as_str() else {
            return Err(messages::annotation_no_text(value));
        };
        // Kubernetes has no permission for this annotation, so it could name any host, such as the proxy itself.
        if name == "addresses" && object.source.is_empty() {
            return Err(messages::addresses_in_cluster());
        }
        let before = self.clone();
        reader(self, text.trim()).map_err(|possible| {
            // A reader may have added an empty part for its value.
            *self = before;
            messages::bad_annotation(text, possible)
        })
    }
}

fn unknown(name: &str) -> Message {
    let names = ANNOTATIONS.iter().map(|(name, _)| *name);
    let nearest = names
        .clone()
        .map(|it| (edit_distance(name, it), it))
        .min()
        .filter(|(edits, it)| *edits * 3 <= it.len());
    match nearest {
        Some((_, right)) => messages::annotation_misspelled(name, right),
        None => messages::annotation_unknown(name, list(names)),
    }
}

fn outliers(to: &mut UpstreamSettings) -> &mut OutlierDetection {
    to.policies.outliers.get_or_insert_default()
}

fn keepalive(to: &mut UpstreamSettings) -> &mut TcpKeepalive {
    to.policies.keepalive.get_or_insert_default()
}

fn duration(text: &str) -> Result<u64, &'static str> {
    let value = milliseconds(text).filter(|it| (1..=MAX_MILLISECONDS).contains(it));
    value.ok_or(DURATION)
}

fn seconds(text: &str) -> Result<u32, &'static str> {
    let value = duration(text).map_err(|_| SECONDS)?;
    let whole = (value % 1_000 == 0).then_some(value / 1_000);
    let whole = whole.filter(|it| *it <= MAX_KEEPALIVE_SECONDS);
    whole.and_then(|it| u32::try_from(it).ok()).ok_or(SECONDS)
}

fn number(text: &str) -> Result<u32, &'static str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|it| is_plain && *it > 0);
    value.ok_or(NUMBER)
}

fn addresses(text: &str) -> Option<Box<[UpstreamAddress]>> {
    let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let mut addresses = parts.map(address).collect::<Option<Vec<_>>>()?;
    addresses.sort();
    addresses.dedup();
    (1..=MAX_ADDRESSES)
        .contains(&addresses.len())
        .then(|| addresses.into())
}

/// Parses `10.0.0.1`, `10.0.0.1:80`, `[fd00::1]:80`, `fd00::1`, `host.example` or `host.example:80`.
fn address(text: &str) -> Option<UpstreamAddress> {
    if let Some(host) = host(text) {
        return Some(UpstreamAddress { host, port: None });
    }
    let (name, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let in_brackets = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let host = match in_brackets {
        Some(inner) => HostAddress::Ip(inner.parse::<Ipv6Addr>().ok()?.into()),
        // The address of IPv6 without brackets would be ambiguous.
        None => host(name).filter(|_| !name.contains(':'))?,
    };
    (port != 0).then_some(UpstreamAddress {
        host,
        port: Some(port),
    })
}

fn host(text: &str) -> Option<HostAddress> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let is_usable = !address.is_unspecified() && !address.is_multicast();
        return is_usable.then_some(HostAddress::Ip(address));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    // A name that ends with digits is most likely a misspelled address.
    let is_number = name
        .bytes()
        .next_back()
        .is_some_and(|it| it.is_ascii_digit())
        && name.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    (is_dns_name(&name) && !is_number).then(|| HostAddress::Name(name.into()))
}

#[cfg(test)]
mod tests;
