//! Writes the visible part of an outcome as one line of text. One function makes the line from the core's decision,
//! another makes the line from the answer of a real proxy.

use std::collections::BTreeSet;

use super::outcome::{Action, Change, Outcome, Outcomes};
use super::request::Http;
use crate::Answer;

/// Compares answers to one request.
pub struct Comparison<'a> {
    http: &'a Http,
    /// Names of response headers that at least one outcome edits.
    edited: BTreeSet<String>,
}

impl<'a> Comparison<'a> {
    pub fn new(http: &'a Http, outcomes: &Outcomes) -> Comparison<'a> {
        let changes = outcomes.keys().flat_map(|outcome| &outcome.response);
        let name = |change: &Change| match change {
            Change::Set(name, _) | Change::Add(name, _) | Change::Remove(name) => name.clone(),
        };
        Comparison {
            http,
            edited: changes.map(name).collect(),
        }
    }

    /// Returns the line for a decision of the core: the backend, the request that the backend receives, and the edited
    /// response headers.
    pub fn expected(&self, outcome: &Outcome) -> String {
        let backend = outcome.backend.as_deref().unwrap_or_default();
        let line = match &outcome.action {
            Action::Untouched | Action::Allowed => return "untouched".into(),
            Action::Answer(status) => return status.to_string(),
            Action::Denied => return "403 denied".into(),
            Action::UnknownListener => return "500 listener unknown".into(),
            Action::Redirect(status, location) => format!("{status} {location}"),
            Action::Backend if self.http.method == "HEAD" => backend.into(),
            Action::Backend => {
                let (path, headers) = received(self.http, &outcome.request);
                arrived(backend, &self.http.method, &path, headers)
            }
        };
        let mut answered = Vec::new();
        if outcome.action == Action::Backend && self.edited.contains("identity") {
            answered.push(("identity".to_owned(), "echo".to_owned()));
        }
        edit(&mut answered, &outcome.response);
        self.with_answer(line, answered)
    }

    /// Returns the line for an answer of a real proxy. Its backends are [`crate::Echo`]s with the name `echo`.
    pub fn seen(&self, answer: &Answer) -> String {
        let status = answer.status.as_u16();
        let line = match (status, answer.header("x-cluster")) {
            (200, "") => return "untouched".into(),
            (200, cluster) if self.http.method == "HEAD" => cluster.into(),
            (200, cluster) => {
                let body = answer.json();
                let headers = serde_json::from_value(body["headers"].clone()).expect("headers");
                let text = |key: &str| body[key].as_str().unwrap_or("?").to_owned();
                arrived(cluster, &text("method"), &text("path"), headers)
            }
            (300..=399, _) => format!("{status} {}", answer.header("location")),
            (403, _) => {
                assert_ne!(answer.header("x-weir-denied"), "", "{answer:?}");
                return "403 denied".into();
            }
            (500, _) if answer.text().contains("by which listener") => {
                return "500 listener unknown".into();
            }
            (status, _) => {
                let said = self.http.method == "HEAD" || answer.text().starts_with("weir: ");
                assert!(said, "{answer:?}");
                return status.to_string();
            }
        };
        let headers = answer.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        });
        self.with_answer(line, headers.collect())
    }

    fn with_answer(&self, line: String, mut headers: Vec<(String, String)>) -> String {
        if self.edited.is_empty() {
            return line;
        }
        headers.retain(|(name, _)| self.edited.contains(name));
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        format!("{line} and answered {headers:?}")
    }
}

/// Returns the path of the request that the backend receives, and all its headers including `host`.
fn received(http: &Http, changes: &[Change]) -> (String, Vec<(String, String)>) {
    let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
    let mut headers: Vec<_> = http.headers.iter().map(lower).collect();
    headers.push((":authority".to_owned(), http.host.clone()));
    headers.push((":path".to_owned(), http.path.clone()));
    edit(&mut headers, changes);
    let mut path = String::new();
    headers.retain_mut(|(name, value)| {
        if name == ":authority" {
            *name = "host".to_owned();
        }
        if name == ":path" {
            path = std::mem::take(value);
        }
        name != ":path"
    });
    (path, headers)
}

fn edit(headers: &mut Vec<(String, String)>, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Set(name, value) => {
                headers.retain(|(own, _)| own != name);
                headers.push((name.clone(), value.clone()));
            }
            Change::Add(name, value) => headers.push((name.clone(), value.clone())),
            Change::Remove(name) => headers.retain(|(own, _)| own != name),
        }
    }
}

fn arrived(backend: &str, method: &str, path: &str, mut headers: Vec<(String, String)>) -> String {
    headers.retain(|(name, _)| !is_envoys_own(name));
    // Envoy keeps the order only among lines with equal names.
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    format!("{backend} got {method} {path} {headers:?}")
}

/// True for headers that Envoy adds or removes. With some of these headers the filter sets Envoy's timeouts and
/// retries.
fn is_envoys_own(name: &str) -> bool {
    name.starts_with("x-envoy-")
        || matches!(
            name,
            "x-forwarded-proto" | "x-request-id" | "content-length" | "x-weir-cluster"
        )
}
