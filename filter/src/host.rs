//! The host calls of the proxy; no other module uses them. They return bytes, because a string from a header that is
//! not UTF-8 would trap the VM. A call returns an `Option` if the caller can go on after its failure.

mod local_reply;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType};
use weir_split::{Decided, Edit, Site, peer_identity};

/// Maximum characters of a text in a header, an answer or a log line.
pub const MAX_VISIBLE: usize = 400;

pub fn request_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).unwrap_or_default()
}

/// Returns all lines of the header, joined with commas. [`request_header`] returns the first line, and costs less if
/// the request has the header.
pub fn request_header_lines(name: &str) -> Option<Vec<u8>> {
    // This cheap call comes first, because most requests do not have the header that a rule needs. The property below
    // is the same for an empty header and for an absent header, and some hosts do not have the property.
    let first = request_header(name)?;
    let lines = hostcalls::get_property(vec!["request", "headers", name]).unwrap_or_default();
    Some(lines.unwrap_or(first))
}

/// The message with the headers that an edit changes.
#[derive(Clone, Copy)]
pub enum Headers {
    /// The request. Use it inside `on_http_request_headers` or [`resume_request`] only.
    Request,
    /// The response. Use it inside `on_http_response_headers` only.
    #[cfg(feature = "full")]
    Response,
}

impl From<Headers> for MapType {
    fn from(headers: Headers) -> MapType {
        match headers {
            Headers::Request => MapType::HttpRequestHeaders,
            #[cfg(feature = "full")]
            Headers::Response => MapType::HttpResponseHeaders,
        }
    }
}

/// Replaces all values of the header.
pub fn set_request_header(name: &str, value: &str) {
    let _ =
        hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value.as_bytes()));
}

pub fn remove_header(headers: Headers, name: &str) {
    let _ = hostcalls::set_map_value_bytes(headers.into(), name, None);
}

pub fn edit(headers: Headers, edit: &Edit) {
    let _ = match edit {
        Edit::Set(name, value) => hostcalls::set_map_value_bytes(headers.into(), name, Some(value)),
        Edit::Add(name, value) => hostcalls::add_map_value_bytes(headers.into(), name, value),
        Edit::Remove(name) => hostcalls::set_map_value_bytes(headers.into(), name, None),
    };
}

/// Sets the properties that access logs and traces can read as `%FILTER_STATE(wasm.weir_rule:PLAIN)%` and
/// `%FILTER_STATE(wasm.weir_backend:PLAIN)%`.
pub fn set_log_properties(decided: &Decided<'_>) {
    for (name, value) in [
        ("weir_rule", decided.rule),
        ("weir_backend", decided.backend),
    ] {
        if let Some(value) = value {
            let _ = hostcalls::set_property(vec![name], Some(value.as_bytes()));
        }
    }
}

/// Answers the request. `details` begins with `weir_`; the access log can read it as `%RESPONSE_CODE_DETAILS%`. The
/// callback must pause the stream after this call. A gRPC client gets the gRPC status for the HTTP status: 14 for 503,
/// 12 for 404, 7 for 403.
pub fn answer(status: u16, details: &str, body: &str) {
    local_reply::send(status, details, ("content-type", "text/plain"), body);
}

pub fn redirect(status: u16, location: &str) {
    local_reply::send(status, "weir_redirect", ("location", location), "");
}

/// Answers the request 403, with the missing permission.
pub fn deny(missing: &str) {
    let missing = visible(missing);
    let header = ("x-weir-denied", missing.as_str());
    local_reply::send(403, "weir_denied", header, &format!("weir: {missing}\n"));
}

/// Returns the text for a header or a log line: cut to [`MAX_VISIBLE`], with `?` for every character that is not
/// visible ASCII.
pub fn visible(text: &str) -> String {
    let escape = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    text.chars().take(MAX_VISIBLE).map(escape).collect()
}

/// Returns `NAMESPACE/NAME` of the client's ServiceAccount, from the client's certificate. Call this after the TLS
/// handshake.
pub fn peer(site: &Site) -> Option<String> {
    let name = |kind: &str| hostcalls::get_property(vec!["connection", kind]).unwrap_or_default();
    let uri = name("uri_san_peer_certificate");
    let dns = match uri {
        Some(_) => None,
        None => name("dns_san_peer_certificate"),
    };
    peer_identity(uri.as_deref(), dns.as_deref(), site.identity_domains())
}

/// Returns the IP address and the port that the client of this stream called.
pub fn destination() -> Option<(String, u16)> {
    let text = hostcalls::get_property(vec!["destination", "address"]).unwrap_or_default()?;
    let address: SocketAddr = std::str::from_utf8(&text).ok()?.parse().ok()?;
    Some((address.ip().to_string(), address.port()))
}

/// Returns the port of the proxy's socket at which this stream arrived.
pub fn socket_port() -> Option<u16> {
    let bytes = hostcalls::get_property(vec!["destination", "port"]).unwrap_or_default()?;
    // Envoy writes numbers as i64 in the byte order of wasm.
    let number = i64::from_le_bytes(bytes.try_into().ok()?);
    u16::try_from(number).ok()
}

