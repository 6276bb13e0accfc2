//! The precedence of matches by their conditions.

mod breadth;

use std::cmp::Reverse;

use weir_split::wire::PathMatch;

pub use self::breadth::Breadth;

/// The precedence of a match by its conditions; the smallest rank comes first. All matches for one host at one port
/// have the same variant, because a host at a port has either HTTPRoutes or GRPCRoutes.
// The derived `Ord` compares the variants in the order of this code, and then the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The order is from Gateway API v1, HTTPRouteRule.matches: 1. an exact path, 2. the longest path prefix, 3. a
    /// method, 4. the most headers, 5. the most query parameters.
    ///
    /// The API does not define the precedence of regular expressions. In Weir they come after exact paths and before
    /// prefixes, because most expressions match fewer paths than a prefix. Longer expressions come first. A regular
    /// expression that matches every path, such as `/.*`, has the rank of the prefix `/`.
    Http {
        path: PathRank,
        without_method: bool,
        headers: Reverse<usize>,
        query: Reverse<usize>,
    },
    /// The order is from Gateway API v1, GRPCRouteRule.matches: 1. the longest service name, 2. the longest method
    /// name, 3. the most headers. The lengths of names are in characters.
    Grpc {
        service: Reverse<usize>,
        method: Reverse<usize>,
        headers: Reverse<usize>,
    },
}

/// The precedence of a path condition. Lengths are in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathRank {
    /// Exact paths need no length: two exact paths match the same request only if they are equal.
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
}

impl Rank {
    pub fn http(path: Option<&PathMatch>, has_method: bool, headers: usize, query: usize) -> Rank {
        let length = |text: &str| Reverse(text.chars().count());
        let every_path = PathRank::Prefix(Reverse(1));
        Rank::Http {
            path: match path {
                Some(PathMatch::Exact(_)) => PathRank::Exact,
                Some(PathMatch::Regex(pattern)) => match Breadth::of(pattern) {
                    Breadth::Everything | Breadth::EveryPath => every_path,
                    Breadth::Narrower => PathRank::Regex(length(pattern)),
                },
                Some(PathMatch::Prefix(prefix)) => PathRank::Prefix(length(prefix)),
                None => every_path,
            },
            without_method: !has_method,
            headers: Reverse(headers),
            query: Reverse(query),
        }
    }
}

/// Returns the rank of an HTTP match without conditions.
impl Default for Rank {
    fn default() -> Rank {
        Rank::http(None, false, 0, 0)
    }
}
