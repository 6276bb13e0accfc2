//! Finds the ports of each split, and the order of the matches at each port.
//!
//! The root of a split is the Service or host that clients call. A claim is a port of the root for which the split
//! chooses backends. If several splits have the same claim, the proxy tries their matches in the order of [`Rank`], and
//! then by the age of the split. Splits without `matches` come last, the oldest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weir_split::wire::Match;

use super::resolved::ResolvedSplit;
use crate::api::route::rank::Rank;
use crate::api::smi::service_name::Host;
use crate::manifest::problem::messages::{list, matches as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::ServicePort;
use crate::translate::shadow;

/// One port of the root of a split. The split chooses the backends of requests for this port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SplitClaim {
    Service(ServicePort),
    Host(HostClaim),
}

/// One port of a literal host (a host that is not a Service), for clients in the namespace of the split and for proxies
/// at the edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostClaim {
    pub namespace: String,
    pub host: String,
    pub port: HostPort,
}

/// The port in the Host header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPort {
    Number(u16),
    Absent,
    /// Any port number that no split of the host has.
    Other,
}

impl fmt::Display for SplitClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitClaim::Service(at) => {
                write!(
                    f,
                    "port {} of Service {}/{}",
                    at.port, at.namespace, at.name
                )
            }
            SplitClaim::Host(claim) => claim.fmt(f),
        }
    }
}

impl fmt::Display for HostClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match self.port {
            HostPort::Number(port) => write!(f, "{host}:{port}"),
            HostPort::Absent => write!(f, "{host} without a port"),
            HostPort::Other => write!(f, "{host} with any other port"),
        }
    }
}

/// A claim of one split, and the port of its backends for requests of this claim.
pub struct NewClaim {
    pub claim: SplitClaim,
    pub port: u16,
}

/// Returns the claims of a split of a literal host. `own` has the ports of this split, and `ports` has the ports of all
/// splits of the host.
pub fn of_host(
    split: &ResolvedSplit,
    host: &Host,
    own: &BTreeSet<u16>,
    ports: &BTreeSet<u16>,
) -> Vec<NewClaim> {
    let default = split.default_host_port();
    let claim = |at: HostPort, port: u16| NewClaim {
        claim: SplitClaim::Host(HostClaim {
            namespace: split.split.object.namespace.clone(),
            host: host.name.clone(),
            port: at,
        }),
        port,
    };
    let is_for_all = split.split.root.port.is_none();
    let by_number = ports.iter().filter_map(|port| {
        let to = if own.contains(port) {
            Some(*port)
        } else {
            default.filter(|_| is_for_all)
        };
        Some(claim(HostPort::Number(*port), to?))
    });
    let absent = default.map(|port| claim(HostPort::Absent, port));
    let other = default
        .filter(|_| is_for_all)
        .map(|port| claim(HostPort::Other, port));
    by_number.chain(absent).chain(other).collect()
}

/// A match of a split at one claim. The proxy tries the matches in the order of the derived `Ord`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ClaimedMatch {
    /// True for a split without `matches`.
    is_plain: bool,
    rank: Rank,
    /// Index of the split in `Claims::resolved`, where the oldest split is the first.
    split: usize,
    /// Index of the match in the split.
    condition: usize,
    /// Port of the backends.
    port: u16,
}

/// A match of a split. Some requests of the claim can reach this match.
pub struct DecidingMatch {
    /// Index of the split in `Claims::resolved`.
    pub split: usize,
    /// Port of the backends.
    pub port: u16,
    /// The match without its rule.
    pub wire: Match,
}

/// The claims of all splits.
pub struct Claims<'r, 'w> {
    /// All splits, the oldest first.
    resolved: &'r [ResolvedSplit<'w>],
    entries: BTreeMap<SplitClaim, Vec<ClaimedMatch>>,
    /// The number of claims of each split.
    claim_counts: BTreeMap<usize, usize>,
    /// For each split: the claims where another object gets all requests of the split. The inner key is the other
    /// object.
    lost: BTreeMap<usize, BTreeMap<ObjectRef, Vec<SplitClaim>>>,
    /// The claims where a match gets no requests. The key has the index of the split, the position of the match in the
    /// split, and the object that gets the requests of the match.
    unreachable: BTreeMap<(usize, usize, ObjectRef), Vec<SplitClaim>>,
}

