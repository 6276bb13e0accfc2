//! `weir.wasm`: picks a weighted backend for each request inside the proxy.
//!
//! ```text
//! proxy --callbacks--> root, request, connection --> split::Live      root --> poll, fleet --> host --> proxy
//! ```
//!
//! [`root`] keeps a table in force. [`request`] and [`connection`] use it through [`shared`]. [`poll`] talks to the
//! control plane. [`fleet`] has the state that the VMs of one proxy process share. [`metrics`] counts. [`bounded`] limits
//! log lines that clients cause. Only [`host`] uses host calls. The choice of a backend, and all code that can be tested
//! without a proxy, is in `split`.
//!
//! Without the feature `full` the module is `weir-lean.wasm`, which neither edits responses nor checks inbound
//! connections.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

mod bounded;
mod connection;
mod fleet;
mod host;
mod metrics;
mod poll;
mod request;
mod root;
mod shared;
#[cfg(feature = "trap")]
mod trap;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}
