//! Finds out whether a regular expression matches every path, as the prefix `/` does.

use std::collections::BTreeSet;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

/// How many values a regular expression matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Every value, including the path `*` of a request `OPTIONS *`.
    Everything,
    /// Every path that begins with a slash.
    EveryPath,
    /// Not every path.
    Narrower,
}

/// The maximum number of states that the search visits. An expression that matches every path needs few states. If the
/// search finds more states, the result is [`Breadth::Narrower`].
const MAX_STATES: usize = 64;
/// The size of the cache for states, in bytes. The cache must have space for all states: an evicted state gets a new ID
/// later, and the search would not recognize it.
const CACHE: usize = 256 << 10;
/// The maximum size of the NFA, in bytes. A larger NFA has more than [`MAX_STATES`] states.
const MAX_NFA: usize = 32 << 10;

impl Breadth {
    /// Returns the breadth of an expression. As in [`weir_split::Pattern`], the expression matches bytes, and must
    /// match the whole value.
    pub fn of(expression: &str) -> Breadth {
        let Some(mut automaton) = Automaton::of(expression) else {
            return Breadth::Narrower;
        };
        let start = automaton.start();
        let after_slash = start.and_then(|start| automaton.next(start, b'/'));
        if automaton.accepts_all_from(start) {
            Breadth::Everything
        } else if automaton.accepts_all_from(after_slash) {
            Breadth::EveryPath
        } else {
            Breadth::Narrower
        }
    }
}

struct Automaton {
    dfa: DFA,
    cache: Cache,
}

impl Automaton {
    fn of(expression: &str) -> Option<Automaton> {
        let dialect = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .dot_matches_new_line(true);
        let tree = syntax::parse_with(expression, &dialect).ok()?;
        let whole = Hir::concat(vec![tree, Hir::look(Look::End)]);
        let config = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(MAX_NFA))
            .which_captures(thompson::WhichCaptures::None);
        let program = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(&whole);
        let config = DFA::config()
            .cache_capacity(CACHE)
            .minimum_cache_clear_count(Some(0));
        let dfa = DFA::builder()
            .configure(config)
            .build_from_nfa(program.ok()?)
            .ok()?;
        let cache = dfa.create_cache();
        Some(Automaton { dfa, cache })
    }

    fn start(&mut self) -> Option<LazyStateID> {
        let input = Input::new("").anchored(Anchored::Yes);
        self.dfa.start_state_forward(&mut self.cache, &input).ok()
    }

    fn next(&mut self, state: LazyStateID, byte: u8) -> Option<LazyStateID> {
        self.dfa.next_state(&mut self.cache, state, byte).ok()
    }

    /// True if the expression matches a value that ends in this state.
    fn accepts(&mut self, state: LazyStateID) -> bool {
        let end = self.dfa.next_eoi_state(&mut self.cache, state);
        end.is_ok_and(|end| end.is_match())
    }

    /// True if the expression matches every value that continues from this state.
    fn accepts_all_from(&mut self, state: Option<LazyStateID>) -> bool {
        let mut open: Vec<LazyStateID> = state.into_iter().collect();
        let mut visited: BTreeSet<LazyStateID> = open.iter().copied().collect();
        let mut accepts_all = state.is_some();
        while let Some(state) = open.pop().filter(|_| accepts_all) {
            accepts_all = self.accepts(state) && visited.len() <= MAX_STATES;
            for byte in (0..=u8::MAX).filter(is_path_byte) {
                if !accepts_all {
                    break;
                }
                match self.next(state, byte) {
                    Some(next) if visited.insert(next) => open.push(next),
                    Some(_) => {}
                    None => accepts_all = false,
                }
            }
        }
        accepts_all
    }
}

/// True if a path may have this byte. A path has no control character, no space, no `?` and no `#`.
fn is_path_byte(byte: &u8) -> bool {
    !byte.is_ascii_control() && !matches!(byte, b' ' | b'?' | b'#')
}

#[cfg(test)]
mod tests {
    use weir_split::Pattern;

    use super::*;

    const EVERYTHING: &[&str] = &[
        ".*", "^.*$", "(.*)", "(?:.*)", "^(.*)$", "(^.*$)", ".*.*", ".*?", "/?.*", "(/.*)?.*",
        "a|.*", "[^?]*", r"[\s\S]*", r"\S*", "(?i).*", ".{0,}", "(.)*", "(a|.)*", "(?-s).*",
        r"\A.*\z",
    ];
    const EVERY_PATH: &[&str] = &[
        "/.*",
        "^/.*$",
        "^/.*",
        "/.*$",
        "/(.*)",
        "(/.*)",
        "^(/.*)$",
        "(?:/.*)+",
        "(/.*)?",
        ".+",
        "/.*.*",
        "/[^?]*",
        "/?/.*",
        r"\/.*",
        "[/].*",
        "..*",
        "/a|/.*",
        "/.*|/a",
        "(/a)?/.*",
        "/(.*$)",
        "/(a|.*)",
        "/(.+)?",
        "/(.?)*",
        "/(.a?)*",
        "/(.+a?)?",
        "(/.*){2,}|/.*",
        "/(()|.+)",
    ];
    const NARROWER: &[&str] = &[
        "",
        "/",
        "/a",
        "/.+",
        "/a.*",
        "//.*",
        ".*/",
        "/.*/.*",
        "/[^/]*",
        "/[a-z]*",
        r"/\w*",
        ".",
        "./",
        "/.?",
        "/.{0,9}",
        "/.{2,}",
        "$.*",
        ".*^",
        "/^.*",
        "/(^.*)",
        r"/.*\b",
        "(/.*){2}",
        "(.*){0}a",
        "/(?m:^).*",
        "(",
        "(?=/).*",
        "^^a",
        "[[:ascii:]]*",
        "/.*a?b",
        "^/.*/$",
        ".*x",
    ];

    /// For each expression in [`NARROWER`], this list has a path that the expression does not match.
    const PATHS: &[&str] = &[
        "/",
        "/a",
        "/b",
        "/ab",
        "/-",
        "/a/b",
        "//",
        "/0123456789",
        "/x/",
        "/ä",
        "/a/b/c",
        "/.",
    ];

    #[test]
    fn expressions_have_expected_breadth() {
        for (expressions, expected) in [
            (EVERYTHING, Breadth::Everything),
            (EVERY_PATH, Breadth::EveryPath),
            (NARROWER, Breadth::Narrower),
        ] {
            for expression in expressions {
                assert_eq!(Breadth::of(expression), expected, "{expression}");
            }
        }
    }

    #[test]
    fn proxy_patterns_agree_with_breadth() {
        let fits_all = |expression: &str, values: &[&str]| {
            let pattern = Pattern::compile(expression);
            pattern.is_ok_and(|it| values.iter().all(|value| it.fits(value.as_bytes())))
        };
        for expression in EVERYTHING {
            assert!(fits_all(expression, &["", "*"]), "{expression}");
            assert!(fits_all(expression, PATHS), "{expression}");
        }
        for expression in EVERY_PATH {
            assert!(fits_all(expression, PATHS), "{expression}");
        }
        for expression in NARROWER {
            assert!(!fits_all(expression, PATHS), "{expression}");
        }
    }
}
