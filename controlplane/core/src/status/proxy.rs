//! The state of one proxy: its identity, its scope, and the revision that it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::owner::Owner;
use crate::plan::Scope;

/// A proxy that has not polled for this long is forgotten. So is a replica that has not answered for this long.
pub const FORGET: Duration = Duration::from_secs(60);

/// A proxy that has not run the current revision for this long is stuck.
pub const STUCK: Duration = Duration::from_secs(60);

/// An instance and scope that polled within the last minute. Replicas send each other
/// their proxies in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Random. An Envoy process makes one for each scope.
    pub instance: String,
    /// The owner of the token or certificate of the proxy. An older replica leaves it out.
    #[serde(default)]
    pub owner: Owner,
    /// Envoy's node id; may be empty or shared.
    pub node: String,
    pub scope: Scope,
    /// The revision that every worker runs; empty if the workers have different revisions.
    pub applied: String,
    /// How far the cluster had been read when `applied` was last the newest revision for this scope, as text of a
    /// [`crate::watermark::Watermark`]. All objects of these versions are in force there.
    pub watermark: String,
    /// `"REVISION" REASON` of a refusal, or why the control plane could not answer the proxy; empty without a refusal.
    pub refused: String,
    /// True if the proxy has loaded `weir-lean.wasm`, which edits no response headers. An older replica leaves it out.
    #[serde(default)]
    pub is_lean: bool,
    /// Seconds since the proxy last ran the current revision; 0 while it does. An older replica leaves it out.
    #[serde(default)]
    pub behind: u64,
    /// Seconds since the last poll.
    pub silent: u64,
}

impl Proxy {
    /// Whether the proxy polls, but has not run the current revision for [`STUCK`].
    pub fn is_stuck(&self) -> bool {
        self.behind >= STUCK.as_secs()
    }

    /// The key by which proxies are sorted.
    pub fn sort_key(&self) -> (&str, &str, &Scope, &Owner) {
        (&self.node, &self.instance, &self.scope, &self.owner)
    }
}

/// The proxies of one replica: the answer to `GET /v1/proxies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Random. Each process makes one.
    pub replica: String,
    pub proxies: Vec<Proxy>,
}
