//! The exports that the packed module keeps: only the functions of this filter that a proxy calls.
//!
//! The SDK exports every callback of the ABI, used or not, and a host enters the module for each one
//! that it finds, on every request and for every chunk of a body. An export that is gone costs nothing.
//! Names and their meaning: proxy-wasm ABI 0.2.1.

/// Names, each with the reason why a host or the SDK needs it.
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
        "a host refuses a module that names no ABI; with this one Envoy also chooses the route again after an edit of a header",
    ),
    (
        "proxy_on_memory_allocate",
        "the host asks for room here before it returns data (`malloc` on targets other than wasm32-wasip1)",
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
        "the plugin configuration can be read only here",
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
        "the SDK forgets a context here; without it each request would leak one",
    ),
];

/// More exports of the full build, but not of the lean one: a host enters the module for each of these on every
/// response, and for every piece of data on a connection.
const KEEP_IN_FULL: &[(&str, &str)] = &[
    ("proxy_on_response_headers", "edits of response headers"),
    (
        "proxy_on_downstream_data",
        "the identity of a peer that speaks first is known here, after its handshake",
    ),
    (
        "proxy_on_upstream_data",
        "the same if the server speaks first",
    ),
];

/// Parts of the name of a function that the filter has in the full build alone. Its exports do not tell: the SDK
/// makes them, in both.
pub const OF_FULL: [&str; 2] = ["weir_filter", "on_http_response_headers"];

/// The two modules that are shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Full,
    Lean,
}

impl Build {
    /// The exports that its module keeps, each with the reason.
    pub fn keeps(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let more = match self {
            Build::Full => KEEP_IN_FULL,
            Build::Lean => &[],
        };
        KEEP.iter().chain(more).copied()
    }
}
