//! Where splits want to decide, and who does: on one claim, matches by the specification's precedence, then by
//! the age of their splits; behind them the splits without `matches`, the oldest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weir_split::wire::Match;

use super::resolved::Resolved;
use crate::api::route::rank::Rank;
use crate::api::smi::service_name::Host;
use crate::manifest::problem::messages::{list, matches as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::ServicePort;
use crate::translate::shadow;

/// One port of what a split is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    Service(ServicePort),
    Host(HostClaim),
}

/// A literal host is for clients of the split's namespace, and for the edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostClaim {
    pub namespace: String,
    pub host: String,
    pub port: HostPort,
}

/// What stands behind the host name in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPort {
    Number(u16),
    Absent,
    /// A number that no split of the host claims by itself.
    Other,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Service(at) => {
                write!(
                    f,
                    "port {} of Service {}/{}",
                    at.port, at.namespace, at.name
                )
            }
            Claim::Host(claim) => claim.fmt(f),
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

/// A claim, and the port of the backends to which its requests go.
pub struct Wanted {
    pub claim: Claim,
    pub port: u16,
}

/// The claims of a split whose root is a host, where splits of that host claim `ports` by themselves.
pub fn of_host(
    split: &Resolved,
    host: &Host,
    own: &BTreeSet<u16>,
    ports: &BTreeSet<u16>,
) -> Vec<Wanted> {
    let default = split.default_host_port();
    let wanted = |at: HostPort, port: u16| Wanted {
        claim: Claim::Host(HostClaim {
            namespace: split.split.object.namespace.clone(),
            host: host.name.clone(),
            port: at,
        }),
        port,
    };
    let is_for_all = split.split.root.port.is_none();
    let by_number = ports.iter().filter_map(|port| {
        let to = match own.contains(port) {
            true => Some(*port),
            false => default.filter(|_| is_for_all),
        };
        Some(wanted(HostPort::Number(*port), to?))
    });
    let absent = default.map(|port| wanted(HostPort::Absent, port));
    let other = default
        .filter(|_| is_for_all)
        .map(|port| wanted(HostPort::Other, port));
    by_number.chain(absent).chain(other).collect()
}

/// A match of one claim. Its order is that in which requests are held against matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    is_plain: bool,
    rank: Rank,
    /// Its place among all, the oldest first.
    split: usize,
    /// Its place among the matches of the split.
    condition: usize,
    /// Of the backends.
    port: u16,
}

/// A match that decides at a claim, of which split, and the port of its backends.
pub struct Deciding {
    pub split: usize,
    pub port: u16,
    /// It leads to no rule yet.
    pub wanted: Match,
}

/// Who decides where, once all splits have said where they want to.
pub struct Claims<'r, 'w> {
    /// The oldest first.
    resolved: &'r [Resolved<'w>],
    entries: BTreeMap<Claim, Vec<Entry>>,
    /// By split: how many claims it has made, and those at which another object decides for all of its requests.
    made: BTreeMap<usize, usize>,
    lost: BTreeMap<usize, BTreeMap<ObjectRef, Vec<Claim>>>,
    /// Matches without requests: by split, position of the match, and what stands before it.
    unreachable: BTreeMap<(usize, usize, ObjectRef), Vec<Claim>>,
}

