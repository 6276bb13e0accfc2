//! The files of `envoy-config/` with the ports of a test.

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::{Connection, Envoy, FreePorts};

/// Returns a file of `envoy-config/` with port 0 for its listeners, so that Envoy picks free ports. Each cluster of the
/// list gets the port of its address. Panics if one of these clusters does not have exactly one endpoint.
pub fn shipped(name: &str, clusters: &[(&str, SocketAddr)]) -> String {
    let path = crate::root().join("envoy-config").join(name);
    let text = std::fs::read_to_string(&path).expect("a shipped configuration");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut in_clusters = false;
    let mut address = None;
    let mut replaced = 0;
    for line in &mut lines {
        let plain = line.trim().trim_start_matches("- ");
        if !line.starts_with([' ', '#']) || plain == "clusters:" {
            in_clusters = plain == "clusters:";
        }
        // Only names of clusters have this indentation.
        if let Some(cluster) = line.strip_prefix("  - name: ").filter(|_| in_clusters) {
            let cluster = clusters.iter().find(|(name, _)| *name == cluster);
            address = cluster.map(|(_, address)| *address);
        }
        if let Some((before, after)) = line.split_once("port_value: ") {
            let rest = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
            let port = match (in_clusters, address) {
                (true, Some(address)) => address.port(),
                (true, None) => continue,
                (false, _) => 0,
            };
            replaced += usize::from(in_clusters);
            *line = format!("{before}port_value: {port}{rest}");
        }
    }
    assert_eq!(replaced, clusters.len(), "clusters of {name}");
    lines.join("\n")
}

static PORTS: LazyLock<Mutex<FreePorts>> = LazyLock::new(Mutex::default);

/// Returns a free port that no other test of this process has got from this function.
pub fn free_port() -> u16 {
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    ports.next()
}

/// Like [`shipped`], for a file with a cluster `admin`: Envoy's admin interface gets the port of this cluster.
pub fn shipped_with_admin(name: &str, clusters: &[(&str, SocketAddr)]) -> String {
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = shipped(name, &[clusters, &[("admin", admin)]].concat());
    let before = "admin:\n  address: { socket_address: { address: 127.0.0.1, port_value: ";
    let found = format!("{before}0 ");
    assert!(text.contains(&found), "{name} has no admin interface");
    text.replace(&found, &format!("{before}{} ", admin.port()))
}

/// Checks that the listener `stats` answers Prometheus and probes, and nothing else.
pub async fn assert_stats_are_read_only(envoy: &Envoy) {
    let mut connection = Connection::open(envoy.listener("stats")).await;
    assert_eq!(connection.get("pod", "/ready").await.text(), "LIVE\n");
    let metrics = connection.get("pod", "/stats/prometheus").await;
    assert!(metrics.text().contains("\nweir_configured{"), "{metrics:?}");
    for path in [
        "/",
        "/ready/",
        "/stats",
        "/config_dump",
        "/ready/../config_dump",
        "/ready%2f..%2fconfig_dump",
    ] {
        assert_eq!(connection.get("pod", path).await.status, 404, "{path}");
    }
    for path in [
        "/ready",
        "/stats/prometheus",
        "/quitquitquit",
        "/healthcheck/fail",
    ] {
        assert_eq!(connection.post("pod", path).await.status, 404, "{path}");
    }
}
