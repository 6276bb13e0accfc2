//! Functions for the group, the name and the namespace in a reference to another object.

use std::net::Ipv4Addr;

/// True for the core group. Its name is `""` in Gateway API, and `core` in Linkerd's guides.
pub fn is_core(group: &str) -> bool {
    group.is_empty() || group.eq_ignore_ascii_case("core")
}

/// Returns the namespace in a reference. A missing or empty namespace means `own`, the namespace of the object that
/// contains the reference.
pub fn non_empty_or(namespace: Option<String>, own: &str) -> String {
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or_else(|| own.to_owned())
}

/// Returns the correct fields if the user wrote a host or a URL instead of the name of a Service. For `http://web.app`,
/// the result is `name: web and namespace: app`. Returns None if `text` is a plain name or an IPv4 address.
pub fn name_in_host(text: &str) -> Option<String> {
    let host = match text.split_once("://") {
        Some((_, host)) => host,
        None => text,
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
        _ => (host != text).then(|| format!("name: {name}")),
    }
}