impl<'r, 'w> Claims<'r, 'w> {
    pub fn new(resolved: &'r [Resolved<'w>]) -> Self {
        Claims {
            resolved,
            entries: BTreeMap::new(),
            made: BTreeMap::new(),
            lost: BTreeMap::new(),
            unreachable: BTreeMap::new(),
        }
    }

    /// `holder` is the route that decides there already.
    pub fn add(&mut self, split: usize, wanted: Wanted, holder: Option<&ObjectRef>) {
        let Some(resolved) = self.resolved.get(split) else {
            return;
        };
        *self.made.entry(split).or_default() += 1;
        let Wanted { claim, port } = wanted;
        if let Some(holder) = holder {
            self.lose(split, holder, claim);
            return;
        }
        let entry = |condition: usize, rank: Rank| Entry {
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
                let conditions = conditions.iter().map(|it| rank(&it.wanted)).enumerate();
                entries.extend(conditions.map(|(index, rank)| entry(index, rank)));
            }
        }
    }

    /// The matches of each claim in their order, without those that no request reaches.
    pub fn decide(&mut self) -> Vec<(Claim, Vec<Deciding>)> {
        let claims = std::mem::take(&mut self.entries);
        let mut decided = Vec::with_capacity(claims.len());
        for (claim, mut entries) in claims {
            entries.sort();
            let deciding = self.decide_at(&claim, &entries);
            decided.push((claim, deciding));
        }
        decided
    }

    fn decide_at(&mut self, claim: &Claim, entries: &[Entry]) -> Vec<Deciding> {
        let every = Match::default();
        let matches: Vec<&Match> = entries
            .iter()
            .map(|it| self.wanted(it).unwrap_or(&every))
            .collect();
        // One's own match leads to the same rule.
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
        let deciding: Vec<Deciding> = deciding
            .map(|((entry, wanted), _)| Deciding {
                split: entry.split,
                port: entry.port,
                wanted: (*wanted).clone(),
            })
            .collect();
        self.note(claim, entries, &shadows);
        deciding
    }

    /// Notes which splits have no requests at a claim, and which matches of the others have none.
    fn note(&mut self, claim: &Claim, entries: &[Entry], shadows: &[Option<usize>]) {
        // By split, and by match of a split: who stands before it, unless a request reaches it.
        let mut splits: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let mut matches: BTreeMap<(usize, usize), Option<usize>> = BTreeMap::new();
        for (entry, shadow) in entries.iter().zip(shadows) {
            let position = self.position(entry);
            for known in [
                splits.entry(entry.split).or_insert(*shadow),
                matches.entry((entry.split, position)).or_insert(*shadow),
            ] {
                *known = known.filter(|_| shadow.is_some());
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

    fn lose(&mut self, split: usize, winner: &ObjectRef, claim: Claim) {
        let lost = self.lost.entry(split).or_default();
        lost.entry(winner.clone()).or_default().push(claim);
    }

    fn wanted(&self, entry: &Entry) -> Option<&'r Match> {
        let conditions = self.resolved.get(entry.split)?.conditions.as_ref()?;
        Some(&conditions.get(entry.condition)?.wanted)
    }

    fn position(&self, entry: &Entry) -> usize {
        let split = self.resolved.get(entry.split);
        let conditions = split.and_then(|it| it.conditions.as_ref());
        let condition = conditions.and_then(|it| it.get(entry.condition));
        condition.map_or(0, |it| it.position)
    }

    /// What others keep from splits.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, lost) in &self.lost {
            let Some(split) = self.resolved.get(*index) else {
                continue;
            };
            for (winner, claims) in lost {
                let own = &split.split.object;
                let message = match winner.kind == own.kind {
                    true => messages::split_conflicts(winner, list(claims)),
                    false => messages::split_behind_route(winner, list(claims)),
                };
                let problem = own.problem("spec.service", message);
                problems.push(match self.has_lost_all(*index) {
                    true => problem.of_whole(),
                    false => problem,
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

    /// Whether other objects decide wherever the split wants to.
    pub fn has_lost_all(&self, split: usize) -> bool {
        let lost = self.lost.get(&split);
        let lost: usize = lost
            .into_iter()
            .flatten()
            .map(|(_, claims)| claims.len())
            .sum();
        self.made.get(&split) == Some(&lost)
    }
}

fn rank(wanted: &Match) -> Rank {
    let has_method = wanted.method.is_some();
    let (headers, query) = (wanted.headers.len(), wanted.query.len());
    Rank::http(wanted.path.as_ref(), has_method, headers, query)
}
