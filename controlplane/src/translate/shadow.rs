//! Matches that no request can reach: whatever fits them fits one that stands before them.
//!
//! Only what is certain is found. An expression that fits every path covers every path; any other expression covers the
//! same expression and nothing else.

use std::collections::HashMap;
use std::iter;

use weir_split::wire::{Field, Match, PathMatch, ValueMatch};

use crate::hostname::Hostname;
use crate::precedence::Breadth;

/// How many matches one match is compared with: thousands of matches must not take seconds. A match beyond the
/// limits counts as reachable.
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
    covers_but_for_the_path(earlier, later) && covers_path()
}

fn covers_but_for_the_path(earlier: &Match, later: &Match) -> bool {
    let Match {
        path: _,
        method,
        headers,
        query,
        hostnames,
        listeners,
        rule: _,
    } = earlier;
    (method.is_none() || *method == later.method)
        && headers.iter().all(|it| later.headers.contains(it))
        && query.iter().all(|it| later.query.contains(it))
        && hostnames_cover(hostnames, &later.hostnames)
        && listeners.is_empty() == later.listeners.is_empty()
        && later.listeners.iter().all(|it| listeners.contains(it))
}

/// For each match, in order of precedence, the first one found that keeps every request from it.
pub fn shadows(ordered: &[&Match]) -> Vec<Option<usize>> {
    let mut reachable = Reachable::default();
    let mut shadows = Vec::with_capacity(ordered.len());
    for (index, wanted) in ordered.iter().enumerate() {
        let path = PathKey::new(wanted.path.as_ref());
        let above = reachable.above(path, wanted).take(MAX_COMPARED);
        let mut covering = above.filter(|(_, earlier)| covers_but_for_the_path(earlier, wanted));
        let shadow = covering.next().map(|(index, _)| index);
        drop(covering);
        if shadow.is_none() {
            // What a match without requests covers is covered by what covers that match.
            reachable.add(index, path, wanted);
        }
        shadows.push(shadow);
    }
    shadows
}

fn hostnames_cover(earlier: &[String], later: &[String]) -> bool {
    let covers =
        |wide: &String, narrow: &String| match (Hostname::parse(wide), Hostname::parse(narrow)) {
            (Some(wide), Some(narrow)) => wide.intersect(&narrow).as_ref() == Some(&narrow),
            _ => wide == narrow,
        };
    earlier.is_empty()
        || (!later.is_empty()
            && later
                .iter()
                .all(|narrow| earlier.iter().any(|wide| covers(wide, narrow))))
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
