//! What is known of one proxy: who it is, what it may see, and what it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::Scope;

/// A proxy that has not polled for so long is forgotten, and a replica that has not answered.
pub const FORGET: Duration = Duration::from_secs(60);

/// An instance and scope that polled within the last minute. Replicas tell each other of theirs in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Random, made once by an Envoy process and scope.
    pub instance: String,
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
    /// Seconds since it was last heard of.
    pub silent: u64,
}

impl Proxy {
    /// Where it stands among others.
    pub fn place(&self) -> (&str, &str, &Scope) {
        (&self.node, &self.instance, &self.scope)
    }
}

/// What one replica knows: the answer to `GET /v1/proxies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Random, made once by a process.
    pub replica: String,
    pub proxies: Vec<Proxy>,
}
