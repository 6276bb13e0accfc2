//! What is known of one proxy: who it is, what it may see, and what it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::owner::Owner;
use crate::plan::Scope;

/// A proxy that has not polled for so long is forgotten, and a replica that has not answered.
pub const FORGET: Duration = Duration::from_secs(60);

/// A proxy that has not run the current revision for this long is stuck.
pub const STUCK: Duration = Duration::from_secs(60);

/// An instance and scope that polled within the last minute. Replicas tell each other of theirs in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Random, made once by an Envoy process and scope.
    pub instance: String,
    /// Whose token or certificate the proxy has shown. An older replica leaves it out.
    #[serde(default)]
    pub owner: Owner,
    /// Envoy's node id; may be empty or shared.
    pub node: String,
    pub scope: Scope,
    /// The revision that every worker runs; empty while they differ.
    pub applied: String,
    /// How far the cluster had been read when `applied` was last the right revision for this scope, as
    /// [`crate::watermark::Watermark`] is written: all that is older is in force there.
    pub watermark: String,
    /// `"REVISION" REASON`, or what could not be said to it; empty where nothing is refused.
    pub refused: String,
    /// True where it has loaded `weir-lean.wasm`, which edits no response headers. An older replica does not say.
    #[serde(default)]
    pub is_lean: bool,
    /// Seconds since it last ran the current revision; 0 while it does. An older replica leaves it out.
    #[serde(default)]
    pub behind: u64,
    /// Seconds since it was last heard of.
    pub silent: u64,
}

impl Proxy {
    /// Whether it polls, but has not run the current revision for [`STUCK`].
    pub fn is_stuck(&self) -> bool {
        self.behind >= STUCK.as_secs()
    }

    /// Where it stands among others.
    pub fn place(&self) -> (&str, &str, &Scope, &Owner) {
        (&self.node, &self.instance, &self.scope, &self.owner)
    }
}

/// What one replica knows: the answer to `GET /v1/proxies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Random, made once by a process.
    pub replica: String,
    pub proxies: Vec<Proxy>,
}
