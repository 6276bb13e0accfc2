//! Regular expressions: one dialect for paths, headers, query parameters and permissions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::refusal::Refusal;

/// Bytes that the program of a pattern may have.
const MAX_PROGRAM: usize = 64 << 10;
/// Bytes that matching may use beside it; what is known of the automaton is forgotten where it is full.
const CACHE: usize = 256 << 10;
/// Groups and repetitions inside one another.
const MAX_NESTING: u32 = 100;

/// A regular expression in the syntax of the crate `regex`, which is near to RE2: no look-around and no
/// back-references. It is matched against whole values, over bytes: `.` fits every byte, `\w`, `\d`, `\s` and
/// `(?i)` know ASCII alone, and what is not ASCII stands for its bytes in UTF-8.
///
/// Matching takes time linear in the value and bounded memory, and never fails.
pub struct Pattern {
    automaton: DFA,
    cache: Mutex<Cache>,
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
        // The syntax is known to be good: whatever is refused from here on is so for its size.
        let program = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .nfa_size_limit(Some(MAX_PROGRAM))
                    .which_captures(thompson::WhichCaptures::None),
            )
            .build_from_hir(&tree)
            .map_err(|_| PatternError::TooLarge)?;
        // Without a minimum of cleared caches the automaton never gives up. With all matches, and not the
        // leftmost-first one, a search goes on to the longest, which tells whether the whole value fits.
        let automaton = DFA::builder()
            .configure(
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(CACHE)
                    .minimum_cache_clear_count(None),
            )
            .build_from_nfa(program)
            .map_err(|_| PatternError::TooLarge)?;
        Ok(Pattern {
            cache: Mutex::new(automaton.create_cache()),
            automaton,
        })
    }

    /// True where the whole value fits.
    pub fn fits(&self, value: &[u8]) -> bool {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = Input::new(value).anchored(Anchored::Yes);
        // An error would be a byte that makes it quit, giving up, or a start that it does not know; it is
        // built with none of them.
        let longest = self.automaton.try_search_fwd(&mut cache, &whole);
        matches!(longest, Ok(Some(end)) if end.offset() == value.len())
    }

    /// Bytes of the program. Matching takes at most another 256 KiB for each pattern.
    pub fn size(&self) -> usize {
        self.automaton.get_nfa().memory_usage()
    }
}

/// True where an inline flag turns Unicode on or off. A build without Unicode's tables would refuse what one
/// with them takes, and the two sides of the contract may be such builds.
fn switches_unicode(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '(']) {
        let (_, found) = rest.split_at_checked(at).unwrap_or_default();
        let mut letters = found.chars();
        if letters.next() == Some('\\') {
            letters.next();
            rest = letters.as_str();
            continue;
        }
        rest = letters.as_str();
        // With the flag x, white space and comments may stand there.
        let mut group = rest.trim_start();
        while group.starts_with('#') {
            group = group.split_once('\n').unwrap_or_default().1.trim_start();
        }
        let Some(group) = group.strip_prefix('?') else {
            continue;
        };
        let flags = group.split([':', ')']).next();
        let flags = flags.unwrap_or_default();
        let are_flags = |flags: &str| {
            let mut letters = flags.chars();
            letters.all(|letter| {
                letter.is_ascii_alphabetic() || letter == '-' || letter.is_whitespace()
            })
        };
        if are_flags(flags) && flags.contains('u') {
            return true;
        }
    }
    false
}

/// The patterns of one table: equal ones share a program.
#[derive(Default)]
pub(crate) struct Patterns(HashMap<Box<str>, Arc<Pattern>>);

impl Patterns {
    pub(crate) fn get(&mut self, text: &str) -> Result<Arc<Pattern>, Refusal> {
        if let Some(pattern) = self.0.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::compile(text)
            .map_err(|error| Refusal::new("regex", format!("{text:?}: {error}")))?;
        let pattern = Arc::new(pattern);
        self.0.insert(text.into(), pattern.clone());
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests;
