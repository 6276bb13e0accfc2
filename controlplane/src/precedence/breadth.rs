//! Expressions that fit every path: such a one is no narrower than the prefix `/`.
//!
//! The check is of the syntax: it knows the usual ways to write "everything", alone, behind a slash, in groups and
//! between anchors. An expression that it does not know counts as narrower.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// How much an expression fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Every value, so also the `*` of an OPTIONS request.
    Everything,
    /// Every path that begins with a slash.
    EveryPath,
    Narrower,
}

impl Breadth {
    /// Of an expression as [`weir_split::Pattern`] reads it: over bytes, and matched against whole values.
    pub fn of(expression: &str) -> Breadth {
        let mut dialect = ParserBuilder::new();
        let dialect = dialect
            .unicode(false)
            .utf8(false)
            .dot_matches_new_line(true);
        match dialect.build().parse(expression) {
            Ok(hir) if fits_everything(&hir) => Breadth::Everything,
            Ok(hir) if fits_every_path(&hir) => Breadth::EveryPath,
            _ => Breadth::Narrower,
        }
    }
}

fn fits_everything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(it) => it.min == 0 && it.max.is_none() && fits_every_byte(&it.sub),
        HirKind::Capture(it) => fits_everything(&it.sub),
        HirKind::Alternation(all) => all.iter().any(fits_everything),
        HirKind::Concat(all) => one_decides(all, fits_everything),
        _ => false,
    }
}

fn fits_every_path(hir: &Hir) -> bool {
    if fits_everything(hir) {
        return true;
    }
    match hir.kind() {
        // One round is enough; `.+` is a byte and the rest.
        HirKind::Repetition(it) => {
            it.min <= 1
                && it.max != Some(0)
                && (fits_every_path(&it.sub) || (it.max.is_none() && fits_every_byte(&it.sub)))
        }
        HirKind::Capture(it) => fits_every_path(&it.sub),
        HirKind::Alternation(all) => all.iter().any(fits_every_path),
        HirKind::Concat(all) => one_decides(all, fits_every_path) || is_slash_and_rest(all),
        _ => false,
    }
}

/// One part fits as asked, and what stands around it may be empty.
fn one_decides(all: &[Hir], fits: fn(&Hir) -> bool) -> bool {
    all.iter().enumerate().any(|(place, part)| {
        fits(part)
            && all.iter().take(place).all(may_begin)
            && all.iter().skip(place + 1).all(may_end)
    })
}

/// A slash, then a part that fits everything; the others may be empty.
fn is_slash_and_rest(all: &[Hir]) -> bool {
    all.iter().enumerate().any(|(place, slash)| {
        let rest = all.get(place + 1..).unwrap_or_default();
        let is_rest = rest.iter().enumerate().any(|(place, part)| {
            // Behind the slash the value does not begin.
            fits_everything(part)
                && !part.properties().look_set().contains(Look::Start)
                && rest.iter().take(place).all(may_be_empty)
                && rest.iter().skip(place + 1).all(may_end)
        });
        is_rest && fits_a_slash(slash) && all.iter().take(place).all(may_begin)
    })
}

fn may_begin(hir: &Hir) -> bool {
    may_be_empty(hir) || matches!(hir.kind(), HirKind::Look(Look::Start))
}

fn may_end(hir: &Hir) -> bool {
    may_be_empty(hir) || matches!(hir.kind(), HirKind::Look(Look::End))
}

/// Anywhere in the value.
fn may_be_empty(hir: &Hir) -> bool {
    let properties = hir.properties();
    properties.look_set().is_empty() && properties.minimum_len() == Some(0)
}

fn fits_a_slash(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Literal(it) => *it.0 == *b"/",
        HirKind::Class(class) => has(class, b'/'),
        HirKind::Repetition(it) => it.min <= 1 && it.max != Some(0) && fits_a_slash(&it.sub),
        HirKind::Capture(it) => fits_a_slash(&it.sub),
        HirKind::Alternation(all) => all.iter().any(fits_a_slash),
        _ => false,
    }
}

/// Every byte that stands in a path: what separates the parts of a request does not.
fn fits_every_byte(hir: &Hir) -> bool {
    let stands_in_a_path =
        |byte: &u8| !byte.is_ascii_control() && !matches!(byte, b' ' | b'?' | b'#');
    let every = |has: &dyn Fn(u8) -> bool| (0..=u8::MAX).filter(stands_in_a_path).all(has);
    match hir.kind() {
        HirKind::Class(class) => every(&|byte| has(class, byte)),
        HirKind::Capture(it) => fits_every_byte(&it.sub),
        HirKind::Alternation(all) => {
            all.iter().any(fits_every_byte)
                || every(&|byte| all.iter().any(|it| fits_byte(it, byte)))
        }
        _ => false,
    }
}

fn fits_byte(hir: &Hir, byte: u8) -> bool {
    match hir.kind() {
        HirKind::Class(class) => has(class, byte),
        HirKind::Literal(it) => *it.0 == [byte],
        _ => false,
    }
}

fn has(class: &Class, byte: u8) -> bool {
    match class {
        Class::Bytes(class) => class
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&byte)),
        // Of ASCII alone.
        Class::Unicode(class) => {
            let byte = char::from(byte);
            byte.is_ascii()
                && class
                    .iter()
                    .any(|range| (range.start()..=range.end()).contains(&byte))
        }
    }
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
        "/.*", "^/.*$", "^/.*", "/.*$", "/(.*)", "(/.*)", "^(/.*)$", "(?:/.*)+", "(/.*)?", ".+",
        "/.*.*", "/[^?]*", "/?/.*", r"\/.*", "[/].*", "..*", "/a|/.*", "/.*|/a", "(/a)?/.*",
        "/(.*$)", "/(a|.*)",
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
    fn what_fits_every_path_is_known_by_its_syntax() {
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
