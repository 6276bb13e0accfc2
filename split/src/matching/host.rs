//! The `:authority` of a request, which may be any bytes.

/// DNS names have at most 253 characters (RFC 1035, 2.3.4, written without the last dot).
const LONGEST_NAME: usize = 253;

/// A hostname in the form of the keys of [`crate::Table`], and the port from the `:authority`.
pub struct Authority {
    name: [u8; LONGEST_NAME],
    length: usize,
    /// True if the name has a trailing dot. For such a name, DNS uses no search list (RFC 1034, 3.1).
    pub is_absolute: bool,
    pub port: Option<u16>,
}

impl Authority {
    /// Parses an `:authority`. The name becomes lower case, without the port and without one trailing dot. Returns None
    /// if the name is too long or empty, or if the port is not a number from 0 to 65535.
    pub fn parse(authority: &[u8]) -> Option<Authority> {
        let colon = match authority.first() {
            // An IPv6 literal has colons inside its brackets (RFC 3986, 3.2.2).
            Some(b'[') => {
                let bracket = authority.iter().position(|byte| *byte == b']')?;
                authority
                    .iter()
                    .skip(bracket)
                    .position(|byte| *byte == b':')
                    .and_then(|colon| bracket.checked_add(colon))
            }
            _ => authority.iter().position(|byte| *byte == b':'),
        };
        let (name, port) = match colon.and_then(|colon| authority.split_at_checked(colon)) {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (authority, None),
        };
        let is_absolute = name.ends_with(b".");
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() {
            return None;
        }
        let mut lower = [0; LONGEST_NAME];
        lower.get_mut(..name.len())?.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Some(Authority {
            name: lower,
            length: name.len(),
            is_absolute,
            port,
        })
    }

    pub fn name(&self) -> &[u8] {
        self.name.get(..self.length).unwrap_or_default()
    }
}

/// Parses a port with its colon, such as `:80`.
fn parse_port(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b":")?;
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authority: &str, expected: Option<(&str, Option<u16>)>) {
        let parsed = Authority::parse(authority.as_bytes());
        let got = parsed.as_ref().map(|parsed| {
            let name = std::str::from_utf8(parsed.name());
            (name.unwrap_or("not UTF-8"), parsed.port)
        });
        assert_eq!(got, expected, "{authority:?}");
    }

    #[test]
    fn names_lose_case_port_and_dot() {
        check("bookstore", Some(("bookstore", None)));
        check("Bookstore.Default.", Some(("bookstore.default", None)));
        check("bookstore.:14001", Some(("bookstore", Some(14001))));
        check("[::1]", Some(("[::1]", None)));
        check("[::1]:80", Some(("[::1]", Some(80))));
        check("a..", Some(("a.", None)));
    }

    #[test]
    fn invalid_hosts_are_refused() {
        for bad in [
            "", ".", ":80", "a:", "a:b", "a:80:80", "a:65536", "a:000080", "[::1", "::1",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(254), None);
        check(&"a".repeat(60_000), None);
        assert!(Authority::parse(b"caf\xe9:80").is_some_and(|host| host.name() == b"caf\xe9"));
    }
}
