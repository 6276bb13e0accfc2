//! Finds paths that some servers read as a path with a segment `.` or `..`.

/// Bytes at which a path segment ends for some servers.
const SEPARATORS: [u8; 2] = *b"/\\";
/// Bytes at which the name in a segment ends for some servers. For servlets `;` begins parameters. If a server parses
/// the decoded path again, `?` and `#` end the path. NUL ends a C string.
const ENDS: [u8; 4] = *b";?#\0";
/// Overlong UTF-8 sequences for an ASCII byte. Each entry has the bytes of a sequence except the last byte. The number
/// is 0x40 if these bytes encode the bit 0x40 of the ASCII byte, else 0.
const OVERLONG: [(&[u8], u8); 10] = [
    (b"\xc0", 0),
    (b"\xc1", 0x40),
    (b"\xe0\x80", 0),
    (b"\xe0\x81", 0x40),
    (b"\xf0\x80\x80", 0),
    (b"\xf0\x80\x81", 0x40),
    (b"\xf8\x80\x80\x80", 0),
    (b"\xf8\x80\x80\x81", 0x40),
    (b"\xfc\x80\x80\x80\x80", 0),
    (b"\xfc\x80\x80\x80\x81", 0x40),
];

/// Bytes that a URL parser removes at every place: TAB, LF and CR (WHATWG URL, 4.4).
const IGNORED: [u8; 3] = *b"\t\n\r";
/// Characters outside of ASCII that some servers read as an ASCII character (Unicode compatibility, best fit):
/// FULLWIDTH FULL STOP, ONE DOT LEADER, TWO DOT LEADER, FULLWIDTH SOLIDUS, FULLWIDTH REVERSE SOLIDUS.
const ALIKE: [(u16, u8); 5] = [
    (0xff0e, b'.'),
    (0x2024, b'.'),
    (0x2025, b'.'),
    (0xff0f, b'/'),
    (0xff3c, b'\\'),
];

/// True if some servers would read a segment of the path as `.` or `..`. Some servers decode the path several times or
/// not at all. Some read `\` or `%2f` as a slash. Some cut parameters off (`..;x`). Some read overlong UTF-8 (`%c0%ae`)
/// or `%u002e` as a dot. `path` must have no query. The function takes time linear in the length of the path.
///
/// The function looks only at the fully decoded path. This is enough: once a byte is decoded to a dot, a separator or
/// an end, further decoding does not change it.
pub(crate) fn has_dot_segment(path: &[u8]) -> bool {
    let decoded = decode_fully(path);
    let mut segments = decoded.split(|byte| SEPARATORS.contains(byte));
    segments.any(|segment| {
        let name = segment.split(|byte| ENDS.contains(byte)).next();
        // Windows drops blanks after a name, and URL parsers drop blanks at the end of a URL.
        matches!(name.map(trim_blank_end), Some(b"." | b".."))
    })
}

fn trim_blank_end(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| *byte > b' ');
    let length = end.map_or(0, |last| last.saturating_add(1));
    name.get(..length).unwrap_or_default()
}

/// Decodes the path until no encoded sequence is left.
fn decode_fully(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path {
        decoded.push(*byte);
        // A decoded byte may complete another sequence: `%2%35` becomes `%25`, which becomes `%`.
        while let Some((length, byte)) = sequence_at_end(&decoded) {
            decoded.truncate(decoded.len().saturating_sub(length));
            if IGNORED.contains(&byte) {
                break;
            }
            decoded.push(byte);
        }
    }
    decoded
}

