//! A lazy view of one request. Each header is read at most once, when the first condition needs it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::matching::host::Authority;
use crate::matching::pattern::Effort;

/// Reads the value of a header. Several lines are joined with commas. None if the request does not have the header.
pub(crate) type Read<'r> = &'r mut dyn FnMut(&str) -> Option<Vec<u8>>;

/// A lazy view of one request. It allocates nothing before the first read.
pub(crate) struct RequestView<'r> {
    authority: &'r [u8],
    /// The steps that are left for expressions on this request.
    pub(crate) effort: &'r Effort,
    read: Read<'r>,
    host: Option<Option<Box<Authority>>>,
    path: Option<(Vec<u8>, usize)>,
    /// The headers that were read so far, by name in lower case.
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

    /// Returns the host in lower case, without port; None if `:authority` is not a hostname.
    pub(crate) fn host(&mut self) -> Option<&Authority> {
        let parse = || Authority::parse(self.authority).map(Box::new);
        self.host.get_or_insert_with(parse).as_deref()
    }

    /// Splits `:path` into the path (RFC 9113, 8.3.1), and the query with its `?`. The path also ends at a `#`,
    /// although `:path` must not have a `#`.
    fn split_path(&mut self) -> (&[u8], &[u8]) {
        let (path, end) = self.path.get_or_insert_with(|| {
            let path = (self.read)(":path").unwrap_or_default();
            let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
            let end = end.unwrap_or(path.len());
            (path, end)
        });
        path.split_at_checked(*end).unwrap_or_default()
    }

    /// Returns the path without its query.
    pub(crate) fn path(&mut self) -> &[u8] {
        self.split_path().0
    }

    /// Returns the query string with its `?`; empty if the request has no query.
    pub(crate) fn query(&mut self) -> &[u8] {
        self.split_path().1
    }

    /// Returns the value of a header. Several lines are joined with commas. `name` must be in lower case.
    pub(crate) fn header(&mut self, name: &'r str) -> Option<&[u8]> {
        if name == ":authority" {
            return Some(self.authority);
        }
        let read = || (self.read)(name);
        let value = self.headers.entry(name).or_insert_with(read);
        value.as_deref()
    }

    /// Returns the decoded value of the first query parameter with this decoded name. `names` has all names that the
    /// conditions use, so that the query is parsed only once.
    pub(crate) fn parameter(&mut self, name: &[u8], names: &BTreeSet<Box<[u8]>>) -> Option<&[u8]> {
        if self.parameters.is_none() {
            self.parameters = Some(parameters(self.query(), names));
        }
        self.parameters.as_ref()?.get(name).map(Vec::as_slice)
    }
}

fn parameters(query: &[u8], names: &BTreeSet<Box<[u8]>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let query = query.strip_prefix(b"?").unwrap_or_default();
    let query = query.split(|byte| *byte == b'#').next().unwrap_or_default();
    let mut found = BTreeMap::new();
    for parameter in query.split(|byte| *byte == b'&') {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=');
        let name = decode(parts.next().unwrap_or_default());
        if names.contains(&*name) && !found.contains_key(&*name) {
            let value = decode(parts.next().unwrap_or_default());
            found.insert(name.into_owned(), value.into_owned());
        }
    }
    found
}

/// Decodes `application/x-www-form-urlencoded`: `+` is a space, and `%20` is the byte 0x20. A `%` without two
/// hexadecimal digits stays a `%`.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
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
    fn path_ends_before_query() {
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
            let mut view = RequestView::new(b"", &effort, &mut read);
            assert_eq!(view.path(), path.as_bytes(), "{whole:?}");
            assert_eq!(view.query(), query.as_bytes(), "{whole:?}");
        }
    }

    #[test]
    fn first_parameter_counts_decoded() {
        let names: BTreeSet<Box<[u8]>> = ["a", "a b", ""].map(|it| it.as_bytes().into()).into();
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
            let found = parameters(query.as_bytes(), &names);
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
        assert_eq!(parameters(b"?z=1&y=2", &names), BTreeMap::new());
    }

    #[test]
    fn each_header_is_read_once() {
        let mut reads = Vec::new();
        let mut read = |name: &str| {
            reads.push(name.to_owned());
            (name != "x-none").then(|| b"/p?q=1".to_vec())
        };
        let effort = Effort::default();
        let mut view = RequestView::new(b"Host.Example:80", &effort, &mut read);
        assert_eq!(
            view.host().map(|host| host.name()),
            Some(&b"host.example"[..])
        );
        assert_eq!(view.header(":authority"), Some(&b"Host.Example:80"[..]));
        let names = [b"q".as_slice().into()].into();
        for _ in 0..3 {
            assert_eq!(view.header("x-none"), None);
            assert_eq!(view.header("x-user"), Some(&b"/p?q=1"[..]));
            assert_eq!(view.parameter(b"q", &names), Some(&b"1"[..]));
            assert_eq!(view.path(), b"/p");
        }
        assert_eq!(reads, ["x-none", "x-user", ":path"]);
    }
}
