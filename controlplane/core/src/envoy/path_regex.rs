//! Reads regular expressions for paths (safe_regex of a RouteMatch). Such an expression must fit the whole path.

use regex_automata::util::syntax;
use regex_syntax::hir::{Class, Hir, HirKind};
use weir_split::Pattern;

/// Maximum number of example paths of one expression.
const MAX_EXAMPLES: usize = 16;

/// The characters that an example prefers, if a class has one of them.
const PLAIN: &str = "a0A/-_.";

#[derive(Debug)]
pub struct PathRegex {
    pub text: String,
    /// None if the syntax is unknown.
    pattern: Option<Box<Pattern>>,
    /// The characters at the beginning of every path that fits.
    pub start: String,
    /// Paths that fit.
    pub examples: Vec<String>,
}

/// An expression, or the simpler matcher that fits the same paths.
pub enum Simplified {
    Exact(String),
    Prefix(String),
    Regex(PathRegex),
}

impl PathRegex {
    pub fn read(text: &str) -> Simplified {
        // The dialect of [`Pattern`].
        let dialect = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .dot_matches_new_line(true);
        let parts = match syntax::parse_with(text, &dialect) {
            Ok(tree) => parts(tree),
            Err(_) => Vec::new(),
        };
        let literals = parts.iter().map_while(literal).count();
        let start: String = parts.iter().map_while(literal).collect();
        if literals > 0 {
            match parts.get(literals..).unwrap_or_default() {
                [] => return Simplified::Exact(start),
                [rest] if fits_everything(rest) => return Simplified::Prefix(start),
                _ => {}
            }
        }
        let pattern = Pattern::compile(text).ok().map(Box::new);
        let mut examples = of_all(&parts);
        examples.retain(|it| it.starts_with('/'));
        examples.retain(|it| pattern.as_ref().is_some_and(|own| own.fits(it.as_bytes())));
        Simplified::Regex(PathRegex {
            text: text.to_owned(),
            pattern,
            start,
            examples,
        })
    }

    /// Returns whether this path fits; None if the syntax is unknown.
    pub fn fits(&self, path: &str) -> Option<bool> {
        Some(self.pattern.as_ref()?.fits(path.as_bytes()))
    }
}

impl PartialEq for PathRegex {
    fn eq(&self, other: &PathRegex) -> bool {
        self.text == other.text
    }
}

/// Returns the parts that follow each other, without `^` and `$`.
fn parts(tree: Hir) -> Vec<Hir> {
    match tree.into_kind() {
        HirKind::Concat(parts) => parts.into_iter().flat_map(self::parts).collect(),
        HirKind::Look(_) | HirKind::Empty => Vec::new(),
        HirKind::Capture(capture) => parts(*capture.sub),
        kind => vec![rebuilt(kind)],
    }
}

fn rebuilt(kind: HirKind) -> Hir {
    match kind {
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Repetition(repetition) => Hir::repetition(repetition),
        HirKind::Alternation(ways) => Hir::alternation(ways),
        _ => Hir::empty(),
    }
}

fn literal(part: &Hir) -> Option<&str> {
    match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    }
}

fn has(class: &Class, byte: u8) -> bool {
    match class {
        Class::Bytes(class) => {
            let mut ranges = class.ranges().iter();
            ranges.any(|it| it.start() <= byte && byte <= it.end())
        }
        Class::Unicode(_) => false,
    }
}

/// True for `.*`. A path has no control characters.
fn fits_everything(part: &Hir) -> bool {
    let HirKind::Repetition(repetition) = part.kind() else {
        return false;
    };
    let is_any = match repetition.sub.kind() {
        HirKind::Class(class) => (b' '..=u8::MAX).all(|byte| has(class, byte)),
        _ => false,
    };
    is_any && repetition.min == 0 && repetition.max.is_none()
}

fn of_all(parts: &[Hir]) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in parts {
        let ends = examples(part);
        let longer = found
            .iter()
            .flat_map(|start| ends.iter().map(move |end| format!("{start}{end}")));
        found = longer.take(MAX_EXAMPLES).collect();
    }
    found
}

/// Returns texts that fit; empty if none is known.
fn examples(part: &Hir) -> Vec<String> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(_) => literal(part).map(str::to_owned).into_iter().collect(),
        HirKind::Class(class) => {
            let plain = PLAIN.bytes().find(|byte| has(class, *byte));
            let other = || (b'!'..=b'~').find(|byte| has(class, *byte));
            let one = plain.or_else(other).map(char::from);
            one.map(String::from).into_iter().collect()
        }
        HirKind::Repetition(repetition) => {
            let times = usize::try_from(repetition.min).unwrap_or(MAX_EXAMPLES);
            let once = examples(&repetition.sub).into_iter();
            once.map(|it| it.repeat(times.min(MAX_EXAMPLES))).collect()
        }
        HirKind::Capture(capture) => examples(&capture.sub),
        HirKind::Concat(parts) => of_all(parts),
        HirKind::Alternation(ways) => ways.iter().flat_map(examples).take(MAX_EXAMPLES).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> PathRegex {
        match PathRegex::read(text) {
            Simplified::Regex(regex) => regex,
            Simplified::Exact(path) | Simplified::Prefix(path) => panic!("{path}"),
        }
    }

    #[test]
    fn simple_expressions_become_simple_matchers() {
        for text in ["/.*", "^/.*$", "/(.*)", "(?:/).*"] {
            assert!(
                matches!(PathRegex::read(text), Simplified::Prefix(it) if it == "/"),
                "{text}"
            );
        }
        assert!(matches!(PathRegex::read("/a"), Simplified::Exact(it) if it == "/a"));
        for text in ["/.+", "/[^/]*", "/a|/b", "/(.*)/b", "/a{"] {
            regex(text);
        }
    }

    #[test]
    fn examples_fit_the_expression() {
        let found = regex("/(healthz|readyz)");
        assert_eq!(found.examples, ["/healthz", "/readyz"]);
        assert_eq!(found.start, "/");
        assert_eq!(regex("/v[0-9]+/.+").examples, ["/v0/a"]);
        assert_eq!(regex("(?i)/Ab?").examples, ["/a"]);
        assert_eq!(regex("(a").examples, [""; 0]);
        assert_eq!(regex("(a").fits("a"), None);
    }
}