/// Finds an encoded sequence at the end of `decoded`. Returns the length of the sequence, and the byte that it encodes.
fn sequence_at_end(decoded: &[u8]) -> Option<(usize, u8)> {
    match decoded {
        [.., b'%', b'u' | b'U', a, b, c, d] if byte_of(*a, *b).is_some() => {
            let unit = u16::from_be_bytes([byte_of(*a, *b)?, byte_of(*c, *d)?]);
            Some((6, ascii_of(unit)?))
        }
        [.., first @ 0xe0..=0xef, second, third] if alike(*first, *second, *third).is_some() => {
            Some((3, alike(*first, *second, *third)?))
        }
        [.., b'%', high, low] => Some((3, byte_of(*high, *low)?)),
        [before @ .., last] => {
            let byte_after = |(prefix, bit): &(&[u8], u8)| {
                let byte = bit | last & 0x3f;
                // Some decoders ignore the two high bits of the last byte, and so does this code. Other decoders read
                // the last byte as a character of its own. So a special last byte (a separator, an end, a dot or `%`)
                // must still be in the decoded path.
                let is_special =
                    SEPARATORS.contains(&byte) || ENDS.contains(&byte) || b".%".contains(&byte);
                let is_read = is_special && *last != b'%' && before.ends_with(prefix);
                is_read.then_some((prefix.len().saturating_add(1), byte))
            };
            OVERLONG.iter().find_map(byte_after)
        }
        [] => None,
    }
}

fn ascii_of(unit: u16) -> Option<u8> {
    let alike = ALIKE.iter().find(|(character, _)| *character == unit);
    u8::try_from(unit).ok().or(alike.map(|(_, ascii)| *ascii))
}

/// Returns the ASCII byte that some servers read for this character, which has three bytes in UTF-8.
fn alike(first: u8, second: u8, third: u8) -> Option<u8> {
    let bits = |byte: u8, mask: u8, shift: u32| u16::from(byte & mask).checked_shl(shift);
    let unit = bits(first, 0x0f, 12)? | bits(second, 0x3f, 6)? | u16::from(third & 0x3f);
    let is_sequence = second & 0xc0 == 0x80 && third & 0xc0 == 0x80;
    let found = ALIKE.iter().find(|(character, _)| *character == unit);
    found.filter(|_| is_sequence).map(|(_, ascii)| *ascii)
}

