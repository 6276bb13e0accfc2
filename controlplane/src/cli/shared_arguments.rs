//! Arguments of several commands, and the parsers of argument values. The flags of `weir serve` are in
//! [`super::serve_command`].

use std::io::Write;
use std::time::Duration;

use clap::Args;
use weir::report::Lease;
use weir_core::api::route::timeouts;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::hostname;
use weir_core::plan::Scope;

#[derive(Args)]
pub struct PolicyArgument {
    /// Access policy. smi: TrafficTargets decide which client may reach which backend. permissive: every client may
    /// reach every backend. unstated: the configuration contains no policy. In this case a proxy with a service_account
    /// in its plugin configuration keeps its last policy. A proxy that never had a policy denies all traffic
    #[arg(long, value_name = "unstated|permissive|smi", value_parser = parse_policy, default_value = "unstated")]
    pub policy: Policy,
}

pub fn parse_scope(text: &str) -> Result<Scope, &'static str> {
    Scope::of_namespace(text).ok_or("write the name of a namespace, or '*' for an edge proxy")
}

pub fn parse_namespace(text: &str) -> Result<String, &'static str> {
    hostname::is_label(text)
        .then(|| text.to_owned())
        .ok_or("not the name of a namespace")
}

pub fn parse_trust_domain(text: &str) -> Result<String, &'static str> {
    weir_split::is_trust_domain(text)
        .then(|| text.to_owned())
        .ok_or("write lower-case letters, digits, '-', '.' and '_', such as cluster.local")
}

pub fn parse_domain(text: &str) -> Result<String, &'static str> {
    hostname::is_dns_name(text)
        .then(|| text.to_owned())
        .ok_or("write a DNS name in lower case, such as cluster.local")
}

pub fn parse_gateway(text: &str) -> Result<Scope, &'static str> {
    Scope::of_gateway(text).ok_or("write NAMESPACE/NAME")
}

/// Parses a duration such as `90s`, `5m` or `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let milliseconds = timeouts::milliseconds(text).filter(|it| *it > 0);
    let milliseconds = milliseconds.ok_or("write a number with a unit, such as 90s, 5m or 1h")?;
    Ok(Duration::from_millis(milliseconds))
}

pub fn parse_lease(text: &str) -> Result<Lease, &'static str> {
    match Scope::of_gateway(text) {
        Some(Scope::Gateway { namespace, name }) => Ok(Lease { namespace, name }),
        _ => Err("write NAMESPACE/NAME"),
    }
}

fn parse_policy(text: &str) -> Result<Policy, &'static str> {
    match text {
        "unstated" => Ok(Policy::Unstated),
        "permissive" => Ok(Policy::Permissive),
        "smi" => Ok(Policy::Smi),
        _ => Err("write unstated, permissive or smi"),
    }
}

/// Ignores errors, because the program that reads our output may stop early (`| head`).
pub fn print(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
