//! One long poll of `GET /v1/config`: how it is asked, and what its answer means.

use weir_split::{Plugin, Site, Table, module, wire};

use crate::host::{self, MAX_VISIBLE, visible};

/// Seconds that the control plane may hold a poll.
const WAIT: u64 = 25;
/// Seconds until a poll is given up: the wait, and time for the answer.
const TIMEOUT: u64 = 30;
/// Milliseconds. An answer without news that comes sooner was not held, and asking again at once would
/// be a busy loop.
const HELD: u64 = 200;

/// The header in which a control plane says how far it has read, and is told so by whoever moves to another one.
const WATERMARK: &str = "weir-watermark";
/// The header in which a control plane says how many rules are in force for other scopes.
const ELSEWHERE: &str = "weir-elsewhere";
/// Longer watermarks are not ours.
const MAX_WATERMARK: usize = 24 << 10;

/// What the poll of this VM is doing.
#[derive(Default)]
pub enum Phase {
    #[default]
    Idle,
    Asking {
        token: u32,
        since: u64,
        /// See [`Proxy::waits`].
        waits: bool,
    },
    /// A change came; the next poll leaves when all VMs run it, so that it can say so.
    Settling { since: u64 },
}

/// An answer of the control plane.
pub enum Answer {
    /// A document that compiles for this proxy.
    Changed {
        revision: String,
        body: Vec<u8>,
        table: Box<Table>,
        watermark: Option<String>,
        elsewhere: Option<u64>,
    },
    /// The poll was held to its end.
    Unchanged {
        watermark: Option<String>,
        elsewhere: Option<u64>,
    },
    /// A document that this filter cannot put in force, and why.
    Refused {
        revision: String,
        reason: String,
    },
    Failed(String),
}

/// What a poll tells of the proxy.
pub struct Proxy<'a> {
    pub instance: String,
    pub node: &'a str,
    /// Revision in force in this VM; empty while there is none.
    pub revision: &'a str,
    /// Revision that every VM runs.
    pub applied: Option<String>,
    /// The revision that was last refused, and why; empty where none was since the last good one.
    pub refused: (&'a str, &'a str),
    /// How far the control plane had read when it last said what is in force; empty where it did not say.
    pub watermark: String,
    /// True where some VM edits no responses.
    pub is_lean: bool,
    /// False where an answer is wanted at once, also without news.
    pub waits: bool,
}

/// Polls the cluster `control_plane`. Idle where the proxy has no such cluster on this thread (yet).
pub fn ask(control_plane: &str, plugin: &Plugin, proxy: &Proxy<'_>) -> Phase {
    let path = match plugin.scope.as_str() {
        "" => "/v1/config".to_owned(),
        scope => format!("/v1/config?{scope}"),
    };
    // Neither of the two would be news.
    let (refused, reason) = proxy.refused;
    let known: Vec<_> = [proxy.revision, refused]
        .iter()
        .filter(|revision| !revision.is_empty())
        .map(|revision| format!("\"{revision}\""))
        .collect();
    let known = known.join(", ");
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
        ("weir-instance", proxy.instance.as_str()),
        ("weir-node", node.as_str()),
        ("weir-version", version.as_str()),
    ];
    if proxy.waits {
        headers.push(("prefer", &wait));
    }
    if let Some(applied) = &applied {
        headers.push(("weir-applied", applied));
    }
    if !proxy.watermark.is_empty() {
        headers.push((WATERMARK, &proxy.watermark));
    }
    if proxy.is_lean {
        headers.push((module::HEADER, module::LEAN));
    }
    if !refused.is_empty() {
        headers.push(("weir-refused", &complaint));
    }
    if !known.is_empty() {
        headers.push(("if-none-match", known.as_str()));
    }
    match host::get(control_plane, &headers, TIMEOUT) {
        Some(token) => Phase::Asking {
            token,
            since: host::now(),
            waits: proxy.waits,
        },
        None => Phase::Idle,
    }
}

/// Reads the answer to a poll that was asked at `since`, and that waited for news or not. A call that failed is an answer without headers.
pub fn read(site: &Site, (since, waits): (u64, bool), headers: usize, body_size: usize) -> Answer {
    if headers == 0 {
        // There is nothing to read then, and the host call traps where it is tried.
        return Answer::Failed("no answer, or one that is too big for the proxy".into());
    }
    let status = host::response_header(":status").unwrap_or_default();
    match status.as_slice() {
        b"200" => {}
        b"304" if !waits || host::now().abs_diff(since) >= HELD => {
            return Answer::Unchanged {
                watermark: watermark(),
                elsewhere: elsewhere(),
            };
        }
        b"304" => return Answer::Failed("304 at once, instead of holding the poll".into()),
        b"406" => {
            let body = host::response_body(body_size.min(MAX_VISIBLE));
            let body = visible(&String::from_utf8_lossy(&body));
            return Answer::Failed(format!("it has rules that this filter cannot read: {body}"));
        }
        other => return Answer::Failed(format!("status {}", String::from_utf8_lossy(other))),
    }
    let etag = host::response_header("etag").unwrap_or_default();
    let Some(revision) = revision_of(&etag) else {
        return Answer::Failed("200 without an ETag".into());
    };
    let body = host::response_body(body_size);
    match compile(site, &body) {
        Ok(table) => Answer::Changed {
            revision,
            body,
            table: Box::new(table),
            watermark: watermark(),
            elsewhere: elsewhere(),
        },
        Err(reason) => Answer::Refused { revision, reason },
    }
}

/// Compiles a document for this proxy; the reason where it cannot be.
pub fn compile(site: &Site, body: &[u8]) -> Result<Table, String> {
    let config: wire::Config = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Table::compile(&config, site).map_err(|refusal| refusal.to_string())
}

/// What the control plane says of how far it has read, if it is safe to send back.
fn watermark() -> Option<String> {
    let value = String::from_utf8(host::response_header(WATERMARK)?).ok()?;
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && value.len() <= MAX_WATERMARK).then_some(value)
}

/// How many rules are in force for other scopes, where the control plane says so.
fn elsewhere() -> Option<u64> {
    let value = String::from_utf8(host::response_header(ELSEWHERE)?).ok()?;
    value.parse().ok()
}

/// What an ETag quotes (RFC 9110, 8.8.3), if it is safe to send back.
fn revision_of(etag: &[u8]) -> Option<String> {
    let quoted = std::str::from_utf8(etag).ok()?;
    let revision = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let plain = revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain && !revision.is_empty()).then(|| revision.to_owned())
}
