//! The group, the name and the namespace in a reference to another object.

use std::net::Ipv4Addr;

/// Gateway API writes the core group as "", Linkerd's guides as "core".
pub fn is_core(group: &str) -> bool {
    group.is_empty() || group.eq_ignore_ascii_case("core")
}

pub fn own_unless(written: Option<String>, own: &str) -> String {
    let written = written.filter(|namespace| !namespace.is_empty());
    written.unwrap_or_else(|| own.to_owned())
}

/// Namespace and name in what is written as a host: `web.app.svc.cluster.local`, `http://web.app`.
pub fn name_within(written: &str) -> Option<String> {
    let host = match written.split_once("://") {
        Some((_, host)) => host,
        None => written,
    };
    let host = host.split(['/', ':']).next().unwrap_or_default();
    if host.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    let mut labels = host.split('.');
    let name = labels.next().filter(|name| !name.is_empty())?;
    match labels.next() {
        Some(namespace) if !namespace.is_empty() => {
            Some(format!("name: {name} and namespace: {namespace}"))
        }
        _ => (host != written).then(|| format!("name: {name}")),
    }
}
