//! `weir.wasm`: picks a weighted backend for each request inside the proxy.
//!
//! ```text
//! proxy --callbacks--> root, request, connection --> split::Live     root --> scope --> poll, fleet --> host --> proxy
//! ```
//!
//! [`root`] checks the plugin configuration. [`scope`] installs the table, which is the compiled configuration, for all
//! root contexts of a VM and scope. [`request`] and [`connection`] use the table through [`shared`]. [`poll`] talks to
//! the control plane. [`fleet`] has the state that the VMs of one proxy process share. [`upstream`] hides the headers
//! of mirrors from backends. [`metrics`] counts. [`bounded`] limits log lines that clients cause. Only [`host`] uses
//! host calls. The choice of a backend, and all code that can be tested without a proxy, is in the crate `split`.
//!
//! Without the feature `full` the module is `weir-lean.wasm`, which edits no responses and checks no inbound
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
mod scope;
mod shared;
#[cfg(feature = "trap")]
mod trap;
mod upstream;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    proxy_wasm::set_root_context(|context| {
        if host::root_id() == upstream::ROOT_ID {
            Box::new(upstream::UpstreamRoot::default())
        } else {
            Box::new(root::Root::new(context))
        }
    });
}}
