//! Finds matches that no request can reach, because each request that fits the match also fits an earlier match. The
//! earlier match covers the later match.
//!
//! This module does not find all unreachable matches, because it does not compare different regular expressions. An
//! expression that fits every path covers every path. Any other expression covers only the same expression.

use std::collections::HashMap;
use std::iter;

use weir_split::wire::{Field, Match, PathMatch, ValueMatch};

use crate::api::route::rank::Breadth;
use crate::manifest::hostname::Hostname;
use crate::translate::host_key::HostKey;

/// Maximum number of earlier matches, and of lookups of hostnames, for one match. Without a limit, thousands of matches
/// would take seconds. If a match needs more comparisons, the result is that requests can reach it.
const MAX_COMPARED: usize = 256;
/// Maximum number of wider paths that are looked up for one match.
const MAX_PATHS: usize = 64;

/// True if every request that fits `later` also fits `earlier`.
#[cfg(test)]
pub fn covers(earlier: &Match, later: &Match) -> bool {
    let covers_path = || {
        let path = PathKey::new(earlier.path.as_ref());
        let mut above = PathKey::new(later.path.as_ref()).above();
        above.any(|key| key == path)
    };
    let hosts = |of: &Match| MatchHosts::new(&of.hostnames);
    covers_but_for_path_and_hosts(earlier, later)
        && hosts(earlier).cover(&hosts(later), &mut 0)
        && covers_path()
}

/// True if every request that fits `later` also fits `earlier`. This comparison ignores paths and hostnames.
fn covers_but_for_path_and_hosts(earlier: &Match, later: &Match) -> bool {
    let Match {
        path: _,
        method,
        headers,
        query,
        hostnames: _,
        listeners,
        rule: _,
    } = earlier;
    (method.is_none() || *method == later.method)
        && headers.iter().all(|it| later.headers.contains(it))
        && query.iter().all(|it| later.query.contains(it))
        && listeners.is_empty() == later.listeners.is_empty()
        && later.listeners.iter().all(|it| listeners.contains(it))
}

/// For each match, returns the index of an earlier match that gets all requests of the match, or None. `ordered` has
/// the matches in order of precedence.
pub fn shadows(ordered: &[&Match]) -> Vec<Option<usize>> {
    shadows_and_lookups(ordered).0
}

/// Returns the result of [`shadows`], and the number of hostnames that were looked up.
fn shadows_and_lookups(ordered: &[&Match]) -> (Vec<Option<usize>>, usize) {
    let mut lookups = 0;
    let hosts: Vec<MatchHosts> = ordered
        .iter()
        .map(|it| MatchHosts::new(&it.hostnames))
        .collect();
    let mut reachable = Reachable::default();
    let mut shadows = Vec::with_capacity(ordered.len());
    for (index, (current, own)) in ordered.iter().zip(&hosts).enumerate() {
        let path = PathKey::new(current.path.as_ref());
        let above = reachable.above(path, current).take(MAX_COMPARED);
        let mut compared = 0;
        let mut covering = above.filter(|(at, earlier)| {
            compared < MAX_COMPARED
                && covers_but_for_path_and_hosts(earlier, current)
                && hosts
                    .get(*at)
                    .is_some_and(|it| it.cover(own, &mut compared))
        });
        let shadow = covering.next().map(|(index, _)| index);
        drop(covering);
        lookups += compared;
        if shadow.is_none() {
            // Only reachable matches are added. If an unreachable match covers other matches, an earlier match covers
            // them too.
            reachable.add(index, path, current);
        }
        shadows.push(shadow);
    }
    (shadows, lookups)
}

/// The hosts of a match.
struct MatchHosts {
    /// Sorted keys, without keys that another key contains. An empty list means every host.
    keys: Vec<HostKey>,
    /// True if some hostnames cannot be parsed.
    has_others: bool,
}

impl MatchHosts {
    fn new(hostnames: &[String]) -> MatchHosts {
        let parsed = hostnames.iter().filter_map(|it| Hostname::parse(it));
        let mut keys: Vec<HostKey> = parsed.map(|it| HostKey::new(Some(&it))).collect();
        let has_others = keys.len() < hostnames.len();
        keys.sort_unstable();
        // In this order, a key is right before the keys that it contains.
        keys.dedup_by(|later, earlier| earlier.contains(later));
        MatchHosts { keys, has_others }
    }