fn byte_of(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_dots_is_found() {
        for path in [
            "/a/..",
            "/a/../b",
            "/a/.",
            "/./a",
            "/..",
            "..",
            ".",
            "/a/..;/b",
            "/a/..;x=1;y/b",
            "/a/.;/b",
            "/a/%2e%2e;/b",
            "/a/.%2E/b",
            "/a/%2e%2e",
            "/a/..%3b/b",
            "/a/..%3Bx/b",
            "/a/..%2fb",
            "/a%2f..%2Fb",
            "/a/..\\b",
            "/a\\..\\b",
            "/a/..%5cb",
            "/a%5c..",
            "/a/%252e%252e/b",
            "/a/%25252e%25252e/b",
            "/a/%25%32%65%25%32%65/b",
            "/a/%%32%65%%32%65/b",
            "/a/%2%35%32e./b",
            "/a/..%252fb",
            "/a/..%255cb",
            "/a/..%253b/b",
            "/a/%c0%ae%c0%ae/b",
            "/a/.%c0%ae/b",
            "/a/..%c0%afb",
            "/a%C0%AF..%C0%AFb",
            "/a/..%c1%9cb",
            "/a/..%c1%1cb",
            "/a/%c0%2e%c0%2e/b",
            "/a/%c0%6e./b",
            "/a/%e0%80%ae./b",
            "/a/..%e0%80%afb",
            "/a/..%e0%81%9cb",
            "/a/..%f0%80%80%afb",
            "/a/..%f8%80%80%80%afb",
            "/a/..%fc%80%80%80%80%afb",
            "/a/%25c0%25ae./b",
            "/a/%c0%a52e./b",
            "/a/..%c0%bb/b",
            "/a/%u002e%u002e/b",
            "/a/..%u002fb",
            "/a/..%00/b",
            "/a/..%23/b",
            "/a/..%3fx",
            "/a/..%00",
            "/a;x=%2f..%2fb",
            "/%c0/../b",
            "/%c1/..",
            "/a/..%c1/../b",
            "/%c1%2f..",
            "/a/.%09./b",
            "/a/..%0a/b",
            "/a/..%0d",
            "/a/%2%0a5252e%0d./b",
            "/a/..%20",
            "/a/..%20/b",
            "/a/.%20%09",
            "/a/%ef%bc%8e%ef%bc%8e/b",
            "/a/..%ef%bc%8fb",
            "/a/..%ef%bc%bcb",
            "/a/%e2%80%a5/b",
            "/a/%e2%80%a4./b",
            "/a/%uff0e%uFF0E/b",
            "/a/..%u2215%uff0fb/..%uff0fc",
        ] {
            assert!(has_dot_segment(path.as_bytes()), "{path}");
        }
        assert!(has_dot_segment(b"/a/\xc0\xae./b"));
    }

    #[test]
    fn other_paths_are_accepted() {
        for path in [
            "",
            "/",
            "*",
            "//",
            "/books/100%25",
            "/books/100%",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/x;jsessionid=1",
            "/;x",
            "/...",
            "/..../a",
            "/.well-known/x",
            "/a..b/c..",
            "/..a",
            "/a/%2e%2ea",
            "/a/%2e%2e%2e",
            "/a/b%2ec",
            "/caf%c3%a9",
            "/%e2%80%ae",
            "/%f0%9f%98%80",
            "/%c0",
            "/%c3%80.txt",
            "/a;.",
            "/a;..",
            "/a/b;x=..",
            "/%2",
            "/%",
            "/%zz",
            "/%u",
            "/%u00",
            "/%u002",
            "/%u00e9",
            "/%u2e2e",
            "/a/%252525",
            "/\\",
            "/.git",
            "/a/.%20./b",
            "/a/%09b",
            "/a/%20",
            "/a/b%20/c",
            "/%ef%bc%8ea",
            "/%e3%80%82",
            "/%u3002",
        ] {
            assert!(!has_dot_segment(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn time_is_linear() {
        let nested = format!("/%{}2e", "25".repeat(1 << 20));
        assert!(has_dot_segment(format!("{nested}/").as_bytes()));
        let start = std::time::Instant::now();
        assert!(!has_dot_segment("/%c0%c0".repeat(1 << 18).as_bytes()));
        assert!(start.elapsed().as_secs() < 5);
    }

    /// True if a server reads a segment `.` or `..`. The server decodes the path `rounds` times, and cuts parameters
    /// off before and after each round.
    fn climbs(path: &[u8], rounds: usize) -> bool {
        let mut path = path.to_vec();
        for _ in 0..=rounds {
            let mut segments = path.split(|byte| SEPARATORS.contains(byte));
            let cut = |segment: &[u8]| {
                segment
                    .split(|byte| *byte == b';')
                    .next()
                    .map(<[u8]>::to_vec)
            };
            if segments.any(|segment| matches!(cut(segment).as_deref(), Some(b"." | b".."))) {
                return true;
            }
            let mut rest = path.as_slice();
            let mut plain = Vec::new();
            while let Some((first, tail)) = rest.split_first() {
                rest = tail;
                let decoded = match (first, tail) {
                    (b'%', [high, low, ..]) => byte_of(*high, *low),
                    _ => None,
                };
                plain.push(decoded.unwrap_or(*first));
                rest = &rest[if decoded.is_some() { 2 } else { 0 }..];
            }
            path = plain;
        }
        false
    }

    /// Checks all short paths that consist of these parts.
    #[test]
    fn repeated_decoding_finds_no_more() {
        let parts = [
            "/", ".", "%", "2e", "25", "2f", "3b", ";", "5c", "a", "2", "5", "e",
        ];
        let mut paths = vec![String::new()];
        for _ in 0..5 {
            let longer = paths
                .iter()
                .flat_map(|path| parts.map(|part| format!("{path}{part}")));
            paths = longer.collect();
        }
        for tail in &paths {
            for path in [format!("/{tail}"), format!("/%2e.{tail}")] {
                let path = path.as_bytes();
                if climbs(path, 4) {
                    assert!(has_dot_segment(path), "{}", path.escape_ascii());
                }
            }
        }
    }
}
