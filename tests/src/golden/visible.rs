//! What a client and a backend see of an outcome, each as a line of text that can be counted: what the core says
//! beside what a real proxy did.

use std::collections::BTreeSet;

use super::outcome::{Change, Fate, Outcome, Outcomes};
use super::request::Http;
use crate::Answer;

/// How answers to one request are told apart.
pub struct Eyes<'a> {
    http: &'a Http,
    /// Headers of answers that some outcome edits.
    edited: BTreeSet<String>,
}

impl<'a> Eyes<'a> {
    pub fn new(http: &'a Http, outcomes: &Outcomes) -> Eyes<'a> {
        let changes = outcomes.keys().flat_map(|outcome| &outcome.response);
        let name = |change: &Change| match change {
            Change::Set(name, _) | Change::Add(name, _) | Change::Remove(name) => name.clone(),
        };
        Eyes {
            http,
            edited: changes.map(name).collect(),
        }
    }

    /// By the core: who answers, what arrives there, and what the client gets back.
    pub fn expected(&self, outcome: &Outcome) -> String {
        let backend = outcome.backend.as_deref().unwrap_or_default();
        let line = match &outcome.fate {
            Fate::Untouched | Fate::Allowed => return "untouched".into(),
            Fate::Answer(status) => return status.to_string(),
            Fate::Denied => return "403 denied".into(),
            Fate::UnknownListener => return "500 listener unknown".into(),
            Fate::Redirect(status, location) => format!("{status} {location}"),
            Fate::Backend if self.http.method == "HEAD" => backend.into(),
            Fate::Backend => {
                let (path, headers) = received(self.http, &outcome.request);
                arrived(backend, &self.http.method, &path, headers)
            }
        };
        let mut answered = Vec::new();
        if outcome.fate == Fate::Backend && self.edited.contains("identity") {
            answered.push(("identity".to_owned(), "echo".to_owned()));
        }
        edit(&mut answered, &outcome.response);
        self.with_answer(line, answered)
    }

    /// By a real proxy before an [`crate::Echo`] with the name `echo`.
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

/// What the backend receives of a request: the path, and every header, `host` among them.
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
    // Envoy keeps the order of the lines of one name alone.
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    format!("{backend} got {method} {path} {headers:?}")
}

/// What Envoy adds to a request, or takes from it, of its own accord. Timeouts and retries are told to it by
/// such headers, and end with it.
fn is_envoys_own(name: &str) -> bool {
    name.starts_with("x-envoy-")
        || matches!(
            name,
            "x-forwarded-proto" | "x-request-id" | "content-length" | "x-weir-cluster"
        )
}
