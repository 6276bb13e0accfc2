//! The place of a match by what it asks for.

mod breadth;

use std::cmp::Reverse;

use weir_split::wire::PathMatch;

pub use self::breadth::Breadth;

/// The place of a match by what it asks for, the first before the others. For one host at one port all are of
/// one kind: the other kind of route is not in force there.
// Derived `Ord` compares variants, then fields, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Gateway API v1, HTTPRouteRule.matches: 1. an exact path, 2. the longest path prefix, 3. a method, 4. most
    /// headers, 5. most query parameters. Regular expressions stand between 1 and 2, the longest first: their
    /// place is ours to choose, and whoever writes one means something narrower than a prefix. A regular expression
    /// that fits every path, such as `/.*`, is no narrower, and stands where the prefix `/` stands.
    Http {
        path: PathRank,
        without_method: bool,
        headers: Reverse<usize>,
        query: Reverse<usize>,
    },
    /// Gateway API v1, GRPCRouteRule.matches: most characters 1. in the service, 2. in the method, 3. most headers.
    Grpc {
        service: Reverse<usize>,
        method: Reverse<usize>,
        headers: Reverse<usize>,
    },
}

/// Lengths are in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathRank {
    /// Two of them fit one request only if they are the same.
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
}

impl Rank {
    pub fn http(path: Option<&PathMatch>, has_method: bool, headers: usize, query: usize) -> Rank {
        let length = |text: &str| Reverse(text.chars().count());
        // What fits every path is the prefix "/".
        let every_path = PathRank::Prefix(Reverse(1));
        Rank::Http {
            path: match path {
                Some(PathMatch::Exact(_)) => PathRank::Exact,
                Some(PathMatch::Regex(pattern)) => match Breadth::of(pattern) {
                    Breadth::Everything | Breadth::EveryPath => every_path,
                    Breadth::Narrower => PathRank::Regex(length(pattern)),
                },
                // Its trailing slash went when it was read.
                Some(PathMatch::Prefix(prefix)) => PathRank::Prefix(length(prefix)),
                None => every_path,
            },
            without_method: !has_method,
            headers: Reverse(headers),
            query: Reverse(query),
        }
    }
}

/// That of a match without conditions.
impl Default for Rank {
    fn default() -> Rank {
        Rank::http(None, false, 0, 0)
    }
}
