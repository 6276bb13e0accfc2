//! The exports that the packed module keeps: only the functions of this filter that a proxy calls.
//!
//! The SDK exports every callback of the ABI, used or not. A host calls each callback that it finds, for every request
//! and for every chunk of a body. A removed export costs nothing. The names are from the proxy-wasm ABI 0.2.1.

/// Exports, each with the reason why a host or the SDK needs the export.
const KEEP: &[(&str, &str)] = &[
    (
        "memory",
        "the host reads and writes every argument through it",
    ),
    (
        "_initialize",
        "runs the constructors and registers the root context; the first call into the module",
    ),
    (
        "proxy_abi_version_0_2_1",
        "a host refuses a module without an ABI version; with this version Envoy also chooses the route again after an edit of a header",
    ),
    (
        "proxy_on_memory_allocate",
        "the host allocates memory with it before it returns data (`malloc` on targets other than wasm32-wasip1)",
    ),
    (
        "proxy_on_context_create",
        "the SDK must know a context before any callback names it, or it panics",
    ),
    (
        "proxy_on_vm_start",
        "the first call to a root context, before its configuration; some hosts require it",
    ),
    (
        "proxy_on_configure",
        "the plugin configuration can be read only in this callback",
    ),
    (
        "proxy_on_tick",
        "elects the poller, flushes the counters, and repeats lost wake-ups",
    ),
    (
        "proxy_on_queue_ready",
        "the poller wakes the other workers after a change of the configuration",
    ),
    (
        "proxy_on_http_call_response",
        "the control plane's answer to a poll",
    ),
    (
        "proxy_on_request_headers",
        "chooses the backend of a request",
    ),
    (
        "proxy_on_new_connection",
        "chooses the backend of a connection",
    ),
    (
        "proxy_on_delete",
        "the SDK drops a context in this callback; without it each request would leak a context",
    ),
];

/// More exports of the full build. The lean build does not have them, because a host calls each of them for every
/// response, or for every piece of data on a connection.
const KEEP_IN_FULL: &[(&str, &str)] = &[
    ("proxy_on_response_headers", "edits of response headers"),
    (
        "proxy_on_downstream_data",
        "checks the identity of the client after the TLS handshake, if the client sends the first byte",
    ),
    (
        "proxy_on_upstream_data",
        "checks the identity of the client, if the server sends the first byte",
    ),
];

/// Parts of the name of a function that only the full build has. The exports do not show the build, because the SDK
/// makes the same exports in both builds.
pub const OF_FULL: [&str; 2] = ["weir_filter", "on_http_response_headers"];

/// The two modules that are shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Full,
    Lean,
}

impl Build {
    /// Returns the exports that the module of this build keeps, each with the reason.
    pub fn keeps(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let more = match self {
            Build::Full => KEEP_IN_FULL,
            Build::Lean => &[],
        };
        KEEP.iter().chain(more).copied()
    }
}
