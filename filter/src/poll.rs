//! One long poll of `GET /v1/config`: sends the request and reads the answer.

use weir_split::wire;
use weir_split::wire::headers;

use crate::host::{self, MAX_VISIBLE, visible};

/// Seconds that the control plane may wait for a new configuration before it answers a poll.
const WAIT: u64 = 25;
/// Seconds until a poll fails: [`WAIT`], and time for the answer.
const TIMEOUT: u64 = 30;
/// Minimum milliseconds of a poll that ends without a new configuration. If the answer arrives earlier, the control
/// plane did not wait, and a new poll at once would be a busy loop.
const MIN_HOLD: u64 = 200;

/// The state of the polling of this VM.
#[derive(Default)]
pub enum Phase {
    #[default]
    Idle,
    Polling {
        token: u32,
        /// Time of the request, in milliseconds since 1970.
        since: u64,
        /// See [`Proxy::waits`].
        waits: bool,
    },
    /// The VM has a new revision, and waits until all VMs have this revision. Its next poll then reports that all VMs
    /// have it. `since` is in milliseconds since 1970.
    Settling { since: u64 },
}

/// An answer of the control plane.
pub enum Answer {
    /// A new document.
    Document {
        revision: String,
        body: Vec<u8>,
        watermark: Option<String>,
        elsewhere: Option<u64>,
    },
    /// The revision that the proxy uses is the newest revision.
    Unchanged {
        watermark: Option<String>,
        elsewhere: Option<u64>,
    },
    /// The poll failed, for this reason.
    Failed(String),
}

/// The properties of the proxy that a poll reports.
pub struct Proxy<'a> {
    pub instance: String,
    pub node: &'a str,
    /// The newest revision that this VM uses; empty before the first revision.
    pub revision: &'a str,
    /// The revision that every VM of this process and scope uses. None if the VMs use different revisions.
    pub applied: Option<String>,
    /// The last refused revision and the reason; empty after a good revision.
    pub refused: (&'a str, &'a str),
    /// See [`crate::fleet::Member::watermark`].
    pub watermark: String,
    /// True if a VM edits no responses.
    pub is_lean: bool,
    /// The number of VMs that ended without notice, since the start of the process.
    pub traps: u64,
    /// True if the control plane sends the clusters of backends to this proxy.
    pub has_clusters_from_weir: bool,
    /// False if the control plane must answer at once, even without a new configuration.
    pub waits: bool,
}

/// Sends a poll to the cluster `control_plane`. `scope` is the query of `/v1/config`. Returns [`Phase::Idle`] if this
/// thread of the proxy does not have the cluster, or does not have it yet.
pub fn send(control_plane: &str, scope: &str, proxy: &Proxy<'_>) -> Phase {
    let path = match scope {
        "" => "/v1/config".to_owned(),
        scope => format!("/v1/config?{scope}"),
    };
    // The control plane must not send these two revisions again: the proxy uses one, and has refused the other.
    let (refused, reason) = proxy.refused;
    let etags: Vec<_> = [proxy.revision, refused]
        .iter()
        .filter(|revision| !revision.is_empty())
        .map(|revision| format!("\"{revision}\""))
        .collect();
    let etags = etags.join(", ");
    let wait = format!("wait={WAIT}");
    let version = wire::VERSION.to_string();
    let applied = proxy
        .applied
        .as_deref()
        .map(|revision| format!("\"{revision}\""));
    let node = visible(proxy.node);
    let complaint = format!("\"{refused}\" {}", visible(reason));
    let mut headers = vec![
        (":method", "GET"),
        (":path", path.as_str()),
        (":authority", control_plane),
        ("accept", "application/json"),
        (headers::INSTANCE, proxy.instance.as_str()),
        (headers::NODE, node.as_str()),
        (headers::VERSION, version.as_str()),
    ];
    if proxy.waits {
        headers.push(("prefer", &wait));
    }
    if let Some(applied) = &applied {
        headers.push((headers::APPLIED, applied));
    }
    if !proxy.watermark.is_empty() {
        headers.push((headers::WATERMARK, &proxy.watermark));
    }
    let traps = proxy.traps.to_string();
    if proxy.traps > 0 {
        headers.push((headers::TRAPS, &traps));
    }
    if proxy.has_clusters_from_weir {
        headers.push((headers::CLUSTERS, headers::FROM_WEIR));
    }
    if proxy.is_lean {
        headers.push((headers::MODULE, headers::LEAN));
    }
    if !refused.is_empty() {
        headers.push((headers::REFUSED, &complaint));
    }
    if !etags.is_empty() {
        headers.push(("if-none-match", etags.as_str()));
    }
    match host::get(control_plane, &headers, TIMEOUT) {
        Some(token) => Phase::Polling {
            token,
            since: host::now(),
            waits: proxy.waits,
        },
        None => Phase::Idle,
    }
}

