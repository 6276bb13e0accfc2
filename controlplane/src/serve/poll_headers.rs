//! What a poller asks of the answer: conditional requests (RFC 9110, 13.1.2) and the preference
//! to wait (RFC 7240, 4.3).

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::IF_NONE_MATCH;
use weir_split::wire::VERSION;

use super::answer::WATERMARK;
use weir_core::manifest::problem::messages::{Message, answer as messages};
use weir_core::watermark::Watermark;

/// No request is held longer than this.
const LONGEST_WAIT: u64 = 25;
/// Longer values of `weir-watermark` are not ours. The listener takes some more than this for the whole head.
const MAX_WATERMARK: usize = 24 << 10;

/// The revisions that the poller names in `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    Any,
    Tags(Vec<Vec<u8>>),
}

impl Held {
    pub(super) fn of(headers: &HeaderMap) -> Held {
        let elements: Vec<&[u8]> = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .collect();
        if elements.contains(&b"*".as_slice()) {
            return Held::Any;
        }
        let tags = elements.into_iter().filter_map(|element| {
            // The comparison is the weak one.
            let tag = element.strip_prefix(b"W/").unwrap_or(element);
            let tag = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            Some(tag.to_vec())
        });
        Held::Tags(tags.collect())
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Held::Tags(tags) if tags.is_empty())
    }

    pub(super) fn contains(&self, revision: &str) -> bool {
        match self {
            Held::Any => true,
            Held::Tags(tags) => tags.iter().any(|tag| tag == revision.as_bytes()),
        }
    }
}

/// The document version to answer in: what `weir-version` says that the poller reads, at most ours.
pub(super) fn version(headers: &HeaderMap) -> Result<u32, Message> {
    let Some(value) = headers.get("weir-version") else {
        return Ok(VERSION);
    };
    let read = value.to_str().ok().and_then(|value| value.parse().ok());
    match read {
        Some(version @ 1..) => Ok(VERSION.min(version)),
        _ => Err(messages::version_unclear()),
    }
}

/// How far the replica that answered the previous poll had read the cluster: the resources that are `watched` here, and
/// a few others. None if the header is absent, too long or invalid.
pub(super) fn watermark(headers: &HeaderMap, watched: &Watermark) -> Option<Watermark> {
    let value = headers.get(WATERMARK)?.to_str().ok()?;
    (value.len() <= MAX_WATERMARK).then(|| Watermark::of_client(value, watched).ok())?
}

/// `Prefer: wait=SECONDS`, capped. None where it is absent or no number.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    // The first of several counts.
    for preference in preferences {
        let preference = preference.split(';').next().unwrap_or_default();
        if let Some((name, value)) = preference.split_once('=')
            && name.trim().eq_ignore_ascii_case("wait")
        {
            let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
            return Some(Duration::from_secs(seconds.min(LONGEST_WAIT)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn etags_in_all_their_forms() {
        let held = |values: &[&'static str]| Held::of(&headers("if-none-match", values));
        for values in [
            &["\"abc\""] as &[&str],
            &["W/\"abc\""],
            &["\"x\", \"abc\""],
            &["\"x\",W/\"abc\" , \"y\""],
            &["\"x\"", "\"abc\""],
            &["*"],
        ] {
            assert!(held(values).contains("abc"), "{values:?}");
        }
        for values in [
            &[] as &[&str],
            &[""],
            &["abc"],
            &["\"ab\""],
            &["\"abc"],
            &["\""],
        ] {
            assert!(!held(values).contains("abc"), "{values:?}");
        }
    }

    #[test]
    fn a_version_is_a_number_and_at_most_ours() {
        let version = |values: &[&'static str]| version(&headers("weir-version", values)).ok();
        assert_eq!(version(&[]), Some(VERSION));
        assert_eq!(version(&["1"]), Some(1));
        assert_eq!(version(&["4000000000"]), Some(VERSION));
        for bad in ["0", "-1", "", "one", "99999999999"] {
            assert_eq!(version(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn the_wait_is_capped_and_the_first_counts() {
        let wait = |values: &[&'static str]| wait(&headers("prefer", values)).map(|w| w.as_secs());
        assert_eq!(wait(&["wait=10"]), Some(10));
        assert_eq!(wait(&["wait=1000"]), Some(25));
        assert_eq!(wait(&["respond-async, Wait = \"7\"; x=1"]), Some(7));
        assert_eq!(wait(&["wait=3, wait=9"]), Some(3));
        assert_eq!(wait(&["respond-async", "wait=4"]), Some(4));
        for bad in ["wait", "wait=", "wait=-1", "wait=soon", "waits=3"] {
            assert_eq!(wait(&[bad]), None, "{bad}");
        }
    }
}
