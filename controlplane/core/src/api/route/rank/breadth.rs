//! Expressions that fit every path: such a one is no narrower than the prefix `/`.

use std::collections::BTreeSet;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

/// How much an expression fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Every value, so also the `*` of `OPTIONS *`.
    Everything,
    /// Every path that begins with a slash.
    EveryPath,
    Narrower,
}

/// States of an automaton that are looked at. Whoever writes "everything" needs few; an expression with more counts as
/// narrower.
const MAX_STATES: usize = 64;
/// Bytes for these states. The automaton must not forget any: its names for them would change.
const CACHE: usize = 256 << 10;
/// Bytes of a program: one that needs more has more states than are looked at.
const MAX_PROGRAM: usize = 32 << 10;

impl Breadth {
    /// Of an expression as [`weir_split::Pattern`] reads it: over bytes, and matched against whole values.
    pub fn of(expression: &str) -> Breadth {
        let Some(mut automaton) = Automaton::of(expression) else {
            return Breadth::Narrower;
        };
        let start = automaton.start();
        let behind_a_slash = start.and_then(|start| automaton.next(start, b'/'));
        if automaton.accepts_all_from(start) {
            Breadth::Everything
        } else if automaton.accepts_all_from(behind_a_slash) {
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
            .nfa_size_limit(Some(MAX_PROGRAM))
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

    /// Whether a value that ends here fits.
    fn accepts(&mut self, state: LazyStateID) -> bool {
        let end = self.dfa.next_eoi_state(&mut self.cache, state);
        end.is_ok_and(|end| end.is_match())
    }

    /// Whether a value fits wherever it ends from here on.
    fn accepts_all_from(&mut self, state: Option<LazyStateID>) -> bool {
        let mut open: Vec<LazyStateID> = state.into_iter().collect();
        let mut seen: BTreeSet<LazyStateID> = open.iter().copied().collect();
        let mut accepts_all = state.is_some();
        while let Some(state) = open.pop().filter(|_| accepts_all) {
            accepts_all = self.accepts(state) && seen.len() <= MAX_STATES;
            for byte in (0..=u8::MAX).filter(stands_in_a_path) {
                if !accepts_all {
                    break;
                }
                match self.next(state, byte) {
                    Some(next) if seen.insert(next) => open.push(next),
                    Some(_) => {}
                    None => accepts_all = false,
                }
            }
        }
        accepts_all
    }
}

/// What separates the parts of a request does not.
fn stands_in_a_path(byte: &u8) -> bool {
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

    /// Paths of which every narrower expression above lacks one.
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
    fn everything_has_many_spellings() {
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
    fn proxies_see_it_so() {
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
