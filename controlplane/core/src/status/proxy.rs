//! The state of one proxy: its identity, its scope, and the revision that it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster_gaps::ClusterGaps;
use crate::owner::Owner;
use crate::plan::Scope;

/// A replica of the control plane forgets a proxy that has not polled for this time. It also forgets another replica
/// that has not answered for this time.
pub const FORGET: Duration = Duration::from_secs(60);

/// A proxy is gone if the connection of its last poll closed without an answer, and the proxy has not polled again for
/// this time. A running filter polls again after at most two seconds. So the proxy has ended or has lost its network.
pub const GONE: Duration = Duration::from_secs(5);

/// A proxy is stuck if it has not run the current revision for at least this time.
pub const STUCK: Duration = Duration::from_secs(60);

/// Maximum number of proxies in the list of a replica. The replica also serves other proxies, but does not list them. A
/// proxy needs at most 4 KiB of memory.
pub const MAX_PROXIES: usize = 1 << 14;

/// Maximum number of proxies of one namespace in the list of a replica. The limit is needed because a client with a token
/// of the namespace can invent instances.
pub const MAX_OF_NAMESPACE: usize = 1 << 12;

/// A proxy that polled within the last minute: one Envoy process, and the scope for which it polls. Replicas of the
/// control plane send each other their proxies in this form. They also send proxies that are gone, because a third
/// replica may still know an older report of such a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// A random name that the Envoy process makes for each scope.
    pub instance: String,
    /// The owner of the token or certificate of the proxy. A replica with an older version of Weir does not send this
    /// field.
    #[serde(default)]
    pub owner: Owner,
    /// Envoy's node id; may be empty or shared.
    pub node: String,
    pub scope: Scope,
    /// The revision that every worker runs; empty if the workers have different revisions.
    pub applied: String,
    /// The text of a [`crate::watermark::Watermark`]. The proxy runs all objects up to these resource versions.
    pub watermark: String,
    /// The text `"REVISION" REASON` if the proxy refused a revision. If the control plane could not answer the proxy,
    /// the text has only the reason. Empty if there is no problem.
    pub refused: String,
    /// The clusters of the proxy's newest configuration that the proxy lacks.
    #[serde(default, skip_serializing_if = "ClusterGaps::is_empty")]
    pub gaps: ClusterGaps,
    /// True if the proxy has loaded `weir-lean.wasm`, which edits no response headers. A replica with an older version
    /// of Weir does not send this field.
    #[serde(default)]
    pub is_lean: bool,
    /// Seconds since the proxy last ran the current revision; 0 if the proxy runs this revision now. A replica with an
    /// older version of Weir does not send this field.
    #[serde(default)]
    pub behind: u64,
    /// Seconds since the last poll.
    pub silent: u64,
    /// Seconds since the connection of the last poll closed without an answer; None if that did not happen. A replica
    /// with an older version of Weir does not send this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// Seconds since the last poll ended with or without an answer; 0 while a poll is open.
    #[serde(default)]
    pub unpolled: u64,
    /// The number of VMs of the proxy that ended without notice.
    #[serde(default)]
    pub traps: u64,
}

/// The filter's module of an Envoy that gets its filter by a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamModule {
    /// The owner of the token or certificate of the stream.
    pub owner: Owner,
    /// Envoy's node id.
    pub node: String,
    /// The hash of the accepted module; empty without such a module, or if the filters have different modules.
    pub module: String,
    /// Seconds since the Envoy accepted this module.
    pub accepted: u64,
    /// The hash of the last refused module, and the message of the Envoy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(String, String)>,
}

impl Proxy {
    /// True if the proxy polls, but has not run the current revision for the time [`STUCK`].
    pub fn is_stuck(&self) -> bool {
        self.behind >= STUCK.as_secs()
    }

    /// True if the proxy is gone, see [`GONE`].
    pub fn is_gone(&self) -> bool {
        self.closed.is_some_and(|closed| closed >= GONE.as_secs())
    }

    /// Returns the key by which proxies are sorted.
    pub fn sort_key(&self) -> (&str, &str, &Scope, &Owner) {
        (&self.node, &self.instance, &self.scope, &self.owner)
    }
}

/// The proxies of one replica of the control plane: the response to `GET /v1/proxies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// A random name that each process of the control plane makes.
    pub replica: String,
    pub proxies: Vec<Proxy>,
    /// The modules of the streams of this replica.
    #[serde(default)]
    pub modules: Vec<StreamModule>,
}
