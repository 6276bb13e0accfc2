//! Matches that no request can reach: whatever fits them fits one that stands before them.
//!
//! Only what is certain is found. An expression that fits every path covers every path; any other expression covers the
//! same expression and nothing else.

use std::collections::HashMap;
use std::iter;

use weir_split::wire::{Field, Match, PathMatch, ValueMatch};

use crate::api::route::rank::Breadth;
use crate::manifest::hostname::Hostname;
use crate::translate::host_key::HostKey;

/// With how many matches, and of these with how many hostnames, one match is compared: thousands of matches must not
/// take seconds. A match beyond the limits counts as reachable.
const MAX_COMPARED: usize = 256;
/// How many paths above that of a match are looked up.
const MAX_PATHS: usize = 64;

/// Whether every request that fits `later` fits `earlier`.
#[cfg(test)]
pub fn covers(earlier: &Match, later: &Match) -> bool {
    let covers_path = || {
        let path = PathKey::new(earlier.path.as_ref());
        let mut above = PathKey::new(later.path.as_ref()).above();
        above.any(|key| key == path)
    };
    let hosts = |of: &Match| Hosts::new(&of.hostnames);
    covers_but_for_path_and_hosts(earlier, later)
        && hosts(earlier).cover(&hosts(later), &mut 0)
        && covers_path()
}

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

/// For each match, in order of precedence, the first one found that keeps every request from it.
pub fn shadows(ordered: &[&Match]) -> Vec<Option<usize>> {
    counted(ordered).0
}

/// With the number of hostnames that were looked up.
fn counted(ordered: &[&Match]) -> (Vec<Option<usize>>, usize) {
    let mut looked_up = 0;
    let hosts: Vec<Hosts> = ordered.iter().map(|it| Hosts::new(&it.hostnames)).collect();
    let mut reachable = Reachable::default();
    let mut shadows = Vec::with_capacity(ordered.len());
    for (index, (wanted, own)) in ordered.iter().zip(&hosts).enumerate() {
        let path = PathKey::new(wanted.path.as_ref());
        let above = reachable.above(path, wanted).take(MAX_COMPARED);
        let mut compared = 0;
        let mut covering = above.filter(|(at, earlier)| {
            compared < MAX_COMPARED
                && covers_but_for_path_and_hosts(earlier, wanted)
                && hosts
                    .get(*at)
                    .is_some_and(|it| it.cover(own, &mut compared))
        });
        let shadow = covering.next().map(|(index, _)| index);
        drop(covering);
        looked_up += compared;
        if shadow.is_none() {
            // What a match without requests covers is covered by what covers that match.
            reachable.add(index, path, wanted);
        }
        shadows.push(shadow);
    }
    (shadows, looked_up)
}

/// The hosts of a match.
struct Hosts {
    /// In order, none within another. Empty is every host.
    keys: Vec<HostKey>,
    /// Some of its hostnames cannot be read.
    has_others: bool,
}

impl Hosts {
    fn new(hostnames: &[String]) -> Hosts {
        let read = hostnames.iter().filter_map(|it| Hostname::parse(it));
        let mut keys: Vec<HostKey> = read.map(|it| HostKey::new(Some(&it))).collect();
        let has_others = keys.len() < hostnames.len();
        keys.sort_unstable();
        // What contains others stands right before them.
        keys.dedup_by(|later, earlier| earlier.contains(later));
        Hosts { keys, has_others }
    }

    /// Whether these are all hosts of `later`, as far as that is certain. Adds to `compared` the hostnames that were
    /// looked up.
    fn cover(&self, later: &Hosts, compared: &mut usize) -> bool {
        if self.keys.is_empty() {
            return !self.has_others;
        }
        // Of keys of which none is within another, only the last that stands before a key can contain it.
        let mut covers = |narrow: &HostKey| {
            *compared += 1;
            let behind = self.keys.partition_point(|wide| wide <= narrow);
            let last = behind.checked_sub(1).and_then(|at| self.keys.get(at));
            last.is_some_and(|wide| wide.contains(narrow))
        };
        !later.has_others && !later.keys.is_empty() && later.keys.iter().all(&mut covers)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PathKey<'m> {
    Any,
    /// Every path that begins with a slash, which that of `OPTIONS *` does not.
    Absolute,
    Exact(&'m str),
    /// Without a slash at its end.
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

    /// Itself, and what fits every path that it fits.
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

/// One condition beside the path: kind, name, whether its value is an expression, value.
type Need<'m> = (u8, &'m str, bool, &'m str);

fn needs<'m>(wanted: &'m Match) -> impl Iterator<Item = Need<'m>> {
    fn need(kind: u8, field: &Field) -> Need<'_> {
        match &field.value {
            ValueMatch::Exact(value) => (kind, &field.name, false, value),
            ValueMatch::Regex(value) => (kind, &field.name, true, value),
        }
    }
    let method = wanted
        .method
        .iter()
        .map(|method| (0, "", false, method.as_str()));
    let headers = wanted.headers.iter().map(|field| need(1, field));
    let query = wanted.query.iter().map(|field| need(2, field));
    method.chain(headers).chain(query)
}

type ByNeed<'m> = HashMap<Option<Need<'m>>, Vec<(usize, &'m Match)>>;

/// The matches so far that some request may reach, by their path and one of their other conditions: what covers
/// a match has no condition that the match has not.
#[derive(Default)]
struct Reachable<'m> {
    by_path: HashMap<PathKey<'m>, ByNeed<'m>>,
}

impl<'m> Reachable<'m> {
    fn add(&mut self, index: usize, path: PathKey<'m>, wanted: &'m Match) {
        let of_path = self.by_path.entry(path);
        let of_need = of_path.or_default().entry(needs(wanted).last());
        of_need.or_default().push((index, wanted));
    }

    /// Those whose path covers that of `wanted`, which is `path`, and of which one may cover `wanted`.
    fn above<'r>(
        &'r self,
        path: PathKey<'r>,
        wanted: &'r Match,
    ) -> impl Iterator<Item = (usize, &'m Match)> + 'r {
        let paths = path.above().take(MAX_PATHS);
        let of_paths = paths.filter_map(|path| self.by_path.get(&path));
        of_paths.flat_map(move |of_path| {
            let needs = iter::once(None).chain(needs(wanted).map(Some));
            needs
                .filter_map(|need| of_path.get(&need))
                .flatten()
                .copied()
        })
    }
}

#[cfg(test)]
mod tests;
