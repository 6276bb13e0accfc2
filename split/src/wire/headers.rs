//! Names and limits of Weir's own headers in a poll and in its answer. docs/protocol.md describes the exchange, and
//! also the standard headers.

/// Request: the revision that all workers of the proxy run, in quotes.
pub const APPLIED: &str = "weir-applied";
/// Request: [`FROM_WEIR`] if the control plane sends the clusters of backends to this proxy. Then the control plane sends a
/// document only after the proxy has its clusters.
pub const CLUSTERS: &str = "weir-clusters";
/// The value of [`CLUSTERS`].
pub const FROM_WEIR: &str = "weir";
/// Answer: the number of rules for proxies of other scopes (namespaces and Gateways).
pub const ELSEWHERE: &str = "weir-elsewhere";
/// Request: a random name of an Envoy process and its scope, at most [`MAX_INSTANCE`] bytes.
pub const INSTANCE: &str = "weir-instance";
/// Request: [`LEAN`] if at least one filter of this proxy and scope uses `weir-lean.wasm`, which edits no responses.
pub const MODULE: &str = "weir-module";
/// The value of [`MODULE`] for `weir-lean.wasm`.
pub const LEAN: &str = "lean";
/// Request: the node id of the Envoy.
pub const NODE: &str = "weir-node";
/// Request: the revision that the filter refused, in quotes, and the reason.
pub const REFUSED: &str = "weir-refused";
/// Request: the number of VMs of this proxy and scope that ended without notice, since the start of the process. A VM
/// ends so by a trap. The number is also higher while a worker is blocked for more than ten seconds.
pub const TRAPS: &str = "weir-traps";
/// Request: the highest document version that the filter reads.
pub const VERSION: &str = "weir-version";
/// Request and answer: the newest resource versions that the control plane had read from the cluster, at most
/// [`MAX_WATERMARK`] bytes. The proxy copies the value of the last answer into its polls, so that another replica of
/// the control plane knows the value.
pub const WATERMARK: &str = "weir-watermark";

pub const MAX_INSTANCE: usize = 256;
pub const MAX_WATERMARK: usize = 24 << 10;
/// Maximum of SECONDS in `Prefer: wait=SECONDS`.
pub const MAX_WAIT: u64 = 25;