/// Chooses the cluster of a connection. Call this inside `on_new_connection`, because after it the TCP proxy chooses a
/// cluster. Returns false if the host cannot do this.
pub fn set_tcp_cluster(cluster: &str) -> bool {
    // Protobuf: SetEnvoyFilterStateArguments { path = 1, value = 2 }.
    let mut arguments = Vec::new();
    for (tag, text) in [(0x0a, "envoy.tcp_proxy.cluster"), (0x12, cluster)] {
        arguments.push(tag);
        push_varint(&mut arguments, text.len());
        arguments.extend_from_slice(text.as_bytes());
    }
    hostcalls::call_foreign_function("set_envoy_filter_state", Some(&arguments)).is_ok()
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while let Ok(low @ 0x80..) = u64::try_from(value) {
        bytes.push(u8::try_from(low & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or_default());
}

/// Closes the connection of the client. The callback must pause the stream after this call.
pub fn close() {
    let _ = hostcalls::close_downstream();
}

/// Returns the plugin configuration. Call this inside `on_configure` only, because the host drops the text afterwards.
pub fn plugin_configuration(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
        .unwrap_or_default()
        .unwrap_or_default()
}

/// Returns the `root_id` in the configuration of the filter; empty if the configuration has no `root_id`. Call this
/// while the root context is created.
pub fn root_id() -> Vec<u8> {
    let id = hostcalls::get_property(vec!["plugin_root_id"]).unwrap_or_default();
    id.unwrap_or_default()
}

/// Calls `edit`, which changes the headers of a paused request, and then resumes the request. `context` is the id of
/// the request's context.
pub fn resume_request(context: u32, edit: impl FnOnce()) {
    if hostcalls::set_effective_context(context).is_ok() {
        edit();
        let _ = hostcalls::resume_http_request();
    }
}

/// Returns the node id of Envoy. Envoy 1.33 moved the property.
pub fn node_id() -> String {
    [vec!["xds", "node", "id"], vec!["node", "id"]]
        .into_iter()
        .find_map(|path| hostcalls::get_property(path).unwrap_or_default())
        .map(|id| String::from_utf8_lossy(&id).into_owned())
        .unwrap_or_default()
}

/// Returns the milliseconds since 1970.
pub fn now() -> u64 {
    let since = hostcalls::get_current_time().ok();
    since
        .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// Returns a random number. Each VM gets another number, because the keys of a `RandomState` come from the host's
/// `random_get`.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

pub fn set_tick_period(milliseconds: u64) {
    let _ = hostcalls::set_tick_period(Duration::from_millis(milliseconds));
}

/// Sets the tick period of another root context of this VM. After this call, all host calls of the callback act for
/// that root context.
pub fn set_tick_period_of(context: u32, milliseconds: u64) {
    if hostcalls::set_effective_context(context).is_ok() {
        set_tick_period(milliseconds);
    }
}

/// Sends a request to a cluster. Returns the token of the call; None if this thread does not know the cluster, or does
/// not know it yet.
pub fn get(cluster: &str, headers: &[(&str, &str)], timeout_seconds: u64) -> Option<u32> {
    let timeout = Duration::from_secs(timeout_seconds);
    hostcalls::dispatch_http_call(cluster, headers.to_vec(), None, Vec::new(), timeout).ok()
}

/// Returns a header of the response to a call. Call this and [`response_body`] inside `on_http_call_response` only.
pub fn response_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name).unwrap_or_default()
}

pub fn response_body(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size)
        .unwrap_or_default()
        .unwrap_or_default()
}

/// Reads a value that all VMs of the process with the same `vm_id` share. Returns the value and its version, for
/// [`replace_shared`].
pub fn shared(key: &str) -> (Vec<u8>, Option<u32>) {
    let (value, version) = hostcalls::get_shared_data(key).unwrap_or_default();
    (value.unwrap_or_default(), version)
}

pub fn set_shared(key: &str, value: &[u8]) {
    let _ = hostcalls::set_shared_data(key, Some(value), None);
}

/// Writes a value if no other VM has changed it since `version` (compare-and-swap). Returns false if another VM has
/// changed it. A new key accepts every version except 0.
pub fn replace_shared(key: &str, value: &[u8], version: Option<u32>) -> bool {
    let version = version.unwrap_or(u32::MAX);
    hostcalls::set_shared_data(key, Some(value), Some(version)).is_ok()
}

/// Registers a queue. Each item that is added to the queue causes a callback of the current root context. If another
/// root context has registered the same name before, the queue keeps its number and its items, but the other root
/// context gets no more callbacks.
pub fn register_queue(name: &str) -> Option<u32> {
    hostcalls::register_shared_queue(name).ok()
}

pub fn enqueue(queue: u32, item: &[u8]) {
    let _ = hostcalls::enqueue_shared_queue(queue, Some(item));
}

/// Removes and returns the oldest item of the queue. Returns None if the queue is empty.
pub fn dequeue(queue: u32) -> Option<Vec<u8>> {
    hostcalls::dequeue_shared_queue(queue).unwrap_or_default()
}

pub fn define_counter(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Counter, name).ok()
}

pub fn define_gauge(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Gauge, name).ok()
}

pub fn add_to_counter(metric: u32, by: u64) {
    let _ = hostcalls::increment_metric(metric, i64::try_from(by).unwrap_or(i64::MAX));
}

pub fn set_gauge(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}