impl<'r, 'w> Claims<'r, 'w> {
    pub fn new(resolved: &'r [ResolvedSplit<'w>]) -> Self {
        Claims {
            resolved,
            entries: BTreeMap::new(),
            claim_counts: BTreeMap::new(),
            lost: BTreeMap::new(),
            unreachable: BTreeMap::new(),
        }
    }

    /// Adds a claim of a split. `holder` is the route that already gets the requests of the port. If there is such a
    /// route, the split gets no requests there.
    pub fn add(&mut self, split: usize, new_claim: NewClaim, holder: Option<&ObjectRef>) {
        let Some(resolved) = self.resolved.get(split) else {
            return;
        };
        *self.claim_counts.entry(split).or_default() += 1;
        let NewClaim { claim, port } = new_claim;
        if let Some(holder) = holder {
            self.lose(split, holder, claim);
            return;
        }
        let entry = |condition: usize, rank: Rank| ClaimedMatch {
            is_plain: resolved.conditions.is_none(),
            rank,
            split,
            condition,
            port,
        };
        let entries = self.entries.entry(claim).or_default();
        match &resolved.conditions {
            None => entries.push(entry(0, Rank::default())),
            Some(conditions) => {
                let conditions = conditions.iter().map(|it| rank(&it.wire)).enumerate();
                entries.extend(conditions.map(|(index, rank)| entry(index, rank)));
            }
        }
    }

    /// Returns the matches of each claim in the order in which the proxy tries them. Matches that no request can reach
    /// are not included.
    pub fn decide(&mut self) -> Vec<(SplitClaim, Vec<DecidingMatch>)> {
        let claims = std::mem::take(&mut self.entries);
        let mut by_claim = Vec::with_capacity(claims.len());
        for (claim, mut entries) in claims {
            entries.sort();
            let deciding = self.decide_at(&claim, &entries);
            by_claim.push((claim, deciding));
        }
        by_claim
    }

    fn decide_at(&mut self, claim: &SplitClaim, entries: &[ClaimedMatch]) -> Vec<DecidingMatch> {
        let every = Match::default();
        let matches: Vec<&Match> = entries
            .iter()
            .map(|it| self.wire(it).unwrap_or(&every))
            .collect();
        // If the earlier match belongs to the same split, both matches have the same rule, so no request goes to a
        // wrong backend.
        let shadows = shadow::shadows(&matches)
            .into_iter()
            .zip(entries)
            .map(|(shadow, entry)| {
                let earlier = entries.get(shadow?)?;
                (earlier.split != entry.split).then_some(earlier.split)
            });
        let shadows: Vec<Option<usize>> = shadows.collect();
        let deciding = entries
            .iter()
            .zip(&matches)
            .zip(&shadows)
            .filter(|(_, it)| it.is_none());
        let deciding: Vec<DecidingMatch> = deciding
            .map(|((entry, wire), _)| DecidingMatch {
                split: entry.split,
                port: entry.port,
                wire: (*wire).clone(),
            })
            .collect();
        self.record_losses(claim, entries, &shadows);
        deciding
    }

    /// Records the splits that get no requests at a claim. For each other split, records the matches that get no
    /// requests.
    fn record_losses(
        &mut self,
        claim: &SplitClaim,
        entries: &[ClaimedMatch],
        shadows: &[Option<usize>],
    ) {
        // Each value is the index of the split that gets all requests instead. None means that a request can reach the
        // split or match of the key.
        let mut splits: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let mut matches: BTreeMap<(usize, usize), Option<usize>> = BTreeMap::new();
        for (entry, shadow) in entries.iter().zip(shadows) {
            let position = self.position(entry);
            for winner in [
                splits.entry(entry.split).or_insert(*shadow),
                matches.entry((entry.split, position)).or_insert(*shadow),
            ] {
                *winner = winner.filter(|_| shadow.is_some());
            }
        }
        let resolved = self.resolved;
        let name = |index: usize| Some(resolved.get(index)?.split.object.clone());
        for (split, winner) in &splits {
            if let Some(winner) = winner.and_then(name) {
                self.lose(*split, &winner, claim.clone());
            }
        }
        for ((split, position), winner) in matches {
            if splits.get(&split).is_some_and(Option::is_none)
                && let Some(winner) = winner.and_then(name)
            {
                let of_match = self.unreachable.entry((split, position, winner));
                of_match.or_default().push(claim.clone());
            }
        }
    }

    /// Records that `winner` gets all requests of a split at a claim.
    fn lose(&mut self, split: usize, winner: &ObjectRef, claim: SplitClaim) {
        let lost = self.lost.entry(split).or_default();
        lost.entry(winner.clone()).or_default().push(claim);
    }

    fn wire(&self, entry: &ClaimedMatch) -> Option<&'r Match> {
        let conditions = self.resolved.get(entry.split)?.conditions.as_ref()?;
        Some(&conditions.get(entry.condition)?.wire)
    }

    fn position(&self, entry: &ClaimedMatch) -> usize {
        let split = self.resolved.get(entry.split);
        let conditions = split.and_then(|it| it.conditions.as_ref());
        let condition = conditions.and_then(|it| it.get(entry.condition));
        condition.map_or(0, |it| it.position)
    }

    /// Returns a problem for each split, and for each match of a split, that gets no requests at some claim because
    /// another object gets them.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, lost) in &self.lost {
            let Some(split) = self.resolved.get(*index) else {
                continue;
            };
            for (winner, claims) in lost {
                let own = &split.split.object;
                let message = if winner.kind == own.kind {
                    messages::split_conflicts(winner, list(claims))
                } else {
                    messages::split_behind_route(winner, list(claims))
                };
                let problem = own.problem("spec.service", message);
                problems.push(if self.has_lost_all(*index) {
                    problem.of_whole()
                } else {
                    problem
                });
            }
        }
        for ((index, position, winner), claims) in &self.unreachable {
            let split = self.resolved.get(*index);
            let conditions = split.and_then(|it| it.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            let condition = conditions.find(|it| it.position == *position);
            if let (Some(split), Some(condition)) = (split, condition) {
                let path = format!("spec.matches[{}]", condition.group);
                let message =
                    messages::split_match_unreachable(condition.name, winner, list(claims));
                problems.push(split.split.object.problem(path, message));
            }
        }
        problems
    }

    /// True if other objects get all requests at all claims of the split.
    pub fn has_lost_all(&self, split: usize) -> bool {
        let lost = self.lost.get(&split);
        let lost: usize = lost
            .into_iter()
            .flatten()
            .map(|(_, claims)| claims.len())
            .sum();
        self.claim_counts.get(&split) == Some(&lost)
    }
}

fn rank(wire: &Match) -> Rank {
    let has_method = wire.method.is_some();
    let (headers, query) = (wire.headers.len(), wire.query.len());
    Rank::http(wire.path.as_ref(), has_method, headers, query)
}
