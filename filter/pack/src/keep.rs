//! The exports that the packed module keeps: what a proxy calls on this filter, and nothing else.
//!
//! The SDK exports every callback of the ABI, used or not, and a host enters the module for each one
//! that it finds, on every request and for every chunk of a body. An export that is gone costs nothing.
//! Names and their meaning: proxy-wasm ABI 0.2.1.

/// Each with the reason why a host, or the SDK, needs it.
pub const KEEP: &[(&str, &str)] = &[
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
        "a host refuses a module that names no ABI; this one also makes Envoy look up the route anew after a header is written",
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
        "the first word to a root context, before its configuration; hosts differ in whether they miss it",
    ),
    (
        "proxy_on_configure",
        "the plugin configuration can be read here alone",
    ),
    (
        "proxy_on_tick",
        "elects the poller, flushes the counters, and is the safety net of the wake-up",
    ),
    (
        "proxy_on_queue_ready",
        "how the poller wakes the other workers when the configuration changed",
    ),
    (
        "proxy_on_http_call_response",
        "the control plane's answer to a poll",
    ),
    ("proxy_on_request_headers", "the pick"),
    (
        "proxy_on_delete",
        "the SDK forgets a context here; without it each request would leak one",
    ),
];

/// True for an export that the packed module keeps.
pub fn is_kept(export: &str) -> bool {
    KEEP.iter().any(|(name, _)| *name == export)
}
