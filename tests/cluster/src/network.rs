//! The node's network: a bridge, and for each pod a network namespace that is connected to the bridge. The bridge is in
//! the network namespace of this process, and disappears with this namespace. The machine's own network does not
//! change.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
pub const PODS: &str = "10.244.0.0/16";
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Sets up the node's network. Call it once, before any program listens.
pub fn node() -> Result<(), String> {
    // The default route includes the Services' addresses. Without a route the kernel would refuse connections to them
    // before kube-proxy's rules apply.
    ip(&format!(
        "link set lo up
         link add br0 type bridge
         addr add {NODE}/16 dev br0
         link set br0 up
         route add default dev br0"
    ))?;
    write("/proc/sys/net/ipv4/ip_forward", "1")
}

/// Returns the address of the pod with this index.
pub fn address(index: u16) -> Ipv4Addr {
    let [high, low] = index.to_be_bytes();
    let [first, second, ..] = NODE.octets();
    Ipv4Addr::new(first, second, high.saturating_add(1), low)
}

/// Creates the network namespace of a pod. `ip netns exec` and `/run/netns` use this name.
pub fn add_pod(name: &str, index: u16) -> Result<(), String> {
    let address = address(index);
    ip(&format!(
        "netns add {name}
         link add v{index} type veth peer name eth0 netns {name}
         link set v{index} master br0 up"
    ))?;
    // Allow ports below 1024 without root, as container runtimes do.
    let inside = format!(
        "ip -batch - <<END\nlink set lo up\naddr add {address}/16 dev eth0\nlink set eth0 up\nroute add default via {NODE}\nEND\n\
         echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start"
    );
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name, "bash", "-ec", &inside]);
    let output = command.output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "netns {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

pub fn remove_pod(name: &str) {
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
}

fn ip(batch: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("ip (Debian: iproute2): {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(batch.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{batch}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

fn write(path: &str, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{path}: {error}"))
}
