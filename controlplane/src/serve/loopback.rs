//! Checks requests on loopback: every program on this machine may read everything, except a web page in a browser.

use axum::http::HeaderMap;
use axum::http::header::HOST;

use super::reader::Refusal;
use weir_core::manifest::problem::messages::answer as messages;

/// Last labels of names that are never public: reserved top-level domains (RFC 6761, ICANN for `internal`), and `svc`
/// for short names of Services.
const LOCAL: [&str; 4] = ["localhost", "internal", "test", "svc"];
/// The end of full Service names. Other names under `local` may belong to any machine in the network (RFC 6762).
const CLUSTER: &str = ".cluster.local";

/// Refuses a Host that can be the name of another machine. Otherwise a web page could read the answer, because the
/// domain name of the page can resolve to 127.0.0.1 (DNS rebinding). Names of one word are allowed,
/// because Envoy sends the name of an Envoy cluster as Host, such as `weir`.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(host) = headers.get(HOST) else {
        return Ok(());
    };
    let host = String::from_utf8_lossy(host.as_bytes());
    if is_local(&host) {
        return Ok(());
    }
    Err(Refusal::Forbidden(messages::public_host(host).to_string()))
}

fn is_local(host: &str) -> bool {
    // An IPv6 address, such as `[::1]:9900`.
    if host.starts_with('[') {
        return true;
    }
    let name = host.split(':').next().unwrap_or_default();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
    let last = name.rsplit_once('.').map(|(_, last)| last);
    is_address || name.ends_with(CLUSTER) || last.is_none_or(|last| LOCAL.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_names_are_not_local() {
        for local in [
            "weir",
            "weir:9900",
            "127.0.0.1:9900",
            "[::1]:9900",
            "localhost:9900",
            "weir.weir-system.svc",
            "weir.weir-system.svc.cluster.local:9900",
            "weir.cluster.local",
            "WEIR.INTERNAL.",
        ] {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "rebind.example.com",
            "rebind.example.com:9900",
            "127.0.0.1.nip.io",
            "local.example",
            "svc.dev.",
            "printer.local",
            "printer.local.:9900",
            "cluster.local",
            "a.notcluster.local",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }
}
