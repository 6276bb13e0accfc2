//! Regular expressions: one dialect for paths, headers, query parameters and permissions.

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

use self::automata::{Automata, Walked};
pub(crate) use self::effort::Effort;
use crate::refusal::Refusal;

/// Bytes that the program of a pattern may have.
const MAX_PROGRAM: usize = 32 << 10;
/// Bytes that the automaton of one expression may remember. When they are full, the automaton forgets all states and
/// begins again. An automaton that cannot work with so few bytes gets more.
const CACHE: usize = 64 << 10;
/// After it has forgotten this often in one search, it must have walked at least `BYTES_PER_STATE` bytes of the value
/// for each state that it worked out. Else it gives up, because to simulate the program costs less.
const FORGETS: usize = 1;
const BYTES_PER_STATE: usize = 10;
/// Groups and repetitions inside one another.
const MAX_NESTING: u32 = 100;

/// A regular expression in the syntax of the crate `regex`, which is near to RE2: no look-around and no
/// back-references. It is matched against whole values, over bytes: `.` fits every byte, `\w`, `\d`, `\s` and
/// `(?i)` know ASCII alone, and what is not ASCII stands for its bytes in UTF-8.
///
/// Matching takes time linear in the value and bounded memory.
pub struct Pattern {
    /// Worked out as far as values need it: fast, unless nearly every byte leads to a new state.
    automaton: DFA,
    /// The program itself, step by step: for the values with which the automaton gives up.
    program: PikeVM,
    has_anchors: bool,
    /// The memory of the automata of the table, and the index of this automaton in it.
    automata: Arc<Automata>,
    place: usize,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    Syntax(String),
    TooLarge,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Syntax(reason) => write!(f, "no regular expression: {reason}"),
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
    /// Everything that could be wrong with a pattern shows here, and nothing when it is matched.
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
        // The message has several lines: the pattern, a mark below it, and the reason.
        let reason = |message: String| match message.rsplit_once("error: ") {
            Some((_, reason)) => PatternError::Syntax(reason.trim().into()),
            None => PatternError::Syntax(message),
        };
        let tree = syntax::parse_with(text, &dialect).map_err(|error| reason(error.to_string()))?;
        let has_anchors = tree.properties().look_set().contains_anchor();
        // The whole value: what fits ends where the value ends.
        let whole = Hir::concat(vec![tree, Hir::look(Look::End)]);
        // The syntax is good: everything that is refused from here on is too large.
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
                    .minimum_cache_clear_count(Some(FORGETS))
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

    /// Whether it asks for the beginning or the end of the value (`^`, `$`): such a pattern cannot become a
    /// part of another.
    pub fn has_anchors(&self) -> bool {
        self.has_anchors
    }

    /// True where the whole value fits.
    pub fn fits(&self, value: &[u8]) -> bool {
        self.fits_within(value, &Effort::endless())
    }

    /// The same, but false if the effort does not suffice.
    pub(crate) fn fits_within(&self, value: &[u8], effort: &Effort) -> bool {
        if !effort.try_one() || !effort.walk(value.len()) {
            return false;
        }
        let Pattern {
            automaton, place, ..
        } = self;
        match self.automata.search(*place, automaton, value, effort) {
            Walked::Fits(fits) => fits,
            Walked::Exhausted => false,
            Walked::GaveUp => {
                let mut cache = self.program.create_cache();
                let whole = Input::new(value).anchored(Anchored::Yes);
                effort.simulate(self.size(), value.len())
                    && self.program.is_match(&mut cache, whole)
            }
        }
    }

    /// Bytes of the program. Matching remembers at most another 64 KiB, or a few times the program; the expressions of
    /// one table remember at most 4 MiB together.
    pub fn size(&self) -> usize {
        self.automaton.get_nfa().memory_usage()
    }
}

/// True where an inline flag turns Unicode on or off. A build without Unicode's tables would refuse what one
/// with them takes, and the two sides of the contract may be such builds.
fn switches_unicode(text: &str) -> bool {
    struct Seen(bool);
    impl ast::Visitor for Seen {
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
    // What is no pattern at all is refused with a reason of its own.
    parsed.is_ok_and(|tree| ast::visit(&tree, Seen(false)).unwrap_or_else(|never| match never {}))
}

/// The patterns of one table: equal ones share a program, and all of them the memory of their automata.
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
