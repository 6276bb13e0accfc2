//! The files of `envoy-config/` with the ports of a test.

use std::net::SocketAddr;

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