    /// True if these hosts certainly include all hosts of `later`. Adds the number of lookups to `compared`.
    fn cover(&self, later: &MatchHosts, compared: &mut usize) -> bool {
        if self.keys.is_empty() {
            return !self.has_others;
        }
        // No key of the list contains another key. So only the last key that is not after `narrow` can contain
        // `narrow`.
        let mut covers = |narrow: &HostKey| {
            *compared += 1;
            let behind = self.keys.partition_point(|wide| wide <= narrow);
            let last = behind.checked_sub(1).and_then(|at| self.keys.get(at));
            last.is_some_and(|wide| wide.contains(narrow))
        };
        !later.has_others && !later.keys.is_empty() && later.keys.iter().all(&mut covers)
    }
}

/// The paths of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PathKey<'m> {
    Any,
    /// Every path that begins with a slash. Only the path of the request `OPTIONS *` does not begin with a slash.
    Absolute,
    Exact(&'m str),
    /// A path prefix without a slash at its end.
    Prefix(&'m str),
    Regex(&'m str),
}

impl<'m> PathKey<'m> {
    fn new(path: Option<&'m PathMatch>) -> PathKey<'m> {
        match path {
            None => PathKey::Any,
            Some(PathMatch::Exact(path)) => PathKey::Exact(path),
            Some(PathMatch::Prefix(prefix)) => match prefix.trim_end_matches('/') {
                "" => PathKey::Any,
                prefix => PathKey::Prefix(prefix),
            },
            Some(PathMatch::Regex(pattern)) => match Breadth::of(pattern) {
                Breadth::Everything => PathKey::Any,
                Breadth::EveryPath => PathKey::Absolute,
                Breadth::Narrower => PathKey::Regex(pattern),
            },
        }
    }

    /// Returns this key and all wider keys. A wider key fits every path that this key fits.
    fn above(self) -> impl Iterator<Item = PathKey<'m>> {
        let below: &str = match self {
            PathKey::Exact(path) | PathKey::Prefix(path) => path,
            PathKey::Any | PathKey::Absolute | PathKey::Regex(_) => "",
        };
        let absolute = below.starts_with('/').then_some(PathKey::Absolute);
        let ends = below.match_indices('/').map(|(at, _)| at);
        let prefixes = ends.filter_map(move |at| below.get(..at).map(PathKey::Prefix));
        let of_exact = matches!(self, PathKey::Exact(_)).then_some(PathKey::Prefix(below));
        iter::once(PathKey::Any)
            .chain(absolute)
            .chain(Some(self).filter(|it| *it != PathKey::Any))
            .chain(of_exact)
            .chain(prefixes)
            .filter(|it| *it != PathKey::Prefix(""))
    }
}

/// One condition other than the path. The items are the kind (method, header or query parameter), the name, true if the
/// value is a regular expression, and the value.
type Need<'m> = (u8, &'m str, bool, &'m str);

fn needs<'m>(current: &'m Match) -> impl Iterator<Item = Need<'m>> {
    fn need(kind: u8, field: &Field) -> Need<'_> {
        match &field.value {
            ValueMatch::Exact(value) => (kind, &field.name, false, value),
            ValueMatch::Regex(value) => (kind, &field.name, true, value),
        }
    }
    let method = current
        .method
        .iter()
        .map(|method| (0, "", false, method.as_str()));
    let headers = current.headers.iter().map(|field| need(1, field));
    let query = current.query.iter().map(|field| need(2, field));
    method.chain(headers).chain(query)
}

type ByNeed<'m> = HashMap<Option<Need<'m>>, Vec<(usize, &'m Match)>>;

/// The reachable matches so far, by path and by one other condition. A match can only cover a later match that has this
/// condition too, so the condition is enough to find candidates.
#[derive(Default)]
struct Reachable<'m> {
    by_path: HashMap<PathKey<'m>, ByNeed<'m>>,
}

impl<'m> Reachable<'m> {
    fn add(&mut self, index: usize, path: PathKey<'m>, current: &'m Match) {
        let by_need = self.by_path.entry(path).or_default();
        let matches = by_need.entry(needs(current).last());
        matches.or_default().push((index, current));
    }

    /// Returns the matches that may cover `current`. `path` is the path of `current`, and the path of each returned
    /// match covers it.
    fn above<'r>(
        &'r self,
        path: PathKey<'r>,
        current: &'r Match,
    ) -> impl Iterator<Item = (usize, &'m Match)> + 'r {
        let paths = path.above().take(MAX_PATHS);
        let of_paths = paths.filter_map(|path| self.by_path.get(&path));
        of_paths.flat_map(move |of_path| {
            let needs = iter::once(None).chain(needs(current).map(Some));
            needs
                .filter_map(|need| of_path.get(&need))
                .flatten()
                .copied()
        })
    }
}

#[cfg(test)]
mod tests;