/// Reads the answer to a poll. `since` and `waits` are the fields of [`Phase::Polling`]. A call without an answer has 0
/// `headers`.
pub fn read(
    control_plane: &str,
    (since, waits): (u64, bool),
    headers: usize,
    body_size: usize,
) -> Answer {
    if headers == 0 {
        // There is no answer, so the VM would trap if it read a header.
        return Answer::Failed("no answer, or an answer that is too big for the proxy".into());
    }
    let status = host::response_header(":status").unwrap_or_default();
    match status.as_slice() {
        b"200" => {}
        b"304" if !waits || host::now().abs_diff(since) >= MIN_HOLD => {
            return Answer::Unchanged {
                watermark: watermark(),
                elsewhere: elsewhere(),
            };
        }
        b"304" => {
            return Answer::Failed("304 at once, although the filter sent Prefer: wait".into());
        }
        b"406" => {
            let body = error_text(body_size);
            return Answer::Failed(format!(
                "there are rules that this filter cannot read: {body}"
            ));
        }
        other => {
            let status = String::from_utf8_lossy(other);
            let text = error_text(body_size);
            return Answer::Failed(match text.strip_prefix("{\"error\":") {
                Some(_) => format!("the control plane answers status {status}: {text}"),
                None => unanswered(control_plane, &status, &text),
            });
        }
    }
    let etag = host::response_header("etag").unwrap_or_default();
    let Some(revision) = revision_of(&etag) else {
        return Answer::Failed("200 without an ETag".into());
    };
    Answer::Document {
        revision,
        body: host::response_body(body_size),
        watermark: watermark(),
        elsewhere: elsewhere(),
    }
}

/// Returns the body of the answer, for a log line.
fn error_text(body_size: usize) -> String {
    let body = host::response_body(body_size.min(MAX_VISIBLE));
    visible(&String::from_utf8_lossy(&body))
}

/// Returns why a poll failed, if the answer is from Envoy and not from the control plane. Envoy answers 503 or 502 with
/// a text if it cannot connect, and 504 after a timeout. The text does not have the reason of a failed TLS handshake.
fn unanswered(control_plane: &str, status: &str, text: &str) -> String {
    let text = match text {
        "" => String::new(),
        text => format!(" ({text})"),
    };
    format!(
        "status {status}, and no answer came from the control plane{text}; check that weir serve runs at the address \
         of the cluster, and that either both sides use TLS or neither side uses it. If they use TLS, check the CA, \
         the names and the certificates on both sides. The log of weir serve has the reasons of failed handshakes, \
         and cluster.{control_plane}.ssl. in Envoy's /stats counts them"
    )
}

/// Reads a document. The error is the reason of the refusal.
pub fn parse(body: &[u8]) -> Result<wire::Config, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Returns the watermark of the answer, if it is safe to send back.
fn watermark() -> Option<String> {
    let value = String::from_utf8(host::response_header(headers::WATERMARK)?).ok()?;
    let is_visible = value.bytes().all(|byte| byte.is_ascii_graphic());
    (is_visible && value.len() <= headers::MAX_WATERMARK).then_some(value)
}

/// Returns the number of rules for other scopes, if the answer has this number.
fn elsewhere() -> Option<u64> {
    let value = String::from_utf8(host::response_header(headers::ELSEWHERE)?).ok()?;
    value.parse().ok()
}

/// Returns the text in the quotes of an ETag (RFC 9110, 8.8.3), if it is safe to send back.
fn revision_of(etag: &[u8]) -> Option<String> {
    let quoted = std::str::from_utf8(etag).ok()?;
    let revision = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_plain && !revision.is_empty()).then(|| revision.to_owned())
}
