//! Regular expressions, with the same syntax for paths, headers, query parameters and permissions.

mod automata;
mod effort;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use regex_automata::hybrid::dfa::DFA;
use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{self, Ast, Flag, FlagsItemKind};
use regex_syntax::hir::{Hir, Look};

use self::automata::{Automata, SearchResult};
pub(crate) use self::effort::Effort;
use crate::refusal::Refusal;

/// Maximum bytes of the program of a pattern.
const MAX_PROGRAM: usize = 32 << 10;
/// Bytes of the state cache of one automaton. An automaton clears its cache when the cache is full. An automaton that
/// cannot work with so few bytes gets more.
const CACHE: usize = 64 << 10;
/// After this many clears of the cache in one search, the automaton gives up if it has read fewer than
/// `BYTES_PER_STATE` bytes of the value for each computed state. In this case a simulation of the program costs less.
const CACHE_CLEARS: usize = 1;
const BYTES_PER_STATE: usize = 10;
/// Maximum depth of nested groups and repetitions.
const MAX_NESTING: u32 = 100;

/// A regular expression in the syntax of the crate `regex`, which is close to RE2: it has no look-around and no
/// back-references. A pattern must fit the whole value. Patterns work on bytes: `.` fits every byte; `\w`, `\d`, `\s`
/// and `(?i)` cover only ASCII; a character outside of ASCII means its bytes in UTF-8.
///
/// A match takes time linear in the length of the value, and bounded memory.
pub struct Pattern {
    /// A lazy DFA, which is fast unless nearly every byte leads to a new state.
    automaton: DFA,
    /// Simulates the program for values with which the automaton gives up.
    program: PikeVM,
    has_anchors: bool,
    /// The state caches of the automata of the table, and the index of the cache of this automaton.
    automata: Arc<Automata>,
    place: usize,
}

/// The reason why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    Syntax(String),
    TooLarge,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Syntax(reason) => write!(f, "not a regular expression: {reason}"),
            PatternError::TooLarge => write!(
                f,
                "the regular expression is too large: its program needs more than {MAX_PROGRAM} bytes"
            ),
        }
    }
}

impl std::error::Error for PatternError {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl Pattern {
    /// Compiles a pattern. This finds all errors of the pattern, so a match cannot fail later.
    pub fn compile(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > MAX_PROGRAM {
            return Err(PatternError::TooLarge);
        }
        if switches_unicode(text) {
            return Err(PatternError::Syntax("the flag u is not supported".into()));
        }
        let dialect = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .dot_matches_new_line(true)
            .nest_limit(MAX_NESTING);
        // The message has several lines: the pattern, a marker under it, and the reason.
        let reason = |message: String| match message.rsplit_once("error: ") {
            Some((_, reason)) => PatternError::Syntax(reason.trim().into()),
            None => PatternError::Syntax(message),
        };
        let tree = syntax::parse_with(text, &dialect).map_err(|error| reason(error.to_string()))?;
        let has_anchors = tree.properties().look_set().contains_anchor();
        // A match must end at the end of the value.
        let whole = Hir::concat(vec![tree, Hir::look(Look::End)]);
        // The syntax is valid, so each later error means that the program is too large.
        let program = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .nfa_size_limit(Some(MAX_PROGRAM))
                    .which_captures(thompson::WhichCaptures::None),
            )
            .build_from_hir(&whole)
            .map_err(|_| PatternError::TooLarge)?;
        let automaton = DFA::builder()
            .configure(
                DFA::config()
                    .cache_capacity(CACHE)
                    .skip_cache_capacity_check(true)
                    .minimum_cache_clear_count(Some(CACHE_CLEARS))
                    .minimum_bytes_per_state(Some(BYTES_PER_STATE)),
            )
            .build_from_nfa(program.clone())
            .map_err(|_| PatternError::TooLarge)?;
        let program = PikeVM::new_from_nfa(program).map_err(|_| PatternError::TooLarge)?;
        Ok(Pattern {
            automaton,
            program,
            has_anchors,
            automata: Arc::default(),
            place: 0,
        })
    }

    /// True if the pattern has `^` or `$`. Such a pattern cannot become a part of another pattern.
    pub fn has_anchors(&self) -> bool {
        self.has_anchors
    }

    /// True if the pattern fits the whole value.
    pub fn fits(&self, value: &[u8]) -> bool {
        self.fits_within(value, &Effort::endless())
    }

    /// Returns the same as [`Pattern::fits`], but false if `effort` has no steps left.
    pub(crate) fn fits_within(&self, value: &[u8], effort: &Effort) -> bool {
        if !effort.start_search() || !effort.read_value(value.len()) {
            return false;
        }
        let Pattern {
            automaton, place, ..
        } = self;
        match self.automata.search(*place, automaton, value, effort) {
            SearchResult::Fits(fits) => fits,
            SearchResult::Exhausted => false,
            SearchResult::GaveUp => {
                let mut cache = self.program.create_cache();
                let whole = Input::new(value).anchored(Anchored::Yes);
                effort.simulate(self.size(), value.len())
                    && self.program.is_match(&mut cache, whole)
            }
        }
    }

    /// Returns the size of the program in bytes. The state cache of a pattern has at most 64 KiB, or a few times the
    /// size of the program if this is more. All caches of one table together have at most 4 MiB.
    pub fn size(&self) -> usize {
        self.automaton.get_nfa().memory_usage()
    }
}

/// True if an inline flag turns Unicode on or off. A control plane with Unicode tables would accept such a pattern, but
/// the filter is built without these tables and would refuse the pattern.
fn switches_unicode(text: &str) -> bool {
    struct UnicodeFlagFinder(bool);
    impl ast::Visitor for UnicodeFlagFinder {
        type Output = bool;
        type Err = Infallible;

        fn finish(self) -> Result<bool, Infallible> {
            Ok(self.0)
        }

        fn visit_pre(&mut self, part: &Ast) -> Result<(), Infallible> {
            let flags = match part {
                Ast::Flags(switch) => Some(&switch.flags),
                Ast::Group(group) => group.flags(),
                _ => None,
            };
            let unicode = FlagsItemKind::Flag(Flag::Unicode);
            let mut items = flags.iter().flat_map(|flags| &flags.items);
            self.0 |= items.any(|item| item.kind == unicode);
            Ok(())
        }
    }
    let parsed = ParserBuilder::new()
        .nest_limit(MAX_NESTING)
        .build()
        .parse(text);
    // A syntax error gets its own message later.
    parsed.is_ok_and(|tree| {
        ast::visit(&tree, UnicodeFlagFinder(false)).unwrap_or_else(|never| match never {})
    })
}

/// The patterns of one table. Equal patterns share a program, and all patterns share the memory for state caches.
#[derive(Default)]
pub(crate) struct Patterns {
    patterns: HashMap<Box<str>, Arc<Pattern>>,
    automata: Arc<Automata>,
}

impl Patterns {
    pub(crate) fn get(&mut self, text: &str) -> Result<Arc<Pattern>, Refusal> {
        if let Some(pattern) = self.patterns.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::compile(text)
            .map_err(|error| Refusal::new("regex", format!("{text:?}: {error}")))?;
        let pattern = Arc::new(Pattern {
            automata: self.automata.clone(),
            place: self.patterns.len(),
            ..pattern
        });
        self.patterns.insert(text.into(), pattern.clone());
        Ok(pattern)
    }
}
