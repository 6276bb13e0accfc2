//! The harness: real parts, started and stopped by a test, on loopback alone.
//!
//! [`Plane`] is `dist/weir serve`, [`Envoy`] is the pinned proxy with `dist/weir.wasm`, [`Echo`] is a
//! backend, [`Connection`] a client; [`fault`] breaks things on purpose; [`golden`] reads a case file and holds
//! it against the pure core; [`naive`] is the specification once more, to be held against it.
//! What is missing fails with the command that makes it: no test passes because it did not run.
//! Imports run from `tests/tests/*` to here, never back.

mod bootstrap;
mod client;
mod echo;
mod envoy;
pub mod fault;
mod free_ports;
pub mod golden;
mod greeter;
mod in_process;
mod manifests;
mod memory_limit;
pub mod naive;
mod plane;
mod process;
mod relay;
mod shipped;
pub mod tenants;
pub mod tls;

use std::path::PathBuf;

pub use bootstrap::Bootstrap;
pub use client::{Answer, Connection, shares};
pub use echo::Echo;
pub use envoy::Envoy;
pub use free_ports::FreePorts;
pub use greeter::{Caller, Greeter};
pub use in_process::InProcess;
pub use manifests::objects;
pub use plane::{Plane, serve_refused};
pub use process::typed;
pub use relay::Relay;
pub use shipped::shipped;

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .canonicalize()
        .expect("the repository")
}

/// A file that `scripts/build` or `scripts/image` makes.
pub fn dist(name: &str) -> PathBuf {
    let path = root().join("dist").join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/build first (scripts/test does)",
        path.display()
    );
    path
}
