//! What is asked of one request: each header is read when the first condition needs it, and never again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::matching::pattern::Effort;

use crate::matching::host::Authority;

/// The value of a header, several lines joined by commas; None where the request has none.
pub(crate) type Read<'r> = &'r mut dyn FnMut(&str) -> Option<Vec<u8>>;

/// A request in the middle of its decision. Nothing is allocated before something is asked.
pub(crate) struct RequestView<'r> {
    authority: &'r [u8],
    /// What is left to spend on it.
    pub(crate) effort: &'r Effort,
    read: Read<'r>,
    host: Option<Option<Box<Authority>>>,
    path: Option<(Vec<u8>, usize)>,
    /// By the names that the table has them under.
    headers: BTreeMap<&'r str, Option<Vec<u8>>>,
    parameters: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<'r> RequestView<'r> {
    pub(crate) fn new(authority: &'r [u8], effort: &'r Effort, read: Read<'r>) -> RequestView<'r> {
        RequestView {
            authority,
            effort,
            read,
            host: None,
            path: None,
            headers: BTreeMap::new(),
            parameters: None,
        }
    }

    /// Lower case, without port; None where `:authority` cannot be a host.
    pub(crate) fn host(&mut self) -> Option<&Authority> {
        let parse = || Authority::parse(self.authority).map(Box::new);
        self.host.get_or_insert_with(parse).as_deref()
    }

    /// `:path` in two parts: the part before `?` (RFC 9113, 8.3.1), and before `#`, which must not be
    /// there; and the rest with its `?`.
    fn split_path(&mut self) -> (&[u8], &[u8]) {
        let (path, end) = self.path.get_or_insert_with(|| {
            let path = (self.read)(":path").unwrap_or_default();
            let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
            let end = end.unwrap_or(path.len());
            (path, end)
        });
        path.split_at_checked(*end).unwrap_or_default()
    }

    pub(crate) fn path(&mut self) -> &[u8] {
        self.split_path().0
    }

    /// The query string with its `?`; empty where there is none.
    pub(crate) fn query(&mut self) -> &[u8] {
        self.split_path().1
    }

    pub(crate) fn header(&mut self, name: &'r str) -> Option<&[u8]> {
        if name == ":authority" {
            return Some(self.authority);
        }
        let read = || (self.read)(name);
        let value = self.headers.entry(name).or_insert_with(read);
        value.as_deref()
    }

    /// The decoded value of the first query parameter of this decoded name. `wanted` are the names that
    /// anyone will ask for, so that the query is walked once and nothing else is kept.
    pub(crate) fn parameter(&mut self, name: &[u8], wanted: &BTreeSet<Box<[u8]>>) -> Option<&[u8]> {
        if self.parameters.is_none() {
            self.parameters = Some(parameters(self.query(), wanted));
        }
        self.parameters.as_ref()?.get(name).map(Vec::as_slice)
    }
}

fn parameters(query: &[u8], wanted: &BTreeSet<Box<[u8]>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let query = query.strip_prefix(b"?").unwrap_or_default();
    let query = query.split(|byte| *byte == b'#').next().unwrap_or_default();
    let mut found = BTreeMap::new();
    for parameter in query.split(|byte| *byte == b'&') {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=');
        let name = decoded(parts.next().unwrap_or_default());
        if wanted.contains(&*name) && !found.contains_key(&*name) {
            let value = decoded(parts.next().unwrap_or_default());
            found.insert(name.into_owned(), value.into_owned());
        }
    }
    found
}

/// The form of `application/x-www-form-urlencoded`: `+` is a space, `%20` a byte. A `%` without two digits
/// behind it stands for itself.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => plain.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    plain.push(high << 4 | low);
                    rest = after;
                }
                _ => plain.push(b'%'),
            },
            (byte, _) => plain.push(*byte),
        }
    }
    Cow::Owned(plain)
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_ends_where_the_query_begins() {
        for (whole, path, query) in [
            ("/a", "/a", ""),
            ("/a?", "/a", "?"),
            ("/a?b?c#d", "/a", "?b?c#d"),
            ("/a#b?c", "/a", "#b?c"),
            ("?b", "", "?b"),
            ("", "", ""),
            ("*", "*", ""),
        ] {
            let mut read = |_: &str| Some(whole.as_bytes().to_vec());
            let effort = Effort::default();
            let mut asked = RequestView::new(b"", &effort, &mut read);
            assert_eq!(asked.path(), path.as_bytes(), "{whole:?}");
            assert_eq!(asked.query(), query.as_bytes(), "{whole:?}");
        }
    }

    #[test]
    fn the_first_parameter_of_a_name_counts_decoded() {
        let wanted: BTreeSet<Box<[u8]>> = ["a", "a b", ""].map(|it| it.as_bytes().into()).into();
        for (query, name, value) in [
            ("?a=1&a=2", "a", Some("1")),
            ("?b=1&a=2", "a", Some("2")),
            ("?a", "a", Some("")),
            ("?a=b=c", "a", Some("b=c")),
            ("?%61=%3d%3D+%2b", "a", Some("== +")),
            ("?a+b=x&a%20b=y", "a b", Some("x")),
            ("?a=%&x=%zz", "a", Some("%")),
            ("?a=%4", "a", Some("%4")),
            ("?a=%zz%4a", "a", Some("%zzJ")),
            ("?A=1", "a", None),
            ("?a=1#&a=2", "a", Some("1")),
            ("#?a=1", "a", None),
            ("", "", None),
            ("?", "", Some("")),
        ] {
            let found = parameters(query.as_bytes(), &wanted);
            let found = found.get(name.as_bytes());
            if query.is_empty() {
                continue;
            }
            assert_eq!(
                found.map(Vec::as_slice),
                value.map(str::as_bytes),
                "{query:?}"
            );
        }
        assert_eq!(parameters(b"?z=1&y=2", &wanted), BTreeMap::new());
    }

    #[test]
    fn everything_is_read_once_and_only_when_asked() {
        let mut reads = Vec::new();
        let mut read = |name: &str| {
            reads.push(name.to_owned());
            (name != "x-none").then(|| b"/p?q=1".to_vec())
        };
        let effort = Effort::default();
        let mut asked = RequestView::new(b"Host.Example:80", &effort, &mut read);
        assert_eq!(
            asked.host().map(|host| host.name()),
            Some(&b"host.example"[..])
        );
        assert_eq!(asked.header(":authority"), Some(&b"Host.Example:80"[..]));
        let wanted = [b"q".as_slice().into()].into();
        for _ in 0..3 {
            assert_eq!(asked.header("x-none"), None);
            assert_eq!(asked.header("x-user"), Some(&b"/p?q=1"[..]));
            assert_eq!(asked.parameter(b"q", &wanted), Some(&b"1"[..]));
            assert_eq!(asked.path(), b"/p");
        }
        assert_eq!(reads, ["x-none", "x-user", ":path"]);
    }
}
