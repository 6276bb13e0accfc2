//! Small regular expressions with a simple matcher.

use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Debug)]
pub enum Pattern {
    Character(char),
    /// `[ab]`
    OneOf(Vec<char>),
    /// `.`
    Any,
    Sequence(Vec<Pattern>),
    /// `(a|b)`
    Either(Vec<Pattern>),
    /// A pattern with `*`, `+` or `?` after it.
    Repeated(Box<Pattern>, char),
    /// `^...$`. It has no effect, because a pattern must match the whole value anyway.
    Anchored(Box<Pattern>),
}

impl Pattern {
    /// True if the pattern matches the whole value.
    pub fn is_all_of(&self, value: &str) -> bool {
        let value: Vec<char> = value.chars().collect();
        self.ends(&value, &BTreeSet::from([0]))
            .contains(&value.len())
    }

    /// Returns all positions at which a match can end if it starts at one of `starts`.
    fn ends(&self, value: &[char], starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        let step = |fits: &dyn Fn(char) -> bool| {
            let fitting = starts.iter();
            let fitting = fitting.filter(|at| value.get(**at).is_some_and(|found| fits(*found)));
            fitting.map(|at| at + 1).collect()
        };
        match self {
            Pattern::Character(expected) => step(&|found| found == *expected),
            Pattern::OneOf(expected) => step(&|found| expected.contains(&found)),
            Pattern::Any => step(&|found| found != '\n'),
            Pattern::Sequence(parts) => {
                let all = parts.iter();
                all.fold(starts.clone(), |starts, part| part.ends(value, &starts))
            }
            Pattern::Either(parts) => {
                let all = parts.iter();
                all.flat_map(|part| part.ends(value, starts)).collect()
            }
            Pattern::Anchored(inner) => inner.ends(value, starts),
            Pattern::Repeated(inner, how) => {
                let once = inner.ends(value, starts);
                match how {
                    '?' => starts | &once,
                    '+' => inner.often(value, once),
                    _ => inner.often(value, starts | &once),
                }
            }
        }
    }

    /// Returns all positions after zero or more repetitions of the pattern, from these positions.
    fn often(&self, value: &[char], mut ends: BTreeSet<usize>) -> BTreeSet<usize> {
        loop {
            let more = &ends | &self.ends(value, &ends);
            if more == ends {
                return ends;
            }
            ends = more;
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Character(character) => write!(f, "{character}"),
            Pattern::OneOf(characters) => {
                write!(f, "[{}]", characters.iter().collect::<String>())
            }
            Pattern::Any => write!(f, "."),
            Pattern::Sequence(parts) => parts.iter().try_for_each(|part| write!(f, "{part}")),
            Pattern::Either(parts) => {
                let parts: Vec<_> = parts.iter().map(Pattern::to_string).collect();
                write!(f, "({})", parts.join("|"))
            }
            Pattern::Repeated(inner, how) => match **inner {
                Pattern::Sequence(_) => write!(f, "({inner}){how}"),
                _ => write!(f, "{inner}{how}"),
            },
            Pattern::Anchored(inner) => write!(f, "^{inner}$"),
        }
    }
}
