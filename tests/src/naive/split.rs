//! TrafficSplits of the SMI, of Services of one namespace, with the matches of their HTTPRouteGroups.

use std::cmp::Reverse;

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

/// Matches are asked in the order of Gateway API, those of one rank by the age of their splits; then the oldest split
/// without matches. What fits none of them stays with the root.
pub fn decide(splits: &[Split], service: &Service, port: u16, request: &Request) -> Answer {
    if service.namespace != GATEWAY_NAMESPACE {
        return Answer::Untouched;
    }
    let meant = splits.iter().filter(|split| {
        split.service == service.name && split.port.is_none_or(|only| only == port)
    });
    let mut asked: Vec<_> = meant.flat_map(Split::matches).collect();
    asked.sort_by_key(|(split, wanted)| {
        let age = split.created.unwrap_or(u8::MAX);
        let rank = wanted.map(GroupMatch::rank);
        (wanted.is_none(), Reverse(rank), age, split.name.clone())
    });
    let fits =
        |(_, wanted): &(&Split, Option<&GroupMatch>)| wanted.is_none_or(|it| it.fits(request));
    match asked.into_iter().find(fits) {
        Some((split, _)) => Answer::Rule(split.backend.clone()),
        None => Answer::Untouched,
    }
}

impl Split {
    /// None is every request.
    fn matches(&self) -> Vec<(&Split, Option<&GroupMatch>)> {
        match self.groups.is_empty() {
            true => vec![(self, None)],
            false => self
                .groups
                .iter()
                .flatten()
                .map(|it| (self, Some(it)))
                .collect(),
        }
    }
}

impl GroupMatch {
    /// The greater goes first: by its expression for the path, its method, its headers.
    fn rank(&self) -> (Option<usize>, bool, usize) {
        let path = self.path.as_ref().map(|it| it.to_string().chars().count());
        let is_any = self.methods.is_empty() || self.methods.iter().any(|method| method == "*");
        (path, !is_any, self.headers.len())
    }

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
