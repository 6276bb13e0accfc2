//! TrafficSplits of the SMI for Services of one namespace, with the matches of their HTTPRouteGroups.

use std::cmp::Reverse;

use super::condition::header;
use super::precedence::fits_every_path;
use super::{Answer, GATEWAY_NAMESPACE, Pattern, Request, Service};

/// A split, in the namespace of the Service that clients call.
#[derive(Clone, Debug)]
pub struct Split {
    pub name: String,
    /// As in [`super::Route::created`].
    pub created: Option<u8>,
    pub service: String,
    /// The port, if `spec.service` names one.
    pub port: Option<u16>,
    /// The only backend, a Service that no other split or rule uses.
    pub backend: String,
    /// The matches of each group. Without groups the split applies to every request.
    pub groups: Vec<Vec<GroupMatch>>,
}

/// A match of an HTTPRouteGroup.
#[derive(Clone, Debug)]
pub struct GroupMatch {
    pub path: Option<Pattern>,
    /// An empty list means every method, and so does `*`.
    pub methods: Vec<String>,
    pub headers: Vec<(String, Pattern)>,
}

/// Returns the backend of the first match that fits the request. Matches are in the order of Gateway API, and then of
/// the age of their splits. After all matches comes the oldest split without matches.
pub fn decide(splits: &[Split], service: &Service, port: u16, request: &Request) -> Answer {
    if service.namespace != GATEWAY_NAMESPACE {
        return Answer::Untouched;
    }
    let of_service = splits.iter().filter(|split| {
        split.service == service.name && split.port.is_none_or(|only| only == port)
    });
    let mut candidates: Vec<_> = of_service.flat_map(Split::matches).collect();
    candidates.sort_by_key(|(split, group_match)| {
        let age = split.created.unwrap_or(u8::MAX);
        let rank = group_match.map(GroupMatch::rank);
        (
            group_match.is_none(),
            Reverse(rank),
            age,
            split.name.clone(),
        )
    });
    let fits = |(_, group_match): &(&Split, Option<&GroupMatch>)| {
        group_match.is_none_or(|it| it.fits(request))
    };
    match candidates.into_iter().find(fits) {
        Some((split, _)) => Answer::Rule(split.backend.clone()),
        None => Answer::Untouched,
    }
}

impl Split {
    /// Returns the split with each of its matches. The match None fits every request.
    fn matches(&self) -> Vec<(&Split, Option<&GroupMatch>)> {
        if self.groups.is_empty() {
            vec![(self, None)]
        } else {
            self.groups
                .iter()
                .flatten()
                .map(|it| (self, Some(it)))
                .collect()
        }
    }
}

impl GroupMatch {
    /// Returns the rank of a match. A higher rank comes first. The rank counts the length of the path expression, then
    /// a method, then the number of headers. An expression that fits every path counts as no expression.
    fn rank(&self) -> (Option<usize>, bool, usize) {
        let path = self.path.as_ref().filter(|it| !fits_every_path(it));
        let path = path.map(|it| it.to_string().chars().count());
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
