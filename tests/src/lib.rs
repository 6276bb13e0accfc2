//! The test harness: it starts and stops real programs on loopback addresses.
//!
//! [`Plane`] is `dist/weir serve`, [`Envoy`] is the pinned proxy with `dist/weir.wasm`, [`Echo`] is a backend, and
//! [`Connection`] is a client. [`fault`] causes failures, [`golden`] compares case files with the core, and
//! [`mod@reference`] is a second implementation of the specifications. If a program is missing, the test fails and
//! prints the command that builds the program. The tests in `tests/tests` import this crate, and this crate imports no
//! test.

mod bootstrap;
mod client;
pub mod delta_client;
mod echo;
mod envoy;
pub mod fault;
mod free_ports;
pub mod golden;
mod greeter;
mod in_process;
mod manifests;
mod memory_limit;
pub mod pages;
mod plane;
mod process;
pub mod reference;
mod relay;
mod shipped;
pub mod tenants;
pub mod tls;

use std::path::PathBuf;

pub use bootstrap::{Bootstrap, delta_stream};
pub use client::{Answer, Connection, shares};
pub use echo::Echo;
pub use envoy::{Envoy, envoy_binary};
pub use free_ports::FreePorts;
pub use greeter::{Greeter, TcpClient};
pub use in_process::InProcess;
pub use manifests::objects;
pub use plane::{Plane, serve_refused};
pub use process::typed;
pub use relay::Relay;
pub use shipped::{assert_stats_are_read_only, free_port, shipped, shipped_with_admin};

/// Returns the repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .canonicalize()
        .expect("the repository")
}

/// Returns the path of a file that `scripts/build` or `scripts/image` makes.
pub fn dist(name: &str) -> PathBuf {
    let path = root().join("dist").join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/build first (scripts/test does)",
        path.display()
    );
    path
}
