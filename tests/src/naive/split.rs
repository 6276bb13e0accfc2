//! TrafficSplits of the SMI, of Services of one namespace, with the matches of their HTTPRouteGroups.

use super::condition::header;
use super::{Answer, GATEWAY_NAMESPACE, Pattern, Request, Service};

/// It stands in the namespace of its root.
#[derive(Clone, Debug)]
pub struct Split {
    pub name: String,
    /// As a route's.
    pub created: Option<u8>,
    pub service: String,
    /// The one port that `spec.service` names.
    pub port: Option<u16>,
    /// The Service that all its requests go to; no other split or rule has it.
    pub backend: String,
    /// Groups, each with its matches; none splits every request.
    pub groups: Vec<Vec<GroupMatch>>,
}

/// A match of an HTTPRouteGroup.
#[derive(Clone, Debug)]
pub struct GroupMatch {
    pub path: Option<Pattern>,
    /// None at all is every method, and so is `*`.
    pub methods: Vec<String>,
    pub headers: Vec<(String, Pattern)>,
}

/// Splits with matches are asked first, the oldest of them before the others; then the oldest of those without.
/// What fits none of them stays with the root.
pub fn decide(splits: &[Split], service: &Service, port: u16, request: &Request) -> Answer {
    if service.namespace != GATEWAY_NAMESPACE {
        return Answer::Untouched;
    }
    let meant = |split: &&Split| {
        split.service == service.name && split.port.is_none_or(|only| only == port)
    };
    let mut meant: Vec<&Split> = splits.iter().filter(meant).collect();
    meant.sort_by_key(|split| {
        let age = split.created.unwrap_or(u8::MAX);
        (split.groups.is_empty(), age, split.name.clone())
    });
    let fits = |split: &&Split| {
        let mut matches = split.groups.iter().flatten();
        split.groups.is_empty() || matches.any(|wanted| wanted.fits(request))
    };
    match meant.into_iter().find(fits) {
        Some(split) => Answer::Rule(split.backend.clone()),
        None => Answer::Untouched,
    }
}

impl GroupMatch {
    pub fn fits(&self, request: &Request) -> bool {
        let path = request.path.split('?').next().unwrap_or_default();
        let is_any = |method: &String| method == "*" || *method == request.method;
        self.path.as_ref().is_none_or(|it| it.is_all_of(path))
            && (self.methods.is_empty() || self.methods.iter().any(is_any))
            && self.headers.iter().all(|(name, pattern)| {
                header(request, name).is_some_and(|value| pattern.is_all_of(&value))
            })
    }
}
